//! Frames that were read, and what they lead to.

use std::sync::Arc;

use super::frame::{Frame, Kind};
use super::parser::Http2;
use super::reader::{Block, BlockState};
use super::stream::Stream;
use crate::model::{Cut, Ktime, Outcome, Side};
use crate::protocol::Signal;

/// SETTINGS_MAX_FRAME_SIZE (RFC 9113 section 6.5.2). What else is settled there shows in the bytes where it matters.
const MAX_FRAME_SIZE: u16 = 5;

impl Http2 {
    /// A frame of `side` ended. Of `payload` the end may be missing.
    pub(super) fn frame(
        &mut self,
        side: Side,
        at: Ktime,
        frame: Frame,
        payload: &[u8],
        out: &mut Vec<Signal>,
    ) {
        let reader = self.reader(side);
        let is_cut = std::mem::take(&mut reader.is_cut);
        let since = reader.since;
        match frame.kind {
            Kind::Data if frame.ends_stream() => self.stream_ended(side, frame.stream, at, out),
            Kind::Headers | Kind::PushPromise | Kind::Continuation => {
                let is_short = payload.len() < frame.len as usize;
                let state = match () {
                    () if is_cut => BlockState::Cut,
                    () if is_short => BlockState::TooLong,
                    () => BlockState::Whole,
                };
                self.tell_fragment(side, &frame, is_cut);
                let is_promise = frame.kind == Kind::PushPromise;
                let ends_stream = frame.ends_stream();
                let block = Block { stream: frame.stream, ends_stream, is_promise, since, state };
                self.fragment(side, at, frame, block, fragment(&frame, payload), out);
            }
            Kind::RstStream => match payload.first_chunk() {
                Some(code) if !is_cut => {
                    self.stream_reset(side, frame.stream, u32::from_be_bytes(*code), at, out);
                }
                _ => self.streams.hide(frame.stream, Side::Server),
            },
            Kind::Settings if !is_cut => {
                for [id_high, id_low, value @ ..] in payload.as_chunks::<6>().0 {
                    if u16::from_be_bytes([*id_high, *id_low]) == MAX_FRAME_SIZE {
                        self.takes(side, u32::from_be_bytes(*value));
                    }
                }
            }
            Kind::GoAway if side == Side::Server && !is_cut => {
                if let Some(last) = payload.first_chunk() {
                    self.went_away(u32::from_be_bytes(*last) & (u32::MAX >> 1), at, out);
                }
            }
            Kind::Data
            | Kind::Settings
            | Kind::GoAway
            | Kind::Priority
            | Kind::Ping
            | Kind::WindowUpdate
            | Kind::Other => {}
        }
    }

