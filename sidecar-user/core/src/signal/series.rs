//! The series of one metric, up to a cap, each for as long as something is measured.

use std::collections::hash_map::Entry;
use std::hash::Hash;

use rustc_hash::FxHashMap;

use super::key;
use super::snapshot::{Attributes, Moment, Point, PointValue, UnixNanos, Value};
use crate::model::Ktime;

/// Values by key. Beyond `cap` keys, everything new goes to one overflow value: memory stays bounded and sums stay
/// right, only their split is lost. The cap does not count the overflow value: the metrics SDK specification
/// ("Overflow attribute") wants none before there are more than `cap` other sets.
#[derive(Debug)]
pub(super) struct Series<K, V> {
    values: FxHashMap<K, Slot<V>>,
    overflow: Option<Slot<V>>,
    overflowed: u64,
    cap: usize,
}

#[derive(Debug)]
struct Slot<V> {
    value: V,
    /// When the first measurement came: a series that comes back after it vanished starts anew.
    started: UnixNanos,
    /// When the last one came.
    touched: Ktime,
}

impl<V> Slot<V> {
    fn new(value: V, at: Moment) -> Self {
        Slot { value, started: at.unix, touched: at.ktime }
    }

    fn touch(&mut self, at: Moment) -> &mut V {
        self.touched = self.touched.max(at.ktime);
        &mut self.value
    }
}

impl<K: Eq + Hash, V> Series<K, V> {
    pub(super) fn new(cap: usize) -> Self {
        Series { values: FxHashMap::default(), overflow: None, overflowed: 0, cap }
    }

    /// Takes new keys up to `cap` from now on; those that are there stay.
    pub(super) fn set_cap(&mut self, cap: usize) {
        self.cap = cap;
    }

    /// The value of `key` for a measurement at `at`, made where there is room.
    pub(super) fn entry(&mut self, key: K, at: Moment, make: impl FnOnce() -> V) -> &mut V {
        let full = self.is_full();
        match self.values.entry(key) {
            Entry::Occupied(entry) => entry.into_mut().touch(at),
            Entry::Vacant(entry) if !full => &mut entry.insert(Slot::new(make(), at)).value,
            Entry::Vacant(_) => {
                self.overflowed += 1;
                self.overflow.get_or_insert_with(|| Slot::new(make(), at)).touch(at)
            }
        }
    }

    /// The same key as it is kept, where it has a value of its own.
    pub(super) fn key(&self, key: &K) -> Option<&K> {
        self.values.get_key_value(key).map(|(kept, _)| kept)
    }

    /// The value that takes what has no room.
    pub(super) fn overflow(&mut self, at: Moment, make: impl FnOnce() -> V) -> &mut V {
        self.overflowed += 1;
        self.overflow.get_or_insert_with(|| Slot::new(make(), at)).touch(at)
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

    /// Forgets what was last measured before `since`, and gives the room back; how many series that were.
    pub(super) fn expire(&mut self, since: Ktime) -> u64 {
        self.expire_unless(since, |_| false)
    }

    /// The same, but for values that are still needed.
    pub(super) fn expire_unless(&mut self, since: Ktime, is_needed: impl Fn(&V) -> bool) -> u64 {
        let before = self.len();
        let stays = |slot: &Slot<V>| slot.touched >= since || is_needed(&slot.value);
        self.values.retain(|_, slot| stays(slot));
        if self.values.len() < self.values.capacity() / 4 {
            self.values.shrink_to_fit();
        }
        self.overflow.take_if(|slot| !stays(slot));
        before - self.len()
    }

    /// Keys of all values but the overflow.
    pub(super) fn keys(&self) -> impl Iterator<Item = &K> {
        self.values.keys()
    }

    /// Every value; without a key, the overflow.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Option<&K>, &V)> {
        self.slots().map(|(key, slot)| (key, &slot.value))
    }

    /// The same, and since when each counts.
    pub(super) fn iter_started(&self) -> impl Iterator<Item = (Option<&K>, UnixNanos, &V)> {
        self.slots().map(|(key, slot)| (key, slot.started, &slot.value))
    }

