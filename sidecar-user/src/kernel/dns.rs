//! The maps by which questions of the DNS are caught.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use aya::{
    Ebpf,
    maps::{Array, HashMap, MapData},
};
use sidecar_ebpf::abi::dns::{DNS_PORT, Dns, Ports, RESOLVERS, answerer};

use super::{
    load::Error,
    maps::{Abi, take},
    steer::SteerError,
};

/// What the programs go by that catch questions. One owner.
pub(crate) struct Catching {
    dns: Array<MapData, Abi<Dns>>,
    answerers: HashMap<MapData, u64, u64>,
    current: Dns,
}

/// Who was asked, by the number of the socket that a question came to.
pub(crate) struct Resolvers(Array<MapData, [u64; 2]>);

impl Catching {
    pub(super) fn open(ebpf: &mut Ebpf) -> Result<(Self, Resolvers), Error> {
        let wrap = |name| move |source| Error::Map { name, source };
        let catching = Catching {
            dns: Array::try_from(take(ebpf, "DNS")?).map_err(wrap("DNS"))?,
            answerers: HashMap::try_from(take(ebpf, "ANSWERERS")?).map_err(wrap("ANSWERERS"))?,
            current: Dns::default(),
        };
        let resolvers = Array::try_from(take(ebpf, "RESOLVERS")?).map_err(wrap("RESOLVERS"))?;
        Ok((catching, Resolvers(resolvers)))
    }

    /// Says which sockets answer for the resolver of this number: of UDP and of TCP.
    ///
    /// # Errors
    /// If the kernel is not to be told.
    pub(super) fn listen(
        &mut self,
        number: usize,
        udp: &[SocketAddr],
        tcp: &[SocketAddr],
    ) -> Result<(), SteerError> {
        let wrap = |name| move |source| SteerError::Write { name, source };
        let port = |addresses: &[SocketAddr], is_v6: bool| {
            addresses.iter().find(|address| address.is_ipv6() == is_v6).map_or(0, SocketAddr::port)
        };
        let ports = |addresses: &[SocketAddr]| [false, true].map(|is_v6| port(addresses, is_v6));
        for address in udp {
            let key = answerer(address.is_ipv6(), address.port());
            self.answerers.insert(key, number as u64, 0).map_err(wrap("ANSWERERS"))?;
        }
        let mut new = self.current;
        new.ports[number % RESOLVERS] = Ports { udp: ports(udp), tcp: ports(tcp) };
        self.tell(new)
    }

    /// Whether questions are caught.
    ///
    /// # Errors
    /// If the kernel is not to be told.
    pub(super) fn turn(&mut self, is_on: bool) -> Result<(), SteerError> {
        self.tell(Dns { is_on: is_on.into(), ..self.current })
    }

    fn tell(&mut self, new: Dns) -> Result<(), SteerError> {
        let wrap = |source| SteerError::Write { name: "DNS", source };
        if new != self.current {
            self.dns.set(0, Abi(new), 0).map_err(wrap)?;
            self.current = new;
        }
        Ok(())
    }
}

impl Resolvers {
    /// The resolver of a number; `None`: nobody was asked yet.
    pub(crate) fn get(&self, number: usize) -> Option<SocketAddr> {
        let words = self.0.get(&u32::try_from(number).ok()?, 0).ok()?;
        let mut octets = [0; 16];
        for (to, word) in octets.chunks_exact_mut(8).zip(words) {
            to.copy_from_slice(&word.to_ne_bytes());
        }
        let address = IpAddr::from(Ipv6Addr::from(octets)).to_canonical();
        (words != [0, 0]).then(|| SocketAddr::new(address, DNS_PORT))
    }
}
