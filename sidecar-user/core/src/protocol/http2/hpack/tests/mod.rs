//! Against encoders of others.

use std::sync::Arc;

use super::{Decoder, Name, Stop};

const ROOM: usize = 16 * 1024;

/// What a block says, as `name: value`, `?` for what is not known.
fn read(decoder: &mut Decoder, block: &[u8], asked: &[&str]) -> Result<Vec<String>, Stop> {
    let asked: Vec<Arc<str>> = asked.iter().map(|name| Arc::from(*name)).collect();
    let mut said = Vec::new();
    decoder.read(block, &asked, ROOM, |name, value| {
        let value = value.map_or("?".into(), String::from_utf8_lossy);
        said.push(format!("{}: {value}", name.text().unwrap_or("?")));
    })?;
    Ok(said)
}

pub(in super::super) fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter_map(|b| char::from(b).to_digit(16)).map(|d| d as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Blocks of one connection, each with what it says.
fn sent() -> Vec<(Vec<u8>, Vec<String>)> {
    let lines = include_str!("hpack.txt").lines();
    let parts = lines.map(|line| line.split_once('\t').expect("a block and its fields"));
    parts.map(|(hex, fields)| (bytes(hex), fields.split('|').map(str::to_owned).collect())).collect()
}

const ASKED: [&str; 5] = ["user-agent", "x-id", "cookie", "te", "x-long"];

/// RFC 7541 appendix C.
#[test]
fn examples_of_the_rfc() {
    let requests = [
        vec![":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"],
        vec![
            ":method: GET",
            ":scheme: http",
            ":path: /",
            ":authority: www.example.com",
            "cache-control: no-cache",
        ],
        vec![
            ":method: GET",
            ":scheme: https",
            ":path: /index.html",
            ":authority: www.example.com",
            "custom-key: custom-value",
        ],
    ];
    let responses = [
        vec![
            ":status: 302",
            "cache-control: private",
            "date: Mon, 21 Oct 2013 20:13:21 GMT",
            "location: https://www.example.com",
        ],
        vec![
            ":status: 307",
            "cache-control: private",
            "date: Mon, 21 Oct 2013 20:13:21 GMT",
            "location: https://www.example.com",
        ],
        vec![
            ":status: 200",
            "cache-control: private",
            "date: Mon, 21 Oct 2013 20:13:22 GMT",
            "location: https://www.example.com",
            "content-encoding: gzip",
            "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
        ],
    ];
    type Case<'a> = (&'a str, [&'a str; 3], &'a [Vec<&'a str>], Option<usize>);
    let cases: [Case<'_>; 4] = [
        (
            "C.3",
            [
                "828684410f7777772e6578616d706c652e636f6d",
                "828684be58086e6f2d6361636865",
                "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
            ],
            &requests,
            None,
        ),
        (
            "C.4",
            [
                "828684418cf1e3c2e5f23a6ba0ab90f4ff",
                "828684be5886a8eb10649cbf",
                "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
            ],
            &requests,
            None,
        ),
        (
            "C.5",
            [
                "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e1768747470733a2f2f7777772e6578616d706c652e636f6d",
                "4803333037c1c0bf",
                "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31",
            ],
            &responses,
            Some(256),
        ),
        (
            "C.6",
            [
                "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
                "4883640effc1c0bf",
                "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
            ],
            &responses,
            Some(256),
        ),
    ];
    let asked = ["cache-control", "date", "location", "content-encoding", "set-cookie", "custom-key"];
    for (name, blocks, expected, size) in cases {
        let mut decoder = Decoder::new(true);
        if let Some(size) = size {
            decoder.table.resize(size);
        }
        for (block, expected) in blocks.iter().zip(expected) {
            let mut said = read(&mut decoder, &bytes(block), &asked).expect(name);
            said.retain(|field| !field.starts_with("content-type"));
            assert_eq!(said, *expected, "{name}");
        }
    }
}

#[test]
fn a_long_connection_from_its_beginning() {
    let mut decoder = Decoder::new(true);
    for (n, (block, fields)) in sent().into_iter().enumerate() {
        assert_eq!(read(&mut decoder, &block, &ASKED).as_ref(), Ok(&fields), "block {n}");
    }
}

/// What is known is right, and what was inserted since the join is known.
#[test]
fn joined_at_every_block() {
    let sent = sent();
    for joined in 1..sent.len() {
        let mut decoder = Decoder::new(false);
        let mut n_unknown = Vec::new();
        for (n, (block, fields)) in sent.iter().enumerate().skip(joined) {
            let said = read(&mut decoder, block, &ASKED).expect("a block");
            assert_eq!(said.len(), fields.len(), "joined at {joined}, block {n}");
            for (said, field) in said.iter().zip(fields) {
                let (name, value) = said.split_once(": ").expect("a name");
                let (true_name, true_value) = field.split_once(": ").expect("a name");
                assert!(name == "?" || name == true_name, "joined at {joined}, block {n}: {said}, {field}");
                assert!(
                    value == "?" || value == true_value,
                    "joined at {joined}, block {n}: {said}, {field}"
                );
            }
            n_unknown.push(said.iter().filter(|field| field.starts_with('?')).count());
        }
        // All was inserted anew when the table had been emptied to 256 bytes.
        if joined <= 20 && joined > 0 {
            assert!(n_unknown.iter().sum::<usize>() > 0, "joined at {joined}: something must be unknown");
            let late = &n_unknown[40 - joined..];
            assert!(late.iter().all(|n| *n == 0), "joined at {joined}: {late:?}");
        }
    }
}

#[test]
fn forgetting_is_as_a_join() {
    let sent = sent();
    for lost in 1..sent.len() {
        let (mut watched, mut joined) = (Decoder::new(true), Decoder::new(false));
        for (n, (block, _)) in sent.iter().enumerate() {
            if n == lost {
                watched.forget();
            }
            let said = read(&mut watched, block, &ASKED).expect("a block");
            if n >= lost {
                assert_eq!(Ok(said), read(&mut joined, block, &ASKED), "lost at {lost}, block {n}");
            }
        }
    }
}

#[test]
fn cut_anywhere_it_is_short_or_says_less() {
    let sent = sent();
    let (block, fields) = &sent[0];
    for len in 0..block.len() {
        let mut said = Vec::new();
        let stop = Decoder::new(true).read(&block[..len], &[], ROOM, |name, value| {
            said.push((name.clone(), value.map(<[u8]>::to_vec)));
        });
        assert_ne!(stop, Err(Stop::Malformed), "{len}");
        assert!(said.len() < fields.len());
        assert!(said.iter().all(|(name, _)| *name != Name::Unknown));
    }
}

#[test]
fn what_is_malformed() {
    for (name, hex) in [
        ("index 0", "80"),
        ("a number without an end", "ffffffffffffffffff01"),
        ("padding that is none", "0081ff8100"),
        ("the end of a text, in a text", "0084ffffffff00"),
    ] {
        assert_eq!(read(&mut Decoder::new(true), &bytes(hex), &[]), Err(Stop::Malformed), "{name}");
    }
}

#[test]
fn the_table_is_bounded() {
    let mut decoder = Decoder::new(false);
    for n in 0..10_000u32 {
        let value = format!("/{n:0>60}");
        let block = [&[0x44, value.len() as u8][..], value.as_bytes()].concat();
        assert_eq!(read(&mut decoder, &block, &[]), Ok(vec![format!(":path: {value}")]));
        assert_eq!(read(&mut decoder, &[0xbe], &[]), Ok(vec![format!(":path: {value}")]));
        assert!(decoder.held() <= 2 * ROOM, "{}", decoder.held());
    }
}
