//! Streams whose exchange is not over: one small struct each, found by its number.

use super::stream::Stream;
use crate::model::Side;
use crate::protocol::Limits;

/// They are few, and looked for often: their numbers are kept apart, side by side.
#[derive(Debug, Default)]
pub(super) struct Streams {
    ids: Vec<u32>,
    streams: Vec<Stream>,
    /// Bytes that their texts hold.
    texts: usize,
    /// Where the last one was found, as a rule the next one too.
    last: usize,
    /// Of some the server's bytes may have gone by unread.
    has_hidden: bool,
}

/// Places that are kept where nothing is outstanding: a connection that idles holds little.
const KEPT: usize = 4;

impl Streams {
    /// No room for one more. There is for as many as any protocol may have outstanding; for more, up to [`Limits::small`], while
    /// all together hold no more than the heads of so many may have.
    pub(super) fn is_full(&self, limits: &Limits) -> bool {
        let n = self.ids.len();
        n >= limits.outstanding
            && (n >= limits.small() || self.held() >= limits.outstanding.saturating_mul(limits.head_bytes))
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

    /// Bytes of `side` went by unread that may have been one's.
    pub(super) fn hide(&mut self, id: u32, side: Side) {
        let Some(stream) = self.get(id) else { return };
        stream.hide(side);
        self.has_hidden |= side == Side::Server;
    }

    /// The same, of any.
    pub(super) fn hide_all(&mut self, side: Side) {
        self.streams.iter_mut().for_each(|stream| stream.hide(side));
        self.has_hidden |= side == Side::Server && !self.streams.is_empty();
    }

    /// Takes the oldest of which the server's bytes went by unread.
    pub(super) fn take_hidden(&mut self) -> Option<Stream> {
        if !self.has_hidden {
            return None;
        }
        let all = self.ids.iter().zip(&self.streams).enumerate();
        let oldest = all.filter(|(_, (_, stream))| stream.is_hidden).min_by_key(|(_, (id, _))| **id);
        let Some((at, _)) = oldest else {
            self.has_hidden = false;
            return None;
        };
        Some(self.remove(at))
    }

    /// Takes all of which this holds, the oldest first.
    pub(super) fn take_all(&mut self, is_it: impl Fn(u32) -> bool) -> Vec<Stream> {
        if !self.ids.iter().any(|id| is_it(*id)) {
            return Vec::new();
        }
        let all = std::mem::take(&mut self.ids).into_iter().zip(std::mem::take(&mut self.streams));
        let (mut taken, left): (Vec<_>, Vec<_>) = all.partition(|(id, _)| is_it(*id));
        (self.ids, self.streams) = left.into_iter().unzip();
        taken.sort_unstable_by_key(|(id, _)| *id);
        self.texts -= taken.iter().map(|(_, stream)| stream.texts()).sum::<usize>();
        taken.into_iter().map(|(_, stream)| stream).collect()
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
