//! What of a connection's bytes may be shown to others: a parser tells it as it reads. Nothing is shown that no parser kept.

#[cfg(test)]
mod canaries;
mod reel;
#[cfg(test)]
pub(crate) mod witness;

pub use reel::Reel;

use super::Parser;
use crate::model::Side;

/// What stands for text that is not shown.
pub const TEXT: u8 = b'x';

/// What became of each side's bytes, in their order. Besides a count it holds something only while it is recorded, until it is
/// drained.
#[derive(Debug, Default)]
pub struct Transcript {
    /// Bytes of each side that were told of ([`Side::index`]).
    told: [u64; 2],
    log: Option<Box<Log>>,
}

#[derive(Debug, Default)]
struct Log {
    pieces: Vec<Told>,
    /// Those of all pieces that have any.
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct Told {
    side: Side,
    n: u64,
    what: What,
}

#[derive(Debug, PartialEq, Eq)]
enum What {
    /// So many of the log's bytes.
    Kept(usize),
    Hidden(u8),
    Written(usize),
}

/// The next bytes of a side, and what is shown of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Whose.
    pub side: Side,
    /// How many of them.
    pub n: u64,
    /// What is in their place.
    pub shown: Shown<'a>,
}

/// What is shown in the place of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown<'a> {
    /// They themselves.
    Kept(&'a [u8]),
    /// This byte in the place of each.
    Hidden(u8),
    /// These for all of them.
    Written(&'a [u8]),
}

impl Transcript {
    /// The next bytes of `side` are shown.
    pub fn keep(&mut self, side: Side, bytes: &[u8]) {
        self.told[side.index()] += bytes.len() as u64;
        if let Some(log) = &mut self.log {
            log.add(side, bytes.len() as u64, What::Kept(bytes.len()), bytes);
        }
    }

    /// The next `n` bytes of `side` are not: each becomes `filler`.
    pub fn hide(&mut self, side: Side, n: u64, filler: u8) {
        self.told[side.index()] += n;
        if let Some(log) = &mut self.log {
            log.add(side, n, What::Hidden(filler), b"");
        }
    }

    /// The next `n` bytes of `side` are not: what `bytes` makes is shown for them, of whatever length. It is asked only while
    /// somebody records.
    pub fn write<B: AsRef<[u8]>>(&mut self, side: Side, n: u64, bytes: impl FnOnce() -> B) {
        self.told[side.index()] += n;
        if let Some(log) = &mut self.log {
            let bytes = bytes();
            log.add(side, n, What::Written(bytes.as_ref().len()), bytes.as_ref());
        }
    }

    /// Of the next bytes of `side` those are shown that `is_shown` is true of; the others become `filler`.
    pub fn sift(&mut self, side: Side, bytes: &[u8], filler: u8, is_shown: impl Fn(u8) -> bool) {
        if self.log.is_none() {
            return self.hide(side, bytes.len() as u64, filler);
        }
        for same in bytes.chunk_by(|a, b| is_shown(*a) == is_shown(*b)) {
            match same.first() {
                Some(first) if is_shown(*first) => self.keep(side, same),
                _ => self.hide(side, same.len() as u64, filler),
            }
        }
    }

    /// Somebody records: what is shown has to be found out.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        self.log.is_some()
    }

    /// Bytes of `side` that were told of so far.
    #[must_use]
    pub fn told(&self, side: Side) -> u64 {
        self.told[side.index()]
    }

    /// From now on it is recorded, or not.
    pub fn record(&mut self, is_recorded: bool) {
        match is_recorded {
            true => drop(self.log.get_or_insert_default()),
            false => self.log = None,
        }
    }

    /// Whoever reads on after a change of protocol goes on with it.
    pub fn hand_over(&mut self, to: &mut dyn Parser) {
        if let Some(transcript) = to.transcript() {
            *transcript = std::mem::take(self);
        }
    }

    /// Gives `each` what was told since the last time.
    pub fn drain(&mut self, mut each: impl FnMut(Piece<'_>)) {
        let Some(log) = &mut self.log else { return };
        let mut rest = &log.bytes[..];
        let mut next = |n: usize| {
            let (bytes, after) = rest.split_at(n);
            rest = after;
            bytes
        };
        for Told { side, n, what } in log.pieces.drain(..) {
            let shown = match what {
                What::Kept(len) => Shown::Kept(next(len)),
                What::Hidden(filler) => Shown::Hidden(filler),
                What::Written(len) => Shown::Written(next(len)),
            };
            each(Piece { side, n, shown });
        }
        log.bytes.clear();
    }
}

impl Log {
    fn add(&mut self, side: Side, n: u64, what: What, bytes: &[u8]) {
        if n == 0 && bytes.is_empty() {
            return;
        }
        self.bytes.extend_from_slice(bytes);
        let last = self.pieces.last_mut().filter(|last| last.side == side);
        match (last, &what) {
            (Some(Told { n: before, what: What::Kept(len), .. }), What::Kept(more)) => {
                *before += n;
                *len += more;
            }
            (Some(Told { n: before, what: What::Hidden(filler), .. }), What::Hidden(same))
                if filler == same =>
            {
                *before += n;
            }
            _ => self.pieces.push(Told { side, n, what }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Side::{Client, Server};

    #[test]
    fn what_is_told_comes_in_order_and_is_told_once() {
        let mut transcript = Transcript::default();
        transcript.keep(Client, b"before");
        transcript.record(true);
        transcript.keep(Client, b"GET ");
        transcript.keep(Client, b"/");
        transcript.hide(Client, 3, TEXT);
        transcript.hide(Client, 2, TEXT);
        transcript.hide(Client, 1, b'0');
        transcript.write(Server, 4, || b"no more");
        transcript.sift(Server, b"a\r\nb", TEXT, |b| b < b' ');
        let mut told = Vec::new();
        transcript.drain(|piece| {
            told.push(match piece.shown {
                Shown::Kept(bytes) => (piece.side, piece.n, bytes.to_vec()),
                Shown::Hidden(filler) => (piece.side, piece.n, vec![filler]),
                Shown::Written(bytes) => (piece.side, piece.n, bytes.to_vec()),
            });
        });
        let expected = [
            (Client, 5, b"GET /".to_vec()),
            (Client, 5, b"x".to_vec()),
            (Client, 1, b"0".to_vec()),
            (Server, 4, b"no more".to_vec()),
            (Server, 1, b"x".to_vec()),
            (Server, 2, b"\r\n".to_vec()),
            (Server, 1, b"x".to_vec()),
        ];
        assert_eq!(told, expected);
        assert_eq!([transcript.told(Client), transcript.told(Server)], [17, 8]);
        transcript.drain(|piece| panic!("{piece:?} twice"));
    }

    #[test]
    fn nothing_is_made_where_nobody_records() {
        let mut transcript = Transcript::default();
        transcript.write(Client, 4, || -> Vec<u8> { panic!("made for nobody") });
        transcript.drain(|piece| panic!("{piece:?}"));
        assert_eq!(transcript.told(Client), 4);
    }
}
