//! Conversations of others' clients and servers, as they were on the wire.

use std::sync::Arc;

use super::super::hpack::tests::bytes;
use super::super::open;
use super::script::{Do, Run, asked, or_dash, result, run, written};
use crate::model::{Detail, Exchange, Ktime, Outcome, Side};
use crate::protocol::{Birth, Limits, Next, Signal, Then, http1};

/// nghttp and nghttpd 1.52: four requests at once, with priorities, and trailers.
const NGHTTP: &str = include_str!("seen/nghttp.txt");
/// curl 7.88 and nghttpd.
const CURL: &str = include_str!("seen/curl.txt");
/// h2load 1.52 and nghttpd: twelve requests, four at a time.
const H2LOAD: &str = include_str!("seen/h2load.txt");
/// grpcio 1.85, both sides.
const GRPC: &str = include_str!("seen/grpc.txt");
/// curl and nghttpx: an upgrade.
const UPGRADE: &str = include_str!("seen/upgrade.txt");

/// Who sent what, packet by packet.
fn read(text: &str) -> Vec<Do> {
    let line = |line: &str| {
        let side = if line.starts_with('c') { Side::Client } else { Side::Server };
        if line.ends_with('.') { Do::End(side) } else { Do::Push(side, bytes(&line[2..])) }
    };
    text.lines().map(line).collect()
}

/// What each comes to, in any order.
fn truth(text: &str) -> Vec<String> {
    let lines: &[&str] = match text {
        NGHTTP => &[
            "GET 127.0.0.1:18091/a.txt -> 200 complete 0/6",
            "GET 127.0.0.1:18091/none -> 404 complete 0/148",
            "GET 127.0.0.1:18091/a.txt -> 200 complete 0/6",
            "GET 127.0.0.1:18091/big.bin -> 200 complete 0/3000",
        ],
        CURL => &["POST 127.0.0.1:18092/a.txt -> 200 complete 3/6"],
        H2LOAD => &["GET 127.0.0.1:18093/a.txt -> 200 complete 0/6"; 12],
        _ => &[
            "/t.S/Unary -> 0 complete 1/1",
            "/t.S/Unary -> 0 complete 1/1",
            "/t.S/Unary -> 0 complete 1/1",
            "/t.S/Down -> 0 complete 1/3",
            "/t.S/Up -> 0 complete 3/1",
            "/t.S/Both -> 0 complete 2/2",
            "/t.S/Fail -> 5 complete 1/0",
            "/t.S/None -> 12 complete 1/0",
            "/t.S/Slow -> 4 complete 1/0",
            "/t.S/Both -> 0 complete 1/1",
            "/t.S/Slow -> cut 1/0",
        ],
    };
    lines.iter().map(|line| (*line).to_owned()).collect()
}

/// An exchange as it is written above.
fn told(exchange: &Exchange) -> String {
    let Detail::Rpc(rpc) = &exchange.detail else {
        return format!("{} -> {}", asked(exchange.http().expect("HTTP")), result(exchange));
    };
    let path = rpc.http.path.as_deref().unwrap_or("-");
    if exchange.outcome == Outcome::Complete {
        let result = result(exchange);
        return format!("{path} -> {}", result.split(" within").next().expect("a beginning"));
    }
    let [sent, got] = rpc.messages.map(or_dash);
    format!("{path} -> cut {sent}/{got}")
}

