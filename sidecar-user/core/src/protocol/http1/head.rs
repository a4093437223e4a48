//! Start line and header section to facts. `plain` reads the usual ones, `httparse` all others; only what an exchange
//! carries is kept.
//!
//! Lenient where servers and clients are: the observer's part is to follow what both ends understood, not to refuse.

use std::mem::MaybeUninit;

use httparse::{Error, Header, ParserConfig, Status};

use super::upgrade::Upgrade;
use super::{events, odd_line, plain};
use crate::model::{Headers, Http, HttpVersion, Method, RpcSystem, TraceContext};
use crate::protocol::{
    Keep,
    grpc::{self, Call},
    http::{
        authority::decimal,
        b3::{B3, Part},
        captured,
        request::{Facts, Words},
    },
};

/// More than any client or server sends by default (Apache refuses more than 100).
pub(super) const HEADERS_MAX: usize = 128;

/// What is at the beginning of bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed<T> {
    /// A head, and how many bytes it has, leading empty lines included.
    Whole(usize, T),
    /// The beginning of one.
    Partial,
    /// One with more header lines than are read.
    TooMany,
    /// No head.
    Malformed,
}

/// What a request's head says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) http: Http,
    pub(super) trace: Option<Box<TraceContext>>,
    pub(super) framing: Framing,
    /// Its path is to be left out.
    pub(super) is_excluded: bool,
    /// It is a call of gRPC-Web.
    pub(super) call: Option<Box<Call>>,
}

/// What a response's head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) version: HttpVersion,
    pub(super) framing: Framing,
    /// Of a `101`: what is spoken from here on, if that is read.
    pub(super) upgrade: Option<Upgrade>,
    /// Its body is a stream of events that can be read.
    pub(super) has_events: bool,
    /// It is a call's, and says how its body is written.
    pub(super) call: Option<(RpcSystem, bool)>,
    /// Of a call's: its status, where there are no messages.
    pub(super) grpc_status: Option<u32>,
}

/// What header lines say of the body's length (RFC 9112 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// Nothing.
    Unsaid,
    /// `Content-Length`.
    Length(u64),
    /// `Transfer-Encoding`, the last of it `chunked`.
    Chunked,
    /// `Transfer-Encoding`, the last of it something else.
    Coded,
    /// `Content-Length` that is no number, or two that differ.
    Contradictory,
    /// The header lines were not read.
    Unknown,
}

/// Reads heads.
#[derive(Debug)]
pub(super) struct Heads<'a> {
    config: ParserConfig,
    keep: &'a Keep,
}

impl<'a> Heads<'a> {
    pub(super) fn new(keep: &'a Keep) -> Self {
        let mut config = ParserConfig::default();
        config
            .ignore_invalid_headers_in_requests(true)
            .ignore_invalid_headers_in_responses(true)
            .allow_multiple_spaces_in_request_line_delimiters(true)
            .allow_spaces_after_header_name_in_responses(true)
            .allow_obsolete_multiline_headers_in_responses(true)
            .allow_multiple_spaces_in_response_status_delimiters(true);
        Heads { config, keep }
    }

    /// The request that `bytes` begin with.
    pub(super) fn request(&self, bytes: &[u8]) -> Parsed<Request> {
        match self.plain_request(bytes) {
            Parsed::Partial => match self.any_request(bytes) {
                Parsed::Malformed => self.odd_request(bytes),
                other => other,
            },
            plain => plain,
        }
    }

    /// The same, where the request line is one that servers take though no grammar has it.
    fn odd_request(&self, bytes: &[u8]) -> Parsed<Request> {
        let Some((head, more)) = odd_line::mended(bytes) else { return Parsed::Malformed };
        match self.any_request(&head) {
            Parsed::Whole(len, request) => Parsed::Whole(len.saturating_add_signed(-more), request),
            other => other,
        }
    }

