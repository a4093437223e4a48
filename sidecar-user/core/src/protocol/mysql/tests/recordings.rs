//! Conversations of real clients with MariaDB 10.11, whole, in pieces, and from and to anywhere.

use super::script::{Do, Run, check_shown, recorded, run, run_pieces, system, written};
use crate::model::{DbSystem, Detail, Exchange, Outcome, Side};
use crate::protocol::{Birth, Limits, Oddities};

/// A client, what it and the server sent, and the exchanges that it is.
struct Recording {
    client: &'static str,
    script: Vec<Do>,
    exchanges: Vec<&'static str>,
    unresolved: u32,
}

fn recordings() -> Vec<Recording> {
    let one = |client, text, exchanges: &'static str, unresolved| Recording {
        client,
        script: recorded(text),
        exchanges: exchanges.lines().collect(),
        unresolved,
    };
    vec![
        one("PyMySQL", include_str!("pymysql.txt"), include_str!("pymysql.exchanges.txt"), 0),
        one("Connector/Python", include_str!("connector.txt"), include_str!("connector.exchanges.txt"), 0),
        one("mysql2", include_str!("mysql2.txt"), include_str!("mysql2.exchanges.txt"), 0),
        one(
            "MariaDB Connector/Node.js",
            include_str!("mariadb.txt"),
            include_str!("mariadb.exchanges.txt"),
            0,
        ),
        one("mariadb", include_str!("cli.txt"), include_str!("cli.exchanges.txt"), 0),
        // Each executes a statement that there is not.
        one("rare commands", include_str!("raw.txt"), include_str!("raw.exchanges.txt"), 1),
        one(
            "the same without EOF",
            include_str!("raw_track.txt"),
            include_str!("raw_track.exchanges.txt"),
            1,
        ),
    ]
}

fn lines(run: &Run) -> Vec<String> {
    run.exchanges.iter().map(written).collect()
}

/// So many bytes of a script, and what comes at the place where they end.
fn cut(script: &[Do], mut n: usize) -> (Vec<Do>, Vec<Do>) {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for step in script {
        match step {
            Do::Push(side, bytes) => {
                let (first, second) = bytes.split_at(n.min(bytes.len()));
                n -= first.len();
                // Empty ones stay, so that times do.
                before.push(Do::Push(*side, first.to_vec()));
                after.push(Do::Push(*side, second.to_vec()));
            }
            step => {
                if n == 0 {
                    after.push(step.clone());
                } else {
                    before.push(step.clone());
                }
            }
        }
    }
    (before, after)
}

fn len(script: &[Do]) -> usize {
    let len = |step: &Do| if let Do::Push(_, bytes) = step { bytes.len() } else { 0 };
    script.iter().map(len).sum()
}

#[test]
fn what_real_clients_do() {
    for Recording { client, script, exchanges, unresolved } in recordings() {
        let run = run(&script, Birth::Seen);
        assert_eq!(lines(&run), exchanges, "{client}");
        assert_eq!(run.given, run.explained, "{client}");
        assert_eq!(run.odd, Oddities { unresolved, ..Oddities::default() }, "{client}");
        assert!(run.exchanges.iter().all(|exchange| system(exchange) == DbSystem::MariaDb));
    }
}

#[test]
fn it_does_not_matter_how_bytes_are_split() {
    for Recording { client, script, exchanges, .. } in recordings() {
        let limits = Limits::default();
        for at in (0..30).chain([64, 100, 150, 200, 300]) {
            let run =
                run_pieces(
                    &script,
                    Birth::Seen,
                    &limits,
                    |bytes| if at == 0 { 1 } else { at.min(bytes.len()) },
                );
            assert_eq!(lines(&run), exchanges, "{client}, in pieces of {at}");
            assert_eq!(run.given, run.explained, "{client}, in pieces of {at}");
            check_shown(&run, Birth::Seen, client);
        }
    }
}

#[test]
fn a_conversation_that_ends_anywhere_has_fewer_exchanges() {
    for Recording { client, script, exchanges, .. } in recordings() {
        for n in 0..len(&script) {
            let (before, _) = cut(&script, n);
            let run = run(&before, Birth::Seen);
            let told = lines(&run);
            assert!(
                exchanges.starts_with(&told.iter().map(String::as_str).collect::<Vec<_>>()),
                "{client}, {n}: {told:?}"
            );
        }
    }
}

