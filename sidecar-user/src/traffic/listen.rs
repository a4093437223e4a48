//! The relay's listeners: on loopback only, at ports that the kernel chooses.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt::set_socket_reuseaddr,
};
use sidecar_ebpf::abi::steer::LISTENERS;

/// Connections that may wait to be accepted; the kernel's own bound is `net.core.somaxconn`.
const BACKLOG: i32 = 65_535;

/// Several of each family, as the ephemeral ports reach each of them anew: IPv4's must be there, IPv6's are where there is IPv6.
pub(super) fn open() -> io::Result<Vec<std::net::TcpListener>> {
    let mut all = Vec::with_capacity(2 * LISTENERS);
    for _ in 0..LISTENERS {
        all.push(one(Ipv4Addr::LOCALHOST.into())?);
    }
    for _ in 0..LISTENERS {
        match one(Ipv6Addr::LOCALHOST.into()) {
            Ok(listener) => all.push(listener),
            Err(_) => break,
        }
    }
    Ok(all)
}

/// One of each family for what comes in, which the kernel sends there as it is; IPv6's where there is IPv6.
pub(super) fn inbound() -> io::Result<Vec<std::net::TcpListener>> {
    // What it accepts has the application's port, which the application must be able to bind again meanwhile, and while the
    // last of such connections are in TIME_WAIT: both sides have to allow it.
    let shared = |address| one(address).and_then(|one| Ok(set_socket_reuseaddr(&one, true).map(|()| one)?));
    let four = shared(Ipv4Addr::LOCALHOST.into())?;
    Ok([four].into_iter().chain(shared(Ipv6Addr::LOCALHOST.into())).collect())
}

fn one(address: IpAddr) -> io::Result<std::net::TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    bind(&socket, &SocketAddr::new(address, 0))?;
    listen(&socket, BACKLOG)?;
    Ok(socket.into())
}
