//! What came of a connection before it was known which protocol it speaks: kept for the parser.

use super::lane::Run;
use crate::model::{Dir, Ktime};

/// Bytes of memory that it may take.
const HELD_BYTES: usize = 64 * 1024;

/// Runs in the order in which they came. Those that continue one another are one, of the first one's time: no message
/// ends in them, or its protocol would be known.
#[derive(Debug, Default)]
pub(super) struct Held {
    kept: Vec<Kept>,
    /// Bytes of payload that are kept.
    n_bytes: usize,
}

#[derive(Debug)]
struct Kept {
    dir: Dir,
    at: Ktime,
    what: What,
}

/// A [`Run`] with bytes of its own.
#[derive(Debug)]
enum What {
    Bytes(Vec<u8>),
    Skipped(u64),
    Gap(u64),
    End,
}

impl Held {
    /// Keeps one more, whatever room it takes: ask [`Held::is_full`] before.
    pub(super) fn keep(&mut self, dir: Dir, at: Ktime, run: Run<'_>) {
        if let Run::Bytes(bytes) = run {
            self.n_bytes += bytes.len();
        }
        let last = self.kept.last_mut().filter(|last| last.dir == dir);
        match (last.map(|last| &mut last.what), run) {
            // A message may begin, later, after empty lines.
            (Some(What::Bytes(kept)), Run::Bytes(bytes)) if !kept.ends_with(b"\n") => {
                kept.extend_from_slice(bytes);
            }
            (Some(What::Skipped(kept)), Run::Skipped(n)) | (Some(What::Gap(kept)), Run::Gap(n)) => *kept += n,
            _ => self.kept.push(Kept { dir, at, what: What::of(&run) }),
        }
    }

    /// There is no room for more.
    pub(super) fn is_full(&self) -> bool {
        self.n_bytes + self.kept.len() * size_of::<Kept>() >= HELD_BYTES
    }

    /// All of it.
    pub(super) fn runs(&self) -> impl Iterator<Item = (Dir, Ktime, Run<'_>)> {
        self.kept.iter().map(|Kept { dir, at, what }| (*dir, *at, what.run()))
    }

    /// Bytes of the connection that it stands for.
    pub(super) fn passed(&self) -> u64 {
        let len = |kept: &Kept| match &kept.what {
            What::Bytes(bytes) => bytes.len() as u64,
            What::Skipped(n) | What::Gap(n) => *n,
            What::End => 0,
        };
        self.kept.iter().map(len).sum()
    }

    /// Bytes of memory that it takes: within a factor of two, as a growing text doubles.
    pub(super) fn bytes(&self) -> usize {
        self.n_bytes + self.kept.capacity() * size_of::<Kept>()
    }
}

impl What {
    fn of(run: &Run<'_>) -> What {
        match run {
            Run::Bytes(bytes) => What::Bytes(bytes.to_vec()),
            Run::Skipped(n) => What::Skipped(*n),
            Run::Gap(n) => What::Gap(*n),
            Run::End => What::End,
        }
    }

    fn run(&self) -> Run<'_> {
        match self {
            What::Bytes(bytes) => Run::Bytes(bytes),
            What::Skipped(n) => Run::Skipped(*n),
            What::Gap(n) => Run::Gap(*n),
            What::End => Run::End,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Dir::{Egress, Ingress};

    #[test]
    fn what_continues_is_one() {
        let mut held = Held::default();
        for (dir, run) in [
            (Ingress, Run::Bytes(b"ab")),
            (Ingress, Run::Bytes(b"c")),
            (Egress, Run::Skipped(5)),
            (Egress, Run::Skipped(6)),
            (Egress, Run::Gap(1)),
            (Ingress, Run::Bytes(b"d")),
            (Ingress, Run::End),
        ] {
            held.keep(dir, Ktime(1), run);
        }
        let runs: Vec<_> = held.runs().map(|(dir, _, run)| (dir, run)).collect();
        let expected = [
            (Ingress, Run::Bytes(b"abc")),
            (Egress, Run::Skipped(11)),
            (Egress, Run::Gap(1)),
            (Ingress, Run::Bytes(b"d")),
            (Ingress, Run::End),
        ];
        assert_eq!(runs, expected);
        assert_eq!(held.passed(), 16);
    }

    #[test]
    fn full_by_bytes_or_by_pieces() {
        let runs = [Run::Bytes(&[b'x'; 100]), Run::Bytes(b"x"), Run::Skipped(1)];
        for run in runs {
            let mut held = Held::default();
            for dir in [Ingress, Egress].into_iter().cycle().take(100_000) {
                if held.is_full() {
                    break;
                }
                held.keep(dir, Ktime(1), run);
            }
            assert!(held.is_full() && held.bytes() < 2 * HELD_BYTES, "{run:?}: {}", held.bytes());
        }
    }
}
