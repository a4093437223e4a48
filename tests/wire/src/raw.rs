//! Records of any content, whether or not a kernel would write them.

use sidecar_ebpf::abi::{
    record::{
        Account, Head, KIND_ACCOUNT, KIND_CLOSE, KIND_DATA, KIND_DENIED, KIND_FAILED, KIND_LISTEN, KIND_OPEN,
        Opened, Peers,
    },
    steer::{Client, Steered},
};
use zerocopy::IntoBytes;

use crate::{choices::Choices, seen::Core};

const WORDS: [&[u8]; 12] = [
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: ",
    b"POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\nab",
    b"PUT /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n",
    b"HTTP/1.1 101 Switching\r\n\r\n",
    b"0\r\n\r\n",
    b"\r\n\r\n",
    b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
    b"\x00\x01",
];

pub(super) fn records(choices: &mut Choices<'_>, mut core: Core) {
    let (mut clock, mut next) = (0u64, [[0u32; 2]; 12]);
    let mut n_records = 0;
    while !choices.is_over() && n_records < 2000 {
        n_records += 1;
        clock += u64::from(choices.byte()) << choices.of(&[0, 10, 28, 33]);
        if choices.once_in(30) {
            core.sweep(clock);
        }
        if choices.once_in(40) {
            let n = choices.below(200);
            core.record(choices.take(n));
            continue;
        }
        let kind = choices.of(&[
            KIND_DATA,
            KIND_DATA,
            KIND_DATA,
            KIND_DATA,
            KIND_DATA,
            KIND_OPEN,
            KIND_OPEN,
            KIND_LISTEN,
            KIND_CLOSE,
            KIND_ACCOUNT,
            KIND_FAILED,
            KIND_DENIED,
        ]);
        let (connection, dir) = (choices.below(next.len()), choices.byte() & 1);
        let bytes = payload(choices);
        let slot = &mut next[connection][usize::from(dir)];
        let seq = match choices.below(8) {
            0..5 => *slot,
            5 => slot.wrapping_add(choices.byte().into()),
            6 => slot.wrapping_sub(choices.byte().into()),
            _ => choices.word(),
        };
        let copied = bytes.len() as u32;
        let len = if choices.once_in(6) { choices.word() >> choices.below(32) } else { copied };
        *slot = seq.wrapping_add(len.max(copied));
        let edge = match choices.below(4) {
            0..2 => seq,
            2 => seq.wrapping_sub(choices.byte().into()),
            _ => choices.word(),
        };
        let skipped = if choices.once_in(10) { choices.word() >> choices.below(32) } else { 0 };
        let (role, flags) = (choices.byte() % 4, choices.byte());
        let (drained, drained_at) = (seq, choices.byte().into());
        let id = connection as u64;
        let head = Head {
            at_ns: clock,
            id,
            seq,
            len,
            edge,
            copied,
            kind,
            dir,
            role,
            flags: flags & choices.byte(),
            skipped,
            drained,
            drained_at,
            read_at: clock.saturating_sub(choices.byte().into()),
        };
        let mut record = head.as_bytes().to_vec();
        match kind {
            KIND_LISTEN => {
                record.extend_from_slice(peers(connection, next[connection], choices).as_bytes());
            }
            KIND_OPEN | KIND_FAILED | KIND_DENIED => {
                let peers = peers(connection, next[connection], choices);
                let (steered, client) = (steered(choices), client(choices));
                record.extend_from_slice(Opened { peers, steered, client }.as_bytes());
            }
            KIND_CLOSE | KIND_ACCOUNT => record.extend_from_slice(account(choices).as_bytes()),
            _ => {}
        }
        record.extend_from_slice(&bytes);
        core.record(&record);
    }
    core.finish();
}

fn payload(choices: &mut Choices<'_>) -> Vec<u8> {
    match choices.below(6) {
        0 => Vec::new(),
        1 => {
            let n = choices.below(64);
            choices.take(n).to_vec()
        }
        2 => choices.of(&WORDS).repeat(choices.below(400)),
        _ => choices.of(&WORDS).to_vec(),
    }
}

fn peers(connection: usize, [in_seq, out_seq]: [u32; 2], choices: &mut Choices<'_>) -> Peers {
    let mut remote_addr = [0; 16];
    remote_addr[15] = choices.byte();
    let remote_port = 1000 + connection as u16;
    let (tgid, cgroup, netns) = (choices.byte().into(), choices.byte().into(), 1);
    Peers {
        local_addr: [0; 16],
        remote_addr,
        local_port: 80,
        remote_port,
        tgid,
        cgroup,
        netns,
        in_seq,
        out_seq,
    }
}

fn steered(choices: &mut Choices<'_>) -> Steered {
    let mut asked = [0; 16];
    asked[15] = choices.byte();
    let (service, target, port) = (choices.byte().into(), choices.byte().into(), choices.byte().into());
    let (verdict, reason) = (choices.byte() % 8, choices.byte() % 16);
    Steered { asked, service, target, port, verdict, reason, holds: choices.byte().into(), is_reset: 0 }
}

/// As a rule nobody.
fn client(choices: &mut Choices<'_>) -> Client {
    let mut addr = [0; 16];
    if choices.once_in(4) {
        addr[15] = choices.byte();
    }
    Client { addr, port: choices.byte().into(), service: choices.byte().into(), pad: 0 }
}

fn account(choices: &mut Choices<'_>) -> Account {
    let mut long = || u64::from(choices.word()) << (choices.byte() % 16);
    let (in_bytes, out_bytes) = (long(), long());
    let (retransmits, srtt_us) = (choices.word(), choices.word());
    Account {
        in_bytes,
        out_bytes,
        retransmits,
        srtt_us,
        class: u32::from(choices.byte() % 8),
        end: u32::from(choices.byte() % 8),
    }
}
