//! Names as numbers, so that a series' key is small and copied, not allocated.

use rustc_hash::FxHashMap;

/// Names that series are keyed by; as many as there is room for series at most.
#[derive(Debug, Default)]
pub(super) struct Names {
    ids: FxHashMap<Box<str>, u32>,
    /// By id; `None` is free.
    names: Vec<Option<Box<str>>>,
    free: Vec<u32>,
}

impl Names {
    /// The number of a name; `None` where it is new and `learn` forbids it. Allocates for a new one only.
    pub(super) fn id(&mut self, name: &str, learn: bool) -> Option<u32> {
        if let Some(id) = self.ids.get(name) {
            return Some(*id);
        }
        if !learn {
            return None;
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.names.push(None);
            (self.names.len() - 1) as u32
        });
        self.names[id as usize] = Some(name.into());
        self.ids.insert(name.into(), id);
        Some(id)
    }

    /// The name of a number; empty for one that nobody holds.
    pub(super) fn text(&self, id: u32) -> &str {
        self.names.get(id as usize).and_then(Option::as_deref).unwrap_or_default()
    }

    /// Forgets the names whose numbers are not among `used`; those numbers get other names.
    pub(super) fn retain(&mut self, used: impl Iterator<Item = u32>) {
        let mut is_used = vec![false; self.names.len()];
        for id in used {
            if let Some(flag) = is_used.get_mut(id as usize) {
                *flag = true;
            }
        }
        for (id, is_used) in is_used.into_iter().enumerate() {
            if !is_used && let Some(name) = self.names[id].take() {
                self.ids.remove(&name);
                self.free.push(id as u32);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_stable_while_used_and_free_after() {
        let mut names = Names::default();
        let ids: Vec<_> = ["a", "b", "c", "a"].iter().map(|name| names.id(name, true)).collect();
        assert_eq!(ids, [Some(0), Some(1), Some(2), Some(0)]);
        assert_eq!((names.id("d", false), names.id("b", false)), (None, Some(1)));
        names.retain([2, 9].into_iter());
        assert_eq!((names.len(), names.text(2), names.text(0)), (1, "c", ""));
        assert_eq!(names.id("a", false), None);
        let again: Vec<_> = ["d", "e", "f"].iter().filter_map(|name| names.id(name, true)).collect();
        assert_eq!(again.iter().collect::<std::collections::BTreeSet<_>>().len(), 3);
        assert!(!again.contains(&2) && again.iter().all(|id| *id < 4));
        let text: Vec<_> = again.iter().map(|id| names.text(*id)).collect();
        assert_eq!(text, ["d", "e", "f"]);
    }
}
