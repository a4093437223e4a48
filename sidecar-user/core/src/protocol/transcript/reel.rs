//! Puts what a parser tells of bytes, sooner or later, where they passed.

use std::collections::VecDeque;

use super::{Piece, Shown, TEXT};
use crate::model::Side;

/// A connection's stretches in the order in which they passed, as far as it is not known what of them is shown, or one before
/// them waits for that.
#[derive(Debug)]
pub struct Reel<T> {
    stretches: VecDeque<Stretch<T>>,
    /// How many went before the first of them.
    n_gone: usize,
    /// The number of each side's first one that may have bytes nobody told of.
    next: [usize; 2],
    /// Bytes of each side that will be told of though they were given up.
    owed: [u64; 2],
    /// Bytes that are shown.
    n_bytes: usize,
}

/// Bytes that passed at once, or something between them.
#[derive(Debug)]
struct Stretch<T> {
    tag: T,
    side: Side,
    /// Bytes of it that nobody told of yet.
    left: u64,
    is_given_up: bool,
    shown: Vec<u8>,
}

impl<T> Default for Reel<T> {
    fn default() -> Self {
        Reel { stretches: VecDeque::new(), n_gone: 0, next: [0; 2], owed: [0; 2], n_bytes: 0 }
    }
}

impl<T> Reel<T> {
    /// `n` bytes of `side` passed: none where something else happened.
    pub fn push(&mut self, side: Side, n: u64, tag: T) {
        self.stretches.push_back(Stretch { tag, side, left: n, is_given_up: false, shown: Vec::new() });
    }

    /// What is shown of the next bytes of a side.
    pub fn tell(&mut self, piece: &Piece<'_>) {
        let owed = &mut self.owed[piece.side.index()];
        let n_late = piece.n.min(*owed);
        *owed -= n_late;
        let n = piece.n - n_late;
        match piece.shown {
            Shown::Hidden(filler) => self.fill(piece.side, n, filler),
            Shown::Kept(bytes) => {
                let mut rest = bytes.get(n_late as usize..).unwrap_or_default();
                self.spread(piece.side, n, |shown, n, _| {
                    let (now, later) = rest.split_at(n.min(rest.len()));
                    shown.extend_from_slice(now);
                    rest = later;
                });
            }
            // Of a whole of which a part went by nobody knows which part that would be.
            Shown::Written(_) if n_late > 0 => self.fill(piece.side, n, TEXT),
            Shown::Written(bytes) => {
                // Its last byte stays with the last one: that is when a message was seen to end.
                let mut rest = bytes;
                self.spread(piece.side, n, |shown, _, is_last| {
                    let n_now = if is_last { rest.len() } else { rest.len().saturating_sub(1) };
                    let (now, later) = rest.split_at(n_now);
                    shown.extend_from_slice(now);
                    rest = later;
                });
            }
        }
    }

    /// Nobody will tell more of what passed of `side`.
    pub fn settle(&mut self, side: Side) {
        self.owed[side.index()] = 0;
        self.close(side);
    }

    /// It is waited no longer for what will be told of what passed.
    pub fn give_up(&mut self) {
        for side in [Side::Client, Side::Server] {
            self.owed[side.index()] += self.close(side);
        }
    }

    /// Takes out what is settled, in order: what happened, what is shown of it, and how many bytes after that are not.
    pub fn ready(&mut self, mut each: impl FnMut(T, Side, &[u8], u64)) {
        while let Some(first) = self.stretches.pop_front_if(|first| first.left == 0 || first.is_given_up) {
            self.n_gone += 1;
            self.n_bytes -= first.shown.len();
            each(first.tag, first.side, &first.shown, first.left);
        }
    }

    /// Bytes of memory that it takes.
    #[must_use]
    pub fn held(&self) -> usize {
        self.n_bytes + self.stretches.len() * size_of::<Stretch<T>>()
    }

    fn fill(&mut self, side: Side, n: u64, filler: u8) {
        self.spread(side, n, |shown, n, _| shown.resize(shown.len() + n, filler));
    }

