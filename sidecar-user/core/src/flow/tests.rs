//! Connections from events, with what comes of them written down.

use std::time::Duration;

use sidecar_ebpf::abi::verdict::{
    BUDGET_ALL, CLASS_ENCRYPTED, CLASS_EXCLUDED, CLASS_MPTCP, CLASS_PARSED, CLASS_UNCLASSIFIED, Endpoint,
    SKIP_EGRESS, Verdict,
};

use super::{Exclude, Flows, Options, Sink};
use crate::{
    event::{Drained, Ends, Event, Segment},
    model::{
        Account, Activity, Connection, ConnectionId, Detail, Dir, End, Exchange, Failure, Ktime, Message,
        Outcome, Role, Start, Tcp,
    },
    protocol::Protocol,
};

mod delivery;

const TURN: u32 = 1 << 20;
const HEAD: u32 = 4096;
const HELD: usize = 30_000;
pub(super) const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
pub(super) const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A ClientHello, and the alert that answers it.
const HELLO: &[u8] = &[0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0];
const REFUSED: &[u8] = &[0x15, 3, 3, 0, 2, 2, 40];

/// What a sink was told.
#[derive(Default)]
pub(super) struct Told {
    /// `server 200` and the like.
    exchanges: Vec<String>,
    verdicts: Vec<(ConnectionId, Verdict)>,
    endpoints: Vec<(Endpoint, Verdict)>,
    forgotten: Vec<ConnectionId>,
    started: u64,
    /// What the connections are at, by `Activity`.
    activity: [i64; 2],
    delivered: Vec<u64>,
    /// When each exchange was read.
    pub(super) reads: Vec<Option<u64>>,
    tcp: Vec<(Option<ConnectionId>, Tcp)>,
}

impl Sink for Told {
    fn started(&mut self, _: &Connection, _: &Start) {
        self.started += 1;
    }

    fn activity(&mut self, _: &Connection, from: Option<Activity>, to: Option<Activity>) {
        assert_ne!(from, to);
        if let Some(from) = from {
            self.activity[from as usize] -= 1;
        }
        if let Some(to) = to {
            self.activity[to as usize] += 1;
        }
    }

    fn finished(&mut self, connection: &Connection, _: &'static Protocol, exchange: Exchange) {
        self.reads.push(exchange.read.map(|read| read.0));
        let status = match exchange.detail {
            Detail::Http(http) => http.status,
            Detail::Tls(tls) => tls.alert.map(u16::from),
            other => panic!("{other:?}"),
        };
        let role = match connection.role {
            Some(Role::Client) => "client",
            Some(Role::Server) => "server",
            None => "?",
        };
        let what = match (exchange.outcome, status) {
            (Outcome::Complete, Some(status)) => status.to_string(),
            (outcome, _) => format!("{outcome:?}"),
        };
        self.exchanges.push(format!("{role} {what}"));
    }

    fn message(&mut self, _: &Connection, _: &'static Protocol, _: &Message) {}

    fn delivered(&mut self, _: Ktime, _: &Connection, _: &'static Protocol, took: Duration) {
        self.delivered.push(took.as_nanos() as u64);
    }

    fn tcp(&mut self, _: Ktime, connection: Option<&Connection>, what: Tcp) {
        self.tcp.push((connection.map(|one| one.id), what));
    }

    fn judge(&mut self, id: ConnectionId, verdict: Verdict) {
        self.verdicts.push((id, verdict));
    }

    fn judge_endpoint(&mut self, endpoint: Endpoint, verdict: Verdict) {
        self.endpoints.push((endpoint, verdict));
    }

    fn forget(&mut self, id: ConnectionId) {
        self.forgotten.push(id);
    }
}

/// A table, and one connection's sequence numbers.
pub(super) struct Play {
    pub(super) flows: Flows,
    pub(super) told: Told,
    pub(super) next: [u32; 2],
    begun: [u32; 2],
    clock: u64,
}

pub(super) const ID: ConnectionId = ConnectionId(7);

impl Play {
    pub(super) fn new() -> Play {
        Play::excluding(Exclude::default())
    }

    fn excluding(exclude: Exclude) -> Play {
        let options = Options {
            connections: 4,
            turn_bytes: TURN,
            head_bytes: HEAD,
            held_bytes: HELD,
            reads: true,
            wire: false,
            limits: std::sync::Arc::default(),
            exclude,
        };
        Play {
            flows: Flows::new(options),
            told: Told::default(),
            next: [1000, 5000],
            begun: [1000, 5000],
            clock: 0,
        }
    }

