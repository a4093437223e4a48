//! How much of each side's bytes the parser needs to see.

use super::body::Body;
use super::parser::Http1;
use super::reader::{Place, Reader};
use crate::model::Side;
use crate::protocol::Want;

/// A body with less than this to come is not worth a verdict to the kernel.
const SKIP_FROM: u64 = 16 * 1024;
/// A chunked body longer than this that comes fast is not followed chunk by chunk: its end is taken from the next turn.
const CHUNKED_MAX: u64 = 1024 * 1024;
/// Nanoseconds that a byte of a chunked body takes where it comes fast: 16 MiB a second. Slower ones (events, long polls)
/// cost little to follow for ever.
const CHUNKED_NS: u64 = 60;

impl Reader {
    /// Whether so many bytes of the current message came too fast to follow.
    fn is_flood(&self, read: u64) -> bool {
        let slow = self.last.0.saturating_sub(self.since.0) / CHUNKED_NS;
        read > CHUNKED_MAX.saturating_add(slow)
    }
}

impl Http1 {
    /// Heads are enough while messages alternate and say how long they are. That has to be seen first, and once it
    /// was otherwise it may be again: then all is wanted, for the connection's life.
    pub(super) fn want(&self, side: Side) -> Want {
        let reader = &self.readers[side.index()];
        match &reader.place {
            // Only what is outstanding is followed: of this side nothing will be understood.
            Place::Lost if side == Side::Client && self.is_closing => Want::Skip(u64::MAX),
            // None is passed over, however many bytes they are.
            Place::Body(_) if reader.events.is_some() => Want::Stream,
            Place::Body(_) if self.queue.has_call(side) => Want::Stream,
            // Where no body may be coming, the next turn's beginning matters.
            Place::Body(Body::Length(_)) if side == Side::Server && self.is_orphan => Want::Heads,
            Place::Body(Body::Length(left)) if *left > SKIP_FROM => Want::Skip(*left),
            Place::Body(Body::Chunked(chunked)) if chunked.left() > SKIP_FROM => Want::Skip(chunked.left()),
            Place::Body(Body::Chunked(chunked)) if reader.is_flood(chunked.read) => Want::Heads,
            Place::LongHead(_) => Want::Stream,
            _ if self.overlaps || self.has_calls || reader.has_chunked => Want::Stream,
            _ if !reader.has_read || !reader.held.is_empty() => Want::Undecided,
            _ => Want::Heads,
        }
    }
}
