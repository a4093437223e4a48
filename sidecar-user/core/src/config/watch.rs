//! When files that were read are to be read again: once they differ from what was taken, and hold still.

/// What one look at the files showed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Differs where a content does, or the reason why there is none.
    pub content: u64,
    /// Differs also where the same content was written again: sizes and times.
    pub stamp: u64,
}

/// Looks, one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    taken: u64,
    last: Option<Look>,
}

impl Watch {
    /// Of files that were taken as they are here.
    #[must_use]
    pub const fn new(taken: Look) -> Self {
        Self { taken: taken.content, last: None }
    }

    /// The next look. `true`: there is something else than what was taken, and the look before saw just this. An editor
    /// that is in the midst of writing, or a file between its removal and its return, is waited for.
    #[must_use]
    pub fn is_due(&mut self, now: Look) -> bool {
        let is_settled = self.last.replace(now) == Some(now);
        is_settled && now.content != self.taken
    }

    /// These were taken, or refused: they are not due again until they differ.
    pub fn took(&mut self, now: Look) {
        *self = Self::new(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_due_once_it_holds_still() {
        let look = |(content, stamp): (u64, u64)| Look { content, stamp };
        for (looks, due) in [
            // The same, and the same written again.
            (vec![(1, 1), (1, 1), (1, 2), (1, 2)], None),
            (vec![(2, 2), (2, 2)], Some(1)),
            (vec![(1, 1), (1, 1), (2, 2), (2, 2)], Some(3)),
            // Truncated, written; and truncated at two looks, with a writing in between.
            (vec![(0, 2), (2, 3), (2, 3)], Some(2)),
            (vec![(0, 2), (0, 3), (2, 4), (2, 4)], Some(3)),
            // Back to what was taken.
            (vec![(0, 2), (1, 3), (1, 3)], None),
        ] {
            let mut watch = Watch::new(look((1, 1)));
            let found = looks.iter().position(|now| watch.is_due(look(*now)));
            assert_eq!(found, due, "{looks:?}");
        }
    }

    #[test]
    fn what_was_refused_is_not_due_again() {
        let (bad, good) = (Look { content: 2, stamp: 2 }, Look { content: 1, stamp: 3 });
        let mut watch = Watch::new(Look { content: 1, stamp: 1 });
        watch.took(bad);
        assert!(![bad, bad, bad].into_iter().any(|now| watch.is_due(now)));
        assert_eq!([good, good].map(|now| watch.is_due(now)), [false, true]);
    }
}
