//! The kernel's counters (`sidecar_ebpf::abi::count`) under their metric names: the one place that knows both.

use sidecar_ebpf::abi::{count, record, steer, verdict};

use super::{
    Bytes, Store, catalogue, coverage,
    reason::{ConnectFailed, CutOff, Direction, Drop, Steered, Verdict},
    steering::Decision,
};

/// `COUNTS` and `TRAFFIC`, each entry summed over the CPUs by wrapping addition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// `COUNTS`.
    pub slots: [u64; count::SLOTS as usize],
    /// `TRAFFIC`.
    pub traffic: [count::Traffic; count::TRAFFIC as usize],
}

/// What user space made of the bytes; the rest of the account is the kernel's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Understood {
    /// Bytes inside messages that a parser read, or knows the length of.
    pub explained: u64,
    /// Bytes before the first message boundary of connections met in the middle.
    pub before_join: u64,
    /// Bytes that a parser wanted and that never arrived.
    pub lost: u64,
    /// Bytes of connections that were over before the kernel knew their class: encrypted, unclassified,
    /// excluded, MPTCP.
    pub late: [u64; 4],
    /// Bytes that came to sockets whose application had closed them: the sockets count none of them.
    pub refused: u64,
    /// Records that arrived.
    pub records: u64,
    /// Payload bytes in them.
    pub copied: u64,
}

/// `sidecar.tcp.role`, by `ROLE_…`.
const ROLES: [&str; record::ROLES as usize] = ["unknown", "client", "server"];
/// `network.io.direction`, by `INGRESS` and `EGRESS`.
pub(super) const DIRECTIONS: [&str; 2] = ["receive", "transmit"];
/// `error.type`, by `FAILED_…`; [`crate::model::Failure`] has the same order.
pub(super) const FAILURES: [&str; record::FAILURES as usize] = ConnectFailed::WORDS;
/// `sidecar.reason` of connections that did not end by FIN both ways, by `END_…` less one.
pub(super) const RESETS: [&str; record::RESETS as usize] = CutOff::WORDS;
/// `sidecar.reason` of drops in the kernel.
const DROPS: [(u32, Drop); 5] = [
    (count::RING_FULL, Drop::RingFull),
    (count::UNREADABLE, Drop::Unreadable),
    (count::HEADERS, Drop::Headers),
    (count::NO_STORAGE, Drop::NoStorage),
    (count::UNTOLD, Drop::Denials),
];

/// Sets what the kernel counted, the account of bytes and the coverage.
pub fn record(store: &mut Store, counted: &Counted, understood: Understood) {
    let slots = &counted.slots;
    for (role, name) in ROLES.iter().enumerate() {
        let by_role = [(&catalogue::TCP_OPENED, count::OPENED), (&catalogue::TCP_CLOSED, count::CLOSED)];
        for (def, first) in by_role {
            store.set(def, &[name], slots[first as usize + role]);
        }
        let [opened, closed] = [count::OPENED, count::CLOSED].map(|first| slots[first as usize + role]);
        store.set(&catalogue::TCP_ACTIVE, &[name], opened.saturating_sub(closed));
        for (end, reason) in (record::END_RECEIVED..).zip(RESETS) {
            store.set(&catalogue::TCP_RESET, &[name, reason], slots[count::reset(role as u8, end) as usize]);
        }
        for (dir, direction) in DIRECTIONS.iter().enumerate() {
            let bytes = sum(counted, |r, _| r as usize == role, |traffic| traffic.bytes[dir]);
            store.set(&catalogue::TCP_IO, &[name, direction], bytes);
        }
        let retransmits = sum(counted, |r, _| r as usize == role, |traffic| traffic.retransmits);
        store.set(&catalogue::TCP_RETRANSMITS, &[name], retransmits);
    }
    for (reason, name) in FAILURES.iter().enumerate() {
        store.set(&catalogue::TCP_FAILED, &[name], slots[count::FAILED as usize + reason]);
    }
    for (slot, reason) in DROPS {
        store.set(&catalogue::CAPTURE_DROPS, &[reason.word()], slots[slot as usize]);
    }
    store.set(&catalogue::CAPTURE_RECORDS, &[], understood.records);
    store.set(&catalogue::CAPTURE_COPIED, &[], understood.copied);
    store.set(&catalogue::CAPTURE_SHED, &[], slots[count::SHED as usize]);
    store.set(&catalogue::TCP_JOINED, &[], slots[count::JOINED as usize]);
    account(store, &bytes(counted, understood));
}