    fn ends(&self) -> Ends {
        Ends {
            local: ([127, 0, 0, 1], 80).into(),
            remote: ([127, 0, 0, 1], 40000).into(),
            via: None,
            netns: 1,
            tgid: 1,
            cgroup: 1,
            next: self.next,
            decided: None,
        }
    }

    pub(super) fn open(&mut self, role: Option<Role>, joined: bool) -> &mut Self {
        self.begun = self.next;
        let event = Event::Open {
            id: ID,
            at: Ktime(self.clock),
            role,
            joined,
            mptcp: false,
            ends: self.ends(),
            connect: None,
        };
        self.flows.apply(&event, &mut self.told);
        self
    }

    /// The next bytes of a direction, of which the first `copied` came along.
    fn part(&mut self, dir: Dir, bytes: &[u8], copied: usize) -> &mut Self {
        self.clock += 1;
        let seq = self.next[dir.index()];
        self.next[dir.index()] = seq.wrapping_add(bytes.len() as u32);
        let segment = segment(dir, self.clock, seq, bytes.len() as u32, &bytes[..copied]);
        self.flows.apply(&Event::Data { id: ID, segment }, &mut self.told);
        self
    }

    fn data(&mut self, dir: Dir, bytes: &[u8]) -> &mut Self {
        self.part(dir, bytes, bytes.len())
    }

    pub(super) fn close(&mut self) -> &mut Self {
        self.close_as(End::Orderly)
    }

    fn close_as(&mut self, end: End) -> &mut Self {
        let bytes = [u64::from(self.next[0] - self.begun[0]), u64::from(self.next[1] - self.begun[1])];
        let event = Event::Closed {
            id: ID,
            at: Ktime(self.clock),
            end,
            account: Account { bytes, ..Account::default() },
            is_unjudged: true,
            drained: Drained::default(),
        };
        self.flows.apply(&event, &mut self.told);
        self
    }
}

pub(super) fn segment(dir: Dir, at: u64, seq: u32, len: u32, bytes: &[u8]) -> Segment<'_> {
    Segment {
        dir,
        at: Ktime(at),
        seq,
        len,
        bytes,
        edge: seq,
        skipped: 0,
        fin: false,
        rst: false,
        drained: Drained::default(),
        read: None,
    }
}

#[test]
fn a_server_and_a_client() {
    for (role, request, response) in
        [(Role::Server, Dir::Ingress, Dir::Egress), (Role::Client, Dir::Egress, Dir::Ingress)]
    {
        let mut play = Play::new();
        play.open(Some(role), false).data(request, GET).data(response, OK).close();
        let name = if role == Role::Server { "server 200" } else { "client 200" };
        assert_eq!(play.told.exchanges, [name]);
        assert_eq!(play.told.started, 1);
        assert_eq!(play.flows.tally().explained, (GET.len() + OK.len()) as u64);
        assert!(play.flows.is_empty());
        assert!(play.told.forgotten.is_empty(), "there was no verdict to forget");
    }
}

#[test]
fn whose_reset_it_was_depends_on_the_role() {
    for (role, request, end, told) in [
        (Role::Server, Dir::Ingress, End::Received, "server Unanswered(Reset(Client))"),
        (Role::Server, Dir::Ingress, End::Sent, "server Unanswered(Reset(Server))"),
        (Role::Client, Dir::Egress, End::Received, "client Unanswered(Reset(Server))"),
        (Role::Client, Dir::Egress, End::Sent, "client Unanswered(Reset(Client))"),
        (Role::Client, Dir::Egress, End::Expired, "client Unanswered(Expired)"),
    ] {
        let mut play = Play::new();
        play.open(Some(role), false).data(request, GET).close_as(end);
        assert_eq!(play.told.exchanges, [told]);
    }
}

