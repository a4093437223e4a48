//! Clients that pipeline, met in the middle: which group is whose is known by their order only.

use super::made::{bind, c, done, execute, message, one, parse, query, ready, row, s, session, sync};
use super::*;

/// Statements that are answered by different messages, in an order that does not repeat itself soon.
fn pair(n: u32) -> [Vec<Vec<u8>>; 2] {
    match n.pow(3).wrapping_mul(2_654_435_761) >> 16 & 3 {
        0 => [vec![query("SELECT 1")], vec![row(), done("SELECT 1"), ready()]],
        1 => [
            vec![parse("", "UPDATE t SET a = 1"), bind(""), execute(), sync()],
            vec![one(b'1'), one(b'2'), done("UPDATE 1"), ready()],
        ],
        2 => [vec![bind("known"), execute(), sync()], vec![one(b'2'), row(), done("SELECT 1"), ready()]],
        _ => [vec![query("DELETE FROM t")], vec![done("DELETE 1"), ready()]],
    }
}

fn begun() -> Talk {
    vec![c(&[session()]), s(&[message(b'R', &[&[0; 4]]), ready()])]
}

/// Exchanges that are told of one that is met after so many pieces, each of them right, and what was odd.
fn met_after(talk: &Talk, n_pieces: usize) -> (usize, Oddities) {
    let whole = play(Birth::Seen, pieces(talk)).exchanges;
    let told = play(Birth::Joined, pieces(talk).skip(n_pieces));
    let mut from = whole.iter();
    for exchange in told.exchanges.iter().filter(|one| one.outcome == Outcome::Complete) {
        let is_named = !line(exchange).starts_with('-');
        let same = |one: &Exchange| met(one.clone(), is_named) == met(exchange.clone(), is_named);
        assert!(from.any(same), "met after {n_pieces}: {exchange:?}");
    }
    (told.exchanges.len(), told.odd)
}

/// Some are under way whenever the client speaks: as often as not nothing shows that but the kinds of answers.
#[test]
fn some_are_always_under_way() {
    for under_way in 1..6 {
        let mut talk = begun();
        for n in 0..600 {
            let [asked, _] = pair(n);
            talk.push(c(&asked));
            if n >= under_way {
                let [_, answered] = pair(n - under_way);
                talk.push(s(&answered));
            }
        }
        for met in (2..12).chain([301, 302]) {
            let (n_told, odd) = met_after(&talk, met);
            assert!(n_told > 300, "{under_way} under way, met after {met}: {n_told} {odd:?}");
        }
    }
}

/// A thousand at a time, all alike, of which some had been asked, or answered, when it was met.
#[test]
fn a_thousand_at_a_time() {
    let asked = [parse("", "UPDATE t SET a = 1"), bind(""), execute()];
    let answered = [one(b'1'), one(b'2'), done("UPDATE 1")];
    for has_syncs in [false, true] {
        let mut talk = begun();
        for _ in 0..24 {
            for n in 1..=1000 {
                let is_end = has_syncs || n == 1000;
                talk.push(c(&[&asked[..], &[sync()][..usize::from(is_end)]].concat()));
            }
            for n in 1..=1000 {
                let is_end = has_syncs || n == 1000;
                talk.push(s(&[&answered[..], &[ready()][..usize::from(is_end)]].concat()));
            }
        }
        for met in [2, 3, 700, 1002, 1003, 1700] {
            let (n_told, odd) = met_after(&talk, met);
            assert!(n_told >= 12_000, "{has_syncs} {met}: {n_told} {odd:?}");
            assert!(
                n_told as u64 + u64::from(odd.unresolved) <= 24_000,
                "{has_syncs} {met}: {n_told} {odd:?}"
            );
            assert_eq!(odd.overflow, 0);
        }
    }
}

/// What is held of a client that never comes to an end is bounded.
#[test]
fn what_is_held_is_bounded() {
    let limits = Limits { outstanding: 16, ..Limits::default() };
    let mut parser = open(limits.into(), Birth::Joined);
    let mut out = Vec::new();
    let ask = [parse("", "UPDATE t SET a = 1"), bind(""), execute()].concat();
    let mut overflow = 0;
    for n in 1..20_000 {
        let sync = if n % 3_000 == 0 { sync() } else { Vec::new() };
        let _ = parser.push(Side::Client, Ktime(n), &[&ask[..], &sync].concat(), &mut out);
        assert!(parser.held() < 512 * 1024, "{n}: {}", parser.held());
        overflow += parser.oddities().overflow;
    }
    assert!(overflow > 0);
    assert_eq!(out, []);
}
