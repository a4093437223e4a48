use std::time::Duration;

use sidecar_ebpf::abi::verdict::{Endpoint, Verdict};

use crate::{
    event::{Ends, Event},
    flow::{Exclude, Flows, Options, Sink},
    model::{
        Activity, Connection, ConnectionId, Cut, Detail, Dir, Exchange, Ktime, Message, Outcome, Role, Start,
        Tcp,
    },
    protocol::Protocol,
};
use Dir::{Egress, Ingress};

/// Name, code, outcome and ms.
type Told = (Role, String, Option<u16>, Outcome, u64);

#[derive(Default)]
struct Heard {
    started: usize,
    finished: Vec<Told>,
}

impl Sink for Heard {
    fn started(&mut self, _: &Connection, start: &Start) {
        assert_eq!(start.method, None);
        self.started += 1;
    }
    fn activity(&mut self, _: &Connection, _: Option<Activity>, _: Option<Activity>) {}
    fn finished(&mut self, connection: &Connection, protocol: &'static Protocol, exchange: Exchange) {
        let Detail::Dns(dns) = &exchange.detail else { panic!("{exchange:?}") };
        let took = exchange.ended.since(exchange.started).as_millis() as u64;
        let role = connection.role.expect("a role");
        assert_eq!(protocol.name, "dns");
        self.finished.push((role, dns.name.to_string(), dns.code, exchange.outcome, took));
    }
    fn message(&mut self, _: &Connection, _: &'static Protocol, _: &Message) {}
    fn delivered(&mut self, _: Ktime, _: &Connection, _: &'static Protocol, _: Duration) {}
    fn tcp(&mut self, _: Ktime, _: Option<&Connection>, _: Tcp) {}
    fn judge(&mut self, _: ConnectionId, _: Verdict) {}
    fn judge_endpoint(&mut self, _: Endpoint, _: Verdict) {}
    fn forget(&mut self, _: ConnectionId) {}
}

/// A message about `name`, one label; an answer's flags have 0x80.
fn message(id: u16, flags: [u8; 2], name: &str) -> Vec<u8> {
    let head = [&id.to_be_bytes()[..], &flags, &[0, 1, 0, 0, 0, 0, 0, 0, name.len() as u8]].concat();
    [&head, name.as_bytes(), &[0, 0, 1, 0, 1]].concat()
}

fn question(id: u16, name: &str) -> Vec<u8> {
    message(id, [1, 0], name)
}

fn answer(id: u16, name: &str, code: u8) -> Vec<u8> {
    message(id, [0x81, 0x80 | code], name)
}

struct Play {
    flows: Flows,
    heard: Heard,
}

fn play(exclude: Exclude) -> Play {
    let flows = Flows::new(Options {
        connections: 10,
        turn_bytes: 1 << 20,
        head_bytes: 4096,
        held_bytes: 30_000,
        reads: false,
        wire: false,
        limits: std::sync::Arc::default(),
        exclude,
    });
    Play { flows, heard: Heard::default() }
}

impl Play {
    fn pass(&mut self, ms: u64, dir: Dir, [local, remote]: [u16; 2], bytes: &[u8]) -> &mut Self {
        let ends = Ends {
            local: ([127, 0, 0, 1], local).into(),
            remote: ([127, 0, 0, 1], remote).into(),
            via: None,
            netns: 1,
            tgid: 1,
            cgroup: 1,
            next: [0; 2],
            decided: None,
        };
        let at = Ktime(ms * 1_000_000);
        let event = Event::Datagram { id: ConnectionId(7), dir, at, ends, len: bytes.len() as u32, bytes };
        self.flows.apply(&event, &mut self.heard);
        self
    }

    fn sweep(&mut self, ms: u64) -> &mut Self {
        self.flows.sweep(Ktime(ms * 1_000_000), || 0, &mut self.heard);
        self
    }

    /// Malformed, orphans, too many.
    fn odd(&self) -> [u32; 3] {
        let odd = self.flows.tally().oddities;
        [odd.malformed, odd.orphan_responses, odd.overflow]
    }
}

const AT_CLIENT: [u16; 2] = [40_000, 53];
const AT_SERVER: [u16; 2] = [53, 40_000];

fn complete(role: Role, name: &str, code: u16, ms: u64) -> Told {
    (role, name.into(), Some(code), Outcome::Complete, ms)
}

#[test]
fn each_end_has_its_own() {
    let mut play = play(Exclude::default());
    play.pass(0, Egress, AT_CLIENT, &question(1, "a"))
        .pass(1, Ingress, AT_SERVER, &question(1, "a"))
        .pass(5, Egress, AT_SERVER, &answer(1, "A", 3))
        .pass(6, Ingress, AT_CLIENT, &answer(1, "a", 3));
    let expected = [complete(Role::Server, "a", 3, 4), complete(Role::Client, "a", 3, 6)];
    assert_eq!((play.heard.started, play.heard.finished.as_slice(), play.odd()), (2, &expected[..], [0; 3]));
}

#[test]
fn only_its_own_answer_ends_a_lookup() {
    let mut play = play(Exclude::default());
    play.pass(0, Egress, AT_CLIENT, &question(1, "a"));
    for (ends, bytes) in
        [(AT_CLIENT, answer(2, "a", 0)), (AT_CLIENT, answer(1, "b", 0)), ([40_001, 53], answer(1, "a", 0))]
    {
        play.pass(1, Ingress, ends, &bytes);
    }
    assert_eq!((play.heard.finished.len(), play.odd()), (0, [0, 3, 0]));
    // The same id asks two things at once, as glibc's resolver may not but others do.
    play.pass(2, Egress, AT_CLIENT, &question(1, "b"))
        .pass(3, Ingress, AT_CLIENT, &answer(1, "b", 0))
        .pass(4, Ingress, AT_CLIENT, &answer(1, "a", 0))
        .pass(5, Ingress, AT_CLIENT, &answer(1, "a", 0));
    let expected = [complete(Role::Client, "b", 0, 1), complete(Role::Client, "a", 0, 4)];
    assert_eq!((play.heard.finished.as_slice(), play.odd()), (&expected[..], [0, 4, 0]));
}

#[test]
fn asked_again_it_is_another_and_in_vain_it_ends() {
    let mut play = play(Exclude::default());
    play.pass(0, Egress, AT_CLIENT, &question(1, "a"))
        .pass(4_000, Egress, AT_CLIENT, &question(1, "a"))
        .pass(4_100, Ingress, AT_CLIENT, &answer(1, "a", 0))
        .sweep(8_999);
    let answered = complete(Role::Client, "a", 0, 4_100);
    assert_eq!(play.heard.finished, std::slice::from_ref(&answered));
    play.sweep(9_000);
    let in_vain = (Role::Client, "a".into(), None, Outcome::Unanswered(Cut::Expired), 5_000);
    assert_eq!((play.heard.started, &play.heard.finished), (2, &vec![answered, in_vain]));
    play.pass(9_001, Ingress, AT_CLIENT, &answer(1, "a", 0));
    assert_eq!(play.odd(), [0, 1, 0]);
}

#[test]
fn what_is_none_is_counted() {
    let mut play = play(Exclude::default());
    let mut two = question(1, "a");
    two[5] = 2;
    for bytes in [&b"hello"[..], &question(1, "a")[..14], &two, &[0xff; 40]] {
        play.pass(0, Egress, AT_CLIENT, bytes);
    }
    // Nobody asks there, whatever answers from there.
    play.pass(0, Egress, AT_SERVER, &question(1, "a"));
    // NOTIFY is no lookup.
    play.pass(0, Egress, AT_CLIENT, &message(1, [0x20, 0], "zone"));
    assert_eq!((play.heard.started, play.odd()), (0, [5, 0, 0]));
}

#[test]
fn so_many_wait_and_no_more() {
    let mut play = play(Exclude::default());
    for id in 0..2000 {
        play.pass(0, Egress, AT_CLIENT, &question(id, "a"));
    }
    assert_eq!((play.heard.started, play.odd()), (1024, [0, 0, 976]));
    play.flows.finish(Ktime(1), &mut play.heard);
    assert_eq!(play.heard.finished.len(), 1024);
    assert!(play.heard.finished.iter().all(|told| told.3 == Outcome::NotObserved));
}

#[test]
fn what_is_left_out_is_not_read() {
    let mut play = play(Exclude { ports: vec![53], ..Exclude::default() });
    play.pass(0, Egress, AT_CLIENT, &question(1, "a"));
    assert_eq!((play.heard.started, play.odd()), (0, [0; 3]));
}
