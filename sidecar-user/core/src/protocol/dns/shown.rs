//! What of messages may be shown: all but names that nobody asked for, and what records say.

use crate::dns::{Part, Reader};
use crate::protocol::TEXT;

/// No label is so long, and no message begins so.
pub(super) const NO_MESSAGE: u8 = 0x40;

/// What stands for a piece that is not shown.
pub(super) fn filler(part: Part) -> Option<u8> {
    match part {
        Part::Frame => None,
        Part::Name => Some(TEXT),
        Part::Data => Some(0),
    }
}

/// A whole message, or as much of it as there is, as it may be shown.
#[must_use]
pub fn shown(message: &[u8]) -> Vec<u8> {
    let mut shown = Vec::with_capacity(message.len());
    // From what is none on nothing is.
    let _ = Reader::default().push_parts(message, |piece, part| match filler(part) {
        None => shown.extend_from_slice(piece),
        Some(filler) => shown.resize(shown.len() + piece.len(), filler),
    });
    shown.resize(message.len(), NO_MESSAGE);
    shown
}