    /// Gives `each` the next `n` bytes of `side`, by stretches: what is shown of one, how many of the bytes are its, and whether it
    /// is the last.
    fn spread(&mut self, side: Side, mut n: u64, mut each: impl FnMut(&mut Vec<u8>, usize, bool)) {
        let next = &mut self.next[side.index()];
        *next = (*next).max(self.n_gone);
        while let Some(stretch) = self.stretches.get_mut(*next - self.n_gone) {
            let is_open = stretch.side == side && !stretch.is_given_up && stretch.left > 0;
            if is_open {
                let now = stretch.left.min(n);
                let before = stretch.shown.len();
                stretch.left -= now;
                n -= now;
                each(&mut stretch.shown, usize::try_from(now).unwrap_or_default(), n == 0);
                self.n_bytes += stretch.shown.len() - before;
            }
            if n == 0 {
                return;
            }
            *next += 1;
        }
    }

    /// What nobody told of is not shown; how many bytes that are.
    fn close(&mut self, side: Side) -> u64 {
        let mut sum = 0;
        let is_open = |stretch: &&mut Stretch<T>| stretch.side == side && !stretch.is_given_up;
        for stretch in self.stretches.iter_mut().filter(is_open) {
            sum += stretch.left;
            stretch.is_given_up = true;
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Side::{Client, Server};

    fn ready(reel: &mut Reel<u32>) -> Vec<(u32, String, u64)> {
        let mut told = Vec::new();
        reel.ready(|tag, _, shown, hidden| {
            told.push((tag, String::from_utf8_lossy(shown).into_owned(), hidden));
        });
        told
    }

    fn told(expected: &[(u32, &str, u64)]) -> Vec<(u32, String, u64)> {
        expected.iter().map(|(tag, shown, hidden)| (*tag, (*shown).to_owned(), *hidden)).collect()
    }

    fn kept(side: Side, bytes: &[u8]) -> Piece<'_> {
        Piece { side, n: bytes.len() as u64, shown: Shown::Kept(bytes) }
    }

    #[test]
    fn what_is_told_late_is_where_it_passed() {
        let mut reel = Reel::default();
        for (tag, side, n) in [(1, Client, 3), (2, Server, 4), (3, Client, 5), (4, Client, 0), (5, Server, 1)]
        {
            reel.push(side, n, tag);
        }
        reel.tell(&kept(Server, b"abcd"));
        assert_eq!(ready(&mut reel), []);
        reel.tell(&kept(Client, b"ABCD"));
        assert_eq!(ready(&mut reel), told(&[(1, "ABC", 0), (2, "abcd", 0)]));
        reel.tell(&Piece { side: Client, n: 4, shown: Shown::Hidden(b'x') });
        assert_eq!(ready(&mut reel), told(&[(3, "Dxxxx", 0), (4, "", 0)]));
        reel.settle(Server);
        assert_eq!((ready(&mut reel), reel.held()), (told(&[(5, "", 1)]), 0));
    }

    #[test]
    fn others_begin_and_end_where_those_did() {
        for (bytes, expected) in [
            ("longer than before", [(1, "longer than befor", 0), (2, "", 0), (3, "e", 0)]),
            ("ab", [(1, "a", 0), (2, "", 0), (3, "b", 0)]),
            ("a", [(1, "", 0), (2, "", 0), (3, "a", 0)]),
            ("", [(1, "", 0), (2, "", 0), (3, "", 0)]),
        ] {
            let mut reel = Reel::default();
            (1..4).for_each(|tag| reel.push(Client, 2, tag));
            reel.tell(&Piece { side: Client, n: 6, shown: Shown::Written(bytes.as_bytes()) });
            assert_eq!(ready(&mut reel), told(&expected));
        }
    }

    #[test]
    fn what_was_given_up_is_not_shown_when_it_is_told() {
        let mut reel = Reel::default();
        reel.push(Client, 6, 1);
        reel.tell(&kept(Client, b"ab"));
        reel.give_up();
        assert_eq!(ready(&mut reel), told(&[(1, "ab", 4)]));
        reel.push(Client, 6, 2);
        reel.tell(&kept(Client, b"cdefgh"));
        assert_eq!(ready(&mut reel), []);
        reel.tell(&Piece { side: Client, n: 4, shown: Shown::Written(b"other") });
        assert_eq!(ready(&mut reel), told(&[(2, "ghother", 0)]));
        reel.push(Client, 3, 3);
        reel.give_up();
        reel.push(Client, 3, 4);
        reel.tell(&Piece { side: Client, n: 6, shown: Shown::Written(b"other") });
        assert_eq!(ready(&mut reel), told(&[(3, "", 3), (4, "xxx", 0)]));
    }
}
