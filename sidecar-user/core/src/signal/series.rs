//! The series of one metric, up to a cap.

use std::collections::hash_map::Entry;
use std::hash::Hash;

use rustc_hash::FxHashMap;

use super::key;
use super::snapshot::{Attributes, Value};

/// Values by key. Beyond `cap` keys, everything new goes to one overflow value: memory stays bounded and sums stay
/// right, only their split is lost (metrics SDK specification, "cardinality limits").
#[derive(Debug)]
pub(super) struct Series<K, V> {
    values: FxHashMap<K, V>,
    overflow: Option<V>,
    overflowed: u64,
    cap: usize,
}

impl<K: Eq + Hash, V> Series<K, V> {
    pub(super) fn new(cap: usize) -> Self {
        Series { values: FxHashMap::default(), overflow: None, overflowed: 0, cap }
    }

    /// The value of `key`, made where there is room.
    pub(super) fn entry(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        let full = self.is_full();
        match self.values.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) if !full => entry.insert(make()),
            Entry::Vacant(_) => {
                self.overflowed += 1;
                self.overflow.get_or_insert_with(make)
            }
        }
    }

    /// The value that takes what has no room.
    pub(super) fn overflow(&mut self, make: impl FnOnce() -> V) -> &mut V {
        self.overflowed += 1;
        self.overflow.get_or_insert_with(make)
    }

    pub(super) fn is_full(&self) -> bool {
        self.values.len() >= self.cap
    }

    /// How many values are held.
    pub(super) fn len(&self) -> u64 {
        self.values.len() as u64 + u64::from(self.overflow.is_some())
    }

    /// How often the overflow value was taken.
    pub(super) fn overflowed(&self) -> u64 {
        self.overflowed
    }

    /// Forgets all values, not how often they overflowed.
    pub(super) fn clear(&mut self) {
        self.values.clear();
        self.overflow = None;
    }

    /// Every value; without a key, the overflow.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Option<&K>, &V)> {
        let overflow = self.overflow.iter().map(|value| (None, value));
        self.values.iter().map(|(key, value)| (Some(key), value)).chain(overflow)
    }
}

/// The attributes of an overflow series.
pub(super) fn overflow() -> Attributes {
    vec![(key::OVERFLOW, Value::Bool(true))]
}