#[test]
fn what_a_connection_is_at_is_told_and_taken_back() {
    let mut play = Play::new();
    let (idle, active) = ([1, 0], [0, 1]);
    play.open(Some(Role::Client), false);
    assert_eq!(play.told.activity, [0; 2], "nobody knows that it is HTTP");
    play.data(Dir::Egress, GET);
    assert_eq!(play.told.activity, active);
    play.data(Dir::Ingress, OK);
    assert_eq!(play.told.activity, idle);
    play.data(Dir::Egress, &[GET, GET].concat()).data(Dir::Ingress, OK);
    assert_eq!(play.told.activity, active, "one is not answered");
    play.close();
    assert_eq!(play.told.activity, [0; 2]);

    // It speaks something else from here on.
    play.open(Some(Role::Client), false).data(Dir::Egress, GET);
    assert_eq!(play.told.activity, active);
    play.data(Dir::Ingress, b"HTTP/1.1 101 Switching Protocols\r\n\r\n");
    assert_eq!(play.told.activity, [0; 2]);
}

#[test]
fn the_bytes_show_an_unknown_role() {
    let mut play = Play::new();
    play.open(None, true).data(Dir::Ingress, GET).data(Dir::Egress, OK);
    assert_eq!(play.told.exchanges, ["server 200"]);
    let (_, verdict) = play.told.verdicts[0];
    assert_eq!(verdict.role, 2, "the kernel is told the role");
}

/// Closes of PostgreSQL's statements, or tags of its commands: whose they are only other connections say.
#[test]
fn another_connection_shows_an_unknown_role() {
    let either = b"C\0\0\0\x08SAB\0".repeat(3);
    let mut play = Play::new();
    play.open(None, true).data(Dir::Ingress, &either).close();
    assert_eq!(play.flows.tally().classified, [0, 0, 1, 0, 0]);
    play.open(Some(Role::Server), false).close();
    play.open(None, true).data(Dir::Ingress, &either);
    assert_eq!(play.flows.tally().classified, [1, 0, 1, 0, 0]);
    assert_eq!(play.flows.lines(1).0[0].connection.role, Some(Role::Server));
}

#[test]
fn data_on_the_listening_socket_waits_for_its_connection() {
    let mut play = Play::new();
    let ends = play.ends();
    let early = segment(Dir::Ingress, 1, 1000, GET.len() as u32, GET);
    // It came twice, as a client sends it again while accept is deferred.
    for _ in 0..2 {
        play.flows.apply(&Event::Listen { ends, segment: early }, &mut play.told);
    }
    play.open(Some(Role::Server), false);
    play.next[0] = 1000 + GET.len() as u32;
    play.data(Dir::Egress, OK).close();
    assert_eq!(play.told.exchanges, ["server 200"]);

    // Nobody comes for it.
    play.flows.apply(&Event::Listen { ends, segment: early }, &mut play.told);
    play.flows.sweep(Ktime(60_000_000_000), || 1, &mut play.told);
    assert_eq!(play.flows.tally().listen_lost, 1);
}

#[test]
fn a_request_in_a_syn_waits_for_its_connection() {
    let mut play = Play::new();
    let ends = play.ends();
    let early = segment(Dir::Egress, 1, ends.next[1], GET.len() as u32, GET);
    play.flows.apply(&Event::Listen { ends, segment: early }, &mut play.told);
    play.open(Some(Role::Client), false);
    play.next[1] = ends.next[1] + GET.len() as u32;
    play.data(Dir::Ingress, OK).close();
    assert_eq!(play.told.exchanges, ["client 200"]);
    assert_eq!((play.flows.tally().lost, play.flows.tally().listen_lost), (0, 0));
}

#[test]
fn a_connection_that_alternates_needs_heads_only() {
    let mut play = Play::new();
    play.open(Some(Role::Server), false).data(Dir::Ingress, GET).data(Dir::Egress, OK);
    assert!(play.told.verdicts.is_empty(), "it may be the only request");
    play.data(Dir::Ingress, GET).data(Dir::Egress, OK);
    let (_, verdict) = play.told.verdicts[0];
    assert_eq!((verdict.budget, verdict.class), ([HEAD; 2], CLASS_PARSED));
    play.data(Dir::Ingress, GET).data(Dir::Egress, OK);
    assert_eq!(play.told.verdicts.len(), 1, "told once");

    // The next connection may be another kind of client's.
    play.close().open(Some(Role::Server), false);
    assert!(play.told.endpoints.is_empty());
}

#[test]
fn pipelining_is_told_at_once_and_kept() {
    let mut play = Play::new();
    play.open(Some(Role::Server), false).data(Dir::Ingress, &[GET, GET].concat());
    let (_, verdict) = play.told.verdicts[0];
    assert_eq!(verdict.budget, [BUDGET_ALL; 2]);
    play.data(Dir::Egress, &[OK, OK].concat()).close();
    assert_eq!(play.told.exchanges, ["server 200", "server 200"]);
    play.open(Some(Role::Server), false).data(Dir::Ingress, GET).data(Dir::Egress, OK);
    assert_eq!(play.told.verdicts.len(), 1, "alternating afterwards changes nothing");
}

