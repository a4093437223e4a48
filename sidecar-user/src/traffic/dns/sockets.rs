//! Sockets that stand for resolvers: on loopback only, at ports that the kernel chooses.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket},
    rc::Rc,
};

use sidecar_ebpf::abi::dns::RESOLVERS;
use tokio::task::LocalSet;

use super::{Shared, tcp, udp};

/// Those of one resolver, of IPv4 and, where there is any, of IPv6.
pub(in crate::traffic) struct Set {
    pub(in crate::traffic) udp: Vec<UdpSocket>,
    pub(in crate::traffic) tcp: Vec<TcpListener>,
}

/// One set for each resolver that there may be.
pub(in crate::traffic) fn open() -> io::Result<Vec<Set>> {
    let four = IpAddr::from(Ipv4Addr::LOCALHOST);
    let six = IpAddr::from(Ipv6Addr::LOCALHOST);
    let set = |_| {
        let (udp, tcp) = pair(four)?;
        let mut set = Set { udp: vec![udp], tcp: vec![tcp] };
        if let Ok((udp, tcp)) = pair(six) {
            set.udp.push(udp);
            set.tcp.push(tcp);
        }
        Ok(set)
    };
    (0..RESOLVERS).map(set).collect()
}

fn pair(address: IpAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let (udp, tcp) = (UdpSocket::bind((address, 0))?, TcpListener::bind((address, 0))?);
    udp.set_nonblocking(true)?;
    tcp.set_nonblocking(true)?;
    Ok((udp, tcp))
}

impl Set {
    /// Starts to answer, within a runtime.
    pub(super) fn serve(self, number: usize, shared: &Rc<Shared>, local: &LocalSet) -> io::Result<()> {
        for socket in self.udp {
            let socket = Rc::new(tokio::net::UdpSocket::from_std(socket)?);
            local.spawn_local(udp::serve(socket, number, Rc::clone(shared)));
        }
        for listener in self.tcp {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            local.spawn_local(tcp::serve(listener, number, Rc::clone(shared)));
        }
        Ok(())
    }
}
