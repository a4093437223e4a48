//! What of a head may be shown: method, path, host, trace parent, status, names of headers, and what says how messages follow one
//! another. All else is overwritten so that the head is read as before.

use super::events;
use super::parser::Http1;
use super::start_line::{is_tchar, n_line_ends};
use super::upgrade::Upgrade;
use crate::model::{Method, Side};
use crate::protocol::{
    Keep, TEXT, Transcript, grpc,
    http::{
        authority::{PATH_MAX, decimal, host_and_port},
        b3::Part,
        request::{METHOD_MAX, method},
        traceparent,
    },
};

/// No host has it, and no URL ends at it: what is no host stays none.
const NO_HOST: u8 = b'^';
/// No message begins with it.
const NO_MESSAGE: u8 = 0;
/// Codings of a body whose names are shown.
const CODINGS: [&str; 6] = ["chunked", "gzip", "deflate", "compress", "br", "identity"];
/// Content types that say something: of these a body is more than bytes.
const CONTENT_TYPES: [&[u8]; 3] = [events::TYPE, b"application/json", b"application/x-protobuf"];

impl Http1 {
    /// A head of `side` was read.
    pub(super) fn tell_head(&mut self, side: Side, head: &[u8]) {
        if !self.transcript.is_recorded() {
            return self.transcript.hide(side, head.len() as u64, TEXT);
        }
        let lines = self.tell_start(side, head);
        let mut telling = Telling { transcript: &mut self.transcript, side, b3: self.limits.keep.b3 };
        for line in lines.split_inclusive(|b| *b == b'\n') {
            telling.header(line);
        }
    }

    /// Of a head only the first line was read.
    pub(super) fn tell_begun(&mut self, side: Side, head: &[u8]) {
        if !self.transcript.is_recorded() {
            return self.transcript.hide(side, head.len() as u64, TEXT);
        }
        let rest = self.tell_start(side, head);
        self.tell_lines(side, rest);
    }

    /// Lines of which only their number counts.
    pub(super) fn tell_lines(&mut self, side: Side, lines: &[u8]) {
        self.transcript.sift(side, lines, TEXT, is_of_line);
    }

    /// Bytes that are no message, as far as is known: what is none is judged where its lines end.
    pub(super) fn tell_unread(&mut self, side: Side, bytes: &[u8]) {
        self.transcript.sift(side, bytes, NO_MESSAGE, |b| matches!(b, b'\r' | b'\n'));
    }

    /// The first line; returns what comes after it.
    fn tell_start<'a>(&mut self, side: Side, head: &'a [u8]) -> &'a [u8] {
        let (empty, head) = head.split_at(n_line_ends(head));
        let line = head.iter().position(|b| *b == b'\n').unwrap_or(head.len());
        let (line, rest) = head.split_at(line);
        let mut telling = Telling { transcript: &mut self.transcript, side, b3: self.limits.keep.b3 };
        telling.keep(empty);
        match side {
            Side::Client => telling.request_line(line, &self.limits.keep),
            Side::Server => telling.status_line(line),
        }
        rest
    }
}

/// A head that is gone through.
struct Telling<'a> {
    transcript: &'a mut Transcript,
    side: Side,
    /// What B3 says is exported.
    b3: bool,
}