#[test]
fn a_long_body_is_skipped() {
    let mut play = Play::new();
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n";
    play.open(Some(Role::Server), false).data(Dir::Ingress, GET).data(Dir::Egress, head);
    let (_, verdict) = play.told.verdicts[0];
    let end = 5000 + head.len() as u32 + 1_000_000;
    assert_eq!((verdict.skips, verdict.skip_until[1]), (SKIP_EGRESS, end));
    // The kernel reports the end of the body, and nothing of what lies before.
    let mut last = segment(Dir::Egress, 9, end, 0, b"");
    last.skipped = 65_000;
    play.flows.apply(&Event::Data { id: ID, segment: last }, &mut play.told);
    assert_eq!(play.told.exchanges, ["server 200"]);
    assert_eq!((play.flows.tally().lost, play.flows.tally().skipped), (0, 1_000_000));
    assert_eq!(play.flows.tally().explained, (GET.len() + head.len()) as u64 + 1_000_000);
}

#[test]
fn what_is_not_read_is_left_alone() {
    for (bytes, class) in [(HELLO, CLASS_ENCRYPTED), (b"\x00\x01\x02 nothing known", CLASS_UNCLASSIFIED)] {
        let mut play = Play::new();
        play.open(Some(Role::Client), false).data(Dir::Egress, bytes).data(Dir::Ingress, REFUSED);
        let (_, verdict) = play.told.verdicts[0];
        assert_eq!((verdict.class, verdict.budget), (class, [0; 2]));
        assert_eq!(play.flows.tally().explained, 0);
    }
}

/// Told twice of a connection, nothing changes: neither what it is nor what is under way on it.
#[test]
fn paths_of_mptcp_are_not_read() {
    for (first, second, class) in [(true, false, Some(CLASS_MPTCP)), (false, true, None)] {
        let mut play = Play::new();
        for mptcp in [first, second] {
            let (id, at, ends) = (ID, Ktime(play.clock), play.ends());
            let event =
                Event::Open { id, at, role: Some(Role::Server), joined: false, mptcp, ends, connect: None };
            play.flows.apply(&event, &mut play.told);
        }
        play.data(Dir::Ingress, GET).data(Dir::Egress, b"HTTP/1.1 204 None\r\n\r\n").close();
        let classes = play.told.verdicts.iter().map(|(_, verdict)| verdict.class);
        assert_eq!(classes.filter(|class| *class != CLASS_PARSED).max(), class);
        assert_eq!(play.told.exchanges.len(), usize::from(class.is_none()));
    }
}

#[test]
fn bounds_are_counted() {
    let mut play = Play::new();
    for id in 0..6 {
        let event = Event::Open {
            id: ConnectionId(id),
            at: Ktime(0),
            role: None,
            joined: false,
            mptcp: false,
            ends: play.ends(),
            connect: None,
        };
        play.flows.apply(&event, &mut play.told);
    }
    assert_eq!((play.flows.len(), play.flows.tally().table_full), (4, 2));
    for (bytes, unknown) in [(&b"x"[..], 1), (b"", 1)] {
        let stray = segment(Dir::Ingress, 1, 0, bytes.len() as u32, bytes);
        play.flows.apply(&Event::Data { id: ConnectionId(5), segment: stray }, &mut play.told);
        assert_eq!(play.flows.tally().unknown, unknown, "{bytes:?}");
    }
}

