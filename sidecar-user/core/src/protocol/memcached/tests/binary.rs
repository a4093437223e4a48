//! The binary protocol.

use super::{Client, Server, check};

/// A message, as the specification draws it.
pub(super) fn message(
    magic: u8,
    opcode: u8,
    status: u16,
    extras: &[u8],
    key: &[u8],
    value: &[u8],
    opaque: u32,
) -> Vec<u8> {
    let body = (extras.len() + key.len() + value.len()) as u32;
    let mut bytes = vec![magic, opcode];
    bytes.extend((key.len() as u16).to_be_bytes());
    bytes.extend([extras.len() as u8, 0]);
    bytes.extend(status.to_be_bytes());
    bytes.extend(body.to_be_bytes());
    bytes.extend(opaque.to_be_bytes());
    bytes.extend([0; 8]);
    [&bytes, extras, key, value].concat()
}

fn asked(opcode: u8, extras: &[u8], key: &[u8], value: &[u8], opaque: u32) -> Vec<u8> {
    message(0x80, opcode, 0, extras, key, value, opaque)
}

fn told(opcode: u8, status: u16, key: &[u8], value: &[u8], opaque: u32) -> Vec<u8> {
    let extras: &[u8] = if matches!(opcode, 0 | 9 | 12 | 13) && status == 0 { &[0; 4] } else { b"" };
    message(0x81, opcode, status, extras, key, value, opaque)
}

#[test]
fn commands_and_answers() {
    check(
        "at once",
        &[
            (Client, &[asked(1, &[0; 8], b"k", b"value", 1), asked(0, b"", b"k", b"", 2)].concat()),
            (Client, &[asked(0, b"", b"none", b"", 3), asked(5, &[0; 20], b"k", b"", 4)].concat()),
            (Server, &[told(1, 0, b"", b"", 1), told(0, 0, b"", b"value", 2)].concat()),
            (Server, &[told(0, 1, b"", b"Not found", 3), told(5, 6, b"", b"Non-numeric", 4)].concat()),
        ],
        &["SET", "GET hits=1", "GET hits=0", "INCR 6"],
    );
    check(
        "statistics, authentication",
        &[
            (Client, &[asked(0x10, b"", b"", b"", 0), asked(0x20, b"", b"", b"", 0)].concat()),
            (Client, &asked(0x21, b"", b"PLAIN", b"\0user\0secret", 0)),
            (Server, &[told(0x10, 0, b"pid", b"1", 0), told(0x10, 0, b"", b"", 0)].concat()),
            (Server, &[told(0x20, 0, b"", b"PLAIN", 0), told(0x21, 0x20, b"", b"Auth failure", 0)].concat()),
        ],
        &["STATS", "SASL_LIST", "SASL_AUTH 32"],
    );
}

#[test]
fn quiet_commands() {
    let keys: [&[u8]; 3] = [b"a", b"b", b"c"];
    let asks = |opaque: fn(u32) -> u32| {
        let gets = keys.iter().zip(0..).map(|(key, n)| asked(13, b"", key, b"", opaque(n)));
        [gets.collect::<Vec<_>>().concat(), asked(10, b"", b"", b"", opaque(9))].concat()
    };
    let expected = ["GET hits=0 silent", "GET hits=1", "GET hits=0 silent", "NOOP"];
    let noop = |opaque| told(10, 0, b"", b"", opaque);
    check(
        "told apart by numbers",
        &[(Client, &asks(|n| n)), (Server, &[told(13, 0, b"b", b"v", 1), noop(9)].concat())],
        &expected,
    );
    check(
        "told apart by keys",
        &[(Client, &asks(|_| 0)), (Server, &[told(13, 0, b"b", b"v", 0), noop(0)].concat())],
        &expected,
    );
    check(
        "what failed of what was to be stored",
        &[
            (Client, &[asked(0x12, &[0; 8], b"a", b"v", 1), asked(0x12, &[0; 8], b"b", b"v", 2)].concat()),
            (Client, &asked(10, b"", b"", b"", 3)),
            (Server, &[told(0x12, 2, b"", b"", 2), noop(3)].concat()),
        ],
        &["ADD silent", "ADD", "NOOP"],
    );
}
