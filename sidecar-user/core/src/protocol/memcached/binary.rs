//! The binary protocol: messages of a header of 24 bytes and a body, both sides alike.

use std::hash::{Hash as _, Hasher as _};

use rustc_hash::FxHasher;

use super::pending::{Answer, Asked};
use super::reply::{Reply, What};
use super::shown::Shown;
use crate::model::{Ktime, Side};
use crate::protocol::TEXT;

const HEADER: usize = 24;
/// Where CAS, the version of a value, is in it.
const CAS: usize = 16;
const MAGIC: [u8; 2] = [0x80, 0x81];
/// The longest key.
const KEY_MAX: usize = 250;
/// The longest body.
const BODY_MAX: u64 = i32::MAX as u64;

const GETKQ: u8 = 0x0d;
const STAT: u8 = 0x10;
const QUITQ: u8 = 0x17;

/// What opcodes are called; whether they are quiet; bytes of extras; whether they name a key and have a value.
const OPCODES: &[(&str, bool, u8, bool, bool)] = &[
    ("GET", false, 0, true, false),
    ("SET", false, 8, true, true),
    ("ADD", false, 8, true, true),
    ("REPLACE", false, 8, true, true),
    ("DELETE", false, 0, true, false),
    ("INCR", false, 20, true, false),
    ("DECR", false, 20, true, false),
    ("QUIT", false, 0, false, false),
    ("FLUSH_ALL", false, 4, false, false),
    ("GET", true, 0, true, false),
    ("NOOP", false, 0, false, false),
    ("VERSION", false, 0, false, false),
    ("GET", false, 0, true, false),
    ("GET", true, 0, true, false),
    ("APPEND", false, 0, true, true),
    ("PREPEND", false, 0, true, true),
    ("STATS", false, 0, false, false),
    ("SET", true, 8, true, true),
    ("ADD", true, 8, true, true),
    ("REPLACE", true, 8, true, true),
    ("DELETE", true, 0, true, false),
    ("INCR", true, 20, true, false),
    ("DECR", true, 20, true, false),
    ("QUIT", true, 0, false, false),
    ("FLUSH_ALL", true, 4, false, false),
    ("APPEND", true, 0, true, true),
    ("PREPEND", true, 0, true, true),
    ("VERBOSITY", false, 4, false, false),
    ("TOUCH", false, 4, true, false),
    ("GAT", false, 4, true, false),
    ("GAT", true, 4, true, false),
    ("", false, 0, false, false),
    ("SASL_LIST", false, 0, false, false),
    ("SASL_AUTH", false, 0, true, true),
    ("SASL_STEP", false, 0, true, true),
    ("GAT", false, 4, true, false),
    ("GAT", true, 4, true, false),
];

/// What an opcode is called.
pub(super) fn operation(opcode: u8) -> Option<&'static str> {
    OPCODES.get(usize::from(opcode)).map(|(name, ..)| *name).filter(|name| !name.is_empty())
}

/// `GET` and its like, and `GAT`.
pub(super) fn is_retrieval(opcode: u8) -> bool {
    matches!(operation(opcode), Some("GET" | "GAT"))
}

/// Whether bytes begin with a header of `side`; `None` where they are too few to say.
pub(super) fn is_header(side: Side, bytes: &[u8]) -> Option<bool> {
    let (Some(magic), opcode) = (bytes.first(), bytes.get(1)) else { return None };
    let known = opcode.map(|opcode| OPCODES.get(usize::from(*opcode)).filter(|known| !known.0.is_empty()));
    if *magic != MAGIC[side.index()]
        || matches!(known, Some(None))
        || bytes.get(5).is_some_and(|raw| *raw != 0)
    {
        return Some(false);
    }
    let (Some(header), Some(Some(known))) = (Header::of(bytes), known) else { return None };
    let (_, _, extras, has_key, has_value) = *known;
    let least = header.key as u64 + u64::from(header.extras);
    let fits = match side {
        Side::Client => {
            let is_flush = extras == 4 && !has_key && header.extras == 0;
            (header.extras == extras || is_flush)
                && (header.opcode == STAT || (header.key > 0) == has_key)
                && (has_value || header.body == least)
                && header.vbucket_or_status == 0
        }
        Side::Server => header.vbucket_or_status <= 0x86 && header.extras <= 4,
    };
    Some(fits && header.key <= KEY_MAX && (least..=BODY_MAX).contains(&header.body))
}

/// A header's fields.
#[derive(Clone, Copy, Debug)]
struct Header {
    opcode: u8,
    key: usize,
    extras: u8,
    vbucket_or_status: u16,
    body: u64,
    opaque: u32,
}

impl Header {
    fn of(bytes: &[u8]) -> Option<Header> {
        let bytes: &[u8; HEADER] = bytes.first_chunk()?;
        let two = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let four = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Some(Header {
            opcode: bytes[1],
            key: usize::from(two(2)),
            extras: bytes[4],
            vbucket_or_status: two(6),
            body: u64::from(four(8)),
            opaque: four(12),
        })
    }
}

