//! Datagrams of the DNS, both ways: all others cost a look at their ports.
//!
//! Kernels before 6.18 let no helper fill bytes on the stack where a number was kept ("attempt to corrupt spilled pointer on
//! stack"): so what reads headers and then looks something up is a function of its own, and reads first.

use aya_ebpf::bindings::bpf_sock;
use sidecar_ebpf::abi::{
    dns::{DNS_PORT, answerer},
    record::INGRESS,
};

use super::dns;
use crate::{
    emit, ends,
    maps::{self, ANSWERERS},
    packet::Packet,
    who,
};

/// A packet of a socket that is not TCP's.
#[inline(never)]
pub(super) fn observe<const DIR: usize>(packet: Packet) {
    let Some(sk) = packet.socket() else { return };
    let is_caught = dns::config().is_some();
    if !is_caught && is_elsewhere(sk) || packet.read_datagram().is_none() || who::of(sk).1 {
        return;
    }
    let (source, to) = ((packet.seq() >> 16) as u16, packet.seq() as u16);
    let mut asked = 0;
    if source != DNS_PORT && to != DNS_PORT {
        if is_caught {
            asked = asked_of::<DIR>(packet);
        }
        if asked == 0 {
            return;
        }
    }
    emit::datagram::<DIR>(packet, asked, emit::now());
}

/// It is connected, and neither end is the DNS's.
#[inline(always)]
fn is_elsewhere(sk: *mut bpf_sock) -> bool {
    let (local, remote) = (ends::local_port(sk), ends::remote_port(sk));
    remote != 0 && remote != DNS_PORT && local != DNS_PORT
}

/// The number, counted from 1, of the resolver that was asked, if the daemon answers in its place at the other end; else 0.
#[inline(never)]
fn asked_of<const DIR: usize>(packet: Packet) -> u32 {
    let is_v6 = packet.is_v6();
    if !packet.is_from_loopback::<DIR>(is_v6) {
        return 0;
    }
    let port = if DIR == INGRESS as usize { packet.seq() >> 16 } else { packet.seq() };
    let Some(number) = maps::entry::<u64, _, _>(&ANSWERERS, &maps::words([answerer(is_v6, port as u16)]))
    else {
        return 0;
    };
    // SAFETY: the verifier proved it.
    (unsafe { number.read_volatile() } as u32).wrapping_add(1)
}
