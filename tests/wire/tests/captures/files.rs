//! The forms in which captures are written down, whole, cut off and wrong.

use proptest::{collection::vec, prelude::*};
use sidecar_core::{model::Ktime, replay::FileError};

use crate::{
    fixtures, named,
    packets::{Owned, lines, read, read_into},
};

#[derive(Clone, Copy, Debug)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn u16(self, n: u16) -> [u8; 2] {
        match self {
            Order::Little => n.to_le_bytes(),
            Order::Big => n.to_be_bytes(),
        }
    }

    fn u32(self, n: u32) -> [u8; 4] {
        match self {
            Order::Little => n.to_le_bytes(),
            Order::Big => n.to_be_bytes(),
        }
    }

    fn u64(self, n: u64) -> [u8; 8] {
        match self {
            Order::Little => n.to_le_bytes(),
            Order::Big => n.to_be_bytes(),
        }
    }
}

fn ns(packet: &Owned) -> u64 {
    packet.at.expect("a time").0
}

fn pcap(order: Order, magic: u32, unit: u64, packets: &[Owned]) -> Vec<u8> {
    let mut out = order.u32(magic).to_vec();
    out.extend([order.u16(2), order.u16(4)].concat());
    // Zone, accuracy, snapshot length, link type.
    out.extend([0, 0, 262_144, 1].map(|n| order.u32(n)).concat());
    for packet in packets {
        let (seconds, rest) = (ns(packet) / 1_000_000_000, ns(packet) % 1_000_000_000 / unit);
        let head = [seconds as u32, rest as u32, packet.bytes.len() as u32, packet.len];
        out.extend(head.map(|n| order.u32(n)).concat());
        out.extend(&packet.bytes);
    }
    out
}

fn block(order: Order, kind: u32, content: &[u8]) -> Vec<u8> {
    let mut content = content.to_vec();
    content.resize(content.len().next_multiple_of(4), 0);
    let len = order.u32(content.len() as u32 + 12);
    [&order.u32(kind)[..], &len, &content, &len].concat()
}

fn section(order: Order) -> Vec<u8> {
    let magic = order.u32(0x1a2b_3c4d);
    let comment = [&order.u16(1)[..], &order.u16(5), b"hello\0\0\0", &[0; 4]].concat();
    block(order, 0x0a0d_0d0a, &[&magic[..], &order.u16(1), &order.u16(0), &[0xff; 8], &comment].concat())
}

fn interface(order: Order, link: u16, snap: u32, resolution: Option<u8>, offset: u64) -> Vec<u8> {
    let mut content = [&order.u16(link)[..], &[0; 2], &order.u32(snap)].concat();
    if let Some(resolution) = resolution {
        content.extend([&order.u16(9)[..], &order.u16(1), &[resolution, 0, 0, 0]].concat());
    }
    content.extend([&order.u16(14)[..], &order.u16(8), &order.u64(offset), &[0; 4]].concat());
    block(order, 1, &content)
}

fn enhanced(order: Order, interface: u32, ticks: u64, packet: &Owned) -> Vec<u8> {
    let (high, low) = ((ticks >> 32) as u32, ticks as u32);
    let head = [interface, high, low, packet.bytes.len() as u32, packet.len].map(|n| order.u32(n)).concat();
    let mut content = [&head, &packet.bytes[..]].concat();
    content.resize(content.len().next_multiple_of(4), 0);
    // Flags (inbound), and the end of the options.
    content.extend([&order.u16(2)[..], &order.u16(4), &order.u32(1), &[0; 4]].concat());
    block(order, 6, &content)
}

/// Times as they are in units of `unit` ns.
fn coarse(packets: &[Owned], unit: u64) -> Vec<Owned> {
    let coarse = |packet: &Owned| Owned { at: Some(Ktime(ns(packet) / unit * unit)), ..packet.clone() };
    packets.iter().map(coarse).collect()
}