impl Telling<'_> {
    fn keep(&mut self, bytes: &[u8]) {
        self.transcript.keep(self.side, bytes);
    }

    fn hide(&mut self, bytes: &[u8], filler: u8) {
        self.transcript.hide(self.side, bytes.len() as u64, filler);
    }

    /// Shows the spaces of them.
    fn blank(&mut self, bytes: &[u8]) {
        self.transcript.sift(self.side, bytes, TEXT, |b| matches!(b, b' ' | b'\t' | b'\r' | b'\n'));
    }

    fn request_line(&mut self, line: &[u8], keep: &Keep) {
        let (name, line) = word(line);
        let (shown, rest) = name.split_at(name.len().min(METHOD_MAX));
        self.keep(shown);
        self.hide(rest, TEXT);
        let line = self.spaces(line);
        let (target, line) = word(line);
        let method = str::from_utf8(name).map_or(Method::Other, method);
        self.target(method, target, keep);
        let line = self.spaces(line);
        let (version, line) = word(line);
        self.keep(version);
        self.blank(line);
    }

    fn status_line(&mut self, line: &[u8]) {
        let (version, line) = word(line);
        self.keep(version);
        let line = self.spaces(line);
        let (code, reason) = word(line);
        self.keep(code);
        self.blank(reason);
    }

    fn spaces<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let (spaces, rest) = bytes.split_at(bytes.iter().take_while(|b| **b == b' ').count());
        self.keep(spaces);
        rest
    }

    /// By its form, as `Target` reads it.
    fn target(&mut self, method: Method, target: &[u8], keep: &Keep) {
        if method == Method::Connect {
            return self.authority(target);
        }
        if target.starts_with(b"/") {
            return self.path(target, keep);
        }
        let Some(scheme) = target.windows(3).position(|sign| sign == b"://") else {
            return if target == b"*" { self.keep(target) } else { self.hide(target, TEXT) };
        };
        let (scheme, rest) = target.split_at(scheme);
        match scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"https") {
            true => self.keep(scheme),
            false => self.hide(scheme, TEXT),
        }
        let (sign, rest) = rest.split_at(3);
        self.keep(sign);
        let end = rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        self.authority(authority);
        self.path(path, keep);
    }

    /// Of a path, as much as is exported; of a query, that there is one.
    fn path(&mut self, path: &[u8], keep: &Keep) {
        let end = path.iter().position(|b| matches!(b, b'?' | b'#')).unwrap_or(path.len());
        let (path, query) = path.split_at(end);
        let n_shown =
            if keep.paths && keep.shown_paths { path.len().min(PATH_MAX) } else { path.len().min(1) };
        let (shown, rest) = path.split_at(n_shown);
        self.keep(shown);
        self.hide(rest, TEXT);
        let (sign, query) = query.split_at(query.len().min(1));
        self.keep(sign);
        self.hide(query, TEXT);
    }

    fn authority(&mut self, authority: &[u8]) {
        let user = authority.iter().rposition(|b| *b == b'@').unwrap_or(0);
        let (user, host) = authority.split_at(user);
        self.hide(user, TEXT);
        let is_host = host_and_port(host).0.is_some();
        self.transcript.sift(self.side, host, NO_HOST, |b| is_host || b == b'@');
    }

    /// A line of the header section, with its end.
    fn header(&mut self, line: &[u8]) {
        let colon = line.iter().position(|b| *b == b':').unwrap_or(0);
        let (name, rest) = line.split_at(colon);
        let (word, blank) = name.split_at(name.trim_ascii_end().len());
        if word.is_empty() || !word.iter().copied().all(is_tchar) {
            // Such a line is none, or goes on with the one before.
            let continued = line.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
            let (continued, line) = line.split_at(continued);
            self.keep(continued);
            return self.transcript.sift(self.side, line, TEXT, is_of_line);
        }
        self.keep(word);
        self.keep(blank);
        let (colon, rest) = rest.split_at(1);
        self.keep(colon);
        let before = rest.len() - rest.trim_ascii_start().len();
        let (blank, rest) = rest.split_at(before);
        self.keep(blank);
        let (value, end) = rest.split_at(rest.trim_ascii_end().len());
        self.value(word, value);
        self.keep(end);
    }

    /// Of the few that are looked at, what is found in them.
    fn value(&mut self, name: &[u8], value: &[u8]) {
        let is = |text: &str| name.eq_ignore_ascii_case(text.as_bytes());
        if is("host") {
            self.authority(value);
        } else if is("traceparent") {
            self.keep_if(traceparent::parse(value).is_some(), value);
        } else if let Some(part) = Part::ALL.into_iter().find(|part| self.b3 && is(part.name())) {
            self.keep_if(part.is_told(value), value);
        } else if is("content-length") {
            for number in value.split_inclusive(|b| *b == b',') {
                let digits = number.strip_suffix(b",").unwrap_or(number);
                self.keep_if(decimal(digits.trim_ascii()).is_some(), digits);
                self.keep(&number[digits.len()..]);
            }
        } else if is("transfer-encoding") {
            for coding in value.split_inclusive(|b| *b == b',') {
                let name = coding.strip_suffix(b",").unwrap_or(coding);
                let is_known = |known: &&str| name.trim_ascii().eq_ignore_ascii_case(known.as_bytes());
                self.keep_if(CODINGS.iter().any(is_known), name);
                self.keep(&coding[name.len()..]);
            }
        } else if is("content-encoding") {
            self.keep_if(value.eq_ignore_ascii_case(b"identity"), value);
        } else if is("grpc-status") {
            self.keep_if(grpc::status(value).is_some(), value);
        } else if is("grpc-timeout") {
            self.keep_if(grpc::timeout(value).is_some(), value);
        } else if is("upgrade") {
            self.keep_if(Upgrade::named(value).is_some(), value);
        } else if is("content-type") {
            // Of a call's, too, what follows the `+` is nobody's business.
            let is_call = grpc::system(value).is_some();
            let ends = |b: &u8| *b == b';' || is_call && *b == b'+';
            let end = value.iter().position(ends).unwrap_or(value.len());
            let (media, more) = value.split_at(end);
            let is_known = |known: &&[u8]| media.trim_ascii().eq_ignore_ascii_case(known);
            self.keep_if(is_call || CONTENT_TYPES.iter().any(is_known), media);
            self.transcript.sift(self.side, more, TEXT, |b| matches!(b, b';' | b'+'));
        } else {
            self.hide(value, TEXT);
        }
    }

    fn keep_if(&mut self, is_shown: bool, value: &[u8]) {
        if is_shown {
            self.keep(value);
        } else {
            self.hide(value, TEXT);
        }
    }
}

/// What makes a line one that is read over as before.
pub(super) fn is_of_line(b: u8) -> bool {
    matches!(b, b'\r' | b'\n' | b':' | b';' | b' ' | b'\t')
}

/// Up to the first space.
fn word(bytes: &[u8]) -> (&[u8], &[u8]) {
    bytes.split_at(bytes.iter().position(|b| matches!(b, b' ' | b'\r')).unwrap_or(bytes.len()))
}
