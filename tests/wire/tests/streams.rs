//! The whole core, from records to series: the same stream split anywhere gives the same exchanges; lost records never
//! double one; nothing grows beyond its bound. `cargo xtask fuzz` runs the same checks with a fuzzer's bytes.

use proptest::{collection::vec, prelude::*};
use sidecar_wire as wire;

/// Turns of pieces of messages.
fn conversation() -> impl Strategy<Value = Vec<u8>> {
    let words: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\n\r\n",
        b"HEAD /a HTTP/1.0\r\nHost: h\r\n\r\n",
        b"CONNECT h:443 HTTP/1.1\r\n\r\n",
        b"POST /p HTTP/1.1\r\nContent-Length: 5\r\n\r\n",
        b"POST /p HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        b"GET / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length : 5\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nBad\x00: 5\r\n\r\n",
        b"GET  /a  HTTP/1.1\r\n\r\n",
        b"GET /a\r\n",
        b"POST /p HTTP/1.1\nTransfer-Encoding: chunked\n\n",
        b"POST /p HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 15\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n",
        b"HTTP/1.1 999 None\r\n\r\n",
        b"HTTP/0.9",
        b"ffffffffffffffff\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        b"HTTP/1.0 204 None\r\n\r\n",
        b"3\r\nabc\r\n",
        b"0\r\n\r\n",
        b"0;a=b\r\nT: u\r\n\r\n",
        b"hello",
        b"\r\n",
        b"\n",
        b"\x00",
        &[wire::CLIENT],
        &[wire::SERVER],
        &[wire::CLIENT],
        &[wire::SERVER],
    ];
    vec(proptest::sample::select(words), 0..24).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn any_order_overlap_and_repetition_gives_the_same(input in vec(any::<u8>(), 0..400)) {
        wire::whole(&input);
    }

    #[test]
    fn what_is_lost_doubles_nothing_and_leaves_a_mark(input in vec(any::<u8>(), 0..400)) {
        wire::lossy(&input);
    }

    #[test]
    fn any_split_gives_the_same(seed in any::<[u8; 2]>(), turns in conversation()) {
        wire::split(&[&seed[..], &turns].concat());
    }

    #[test]
    fn any_records_are_borne(input in vec(any::<u8>(), 0..3000)) {
        wire::records(&input);
    }
}

/// Found by the fuzzer: a client's last requests are in no record, and neither is its FIN. Their responses are nobody's, and
/// what follows them cannot be read.
#[test]
fn a_lost_tail_leaves_a_gap() {
    wire::lossy(include_bytes!("found/lossy-tail.bin"));
}

/// Found by the fuzzer: where nobody's response is interrupted by a turn, what comes next may begin as a response does, byte
/// by byte, and be none.
#[test]
fn an_interrupted_body_goes_on_in_any_pieces() {
    wire::split(include_bytes!("found/split-interrupted.bin"));
}

/// Found by the fuzzer: line ends in such a body look like those before a head.
#[test]
fn an_interrupted_body_has_its_line_ends() {
    wire::split(include_bytes!("found/split-empty-lines.bin"));
}

/// Found by the fuzzer: a head of too many lines, whose end never comes, is judged at its end however it comes.
#[test]
fn a_head_of_many_lines_may_be_interrupted() {
    wire::split(include_bytes!("found/split-many-lines.bin"));
}

/// Found by the fuzzer: what waited at a listener for its connection counts when that opens.
#[test]
fn what_is_held_stays_below_the_bound() {
    wire::records(include_bytes!("found/records-held.bin"));
}

/// Found by the fuzzer: what all connections hold together is looked at with each segment, so where the bound ends one depends
/// on how it is split.
#[test]
fn what_the_bound_ends_is_not_compared() {
    wire::split(include_bytes!("found/split-bound.bin"));
}

/// Found by the fuzzer: a server changes to another protocol while the client's next head is half there.
#[test]
fn what_is_held_when_the_protocol_changes_is_told_of() {
    wire::check("http", include_bytes!("found/http-upgraded-early.bin"));
}
