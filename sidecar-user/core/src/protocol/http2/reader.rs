//! Where one side's bytes stand.

use super::frame::{DEFAULT_MAX, Frame, HEADER, LARGEST_MAX};
use super::hpack::Decoder;
use crate::model::Ktime;

/// One side of the connection.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) place: Place,
    /// A frame's header so far.
    pub(super) header: [u8; HEADER],
    pub(super) n_header: usize,
    /// The payload of the frame being read, where it did not come at once; of frames that matter, and bounded.
    pub(super) held: Vec<u8>,
    /// The field block being read, of all its frames so far.
    pub(super) block: Vec<u8>,
    pub(super) open: Option<Block>,
    pub(super) decoder: Decoder,
    /// When the first byte of the frame that is being read passed.
    pub(super) since: Ktime,
    /// The longest payload that the other side ever said it takes.
    pub(super) max: u32,
    /// No frame has been found yet, on a connection that was joined in the middle.
    pub(super) is_joining: bool,
    /// The frame that was found after the place was lost, while nothing has followed it that bears it out.
    pub(super) trial: Option<Trial>,
    /// The last bytes that were looked through for a frame, less than a header.
    pub(super) tail: Vec<Passed>,
    /// Bytes since the place was lost.
    pub(super) strange: u64,
    /// Bytes of the field block's last frame that the transcript was not told of.
    pub(super) untold: u64,
    /// It was told of all of the frame that ended.
    pub(super) is_told: bool,
    /// Some of the payload that is being read was lost.
    pub(super) is_cut: bool,
    /// All of its bytes were read.
    pub(super) is_whole: bool,
    /// Some of its bytes went by unread after the first frame that was read.
    pub(super) has_gap: bool,
}

/// A byte that was looked through.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passed {
    pub(super) byte: u8,
    pub(super) at: Ktime,
    /// A packet began there.
    pub(super) is_start: bool,
}

/// What the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the client's preface, of which so many bytes have come.
    Preface(usize),
    /// In a frame's header.
    Header,
    /// In a frame's payload.
    Payload(Payload),
    /// Not known.
    Lost,
}

/// A payload that is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Payload {
    pub(super) frame: Frame,
    /// Bytes that are to come.
    pub(super) left: u32,
    /// Of DATA: how many of these are padding; `None` where the byte that says so has not come.
    pub(super) pad: Option<u32>,
}

/// A field block that is being read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    pub(super) stream: u32,
    pub(super) ends_stream: bool,
    pub(super) is_promise: bool,
    /// When its first byte passed.
    pub(super) since: Ktime,
    pub(super) state: BlockState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlockState {
    Whole,
    /// It is longer than what is held.
    TooLong,
    /// Some of it was lost.
    Cut,
}

/// A frame on trial. Its payload is held, unless it is DATA.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Trial {
    pub(super) since: Ktime,
    /// The frame and when it ended, once it has.
    pub(super) ended: Option<(Frame, Ktime)>,
    /// It ended with what was there: a frame that was sent alone.
    pub(super) fits: bool,
}

impl Reader {
    pub(super) fn new(place: Place, is_whole: bool) -> Self {
        Reader {
            place,
            header: [0; HEADER],
            n_header: 0,
            held: Vec::new(),
            block: Vec::new(),
            open: None,
            decoder: Decoder::new(is_whole),
            since: Ktime::default(),
            max: if is_whole { DEFAULT_MAX } else { LARGEST_MAX },
            is_joining: !is_whole,
            trial: None,
            tail: Vec::new(),
            strange: 0,
            untold: 0,
            is_told: false,
            is_cut: false,
            is_whole,
            has_gap: false,
        }
    }

    /// It stands where a frame is being read, for certain.
    pub(super) fn is_in_place(&self) -> bool {
        self.place != Place::Lost && self.trial.is_none()
    }

    /// Bytes of memory that it holds.
    pub(super) fn held(&self) -> usize {
        self.held.capacity() + self.block.capacity() + self.tail.capacity() + self.decoder.held()
    }
}
