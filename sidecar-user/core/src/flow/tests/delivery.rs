//! When a response had reached its client.

use super::*;

#[test]
fn a_response_is_delivered_when_its_last_byte_is_acknowledged() {
    // What passes, by its direction, and what was acknowledged when; then the time from the response's first byte on.
    let seq = |n: usize| 5000 + (OK.len() * n) as u32;
    let drained = |n, at| Drained { seq: seq(n), at: Ktime(at) };
    let (never, before) = (Drained::default(), drained(0, 1));
    let request = |at, n, drained| (at, Dir::Ingress, GET.repeat(n), drained);
    let response = |at, n| (at, Dir::Egress, OK.repeat(n), before);
    let cases = [
        (
            "with the next request",
            vec![request(10, 1, before), response(20, 1), request(90, 1, drained(1, 50))],
            vec![30],
        ),
        (
            "twice",
            vec![
                request(10, 1, never),
                response(20, 1),
                request(90, 1, drained(1, 50)),
                response(100, 1),
                request(200, 1, drained(2, 150)),
            ],
            vec![30, 50],
        ),
        ("not yet", vec![request(10, 1, before), response(20, 1), request(90, 1, before)], vec![]),
        (
            "more was sent since",
            vec![request(10, 1, before), response(20, 1), request(90, 1, drained(2, 50))],
            vec![],
        ),
        (
            "two at a time",
            vec![request(10, 2, before), response(20, 2), request(90, 1, drained(2, 50))],
            vec![],
        ),
        ("one of two", vec![request(10, 2, before), response(20, 1), request(90, 1, drained(1, 50))], vec![]),
        (
            "too long ago",
            vec![request(10, 1, before), response(20, 1), request(1 << 43, 1, drained(1, 50))],
            vec![],
        ),
    ];
    for (name, passes, expected) in cases {
        let mut play = Play::new();
        play.open(Some(Role::Server), false);
        for (at, dir, bytes, drained) in passes {
            let segment =
                Segment { drained, ..segment(dir, at, play.next[dir.index()], bytes.len() as u32, &bytes) };
            play.next[dir.index()] += bytes.len() as u32;
            play.flows.apply(&Event::Data { id: ID, segment }, &mut play.told);
        }
        assert_eq!(play.told.delivered, expected, "{name}");
    }
}

#[test]
fn the_last_response_is_delivered_when_its_connection_ends() {
    let unmeasured = b"HTTP/1.1 200 OK\r\n\r\nto the end";
    for response in [OK, unmeasured] {
        let mut play = Play::new();
        play.open(Some(Role::Server), false).data(Dir::Ingress, GET).data(Dir::Egress, response);
        let mut fin = segment(Dir::Egress, 3, play.next[1], 0, b"");
        fin.fin = true;
        play.flows.apply(&Event::Data { id: ID, segment: fin }, &mut play.told);
        let (account, end) = (Account::default(), End::Orderly);
        let drained = Drained { seq: play.next[1], at: Ktime(42) };
        let event = Event::Closed { id: ID, at: Ktime(50), end, account, is_unjudged: true, drained };
        play.flows.apply(&event, &mut play.told);
        assert_eq!(play.told.delivered, [40]);
    }
}

#[test]
fn a_client_is_told_nothing_of_delivery() {
    let mut play = Play::new();
    play.open(Some(Role::Client), false).data(Dir::Egress, GET).data(Dir::Ingress, OK);
    let drained = Drained { seq: play.next[1], at: Ktime(9) };
    let segment = Segment { drained, ..segment(Dir::Egress, 10, play.next[1], GET.len() as u32, GET) };
    play.flows.apply(&Event::Data { id: ID, segment }, &mut play.told);
    assert!(play.told.delivered.is_empty());
}
