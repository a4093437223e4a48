//! Records of services (SRV, RFC 2782) as endpoints.

use std::net::{IpAddr, SocketAddr};

use crate::model::policy::Found;

/// Who serves, with the addresses that the name has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The lower comes first.
    pub priority: u16,
    /// Its share among those of the same priority.
    pub weight: u16,
    /// Its port.
    pub port: u16,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// The lowest priority that has any address, by weights. One with several addresses shares its weight among those of a family. Beside
/// others, a weight of 0 is a very small one.
#[must_use]
pub fn balanced(records: &[Record]) -> Vec<Found> {
    let with = records.iter().filter(|record| !record.addresses.is_empty() && record.port != 0);
    let Some(lowest) = with.clone().map(|record| record.priority).min() else { return Vec::new() };
    let chosen: Vec<_> = with.filter(|record| record.priority == lowest).collect();
    // A least share for those of weight 0, and whole parts for several addresses.
    let is_plain = chosen.iter().all(|record| {
        record.weight != 0
            && record.addresses.iter().filter(|ip| ip.is_ipv4()).count() < 2
            && record.addresses.iter().filter(|ip| ip.is_ipv6()).count() < 2
    });
    let scale: u64 = if is_plain { 1 } else { 1000 };
    let is_all_zero = chosen.iter().all(|record| record.weight == 0);
    let weight = |record: &Record, is_v6: bool| -> u64 {
        let n = record.addresses.iter().filter(|ip| ip.is_ipv6() == is_v6).count().max(1) as u64;
        let own = if is_all_zero { 1 } else { u64::from(record.weight) };
        (own * scale / n).max(1)
    };
    let weights = chosen.iter().flat_map(|record| [weight(record, false), weight(record, true)]);
    let most = weights.max().unwrap_or(1);
    let fitted = |weight: u64| match most > u64::from(u16::MAX) {
        true => (weight * u64::from(u16::MAX) / most).max(1),
        false => weight,
    };
    let found = chosen.iter().flat_map(|record| {
        record.addresses.iter().map(|ip| Found {
            address: SocketAddr::new(*ip, record.port),
            weight: u16::try_from(fitted(weight(record, ip.is_ipv6()))).ok(),
            zone: None,
        })
    });
    found.collect()
}