#[test]
fn who_holds_most_is_given_up_where_all_hold_too_much() {
    let mut play = Play::new();
    let id = |n: u64| ConnectionId(100 + n);
    let send = |play: &mut Play, id: ConnectionId, seq: &mut u32, bytes: &[u8]| {
        let segment = segment(Dir::Ingress, 1, *seq, bytes.len() as u32, bytes);
        *seq = seq.wrapping_add(bytes.len() as u32);
        play.flows.apply(&Event::Data { id, segment }, &mut play.told);
        assert!(play.flows.held() <= HELD);
    };
    play.open(Some(Role::Server), false).data(Dir::Ingress, GET);
    let modest = play.flows.held();
    assert!(modest > 0, "a request that is not over");
    for n in 0..3 {
        let (role, joined, ends) = (Some(Role::Server), false, play.ends());
        let event = Event::Open { id: id(n), at: Ktime(0), role, joined, mptcp: false, ends, connect: None };
        play.flows.apply(&event, &mut play.told);
        // One answered request, a second one, and a head that does not end.
        let mut seq = play.begun[0];
        send(&mut play, id(n), &mut seq, GET);
        send(&mut play, id(n), &mut seq, b"GET / HTTP/1.1\r\nCookie: ");
        for _ in 0..14 {
            send(&mut play, id(n), &mut seq, &[b'x'; 1000]);
        }
    }
    let tally = play.flows.tally();
    assert_eq!((tally.memory_full, tally.classified), (2, [4, 0, 2, 0, 0]));
    assert_eq!(play.told.exchanges, ["server NotObserved", "server NotObserved"]);
    let verdicts: Vec<_> =
        play.told.verdicts.iter().filter(|(_, one)| one.class == CLASS_UNCLASSIFIED).collect();
    assert_eq!(verdicts.len(), 2, "the kernel is told to copy nothing");
    // The one that holds little is let be.
    play.data(Dir::Egress, OK).close();
    assert_eq!(play.told.exchanges[2..], ["server 200"]);
    play.flows.finish(Ktime(9), &mut play.told);
    assert_eq!((play.flows.held(), play.told.activity), (0, [0; 2]));
}

#[test]
fn a_joined_connection_ends_by_its_bytes_or_by_idling() {
    let mut play = Play::new();
    play.open(None, true).data(Dir::Ingress, GET).data(Dir::Egress, OK);
    for dir in [Dir::Ingress, Dir::Egress] {
        let mut fin = segment(dir, 9, play.next[dir.index()], 0, b"");
        fin.fin = true;
        assert_eq!(play.flows.len(), 1);
        play.flows.apply(&Event::Data { id: ID, segment: fin }, &mut play.told);
    }
    assert!(play.flows.is_empty());

    play.open(None, true).data(Dir::Ingress, GET);
    play.flows.sweep(Ktime(3600 * 1_000_000_000), || 0, &mut play.told);
    assert!(play.flows.is_empty());
    assert_eq!((play.flows.tally().idled_out, play.told.exchanges.len()), (1, 2));
}

#[test]
fn what_passed_before_a_joined_connection_was_met_is_told_apart() {
    // Of the first request's response the end is seen, of the second request nothing, as the one program came later.
    let mut play = Play::new();
    play.open(None, true).data(Dir::Egress, b"xx");
    play.next[0] += GET.len() as u32;
    play.data(Dir::Egress, OK).data(Dir::Ingress, GET).data(Dir::Egress, OK);
    assert_eq!(play.told.exchanges, ["server 200"]);
    let tally = play.flows.tally();
    let seen = u64::from(play.next[0] - play.begun[0]) + u64::from(play.next[1] - play.begun[1]);
    assert_eq!((tally.lost, tally.gaps), (0, 0));
    assert_eq!(seen - tally.oddities.before_join, tally.explained);

    // It ends with what it was met in.
    let mut play = Play::new();
    play.open(None, true).data(Dir::Egress, b"the middle of a response");
    for dir in [Dir::Ingress, Dir::Egress] {
        let mut fin = segment(dir, 9, play.next[dir.index()], 0, b"");
        fin.fin = true;
        play.flows.apply(&Event::Data { id: ID, segment: fin }, &mut play.told);
    }
    assert!(play.flows.is_empty());
    assert_eq!(play.flows.tally().oddities.before_join, 24);
}