#[test]
fn pcap_of_both_orders_and_resolutions() {
    let packets = named("http1");
    for order in [Order::Little, Order::Big] {
        for (magic, unit) in [(0xa1b2_c3d4, 1000), (0xa1b2_3c4d, 1)] {
            let read = read(&pcap(order, magic, unit, &packets)).expect("a capture");
            assert_eq!(read, coarse(&packets, unit), "{order:?} {magic:x}");
            assert_eq!(lines(&read).len(), 9);
        }
    }
}

#[test]
fn pcapng_of_both_orders_and_any_resolution() {
    let packets = named("http1");
    for order in [Order::Little, Order::Big] {
        for (resolution, unit, offset) in
            [(None, 1000, 0), (Some(9), 1, 0), (Some(3), 1_000_000, 0), (Some(9), 1, 1_000_000_000)]
        {
            let mut file = [section(order), interface(order, 1, 0, resolution, offset)].concat();
            for packet in &packets {
                let ticks = (ns(packet) - offset * 1_000_000_000) / unit;
                file.extend(enhanced(order, 0, ticks, packet));
            }
            assert_eq!(
                read(&file).expect("a capture"),
                coarse(&packets, unit),
                "{order:?} {resolution:?} {offset}"
            );
        }
        // By powers of two: 2^30 a second.
        let mut file = [section(order), interface(order, 1, 0, Some(0x80 | 30), 0)].concat();
        for packet in &packets {
            let ticks = (u128::from(ns(packet)) << 30) / 1_000_000_000;
            file.extend(enhanced(order, 0, ticks as u64, packet));
        }
        let read = read(&file).expect("a capture");
        assert!(read.iter().zip(&packets).all(|(read, packet)| ns(packet) - ns(read) <= 1), "{order:?}");
    }
}

/// Interfaces of different link types and times, in several sections of either order; blocks that say nothing of packets.
#[test]
fn several_interfaces_and_sections() {
    let packets = named("http1");
    let mut file = Vec::new();
    for (order, packets) in [(Order::Little, &packets[..20]), (Order::Big, &packets[20..])] {
        file.extend(section(order));
        file.extend(interface(order, 101, 0, Some(9), 0));
        file.extend(interface(order, 1, 0, Some(6), 0));
        file.extend(block(order, 5, &[order.u32(0), [0; 4], [0; 4]].concat()));
        file.extend(block(order, 0x8000_0001, b"anything"));
        for (at, packet) in packets.iter().enumerate() {
            if at % 2 == 0 {
                let raw =
                    Owned { bytes: packet.bytes[14..].to_vec(), len: packet.len - 14, ..packet.clone() };
                file.extend(enhanced(order, 0, ns(packet), &raw));
            } else {
                file.extend(enhanced(order, 1, ns(packet) / 1000, packet));
            }
        }
    }
    let lines = lines(&read(&file).expect("a capture"));
    let statuses: Vec<_> =
        lines.iter().map(|line| crate::json(line)["status"].as_str().map(str::to_owned)).collect();
    let expected = ["200", "200", "404", "200", "200", "200", "201", "201", "500"];
    assert_eq!(statuses, expected.map(|status| Some(status.to_owned())));
}

/// Whose times nobody noted: nothing is said of them.
#[test]
fn simple_packets() {
    let packets = named("http1-pipelined");
    for snap in [0, 1 << 16] {
        let mut file = [section(Order::Little), interface(Order::Little, 1, snap, None, 0)].concat();
        for packet in &packets {
            file.extend(block(Order::Little, 3, &[&packet.len.to_le_bytes()[..], &packet.bytes].concat()));
        }
        let read = read(&file).expect("a capture");
        assert!(
            read.iter().zip(&packets).all(|(read, packet)| read.bytes == packet.bytes && read.at.is_none())
        );
        let got: Vec<_> = lines(&read).iter().map(|line| crate::json(line)).collect();
        assert_eq!(got.len(), 5);
        for line in got {
            assert_eq!((line.get("start_unix_nano"), line.get("duration_ns")), (None, None));
            assert!(line["status"].is_string() && line["request.bytes"] == 0);
        }
    }
}

