//! Which protocol is it? Asks every row of the table with the first bytes of both sides.

use super::{Birth, Detect, Protocol};
use crate::model::{Dir, Role};

/// Bytes of each direction that are kept while the answer is open: HTTP's longest request line and some.
const KEPT: usize = 9 * 1024;
/// Turns after which a connection that was met in the middle is not asked about anew,
const ATTEMPTS: u32 = 64;
/// where so many pieces of one turn count as another: as a rule they are one message's rest, and the kernel copies 4 MiB
/// of it, which may be 3000 packets.
const PIECES: u32 = 256;

/// The detection of one connection's protocol.
#[derive(Debug)]
pub struct Detector {
    table: &'static [&'static Protocol],
    role: Option<Role>,
    /// Pieces of which a No is taken for one about these bytes only; the first of a turn costs as much as [`PIECES`].
    attempts: u32,
    /// Whose bytes were last refused.
    refused: Option<Dir>,
    /// The server's port, by each [`Role`] of the observed end: it breaks a tie.
    ports: [u16; 2],
    /// First bytes, by [`Dir::index`].
    kept: [Vec<u8>; 2],
}

/// How a detection stands.
#[derive(Clone, Copy, Debug)]
pub enum Detection {
    /// It needs more bytes.
    Pending,
    /// It is this.
    Known {
        /// The row of the table.
        protocol: &'static Protocol,
        /// What the observed end is: as it was given, or as the bytes showed, or else the ports. `None` where the bytes fit
        /// either way, and neither or both of the ports are the protocol's.
        role: Option<Role>,
    },
    /// It is none of the table, or the bound was reached. Ask no more.
    Unknown,
}

impl Detector {
    /// A detector for a connection of which nothing was seen. Where the role is not known, the bytes may show it.
    ///
    /// A connection met in the middle may begin in the middle of anything, so that the table's No is not final: the
    /// bytes it was given for are dropped, and the next are asked about, for a bounded number of turns.
    #[must_use]
    pub fn new(role: Option<Role>, birth: Birth, local: u16, remote: u16) -> Self {
        Detector::with_table(super::ALL, role, birth, local, remote)
    }

