//! The parser: goes through each side's bytes from frame to frame.

use std::sync::Arc;

use super::Upgraded;
use super::frame::{DEFAULT_MAX, Frame, HEADER, Kind, LARGEST_MAX, PREFACE};
use super::head::Fields;
use super::reader::{Passed, Payload, Place, Reader};
use super::stream::{Had, Stream};
use super::streams::Streams;
use crate::model::{Ktime, Side};
use crate::protocol::{
    Birth, Close, Limits, Next, Oddities, Parser, Signal, Step, TEXT, Transcript, Want, grpc::Show,
};

/// DATA with at least so much to come is not copied.
const SKIP_FROM: u32 = 256 * 1024;
/// Capacity that is kept for the next payload that comes in pieces.
const KEPT_CAPACITY: usize = 2 * 1024;

/// One connection that speaks HTTP/2.
#[derive(Debug)]
pub(super) struct Http2 {
    pub(super) limits: Arc<Limits>,
    pub(super) readers: [Reader; 2],
    pub(super) streams: Streams,
    /// What its streams were that are over.
    pub(super) had: Had,
    /// What the last field block said.
    pub(super) fields: Fields,
    /// The first and the last stream that the client was seen to open.
    pub(super) opened: Option<(u32, u32)>,
    pub(super) odd: Oddities,
    pub(super) transcript: Transcript,
    /// Bytes of this call that were explained.
    pub(super) explained: u64,
    /// Whose FIN came first, and when.
    pub(super) first_end: Option<(Side, Ktime)>,
    /// It was given up.
    pub(super) is_opaque: bool,
}

impl Http2 {
    pub(super) fn new(limits: Arc<Limits>, birth: Birth) -> Self {
        let is_whole = birth == Birth::Seen;
        let server = if is_whole { Place::Header } else { Place::Lost };
        Http2 {
            limits,
            readers: [Reader::new(Place::Preface(0), is_whole), Reader::new(server, is_whole)],
            streams: Streams::default(),
            had: Had::default(),
            fields: Fields::default(),
            opened: None,
            odd: Oddities::default(),
            transcript: Transcript::default(),
            explained: 0,
            first_end: None,
            is_opaque: false,
        }
    }

    /// The connection was upgraded by this request, which has been told as begun.
    pub(super) fn upgrade(&mut self, request: Option<Upgraded>) {
        self.opened = Some((1, 1));
        if let Some(request) = request {
            self.streams.open(1, Stream::upgraded(request));
        }
    }

    pub(super) fn reader(&mut self, side: Side) -> &mut Reader {
        &mut self.readers[side.index()]
    }

    /// Takes all of `bytes`, from place to place.
    fn go_through(&mut self, side: Side, at: Ktime, bytes: &[u8], out: &mut Vec<Signal>) {
        self.doubt(side, at, bytes, out);
        let mut rest = bytes;
        while !rest.is_empty() && !self.is_opaque {
            let used = match self.reader(side).place {
                Place::Preface(n) => self.take_preface(side, at, n, rest, out),
                Place::Header => self.take_header(side, at, rest, out),
                Place::Payload(payload) => self.take_payload(side, at, payload, rest, out),
                Place::Lost => self.seek(side, at, rest, out),
            };
            rest = &rest[used..];
        }
        self.settle(side, out);
    }

    fn take_preface(
        &mut self,
        side: Side,
        at: Ktime,
        n: usize,
        bytes: &[u8],
        out: &mut Vec<Signal>,
    ) -> usize {
        let expected = &PREFACE[n..];
        let len = expected.len().min(bytes.len());
        if bytes[..len] != expected[..len] {
            if self.reader(side).is_joining {
                self.reader(side).place = Place::Lost;
                let passed = |byte: &u8| Passed { byte: *byte, at, is_start: false };
                self.reader(side).tail = PREFACE[n - n.min(HEADER - 1)..n].iter().map(passed).collect();
                self.tell_unread(side, n.saturating_sub(HEADER - 1) as u64);
                self.unread(side, n.saturating_sub(HEADER - 1) as u64, at, out);
            } else {
                self.odd.malformed += 1;
                self.is_opaque = true;
            }
            return 0;
        }
        let reader = self.reader(side);
        reader.place = Place::Preface(n + len);
        if n + len == PREFACE.len() {
            // Its server may have said before how much it takes.
            *reader = Reader { max: reader.max, ..Reader::new(Place::Header, true) };
            self.explained += PREFACE.len() as u64;
            self.transcript.keep(side, PREFACE);
        }
        len
    }

    fn take_header(&mut self, side: Side, at: Ktime, bytes: &[u8], out: &mut Vec<Signal>) -> usize {
        let reader = self.reader(side);
        if reader.n_header == 0 {
            reader.since = at;
        }
        let used = (HEADER - reader.n_header).min(bytes.len());
        reader.header[reader.n_header..reader.n_header + used].copy_from_slice(&bytes[..used]);
        reader.n_header += used;
        if reader.n_header == HEADER {
            reader.n_header = 0;
            self.begin_frame(side, at, out);
        }
        used
    }

