//! Met in the middle, or with something lost.

use super::{Client, Play, Server, Side, command, commands};
use crate::protocol::Birth;

const SECOND: u64 = 1_000_000_000;

/// Rounds of a conversation of which all but the beginning is seen.
fn joined(first: &[(Side, &[u8])], rounds: usize) -> Play {
    let mut play = Play::new(Birth::Joined);
    for (side, bytes) in first {
        play.push(*side, bytes);
    }
    for n in 0..rounds {
        let name = if n % 2 == 0 { "GET k" } else { "INCR n" };
        play.push(Client, &command(name));
        play.push(Server, if n % 2 == 0 { b"$1\r\nv\r\n" } else { b":1\r\n" });
    }
    play
}

fn count(told: &[String], name: &str) -> usize {
    told.iter().filter(|line| **line == name).count()
}

#[test]
fn everything_since_is_told_once_it_is_settled() {
    let mut play = joined(&[], 8);
    assert!(play.told().is_empty());
    play.push(Client, &command("GET k"));
    assert_eq!(play.told().len(), 8);
    play.push(Server, b"$1\r\nv\r\n");
    let told = play.close();
    assert_eq!((count(&told, "GET"), count(&told, "INCR")), (5, 4));
    assert_eq!((play.odd.orphan_responses, play.odd.before_join, play.odd.resyncs), (0, 0, 0));
}

#[test]
fn or_at_the_end() {
    let mut play = joined(&[(Server, b":5\r\n")], 3);
    let told = play.close();
    assert_eq!((count(&told, "GET"), count(&told, "INCR")), (2, 1));
    assert_eq!(play.odd.orphan_responses, 1);
}

#[test]
fn answers_to_what_was_before_are_nobodys() {
    // A pipeline in flight, of which some commands and all answers are seen.
    let (seen, answers) = (commands(&["GET k", "SET k v"]), b"+OK\r\n:3\r\n$1\r\nv\r\n+OK\r\n");
    let mut play = joined(&[(Client, b"half\r\n"), (Client, &seen), (Server, answers)], 9);
    let told = play.close();
    assert_eq!((count(&told, "GET"), count(&told, "SET"), count(&told, "INCR")), (6, 1, 4));
    assert_eq!((play.odd.orphan_responses, play.odd.before_join), (2, 6));
}

/// Two are always under way: that each is answered by the next answer cannot be true, and is not told.
#[test]
fn what_does_not_fit_is_not_told() {
    let names = ["GET k", "INCR n", "LRANGE l 0 1", "SET k v", "GET k", "GET k", "INCR n"];
    let answers: [&[u8]; 7] =
        [b"$1\r\nv\r\n", b":1\r\n", b"*0\r\n", b"+OK\r\n", b"$1\r\nv\r\n", b"$-1\r\n", b":2\r\n"];
    let mut play = Play::new(Birth::Joined);
    for n in 0..100 {
        play.push(Client, &command(names[(n + 1) % 7]));
        play.push(Server, answers[n % 7]);
    }
    assert!(play.told().is_empty());
    for n in 100..300 {
        play.push(Client, &command(names[(n + 1) % 7]));
        play.push(Server, answers[n % 7]);
    }
    // By their kinds: one was under way when it was met.
    assert!(play.told().is_empty(), "a period of seven fits more than one number");
    assert!(play.close().is_empty());
}

#[test]
fn kinds_settle_it_where_nothing_is_ever_drained() {
    let kind = |n: u32| (n.pow(3).wrapping_mul(2_654_435_761) >> 16) % 4;
    let names = ["GET k", "INCR n", "LRANGE l 0 1", "SET k v"];
    let answers: [&[u8]; 4] = [b"$1\r\nv\r\n", b":1\r\n", b"*0\r\n", b"+OK\r\n"];
    let mut play = Play::new(Birth::Joined);
    for n in 0..200u32 {
        play.push(Client, &command(names[kind(n + 3) as usize]));
        play.push(Server, answers[kind(n) as usize]);
    }
    assert_eq!(play.odd.orphan_responses, 3);
    let told = play.told();
    assert_eq!(told.len(), 197);
    for (n, line) in told.iter().enumerate() {
        let name = names[kind(n as u32 + 3) as usize];
        assert_eq!(line, name.split(' ').next().expect("a word"));
    }
}