/// A message that was read whole.
#[derive(Debug)]
pub(super) enum Message {
    Asked(Asked),
    Reply(Reply),
}

/// What came of bytes.
#[derive(Debug)]
pub(super) enum Read {
    More,
    Message(Message),
    Malformed,
}

/// Reads one side's messages.
#[derive(Debug)]
pub(super) struct Messages {
    side: Side,
    /// The header, then the extras and the key.
    held: [u8; HEADER + u8::MAX as usize + KEY_MAX],
    n_held: usize,
    header: Option<Header>,
    /// Bytes of the value that have not come.
    left: u64,
    pub(super) since: Ktime,
}

impl Messages {
    pub(super) fn new(side: Side) -> Self {
        let held = [0; HEADER + u8::MAX as usize + KEY_MAX];
        Messages { side, held, n_held: 0, header: None, left: 0, since: Ktime::default() }
    }

    /// Bytes of a value that are to come.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// When the message began that is being read; whether one is.
    pub(super) fn begun(&self) -> Option<Ktime> {
        (self.n_held > 0).then_some(self.since)
    }

    /// The command that is being read, if its header is known.
    pub(super) fn asked(&self) -> Option<Asked> {
        self.header.filter(|_| self.side == Side::Client).map(|header| self.of_client(header))
    }

    pub(super) fn take(&mut self, at: Ktime, bytes: &[u8], shown: &mut Shown<'_>) -> (usize, Read) {
        if self.n_held == 0 {
            self.since = at;
        }
        let named = self.header.map_or(HEADER, |header| HEADER + header.key + usize::from(header.extras));
        if self.n_held < named {
            let used = (named - self.n_held).min(bytes.len());
            self.held[self.n_held..self.n_held + used].copy_from_slice(&bytes[..used]);
            self.n_held += used;
            if self.header.is_some() {
                shown.hide(used, TEXT);
            }
            if self.header.is_none() && is_header(self.side, &self.held[..self.n_held]) == Some(false) {
                return (used, Read::Malformed);
            }
            if self.header.is_none() && self.n_held == HEADER {
                let Some(header) = Header::of(&self.held) else { return (used, Read::Malformed) };
                self.left = header.body - header.key as u64 - u64::from(header.extras);
                self.header = Some(header);
                shown.keep(&self.held[..CAS]);
                shown.hide(HEADER - CAS, 0);
            }
            return (used, self.end(at));
        }
        let used = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        self.left -= used as u64;
        shown.hide(used, TEXT);
        (used, self.end(at))
    }

    /// `n` bytes passed; says how many of them are of the value that they begin in.
    pub(super) fn pass(&mut self, n: u64) -> u64 {
        // The last byte is waited for, as it ends the message.
        let passed = n.min(self.left.saturating_sub(1));
        self.left -= passed;
        passed
    }

    fn end(&mut self, at: Ktime) -> Read {
        let Some(header) = self.header else { return Read::More };
        if self.left > 0 || self.n_held < HEADER + header.key + usize::from(header.extras) {
            return Read::More;
        }
        let message = match self.side {
            Side::Client => Message::Asked(self.of_client(header)),
            Side::Server => Message::Reply(self.of_server(header, at)),
        };
        (self.n_held, self.header) = (0, None);
        Read::Message(message)
    }

    fn of_client(&self, header: Header) -> Asked {
        let is_quiet = OPCODES.get(usize::from(header.opcode)).is_some_and(|known| known.1);
        Asked {
            operation: Some(header.opcode),
            answer: Answer::Binary,
            keys: 1,
            is_silent: header.opcode == QUITQ,
            is_quiet,
            token: Some(u64::from(header.opaque)),
            key: self.key(header),
            opcode: Some(header.opcode),
            bytes: HEADER as u64 + header.body,
        }
    }

    fn of_server(&self, header: Header, at: Ktime) -> Reply {
        let Header { opcode, vbucket_or_status: status, .. } = header;
        let is_part = opcode == STAT && header.body > 0 && status == 0;
        Reply {
            began: self.since,
            ended: at,
            what: What::Binary { opcode, status, is_part },
            token: Some(u64::from(header.opaque)),
            key: self.key(header),
            bytes: HEADER as u64 + header.body,
        }
    }

    /// The key, where the answer names it too.
    fn key(&self, header: Header) -> Option<u64> {
        let is_named = matches!(header.opcode, 0x0c | GETKQ | 0x23 | 0x24);
        let from = HEADER + usize::from(header.extras);
        let key = self.held.get(from..from + header.key)?;
        let mut hasher = FxHasher::default();
        key.hash(&mut hasher);
        (is_named && !key.is_empty()).then(|| hasher.finish())
    }
}
