//! The maps by which connections are steered.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    os::fd::AsRawFd,
    sync::{Mutex, PoisonError},
};

use aya::{
    Ebpf,
    maps::{Array, HashMap, LpmTrie, MapData, MapError, PerCpuArray, SkStorage, SockMap, lpm_trie},
};
use rustix::thread::{MembarrierCommand, membarrier};
use sidecar_core::traffic::{Change, Found, Room, names};
use sidecar_ebpf::abi::{
    pins::{Answer, Held, Name},
    steer::{
        BANKS, Client, DECISIONS, Handed, LISTENERS, NO_INBOUND, RESULTS, Rule, RuleKey, Service, ServiceKey,
        Steer, Target, Use, VERDICT_DIRECT, VERDICT_PROXIED, VERDICTS, first_uses, result, served, trial,
    },
};
use tracing::warn;

use super::{
    clock,
    dns::{Catching, Resolvers},
    load::Error,
    maps::{Abi, take},
    pins::Pins,
};

/// Connections to the relay that it has not accepted yet.
const HANDOVER: u32 = 65_536;

/// Why the kernel was not told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SteerError {
    /// A map refused an entry.
    #[error("write map {name}")]
    Write {
        /// Its name.
        name: &'static str,
        /// Why.
        #[source]
        source: MapError,
    },
    /// A map could not be read.
    #[error("read map {name}")]
    Read {
        /// Its name.
        name: &'static str,
        /// Why.
        #[source]
        source: MapError,
    },
}