/// What became of connections, from `DECISIONS` summed over the CPUs: what there was at all.
#[must_use]
pub fn decisions(counts: &[u64; steer::DECISIONS as usize]) -> Vec<Decision> {
    let ways = [(false, Direction::Outbound), (true, Direction::Inbound)];
    let mut all = Vec::new();
    for (is_inbound, direction) in ways {
        for (verdict, word) in (0..).zip(Verdict::WORDS) {
            for (reason, why) in (0..).zip(Steered::WORDS) {
                let n = counts[steer::decision(is_inbound, verdict, reason) as usize];
                if n > 0 {
                    all.push(Decision { direction: direction.word(), verdict: word, reason: why, n });
                }
            }
        }
    }
    all
}

/// A service's connections by verdict, from `SERVED` summed over the CPUs.
#[must_use]
pub fn verdicts(counts: [u64; steer::VERDICTS]) -> Vec<(&'static str, u64)> {
    Verdict::WORDS.into_iter().zip(counts).skip(1).collect()
}

/// The account of bytes.
#[must_use]
pub fn bytes(counted: &Counted, understood: Understood) -> Bytes {
    let both = |traffic: &count::Traffic| traffic.bytes[0].wrapping_add(traffic.bytes[1]);
    let of_class = |class: u8| sum(counted, |_, c| c == class, both);
    Bytes {
        seen: sum(counted, |_, _| true, both) + understood.refused,
        encrypted: of_class(verdict::CLASS_ENCRYPTED) + understood.late[0],
        unclassified: of_class(verdict::CLASS_UNCLASSIFIED) + understood.late[1],
        excluded: of_class(verdict::CLASS_EXCLUDED) + understood.late[2],
        mptcp: of_class(verdict::CLASS_MPTCP) + understood.late[3],
        before_join: understood.before_join,
        explained: understood.explained,
        lost: understood.lost,
    }
}

fn account(store: &mut Store, bytes: &Bytes) {
    let classes = [
        ("seen", bytes.seen),
        ("encrypted", bytes.encrypted),
        ("unclassified", bytes.unclassified),
        ("excluded", bytes.excluded),
        ("mptcp", bytes.mptcp),
        ("before_join", bytes.before_join),
        ("explained", bytes.explained),
        ("lost", bytes.lost),
    ];
    for (class, n) in classes {
        store.set(&catalogue::CAPTURE_BYTES, &[class], n);
    }
    match coverage(bytes) {
        Some(share) => store.set(&catalogue::CAPTURE_COVERAGE, &[], share),
        None => store.clear(&catalogue::CAPTURE_COVERAGE),
    }
}

