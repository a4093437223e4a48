//! One stream, as far as its exchange goes.

use std::sync::Arc;

use super::Upgraded;
use super::head::Fields;
use crate::model::{Detail, Exchange, Http, Ktime, Method, Outcome, RpcSystem, Side, Start, TraceContext};
use crate::protocol::{
    Keep, Signal, TEXT,
    grpc::{self, Call, Show, Told},
    http::{captured, request::Facts},
};

/// A request whose response has not ended.
#[derive(Debug)]
pub(super) struct Stream {
    started: Ktime,
    pub(super) requested: Option<Ktime>,
    pub(super) answered: Option<Ktime>,
    is_excluded: bool,
    /// Content of the response has come: what headers follow are trailers.
    has_content: bool,
    /// The server's bytes went by unread since it last showed.
    pub(super) is_hidden: bool,
    lost: u32,
    /// Bytes of the request's body; `None` where some went by unread.
    sent: Option<u64>,
    trace: Option<Box<TraceContext>>,
    http: Http,
    /// It is a call, or may be one.
    call: Option<Box<Call>>,
}

/// What surely were the exchanges that a connection had so far.
#[derive(Debug, Default)]
pub(super) struct Had {
    calls: Option<RpcSystem>,
    requests: bool,
}

impl Stream {
    /// A request whose first byte passed at `started`.
    pub(super) fn new(started: Ktime, fields: &Fields, keep: &Keep) -> Stream {
        let Facts { mut http, trace, is_excluded } = fields.request(keep);
        let told = fields.content_type().map(grpc::system);
        // A call is a POST (PROTOCOL-HTTP2, "Requests").
        let is_doubtful =
            told.is_none() && fields.n_unknown > 0 && matches!(http.method, None | Some(Method::Post));
        let kind = match told.flatten() {
            Some(kind) => Some(Some(kind)),
            None => is_doubtful.then_some(None),
        };
        let call = kind.map(|kind| Box::new(Call::new(kind, fields.path(), fields.timeout)));
        http.is_doubtful = is_doubtful;
        Stream::with(started, None, http, trace, is_excluded, call)
    }

    /// The request of HTTP/1 that upgraded the connection, which has been told as begun. It is whole.
    pub(super) fn upgraded(request: Upgraded) -> Stream {
        let Upgraded { started, requested, http, trace, is_excluded } = request;
        Stream::with(started, requested, http, trace, is_excluded, None)
    }

    fn with(
        started: Ktime,
        requested: Option<Ktime>,
        http: Http,
        trace: Option<Box<TraceContext>>,
        is_excluded: bool,
        call: Option<Box<Call>>,
    ) -> Stream {
        Stream {
            started,
            requested,
            answered: None,
            is_excluded,
            has_content: false,
            is_hidden: false,
            lost: 0,
            sent: Some(0),
            trace,
            http,
            call,
        }
    }

    pub(super) fn start(&self) -> Start {
        let method = self.http.method.filter(|_| self.call.is_none());
        Start { at: self.started, method, is_excluded: self.is_excluded }
    }

    /// The request's last byte passed.
    pub(super) fn request_ended(&mut self, at: Ktime) {
        self.requested = Some(at);
        self.http.request_body = self.sent;
    }

    /// Headers of the response, or trailers, whose first byte passed at `since`.
    pub(super) fn answer(&mut self, since: Ktime, fields: &Fields, ends: bool, names: &[Arc<str>]) {
        let was_hidden = std::mem::take(&mut self.is_hidden);
        // `101` does not exist here (RFC 9113 section 8.6).
        if matches!(fields.status, Some(100..=199)) && !ends {
            return;
        }
        // A second beginning means that the first, whose status was not known, was an interim one.
        let is_interim_after_all =
            self.answered.is_some() && !self.has_content && self.http.status.is_none() && fields.is_beginning;
        if self.answered.is_none() || is_interim_after_all {
            self.answered = Some(since);
            self.http.status = fields.status;
            // What came before may be gone.
            self.http.response_body = (!was_hidden && !self.has_content).then_some(0);
            self.http.response_headers = fields.captured(names);
        } else {
            self.has_content = true;
        }
        if let Some(call) = &mut self.call {
            call.answer(fields.content_type().and_then(grpc::system), fields.grpc_status);
        }
    }