/// Everything before the cut, and where it is.
#[test]
fn cut_at_every_byte_of_the_file() {
    let (_, pcapng, _) =
        fixtures().into_iter().find(|(name, ..)| name == "http1-pipelined").expect("a capture");
    let packets = read(&pcapng).expect("a whole capture");
    for file in [pcapng, pcap(Order::Little, 0xa1b2_3c4d, 1, &packets)] {
        let mut n_whole = 0;
        for n in 0..file.len() {
            let mut got = Vec::new();
            match read_into(&file[..n], &mut got) {
                Ok(()) => n_whole += 1,
                Err(FileError::Unknown) => assert!(n < 24, "byte {n}"),
                Err(FileError::Cut { packet, offset }) => {
                    assert_eq!(packet, got.len() as u64 + 1);
                    assert!(offset < n as u64);
                }
                Err(error) => panic!("byte {n}: {error}"),
            }
            assert_eq!(got, packets[..got.len()], "byte {n}");
        }
        // Between two packets nobody can tell that there were more.
        assert!(n_whole >= packets.len());
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let packet = &named("http1")[0];
    let begin = [section(Order::Little), interface(Order::Little, 1, 0, None, 0)].concat();
    let with = |more: Vec<u8>| [&begin[..], &more].concat();
    let at = begin.len();
    let long = [&6u32.to_le_bytes()[..], &(1u32 << 30).to_le_bytes(), &[0; 4]].concat();
    let mut lying = enhanced(Order::Little, 0, 0, packet);
    lying[20..24].copy_from_slice(&(1u32 << 20).to_le_bytes());
    let place = format!("packet 1, at byte {at}: ");
    for (file, expected) in [
        (
            b"hello, this is no capture at all".to_vec(),
            "it is no capture: neither pcap nor pcapng begins so".to_owned(),
        ),
        (Vec::new(), "it is no capture: neither pcap nor pcapng begins so".to_owned()),
        (
            with(enhanced(Order::Little, 7, 0, packet)),
            format!("{place}a packet of an interface that is not described"),
        ),
        (with(long), format!("{place}it says that it has more than 16 MiB")),
        (
            with(vec![6, 0, 0, 0, 13, 0, 0, 0, 0, 0, 0, 0, 0]),
            format!("{place}a block of a length that none has"),
        ),
        (with(lying), format!("{place}a block that is not as pcapng has it")),
        (
            with(interface(Order::Little, 1, 0, Some(77), 0)),
            format!("{place}an interface of an unknown resolution"),
        ),
        (
            with(enhanced(Order::Little, 0, 0, packet)[..40].to_vec()),
            format!("{place}the file ends in the middle of it"),
        ),
    ] {
        assert_eq!(read(&file).expect_err("wrong").to_string(), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 256, ..ProptestConfig::default() })]

    /// Bytes of captures that are changed anywhere, and packets of any bytes, are borne.
    #[test]
    fn hostile_captures(changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..40), which in 0..3usize) {
        let (_, mut bytes, _) = fixtures().swap_remove(which);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let mut packets = Vec::new();
        let _ = read_into(&bytes, &mut packets);
        let _ = lines(&packets);
    }

    #[test]
    fn hostile_packets(packets in vec((0..6usize, vec(any::<u8>(), 0..120)), 0..30)) {
        let packets = packets.into_iter().enumerate().map(|(at, (link, bytes))| Owned {
            link: sidecar_core::replay::Link([0, 1, 101, 108, 113, 276][link]),
            at: Some(Ktime(at as u64)),
            len: bytes.len() as u32,
            bytes,
        });
        let _ = lines(&packets.collect::<Vec<_>>());
    }
}
