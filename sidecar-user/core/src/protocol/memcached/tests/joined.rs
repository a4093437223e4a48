//! Met in the middle, or with something lost.

use super::{Client, Play, Server};
use crate::protocol::Birth;

/// Rounds after this beginning.
fn joined(first: &[(crate::model::Side, &[u8])], rounds: usize) -> Play {
    let mut play = Play::new(Birth::Joined);
    for (side, bytes) in first {
        play.push(*side, bytes);
    }
    for _ in 0..rounds {
        play.push(Client, b"get k\r\n");
        play.push(Server, b"VALUE k 0 1\r\nv\r\nEND\r\n");
    }
    play
}

#[test]
fn everything_since_is_told_once_it_is_settled() {
    assert!(joined(&[], 8).told().is_empty());
    let mut play = joined(&[], 9);
    assert_eq!(play.told(), ["GET hits=1"; 9]);
    assert_eq!(play.close(), ["GET hits=1"; 9]);
    let mut play = joined(&[(Client, b"half\r\n"), (Server, b"STORED\r\nEND\r\n")], 2);
    assert_eq!(play.close(), ["GET hits=1"; 2]);
    assert_eq!((play.odd.before_join, play.odd.orphan_responses), (6, 2));
}

#[test]
fn a_wrong_belief_does_not_last() {
    let mut play = joined(&[], 9);
    play.push(Client, b"delete k\r\n");
    play.push(Server, b"END\r\n");
    let told = play.told();
    assert_eq!(told.last().map(String::as_str), Some("DELETE NotObserved"));
    assert_eq!(play.odd.orphan_responses, 1);
}

#[test]
fn losses() {
    let mut play = Play::new(Birth::Seen);
    play.push(Client, b"set k 0 0 1000\r\nabc");
    play.gap(Client, 900);
    play.push(Client, &[&[b'x'; 97][..], b"\r\n"].concat());
    play.push(Server, b"STORED\r\n");
    assert_eq!(play.told(), ["SET"]);
    play.push(Client, b"get a\r\n");
    play.gap(Server, 5);
    play.push(Client, b"delete a\r\n");
    play.push(Server, b"DELETED\r\n");
    assert_eq!(play.told(), ["SET", "GET NotObserved"]);
    assert_eq!(play.close(), ["SET", "GET NotObserved", "DELETE"]);
}

#[test]
fn binary() {
    use super::binary::message;
    let mut play = Play::new(Birth::Joined);
    play.push(Server, &message(0x81, 0, 1, b"", b"", b"Not found", 6));
    for n in 7..17 {
        play.push(Client, &message(0x80, 0, 0, b"", b"k", b"", n));
        play.push(Server, &message(0x81, 0, 1, b"", b"", b"Not found", n));
    }
    assert_eq!(play.close(), ["GET hits=0"; 10]);
    assert_eq!(play.odd.orphan_responses, 1);
}
