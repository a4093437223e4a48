//! Resolvers of the DNS, asked for endpoints: those of the system, or configured ones. Our own sockets are not steered, so that
//! we never ask ourselves.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::{
        op::ResponseCode,
        rr::{RData, RecordType},
    },
    system_conf::parse_resolv_conf,
};
use sidecar_core::{
    model::policy::{Found, SourceFailed},
    traffic::sources::{Record, Reply, balanced},
};
use tokio::task::JoinSet;

use crate::config::file::Reader;

/// Where the system says whom to ask.
const SYSTEM: &str = "/etc/resolv.conf";
/// How long an answer without records, that does not say it, holds.
const NONE_HOLDS: Duration = Duration::from_secs(5);
/// The longest that `options timeout:` may ask for, and the most tries, as in glibc (resolv.conf(5)).
const MOST: (Duration, usize) = (Duration::from_secs(30), 5);
/// Records of services that are looked at.
const RECORDS: usize = 64;
/// Of those, at a time.
const AT_A_TIME: usize = 8;

/// Who is asked.
pub(super) type Asker = TokioResolver;

/// Makes who is asked, anew where the settings or the system's file changed.
#[derive(Default)]
pub(super) struct Resolver(Option<(Vec<SocketAddr>, Vec<u8>, Asker)>);

impl Resolver {
    /// Who asks these, or those of the system where there are none.
    pub(super) fn of(&mut self, configured: &[SocketAddr]) -> Result<Asker, String> {
        let mut reader = Reader::again();
        let system = match configured {
            [] => reader.read(Path::new(SYSTEM)).map_err(|error| format!("{SYSTEM}: {error}"))?,
            _ => &[],
        };
        if let Some((before, file, asker)) = &self.0
            && (before.as_slice(), file.as_slice()) == (configured, system)
        {
            return Ok(asker.clone());
        }
        let (config, mut options) = match configured {
            [] => parse_resolv_conf(system).map_err(|error| format!("{SYSTEM}: {error}"))?,
            _ => (ResolverConfig::from_name_servers(servers(configured)), ResolverOpts::default()),
        };
        // We remember by the records' times ourselves; the DNS alone is asked.
        (options.cache_size, options.use_hosts_file) = (0, ResolveHosts::Never);
        // Tries after the first are counted.
        options.timeout = options.timeout.clamp(Duration::from_secs(1), MOST.0);
        options.attempts = options.attempts.clamp(1, MOST.1) - 1;
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        let asker = builder.build().map_err(|error| error.to_string())?;
        self.0 = Some((configured.to_vec(), system.to_vec(), asker.clone()));
        Ok(asker)
    }
}

fn servers(addresses: &[SocketAddr]) -> Vec<NameServerConfig> {
    let server = |address: &SocketAddr| {
        let ways = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut way| {
            way.port = address.port();
            way
        });
        NameServerConfig::new(address.ip(), true, ways.into())
    };
    addresses.iter().map(server).collect()
}

/// What one question came to: addresses and for how long they hold.
type Asked = Result<(Vec<IpAddr>, Duration), NetError>;

/// Addresses of a name, as endpoints without a port.
pub(super) async fn addresses(asker: &Asker, name: &str) -> Reply {
    let (four, six) = tokio::join!(of_type(asker, name, false), of_type(asker, name, true));
    let mut reply = Reply { ttl: Duration::MAX, ..Reply::default() };
    for (family, asked) in [four, six].into_iter().enumerate() {
        match asked {
            Ok((found, ttl)) => {
                let endpoint = |ip| Found { address: SocketAddr::new(ip, 0), weight: None, zone: None };
                reply.found.extend(found.into_iter().map(endpoint));
                reply.ttl = reply.ttl.min(ttl);
            }
            Err(error) => fail(&mut reply, family, &error),
        }
    }
    reply
}

