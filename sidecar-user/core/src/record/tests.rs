//! What a recording is made of. That what is recorded reads the same is checked where captures are, in `tests/wire`.

use super::*;
use crate::{
    model::{ConnectionId, Role, Side},
    protocol::{Close, Piece, Shown},
};

fn connection(role: Option<Role>, joined: bool) -> Connection {
    let address = |text: &str| text.parse().expect("an address");
    let (local, remote) = (address("10.0.0.1:80"), address("10.0.0.2:5000"));
    Connection { id: ConnectionId(1), role, local, remote, tgid: 1, cgroup: 1, joined, steered: None }
}

/// Sequence number, acknowledgement, flags, shown payload and length of each packet, by its source port.
fn packets(bytes: &[u8]) -> Vec<String> {
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().expect("4 bytes"));
    let packet = |block: &[u8]| {
        let little = |at: usize| u32::from_le_bytes(block[at..at + 4].try_into().expect("4 bytes"));
        let (kept, len) = (little(20) as usize, little(24) - 40);
        let packet = &block[28..28 + kept];
        let tcp = &packet[20..];
        let port = u16::from_be_bytes([tcp[0], tcp[1]]);
        let shown = String::from_utf8_lossy(&tcp[20..]).into_owned();
        format!("{port} {} {} {:02x} {shown}/{len}", number(&tcp[4..8]), number(&tcp[8..12]), tcp[13])
    };
    blocks(bytes).filter(|block| is_packet(block)).map(packet).collect()
}

fn kept(side: Side, bytes: &[u8]) -> Piece<'_> {
    Piece { side, n: bytes.len() as u64, shown: Shown::Kept(bytes) }
}

#[test]
fn packets_are_made_of_what_passed() {
    let (connection, mut recorder) =
        (connection(Some(Role::Server), false), Recorder::new(Wish::default(), 7));
    let mut track = Track::new(Some(Ktime(1)));
    track.pass(Dir::Ingress, Ktime(2), What::Bytes(5));
    track.write(&connection, &mut recorder);
    assert_eq!(packets(&recorder.take().0), Vec::<String>::new(), "nothing was told");
    track.tell(&kept(Side::Client, b"GET /"), Role::Server);
    track.pass(Dir::Egress, Ktime(3), What::Bytes(4));
    track.tell(&Piece { side: Side::Server, n: 4, shown: Shown::Hidden(b'x') }, Role::Server);
    track.pass(Dir::Egress, Ktime(4), What::Skipped(100_000));
    track.pass(Dir::Ingress, Ktime(5), What::Bytes(3));
    track.pass(Dir::Ingress, Ktime(6), What::Gap(10));
    track.pass(Dir::Ingress, Ktime(7), What::End);
    track.write(&connection, &mut recorder);
    track.close(Ktime(8), Close::Closed, &connection, &mut recorder);
    let expected = [
        "5000 0 0 02 /0",
        "80 0 1 12 /0",
        "5000 1 1 10 /0",
        "5000 1 1 18 GET //5",
        "80 1 6 18 xxxx/4",
        "80 5 6 18 /100000",
        // Nobody told of these.
        "5000 6 100005 18 /3",
        // Those were lost: the other side has them.
        "80 100005 19 10 /0",
        "5000 19 100005 11 /0",
        "80 100005 20 11 /0",
        "5000 20 100006 10 /0",
    ];
    assert_eq!(packets(&recorder.take().0), expected);
    assert_eq!((recorder.n_packets(), recorder.left_out()), (11, LeftOut::default()));
}

#[test]
fn ends() {
    for (how, expected) in [
        (Close::Reset(Side::Server), &["80 1 1 14 /0"][..]),
        (Close::Reset(Side::Client), &["5000 1 1 14 /0"]),
        (Close::Expired, &[]),
        (Close::Forgotten, &[]),
    ] {
        let (connection, mut recorder) =
            (connection(Some(Role::Server), true), Recorder::new(Wish::default(), 0));
        Track::new(None).close(Ktime(1), how, &connection, &mut recorder);
        assert_eq!(packets(&recorder.take().0), expected, "{how:?}");
    }
}

