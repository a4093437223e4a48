//! Where one side's bytes stand.

use super::blank_line::BlankLine;
use super::body::Body;
use super::events::Events;
use super::head::Response;
use crate::model::Ktime;

/// Capacity that is kept for the next head that comes in pieces.
const KEPT_CAPACITY: usize = 2 * 1024;

/// One side of the connection.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) place: Place,
    /// How much is to come of the body that goes on if what is on trial is no head.
    pub(super) interrupted: Option<u64>,
    /// A head's bytes so far, where they did not come at once.
    pub(super) held: Vec<u8>,
    /// How the end of what is held looks.
    pub(super) blank: BlankLine,
    /// When the first byte of the head that is being read, or was read last, passed.
    pub(super) since: Ktime,
    /// When the last byte that was seen passed.
    pub(super) last: Ktime,
    /// No message boundary has been seen, on a connection that was joined in the middle.
    pub(super) is_joining: bool,
    /// A head has been read.
    pub(super) has_read: bool,
    /// A chunked body has been seen.
    pub(super) has_chunked: bool,
    /// Those in the current body, where it has any.
    pub(super) events: Option<Box<Events>>,
}

/// What the next byte is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In a head, or before one.
    Head,
    /// In what looks like a head, after the place was lost or in a doubtful body; if it is none, the place is still lost,
    /// or the body goes on.
    Trial,
    /// In a head that is too long to hold.
    LongHead(Box<LongHead>),
    /// In a body.
    Body(Body),
    /// Not known.
    Lost,
}

/// A head of which only the end is looked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LongHead {
    pub(super) blank: BlankLine,
    /// Bytes so far.
    pub(super) len: u64,
    /// Of a response: what its status line says.
    pub(super) response: Option<Response>,
}

impl Reader {
    pub(super) fn new(is_joining: bool) -> Self {
        Reader {
            place: if is_joining { Place::Lost } else { Place::Head },
            interrupted: None,
            held: Vec::new(),
            blank: BlankLine::default(),
            since: Ktime::default(),
            last: Ktime::default(),
            is_joining,
            has_read: false,
            has_chunked: false,
            events: None,
        }
    }

    /// Forgets what is held of a head.
    pub(super) fn let_go(&mut self) {
        self.held.clear();
        self.held.shrink_to(KEPT_CAPACITY);
    }
}
