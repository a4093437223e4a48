//! First bytes.

use super::super::detect;
use crate::protocol::Detect::{NeedMore, No, Yes};

const HELLO: &[u8] = &[0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3];
const SERVER_HELLO: &[u8] = &[0x16, 3, 3, 0, 100, 2, 0, 0, 96, 3, 3];
const DATA: &[u8] = &[0x17, 3, 3, 0, 2, 0xaa, 0xbb];
const TWO: &[u8] = &[0x17, 3, 3, 0, 2, 0xaa, 0xbb, 0x15, 3, 3, 0, 2];

#[test]
fn cases() {
    for (name, client, server, answer) in [
        ("hello", HELLO, &b""[..], Yes),
        ("hello and its answer", HELLO, SERVER_HELLO, Yes),
        ("hello, type not there yet", &HELLO[..5], b"", NeedMore),
        ("one byte", &HELLO[..1], b"", NeedMore),
        ("nothing", b"", b"", NeedMore),
        ("not the version", &[0x16, 2], b"", No),
        ("too long", &[0x16, 3, 1, 0xff, 0xff, 1], b"", No),
        ("empty record", &[0x17, 3, 3, 0, 0], b"", No),
        ("text", b"GET / HTTP/1.1\r\n", b"", No),
        ("met in the middle, one side", DATA, b"", NeedMore),
        ("met in the middle, both sides", DATA, DATA, Yes),
        ("met in the middle, two records", TWO, b"", Yes),
        ("met in the middle, two records of the server", b"", TWO, Yes),
        ("a record, then something else", &[0x17, 3, 3, 0, 1, 0, 0x99], b"", No),
        ("a record answered by text", DATA, b"HTTP/1.1 400 Bad Request\r\n", No),
        ("the server says hello first", b"", HELLO, No),
    ] {
        assert_eq!(detect(client, server), answer, "{name}");
    }
}
