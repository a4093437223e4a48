//! Records of a server's connections, as `sidecar-ebpf` writes them.

use sidecar_ebpf::abi::{
    record::{EGRESS, FLAG_PSH, Head, INGRESS, KIND_DATA, KIND_OPEN, Opened, Peers, ROLE_SERVER, ROOMS},
    steer::{Client, Steered},
};
use zerocopy::IntoBytes as _;

const REQUEST: &[u8] = b"GET /users/4711/posts HTTP/1.1\r\nHost: api.shop.test:8080\r\n\
    User-Agent: h2load nghttp2/1.52.0\r\nAccept: */*\r\n\r\n";
const RESPONSE_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Fri, 27 Nov 2026 04:00:00 GMT\r\n\
    Content-Type: application/octet-stream\r\nContent-Length: 100\r\nLast-Modified: Fri, 27 Nov 2026 03:00:00 GMT\r\n\
    Connection: keep-alive\r\nETag: \"6567a1b2-64\"\r\nAccept-Ranges: bytes\r\n\r\n";
const BODY: [u8; 100] = [b'x'; 100];
/// From a request to its response, and from a response to the next request.
const STEP_NS: u64 = 20_000;

/// Where the connections are.
pub(super) struct Records {
    response: Vec<u8>,
    /// Next sequence numbers.
    next: Vec<[u32; 2]>,
    clock: u64,
}

impl Records {
    pub(super) fn new(connections: usize) -> Self {
        let response = [RESPONSE_HEAD, &BODY].concat();
        Records { response, next: vec![[1000, 5000]; connections], clock: 1_000_000_000 }
    }

    /// Their beginnings.
    pub(super) fn opening(&self) -> Vec<Vec<u8>> {
        let one = |(at, next): (usize, &[u32; 2])| {
            let head = Head { kind: KIND_OPEN, ..self.head(at) };
            let peers = Peers {
                local_addr: std::net::Ipv4Addr::LOCALHOST.to_ipv6_mapped().octets(),
                remote_addr: std::net::Ipv4Addr::new(10, 0, 0, at as u8).to_ipv6_mapped().octets(),
                local_port: 8080,
                remote_port: at as u16,
                tgid: 7,
                cgroup: 9,
                netns: 1,
                in_seq: next[0],
                out_seq: next[1],
            };
            let opened = Opened { peers, steered: Steered::default(), client: Client::default() };
            [head.as_bytes(), opened.as_bytes()].concat()
        };
        self.next.iter().enumerate().map(one).collect()
    }

    /// So many exchanges of each connection, by turns; read by [`each`].
    pub(super) fn lap(&mut self, per_connection: usize) -> Vec<u8> {
        let mut lap = Vec::new();
        for _ in 0..per_connection {
            for at in 0..self.next.len() {
                self.data(at, INGRESS, &mut lap);
                self.data(at, EGRESS, &mut lap);
            }
        }
        lap
    }

    fn data(&mut self, at: usize, dir: u8, lap: &mut Vec<u8>) {
        self.clock += STEP_NS;
        let bytes = if dir == INGRESS { REQUEST } else { &self.response };
        let n = bytes.len() as u32;
        let [.., sent] = self.next[at];
        let seq = self.next[at][usize::from(dir)];
        // By the next request everything that was sent has been acknowledged.
        let head =
            Head { seq, len: n, edge: seq, copied: n, dir, flags: FLAG_PSH, drained: sent, ..self.head(at) };
        let room = ROOMS.iter().find(|room| **room >= bytes.len()).copied().unwrap_or(bytes.len());
        lap.extend(((size_of::<Head>() + room) as u64).to_ne_bytes());
        lap.extend(head.as_bytes());
        lap.extend(bytes);
        lap.resize(lap.len() + room - bytes.len(), 0);
        self.next[at][usize::from(dir)] = seq.wrapping_add(n);
    }

    fn head(&self, at: usize) -> Head {
        Head {
            at_ns: self.clock,
            id: at as u64 + 1,
            seq: 0,
            len: 0,
            edge: 0,
            copied: 0,
            kind: KIND_DATA,
            dir: INGRESS,
            role: ROLE_SERVER,
            flags: 0,
            skipped: 0,
            drained: 0,
            drained_at: (self.clock >> 10) as u32,
            read_at: 0,
        }
    }
}

/// The records of a lap: each behind its length, as in the ring.
pub(super) fn each(lap: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = lap;
    std::iter::from_fn(move || {
        let (len, after) = rest.split_first_chunk::<8>()?;
        let (record, after) = after.split_at_checked(u64::from_ne_bytes(*len) as usize)?;
        rest = after;
        Some(record)
    })
}
