//! Network namespaces of the test's own.

use std::{
    fs::File,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use rustix::{
    fd::{AsFd as _, OwnedFd},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use crate::{process, tun};

/// A namespace that is removed when dropped.
#[derive(Debug)]
pub struct Netns(String);

static SERIAL: AtomicU32 = AtomicU32::new(0);

impl Netns {
    /// A new one, with its loopback up.
    #[must_use]
    pub fn new() -> Netns {
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let netns = Netns(format!("test-{}-{serial}", std::process::id()));
        process::run(Command::new("ip").args(["netns", "add", &netns.0]));
        netns.ip("link set lo up");
        netns
    }

    /// As `ip netns` lists it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }

    /// `ip -n NAME …`.
    pub fn ip(&self, words: &str) {
        process::run(Command::new("ip").args(["-n", &self.0]).args(words.split_whitespace()));
    }

    /// Sets one of the namespace's own settings: `net.ipv4.ip_local_port_range`.
    pub fn sysctl(&self, name: &str, value: &str) {
        let path = std::path::Path::new("/proc/sys").join(name.replace('.', "/"));
        self.within(|| std::fs::write(path, value)).unwrap_or_else(|error| panic!("set {name}: {error}"));
    }

    /// Words that run what follows them inside.
    #[must_use]
    pub fn wrapper(&self) -> Vec<String> {
        ["ip", "netns", "exec", &self.0].map(str::to_owned).to_vec()
    }

    /// The same for what has to see the cgroups: only the network is the namespace's.
    #[must_use]
    pub fn network(&self) -> Vec<String> {
        vec!["nsenter".into(), format!("--net=/run/netns/{}", self.0)]
    }

    /// Joins it to another by a cable whose ends are called `name`, and gives each end addresses.
    pub fn cable<A: AsRef<str>>(&self, other: &Netns, name: &str, [own, others]: [&[A]; 2]) {
        let words =
            ["link", "add", name, "netns", &self.0, "type", "veth", "peer", "name", name, "netns", &other.0];
        process::run(Command::new("ip").args(words));
        for (netns, addresses) in [(self, own), (other, others)] {
            for address in addresses.iter().map(AsRef::as_ref) {
                // IPv6 addresses are not asked for whether somebody has them already, which takes a second.
                let flags = if address.contains(':') { "nodad" } else { "" };
                netns.ip(&format!("address add {address} dev {name} {flags}"));
            }
            netns.ip(&format!("link set {name} up"));
        }
    }

    /// Runs `body` on a thread of its own inside.
    pub fn within<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        let file = File::open(format!("/run/netns/{}", self.0)).expect("the namespace");
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("enter the namespace");
                body()
            });
            inside.join().expect("what ran inside")
        })
    }

    /// A TUN device inside, up, with this address (and `dev NAME …` words for its route). Its packets come and go by
    /// the descriptor.
    #[must_use]
    pub fn tun(&self, name: &str, address: &str) -> OwnedFd {
        let fd = self.within(|| tun::open(name).expect("a TUN device"));
        self.ip(&format!("address add {address} dev {name}"));
        self.ip(&format!("link set {name} up txqueuelen 10000"));
        fd
    }

    /// A counter of `/proc/net/snmp` or `netstat`: `("Tcp", "RetransSegs")`, `("TcpExt", "TCPSynRetrans")`.
    #[must_use]
    pub fn snmp(&self, group: &str, name: &str) -> u64 {
        let file = |name| std::fs::read_to_string(name).expect("the counters");
        let text =
            self.within(|| file("/proc/thread-self/net/snmp") + &file("/proc/thread-self/net/netstat"));
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(group)?.strip_prefix(": "));
        let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
        let found = names.split(' ').zip(values.split(' ')).find(|(key, _)| *key == name);
        found.expect("the counter").1.parse().expect("a number")
    }
}

impl Default for Netns {
    fn default() -> Self {
        Netns::new()
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        // While panicking there is nobody left to tell.
        let _ = process::output(Command::new("ip").args(["netns", "del", &self.0]));
    }
}