    /// A frame's header has come.
    fn begin_frame(&mut self, side: Side, at: Ktime, out: &mut Vec<Signal>) {
        let reader = self.reader(side);
        let header = reader.header;
        let frame = Frame::read(&header);
        if reader.trial.is_some_and(|trial| trial.ended.is_some()) {
            let max = if reader.is_joining { DEFAULT_MAX } else { reader.max };
            if !Frame::looks_like(&header, side, max) {
                return self.refute(side, &header, at, out);
            }
            self.accept(side, out);
        }
        let reader = self.reader(side);
        let is_next = match &reader.open {
            Some(open) => frame.kind == Kind::Continuation && frame.stream == open.stream,
            None => frame.kind != Kind::Continuation || !reader.is_whole,
        };
        if !frame.is_sound(side) || frame.len > reader.max || !is_next {
            self.odd.malformed += 1;
            self.tell_unread(side, HEADER as u64);
            return self.lose(side, HEADER as u64, at, out);
        }
        self.tell_header(side, &header, &frame);
        let reader = self.reader(side);
        let pad = if frame.is_padded() { None } else { Some(0) };
        reader.place = Place::Payload(Payload { frame, left: frame.len, pad });
        if frame.kind == Kind::Data && reader.trial.is_none() {
            self.explained += HEADER as u64;
        }
        if frame.len == 0 {
            self.end_frame(side, at, frame, &[], out);
        }
    }

    fn take_payload(
        &mut self,
        side: Side,
        at: Ktime,
        payload: Payload,
        bytes: &[u8],
        out: &mut Vec<Signal>,
    ) -> usize {
        let Payload { frame, left, .. } = payload;
        let used = bytes.len().min(left as usize);
        let (piece, left) = (&bytes[..used], left - used as u32);
        if frame.kind != Kind::Data {
            self.tell_piece(side, &frame, piece, left);
        }
        match frame.kind {
            Kind::Data => self.take_data(side, at, payload, piece, out),
            Kind::Headers | Kind::PushPromise | Kind::Continuation => {
                // The usual case: it is all there, and nothing is copied.
                if left == 0 && self.reader(side).held.is_empty() && frame.len as usize == used {
                    self.end_frame(side, at, frame, piece, out);
                    return used;
                }
                self.hold(side, piece);
            }
            Kind::RstStream | Kind::GoAway | Kind::Settings => self.hold(side, piece),
            Kind::Priority | Kind::Ping | Kind::WindowUpdate | Kind::Other => {}
        }
        if left > 0 {
            if let Place::Payload(payload) = &mut self.reader(side).place {
                payload.left = left;
            }
            return used;
        }
        let held = std::mem::take(&mut self.reader(side).held);
        self.end_frame(side, at, frame, &held, out);
        let reader = self.reader(side);
        if reader.trial.is_none() {
            reader.held = held;
            reader.held.clear();
            reader.held.shrink_to(KEPT_CAPACITY);
        }
        used
    }

    /// Keeps a piece of a payload. What a block has more than may be held is left out.
    fn hold(&mut self, side: Side, piece: &[u8]) {
        let room = self.limits.head_bytes;
        let reader = self.reader(side);
        if reader.is_cut {
            return;
        }
        let room = room.saturating_sub(reader.held.len() + reader.block.len()).min(piece.len());
        reader.held.extend_from_slice(&piece[..room]);
    }

    /// The next bytes of a DATA frame's payload, or `piece` is empty.
    fn take_data(&mut self, side: Side, at: Ktime, payload: Payload, piece: &[u8], out: &mut Vec<Signal>) {
        let Payload { frame, left, pad } = payload;
        if self.reader(side).trial.is_some() {
            return self.tell_unread(side, piece.len() as u64);
        }
        self.explained += piece.len() as u64;
        let (piece, left, pad) = match (pad, piece.split_first()) {
            (Some(pad), _) => (piece, left, pad),
            (None, Some((pad, rest))) => {
                self.transcript.keep(side, &[*pad]);
                (rest, left - 1, u32::from(*pad).min(left - 1))
            }
            (None, None) => return,
        };
        if let Place::Payload(payload) = &mut self.reader(side).place {
            payload.pad = Some(pad);
        }
        let content = (left - pad.min(left)) as usize;
        let (content, padding) = piece.split_at(content.min(piece.len()));
        let Http2 { streams, transcript, .. } = self;
        let show = |bytes: &[u8], how| match how {
            Show::As => transcript.keep(side, bytes),
            Show::Filled(filler) => transcript.hide(side, bytes.len() as u64, filler),
        };
        match streams.get(frame.stream) {
            Some(stream) if !content.is_empty() => stream.content(side, at, content, show, out),
            _ => transcript.hide(side, content.len() as u64, TEXT),
        }
        self.transcript.hide(side, padding.len() as u64, 0);
    }

