//! What is MySQL's, by its first bytes.

use super::super::detect::detect;
use super::script::{Do, recorded};
use crate::model::Side;
use crate::protocol::Detect::{self, NeedMore, No, Yes};

const RECORDED: &[&str] = &[
    include_str!("pymysql.txt"),
    include_str!("connector.txt"),
    include_str!("mysql2.txt"),
    include_str!("mariadb.txt"),
    include_str!("cli.txt"),
    include_str!("raw.txt"),
];

const PING: &[u8] = b"\x01\x00\x00\x00\x0e";
const OK: &[u8] = b"\x07\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00";

#[test]
fn a_greeting_is_enough() {
    for text in RECORDED {
        let Some(Do::Push(Side::Server, greeting)) = recorded(text).into_iter().next() else {
            panic!("a greeting")
        };
        for n in 0..greeting.len() {
            assert_eq!(detect(b"", &greeting[..n]), NeedMore, "{n}");
        }
        assert_eq!(detect(b"", &greeting), Yes);
        assert_eq!(detect(&greeting, b""), No, "the client does not greet");
    }
    // By MySQL 8.0: "Handshake Packet" of its documentation, with a longer nonce.
    let eight = b"\x4a\x00\x00\x00\x0a8.0.36\0\x0b\x00\x00\x00\x7a\x1c\x33\x2e\x5f\x18\x6b\x2e\x00\xff\xff\xff\x02\x00\xff\xdf\x15\
        \x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x16\x24\x45\x3d\x56\x6c\x52\x1e\x5a\x47\x5b\x12\x00caching_sha2_password\x00";
    assert_eq!(detect(b"", eight), Yes);
    assert_eq!(detect(b"", b"\x17\x00\x00\x00\xff\x10\x04Too many connections"), Yes);
}

#[test]
fn in_the_middle_both_sides_have_to_fit() {
    for (name, client, server, answer) in [
        ("a command", PING, &b""[..], NeedMore),
        ("half a command", &PING[..3], b"", NeedMore),
        ("a command and its answer", PING, OK, Yes),
        ("what comes before a command", b"\x05\x00\x00\x00\x19\x01\x00\x00\x00\x01\x00\x00\x00\x0e", OK, Yes),
        ("an answer alone", b"", OK, No),
        ("an answer with another number", PING, b"\x07\x00\x00\x02\x00\x00\x00\x02\x00\x00\x00", No),
        ("a command that is numbered", b"\x01\x00\x00\x01\x0e", OK, No),
        ("a query", b"\x09\x00\x00\x00\x03select 1", b"\x01\x00\x00\x01\x01", NeedMore),
        ("and a column", b"\x09\x00\x00\x00\x03select 1", b"\x01\x00\x00\x01\x01\x17\x00\x00\x02\x03def\x00\x00\x00\x011\x00\x0c\x3f\x00\x01\x00\x00\x00\x03\x81\x00\x00\x00\x00", Yes),
        ("an error", b"\x09\x00\x00\x00\x03select x", b"\x09\x00\x00\x01\xff\x1e\x04#42S22", Yes),
        ("HTTP", b"GET / HTTP/1.1\r\n", b"", No),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"", No),
        ("TLS", b"\x16\x03\x01\x00\xfa\x01\x00\x00\xf6\x03\x03", b"", No),
        ("PostgreSQL's startup", b"\x00\x00\x00\x29\x00\x03\x00\x00user\0", b"", No),
        ("PostgreSQL's query", b"Q\x00\x00\x00\x16select 1 from t_1\0", b"", No),
        ("RESP", b"*1\r\n$4\r\nPING\r\n", b"", No),
        ("memcached", b"get key\r\n", b"", No),
        ("memcached's binary", b"\x80\x00\x00\x03\x00\x00\x00\x00\x00\x00\x00\x03", b"", No),
        ("DNS", b"\x00\x1d\x12\x00\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00", b"", No),
        ("SSH", b"", b"SSH-2.0-OpenSSH_9.2\r\n", No),
        ("SMTP", b"", b"220 mail ESMTP\r\n", No),
    ] {
        assert_eq!(detect(client, server), answer, "{name}");
    }
}

/// Nobody but its client sends a command that the server answers so: whichever way the sides are taken, one of them is.
#[test]
fn the_other_way_round_it_is_not() {
    for text in RECORDED {
        let steps: Vec<Do> = recorded(text);
        let answers = steps.windows(2).filter_map(|pair| match pair {
            [Do::Push(Side::Client, client), Do::Push(Side::Server, server)] => Some((client, server)),
            _ => None,
        });
        let told: Vec<[Detect; 2]> =
            answers.map(|(client, server)| [detect(client, server), detect(server, client)]).collect();
        assert!(told.iter().all(|[_, swapped]| *swapped == No), "{told:?}");
        let n_known = told.iter().filter(|[right, _]| *right == Yes).count();
        assert!(2 * n_known > told.len(), "{n_known} of {}", told.len());
    }
}