/// The same with what is not known of `one` left out, but for which of both databases it is.
fn as_known(other: &Exchange, one: &Exchange) -> Exchange {
    let mut other = other.clone();
    if let (Detail::Db(of), Detail::Db(known)) = (&mut other.detail, &one.detail) {
        of.system = known.system;
        of.namespace = of.namespace.take().filter(|_| known.namespace.is_some());
    }
    other
}

/// Each is one of these, or knows less: no statement, or nothing of the answer.
fn assert_known(told: &[Exchange], all: &[Exchange], why: &str) {
    for exchange in told {
        let db = |exchange: &Exchange| match &exchange.detail {
            Detail::Db(db) => db.clone(),
            _ => panic!("a database's"),
        };
        let is_same = |other: &&Exchange| {
            let (mut other, mut one) = (as_known(other, exchange), exchange.clone());
            let (known, of) = (db(&one), db(&other));
            let is_on_unknown = match (known.summary.as_deref(), of.summary.as_deref()) {
                (None, _) => true,
                // What it prepares, or fetches of.
                (Some(name), Some(more)) => more.strip_prefix(name).is_some_and(|on| on.starts_with(' ')),
                (Some(_), None) => false,
            };
            if is_on_unknown {
                let Detail::Db(of) = &mut other.detail else { return false };
                (of.operation, of.summary) = (known.operation, known.summary);
                (of.collection, of.batch) = (known.collection, known.batch);
            }
            if one.outcome == Outcome::NotObserved {
                (other.requested, other.answered) = (one.requested, one.answered);
                (other.ended, other.outcome) = (one.ended, one.outcome);
                let (Detail::Db(of), Detail::Db(one)) = (&mut other.detail, &mut one.detail) else {
                    return false;
                };
                (of.is_error, of.status, of.rows, of.response_bytes) =
                    (one.is_error, one.status.clone(), one.rows, one.response_bytes);
                of.request_bytes = one.request_bytes;
            }
            one.lost = other.lost;
            one == other
        };
        assert!(all.iter().any(|other| is_same(&other)), "{why}: {}", written(exchange));
    }
}

#[test]
fn a_connection_that_is_met_anywhere_has_no_other_exchanges() {
    for Recording { client, script, .. } in recordings() {
        let all = run(&script, Birth::Seen).exchanges;
        let total = len(&script);
        for n in 0..total {
            let (_, after) = cut(&script, n);
            let run = run(&after, Birth::Joined);
            let why = format!("{client}, met at {n}");
            if n % 11 == 0 {
                check_shown(&run, Birth::Joined, &why);
            }
            assert_known(&run.exchanges, &all, &why);
            // Whatever begins after the first is there.
            let first = run.exchanges.first().map(|exchange| exchange.started);
            let begun = all.iter().filter(|exchange| Some(exchange.started) >= first).count();
            assert!(first.is_none() || begun == run.exchanges.len(), "{why}: {begun} begin");
            assert_eq!(run.explained + run.odd.before_join, run.given, "{why}");
        }
    }
}

#[test]
fn a_loss_makes_no_other_exchanges() {
    for Recording { client, script, .. } in recordings() {
        let all = run(&script, Birth::Seen).exchanges;
        for (index, step) in script.iter().enumerate() {
            let Do::Push(side, bytes) = step else { continue };
            for from in 0..bytes.len() {
                let n = [1, 9, bytes.len()][(from + index) % 3].min(bytes.len() - from);
                let (before, after) = (bytes[..from].to_vec(), bytes[from + n..].to_vec());
                let lossy = Lossy { script: &script, index, before, n: n as u64, after };
                assert_known(&lossy.run(*side), &all, &format!("{client}, {n} lost at {from} of {index}"));
            }
        }
    }
}

struct Lossy<'a> {
    script: &'a [Do],
    index: usize,
    before: Vec<u8>,
    n: u64,
    after: Vec<u8>,
}

impl Lossy<'_> {
    fn run(self, side: Side) -> Vec<Exchange> {
        let mut script: Vec<(u64, Do)> = (1..).zip(self.script.iter().cloned()).collect();
        let at = script[self.index].0;
        let lossy = [Do::Push(side, self.before), Do::Gap(side, self.n), Do::Push(side, self.after)];
        script.splice(self.index..=self.index, lossy.map(|step| (at, step)));
        super::script::run_at(&script)
    }
}