    /// A piece of a field block; of the first `block` says what it is of.
    fn fragment(
        &mut self,
        side: Side,
        at: Ktime,
        frame: Frame,
        block: Block,
        bytes: &[u8],
        out: &mut Vec<Signal>,
    ) {
        let room = self.limits.head_bytes;
        let reader = self.reader(side);
        if frame.kind == Kind::Continuation {
            let Some(open) = &mut reader.open else {
                // Its beginning was not seen.
                reader.decoder.forget();
                return self.tell_nothing(side);
            };
            if open.state == BlockState::Whole {
                open.state = block.state;
                let room = room.saturating_sub(reader.block.len());
                if bytes.len() > room {
                    open.state = BlockState::TooLong;
                }
                reader.block.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
            if frame.ends_headers()
                && let Some(open) = reader.open.take()
            {
                let block = std::mem::take(&mut reader.block);
                self.block(side, at, open, &block, false, out);
            }
            return;
        }
        if frame.ends_headers() {
            return self.block(side, at, block, bytes, frame.len == 0, out);
        }
        reader.open = Some(block);
        reader.block.extend_from_slice(bytes);
    }

    /// A field block has come to its end.
    fn block(
        &mut self,
        side: Side,
        at: Ktime,
        block: Block,
        bytes: &[u8],
        is_empty: bool,
        out: &mut Vec<Signal>,
    ) {
        let limits = Arc::clone(&self.limits);
        let asked = match side {
            Side::Client => &limits.keep.request_headers,
            Side::Server => &limits.keep.response_headers,
        };
        let too_long = bytes.len() > limits.head_bytes;
        let bytes = &bytes[..bytes.len().min(limits.head_bytes)];
        let state = if too_long { BlockState::TooLong } else { block.state };
        let decoder = &mut self.readers[side.index()].decoder;
        let read = self.fields.read(decoder, bytes, asked, &limits);
        self.odd.unresolved += self.fields.n_unknown;
        match (state, read) {
            (BlockState::Whole, Ok(())) => {}
            (BlockState::Whole, Err(_)) => {
                decoder.forget();
                self.odd.malformed += 1;
                return self.tell_block(side, &block, is_empty, false);
            }
            // What follows may have been inserted in the table.
            (BlockState::TooLong | BlockState::Cut, _) => {
                decoder.forget();
                self.odd.oversized += u32::from(state == BlockState::TooLong);
                self.fields.n_unknown += 1;
            }
        }
        self.tell_block(side, &block, is_empty, true);
        match side {
            Side::Server if block.is_promise => {}
            Side::Client => self.request(block, at, out),
            Side::Server => self.response(block, at, out),
        }
    }

    /// The client's fields: a request, or its trailers.
    fn request(&mut self, block: Block, at: Ktime, out: &mut Vec<Signal>) {
        let id = block.stream;
        if self.streams.get(id).is_some() {
            if block.ends_stream {
                self.stream_ended(Side::Client, id, at, out);
            }
            return;
        }
        let is_new = self.opened.is_none_or(|(_, last)| id > last);
        // Where not all was seen, they may be the trailers of one that began before.
        if !is_new || !(self.fields.is_beginning || self.readers[Side::Client.index()].is_whole) {
            return;
        }
        self.opened = Some((self.opened.map_or(id, |(first, _)| first), id));
        if self.streams.is_full(&self.limits) {
            match self.streams.take_hidden() {
                Some(hidden) => out.push(hidden.finish(Outcome::NotObserved, at, &mut self.had)),
                None => return self.odd.overflow += 1,
            }
        }
        let mut stream = Stream::new(block.since, &self.fields, &self.limits.keep);
        out.push(Signal::Started(stream.start()));
        if block.ends_stream {
            stream.request_ended(at);
        }
        self.streams.open(id, stream);
    }

    /// The server's: a response, an interim one, or trailers.
    fn response(&mut self, block: Block, at: Ktime, out: &mut Vec<Signal>) {
        let id = block.stream;
        if self.streams.get(id).is_none() {
            let is_orphan = self.fields.is_beginning && self.is_orphan(id);
            self.odd.orphan_responses += u32::from(is_orphan);
            return;
        }
        let Http2 { streams, fields, limits, .. } = self;
        let names = &limits.keep.response_headers;
        streams.change(id, |stream| stream.answer(block.since, fields, block.ends_stream, names));
        if block.ends_stream {
            self.stream_ended(Side::Server, id, at, out);
        } else if self.streams.get(id).is_some_and(|stream| stream.is_tunnel())
            && let Some(stream) = self.streams.take(id)
        {
            out.push(stream.finish(Outcome::Complete, at, &mut self.had));
        }
    }

    /// Nothing was seen of the request that opened it. Streams that the server opens are even.
    fn is_orphan(&self, id: u32) -> bool {
        let is_known = self.opened.is_some_and(|(first, last)| (first..=last).contains(&id));
        id % 2 == 1 && (!is_known || self.readers[Side::Client.index()].has_gap)
    }

    /// `side` said all on a stream.
    fn stream_ended(&mut self, side: Side, id: u32, at: Ktime, out: &mut Vec<Signal>) {
        match side {
            Side::Client => {
                if let Some(stream) = self.streams.get(id) {
                    stream.request_ended(at);
                }
            }
            Side::Server => {
                let Some(stream) = self.streams.take(id) else { return };
                let is_seen = stream.answered.is_some();
                let outcome = if is_seen { Outcome::Complete } else { Outcome::NotObserved };
                out.push(stream.finish(outcome, at, &mut self.had));
            }
        }
    }

    fn stream_reset(&mut self, by: Side, id: u32, code: u32, at: Ktime, out: &mut Vec<Signal>) {
        let Some(mut stream) = self.streams.take(id) else { return };
        // A response that went by unread is no missing one.
        let is_lost = stream.is_hidden || !self.readers[Side::Server.index()].is_in_place();
        let outcome = if is_lost {
            Outcome::NotObserved
        } else {
            stream.reset(by, code);
            stream.cut(Cut::Stream(by))
        };
        out.push(stream.finish(outcome, at, &mut self.had));
    }

    /// The server answers no stream after `last` (RFC 9113 section 6.8).
    fn went_away(&mut self, last: u32, at: Ktime, out: &mut Vec<Signal>) {
        for stream in self.streams.take_all(|id| id > last) {
            let cut = Cut::Stream(Side::Server);
            let outcome = match stream.answered {
                Some(_) => Outcome::Truncated(cut),
                None => Outcome::Unanswered(cut),
            };
            out.push(stream.finish(outcome, at, &mut self.had));
        }
    }
}

/// The piece of a field block that is in a payload, without what is before it and the padding.
fn fragment<'a>(frame: &Frame, payload: &'a [u8]) -> &'a [u8] {
    let is_padded = frame.is_padded();
    let pad = payload.first().filter(|_| is_padded).map_or(0, |pad| usize::from(*pad));
    let start = usize::from(is_padded) + frame.before_block();
    let end = (frame.len as usize).saturating_sub(pad).min(payload.len());
    payload.get(start..end).unwrap_or_default()
}