fn play(script: &[Do], birth: Birth, piece: impl FnMut(&[u8]) -> usize) -> Run {
    run(open(Limits::default().into(), birth), script, piece)
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

#[test]
fn from_the_beginning_split_anywhere() {
    for text in [NGHTTP, CURL, H2LOAD, GRPC] {
        let script = read(text);
        let whole = play(&script, Birth::Seen, |bytes| bytes.len());
        assert_eq!(sorted(whole.exchanges.iter().map(told).collect()), sorted(truth(text)));
        assert_eq!((whole.explained, whole.odd), (whole.given, Default::default()));
        assert_eq!(whole.next, Next::Continue);
        for at in 1..200 {
            let run = play(&script, Birth::Seen, |_| at);
            assert_eq!(run.exchanges, whole.exchanges, "split by {at}");
            assert_eq!((run.explained, run.odd), (run.given, whole.odd), "split by {at}");
            assert_eq!(run.messages, whole.messages, "split by {at}");
            let again = play(&run.shown, Birth::Seen, |bytes| bytes.len());
            assert_eq!(again.exchanges, whole.exchanges, "split by {at}, as it is shown");
            assert_eq!(again.messages, whole.messages, "split by {at}, as it is shown");
        }
    }
}

#[test]
fn cut_anywhere() {
    for text in [NGHTTP, CURL, H2LOAD, GRPC] {
        let (script, truth) = (read(text), truth(text));
        for n in 0..script.len() {
            let Do::Push(side, bytes) = &script[n] else { continue };
            for len in 0..bytes.len() {
                let mut cut = script[..n].to_vec();
                cut.push(Do::Push(*side, bytes[..len].to_vec()));
                let run = play(&cut, Birth::Seen, |bytes| bytes.len());
                let mut left = truth.clone();
                for line in run.exchanges.iter().map(told) {
                    let at = left.iter().position(|truth| *truth == line);
                    left.swap_remove(at.unwrap_or_else(|| panic!("cut in {n} at {len}: {line}")));
                }
            }
        }
    }
}

/// What is known of an exchange is what it was.
fn is_as(exchange: &Exchange, whole: &Exchange) -> bool {
    let (Some(http), Some(true_http)) = (exchange.http(), whole.http()) else { return false };
    let is_told = match (&exchange.detail, &whole.detail) {
        (Detail::Rpc(rpc), Detail::Rpc(true_rpc)) => {
            (rpc.status.is_none() || rpc.status == true_rpc.status)
                && rpc.messages.iter().zip(true_rpc.messages).all(|(n, whole)| *n <= whole)
                && (rpc.reset.is_none() || rpc.reset == true_rpc.reset)
        }
        // Nothing told that it is a call.
        (Detail::Http(http), Detail::Rpc(_)) => http.is_doubtful,
        (Detail::Http(_), Detail::Http(_)) => true,
        _ => false,
    };
    is_told
        && (http.method.is_none() || http.method == true_http.method)
        && (http.path.is_none() || http.path == true_http.path)
        && (http.host.is_none() || (&http.host, http.port) == (&true_http.host, true_http.port))
        && (http.status.is_none() || http.status == true_http.status)
        && exchange.requested == whole.requested
        && (exchange.outcome == Outcome::NotObserved
            || (exchange.outcome, exchange.answered, exchange.ended)
                == (whole.outcome, whole.answered, whole.ended))
}

/// Joined at each byte of each packet: what is told is true, and what began in a later packet is told.
#[test]
fn joined_anywhere() {
    for text in [NGHTTP, CURL, H2LOAD, GRPC] {
        let script = read(text);
        let whole = play(&script, Birth::Seen, |bytes| bytes.len());
        for n in 0..script.len() {
            let Do::Push(side, bytes) = &script[n] else { continue };
            for start in 0..bytes.len() {
                // Steps keep their times.
                let mut rest = vec![Do::Gap(Side::Client, 0); n];
                rest.push(Do::Push(*side, bytes[start..].to_vec()));
                rest.extend_from_slice(&script[n + 1..]);
                let run = play(&rest, Birth::Joined, |bytes| bytes.len());
                for exchange in &run.exchanges {
                    let mut same = whole.exchanges.iter().filter(|whole| whole.started == exchange.started);
                    assert!(
                        same.any(|whole| is_as(exchange, whole)),
                        "joined in {n} at {start}: {exchange:?} is none of {:?}",
                        whole.exchanges
                    );
                }
                let later = |exchange: &&Exchange| exchange.started > Ktime(n as u64 + 1);
                let due = whole.exchanges.iter().filter(later).count();
                let found = run.exchanges.iter().filter(later).count();
                assert_eq!(found, due, "joined in {n} at {start}: {:?}", run.odd);
            }
        }
    }
}

#[test]
fn an_upgraded_connection() {
    let script = read(UPGRADE);
    for at in [1, 2, 3, 5, 7, 10, 50, 100, 1000] {
        let Then::Parse(open) = http1::PROTOCOL.then else { panic!("it is parsed") };
        let mut parser = open(Arc::new(Limits::default()), Birth::Seen);
        let (mut out, mut given, mut explained, mut n_changes) = (Vec::new(), 0, 0, 0);
        for (time, step) in (1..).map(Ktime).zip(&script) {
            let Do::Push(side, bytes) = step else { continue };
            for piece in bytes.chunks(at) {
                let step = parser.push(*side, time, piece, &mut out);
                given += piece.len() as u64;
                explained += step.explained;
                if step.next == Next::Become {
                    let successor = parser.successor().expect("who goes on");
                    assert_eq!(successor.protocol.name, "http2");
                    parser = successor.parser;
                    out.extend(successor.signals);
                    n_changes += 1;
                }
            }
        }
        assert_eq!((n_changes, explained), (1, given), "by {at}");
        let finished = out.iter().filter_map(|signal| match signal {
            Signal::Finished(exchange) => Some(written(exchange)),
            Signal::Started(_) | Signal::Message(_) => None,
        });
        let finished: Vec<String> = finished.collect();
        assert_eq!(finished, ["GET 127.0.0.1:18094/a.txt -> 200 complete 0/6 @1 1 5 6"], "by {at}");
        assert_eq!(out.len(), 2, "by {at}");
    }
}
