//! What becomes of a side whose place was lost or never known, and how it is found: by a frame that another follows, or by
//! one that was sent alone, where the other side speaks HTTP/2 too.

use super::detect::{begins_with_frames, may_go_on};
use super::frame::{DEFAULT_MAX, Frame, HEADER};
use super::parser::Http2;
use super::reader::{Passed, Payload, Place, Trial};
use crate::model::{Ktime, Outcome, Side};
use crate::protocol::Signal;

/// So many bytes in a row without a frame are something else than HTTP/2, whatever was before.
const STRANGE_MAX: u64 = 4 << 20;

impl Http2 {
    /// Looks for a frame; says how many bytes it passed over.
    pub(super) fn seek(&mut self, side: Side, at: Ktime, bytes: &[u8], out: &mut Vec<Signal>) -> usize {
        let reader = self.reader(side);
        let tail = std::mem::take(&mut reader.tail);
        let total = tail.len() + bytes.len();
        let max = if reader.is_whole || !reader.is_joining { reader.max } else { DEFAULT_MAX };
        let all = Joint { tail: &tail, bytes, at };
        if let Some((start, is_sure)) = all.frame(side, max) {
            self.tell_unread(side, start as u64);
            self.unread(side, start as u64, at, out);
            let reader = self.reader(side);
            reader.place = Place::Header;
            let n = tail.len().saturating_sub(start);
            for (place, passed) in reader.header.iter_mut().zip(&tail[tail.len() - n..]) {
                *place = passed.byte;
            }
            reader.n_header = n;
            reader.since = all.get(start).at;
            if is_sure {
                self.found(side);
                self.settle_other(side, out);
            } else {
                reader.trial = Some(Trial { since: reader.since, ..Trial::default() });
            }
            return start.saturating_sub(tail.len());
        }
        let kept = total.min(HEADER - 1);
        let reader = self.reader(side);
        reader.tail = (total - kept..total).map(|place| all.get(place)).collect();
        self.tell_unread(side, (total - kept) as u64);
        self.unread(side, (total - kept) as u64, at, out);
        bytes.len()
    }

    /// A packet comes while the end of a frame on trial is waited for. Where frames begin with the packet, that was none: a long
    /// one may look like one that is none for as long as it lasts.
    pub(super) fn doubt(&mut self, side: Side, at: Ktime, bytes: &[u8], out: &mut Vec<Signal>) {
        let reader = self.reader(side);
        let is_open = reader.trial.is_some_and(|trial| trial.ended.is_none());
        let Place::Payload(Payload { frame, left, .. }) = reader.place else { return };
        if !is_open || !begins_with_frames(side, bytes) {
            return;
        }
        reader.trial = None;
        reader.place = Place::Lost;
        reader.held = Vec::new();
        reader.is_cut = false;
        self.tell_unread(side, HEADER as u64);
        self.unread(side, HEADER as u64 + u64::from(frame.len - left), at, out);
    }

    /// Nothing bears out the frame that was found: `header` is no frame's.
    pub(super) fn refute(&mut self, side: Side, header: &[u8; HEADER], at: Ktime, out: &mut Vec<Signal>) {
        let reader = self.reader(side);
        let trial = reader.trial.take().and_then(|trial| trial.ended);
        let passed = trial.map_or(0, |(frame, _)| HEADER as u64 + u64::from(frame.len));
        reader.place = Place::Lost;
        reader.held = Vec::new();
        reader.tail = header[1..].iter().map(|byte| Passed { byte: *byte, at, is_start: false }).collect();
        self.tell_unread(side, HEADER as u64 + 1);
        self.unread(side, passed + 1, at, out);
    }

    /// The frame that was found is one.
    pub(super) fn accept(&mut self, side: Side, out: &mut Vec<Signal>) {
        let reader = self.reader(side);
        let Some(Trial { since, ended: Some((frame, at)), .. }) = reader.trial.take() else { return };
        let next = std::mem::replace(&mut reader.since, since);
        let held = std::mem::take(&mut reader.held);
        self.found(side);
        // Requests go before responses.
        if side == Side::Server {
            self.settle_other(side, out);
        }
        self.explained += HEADER as u64 + u64::from(frame.len);
        self.tell_unread(side, HEADER as u64);
        self.reader(side).is_told = true;
        self.frame(side, at, frame, &held, out);
        self.reader(side).is_told = false;
        self.reader(side).since = next;
        if side == Side::Client {
            self.settle_other(side, out);
        }
    }

