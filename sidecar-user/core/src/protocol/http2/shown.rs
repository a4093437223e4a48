//! What may be shown of a connection: frames' headers, and of payloads what says how to go on; of field blocks, written anew without
//! any table, what of them is exported. A block that came in one frame is shown in two, so that the first is where it began. A frame
//! that was on trial is not shown.

use super::frame::{Frame, HEADER, Kind};
use super::parser::Http2;
use super::reader::Block;
use crate::model::Side;
use crate::protocol::TEXT;

/// What begins no frame.
const NO_FRAME: u8 = 0xff;
/// A field of a table that nobody has.
const UNKNOWN: &[u8] = b"\xff\xff\xff\x7f";
/// No field.
const MALFORMED: &[u8] = b"\x80";

impl Http2 {
    /// So many bytes that were passed over.
    pub(super) fn tell_unread(&mut self, side: Side, n: u64) {
        self.transcript.hide(side, n, NO_FRAME);
    }

    /// A frame's header was read.
    pub(super) fn tell_header(&mut self, side: Side, header: &[u8; HEADER], frame: &Frame) {
        match frame.kind {
            // Told when they end.
            _ if self.readers[side.index()].trial.is_some() => {}
            Kind::Continuation | Kind::PushPromise => {}
            Kind::Headers if frame.len == 0 => {}
            Kind::Headers => {
                self.transcript.write(side, HEADER as u64, || begun(frame.stream, frame.ends_stream()))
            }
            _ => self.transcript.keep(side, header),
        }
    }

    /// A piece of a payload that is no DATA, before `left` bytes of it.
    pub(super) fn tell_piece(&mut self, side: Side, frame: &Frame, piece: &[u8], left: u32) {
        let n = piece.len() as u64;
        let at = (frame.len - left) as usize - piece.len();
        match frame.kind {
            _ if self.readers[side.index()].trial.is_some() => self.tell_unread(side, n),
            Kind::Headers | Kind::Continuation | Kind::PushPromise if left == 0 => {
                self.readers[side.index()].untold = n;
            }
            Kind::Headers | Kind::Continuation | Kind::PushPromise => self.transcript.write(side, n, || b""),
            Kind::Settings | Kind::RstStream | Kind::Priority | Kind::WindowUpdate => {
                self.transcript.keep(side, piece);
            }
            Kind::GoAway => {
                let (codes, debug) = piece.split_at(8usize.saturating_sub(at).min(piece.len()));
                self.transcript.keep(side, codes);
                self.transcript.hide(side, debug.len() as u64, TEXT);
            }
            Kind::Ping | Kind::Other | Kind::Data => self.transcript.hide(side, n, 0),
        }
    }

    /// A frame of a field block ended, of which the header has not been told of unless it was when it came, or was lost.
    pub(super) fn tell_fragment(&mut self, side: Side, frame: &Frame, is_cut: bool) {
        let reader = &mut self.readers[side.index()];
        let is_begun = frame.kind == Kind::Headers && frame.len > 0;
        if !is_begun && !is_cut && !reader.is_told {
            reader.untold += HEADER as u64;
        }
        if !frame.ends_headers() {
            let is_told = std::mem::take(&mut reader.is_told);
            let n = std::mem::take(&mut reader.untold);
            let begins = frame.kind == Kind::Headers && !is_begun && !is_told;
            self.transcript.write(side, n, || {
                if begins { begun(frame.stream, frame.ends_stream()) } else { Vec::new() }
            });
        }
    }

    /// What ended is of no block that is known.
    pub(super) fn tell_nothing(&mut self, side: Side) {
        let reader = &mut self.readers[side.index()];
        reader.is_told = false;
        let n = std::mem::take(&mut reader.untold);
        self.transcript.write(side, n, || b"");
    }

    /// A block ended, and was read or not. `begins`: nothing was shown of it yet.
    pub(super) fn tell_block(&mut self, side: Side, what: &Block, begins: bool, is_read: bool) {
        let reader = &mut self.readers[side.index()];
        let n = std::mem::take(&mut reader.untold);
        if std::mem::take(&mut reader.is_told) || n == 0 {
            return;
        }
        if !self.transcript.is_recorded() || what.is_promise {
            return self.transcript.write(side, n, || b"");
        }
        let mut block = Vec::new();
        if is_read {
            self.fields.write(side, &self.limits.keep, &mut block);
            (0..self.fields.n_unknown).for_each(|_| block.extend_from_slice(UNKNOWN));
        } else {
            block.extend_from_slice(MALFORMED);
        }
        let first = if begins { begun(what.stream, what.ends_stream) } else { Vec::new() };
        let last = Frame::header(Kind::CONTINUATION, Frame::END_HEADERS, what.stream, block.len() as u32);
        self.transcript.write(side, n, || [&first[..], &last, &block].concat());
    }
}

/// The beginning of a block, with nothing of it.
fn begun(stream: u32, ends_stream: bool) -> Vec<u8> {
    Frame::header(Kind::HEADERS, u8::from(ends_stream), stream, 0).to_vec()
}