    /// The response that `bytes` begin with.
    pub(super) fn response(&self, bytes: &[u8]) -> Parsed<(Response, Headers)> {
        match self.plain_response(bytes) {
            Parsed::Partial => self.any_response(bytes),
            plain => plain,
        }
    }

    /// The same, if it is a plain one and no headers are to be kept; else `Partial`.
    pub(super) fn plain_request(&self, bytes: &[u8]) -> Parsed<Request> {
        let plain = || plain::request(bytes).filter(|_| self.keep.request_headers.is_empty());
        let Some((len, start, lines)) = plain() else { return Parsed::Partial };
        match self.request_facts(&start, lines, Headers::new()) {
            Request { call: Some(_), .. } => Parsed::Partial,
            facts => Parsed::Whole(len, facts),
        }
    }

    /// The same, if it is a plain one and no headers are to be kept; else `Partial`.
    pub(super) fn plain_response(&self, bytes: &[u8]) -> Parsed<(Response, Headers)> {
        let plain = || plain::response(bytes).filter(|_| self.keep.response_headers.is_empty());
        let Some((len, start, lines)) = plain() else { return Parsed::Partial };
        match response_facts(&start, &lines) {
            // What it leads to is in lines that are passed over here.
            Some(
                Response { status: 101, .. }
                | Response { has_events: true, .. }
                | Response { call: Some(_), .. },
            ) => Parsed::Partial,
            Some(facts) => Parsed::Whole(len, (facts, Headers::new())),
            None => Parsed::Malformed,
        }
    }

    /// The request, however it is written.
    pub(super) fn any_request(&self, bytes: &[u8]) -> Parsed<Request> {
        let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut []);
        match self.config.parse_request_with_uninit_headers(&mut request, bytes, &mut headers) {
            Ok(Status::Complete(len)) => match StartLine::of(&request) {
                Some(start) => {
                    let captured = captured::of(&self.keep.request_headers, sent(request.headers));
                    let facts = self.request_facts(&start, Lines::read(request.headers), captured);
                    Parsed::Whole(len, facts.with(request.headers))
                }
                None => Parsed::Malformed,
            },
            Ok(Status::Partial) => Parsed::Partial,
            Err(Error::TooManyHeaders) => Parsed::TooMany,
            Err(_) => Parsed::Malformed,
        }
    }

    /// The response, however it is written.
    pub(super) fn any_response(&self, bytes: &[u8]) -> Parsed<(Response, Headers)> {
        let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut []);
        match self.config.parse_response_with_uninit_headers(&mut response, bytes, &mut headers) {
            Ok(Status::Complete(len)) => {
                let lines = Lines::read(response.headers);
                match StatusLine::of(&response).and_then(|start| response_facts(&start, &lines)) {
                    Some(facts) => {
                        let facts = facts.with(response.headers);
                        let headers = captured::of(&self.keep.response_headers, sent(response.headers));
                        Parsed::Whole(len, (facts, headers))
                    }
                    None => Parsed::Malformed,
                }
            }
            Ok(Status::Partial) => Parsed::Partial,
            Err(Error::TooManyHeaders) => Parsed::TooMany,
            Err(_) => Parsed::Malformed,
        }
    }

    /// What the start line alone says, where the head that `bytes` begin with is too long or was cut off.
    pub(super) fn request_line(&self, bytes: &[u8]) -> Option<Request> {
        let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut []);
        match self.config.parse_request_with_uninit_headers(&mut request, bytes, &mut headers) {
            Ok(Status::Partial) | Err(Error::TooManyHeaders) => {}
            Ok(Status::Complete(_)) | Err(_) => return None,
        }
        let facts = self.request_facts(&StartLine::of(&request)?, Lines::default(), Headers::new());
        Some(Request { framing: Framing::Unknown, ..facts })
    }

    /// What the status line alone says, where the head that `bytes` begin with is too long or was cut off.
    pub(super) fn status_line(&self, bytes: &[u8]) -> Option<Response> {
        let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut []);
        match self.config.parse_response_with_uninit_headers(&mut response, bytes, &mut headers) {
            Ok(Status::Partial) | Err(Error::TooManyHeaders) => {}
            Ok(Status::Complete(_)) | Err(_) => return None,
        }
        let facts = response_facts(&StatusLine::of(&response)?, &Lines::default())?;
        Some(Response { framing: Framing::Unknown, ..facts })
    }

    fn request_facts(&self, start: &StartLine<'_>, lines: Lines<'_>, captured: Headers) -> Request {
        let words = Words {
            method: Some(start.method),
            target: Some(start.target),
            authority: None,
            host: lines.host,
            parent: lines.parent,
            states: &lines.states,
            b3: lines.b3,
            content_type: lines.content_type,
        };
        let Facts { http, trace, is_excluded } = words.facts(version(start.version), self.keep, captured);
        let is_post = http.method == Some(Method::Post);
        let kind = lines.content_type.filter(|_| is_post).and_then(web);
        let call = kind.map(|kind| Box::new(Call::new(Some(kind), Some(start.target), None)));
        Request { http, trace, framing: lines.framing(), is_excluded, call }
    }
}

