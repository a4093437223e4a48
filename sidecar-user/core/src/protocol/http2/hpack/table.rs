//! The dynamic table (RFC 7541 section 2.3.2), which need not know its oldest entries: an index counts from the newest, so
//! that whatever was inserted while it was watched is found exactly, whatever was there before.
//!
//! For the same reason it may forget its oldest entries at any time. It forgets none too early by mistake: of what is not
//! kept the size is underestimated.

use std::collections::VecDeque;

use super::name::Name;

/// What an entry counts besides its texts (section 4.1).
const OVERHEAD: usize = 32;
/// What a table may hold before anybody says otherwise (RFC 9113 section 6.5.2). What a receiver's settings allow counts only
/// from when the sender says in a block that it uses it (RFC 7541 section 4.2).
const DEFAULT_MAX: usize = 4096;

#[derive(Debug)]
pub(super) struct Table {
    /// The newest last.
    entries: VecDeque<Entry>,
    /// What the entries have at least, as the peers count it.
    size: usize,
    /// What they may have, as the peers count it; more than that is gone.
    max: usize,
    /// Bytes of the values that are kept.
    kept: usize,
}

/// A field that was inserted.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: Name,
    /// `None`: nobody looks at it, or it was not seen.
    pub(super) value: Option<Box<[u8]>>,
    /// Bytes that name and value have at least.
    pub(super) least: usize,
}

impl Table {
    /// `is_whole`: it was watched from the connection's beginning.
    pub(super) fn new(is_whole: bool) -> Self {
        let max = if is_whole { DEFAULT_MAX } else { usize::MAX };
        Table { entries: VecDeque::new(), size: 0, max, kept: 0 }
    }

    /// The entry at an index that counts from the newest, from 0; `None` where it is older than what is known.
    pub(super) fn get(&self, index: usize) -> Option<&Entry> {
        let at = self.entries.len().checked_sub(1)?.checked_sub(index)?;
        self.entries.get(at)
    }

    /// Inserts one, and holds no more than `room` bytes of memory.
    pub(super) fn insert(&mut self, entry: Entry, room: usize) {
        self.size += entry.size();
        self.kept += entry.kept();
        self.entries.push_back(entry);
        self.evict();
        // What a queue reserves is up to twice what is in it.
        while self.kept + 2 * self.entries.len() * size_of::<Entry>() > room && self.drop_oldest() {}
    }

    /// Its size was set.
    pub(super) fn resize(&mut self, max: usize) {
        self.max = max;
        self.evict();
    }

    /// Entries may have been inserted, and sizes set, that nobody saw.
    pub(super) fn forget(&mut self) {
        *self = Table::new(false);
    }

    /// Bytes of memory that it holds.
    pub(super) fn held(&self) -> usize {
        self.kept + self.entries.capacity() * size_of::<Entry>()
    }

    fn evict(&mut self) {
        while self.size > self.max && self.drop_oldest() {}
    }

    fn drop_oldest(&mut self) -> bool {
        let Some(oldest) = self.entries.pop_front() else { return false };
        self.size -= oldest.size();
        self.kept -= oldest.kept();
        true
    }
}

impl Entry {
    fn size(&self) -> usize {
        self.least + OVERHEAD
    }

    fn kept(&self) -> usize {
        self.value.as_ref().map_or(0, |value| value.len())
    }
}