/// How many entries maps have, where there is to be room.
pub(super) fn entries(room: Room) -> [(&'static str, u32); 14] {
    [
        ("RULES", room.rules * BANKS),
        ("SERVICES", room.services * BANKS),
        ("TABLE", room.places),
        ("TARGETS", room.targets),
        ("LOADS", room.targets),
        ("RESULTS", room.targets * RESULTS),
        ("TRIALS", room.services * 2),
        ("USES", room.services),
        ("NAMES", room.services),
        ("LEARNED", names::ADDRESSES as u32),
        ("SERVED", room.services * VERDICTS as u32),
        ("HANDOVER", HANDOVER),
        ("ARRIVALS", HANDOVER),
        ("DECISIONS", DECISIONS),
    ]
}

/// What the programs at `connect()` go by. One owner.
pub(crate) struct Steering {
    steer: Array<MapData, Abi<Steer>>,
    rules: LpmTrie<MapData, Abi<RuleKey>, Abi<Rule>>,
    services: HashMap<MapData, Abi<ServiceKey>, Abi<Service>>,
    table: Array<MapData, u32>,
    targets: Array<MapData, Abi<Target>>,
    loads: Array<MapData, u64>,
    results: Array<MapData, u64>,
    trials: Array<MapData, u32>,
    uses: Array<MapData, Abi<Use>>,
    decisions: PerCpuArray<MapData, u64>,
    served: PerCpuArray<MapData, u64>,
    names: Array<MapData, Abi<Name>>,
    learned: HashMap<MapData, Abi<Answer>, Abi<Held>>,
    listeners: SkStorage<MapData, u32>,
    catching: Catching,
    resolvers: Option<Resolvers>,
    inbound: SockMap<MapData>,
    own: HashMap<MapData, [u8; 16], u32>,
    current: Steer,
    pins: Option<Pins>,
}

/// What the relay is told of sockets that it accepts, and what it tells of those that it opens.
pub(crate) struct Handover {
    handed: SkStorage<MapData, Abi<Handed>>,
    clients: Mutex<SkStorage<MapData, Abi<Client>>>,
}

impl Steering {
    pub(super) fn open(ebpf: &mut Ebpf, pins: Option<Pins>) -> Result<(Self, Handover), Error> {
        let wrap = |name| move |source| Error::Map { name, source };
        let handed = SkStorage::try_from(take(ebpf, "HANDED")?).map_err(wrap("HANDED"))?;
        let (catching, resolvers) = Catching::open(ebpf)?;
        let mut steering = Steering {
            steer: Array::try_from(take(ebpf, "STEER")?).map_err(wrap("STEER"))?,
            rules: LpmTrie::try_from(take(ebpf, "RULES")?).map_err(wrap("RULES"))?,
            services: HashMap::try_from(take(ebpf, "SERVICES")?).map_err(wrap("SERVICES"))?,
            table: Array::try_from(take(ebpf, "TABLE")?).map_err(wrap("TABLE"))?,
            targets: Array::try_from(take(ebpf, "TARGETS")?).map_err(wrap("TARGETS"))?,
            loads: Array::try_from(take(ebpf, "LOADS")?).map_err(wrap("LOADS"))?,
            results: Array::try_from(take(ebpf, "RESULTS")?).map_err(wrap("RESULTS"))?,
            trials: Array::try_from(take(ebpf, "TRIALS")?).map_err(wrap("TRIALS"))?,
            uses: Array::try_from(take(ebpf, "USES")?).map_err(wrap("USES"))?,
            decisions: PerCpuArray::try_from(take(ebpf, "DECISIONS")?).map_err(wrap("DECISIONS"))?,
            served: PerCpuArray::try_from(take(ebpf, "SERVED")?).map_err(wrap("SERVED"))?,
            names: Array::try_from(take(ebpf, "NAMES")?).map_err(wrap("NAMES"))?,
            learned: HashMap::try_from(take(ebpf, "LEARNED")?).map_err(wrap("LEARNED"))?,
            listeners: SkStorage::try_from(take(ebpf, "LISTENER")?).map_err(wrap("LISTENER"))?,
            catching,
            resolvers: Some(resolvers),
            inbound: SockMap::try_from(take(ebpf, "INBOUND")?).map_err(wrap("INBOUND"))?,
            own: HashMap::try_from(take(ebpf, "OWN")?).map_err(wrap("OWN"))?,
            current: Steer::default(),
            pins,
        };
        // All zero, where nobody was there before.
        steering.current = steering.steer.get(&0, 0).map(|Abi(steer)| steer).map_err(wrap("STEER"))?;
        let clients = SkStorage::try_from(take(ebpf, "CLIENT")?).map_err(wrap("CLIENT"))?;
        Ok((steering, Handover { handed, clients: Mutex::new(clients) }))
    }

    /// Where what steers outlives us, if it does.
    pub(crate) fn pins(&self) -> Option<&Pins> {
        self.pins.as_ref()
    }

    /// What a daemon before left, if one did.
    ///
    /// # Errors
    /// If a map cannot be read whole.
    pub(crate) fn found(&self) -> Result<Option<Found>, SteerError> {
        if !self.pins.as_ref().is_some_and(Pins::is_adopted) {
            return Ok(None);
        }
        let wrap = |name| move |source| SteerError::Read { name, source };
        let rules = self.rules.iter().map(|entry| {
            entry.map(|(key, Abi(rule))| (key.prefix_len(), key.data().0, rule)).map_err(wrap("RULES"))
        });
        let services = self
            .services
            .iter()
            .map(|entry| entry.map(|(Abi(key), Abi(service))| (key, service)).map_err(wrap("SERVICES")));
        let names = self.names.iter().map(|name| name.map(|Abi(name)| name).map_err(wrap("NAMES")));
        let learned = self
            .learned
            .iter()
            .map(|entry| entry.map(|(Abi(answer), Abi(held))| (answer, held)).map_err(wrap("LEARNED")));
        let targets = self.targets.iter().map(|one| one.map(|Abi(target)| target).map_err(wrap("TARGETS")));
        Ok(Some(Found {
            bank: self.current.bank,
            names: (0..).zip(names.collect::<Result<Vec<_>, _>>()?).collect(),
            rules: rules.collect::<Result<_, _>>()?,
            services: services.collect::<Result<_, _>>()?,
            targets: targets.collect::<Result<_, _>>()?,
            learned: learned.collect::<Result<_, _>>()?,
            table: self.table.iter().map(|place| place.map_err(wrap("TABLE"))).collect::<Result<_, _>>()?,
        }))
    }

    /// Writes entries, in their order. Where one fails, those before it are in maps that nobody reads.
    ///
    /// # Errors
    /// [`SteerError::Write`] with the map that has no room, or none of us.
    pub(crate) fn write(&mut self, changes: &[Change]) -> Result<(), SteerError> {
        changes.iter().try_for_each(|change| self.write_one(change))
    }

    fn write_one(&mut self, change: &Change) -> Result<(), SteerError> {
        let wrap = |name| move |source| SteerError::Write { name, source };
        let key = |len: u32, key: RuleKey| lpm_trie::Key::new(len, Abi(key));
        match *change {
            Change::Name(at, name) => self.names.set(at, Abi(name), 0).map_err(wrap("NAMES")),
            Change::Target(at, target) => self.targets.set(at, Abi(target), 0).map_err(wrap("TARGETS")),
            Change::Place(at, target) => self.table.set(at, target, 0).map_err(wrap("TABLE")),
            Change::Service(at, service) => {
                self.services.insert(Abi(at), Abi(service), 0).map_err(wrap("SERVICES"))
            }
            Change::NoService(at) => there(self.services.remove(&Abi(at))).map_err(wrap("SERVICES")),
            Change::Rule(len, at, rule) => {
                self.rules.insert(&key(len, at), Abi(rule), 0).map_err(wrap("RULES"))
            }
            Change::Learned(answer, held) => {
                self.learned.insert(Abi(answer), Abi(held), 0).map_err(wrap("LEARNED"))
            }
            Change::Forgotten(answer) => there(self.learned.remove(&Abi(answer))).map_err(wrap("LEARNED")),
            Change::NoRule(len, at) => there(self.rules.remove(&key(len, at))).map_err(wrap("RULES")),
        }
    }

    /// Lets the programs go by this bank. When it returns none goes by the other.
    ///
    /// # Errors
    /// If the kernel is not to be told.
    pub(crate) fn turn(&mut self, bank: u32) -> Result<(), SteerError> {
        self.tell(Steer { bank, is_on: 1, ..self.current })?;
        // Programs run inside of RCU's read side; this waits for all that do (`membarrier` in kernel/sched/membarrier.c). It
        // is refused where processors run without the scheduler's tick.
        if let Err(error) = membarrier(MembarrierCommand::Global) {
            warn!(%error, "connections that are just being made may still go by the services of before");
        }
        Ok(())
    }

    /// Lets the programs go by nothing: connections go where they ask. Where they outlive us, lets them go on without us.
    ///
    /// # Errors
    /// If the kernel is not to be told.
    pub(crate) fn off(&mut self) -> Result<(), SteerError> {
        match self.pins {
            Some(_) => self.tell(Steer { listeners: [[0; 2]; LISTENERS], ..self.current }),
            None => self.tell(Steer { is_on: 0, ..self.current }),
        }
    }

    /// Says where the relay listens, and in which network namespace.
    ///
    /// # Errors
    /// If the kernel is not to be told.
    pub(crate) fn listen(&mut self, netns: u64, addresses: &[SocketAddr]) -> Result<(), SteerError> {
        let mut listeners = [[0; 2]; LISTENERS];
        for (family, is_v6) in [false, true].into_iter().enumerate() {
            let addresses = addresses.iter().filter(|address| address.is_ipv6() == is_v6);
            for (ports, address) in listeners.iter_mut().zip(addresses) {
                ports[family] = address.port();
            }
        }
        self.tell(Steer { listeners, netns, ..self.current })
    }

    /// Marks a listener as ours: no other is sent anything.
    ///
    /// # Errors
    /// If the kernel does not let it be marked.
    pub(crate) fn mark(&mut self, listener: &impl AsRawFd) -> Result<(), SteerError> {
        let wrap = |source| SteerError::Write { name: "LISTENER", source };
        self.listeners.insert(listener, 1, 0).map_err(wrap)
    }

    /// Says which sockets answer for the resolver of this number, and marks them as ours.
    ///
    /// # Errors
    /// If the kernel is not to be told.
    pub(crate) fn answer(
        &mut self,
        number: usize,
        udp: &[UdpSocket],
        tcp: &[TcpListener],
    ) -> Result<(), SteerError> {
        udp.iter().try_for_each(|socket| self.mark(socket))?;
        tcp.iter().try_for_each(|listener| self.mark(listener))?;
        let udp: Vec<_> = udp.iter().filter_map(|socket| socket.local_addr().ok()).collect();
        let tcp: Vec<_> = tcp.iter().filter_map(|listener| listener.local_addr().ok()).collect();
        self.catching.listen(number, &udp, &tcp)
    }

    /// Whether questions of the DNS are caught.
    ///
    /// # Errors
    /// If the kernel is not to be told.
    pub(crate) fn catch(&mut self, is_on: bool) -> Result<(), SteerError> {
        self.catching.turn(is_on)
    }

    /// Who was asked: for whoever answers, once.
    pub(crate) fn resolvers(&mut self) -> Option<Resolvers> {
        self.resolvers.take()
    }

    /// Gives what comes in of a family to this listener.
    ///
    /// # Errors
    /// If the kernel does not take it.
    pub(crate) fn take_in(&mut self, listener: &TcpListener, is_v6: bool) -> Result<(), SteerError> {
        let wrap = |source| SteerError::Write { name: "INBOUND", source };
        self.inbound.set(is_v6.into(), listener, 0).map_err(wrap)
    }

    /// Says which addresses are this network namespace's own: of those that the map has not, and of those that it has too many.
    ///
    /// # Errors
    /// If the kernel is not to be told, or the map is full: then it has not all of them.
    pub(crate) fn own(&mut self, gone: &[IpAddr], new: &[IpAddr]) -> Result<(), SteerError> {
        let wrap = |source| SteerError::Write { name: "OWN", source };
        let octets = |address: &IpAddr| match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        gone.iter().try_for_each(|address| there(self.own.remove(&octets(address)))).map_err(wrap)?;
        new.iter().try_for_each(|address| self.own.insert(octets(address), 1, 0)).map_err(wrap)
    }

    /// How long ago the last sign of life was given.
    pub(crate) fn beaten(&self) -> std::time::Duration {
        std::time::Duration::from_nanos(clock::now().0.saturating_sub(self.current.beat_ns))
    }

    /// Whether the programs take us to hang.
    pub(crate) fn is_late(&self) -> bool {
        self.current.is_late(clock::now().0)
    }

    /// A sign of life; without another for `patience` we are taken to hang.
    ///
    /// # Errors
    /// If the kernel is not to be told.
    pub(crate) fn beat(&mut self, patience: std::time::Duration) -> Result<(), SteerError> {
        let patience_ns = i64::try_from(patience.as_nanos()).unwrap_or(i64::MAX).cast_unsigned();
        self.tell(Steer { beat_ns: clock::now().0, patience_ns, ..self.current })
    }

    /// Connections of an endpoint, by its number.
    pub(crate) fn load(&self, target: u32) -> u64 {
        self.loads.get(&target, 0).unwrap_or(0)
    }

    /// What became of connections to an endpoint, by its number, in the order of `RESULT_…`.
    pub(crate) fn results(&self, target: u32) -> [u64; RESULTS as usize] {
        std::array::from_fn(|what| self.results.get(&result(target, what as u32), 0).unwrap_or(0))
    }

    /// How many connections of a service went to an endpoint, or to the relay.
    pub(crate) fn served(&self, service: u32) -> u64 {
        [VERDICT_DIRECT, VERDICT_PROXIED]
            .into_iter()
            .map(|verdict| sum(&self.served, served(service, verdict)))
            .sum()
    }

    /// How many connections of a service came before it had begun.
    pub(crate) fn first_uses(&self, service: u32) -> u64 {
        sum(&self.served, first_uses(service))
    }

    /// How many connections of a service hold a place.
    pub(crate) fn active(&self, service: u32) -> u64 {
        self.uses.get(&service, 0).map_or(0, |Abi(entry)| entry.active.into())
    }

    /// Whether nobody is to try an endpoint of a service and family, or somebody has.
    pub(crate) fn is_tried(&self, service: u32, is_v6: bool) -> bool {
        self.trials.get(&trial(service, is_v6), 0).unwrap_or(0) == 0
    }

    /// Lets the next connection of a service and family try an endpoint.
    ///
    /// # Errors
    /// If the kernel is not to be told.
    pub(crate) fn try_next(&mut self, service: u32, is_v6: bool, target: u32) -> Result<(), SteerError> {
        let wrap = |source| SteerError::Write { name: "TRIALS", source };
        self.trials.set(trial(service, is_v6), target + 1, 0).map_err(wrap)
    }

    /// Lets none of a service's connections try an endpoint.
    ///
    /// # Errors
    /// If the kernel is not to be told.
    pub(crate) fn try_none(&mut self, service: u32) -> Result<(), SteerError> {
        let wrap = |source| SteerError::Write { name: "TRIALS", source };
        let none = |is_v6| self.trials.set(trial(service, is_v6), 0, 0);
        [false, true].into_iter().try_for_each(none).map_err(wrap)
    }

    /// Connections of a service that hold a place, by its number, and all of them by verdict.
    pub(crate) fn usage(&self, service: u32) -> (u64, [u64; VERDICTS]) {
        let active = self.active(service);
        let verdicts = std::array::from_fn(|verdict| sum(&self.served, served(service, verdict as u8)));
        (active, verdicts)
    }

    /// Connections by verdict and reason, in the order of `steer::decision`.
    pub(crate) fn decisions(&self) -> [u64; DECISIONS as usize] {
        std::array::from_fn(|at| sum(&self.decisions, at as u32))
    }

    /// Where it fails, what was told before holds, here too.
    fn tell(&mut self, new: Steer) -> Result<(), SteerError> {
        let wrap = |source| SteerError::Write { name: "STEER", source };
        self.steer.set(0, Abi(new), 0).map_err(wrap)?;
        self.current = new;
        Ok(())
    }
}

impl Handover {
    /// What was handed over with an accepted socket; `None`: nothing was.
    pub(crate) fn of(&self, socket: &impl AsRawFd) -> Option<Handed> {
        self.handed.get(socket, 0).ok().map(|Abi(handed)| handed)
    }

    /// Says for whom a socket is about to be connected to the application, and by which service.
    ///
    /// # Errors
    /// If memory ran out: then the application takes us for its client.
    pub(crate) fn bring(
        &self,
        socket: &impl AsRawFd,
        client: SocketAddr,
        service: Option<u32>,
    ) -> Result<(), SteerError> {
        let wrap = |source| SteerError::Write { name: "CLIENT", source };
        let addr = match client.ip() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        let service = service.and_then(|service| u16::try_from(service).ok()).unwrap_or(NO_INBOUND);
        let client = Client { addr: addr.octets(), port: client.port(), service, pad: 0 };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.insert(socket, Abi(client), 0).map_err(wrap)
    }
}

/// Cookie of a socket's network namespace.
///
/// # Errors
/// Before Linux 5.14 (`SO_NETNS_COOKIE`).
#[expect(unsafe_code, reason = "a socket option without a wrapper")]
pub(crate) fn netns_cookie(socket: &impl AsRawFd) -> io::Result<u64> {
    let mut cookie = 0_u64;
    let mut len = size_of::<u64>() as libc::socklen_t;
    let at = (&raw mut cookie).cast();
    // SAFETY: the kernel writes at most `len` bytes to `cookie`, which has as many.
    let got = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_NETNS_COOKIE, at, &raw mut len)
    };
    if got == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}