    /// A tunnel begins: what follows is no exchange any more.
    pub(super) fn is_tunnel(&self) -> bool {
        self.http.method == Some(Method::Connect) && matches!(self.http.status, Some(200..=299))
    }

    /// Content of `side`.
    pub(super) fn content(
        &mut self,
        side: Side,
        at: Ktime,
        bytes: &[u8],
        mut show: impl FnMut(&[u8], Show),
        out: &mut Vec<Signal>,
    ) {
        self.count(side, bytes.len() as u64);
        match &mut self.call {
            Some(call) => call.content(side, at, bytes, show, out),
            None => show(bytes, Show::Filled(TEXT)),
        }
    }

    /// So many bytes of it that nobody saw.
    pub(super) fn passed(&mut self, side: Side, at: Ktime, n: u64, out: &mut Vec<Signal>) {
        self.count(side, n);
        if let Some(call) = &mut self.call {
            call.passed(side, at, n, out);
        }
    }

    fn count(&mut self, side: Side, n: u64) {
        let so_far = match side {
            Side::Client => &mut self.sent,
            Side::Server => {
                self.has_content = true;
                self.is_hidden = false;
                &mut self.http.response_body
            }
        };
        *so_far = so_far.map(|so_far| so_far + n);
    }

    /// So many bytes of its connection were lost.
    pub(super) fn lose(&mut self, n: u64) {
        self.lost = self.lost.saturating_add(u32::try_from(n).unwrap_or(u32::MAX));
    }

    /// Bytes of `side` went by unread that may have been its own.
    pub(super) fn hide(&mut self, side: Side) {
        match side {
            Side::Client if self.requested.is_some() => {}
            Side::Client => self.sent = None,
            Side::Server => {
                self.is_hidden = true;
                self.http.response_body = None;
            }
        }
        if let Some(call) = &mut self.call {
            call.lose(side);
        }
    }

    /// RST_STREAM.
    pub(super) fn reset(&mut self, by: Side, code: u32) {
        if let Some(call) = &mut self.call {
            call.reset(by, code);
        }
    }

    /// It is over, on a connection that had these.
    pub(super) fn finish(self, outcome: Outcome, ended: Ktime, had: &mut Had) -> Signal {
        let Stream { started, requested, answered, is_excluded, lost, trace, mut http, call, .. } = self;
        http.response_body = http.response_body.filter(|_| outcome != Outcome::NotObserved);
        let told = call.as_ref().map(|call| call.told(requested.is_some(), outcome == Outcome::Complete));
        let detail = match call.zip(told) {
            Some((call, Told::Call(system))) => {
                had.calls = Some(system);
                Detail::Rpc(Box::new(call.rpc(system, http)))
            }
            Some((call, Told::Unknown)) if let Some(system) = had.calls.filter(|_| !had.requests) => {
                Detail::Rpc(Box::new(call.rpc(system, http)))
            }
            Some((_, told)) => {
                // To a call, 200 says nothing.
                let says = |status: &u16| *status != 200 || told == Told::Request || http.method.is_none();
                http.status = http.status.filter(says);
                Detail::Http(http)
            }
            None => {
                had.requests = true;
                Detail::Http(http)
            }
        };
        // What passes does not show when it was read: that is added behind the parsers.
        let read = None;
        Signal::Finished(Exchange {
            started,
            requested,
            read,
            answered,
            ended,
            outcome,
            is_excluded,
            lost,
            trace,
            detail,
        })
    }

    /// Bytes that its texts hold.
    pub(super) fn texts(&self) -> usize {
        let text = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
        let http = &self.http;
        let state = self.trace.as_ref().map_or(0, |trace| size_of::<TraceContext>() + text(&trace.state));
        let headers = captured::held(&http.request_headers) + captured::held(&http.response_headers);
        let call = self.call.as_ref().map_or(0, |call| call.held());
        text(&http.method_original) + text(&http.host) + text(&http.path) + state + headers + call
    }
}
