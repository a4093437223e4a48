//! Whatever of a capture is missing, cut, split or twice: the same exchanges, or fewer, and none that was not.

use serde_json::Value;

use crate::{
    fixtures, json,
    packets::{Owned, lines, read},
};

/// Words of `error.type` for exchanges whose end was not seen, or not as it was.
const ENDED: [&str; 8] = [
    "response_not_observed",
    "client_closed",
    "server_closed",
    "connection_closed",
    "client_reset",
    "server_reset",
    "connection_timeout",
    "timeout",
];
/// What may differ between an exchange and the same whose end was not seen.
const OF_THE_END: [&str; 6] =
    ["error.type", "duration_ns", "request.bytes", "response.bytes", "attributes", "start_unix_nano"];

/// Whether a line says nothing that the whole capture's does not.
fn is_of(got: &Value, whole: &Value, is_timed: bool) -> bool {
    let without = |line: &Value| {
        let mut line = line.clone();
        line.as_object_mut().expect("an object").remove("attributes");
        if !is_timed {
            line.as_object_mut()
                .expect("an object")
                .retain(|key, _| !["start_unix_nano", "duration_ns"].contains(&key.as_str()));
        }
        line
    };
    let is_cut = got["error.type"].as_str().is_some_and(|error| ENDED.contains(&error));
    // What was told before may be missing: a route is learned, a database chosen. But nothing else is there instead.
    let attributes = got["attributes"].as_object().expect("attributes").iter();
    let attributes = attributes.filter(|(key, _)| *key != "http.route").all(|(key, value)| {
        let whole = &whole["attributes"][key];
        // So many messages until then.
        let is_part = is_cut && key.starts_with("sidecar.messages.") && value.as_u64() <= whole.as_u64();
        // Which of those that speak it, nobody saw.
        let is_other = key == "db.system.name" && value == "other_sql";
        is_part || is_other || whole == value
    });
    if without(got) == without(whole) && attributes {
        return true;
    }
    // Its end was not seen: it says so, or does not say how long its bodies were. Or what it was is not known.
    let is_unknown = |key: &str| got.get(key).is_none() && whole.get(key).is_some();
    let is_ended = is_cut
        || ["operation", "status", "request.bytes", "response.bytes"].iter().any(|key| is_unknown(key));
    let is_same_start = !is_timed || got["start_unix_nano"] == whole["start_unix_nano"];
    let fields = got.as_object().expect("an object").iter();
    // A request whose head was not seen to its end names no host.
    let of_address = |key: &str| {
        let local = if key == "server.address" { "network.local.address" } else { "network.local.port" };
        key.starts_with("server.") && got[key] == got["attributes"][local]
    };
    let own = fields
        .filter(|(key, _)| !OF_THE_END.contains(&key.as_str()))
        .all(|(key, value)| whole[key] == *value || of_address(key));
    is_ended && is_same_start && own && attributes
}

/// Each line is one of the whole capture's, and none is it twice.
pub(crate) fn check(name: &str, got: &[String], whole: &[Value], is_timed: bool) {
    let mut left: Vec<&Value> = whole.iter().collect();
    // The most exact first, so that none takes another's.
    let mut got: Vec<Value> = got.iter().map(|line| json(line)).collect();
    got.sort_by_key(|line| line.get("status").is_none());
    for line in got {
        let found = left.iter().position(|whole| is_of(&line, whole, is_timed));
        let found = found.unwrap_or_else(|| panic!("{name}: {line} never was, or twice"));
        left.remove(found);
    }
}

fn each(test: impl Fn(&str, &[Owned], &[String], &[Value])) {
    for (name, bytes, expected) in fixtures() {
        let packets = read(&bytes).expect("a whole capture");
        let whole: Vec<_> = expected.iter().map(|line| json(line)).collect();
        test(&name, &packets, &expected, &whole);
    }
}

#[test]
fn cut_at_every_byte() {
    each(|name, packets, _, whole| {
        let mut n_before = 0;
        for (at, packet) in packets.iter().enumerate() {
            for n in 0..packet.payload() {
                let cut = packet.piece(0, n);
                let got = lines(packets[..at].iter().chain([&cut]));
                check(&format!("{name}, packet {at}, byte {n}"), &got, whole, true);
                let n_whole = got.iter().filter(|line| !line.contains("response_not_observed")).count();
                assert!(n_whole >= n_before, "{name}: what had ended before packet {at}, byte {n}, is gone");
                n_before = n_whole;
            }
        }
    });
}

#[test]
fn split_at_every_byte() {
    each(|name, packets, expected, _| {
        for (at, packet) in packets.iter().enumerate() {
            for n in 1..packet.payload() {
                let (first, second) = (packet.piece(0, n), packet.piece(n, packet.payload()));
                let got = lines(packets[..at].iter().chain([&first, &second]).chain(&packets[at + 1..]));
                assert_eq!(got, expected, "{name}, packet {at}, byte {n}");
            }
        }
    });
}

#[test]
fn in_single_bytes() {
    each(|name, packets, expected, _| {
        let single = packets.iter().flat_map(|packet| match packet.payload() {
            0 => vec![packet.clone()],
            n => (0..n).map(|at| packet.piece(at, at + 1)).collect(),
        });
        assert_eq!(lines(&single.collect::<Vec<_>>()), expected, "{name}");
    });
}

/// Of TCP: a question that comes twice was asked twice.
#[test]
fn each_packet_twice() {
    each(|name, packets, expected, _| {
        let twice = packets
            .iter()
            .flat_map(|packet| std::iter::repeat_n(packet, 2 - usize::from(packet.is_datagram())));
        assert_eq!(lines(twice), expected, "{name}");
    });
}

/// Two that one side sent one after the other, the second split, so that there are enough of them.
#[test]
fn out_of_order() {
    each(|name, packets, expected, _| {
        for (at, packet) in packets.iter().enumerate().filter(|(_, packet)| packet.payload() > 1) {
            let (first, second) = (packet.piece(0, 1), packet.piece(1, packet.payload()));
            let got = lines(packets[..at].iter().chain([&second, &first]).chain(&packets[at + 1..]));
            assert_eq!(got, expected, "{name}, packet {at}");
        }
    });
}

#[test]
fn without_each_packet() {
    each(|name, packets, _, whole| {
        for at in 0..packets.len() {
            let got = lines(packets[..at].iter().chain(&packets[at + 1..]));
            check(&format!("{name} without packet {at}"), &got, whole, false);
        }
    });
}

/// The capture begins in the middle: what began before is nobody's, and who is the server shows in the bytes.
#[test]
fn joined_at_every_packet() {
    each(|name, packets, _, whole| {
        for at in 1..packets.len() {
            let got = lines(&packets[at..]);
            check(&format!("{name} from packet {at}"), &got, whole, false);
        }
    });
}

/// What a snapshot's length cuts off is counted by length.
#[test]
fn kept_in_part() {
    each(|name, packets, _, whole| {
        for kept in [0, 1, 10, 100, 1000] {
            let short = packets.iter().map(|packet| {
                let bytes = packet.bytes.len() - packet.payload().saturating_sub(kept);
                Owned { bytes: packet.bytes[..bytes].to_vec(), ..packet.clone() }
            });
            check(&format!("{name}, {kept} bytes kept"), &lines(&short.collect::<Vec<_>>()), whole, false);
        }
    });
}