#[test]
fn a_connection_with_a_gap_is_told() {
    // Its beginning was lost: what comes then is the middle of a body, and after it something that can be read.
    let mut play = Play::new();
    play.open(Some(Role::Server), false);
    play.next = [play.next[0] + 100, play.next[1] + 1000];
    play.data(Dir::Egress, &[b'x'; 500]);
    for _ in 0..2 {
        play.data(Dir::Ingress, GET).data(Dir::Egress, OK);
    }
    // Right behind a hole anything may look like a request.
    assert_eq!(play.told.exchanges, ["server 200"]);
    let line = |play: &Play| {
        play.flows.lines(9).0.into_iter().map(|line| (line.lost, line.is_over)).collect::<Vec<_>>()
    };
    assert_eq!(line(&play), [(1100, false)]);
    assert_eq!((play.flows.tally().gaps, play.flows.tally().lost), (1, 1100));
    // Its end is lost, too.
    play.next[1] += 7;
    play.close();
    assert_eq!(line(&play), [(1107, true)]);
    assert_eq!(play.flows.tally().gaps, 1);

    // One of which only the ends were told.
    let mut play = Play::new();
    play.open(Some(Role::Server), false);
    play.next = [play.next[0] + 100, play.next[1] + 1000];
    play.close();
    assert_eq!(line(&play), [(1100, true)]);

    // One whose end was not.
    let mut play = Play::new();
    play.open(Some(Role::Server), false).data(Dir::Ingress, GET).data(Dir::Egress, OK);
    assert_eq!(line(&play), [(0, false)]);
    play.flows.sweep(Ktime(3_600_000_000_000), || 1, &mut play.told);
    assert_eq!((line(&play), play.flows.tally().gaps), (vec![(0, true)], 1));
    // None is missed.
    play.open(Some(Role::Server), false).data(Dir::Ingress, GET).data(Dir::Egress, OK).close();
    assert_eq!((line(&play).len(), play.flows.tally().gaps), (1, 1));
    // Where not all are listed, it is.
    play.open(Some(Role::Server), false).data(Dir::Ingress, GET);
    assert_eq!(line(&play), [(0, true), (0, false)]);
    let (lines, total) = play.flows.lines(1);
    assert_eq!((lines.len(), lines[0].is_over, total), (1, true, 2));
}

#[test]
fn the_class_of_what_was_too_short_is_counted_here() {
    let mut play = Play::new();
    play.open(Some(Role::Client), false).data(Dir::Egress, HELLO).data(Dir::Ingress, REFUSED).close();
    assert_eq!((play.flows.tally().late, play.flows.tally().explained), ([17, 0, 0, 0], 0));
    assert_eq!(play.told.exchanges, ["client 40"]);
    // What never became encrypted was in the clear.
    let mut play = Play::new();
    play.open(Some(Role::Client), false).data(Dir::Egress, HELLO).close();
    assert_eq!((play.flows.tally().late, play.flows.tally().explained), ([0; 4], 10));
    assert_eq!(play.told.exchanges, ["client Unanswered(Closed(None))"]);
}

#[test]
fn what_ended_before_it_was_known_is_counted() {
    let settings = b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x04\x00\x40\x00\x00";
    // What a server of HTTP/2 says to one who never spoke, and what might be the beginning of much.
    for (dir, bytes, explained, unclassified, classified) in
        [(Dir::Egress, &settings[..], 15, 0, [1, 0, 0, 0, 0]), (Dir::Ingress, b"\x00", 0, 1, [0, 0, 1, 0, 0])]
    {
        let mut play = Play::new();
        play.open(Some(Role::Server), false).data(dir, bytes).close();
        let tally = play.flows.tally();
        assert_eq!((tally.explained, tally.late), (explained, [0, unclassified, 0, 0]), "{bytes:?}");
        assert_eq!((tally.classified, play.told.exchanges.len()), (classified, 0), "{bytes:?}");
        assert!(play.told.verdicts.is_empty(), "there is nobody to tell it of");
    }
    let mut play = Play::new();
    play.open(Some(Role::Server), false).close();
    assert_eq!(play.flows.tally().classified, [0; 5]);
}

#[test]
fn what_a_closed_socket_does_not_take_any_more_is_told() {
    let mut play = Play::new();
    play.open(Some(Role::Server), false)
        .data(Dir::Ingress, GET)
        .data(Dir::Egress, OK)
        .data(Dir::Ingress, GET);
    let mut taken = play.next.map(u64::from);
    taken = [taken[0] - u64::from(play.begun[0]) - GET.len() as u64, taken[1] - u64::from(play.begun[1])];
    let account = Account { bytes: taken, ..Account::default() };
    let (is_unjudged, drained, end) = (true, Drained::default(), End::Sent);
    let event = Event::Closed { id: ID, at: Ktime(9), end, account, is_unjudged, drained };
    play.flows.apply(&event, &mut play.told);
    let tally = play.flows.tally();
    assert_eq!((tally.refused, tally.lost), (GET.len() as u64, 0));
    assert_eq!(tally.explained, taken[0] + taken[1] + tally.refused);
}

#[test]
fn what_no_record_told_of_is_lost_also_where_none_came() {
    let mut play = Play::new();
    play.open(Some(Role::Server), false);
    play.next = play.next.map(|next| next + 100);
    play.close();
    assert_eq!((play.flows.tally().lost, play.told.exchanges.len()), (200, 0));
}