    /// The same with another table.
    #[must_use]
    pub fn with_table(
        table: &'static [&'static Protocol],
        role: Option<Role>,
        birth: Birth,
        local: u16,
        remote: u16,
    ) -> Self {
        let attempts = match birth {
            Birth::Seen => 1,
            Birth::Joined => ATTEMPTS * PIECES,
        };
        // By the server's side of each role.
        let mut ports = [0; 2];
        (ports[Role::Client as usize], ports[Role::Server as usize]) = (remote, local);
        Detector { table, role, attempts, refused: None, ports, kept: Default::default() }
    }

    /// The next bytes in `dir`.
    pub fn push(&mut self, dir: Dir, bytes: &[u8]) -> Detection {
        let kept = &self.kept[dir.index()];
        // The usual case: the first packet says it all, and nothing is copied.
        let detection = if kept.is_empty() {
            self.ask(dir, bytes)
        } else {
            let room = KEPT.saturating_sub(kept.len()).min(bytes.len());
            self.kept[dir.index()].extend_from_slice(&bytes[..room]);
            self.ask(dir, &self.kept[dir.index()])
        };
        match detection {
            Answer::Open if self.kept[dir.index()].is_empty() => {
                self.kept[dir.index()].extend_from_slice(&bytes[..bytes.len().min(KEPT)]);
                Detection::Pending
            }
            Answer::Open => Detection::Pending,
            Answer::Known { protocol, role } => {
                self.kept = Default::default();
                Detection::Known { protocol, role }
            }
            Answer::None => {
                self.kept = Default::default();
                let is_turn = self.refused.replace(dir) != Some(dir);
                self.attempts = self.attempts.saturating_sub(if is_turn { PIECES } else { 1 });
                if self.attempts == 0 { Detection::Unknown } else { Detection::Pending }
            }
        }
    }

    /// Some bytes were lost: what comes may begin in the middle of anything, as on a connection met in the middle.
    pub fn miss(&mut self) {
        self.kept = Default::default();
        self.attempts = ATTEMPTS * PIECES;
    }

    /// Nothing more comes, of a connection whose role is known: the one row that says yes, whoever else is in doubt; where none
    /// does, the one that all that passed fits, if it is only one.
    #[must_use]
    pub fn last(&self) -> Detection {
        let Some(role) = self.role else { return Detection::Unknown };
        let Asked { yes, open } = self.rows(&self.kept[0], &self.kept[1]);
        match yes.broken().or_else(|| open.broken().filter(|_| yes.n == 0)) {
            Some((protocol, _)) => Detection::Known { protocol, role: Some(role) },
            None => Detection::Unknown,
        }
    }

    /// Bytes of `dir` that the answer is still open about. Empty after a push: what was pushed so far plays no part
    /// any more.
    #[must_use]
    pub fn kept(&self, dir: Dir) -> &[u8] {
        &self.kept[dir.index()]
    }

    /// Bytes of memory that it holds.
    #[must_use]
    pub fn held(&self) -> usize {
        self.kept.iter().map(Vec::capacity).sum()
    }

    /// What the table says, with `bytes` as the first of `dir`: the one row that says yes when no other is in doubt any
    /// more, or when there is no room to wait any longer.
    fn ask(&self, dir: Dir, bytes: &[u8]) -> Answer {
        let first = |asked: Dir| if asked == dir { bytes } else { &self.kept[asked.index()] };
        let is_full = bytes.len() >= KEPT;
        let Asked { yes, open } = self.rows(first(Dir::Ingress), first(Dir::Egress));
        match yes.broken() {
            _ if open.n > 0 && !is_full => Answer::Open,
            Some((protocol, role)) => Answer::Known { protocol, role },
            None if yes.n > 0 && !is_full => Answer::Open,
            None => Answer::None,
        }
    }

    /// Who says what to these first bytes.
    fn rows(&self, ingress: &[u8], egress: &[u8]) -> Asked {
        let mut asked = Asked::default();
        for protocol in self.table.iter().copied() {
            let of_role = |role: Role| match role {
                Role::Client => (protocol.detect)(egress, ingress),
                Role::Server => (protocol.detect)(ingress, egress),
            };
            let (answer, role) = match self.role {
                Some(role) => (of_role(role), Some(role)),
                None => either(of_role(Role::Client), of_role(Role::Server)),
            };
            let said = match answer {
                Detect::Yes => &mut asked.yes,
                Detect::NeedMore => &mut asked.open,
                Detect::No => continue,
            };
            let role = role.or_else(|| self.hinted(protocol));
            said.add(protocol, role, self.is_hinted(protocol, role));
        }
        asked
    }

    /// The role whose server's port is one of the protocol's, where the other's is none.
    fn hinted(&self, protocol: &'static Protocol) -> Option<Role> {
        let has = |role: Role| protocol.ports.contains(&self.ports[role as usize]);
        match (has(Role::Client), has(Role::Server)) {
            (true, false) => Some(Role::Client),
            (false, true) => Some(Role::Server),
            _ => None,
        }
    }

    /// The server's port is one of the protocol's.
    fn is_hinted(&self, protocol: &Protocol, role: Option<Role>) -> bool {
        let has = |role: Role| protocol.ports.contains(&self.ports[role as usize]);
        role.map_or_else(|| has(Role::Client) || has(Role::Server), has)
    }
}

/// What the rows say to the same bytes.
#[derive(Default)]
struct Asked {
    yes: Tie,
    /// They are in doubt.
    open: Tie,
}