    /// A frame's payload has come to its end: all of it, but for DATA, and no more of it than is held.
    fn end_frame(&mut self, side: Side, at: Ktime, frame: Frame, payload: &[u8], out: &mut Vec<Signal>) {
        let reader = self.reader(side);
        reader.place = Place::Header;
        if let Some(trial) = &mut reader.trial {
            trial.ended = Some((frame, at));
            reader.held = payload.to_vec();
            return;
        }
        if frame.kind != Kind::Data {
            self.explained += HEADER as u64 + u64::from(frame.len);
        }
        self.frame(side, at, frame, payload, out);
    }

    /// `n` bytes passed that nobody saw.
    fn pass(&mut self, side: Side, at: Ktime, n: u64, out: &mut Vec<Signal>) -> Step {
        self.explained = 0;
        if n == 0 || self.is_opaque {
            return self.step();
        }
        let Reader { place, trial, .. } = *self.reader(side);
        let left = match place {
            Place::Payload(payload) if trial.is_none() => self.pass_payload(side, at, payload, n, out),
            Place::Payload(_) | Place::Preface(_) | Place::Header | Place::Lost => n,
        };
        if left > 0 {
            self.lose(side, left, at, out);
        }
        self.settle(side, out);
        self.step()
    }

    /// The same, as far as it is a frame's payload; how many are left.
    fn pass_payload(
        &mut self,
        side: Side,
        at: Ktime,
        payload: Payload,
        n: u64,
        out: &mut Vec<Signal>,
    ) -> u64 {
        let Payload { frame, left, pad } = payload;
        let used = n.min(u64::from(left));
        if frame.kind == Kind::Data {
            self.explained += used;
            let content = u64::from(left).saturating_sub(u64::from(pad.unwrap_or(0))).min(used);
            match (pad, self.streams.get(frame.stream)) {
                (Some(_), Some(stream)) => stream.passed(side, at, content, out),
                (None, Some(_)) => self.streams.hide(frame.stream, side),
                (_, None) => {}
            }
        } else {
            self.reader(side).is_cut = true;
        }
        let left = left - used as u32;
        let reader = self.reader(side);
        if left > 0 {
            let pad = if frame.kind == Kind::Data { pad.or(Some(0)) } else { pad };
            reader.place = Place::Payload(Payload { frame, left, pad });
        } else {
            let held = std::mem::take(&mut self.reader(side).held);
            self.end_frame(side, at, frame, &held, out);
        }
        n - used
    }

    fn step(&self) -> Step {
        let next = if self.is_opaque { Next::Opaque } else { Next::Continue };
        Step { next, explained: self.explained, want: [self.want(Side::Client), self.want(Side::Server)] }
    }

    /// Frames are read one by one, to the end.
    fn want(&self, side: Side) -> Want {
        let reader = &self.readers[side.index()];
        match reader.place {
            Place::Payload(Payload { frame, left, pad: Some(_) })
                if frame.kind == Kind::Data && left >= SKIP_FROM && reader.trial.is_none() =>
            {
                Want::Skip(left.into())
            }
            _ => Want::Stream,
        }
    }

    /// `side` takes payloads of so many bytes.
    pub(super) fn takes(&mut self, side: Side, max: u32) {
        let other = match side {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        };
        let reader = self.reader(other);
        reader.max = reader.max.max(max.clamp(DEFAULT_MAX, LARGEST_MAX));
    }
}

impl Parser for Http2 {
    fn push(&mut self, side: Side, at: Ktime, bytes: &[u8], out: &mut Vec<Signal>) -> Step {
        self.explained = 0;
        self.go_through(side, at, bytes, out);
        self.step()
    }

    fn skipped(&mut self, side: Side, at: Ktime, n: u64, out: &mut Vec<Signal>) -> Step {
        self.pass(side, at, n, out)
    }

    fn gap(&mut self, side: Side, at: Ktime, n: u64, out: &mut Vec<Signal>) -> Step {
        self.streams.each().for_each(|stream| stream.lose(n));
        self.pass(side, at, n, out)
    }

    fn end(&mut self, side: Side, at: Ktime, out: &mut Vec<Signal>) -> Step {
        self.explained = 0;
        if !self.is_opaque {
            self.side_ended(side, at, out);
        }
        self.step()
    }

    fn limit(&mut self, limits: &Arc<Limits>) {
        self.limits = Arc::clone(limits);
    }

    fn close(&mut self, at: Ktime, how: Close, out: &mut Vec<Signal>) {
        self.closed(at, how, out);
    }

    fn transcript(&mut self) -> Option<&mut Transcript> {
        Some(&mut self.transcript)
    }

    fn oddities(&mut self) -> Oddities {
        std::mem::take(&mut self.odd)
    }

    fn held(&self) -> usize {
        self.readers.iter().map(Reader::held).sum::<usize>() + self.streams.held() + self.fields.held()
    }
}