    /// Every value as a point, where `value` finds one in it.
    pub(super) fn points(
        &self,
        attributes: impl Fn(&K) -> Attributes,
        value: impl Fn(&V) -> Option<PointValue>,
    ) -> Vec<Point> {
        let point = |(key, slot): (Option<&K>, &Slot<V>)| {
            let attributes = key.map_or_else(overflow, &attributes);
            Some(Point { attributes, started: Some(slot.started), value: value(&slot.value)? })
        };
        self.slots().filter_map(point).collect()
    }

    fn slots(&self) -> impl Iterator<Item = (Option<&K>, &Slot<V>)> {
        let overflow = self.overflow.iter().map(|slot| (None, slot));
        self.values.iter().map(|(key, slot)| (Some(key), slot)).chain(overflow)
    }
}

/// The attributes of an overflow series.
pub(super) fn overflow() -> Attributes {
    vec![(key::OVERFLOW, Value::Bool(true))]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: u64) -> Moment {
        Moment { ktime: Ktime(time), unix: UnixNanos(1000 + time) }
    }

    /// Key (0 for the overflow), when it began, value.
    fn all(series: &Series<u32, u64>) -> Vec<(i64, Option<u64>, PointValue)> {
        let attributes = |key: &u32| vec![("key", Value::Int((*key).into()))];
        let mut points: Vec<_> = series
            .points(attributes, |value| Some(PointValue::U64(*value)))
            .into_iter()
            .map(|point| {
                let key = match point.attributes[0].1 {
                    Value::Int(key) => key,
                    _ => 0,
                };
                (key, point.started.map(|at| at.0), point.value)
            })
            .collect();
        points.sort_by_key(|(key, ..)| *key);
        points
    }

    #[test]
    fn a_new_cap_is_for_new_keys() {
        let mut series = Series::new(2);
        let count = |series: &mut Series<u32, u64>, keys: &[u32]| {
            keys.iter().for_each(|key| *series.entry(*key, at(1), || 0) += 1);
            all(series).into_iter().map(|(key, _, value)| (key, value)).collect::<Vec<_>>()
        };
        count(&mut series, &[1, 2, 3]);
        series.set_cap(1);
        let n = PointValue::U64;
        assert_eq!(count(&mut series, &[1, 2, 3]), [(0, n(2)), (1, n(2)), (2, n(2))]);
        series.set_cap(3);
        assert_eq!(count(&mut series, &[3, 4]), [(0, n(3)), (1, n(2)), (2, n(2)), (3, n(1))]);
    }

    #[test]
    fn overflow_begins_beyond_the_cap_and_not_before() {
        let mut series = Series::new(3);
        for (time, key) in [1, 2, 3, 1, 2, 3].into_iter().enumerate() {
            *series.entry(key, at(time as u64), || 0u64) += 1;
        }
        assert_eq!((series.len(), series.overflowed()), (3, 0), "as many sets as the cap");
        *series.entry(4, at(9), || 0) += 1;
        *series.entry(1, at(9), || 0) += 1;
        assert_eq!((series.len(), series.overflowed()), (4, 1));
        let value = PointValue::U64;
        assert_eq!(
            all(&series),
            [
                (0, Some(1009), value(1)),
                (1, Some(1000), value(3)),
                (2, Some(1001), value(2)),
                (3, Some(1002), value(2))
            ]
        );
    }

    #[test]
    fn what_is_not_touched_vanishes_and_starts_anew() {
        let mut series = Series::new(2);
        for (key, time) in [(1, 10), (2, 11), (3, 12), (1, 20)] {
            *series.entry(key, at(time), || 0u64) += 1;
        }
        assert_eq!(series.expire(Ktime(10)), 0);
        assert_eq!(series.expire(Ktime(15)), 2, "one series and the overflow");
        assert_eq!(all(&series), [(1, Some(1010), PointValue::U64(2))]);
        *series.entry(3, at(30), || 0) += 5;
        *series.entry(1, at(5), || 0) += 1;
        assert_eq!(all(&series), [(1, Some(1010), PointValue::U64(3)), (3, Some(1030), PointValue::U64(5))]);
        assert_eq!(series.expire(Ktime(20)), 0, "a late record does not make a series older");
        assert_eq!(series.expire(Ktime(31)), 2);
        assert_eq!((series.len(), series.overflowed()), (0, 1));
    }
}
