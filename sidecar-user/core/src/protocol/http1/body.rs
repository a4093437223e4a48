//! Where a body ends. Counts its bytes and keeps none.

use super::chunked::Chunked;
use super::head::{Framing, Response};
use super::upgrade::Upgrade;
use crate::model::Method;

/// A body that is being passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// This many bytes are still to come.
    Length(u64),
    /// Chunked coding.
    Chunked(Chunked),
    /// All that comes until the sender closes.
    UntilClose,
}

/// What follows a head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Follows {
    /// The next message.
    Nothing,
    /// A body.
    Body(Body),
    /// Another protocol; which, if it is read.
    Tunnel(Option<Upgrade>),
    /// It cannot be told: the header lines were not read.
    Unknown,
    /// It cannot be told: the header lines contradict each other.
    Malformed,
}

/// What a body made of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// How many of them are the body's, framing included.
    pub(super) used: u64,
    /// How many of those are content.
    pub(super) content: u64,
    pub(super) state: State,
}

/// A piece of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// What says where its content is.
    Framing(&'a [u8]),
    /// Lines that say something of it: extensions, trailers.
    Lines(&'a [u8]),
    Content(&'a [u8]),
}

/// How a body stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    More,
    Done,
    Malformed,
}

impl Body {
    /// What follows a request's head (RFC 9112 section 6.3, rules 4, 5 and 7).
    pub(super) fn of_request(framing: Framing) -> Follows {
        match framing {
            Framing::Unsaid | Framing::Length(0) => Follows::Nothing,
            Framing::Length(length) => Follows::Body(Body::Length(length)),
            Framing::Chunked => Follows::Body(Body::Chunked(Chunked::default())),
            Framing::Coded | Framing::Contradictory => Follows::Malformed,
            Framing::Unknown => Follows::Unknown,
        }
    }

    /// What follows the head of a response to `method` (RFC 9112 section 6.3, in its order).
    pub(super) fn of_response(method: Method, response: Response) -> Follows {
        match (response.status, method) {
            (101, _) => return Follows::Tunnel(response.upgrade),
            (100..=199 | 204 | 304, _) | (_, Method::Head) => return Follows::Nothing,
            (200..=299, Method::Connect) => return Follows::Tunnel(None),
            _ => {}
        }
        match response.framing {
            Framing::Chunked => Follows::Body(Body::Chunked(Chunked::default())),
            Framing::Contradictory => Follows::Malformed,
            Framing::Length(0) => Follows::Nothing,
            Framing::Length(length) => Follows::Body(Body::Length(length)),
            Framing::Coded | Framing::Unsaid => Follows::Body(Body::UntilClose),
            Framing::Unknown => Follows::Unknown,
        }
    }

    /// Takes what is the body's from the beginning of `bytes`. Each piece is shown.
    pub(super) fn take(&mut self, bytes: &[u8], mut show: impl FnMut(Part<'_>)) -> Taken {
        match self {
            Body::Chunked(chunked) => chunked.take(bytes, show),
            Body::Length(_) | Body::UntilClose => {
                let taken = self.pass(bytes.len() as u64);
                show(Part::Content(&bytes[..taken.used as usize]));
                taken
            }
        }
    }

    /// Takes what is surely the body's of `n` bytes that nobody saw.
    pub(super) fn pass(&mut self, n: u64) -> Taken {
        match self {
            Body::Length(left) => {
                let used = n.min(*left);
                *left -= used;
                let state = if *left == 0 { State::Done } else { State::More };
                Taken { used, content: used, state }
            }
            Body::Chunked(chunked) => chunked.pass(n),
            Body::UntilClose => Taken { used: n, content: n, state: State::More },
        }
    }
}