/// Leaves a socket's port to connect(), which needs one that is free towards its destination. bind() alone would take one that
/// is free towards all (`IP_BIND_ADDRESS_NO_PORT`, ip(7); for sockets of IPv6, too).
///
/// # Errors
/// Before Linux 4.2.
#[expect(unsafe_code, reason = "a socket option without a wrapper")]
pub(crate) fn bind_no_port(socket: &impl AsRawFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    let (option, at) = (libc::IP_BIND_ADDRESS_NO_PORT, (&raw const on).cast());
    // SAFETY: the kernel reads `len` bytes of `on`, which has as many.
    let set = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_IP, option, at, len) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn sum(counters: &PerCpuArray<MapData, u64>, at: u32) -> u64 {
    counters.get(&at, 0).map_or(0, |cpus| cpus.iter().sum())
}

/// An entry that is not there needs not be removed.
fn there(removed: Result<(), MapError>) -> Result<(), MapError> {
    match removed {
        Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(MapError::KeyNotFound) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::Steer;

    #[test]
    fn whoever_looked_at_the_clock_before_a_sign_of_life_does_not_miss_it() {
        let steer = Steer { beat_ns: 5_000, patience_ns: 1_000, ..Steer::default() };
        assert_eq!([0, 4_999, 5_000, 6_000].map(|now| steer.is_late(now)), [false; 4]);
        assert!(steer.is_late(6_001));
        assert!(!Steer { patience_ns: 0, ..steer }.is_late(u64::MAX / 2));
        assert!(!Steer { patience_ns: i64::MAX.cast_unsigned(), ..steer }.is_late(u64::MAX / 2));
    }
}