/// Who serves a name, with their addresses.
pub(super) async fn services(asker: &Asker, name: &str) -> Reply {
    let mut reply = Reply { ttl: Duration::MAX, ..Reply::default() };
    let lookup = match asker.lookup(name, RecordType::SRV).await {
        Ok(lookup) => lookup,
        Err(error) => {
            match none(&error) {
                Some(ttl) => reply.ttl = ttl,
                None => (0..2).for_each(|family| fail(&mut reply, family, &error)),
            }
            return reply;
        }
    };
    let mut records = Vec::new();
    for record in lookup.answers() {
        reply.ttl = reply.ttl.min(Duration::from_secs(record.ttl.into()));
        // The root's name says that there is nobody.
        if let RData::SRV(srv) = &record.data
            && !srv.target.is_root()
        {
            let own =
                Record { priority: srv.priority, weight: srv.weight, port: srv.port, addresses: Vec::new() };
            records.push((own, srv.target.to_ascii()));
        }
    }
    records.sort_by_key(|(record, _)| record.priority);
    records.truncate(RECORDS);
    let mut with_addresses = Vec::new();
    for same in records.chunk_by(|(one, _), (other, _)| one.priority == other.priority) {
        for few in same.chunks(AT_A_TIME) {
            let mut asked = JoinSet::new();
            for (record, target) in few.iter().cloned() {
                let asker = asker.clone();
                asked.spawn(async move {
                    let both = tokio::join!(of_type(&asker, &target, false), of_type(&asker, &target, true));
                    (record, [both.0, both.1])
                });
            }
            while let Some(Ok((mut record, both))) = asked.join_next().await {
                for (family, asked) in both.into_iter().enumerate() {
                    match asked {
                        Ok((addresses, ttl)) => {
                            record.addresses.extend(addresses);
                            reply.ttl = reply.ttl.min(ttl);
                        }
                        Err(error) => fail(&mut reply, family, &error),
                    }
                }
                with_addresses.push(record);
            }
        }
        // A higher priority is for when nobody of the lower has an address, and not for when that could not be found out.
        let is_had = with_addresses.iter().any(|record| !record.addresses.is_empty());
        if is_had || reply.failed.iter().any(Option::is_some) {
            break;
        }
    }
    let has_failed = |found: &Found| reply.failed[usize::from(found.address.is_ipv6())].is_some();
    // Of a family of which some could not be found out, what was known holds as a whole.
    reply.found = balanced(&with_addresses).into_iter().filter(|found| !has_failed(found)).collect();
    reply
}

async fn of_type(asker: &Asker, name: &str, is_v6: bool) -> Asked {
    let of = if is_v6 { RecordType::AAAA } else { RecordType::A };
    match asker.lookup(name, of).await {
        Ok(lookup) => {
            let address = |data: &RData| match data {
                RData::A(a) => Some(IpAddr::from(Ipv4Addr::from(*a))),
                RData::AAAA(aaaa) => Some(IpAddr::from(Ipv6Addr::from(*aaaa))),
                _ => None,
            };
            let records = lookup.answers().iter();
            let ttl = records.clone().map(|record| record.ttl).min().unwrap_or(0);
            let found = records.filter_map(|record| address(&record.data));
            Ok((found.collect(), Duration::from_secs(ttl.into())))
        }
        Err(error) => none(&error).map(|ttl| (Vec::new(), ttl)).ok_or(error),
    }
}

/// For how long it holds that there is nobody, where that is what was answered: the name has no such records (NODATA), or is not
/// there (NXDOMAIN).
fn none(error: &NetError) -> Option<Duration> {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none))
            if matches!(none.response_code, ResponseCode::NoError | ResponseCode::NXDomain) =>
        {
            let ttl = none.negative_ttl.map(|ttl| Duration::from_secs(ttl.into()));
            Some(ttl.unwrap_or(NONE_HOLDS).min(NONE_HOLDS))
        }
        _ => None,
    }
}

fn fail(reply: &mut Reply, family: usize, error: &NetError) {
    reply.failed[family] = Some(match error {
        NetError::Timeout => SourceFailed::Timeout,
        NetError::Dns(_) => SourceFailed::Refused,
        NetError::Io(_) | NetError::NoConnections | NetError::Busy => SourceFailed::Unreachable,
        _ => SourceFailed::Malformed,
    });
    reply.detail = error.to_string();
}
