//! Streams whose exchange is not over: one small struct each, found by its number.

use super::stream::Stream;

/// They are few, and looked for often: their numbers are kept apart, side by side.
#[derive(Debug, Default)]
pub(super) struct Streams {
    ids: Vec<u32>,
    streams: Vec<Stream>,
    /// Bytes that their texts hold.
    texts: usize,
    /// Where the last one was found, as a rule the next one too.
    last: usize,
}

/// Places that are kept where nothing is outstanding: a connection that idles holds little.
const KEPT: usize = 4;

impl Streams {
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(super) fn open(&mut self, id: u32, stream: Stream) {
        self.texts += stream.texts();
        self.last = self.ids.len();
        self.ids.push(id);
        self.streams.push(stream);
    }

    pub(super) fn get(&mut self, id: u32) -> Option<&mut Stream> {
        let at = self.place(id)?;
        self.last = at;
        self.streams.get_mut(at)
    }

    pub(super) fn take(&mut self, id: u32) -> Option<Stream> {
        let at = self.place(id)?;
        Some(self.remove(at))
    }

    /// Changes one, and counts anew what its texts hold.
    pub(super) fn change(&mut self, id: u32, change: impl FnOnce(&mut Stream)) {
        let Some(stream) = self.get(id) else { return };
        let before = stream.texts();
        change(stream);
        let after = stream.texts();
        self.texts = self.texts + after - before;
    }

    pub(super) fn each(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.streams.iter_mut()
    }

    /// Takes the oldest of which this holds.
    pub(super) fn take_oldest(&mut self, is_it: impl Fn(u32, &Stream) -> bool) -> Option<Stream> {
        let all = self.ids.iter().zip(&self.streams).enumerate();
        let (at, _) = all.filter(|(_, (id, stream))| is_it(**id, stream)).min_by_key(|(_, (id, _))| **id)?;
        Some(self.remove(at))
    }

    /// Bytes that they hold.
    pub(super) fn held(&self) -> usize {
        self.ids.capacity() * size_of::<u32>() + self.streams.capacity() * size_of::<Stream>() + self.texts
    }

    fn place(&self, id: u32) -> Option<usize> {
        if self.ids.get(self.last) == Some(&id) {
            return Some(self.last);
        }
        self.ids.iter().position(|known| *known == id)
    }

    fn remove(&mut self, at: usize) -> Stream {
        self.ids.swap_remove(at);
        let stream = self.streams.swap_remove(at);
        self.texts -= stream.texts();
        if self.ids.is_empty() {
            self.ids.shrink_to(KEPT);
            self.streams.shrink_to(KEPT);
        }
        stream
    }
}