/// What kind of gRPC-Web a content type names: nothing else of gRPC is carried by HTTP/1.
fn web(content_type: &[u8]) -> Option<(RpcSystem, bool)> {
    grpc::system(content_type).filter(|(system, _)| *system == RpcSystem::GrpcWeb)
}

fn value<'a>(headers: &[Header<'a>], name: &str) -> Option<&'a [u8]> {
    headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
}

impl Request {
    /// With what is in lines that few requests have.
    fn with(mut self, headers: &[Header<'_>]) -> Self {
        if let Some(call) = &mut self.call {
            call.give(value(headers, "grpc-timeout").and_then(grpc::timeout));
        }
        self
    }
}

impl Response {
    /// With what is in lines that few responses have.
    fn with(self, headers: &[Header<'_>]) -> Self {
        let value = |name| value(headers, name);
        let upgrade = || value("upgrade").and_then(Upgrade::named);
        let is_plain =
            || value("content-encoding").is_none_or(|coding| coding.eq_ignore_ascii_case(b"identity"));
        Response {
            upgrade: if self.status == 101 { upgrade() } else { None },
            has_events: self.has_events && is_plain(),
            grpc_status: self.call.and_then(|_| value("grpc-status")).and_then(grpc::status),
            ..self
        }
    }
}

fn response_facts(start: &StatusLine, lines: &Lines<'_>) -> Option<Response> {
    let status = Some(start.status).filter(|code| *code >= 100)?;
    let version = version(start.version);
    let has_events = lines.content_type.is_some_and(is_event_stream);
    let call = lines.content_type.and_then(web);
    let framing = lines.framing();
    Some(Response { status, version, framing, upgrade: None, has_events, call, grpc_status: None })
}

fn is_event_stream(content_type: &[u8]) -> bool {
    let Some((name, rest)) = content_type.split_at_checked(events::TYPE.len()) else { return false };
    name.eq_ignore_ascii_case(events::TYPE) && matches!(rest.trim_ascii_start(), [] | [b';', ..])
}

/// A request's first line.
pub(super) struct StartLine<'a> {
    pub(super) method: &'a str,
    pub(super) target: &'a str,
    /// The minor version.
    pub(super) version: u8,
}

/// A response's first line, but for the reason.
pub(super) struct StatusLine {
    pub(super) status: u16,
    /// The minor version.
    pub(super) version: u8,
}

impl<'a> StartLine<'a> {
    fn of(request: &httparse::Request<'_, 'a>) -> Option<Self> {
        Some(StartLine { method: request.method?, target: request.path?, version: request.version? })
    }
}

impl StatusLine {
    fn of(response: &httparse::Response<'_, '_>) -> Option<Self> {
        Some(StatusLine { status: response.code?, version: response.version? })
    }
}

/// Names of the header lines that matter here.
#[derive(Clone, Copy)]
pub(super) enum Name {
    Host,
    TraceParent,
    TraceState,
    ContentType,
    ContentLength,
    TransferEncoding,
    B3(Part),
}

impl Name {
    pub(super) const ALL: [(Name, &'static str); 11] = [
        (Name::Host, "host"),
        (Name::TraceParent, "traceparent"),
        (Name::TraceState, "tracestate"),
        (Name::ContentType, "content-type"),
        (Name::ContentLength, "content-length"),
        (Name::TransferEncoding, "transfer-encoding"),
        (Name::B3(Part::Single), Part::Single.name()),
        (Name::B3(Part::Trace), Part::Trace.name()),
        (Name::B3(Part::Span), Part::Span.name()),
        (Name::B3(Part::Sampled), Part::Sampled.name()),
        (Name::B3(Part::Flags), Part::Flags.name()),
    ];
}

/// What they say.
#[derive(Default)]
pub(super) struct Lines<'a> {
    host: Option<&'a [u8]>,
    parent: Option<&'a [u8]>,
    n_parents: u32,
    states: Vec<&'a [u8]>,
    length: Option<Option<u64>>,
    coding: Option<&'a [u8]>,
    content_type: Option<&'a [u8]>,
    b3: B3<'a>,
}

impl<'a> Lines<'a> {
    fn read(headers: &[Header<'a>]) -> Self {
        let mut lines = Lines::default();
        for Header { name, value } in headers {
            // By length first: most lines are none of these, and are passed over with one comparison.
            let is_it = |text: &str| name.len() == text.len() && name.eq_ignore_ascii_case(text);
            if let Some((name, _)) = Name::ALL.into_iter().find(|(_, text)| is_it(text)) {
                lines.add(name, value);
            }
        }
        lines
    }

    /// Takes the next line.
    pub(super) fn add(&mut self, name: Name, value: &'a [u8]) {
        match name {
            Name::Host => self.host = self.host.or(Some(value)),
            Name::TraceParent => {
                // Two are none (W3C Trace Context section 3.2.2).
                self.n_parents += 1;
                self.parent = (self.n_parents == 1).then_some(value);
            }
            Name::TraceState => self.states.push(value),
            Name::ContentType => self.content_type = Some(value),
            Name::ContentLength => self.add_length(value),
            Name::TransferEncoding => self.coding = Some(value),
            Name::B3(part) => self.b3.add(part, value),
        }
    }

    /// The same number several times, in one line or in many, is that number (RFC 9112 section 6.3, rule 5).
    fn add_length(&mut self, value: &[u8]) {
        for number in value.split(|b| *b == b',') {
            let number = decimal(number.trim_ascii());
            self.length = match self.length {
                Some(before) if before != number => Some(None),
                _ => Some(number),
            };
        }
    }

    fn framing(&self) -> Framing {
        match (self.coding, self.length) {
            (Some(coding), _) if is_last_chunked(coding) => Framing::Chunked,
            (Some(_), _) => Framing::Coded,
            (None, None) => Framing::Unsaid,
            (None, Some(Some(length))) => Framing::Length(length),
            (None, Some(None)) => Framing::Contradictory,
        }
    }
}

fn is_last_chunked(coding: &[u8]) -> bool {
    let last = coding.rsplit(|b| *b == b',').next().unwrap_or_default();
    last.trim_ascii().eq_ignore_ascii_case(b"chunked")
}

fn sent<'a>(headers: &'a [Header<'_>]) -> impl Iterator<Item = (&'a str, &'a [u8])> + Clone {
    headers.iter().map(|header| (header.name, header.value))
}

fn version(minor: u8) -> HttpVersion {
    if minor == 0 { HttpVersion::Http10 } else { HttpVersion::Http11 }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::protocol::http::request::METHOD_MAX;

    #[test]
    fn framings() {
        for (lines, framing) in [
            ("", Framing::Unsaid),
            ("Content-Length: 0\r\n", Framing::Length(0)),
            ("content-length:5\r\n", Framing::Length(5)),
            ("Content-Length: 5, 5\r\n", Framing::Length(5)),
            ("Content-Length: 5\r\nContent-Length: 5\r\n", Framing::Length(5)),
            ("Content-Length: 5\r\nContent-Length: 6\r\n", Framing::Contradictory),
            ("Content-Length: 5\r\nContent-Length: 6\r\nContent-Length: 6\r\n", Framing::Contradictory),
            ("Content-Length: 5, 6\r\n", Framing::Contradictory),
            ("Content-Length: \r\n", Framing::Contradictory),
            ("Content-Length: -1\r\n", Framing::Contradictory),
            ("Content-Length: +1\r\n", Framing::Contradictory),
            ("Content-Length: 0x10\r\n", Framing::Contradictory),
            ("Content-Length: 18446744073709551615\r\n", Framing::Length(u64::MAX)),
            ("Content-Length: 18446744073709551616\r\n", Framing::Contradictory),
            ("Transfer-Encoding: chunked\r\n", Framing::Chunked),
            ("Transfer-Encoding: gzip, Chunked\r\n", Framing::Chunked),
            ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", Framing::Chunked),
            ("Transfer-Encoding: chunked, gzip\r\n", Framing::Coded),
            ("Transfer-Encoding: gzip\r\n", Framing::Coded),
            ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", Framing::Chunked),
            ("Content-Length: x\r\nTransfer-Encoding: chunked\r\n", Framing::Chunked),
        ] {
            let head = format!("HTTP/1.1 200 OK\r\n{lines}\r\n");
            let response = Response {
                status: 200,
                version: HttpVersion::Http11,
                framing,
                upgrade: None,
                has_events: false,
                call: None,
                grpc_status: None,
            };
            let expected = Parsed::Whole(head.len(), (response, Headers::new()));
            assert_eq!(Heads::new(&Keep::default()).response(head.as_bytes()), expected, "{lines:?}");
        }
    }

    #[test]
    fn header_lines_are_bounded() {
        let keep = Keep::default();
        let heads = Heads::new(&keep);
        let head = |n: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(n));
        assert!(matches!(heads.request(head(HEADERS_MAX).as_bytes()), Parsed::Whole(..)));
        assert_eq!(heads.request(head(HEADERS_MAX + 1).as_bytes()), Parsed::TooMany);
        let line = heads.request_line(head(HEADERS_MAX + 1).as_bytes());
        assert_eq!(line.map(|request| request.framing), Some(Framing::Unknown));
    }

    #[test]
    fn an_unknown_method_is_kept_as_it_was_sent() {
        let long = "X".repeat(METHOD_MAX + 1);
        for (method, expected) in [
            ("GET", None),
            ("PURGE", Some("PURGE")),
            ("GeT", Some("GeT")),
            (&long, Some(&long[..METHOD_MAX])),
        ] {
            let head = format!("{method} / HTTP/1.1\r\n\r\n");
            let Parsed::Whole(_, request) = Heads::new(&Keep::default()).request(head.as_bytes()) else {
                panic!("a request");
            };
            assert_eq!(request.http.method_original.as_deref(), expected);
        }
    }

    #[test]
    fn a_path_is_kept_only_where_it_is_wanted() {
        for paths in [false, true] {
            let keep = Arc::new(Keep { paths, ..Keep::default() });
            let Parsed::Whole(_, request) = Heads::new(&keep).request(b"GET /a HTTP/1.1\r\n\r\n") else {
                panic!("a request");
            };
            assert_eq!(request.http.path.is_some(), paths);
        }
    }
}