/// Sums over the chosen (role, class). Entries are read one CPU after the other while bytes move between classes, so a
/// sum may for a moment be below zero; then it is 0.
fn sum(counted: &Counted, chosen: impl Fn(u8, u8) -> bool, of: impl Fn(&count::Traffic) -> u64) -> u64 {
    let mut total = 0u64;
    for role in 0..record::ROLES as u8 {
        for class in 0..verdict::CLASSES as u8 {
            if chosen(role, class) {
                total = total.wrapping_add(of(&counted.traffic[count::traffic(role, class) as usize]));
            }
        }
    }
    if total > i64::MAX as u64 { 0 } else { total }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MetricDef;
    use crate::signal::{Moment, Options, PointValue};

    fn value(store: &mut Store, def: &MetricDef, attributes: &[&str]) -> Option<PointValue> {
        let snapshot = store.snapshot(Moment::default());
        let family = snapshot.family(def)?;
        let point = family.points.iter().find(|point| {
            point.attributes.iter().map(|(_, value)| value.to_string()).eq(attributes.iter().copied())
        })?;
        Some(point.value.clone())
    }

    #[test]
    fn every_slot_reaches_a_metric() {
        let slots: [u64; count::SLOTS as usize] = std::array::from_fn(|slot| 1000 + slot as u64);
        let traffic = |entry: usize| {
            let n = entry as u64;
            count::Traffic { bytes: [100 + n, 200 + n], retransmits: 300 + n }
        };
        let mut counted = Counted { slots, traffic: std::array::from_fn(traffic) };
        // Moved from open to encrypted on another CPU: one entry is below zero, their sum is not.
        let open = count::traffic(record::ROLE_CLIENT, verdict::CLASS_OPEN) as usize;
        let tls = count::traffic(record::ROLE_CLIENT, verdict::CLASS_ENCRYPTED) as usize;
        counted.traffic[open].bytes[0] = 5u64.wrapping_neg();
        counted.traffic[tls].bytes[0] = 105;
        let mut store = Store::new(Options::default());
        record(
            &mut store,
            &counted,
            Understood {
                explained: 7,
                before_join: 3,
                lost: 2,
                late: [0; 4],
                refused: 0,
                records: 8,
                copied: 9,
            },
        );

        let of_client = |of: fn(&count::Traffic) -> u64| {
            let entry = |class: u8| of(&counted.traffic[count::traffic(record::ROLE_CLIENT, class) as usize]);
            (0..verdict::CLASSES as u8).map(entry).fold(0, u64::wrapping_add)
        };
        let slot = |slot: u32| slots[slot as usize];
        let cases: [(&MetricDef, &[&str], u64); 14] = [
            (&catalogue::TCP_IO, &["client", "receive"], of_client(|traffic| traffic.bytes[0])),
            (&catalogue::TCP_OPENED, &["server"], slot(count::OPENED + 2)),
            (&catalogue::TCP_CLOSED, &["unknown"], slot(count::CLOSED)),
            (&catalogue::TCP_ACTIVE, &["client"], 0),
            (&catalogue::TCP_RESET, &["server", "timeout"], slot(count::RESET + 8)),
            (&catalogue::TCP_RETRANSMITS, &["client"], of_client(|traffic| traffic.retransmits)),
            (&catalogue::TCP_FAILED, &["timeout"], slot(count::FAILED + 1)),
            (&catalogue::TCP_JOINED, &[], slot(count::JOINED)),
            (&catalogue::CAPTURE_RECORDS, &[], 8),
            (&catalogue::CAPTURE_COPIED, &[], 9),
            (&catalogue::CAPTURE_DROPS, &["ring_full"], slot(count::RING_FULL)),
            (&catalogue::CAPTURE_DROPS, &["no_storage"], slot(count::NO_STORAGE)),
            (&catalogue::CAPTURE_BYTES, &["explained"], 7),
            (&catalogue::CAPTURE_BYTES, &["lost"], 2),
        ];
        for (def, attributes, expected) in cases {
            let made = value(&mut store, def, attributes);
            assert_eq!(made, Some(PointValue::U64(expected)), "{} {attributes:?}", def.name);
        }
        assert!(value(&mut store, &catalogue::CAPTURE_COVERAGE, &[]).is_some());
    }

    #[test]
    fn nothing_seen_is_no_coverage() {
        let mut store = Store::new(Options::default());
        let nothing = Counted {
            slots: [0; count::SLOTS as usize],
            traffic: [count::Traffic::default(); count::TRAFFIC as usize],
        };
        record(&mut store, &nothing, Understood::default());
        assert_eq!(value(&mut store, &catalogue::CAPTURE_COVERAGE, &[]), None);
        let seen = value(&mut store, &catalogue::CAPTURE_BYTES, &["seen"]);
        assert_eq!(seen, Some(PointValue::U64(0)));
    }
}
