//! Header compression (RFC 7541), read along: what fields a block says, as far as that can be known.
//!
//! Huffman's code is `httlib_huffman`'s; the table is our own, as no decoder knows what it does not know.

mod fixed;
mod name;
mod table;
#[cfg(test)]
pub(super) mod tests;

use std::sync::Arc;

use httlib_huffman::DecoderSpeed;

pub(super) use name::{Field, Name};
use table::{Entry, Table};

/// Bits of the longest code of a byte (RFC 7541 appendix B).
const LONGEST_CODE: usize = 30;
/// Capacity that is kept for the next text.
const TEXT_KEPT: usize = 512;

/// What reads one side's blocks.
#[derive(Debug)]
pub(super) struct Decoder {
    table: Table,
    /// The text that was decoded last.
    text: Vec<u8>,
}

/// Why a block was not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// It ends in the middle of a field.
    Short,
    /// It is none.
    Malformed,
}

impl Decoder {
    /// `is_whole`: the side is watched from its first byte on.
    pub(super) fn new(is_whole: bool) -> Self {
        Decoder { table: Table::new(is_whole), text: Vec::new() }
    }

    /// Blocks may have passed that nobody saw.
    pub(super) fn forget(&mut self) {
        self.table.forget();
    }

    /// Bytes of memory that it holds.
    pub(super) fn held(&self) -> usize {
        self.table.held() + self.text.capacity()
    }

    /// Reads a block. `each` is given the fields that an exchange is made of or that are asked for, and those whose name or
    /// value is not known. The table holds no more than `room` bytes.
    pub(super) fn read(
        &mut self,
        block: &[u8],
        asked: &[Arc<str>],
        room: usize,
        mut each: impl FnMut(&Name, Option<&[u8]>),
    ) -> Result<(), Stop> {
        let mut rest = Bytes(block);
        while let Some(first) = rest.0.first() {
            match first {
                0x80.. => self.indexed(rest.integer(7)?, asked, &mut each)?,
                0x40.. => self.literal(&mut rest, 6, asked, Some(room), &mut each)?,
                0x20.. => self.table.resize(rest.integer(5)?),
                _ => self.literal(&mut rest, 4, asked, None, &mut each)?,
            }
        }
        if self.text.capacity() > TEXT_KEPT {
            self.text = Vec::new();
        }
        Ok(())
    }

    /// A field that is in a table (section 6.1).
    fn indexed(
        &self,
        index: usize,
        asked: &[Arc<str>],
        each: &mut impl FnMut(&Name, Option<&[u8]>),
    ) -> Result<(), Stop> {
        if index == 0 {
            return Err(Stop::Malformed);
        }
        if let Some((name, value)) = fixed::entry(index) {
            if name.is_wanted(asked) {
                each(&name, Some(value));
            }
            return Ok(());
        }
        match self.table.get(index - fixed::LEN - 1) {
            Some(entry) if entry.name == Name::Unknown || entry.name.is_wanted(asked) => {
                each(&entry.name, entry.value.as_deref());
            }
            Some(_) => {}
            None => each(&Name::Unknown, None),
        }
        Ok(())
    }

    /// A field whose value is written out, and its name too where it has no index (section 6.2). It is inserted where
    /// there is `room`.
    fn literal(
        &mut self,
        rest: &mut Bytes<'_>,
        prefix: u32,
        asked: &[Arc<str>],
        room: Option<usize>,
        each: &mut impl FnMut(&Name, Option<&[u8]>),
    ) -> Result<(), Stop> {
        let mut least = 0;
        let name = match rest.integer(prefix)? {
            0 => {
                let name = rest.string()?;
                least += name.least();
                Name::of(name.decoded(&mut self.text)?, asked)
            }
            index => match fixed::entry(index) {
                Some((name, _)) => name,
                None => {
                    let known = self.table.get(index - fixed::LEN - 1);
                    known.map_or(Name::Unknown, |entry| entry.name.clone())
                }
            },
        };
        let value = rest.string()?;
        least += value.least();
        let value = if name.is_wanted(asked) { Some(value.decoded(&mut self.text)?) } else { None };
        if value.is_some() || name == Name::Unknown {
            each(&name, value);
        }
        if let Some(room) = room {
            self.table.insert(Entry { name, value: value.map(Box::from), least }, room);
        }
        Ok(())
    }
}

/// The rest of a block.
struct Bytes<'a>(&'a [u8]);

/// A string as it is written.
struct Text<'a> {
    bytes: &'a [u8],
    is_coded: bool,
}

impl<'a> Bytes<'a> {
    /// A number in the last bits of the first byte and in what follows it (section 5.1).
    fn integer(&mut self, prefix: u32) -> Result<usize, Stop> {
        let (first, mut rest) = self.0.split_first().ok_or(Stop::Short)?;
        let most = (1 << prefix) - 1;
        let mut number = usize::from(*first) & most;
        if number == most {
            // No table and no block is larger than four bytes say.
            for shift in [0, 7, 14, 21, 28] {
                let (byte, after) = rest.split_first().ok_or(Stop::Short)?;
                rest = after;
                number += (usize::from(*byte) & 0x7f) << shift;
                if byte & 0x80 == 0 {
                    self.0 = rest;
                    return Ok(number);
                }
            }
            return Err(Stop::Malformed);
        }
        self.0 = rest;
        Ok(number)
    }

    /// Section 5.2.
    fn string(&mut self) -> Result<Text<'a>, Stop> {
        let is_coded = self.0.first().is_some_and(|first| first & 0x80 != 0);
        let len = self.integer(7)?;
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(Stop::Short)?;
        self.0 = rest;
        Ok(Text { bytes, is_coded })
    }
}

impl<'a> Text<'a> {
    /// How many bytes it is at least.
    fn least(&self) -> usize {
        let n = self.bytes.len();
        // Less than a byte of the end is padding.
        if self.is_coded { (8 * n).saturating_sub(7).div_ceil(LONGEST_CODE) } else { n }
    }

    fn decoded(&self, into: &'a mut Vec<u8>) -> Result<&'a [u8], Stop> {
        if !self.is_coded {
            return Ok(self.bytes);
        }
        into.clear();
        httlib_huffman::decode(self.bytes, into, DecoderSpeed::FourBits).map_err(|_| Stop::Malformed)?;
        Ok(into)
    }
}
