//! Fields of a block to facts.

use std::ops::Range;
use std::sync::Arc;

use super::hpack::{Decoder, Field, Name, Stop};
use crate::model::{Headers, HttpVersion, RpcSystem, Side};
use crate::protocol::{
    Keep, Limits, grpc,
    http::{
        authority::{PATH_MAX, host_and_port},
        b3::{B3, Part},
        captured,
        request::{Facts, METHOD_MAX, Words},
        traceparent,
    },
};

/// Bytes of `tracestate` that can matter (W3C Trace Context section 3.3.1.5), and as many of what separates them.
const STATES_MAX: usize = 1024;
/// Bytes of the longest value that B3 has.
const B3_MAX: usize = 128;
/// Bytes of fields that are asked for.
const ASKED_MAX: usize = 8 * 1024;
/// Capacity that is kept for the next block.
const KEPT_CAPACITY: usize = 2 * 1024;

/// What the block that was read last says. Its texts are in one place, which serves all blocks of a connection.
#[derive(Debug, Default)]
pub(super) struct Fields {
    text: Vec<u8>,
    authority: Option<Range<usize>>,
    method: Option<Range<usize>>,
    path: Option<Range<usize>>,
    host: Option<Range<usize>>,
    content_type: Option<Range<usize>>,
    parent: Option<Range<usize>>,
    n_parents: u32,
    states: Vec<Range<usize>>,
    b3: Vec<(Part, Range<usize>)>,
    asked: Vec<(Name, Range<usize>)>,
    /// `:status`, if it is one.
    pub(super) status: Option<u16>,
    pub(super) grpc_status: Option<u32>,
    pub(super) timeout: Option<std::time::Duration>,
    /// It has fields that only a request's or a response's beginning has (RFC 9113 section 8.3).
    pub(super) is_beginning: bool,
    /// Fields of which name or value is not known.
    pub(super) n_unknown: u32,
}

impl Fields {
    /// Reads `block`. `asked` are names that are kept. However it stops, what was read of it until then is there.
    pub(super) fn read(
        &mut self,
        decoder: &mut Decoder,
        block: &[u8],
        asked: &[Arc<str>],
        limits: &Limits,
    ) -> Result<(), Stop> {
        self.clear();
        decoder.read(block, asked, limits.head_bytes, |name, value| match value {
            Some(value) => self.add(name, value, asked),
            None => self.n_unknown += 1,
        })
    }

    fn clear(&mut self) {
        let Fields { mut text, mut states, mut b3, mut asked, .. } = std::mem::take(self);
        text.clear();
        text.shrink_to(KEPT_CAPACITY);
        states.clear();
        b3.clear();
        asked.clear();
        *self = Fields { text, states, b3, asked, ..Fields::default() };
    }

    fn add(&mut self, name: &Name, value: &[u8], asked: &[Arc<str>]) {
        if let Name::Field(field) = name {
            self.set(*field, value);
        }
        let is_asked = || name.text().is_some_and(|text| asked.iter().any(|asked| **asked == *text));
        if !asked.is_empty() && is_asked() && self.text.len() < ASKED_MAX {
            let value = self.keep(value);
            self.asked.push((name.clone(), value));
        }
        self.n_unknown += u32::from(*name == Name::Unknown);
    }

    fn set(&mut self, field: Field, value: &[u8]) {
        self.is_beginning |=
            matches!(field, Field::Authority | Field::Method | Field::Path | Field::Scheme | Field::Status);
        let place = match field {
            Field::Scheme => return,
            Field::Status => return self.status = self.status.or(status(value)),
            Field::GrpcStatus => return self.grpc_status = self.grpc_status.or(grpc::status(value)),
            Field::GrpcTimeout => return self.timeout = self.timeout.or(grpc::timeout(value)),
            Field::TraceState => {
                if self.states.iter().map(Range::len).sum::<usize>() < STATES_MAX {
                    let value = self.keep(value);
                    self.states.push(value);
                }
                return;
            }
            Field::B3(part) => {
                // As many as tell that there are too many.
                if value.len() <= B3_MAX && self.b3.len() <= Part::ALL.len() {
                    let value = self.keep(value);
                    self.b3.push((part, value));
                }
                return;
            }
            Field::TraceParent => {
                self.n_parents += 1;
                &mut self.parent
            }
            Field::Authority => &mut self.authority,
            Field::Method => &mut self.method,
            Field::Path => &mut self.path,
            Field::Host => &mut self.host,
            Field::ContentType => &mut self.content_type,
        };
        if place.is_none() {
            *place = Some(self.text.len()..self.text.len() + value.len());
            self.text.extend_from_slice(value);
        }
    }

    fn keep(&mut self, value: &[u8]) -> Range<usize> {
        let start = self.text.len();
        self.text.extend_from_slice(value);
        start..self.text.len()
    }

    fn of(&self, range: &Option<Range<usize>>) -> Option<&[u8]> {
        range.clone().map(|range| &self.text[range])
    }

    pub(super) fn content_type(&self) -> Option<&[u8]> {
        self.of(&self.content_type)
    }

    pub(super) fn path(&self) -> Option<&str> {
        self.of(&self.path).and_then(|bytes| str::from_utf8(bytes).ok())
    }