#[test]
fn too_much_that_waits_is_shown_as_lengths() {
    let (connection, mut recorder) =
        (connection(Some(Role::Client), true), Recorder::new(Wish::default(), 0));
    let mut track = Track::new(None);
    track.pass(Dir::Egress, Ktime(1), What::Bytes(1));
    let mut n = 0;
    while recorder.left_out().waiting == 0 {
        track.pass(Dir::Ingress, Ktime(2), What::Bytes(1000));
        track.tell(&Piece { side: Side::Server, n: 1000, shown: Shown::Hidden(b'x') }, Role::Client);
        track.write(&connection, &mut recorder);
        n += 1;
        assert!(n < 1000);
    }
    let told = packets(&recorder.take().0);
    assert_eq!((told[0].as_str(), told.len()), ("80 1 1 18 /1", n + 1));
    // What is told late is not shown.
    track.tell(&kept(Side::Client, b"x"), Role::Client);
    track.close(Ktime(3), Close::Forgotten, &connection, &mut recorder);
    assert_eq!((packets(&recorder.take().0), recorder.waiting), (Vec::<String>::new(), 0));
}

#[test]
fn no_more_than_is_asked_for() {
    let wish = Wish { max_bytes: Some(300), ..Wish::default() };
    let (connection, mut recorder) = (connection(Some(Role::Server), true), Recorder::new(wish, 0));
    let mut track = Track::new(None);
    for _ in 0..10 {
        track.pass(Dir::Ingress, Ktime(1), What::Skipped(1));
        track.write(&connection, &mut recorder);
    }
    let (bytes, n_packets) = recorder.take();
    assert!(recorder.is_full() && bytes.len() <= 300, "{}", bytes.len());
    assert_eq!((n_packets + recorder.left_out().full, whole_blocks(&bytes)), (10, bytes.len()));
}

#[test]
fn blocks_are_told_apart() {
    let mut recorder = Recorder::new(Wish::default(), 0);
    let (begin, _) = recorder.take();
    let all = [&begin[..], &note([1, 20, 300])].concat();
    assert_eq!(blocks(&all).filter_map(read_note).collect::<Vec<_>>(), [[1, 20, 300]]);
    assert_eq!(blocks(&begin).filter_map(read_note).count(), 0);
    for cut in 0..all.len() {
        let whole = whole_blocks(&all[..cut]);
        assert!(whole <= cut && [0, 28, begin.len()].contains(&whole), "{whole} of {cut}");
    }
}

#[test]
fn filters() {
    let filter = |conditions: &[(&str, &str, bool)]| {
        let mut filter = Filter::default();
        for (name, value, is_wanted) in conditions {
            filter.add(name, value, *is_wanted).expect("a condition");
        }
        filter
    };
    let (server, client) = (connection(Some(Role::Server), false), connection(Some(Role::Client), false));
    for (conditions, takes) in [
        (&[][..], [true, true]),
        (&[("protocol", "HTTP", true)], [true, true]),
        (&[("protocol", "redis", true)], [false, false]),
        (&[("protocol", "redis", true), ("protocol", "http", true)], [true, true]),
        (&[("role", "client", true)], [false, true]),
        (&[("port", "80", true)], [true, false]),
        (&[("port", "5000", true)], [false, true]),
        (&[("port", "80", false)], [false, true]),
        (&[("peer", "10.0.0.2", true), ("role", "server", false)], [false, true]),
        (&[("peer", "10.0.0.1", true)], [false, false]),
    ] {
        let filter = filter(conditions);
        assert_eq!([&server, &client].map(|one| filter.takes(one, "http")), takes, "{conditions:?}");
    }
    for (name, value) in
        [("port", "0"), ("port", "70000"), ("role", "x"), ("peer", "x"), ("protocol", ""), ("path", "/")]
    {
        assert!(Filter::default().add(name, value, true).is_err(), "{name}={value}");
    }
}
