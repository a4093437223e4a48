//! What a packet's bytes begin with, and what lies between that and TCP.

use sidecar_core::{
    config::Config,
    replay::{LeftOut, Link, Replay},
};

use crate::{
    named,
    packets::{Owned, lines},
};

/// The same conversation behind another header.
fn behind(link: u16, header: impl Fn(&Owned) -> Vec<u8>) -> Vec<String> {
    let wrapped = named("http1-pipelined").into_iter().map(|packet| {
        let ip = packet.layout().ip;
        let bytes = [&header(&packet), &packet.bytes[ip..]].concat();
        Owned { link: Link(link), len: bytes.len() as u32, bytes, ..packet }
    });
    lines(&wrapped.collect::<Vec<_>>())
}

#[test]
fn each_link_type() {
    let expected = lines(&named("http1-pipelined"));
    assert_eq!(expected.len(), 5);
    let ethernet = |types: &[u16]| {
        let types: Vec<u8> = types.iter().flat_map(|number| number.to_be_bytes()).collect();
        [&[2; 12][..], &types].concat()
    };
    let sll2 = [&[0x08, 0, 0, 0, 0, 0, 0, 1, 3, 4, 0, 6][..], &[0; 8]].concat();
    for (name, link, header) in [
        ("Ethernet", 1, ethernet(&[0x0800])),
        ("802.1Q", 1, ethernet(&[0x8100, 7, 0x0800])),
        ("QinQ", 1, ethernet(&[0x88a8, 7, 0x8100, 8, 0x0800])),
        ("Linux cooked", 113, [&[0, 0, 3, 4, 0, 6][..], &[0; 8], &[0x08, 0]].concat()),
        ("Linux cooked, v2", 276, sll2),
        ("raw", 101, vec![]),
        ("raw, as BSD has it", 12, vec![]),
        ("IPv4", 228, vec![]),
        ("loopback, little endian", 0, vec![2, 0, 0, 0]),
        ("loopback, big endian", 0, vec![0, 0, 0, 2]),
        ("OpenBSD's loopback", 108, vec![0, 0, 0, 2]),
    ] {
        assert_eq!(behind(link, |_| header.clone()), expected, "{name}");
    }
    for (name, link, header) in [
        ("a link type of something else", 105, vec![]),
        ("another family", 0, vec![7, 0, 0, 0]),
        ("another type of Ethernet", 1, ethernet(&[0x88cc])),
    ] {
        assert_eq!(behind(link, |_| header.clone()), [""; 0], "{name}");
    }
}

#[test]
fn padding_of_ethernet_is_no_payload() {
    let padded = named("http1-pipelined").into_iter().map(|mut packet| {
        packet.bytes.extend([0; 6]);
        packet.len += 6;
        packet
    });
    assert_eq!(lines(&padded.collect::<Vec<_>>()), lines(&named("http1-pipelined")));
}

#[test]
fn headers_between() {
    // Hop-by-hop options, a routing header, destination options: 8 bytes each.
    let packets = named("http1-ipv6");
    let expected = lines(&packets);
    assert_eq!(expected.len(), 1);
    let extended = packets.iter().map(|packet| {
        let (fixed, rest) = packet.bytes.split_at(packet.layout().ip + 40);
        let mut fixed = fixed.to_vec();
        let extensions =
            [[43, 0, 1, 4, 0, 0, 0, 0], [60, 0, 0, 0, 0, 0, 0, 0], [6, 0, 1, 4, 0, 0, 0, 0]].concat();
        fixed[14 + 6] = 0;
        let len = u16::from_be_bytes([fixed[18], fixed[19]]) + 24;
        fixed[18..20].copy_from_slice(&len.to_be_bytes());
        let bytes = [&fixed, &extensions[..], rest].concat();
        Owned { len: bytes.len() as u32, bytes, ..packet.clone() }
    });
    assert_eq!(lines(&extended.collect::<Vec<_>>()), expected);
}

/// IPv6's headers may be cut off anywhere, by the capture or by a length that lies.
#[test]
fn headers_between_that_end_early() {
    let packet = named("http1-ipv6").swap_remove(0);
    let (fixed, rest) = packet.bytes.split_at(packet.layout().ip + 40);
    for first in [0, 43, 44, 51, 60] {
        for second in [0, 43, 44, 51, 60] {
            for length in [0, 1, 255] {
                let mut fixed = fixed.to_vec();
                fixed[14 + 6] = first;
                let extensions = [[second, 0, 0, 1, 0, 0, 0, 0], [6, length, 0, 1, 0, 0, 0, 0]].concat();
                let bytes = [&fixed, &extensions[..], rest].concat();
                for kept in fixed.len()..bytes.len() {
                    let cut =
                        Owned { bytes: bytes[..kept].to_vec(), len: bytes.len() as u32, ..packet.clone() };
                    assert_eq!(lines(&[cut]), [""; 0]);
                }
            }
        }
    }
}

/// The first fragment of a datagram has the segment's head; what the others carry is missing, and is no exchange's end.
#[test]
fn fragments() {
    let packets = named("http1-pipelined");
    let is_long = |packet: &&Owned| packet.port() == 80 && packet.payload() > 600;
    let cut = packets.iter().position(|packet| is_long(&packet)).expect("a long answer");
    let mut fragments = packets.clone();
    let first = &mut fragments[cut];
    let kept = first.layout().ip + 20 + 576;
    let rest = first.bytes.split_off(kept);
    first.len = first.bytes.len() as u32;
    first.bytes[14 + 2..14 + 4].copy_from_slice(&596u16.to_be_bytes());
    first.bytes[14 + 6] = 0x20;
    let mut second = first.clone();
    second.bytes.truncate(14 + 20);
    second.bytes.extend(&rest);
    second.bytes[14 + 2..14 + 4].copy_from_slice(&(20 + rest.len() as u16).to_be_bytes());
    second.bytes[14 + 6..14 + 8].copy_from_slice(&72u16.to_be_bytes());
    second.len = second.bytes.len() as u32;
    fragments.insert(cut + 1, second);
    let (whole, got) = (lines(&packets), lines(&fragments));
    assert!(got.len() <= whole.len());
    assert!(got.iter().any(|line| line.contains("\"/hello\"")), "{got:?}");
    let whole: Vec<_> = whole.iter().map(|line| crate::json(line)).collect();
    // What a hole leaves of a body ends when the hole is known to stay.
    crate::honest::check("fragments", &got, &whole, false);
    let mut replay = Replay::new(&Config::default());
    fragments.iter().for_each(|packet| replay.packet(&packet.lend()));
    assert_eq!((replay.left_out().get(&LeftOut::Fragment), replay.tally().gaps), (Some(&1), 1));
}

/// Segments that the network card cuts are longer than IP's length can say, and say 0.
#[test]
fn lengths_that_are_left_to_the_frame() {
    let packets = named("http1-pipelined").into_iter().map(|mut packet| {
        packet.bytes[14 + 2..14 + 4].fill(0);
        packet
    });
    assert_eq!(lines(&packets.collect::<Vec<_>>()), lines(&named("http1-pipelined")));
}
