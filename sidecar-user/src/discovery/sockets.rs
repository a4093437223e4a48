//! Which cgroup a TCP socket of the daemon's own network namespace belongs to, as the kernel tells by `sock_diag`: for sockets
//! that are older than the programs. Needs no capability.
//!
//! Source: sock_diag(7), include/uapi/linux/inet_diag.h and sock_diag.h. The cgroup is told since Linux 5.9.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::OwnedFd,
};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_DUMP: u16 = 0x300;
const INET_DIAG_CGROUP_ID: u16 = 21;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
/// `TCP_LISTEN` as a bit of `idiag_states`.
const LISTENING: u32 = 1 << 10;
const ALL: u32 = u32::MAX;
/// Bytes of `nlmsghdr` and `inet_diag_req_v2`.
const REQUEST: usize = 16 + 56;
/// Bytes of `nlmsghdr`, and of `inet_diag_msg`, after which attributes follow.
const HEADER: usize = 16;
const ANSWER: usize = 72;
/// Answers that are read of one question: more sockets do not listen on one port.
const ANSWERS: usize = 64;

/// The way to ask.
#[derive(Debug)]
pub(crate) struct Sockets(OwnedFd);

impl Sockets {
    /// Opens it.
    ///
    /// # Errors
    /// The system's: the kernel has no `sock_diag`.
    pub(crate) fn open() -> io::Result<Self> {
        let kind = (SocketType::DGRAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK);
        Ok(Self(socket_with(AddressFamily::NETLINK, kind.0, kind.1, Some(netlink::SOCK_DIAG))?))
    }

    /// The cgroup of the socket with these ends and this cookie; `None` where there is no such socket in this network
    /// namespace any more.
    pub(crate) fn cgroup_of(&self, local: SocketAddr, remote: SocketAddr, cookie: u64) -> Option<u64> {
        let ends = [(local.ip().to_canonical(), local.port()), (remote.ip().to_canonical(), remote.port())];
        let family = if ends[0].0.is_ipv4() { AF_INET } else { AF_INET6 };
        self.ask(&request(family, ALL, ends, cookie, 0)).ok()?.first().copied()
    }

    /// The cgroups of the sockets that listen on this port.
    pub(crate) fn listening(&self, port: u16) -> Vec<u64> {
        let any = IpAddr::from([0, 0, 0, 0]);
        let mut cgroups = Vec::new();
        for family in [AF_INET, AF_INET6] {
            let request = request(family, LISTENING, [(any, port), (any, 0)], u64::MAX, NLM_F_DUMP);
            cgroups.extend(self.ask(&request).unwrap_or_default());
        }
        cgroups.sort_unstable();
        cgroups.dedup();
        cgroups
    }

    fn ask(&self, request: &[u8]) -> io::Result<Vec<u64>> {
        send(&self.0, request, SendFlags::empty())?;
        let mut cgroups = Vec::new();
        // The kernel's datagrams are no longer (`NLMSG_GOODSIZE`).
        let mut buffer = [0; 8 << 10];
        // Answers are there when the question is sent, or made as they are read.
        for _ in 0..ANSWERS {
            match recv(&self.0, &mut buffer[..], RecvFlags::empty()) {
                Ok((n, _)) if take(&buffer[..n], &mut cgroups) => {}
                Ok(_) | Err(rustix::io::Errno::AGAIN) => break,
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(cgroups)
    }
}

fn request(family: u8, states: u32, ends: [(IpAddr, u16); 2], cookie: u64, flags: u16) -> [u8; REQUEST] {
    let mut out = [0; REQUEST];
    out[..4].copy_from_slice(&(REQUEST as u32).to_ne_bytes());
    out[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    out[6..8].copy_from_slice(&(NLM_F_REQUEST | flags).to_ne_bytes());
    (out[16], out[17]) = (family, IPPROTO_TCP);
    out[20..24].copy_from_slice(&states.to_ne_bytes());
    // `inet_diag_sockid`
    for (at, (address, port)) in [0, 1].into_iter().zip(ends) {
        out[24 + 2 * at..][..2].copy_from_slice(&port.to_be_bytes());
        let place = &mut out[28 + 16 * at..][..16];
        match address {
            IpAddr::V4(address) => place[..4].copy_from_slice(&address.octets()),
            IpAddr::V6(address) => place.copy_from_slice(&address.octets()),
        }
    }
    out[64..68].copy_from_slice(&(cookie as u32).to_ne_bytes());
    out[68..72].copy_from_slice(&((cookie >> 32) as u32).to_ne_bytes());
    out
}

/// Takes the cgroups out of a datagram of answers; whether there may be more.
fn take(mut datagram: &[u8], cgroups: &mut Vec<u64>) -> bool {
    while let Some(length) = word(datagram, 0).map(|length| length as usize) {
        let message = datagram.get(..length).filter(|_| length >= HEADER);
        let Some(message) = message else { return false };
        match half(message, 4) {
            Some(SOCK_DIAG_BY_FAMILY) => {
                cgroups.extend(cgroup(message.get(HEADER + ANSWER..).unwrap_or_default()))
            }
            Some(NLMSG_DONE) | None => return false,
            // NLMSG_ERROR, and what nobody asked for.
            Some(_) => return false,
        }
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    true
}

/// Of a message's attributes.
fn cgroup(mut attributes: &[u8]) -> Option<u64> {
    while let (Some(length), Some(kind)) = (half(attributes, 0), half(attributes, 2)) {
        let length = usize::from(length);
        let attribute = attributes.get(..length).filter(|_| length >= 4)?;
        if kind == INET_DIAG_CGROUP_ID {
            return Some(u64::from_ne_bytes(attribute.get(4..12)?.try_into().ok()?));
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
    None
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::discovery::cgroup::Cgroup;

    #[test]
    fn a_socket_of_this_process_is_in_its_cgroup() {
        let sockets = Sockets::open().expect("sock_diag");
        let own = Cgroup::own().expect("a cgroup").id;
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let to = listener.local_addr().expect("an address");
            let stream = TcpStream::connect(to).expect("a connection");
            let cookie = rustix::net::sockopt::socket_cookie(&stream).expect("a cookie");
            let ends = (stream.local_addr().expect("an end"), stream.peer_addr().expect("an end"));
            assert_eq!(sockets.listening(to.port()), [own], "{address}");
            assert_eq!(sockets.cgroup_of(ends.0, ends.1, cookie), Some(own), "{address}");
            assert_eq!(sockets.cgroup_of(ends.0, ends.1, cookie + 1), None, "another socket");
            drop(listener);
            assert_eq!(sockets.listening(to.port()), [] as [u64; 0], "{address}");
        }
    }

    #[test]
    fn odd_answers_are_borne() {
        let mut answer = vec![0; HEADER + ANSWER];
        answer[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        for (length, kind) in [(12u16, 20u16), (5, 3), (12, INET_DIAG_CGROUP_ID)] {
            let mut attribute = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
            attribute.resize(usize::from(length).next_multiple_of(4), 7);
            answer.extend(attribute);
        }
        let length = answer.len() as u32;
        answer[..4].copy_from_slice(&length.to_ne_bytes());
        let mut found = Vec::new();
        assert!(take(&answer, &mut found));
        assert_eq!(found, [0x0707_0707_0707_0707]);
        for cut in 0..answer.len() {
            take(&answer[..cut], &mut Vec::new());
        }
        for (at, byte) in (0..answer.len()).flat_map(|at| [0, 1, 3, 255].map(|byte| (at, byte))) {
            let mut odd = answer.clone();
            odd[at] = byte;
            take(&odd, &mut Vec::new());
        }
    }
}
