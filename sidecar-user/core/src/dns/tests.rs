use proptest::{collection::vec, prelude::*};

use super::*;

/// A query for `labels` with EDNS, and what `flags` and `records` make of it.
fn message(flags: [u8; 2], counts: [u16; 4], question: &[u8], records: &[u8]) -> Vec<u8> {
    let counts = counts.map(u16::to_be_bytes).concat();
    [&[0x12, 0x34], &flags[..], &counts, question, records].concat()
}

const QUESTION: &[u8] = b"\x03Www\x07example\0\x00\x1c\x00\x01";
const A_RECORD: &[u8] = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x05\x00\x04\x7f\x00\x00\x01";
/// Code 16 less its low bits.
const OPT: &[u8] = b"\x00\x00\x29\x04\xd0\x01\x00\x00\x00\x00\x00";
const SOA: &[u8] = b"\x00\x00\x06\x00\x01\x00\x00\x00\x05\x00\x02ab";

fn read(bytes: &[u8]) -> (Reader, Result<(), Malformed>) {
    let mut reader = Reader::default();
    let result = reader.push(bytes);
    (reader, result)
}

#[test]
fn what_a_message_says() {
    // Answers, authorities, additional records; which; low code => whole, code, SOA records among the answers.
    for (counts, records, low, expected) in [
        ([0, 0, 0], &[][..], 0, (true, Some(0), 0)),
        ([1, 0, 0], &[A_RECORD], 0, (true, Some(0), 0)),
        ([2, 0, 0], &[A_RECORD], 0, (false, Some(0), 0)),
        ([2, 1, 0], &[SOA, SOA, SOA], 0, (true, Some(0), 2)),
        ([0, 0, 1], &[OPT], 0, (true, Some(16), 0)),
        ([0, 0, 1], &[OPT], 7, (true, Some(23), 0)),
        ([0, 0, 1], &[], 3, (false, None, 0)),
        ([1, 1, 2], &[A_RECORD, SOA, A_RECORD, OPT], 0, (true, Some(16), 0)),
        // Of an answer it would be data of a record.
        ([1, 0, 0], &[OPT], 0, (true, Some(0), 0)),
    ] {
        let [an, ns, ar] = counts;
        let bytes = message([0x81, 0x80 | low], [1, an, ns, ar], QUESTION, &records.concat());
        let (reader, result) = read(&bytes);
        assert_eq!(result, Ok(()));
        assert_eq!((reader.is_whole(), reader.code(), reader.n_soa()), expected, "{counts:?}");
        let header = reader.header().expect("a header");
        assert_eq!((header.id(), header.is_response(), header.n_answers()), (0x1234, true, an));
        let question = Question { name: "www.example".into(), record_type: 28, class: 1 };
        assert_eq!(reader.into_question(), Some((question, HEADER + QUESTION.len())));
    }
}

#[test]
fn each_name_has_one_text() {
    for (labels, text) in [
        (&b"\0"[..], Some(".")),
        (b"\x01a\0", Some("a")),
        (b"\x03a.b\0", Some("a\\.b")),
        (b"\x01a\x01b\0", Some("a.b")),
        (b"\x02\\.\0", Some("\\\\\\.")),
        (b"\x04 \x00\xff\x7f\0", Some("\\032\\000\\255\\127")),
        (b"\x01A\x02-_\0", Some("a.-_")),
        (b"\xc0\x0c", None),
        (b"\x01a\xc0\x0c", None),
        (b"\x40a", None),
        (&[1; 254], None),
    ] {
        let (reader, _) = read(&message([1, 0], [1, 0, 0, 0], &[labels, &[0, 1, 0, 1]].concat(), &[]));
        assert_eq!(reader.question().map(|question| &*question.name), text, "{labels:?}");
    }
    // 254 octets and the root's.
    let long = [&b"\x3f"[..], &[b'\xff'; 63]].concat().repeat(3);
    let long = [&long[..], b"\x3d", &[b'\xff'; 61], b"\0\0\x01\0\x01"].concat();
    let (reader, result) = read(&message([1, 0], [1, 0, 0, 0], &long, &[]));
    assert_eq!((result, reader.question().map(|question| question.name.len())), (Ok(()), Some(1003)));
}

#[test]
fn pointers_lead_nowhere() {
    // To itself, to the next, beyond the end.
    for pointer in [b"\xc0\x21", b"\xc0\x23", b"\xff\xff"] {
        let record = [&pointer[..], &A_RECORD[2..]].concat();
        let (reader, result) = read(&message([0x81, 0], [1, 1, 0, 0], QUESTION, &record));
        assert_eq!((result, reader.is_whole()), (Ok(()), true), "{pointer:?}");
    }
}

proptest! {
    #[test]
    fn pieces_make_the_same(
        noise in vec(any::<u8>(), 0..64),
        counts in proptest::array::uniform4(0..3u16),
        at in any::<proptest::sample::Index>(),
    ) {
        let bytes = message([0x81, 0x80], counts, QUESTION, &[A_RECORD, &noise].concat());
        let (whole, result) = read(&bytes);
        let (first, second) = bytes.split_at(at.index(bytes.len()));
        let (mut cut, first_result) = read(first);
        let cut_result = first_result.and_then(|()| cut.push(second));
        prop_assert_eq!(result, cut_result);
        prop_assert_eq!(format!("{whole:?}"), format!("{cut:?}"));
    }
}