/// Rows that say the same.
#[derive(Default)]
struct Tie {
    n: usize,
    n_hinted: usize,
    /// The last of them; a hinted one before any other.
    last: Option<(&'static Protocol, Option<Role>)>,
}

impl Tie {
    fn add(&mut self, protocol: &'static Protocol, role: Option<Role>, is_hinted: bool) {
        self.n += 1;
        self.n_hinted += usize::from(is_hinted);
        if is_hinted || self.n_hinted == 0 {
            self.last = Some((protocol, role));
        }
    }

    /// The one that is meant, if that can be told.
    fn broken(&self) -> Option<(&'static Protocol, Option<Role>)> {
        self.last.filter(|_| self.n == 1 || self.n_hinted == 1)
    }
}

/// A row's answer where the role is not known, and the role that it shows.
fn either(as_client: Detect, as_server: Detect) -> (Detect, Option<Role>) {
    match (as_client, as_server) {
        (Detect::Yes, Detect::Yes) => (Detect::Yes, None),
        (Detect::Yes, _) => (Detect::Yes, Some(Role::Client)),
        (_, Detect::Yes) => (Detect::Yes, Some(Role::Server)),
        (Detect::No, Detect::No) => (Detect::No, None),
        (Detect::NeedMore, _) | (_, Detect::NeedMore) => (Detect::NeedMore, None),
    }
}

enum Answer {
    Open,
    Known { protocol: &'static Protocol, role: Option<Role> },
    None,
}

#[cfg(test)]
mod tests {
    use super::super::Then;
    use super::*;
    use Dir::{Egress, Ingress};

    /// Feeds a conversation, and writes the answer as `name role` or as what it stands at.
    fn ask(detector: &mut Detector, pushes: &[(Dir, &[u8])]) -> String {
        let mut said = Detection::Pending;
        for (dir, bytes) in pushes {
            said = detector.push(*dir, bytes);
            if !matches!(said, Detection::Pending) {
                break;
            }
        }
        written(said)
    }

    fn written(said: Detection) -> String {
        match said {
            Detection::Pending => "pending".to_owned(),
            Detection::Unknown => "unknown".to_owned(),
            Detection::Known { protocol, role } => {
                format!("{} {}", protocol.name, role.map_or("any".to_owned(), |role| format!("{role:?}")))
            }
        }
    }

    const HELLO: &[u8] = &[0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3];
    const DATA: &[u8] = &[0x17, 3, 3, 0, 2, 0xaa, 0xbb];
    /// What no row waits for more of.
    const NOTHING: &[u8] = b"\xf1\xf2\xf3\xf4\xf5\xf6\xf7\xf8";

    #[test]
    fn conversations() {
        type Case<'a> = (&'a str, Option<Role>, Birth, &'a [(Dir, &'a [u8])], &'a str);
        let (client, server) = (Some(Role::Client), Some(Role::Server));
        let cases: &[Case<'_>] = &[
            ("a request", server, Birth::Seen, &[(Ingress, b"GET / HTTP/1.1\r\n\r\n")], "http Server"),
            ("a request sent", client, Birth::Seen, &[(Egress, b"GET / HTTP/1.1\r\n\r\n")], "http Client"),
            ("the role is seen", None, Birth::Seen, &[(Ingress, b"GET / HTTP/1.1\r\n\r\n")], "http Server"),
            ("the role is seen, sent", None, Birth::Seen, &[(Egress, b"GET / HTTP/1.1\r\n")], "http Client"),
            ("by the response", None, Birth::Joined, &[(Ingress, b"HTTP/1.1 200 OK\r\n")], "http Client"),
            (
                "in pieces",
                server,
                Birth::Seen,
                &[(Ingress, b"GET / HT"), (Ingress, b"TP/1.1\r\n")],
                "http Server",
            ),
            ("pieces so far", server, Birth::Seen, &[(Ingress, b"GET / HT")], "pending"),
            ("nothing", server, Birth::Seen, &[], "pending"),
            ("a hello", client, Birth::Seen, &[(Egress, HELLO)], "tls Client"),
            ("a hello shows the role", None, Birth::Seen, &[(Ingress, HELLO)], "tls Server"),
            ("records show none", None, Birth::Joined, &[(Ingress, DATA), (Egress, DATA)], "tls any"),
            ("text", server, Birth::Seen, &[(Ingress, b"EHLO a\r\n")], "unknown"),
            ("the server speaks first", server, Birth::Seen, &[(Egress, b"220 smtp\r\n")], "unknown"),
            (
                "met in a body",
                server,
                Birth::Joined,
                &[(Ingress, b"\x01\x02\x03"), (Egress, b"HTTP/1.1 200 OK\r\n")],
                "http Server",
            ),
            (
                "met in a response's body, the role not known",
                None,
                Birth::Joined,
                &[(Egress, b"\x01\x02"), (Egress, b"\x03"), (Ingress, b"GET / HTTP/1.1\r\n")],
                "http Server",
            ),
        ];
        for (name, role, birth, pushes, answer) in cases {
            assert_eq!(ask(&mut Detector::new(*role, *birth, 1, 2), pushes), *answer, "{name}");
        }
    }