/// It was believed that nothing is under way, and then there is one answer more than commands.
#[test]
fn a_wrong_belief_does_not_last() {
    let mut play = joined(&[], 0);
    for _ in 0..20 {
        play.push(Client, &command("GET k"));
        play.push(Server, b"$1\r\nv\r\n");
    }
    let before = play.told().len();
    assert_eq!(before, 20);
    play.push(Server, b"$1\r\nv\r\n");
    assert_eq!(play.odd.orphan_responses, 1);
    for _ in 0..16 {
        play.push(Client, &command("GET k"));
        play.push(Server, b"$1\r\nv\r\n");
    }
    assert_eq!(play.told().len(), before, "it takes more to be believed again");
    play.push(Client, &command("GET k"));
    assert_eq!((play.told().len(), play.odd.resyncs), (before + 16, 1));
}

#[test]
fn a_silence_settles_it() {
    let mut play = joined(&[], 1);
    play.wait(SECOND);
    play.push(Client, &command("SELECT 4"));
    assert_eq!(play.told(), ["GET"]);
    play.push(Server, b"+OK\r\n");
    assert_eq!(play.told(), ["GET", "SELECT 4"]);
    let mut play = Play::new(Birth::Joined);
    play.push(Client, &command("BLPOP l 0"));
    play.push(Server, b"*2\r\n$1\r\nl\r\n$1\r\nv\r\n");
    play.wait(SECOND);
    play.push(Client, &command("BLPOP l 0"));
    assert!(play.told().is_empty(), "it may have waited");
}

#[test]
fn a_loss_in_a_value_is_none() {
    let mut play = Play::new(Birth::Seen);
    play.push(Client, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000\r\nabc");
    play.gap(Client, 900);
    play.push(Client, &[&[b'x'; 97][..], b"\r\n"].concat());
    play.push(Server, b"+OK\r\n");
    assert_eq!(play.told(), ["SET 0"]);
}

#[test]
fn a_loss_elsewhere_is_no_wrong_answer() {
    for side in [Client, Server] {
        let mut play = Play::new(Birth::Seen);
        play.push(Client, &commands(&["GET k", "INCR n"]));
        play.gap(side, 30);
        play.push(Server, b":1\r\n");
        assert_eq!(play.told(), ["GET 0 NotObserved", "INCR 0 NotObserved"], "{side:?}");
        for _ in 0..9 {
            play.push(Client, &command("GET k"));
            play.push(Server, b"$1\r\nv\r\n");
        }
        let told = play.close();
        assert_eq!((count(&told, "GET"), play.odd.resyncs), (9, 1), "{side:?}: {told:?}");
        assert_eq!(play.odd.orphan_responses, 1, "{side:?}");
    }
}

#[test]
fn messages_are_told_at_once() {
    let mut play = Play::new(Birth::Joined);
    let message = b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$5\r\nhello\r\n";
    for _ in 0..3 {
        play.push(Server, message);
    }
    assert_eq!(play.told(), ["message of 5"; 3]);
    play.push(Client, &command("PING"));
    play.push(Server, b"*2\r\n$4\r\npong\r\n$0\r\n\r\n");
    assert_eq!(play.close().last().map(String::as_str), Some("PING"));
}

#[test]
fn joined_at_each_byte_nothing_is_wrong() {
    let names = ["GET k", "INCR n", "LRANGE l 0 1", "SET k v"];
    let answers: [&[u8]; 4] = [b"$1\r\nv\r\n", b":1\r\n", b"*1\r\n$1\r\na\r\n", b"+OK\r\n"];
    let mut pushes = Vec::new();
    for n in 0..40 {
        pushes.push((Client, command(names[n % 4])));
        pushes.push((Server, answers[n % 4].to_vec()));
    }
    let first: usize = pushes[..16].iter().map(|(_, bytes)| bytes.len()).sum();
    for begin in 0..first {
        let (mut play, mut passed) = (Play::new(Birth::Joined), 0);
        for (side, bytes) in &pushes {
            let from = begin.saturating_sub(passed).min(bytes.len());
            passed += bytes.len();
            play.push(*side, &bytes[from..]);
        }
        let told = play.close();
        // What was whole since, but for what its packet's beginning hid.
        let n: usize = told.len();
        assert!((31..=40).contains(&n), "{begin}: {n}");
        let names: Vec<_> = names.iter().map(|name| name.split(' ').next().expect("a word")).collect();
        for (n, line) in told.iter().rev().enumerate() {
            assert_eq!(line, names[3 - n % 4], "{begin}");
        }
    }
}