    /// Bytes of `side` have been taken. A frame that ended with them was sent alone, and is taken for one where the
    /// other side's bytes are frames too.
    pub(super) fn settle(&mut self, side: Side, out: &mut Vec<Signal>) {
        let other = &self.readers[1 - side.index()];
        let is_backed = other.is_in_place() && !matches!(other.place, Place::Preface(_))
            || other.trial.is_some_and(|trial| trial.fits);
        let reader = self.reader(side);
        let is_between = reader.place == Place::Header && reader.n_header == 0;
        let Some(trial) = &mut reader.trial else { return };
        trial.fits = is_between && trial.ended.is_some();
        if trial.fits && is_backed {
            self.settle_other(side, out);
            self.accept(side, out);
        }
    }

    /// `side` speaks HTTP/2: so does the other one.
    fn settle_other(&mut self, side: Side, out: &mut Vec<Signal>) {
        let other = if side == Side::Client { Side::Server } else { Side::Client };
        if self.reader(other).trial.is_some_and(|trial| trial.fits) {
            self.accept(other, out);
        }
    }

    fn found(&mut self, side: Side) {
        let reader = self.reader(side);
        reader.strange = 0;
        let is_joining = std::mem::take(&mut reader.is_joining);
        self.odd.resyncs += u32::from(!is_joining);
    }

    /// Where `side` stands is not known any more; `n` bytes of it have passed unread.
    pub(super) fn lose(&mut self, side: Side, n: u64, at: Ktime, out: &mut Vec<Signal>) {
        let reader = self.reader(side);
        let n = n + reader.n_header as u64 + reader.tail.len() as u64;
        reader.place = Place::Lost;
        reader.n_header = 0;
        reader.held = Vec::new();
        reader.block = Vec::new();
        reader.open = None;
        reader.trial = None;
        reader.tail = Vec::new();
        reader.is_cut = false;
        reader.is_whole = false;
        reader.has_gap |= !reader.is_joining;
        reader.decoder.forget();
        self.unread(side, n, at, out);
    }

    /// `n` bytes of `side` passed while its place was not known.
    pub(super) fn unread(&mut self, side: Side, n: u64, at: Ktime, out: &mut Vec<Signal>) {
        if n == 0 {
            return;
        }
        // Whatever is outstanding may have been in them.
        self.streams.hide_all(side);
        let reader = self.reader(side);
        reader.strange += n;
        let (is_joining, is_strange) = (reader.is_joining, reader.strange >= STRANGE_MAX);
        if is_joining {
            self.odd.before_join += n;
        }
        if is_strange {
            self.is_opaque = true;
            for stream in self.streams.take_all(|_| true) {
                out.push(stream.finish(Outcome::NotObserved, at, &mut self.had));
            }
        }
    }
}

/// Bytes in two pieces, the second of a packet at this time.
struct Joint<'a> {
    tail: &'a [Passed],
    bytes: &'a [u8],
    at: Ktime,
}

impl Joint<'_> {
    fn len(&self) -> usize {
        self.tail.len() + self.bytes.len()
    }

    fn get(&self, place: usize) -> Passed {
        match place.checked_sub(self.tail.len()) {
            Some(place) => Passed { byte: self.bytes[place], at: self.at, is_start: place == 0 },
            None => self.tail[place],
        }
    }

    fn header(&self, at: usize) -> [u8; HEADER] {
        std::array::from_fn(|place| self.get(at + place).byte)
    }

    /// Where a frame begins, and whether what follows it shows that. One that nothing follows yet is looked for only where
    /// a packet begins: anywhere else anything may look like one.
    fn frame(&self, side: Side, max: u32) -> Option<(usize, bool)> {
        let mut first = None;
        for start in 0..self.len().saturating_sub(HEADER - 1) {
            // The first byte of the length: longer ones are rare.
            if self.get(start).byte != 0 {
                continue;
            }
            let header = self.header(start);
            if !Frame::looks_like(&header, side, max) {
                continue;
            }
            let next = start + HEADER + Frame::read(&header).len as usize;
            let n_next = self.len().saturating_sub(next).min(HEADER);
            if n_next == HEADER {
                if Frame::looks_like(&self.header(next), side, max) {
                    return Some((start, true));
                }
            } else if first.is_none() && self.get(start).is_start {
                let rest: Vec<u8> = (next..next + n_next).map(|at| self.get(at).byte).collect();
                first = may_go_on(&rest).then_some((start, false));
            }
        }
        first
    }
}