#[test]
fn a_lost_report_of_an_end_does_not_keep_a_connection() {
    let mut play = Play::new();
    play.open(Some(Role::Server), false).data(Dir::Ingress, GET).data(Dir::Egress, OK);
    let hour = 3_600_000_000_000;
    play.flows.sweep(Ktime(hour), || 0, &mut play.told);
    assert_eq!(play.flows.len(), 1, "it may idle as long as it likes");
    play.flows.sweep(Ktime(2 * hour), || 1, &mut play.told);
    assert!(play.flows.is_empty(), "one end more was counted than reported");
}

#[test]
fn what_is_excluded_is_not_read() {
    let peers = |text: &str| vec![text.parse().expect("a network")];
    let by_port = Exclude { ports: vec![80], peers: Vec::new() };
    let by_peer = Exclude { ports: vec![81], peers: peers("127.0.0.0/8") };
    let (server, client) = (Some(Role::Server), Some(Role::Client));
    // The server's port is 80 and the observed end's: a client there would have 40000 for its server's.
    for (exclude, role, excluded, n_verdicts) in [
        (by_port.clone(), server, [1, 0], 0),
        (by_port.clone(), None, [1, 0], 0),
        (by_port, client, [0, 0], 0),
        (by_peer.clone(), server, [0, 1], 1),
        (by_peer, client, [0, 1], 1),
        (Exclude { ports: vec![40_000], peers: Vec::new() }, client, [1, 0], 1),
        (Exclude { ports: Vec::new(), peers: peers("10.0.0.0/8") }, server, [0, 0], 0),
    ] {
        let mut play = Play::excluding(exclude.clone());
        play.flows.begin(&mut play.told);
        let told: Vec<_> =
            play.told.endpoints.iter().map(|(key, verdict)| (key.port, verdict.class)).collect();
        let ports: Vec<_> = exclude.ports.iter().map(|port| (*port, CLASS_EXCLUDED)).collect();
        assert_eq!(told, ports);
        let (request, response) =
            if role == client { (Dir::Egress, Dir::Ingress) } else { (Dir::Ingress, Dir::Egress) };
        play.open(role, false).data(request, GET).data(response, OK).close();
        let tally = play.flows.tally();
        assert_eq!(tally.excluded, excluded, "{exclude:?} {role:?}");
        let is_read = excluded == [0, 0];
        assert_eq!(play.told.exchanges.len(), usize::from(is_read), "{exclude:?} {role:?}");
        assert_eq!(play.told.verdicts.len(), n_verdicts, "{exclude:?} {role:?}");
        // They were over before a verdict came: the kernel counted them as open.
        assert_eq!(tally.late[2] > 0, !is_read);
        assert_eq!(play.told.activity, [0; 2]);
    }
}

#[test]
fn what_the_sockets_count_is_told_once() {
    let account = |n, retransmits| Account { bytes: [n, 2 * n], retransmits, rtt: None };
    let (is_unjudged, drained, end) = (true, Drained::default(), End::Sent);
    let mut play = Play::new();
    play.open(Some(Role::Client), false);
    for so_far in [account(10, 1), account(30, 1)] {
        play.flows.apply(&Event::Counted { id: ID, at: Ktime(5), account: so_far }, &mut play.told);
    }
    for id in [ID, ConnectionId(99)] {
        let event = Event::Closed { id, at: Ktime(9), end, account: account(35, 4), is_unjudged, drained };
        play.flows.apply(&event, &mut play.told);
    }
    let failed =
        Event::Failed { id: ConnectionId(8), at: Ktime(9), ends: play.ends(), why: Failure::Timeout };
    play.flows.apply(&failed, &mut play.told);
    let expected = [
        (Some(ID), Tcp::Opened(None)),
        (Some(ID), Tcp::Counted(account(10, 1))),
        (Some(ID), Tcp::Counted(account(20, 0))),
        (Some(ID), Tcp::Counted(account(5, 3))),
        (Some(ID), Tcp::Closed(Some(End::Sent))),
        (None, Tcp::Counted(account(35, 4))),
        (None, Tcp::Closed(Some(End::Sent))),
        (Some(ConnectionId(8)), Tcp::Failed(Failure::Timeout)),
    ];
    assert_eq!(play.told.tcp, expected);
}
