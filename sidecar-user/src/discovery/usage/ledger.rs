//! Processor time that never runs backwards, out of looks at processes that come and go. Pure.
//!
//! A process that ends takes its time with it: to its parent, if that one waits for it (`cutime` of
//! proc_pid_stat(5)), else to nobody. So what counts is growth between two looks.

use std::collections::{BTreeMap, HashMap};

/// Clock ticks in user mode and in the kernel.
pub(super) type Ticks = [u64; 2];

/// Names that have a sum of their own; the others share one.
const NAMES: usize = 32;

/// One process at one look.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Look {
    pub(super) pid: u32,
    /// Tells it from an earlier process of the same number.
    pub(super) started: u64,
    pub(super) parent: u32,
    pub(super) own: Ticks,
    /// Of children that ended and were waited for.
    pub(super) waited: Ticks,
    /// Base name of the executable.
    pub(super) name: String,
    pub(super) threads: u64,
    pub(super) memory: u64,
    pub(super) files: Option<u64>,
}

/// The sums so far.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    last: HashMap<u32, Look>,
    total: Ticks,
    by_name: BTreeMap<Option<String>, Ticks>,
}

impl Ledger {
    /// Takes all processes as they are now.
    pub(super) fn take(&mut self, looks: &[Look]) {
        let is_here = |old: &Look| looks.iter().any(|now| now.pid == old.pid && now.started == old.started);
        let gone: Vec<Look> = self.last.values().filter(|old| !is_here(old)).cloned().collect();
        for now in looks {
            let before = self.last.get(&now.pid).filter(|old| old.started == now.started);
            let zero = Look::default();
            let before = before.unwrap_or(&zero);
            let name = Some(now.name.clone());
            let name =
                if self.by_name.contains_key(&name) || self.by_name.len() < NAMES { name } else { None };
            let by_name = self.by_name.entry(name).or_default();
            for (mode, by_name) in by_name.iter_mut().enumerate() {
                // A child that was seen before is counted already.
                let known: u64 = gone
                    .iter()
                    .filter(|child| child.parent == now.pid)
                    .map(|child| child.own[mode] + child.waited[mode])
                    .sum();
                let own = now.own[mode].saturating_sub(before.own[mode]);
                let waited = now.waited[mode].saturating_sub(before.waited[mode]).saturating_sub(known);
                self.total[mode] += own + waited;
                *by_name += own;
            }
        }
        self.last = looks.iter().map(|look| (look.pid, look.clone())).collect();
    }

    /// Of everything seen so far, with the children that nobody looked at but their parents.
    pub(super) fn total(&self) -> Ticks {
        self.total
    }

    /// Name and own time of those that are there now, each name once, and `None` for those without a sum of their own.
    pub(super) fn names(&self) -> impl Iterator<Item = (Option<&str>, Ticks)> {
        let has = |name: &Option<String>| match name {
            Some(name) => self.last.values().any(|look| look.name == *name),
            None => self.last.values().any(|look| !self.by_name.contains_key(&Some(look.name.clone()))),
        };
        self.by_name.iter().filter(move |(name, _)| has(name)).map(|(name, ticks)| (name.as_deref(), *ticks))
    }

    /// Whether this process counts for this name.
    pub(super) fn is_of(&self, look: &Look, name: Option<&str>) -> bool {
        match name {
            Some(name) => look.name == name,
            None => !self.by_name.contains_key(&Some(look.name.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(pid: u32, parent: u32, own: u64, waited: u64) -> Look {
        let name = if parent == 0 { "master" } else { "worker" }.to_owned();
        Look { pid, parent, own: [own, 0], waited: [waited, 0], name, ..Look::default() }
    }

    fn check(looks: &[&[Look]], totals: &[u64]) {
        let mut ledger = Ledger::default();
        for (look, total) in looks.iter().zip(totals) {
            ledger.take(look);
            assert_eq!(ledger.total(), [*total, 0], "{look:?}");
        }
    }

    #[test]
    fn time_is_counted_once_and_never_taken_back() {
        // A child is seen, goes on, ends and is waited for: 10 of its 25 were not seen.
        check(
            &[
                &[look(1, 0, 5, 0), look(2, 1, 7, 0)],
                &[look(1, 0, 6, 0), look(2, 1, 15, 0)],
                &[look(1, 0, 6, 25)],
            ],
            &[12, 21, 31],
        );
        // Reaped by somebody else: what was seen of it stays.
        check(&[&[look(1, 0, 5, 0), look(2, 1, 7, 0)], &[look(1, 0, 5, 0)], &[]], &[12, 12, 12]);
        // Never seen, and waited for.
        check(&[&[look(1, 0, 5, 0)], &[look(1, 0, 5, 40)]], &[5, 45]);
        // The number is taken by another process.
        let other = Look { started: 9, ..look(2, 1, 3, 0) };
        check(&[&[look(2, 1, 7, 0)], &[other]], &[7, 10]);
    }

    #[test]
    fn names_have_sums_and_the_rest_one() {
        let mut ledger = Ledger::default();
        let named = |pid: u32| Look { pid, own: [1, 2], name: format!("program-{pid}"), ..Look::default() };
        let looks: Vec<_> = (0..40).map(named).collect();
        ledger.take(&looks);
        let names: Vec<_> = ledger.names().collect();
        assert_eq!(names.len(), NAMES + 1);
        assert_eq!(names[0], (None, [8, 16]));
        assert_eq!(looks.iter().filter(|look| ledger.is_of(look, None)).count(), 8);
        // Those that ended show no more, and come back where they were.
        ledger.take(&looks[..1]);
        assert_eq!(ledger.names().collect::<Vec<_>>(), [(Some("program-0"), [1, 2])]);
    }
}