    #[test]
    fn what_nothing_more_comes_of() {
        const SETTINGS: &[u8] = b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x04\x00\x40\x00\x00";
        const WINDOW: &[u8] = b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x10\x00";
        let (client, server) = (Some(Role::Client), Some(Role::Server));
        let opening = [SETTINGS, WINDOW].concat();
        type Case<'a> = (&'a str, Option<Role>, &'a [(Dir, &'a [u8])], &'a str);
        let cases: &[Case<'_>] = &[
            ("nothing at all", server, &[], "unknown"),
            ("HTTP/2's server, whom nobody asked", server, &[(Egress, &opening)], "http2 Server"),
            ("its client's view", client, &[(Ingress, &opening)], "http2 Client"),
            ("whose it is, nobody knows", None, &[(Egress, &opening)], "unknown"),
            ("a part of a request", server, &[(Ingress, b"GET / HT")], "http Server"),
            ("what may be much", server, &[(Ingress, b"\x00")], "unknown"),
        ];
        for (name, role, pushes, answer) in cases {
            let mut detector = Detector::new(*role, Birth::Seen, 1, 2);
            assert_eq!(ask(&mut detector, pushes), "pending", "{name}");
            assert_eq!(written(detector.last()), *answer, "{name}");
        }
        let doubt: &[&'static [&'static Protocol]] = &[&[&NEVER, &QUICK], &[&QUICK, &NEVER]];
        for (tables, answer) in [(doubt, "quick Server"), (&[&[&NEVER, &NEVER]], "unknown")] {
            for table in tables {
                let mut detector = Detector::with_table(table, server, Birth::Seen, 1, 2);
                assert_eq!(ask(&mut detector, &[(Ingress, b"ab")]), "pending");
                assert_eq!(written(detector.last()), answer);
            }
        }
    }

    /// Three Closes of statements, or tags of three commands.
    #[test]
    fn what_fits_either_way_goes_by_the_port() {
        let either = b"C\0\0\0\x08SAB\0".repeat(3);
        for (local, remote, answer) in [
            (1, 2, "postgresql any"),
            (5432, 2, "postgresql Server"),
            (1, 5432, "postgresql Client"),
            (6432, 5432, "postgresql any"),
        ] {
            let mut detector = Detector::new(None, Birth::Joined, local, remote);
            assert_eq!(ask(&mut detector, &[(Ingress, &either)]), answer, "{local} {remote}");
        }
    }

    #[test]
    fn a_long_request_line_is_waited_for_up_to_a_bound() {
        for (n, answer) in [(4000, "http Server"), (8100, "http Server"), (20_000, "unknown")] {
            let line = format!("GET /{} HTTP/1.1\r\n", "a".repeat(n));
            let pushes: Vec<_> = line.as_bytes().chunks(1448).map(|piece| (Ingress, piece)).collect();
            assert_eq!(
                ask(&mut Detector::new(Some(Role::Server), Birth::Seen, 1, 2), &pushes),
                answer,
                "{n}"
            );
        }
    }

    #[test]
    fn an_endless_puzzle_is_given_up() {
        let both = |n: u32| if n.is_multiple_of(2) { Ingress } else { Egress };
        let turns: Vec<(Dir, &[u8])> = (0..ATTEMPTS).map(|n| (both(n), NOTHING)).collect();
        assert_eq!(ask(&mut Detector::new(None, Birth::Joined, 1, 2), &turns), "unknown");
        let one_turn = vec![(Ingress, NOTHING); (ATTEMPTS * PIECES) as usize];
        assert_eq!(ask(&mut Detector::new(None, Birth::Joined, 1, 2), &one_turn), "unknown");
    }

    #[test]
    fn a_long_rest_is_no_puzzle() {
        let mut pushes = vec![(Egress, NOTHING); 3000];
        pushes.push((Ingress, b"GET / HTTP/1.1\r\n"));
        assert_eq!(ask(&mut Detector::new(Some(Role::Server), Birth::Joined, 1, 2), &pushes), "http Server");
    }

    /// Yes from the third byte on.
    fn slow(client: &[u8], _: &[u8]) -> Detect {
        match client.len() {
            _ if client.contains(&b'x') => Detect::No,
            0..3 => Detect::NeedMore,
            _ => Detect::Yes,
        }
    }

    fn quick(client: &[u8], _: &[u8]) -> Detect {
        if client.is_empty() { Detect::NeedMore } else { Detect::Yes }
    }

    fn never_sure(_: &[u8], _: &[u8]) -> Detect {
        Detect::NeedMore
    }

    fn opened(_: std::sync::Arc<super::super::Limits>, _: Birth) -> Box<dyn super::super::Parser> {
        unreachable!("nobody parses here")
    }

    const fn row(name: &'static str, detect: fn(&[u8], &[u8]) -> Detect, ports: &'static [u16]) -> Protocol {
        Protocol { name, detect, ports, then: Then::Parse(opened) }
    }

    const SLOW: Protocol = row("slow", slow, &[]);
    const QUICK: Protocol = row("quick", quick, &[]);
    const HINTED: Protocol = row("hinted", quick, &[7]);
    const NEVER: Protocol = row("never", never_sure, &[]);

    #[test]
    fn what_is_ambiguous_is_waited_out_and_never_settled_by_order() {
        let check =
            |tables: &[&'static [&'static Protocol]], bytes: &[u8], ports: (u16, u16), answer: &str| {
                for table in tables {
                    let (local, remote) = ports;
                    let (role, birth) = (Some(Role::Server), Birth::Seen);
                    let mut detector = Detector::with_table(table, role, birth, local, remote);
                    let pushes: Vec<_> = bytes.chunks(1).map(|byte| (Ingress, byte)).collect();
                    assert_eq!(ask(&mut detector, &pushes), answer, "{bytes:?} {ports:?}");
                }
            };
        let doubt: &[&'static [&'static Protocol]] = &[&[&SLOW, &QUICK], &[&QUICK, &SLOW]];
        check(doubt, b"ab", (1, 2), "pending");
        check(doubt, b"ax", (1, 2), "quick Server");
        check(doubt, b"abc", (1, 2), "pending");
        check(doubt, &[b'a'; KEPT], (1, 2), "unknown");
        check(&[&[&NEVER, &QUICK], &[&QUICK, &NEVER]], &[b'a'; KEPT - 1], (1, 2), "pending");
        check(&[&[&NEVER, &QUICK], &[&QUICK, &NEVER]], &[b'a'; KEPT], (1, 2), "quick Server");
        check(&[&[&NEVER]], &[b'a'; KEPT], (1, 2), "unknown");
        let tie: &[&'static [&'static Protocol]] = &[&[&HINTED, &QUICK], &[&QUICK, &HINTED]];
        check(tie, b"a", (7, 2), "hinted Server");
        check(tie, b"a", (1, 7), "pending");
    }
}