    /// What a request's beginning says.
    pub(super) fn request(&self, keep: &Keep) -> Facts {
        let states: Vec<&[u8]> = self.states.iter().map(|range| &self.text[range.clone()]).collect();
        let method = self.of(&self.method).and_then(|bytes| str::from_utf8(bytes).ok());
        let mut b3 = B3::default();
        self.b3.iter().for_each(|(part, range)| b3.add(*part, &self.text[range.clone()]));
        let words = Words {
            method,
            target: self.path(),
            authority: self.of(&self.authority),
            host: self.of(&self.host),
            parent: self.of(&self.parent).filter(|_| self.n_parents == 1),
            states: &states,
            b3,
            content_type: self.content_type(),
        };
        words.facts(HttpVersion::Http2, keep, self.captured(&keep.request_headers))
    }

    /// What it has of the names that are asked for.
    pub(super) fn captured(&self, names: &[Arc<str>]) -> Headers {
        if self.asked.is_empty() {
            return Headers::new();
        }
        let lines = self.asked.iter();
        let line = |(name, range): &'_ (Name, Range<usize>)| {
            (name.text().unwrap_or_default().to_owned(), range.clone())
        };
        let lines: Vec<_> = lines.map(line).collect();
        captured::of(names, lines.iter().map(|(name, range)| (name.as_str(), &self.text[range.clone()])))
    }

    /// Writes what of them is exported, each field for itself.
    pub(super) fn write(&self, side: Side, keep: &Keep, block: &mut Vec<u8>) {
        let text = |range: &Option<Range<usize>>| self.of(range).unwrap_or_default();
        let method = text(&self.method);
        if !method.is_empty() {
            field(block, ":method", &method[..method.len().min(METHOD_MAX)]);
        }
        let content_type = self.content_type().and_then(grpc::system);
        if let Some(path) = self.of(&self.path) {
            let end = path.iter().position(|b| matches!(b, b'?' | b'#')).unwrap_or(path.len());
            let is_shown = keep.paths || content_type.is_some() || self.n_unknown > 0;
            let n_shown = if is_shown { end.min(PATH_MAX) } else { end.min(1) };
            field(block, ":path", &path[..n_shown]);
        }
        for (name, range) in [(":authority", &self.authority), ("host", &self.host)] {
            if let Some(host) = self.of(range) {
                let (host, port) = host_and_port(host);
                let port = port.map(|port| format!(":{port}")).unwrap_or_default();
                let host =
                    host.map(|host| if host.contains(':') { format!("[{host}]") } else { host.into() });
                field(block, name, format!("{}{port}", host.as_deref().unwrap_or("^")).as_bytes());
            }
        }
        if self.is_beginning && side == Side::Client {
            field(block, ":scheme", b"http");
        }
        if self.is_beginning && side == Side::Server {
            let status = self.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
            field(block, ":status", status.as_bytes());
        }
        let kind = match content_type {
            Some((RpcSystem::Grpc, _)) => "application/grpc",
            Some((RpcSystem::GrpcWeb, false)) => "application/grpc-web",
            Some((RpcSystem::GrpcWeb, true)) => "application/grpc-web-text",
            None => "x",
        };
        if self.content_type.is_some() {
            field(block, "content-type", kind.as_bytes());
        }
        let parent = self
            .of(&self.parent)
            .filter(|parent| self.n_parents == 1 && traceparent::parse(parent).is_some());
        if let Some(parent) = parent {
            field(block, "traceparent", parent);
        }
        for (part, range) in self.b3.iter().filter(|_| keep.b3) {
            let value = &self.text[range.clone()];
            field(block, part.name(), if part.is_told(value) { value } else { b"-" });
        }
        if let Some(status) = self.grpc_status {
            field(block, "grpc-status", status.to_string().as_bytes());
        }
        if let Some(timeout) = self.timeout {
            field(block, "grpc-timeout", grpc::written(timeout).as_bytes());
        }
    }

    /// Bytes that it holds.
    pub(super) fn held(&self) -> usize {
        self.text.capacity()
            + self.states.capacity() * size_of::<Range<usize>>()
            + self.b3.capacity() * size_of::<(Part, Range<usize>)>()
            + self.asked.capacity() * size_of::<(Name, Range<usize>)>()
    }
}

/// A literal without indexing (RFC 7541 section 6.2.2), in plain text.
fn field(block: &mut Vec<u8>, name: &str, value: &[u8]) {
    block.push(0);
    for text in [name.as_bytes(), value] {
        match text.len() {
            len @ 0..127 => block.push(len as u8),
            len => {
                block.push(127);
                let mut rest = len - 127;
                while rest >= 128 {
                    block.push((rest % 128) as u8 | 128);
                    rest /= 128;
                }
                block.push(rest as u8);
            }
        }
        block.extend_from_slice(text);
    }
}

/// Three digits, from 100 on (RFC 9110 section 15).
fn status(value: &[u8]) -> Option<u16> {
    match value {
        [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9'] => {
            Some(value.iter().fold(0, |sum, digit| 10 * sum + u16::from(digit - b'0')))
        }
        _ => None,
    }
}
