//! Requests whose response has not ended. HTTP/1 answers in order, so the oldest is the one being answered and the
//! youngest the one being sent.

use std::collections::VecDeque;

use super::head::{Request, Response};
use crate::model::{Detail, Exchange, Headers, Http, Ktime, Outcome, RpcSystem, Side, Start, TraceContext};
use crate::protocol::{
    Signal,
    grpc::{Call, Show},
    http::captured,
    http2::Upgraded,
};

#[derive(Debug, Default)]
pub(super) struct Queue {
    requests: VecDeque<Pending>,
    /// Bytes that their texts hold.
    texts: usize,
    /// The youngest request's last byte has not come.
    is_sending: bool,
}

/// A request whose response has not ended.
#[derive(Debug)]
pub(super) struct Pending {
    started: Ktime,
    requested: Option<Ktime>,
    pub(super) answered: Option<Ktime>,
    pub(super) is_excluded: bool,
    lost: u32,
    /// Bytes of the request's body so far.
    sent: u64,
    pub(super) trace: Option<Box<TraceContext>>,
    pub(super) http: Http,
    call: Option<Box<Call>>,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// The request being answered.
    pub(super) fn oldest(&self) -> Option<&Pending> {
        self.requests.front()
    }

    /// A request's head was read; it began at `started`.
    pub(super) fn start(&mut self, started: Ktime, request: Request, out: &mut Vec<Signal>) {
        let Request { http, trace, is_excluded, call, .. } = request;
        let method = http.method.filter(|_| call.is_none());
        out.push(Signal::Started(Start { at: started, method, is_excluded }));
        let pending = Pending {
            started,
            requested: None,
            answered: None,
            is_excluded,
            lost: 0,
            sent: 0,
            trace,
            http,
            call,
        };
        self.texts += pending.texts();
        // As a rule it stays the only one.
        if self.requests.capacity() == 0 {
            self.requests.reserve_exact(1);
        }
        self.requests.push_back(pending);
        self.is_sending = true;
    }

    /// Content of the client's current message. A request that is over already is not added to.
    pub(super) fn sent(&mut self, content: u64) {
        if self.is_sending
            && let Some(pending) = self.requests.back_mut()
        {
            pending.sent += content;
        }
    }

    /// The client's current message ended; when, if that was seen. Only then is its body's size known.
    pub(super) fn request_ended(&mut self, at: Option<Ktime>) {
        if std::mem::take(&mut self.is_sending)
            && let Some(pending) = self.requests.back_mut()
        {
            pending.requested = at;
            pending.http.request_body = at.map(|_| pending.sent);
        }
    }

    /// So many bytes of the connection were lost, and may be of any request that is outstanding.
    pub(super) fn lose(&mut self, n: u64) {
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        self.requests.iter_mut().for_each(|pending| pending.lost = pending.lost.saturating_add(n));
    }

    /// The oldest request's final response began at `at`.
    pub(super) fn answer(&mut self, at: Ktime, response: Response, headers: Headers) {
        if let Some(pending) = self.requests.front_mut() {
            pending.answered = Some(at);
            pending.http.status = Some(response.status);
            pending.http.response_body = Some(0);
            self.texts += captured::held(&headers);
            self.texts -= captured::held(&pending.http.response_headers);
            pending.http.response_headers = headers;
            if let Some(call) = &mut pending.call {
                call.answer(response.call, response.grpc_status);
            }
        }
    }

    /// Content of the oldest request's response.
    pub(super) fn received(&mut self, content: u64) {
        if let Some(pending) = self.requests.front_mut() {
            pending.http.response_body = pending.http.response_body.map(|so_far| so_far + content);
        }
    }

    /// Where the oldest request's response ends will not be seen.
    pub(super) fn lose_response(&mut self) {
        if let Some(pending) = self.requests.front_mut() {
            pending.http.response_body = None;
        }
        self.miss(Side::Server);
    }

    /// Content of `side` that is a call's; `show` is told what may be seen of it. Whether it is.
    pub(super) fn content(
        &mut self,
        side: Side,
        at: Ktime,
        bytes: &[u8],
        show: impl FnMut(&[u8], Show),
        out: &mut Vec<Signal>,
    ) -> bool {
        let Some(call) = self.call(side) else { return false };
        call.content(side, at, bytes, show, out);
        true
    }

    /// Content went by that nobody saw.
    pub(super) fn miss(&mut self, side: Side) {
        if let Some(call) = self.call(side) {
            call.lose(side);
        }
    }

    /// Whether a call's content passes, which is looked at.
    pub(super) fn has_call(&self, side: Side) -> bool {
        let pending = match side {
            Side::Client => self.requests.back().filter(|_| self.is_sending),
            Side::Server => self.requests.front(),
        };
        pending.is_some_and(|pending| pending.call.is_some())
    }

    /// That of the message that `side` sends.
    fn call(&mut self, side: Side) -> Option<&mut Call> {
        let pending = match side {
            Side::Client => self.requests.back_mut().filter(|_| self.is_sending),
            Side::Server => self.requests.front_mut(),
        };
        pending?.call.as_deref_mut()
    }

    /// The oldest request is answered in HTTP/2; what was said until now answers nothing.
    pub(super) fn hand_over(&mut self) -> Option<Upgraded> {
        let pending = self.requests.pop_front()?;
        self.texts -= pending.texts();
        let Pending { started, requested, is_excluded, trace, mut http, .. } = pending;
        http.status = None;
        http.response_body = None;
        http.response_headers = Headers::new();
        Some(Upgraded { started, requested, http, trace, is_excluded })
    }

    /// The oldest request is over.
    pub(super) fn finish(&mut self, outcome: Outcome, ended: Ktime, out: &mut Vec<Signal>) {
        let Some(pending) = self.requests.pop_front() else { return };
        self.texts -= pending.texts();
        if self.requests.is_empty() {
            // A connection that idles holds nothing.
            self.requests = VecDeque::new();
        }
        let Pending { started, requested, answered, is_excluded, lost, trace, mut http, call, .. } = pending;
        http.response_body = http.response_body.filter(|_| outcome != Outcome::NotObserved);
        self.is_sending &= !self.requests.is_empty();
        let detail = match call {
            Some(call) => Detail::Rpc(Box::new(call.rpc(RpcSystem::GrpcWeb, http))),
            None => Detail::Http(http),
        };
        // What passes does not show when it was read: that is added behind the parsers.
        let read = None;
        let exchange =
            Exchange { started, requested, read, answered, ended, outcome, is_excluded, lost, trace, detail };
        out.push(Signal::Finished(exchange));
    }

    /// All are over. `how` is told whether the request was still being sent.
    pub(super) fn finish_all(
        &mut self,
        out: &mut Vec<Signal>,
        how: impl Fn(&Pending, bool) -> (Outcome, Ktime),
    ) {
        while let Some(pending) = self.requests.front() {
            let (outcome, ended) = how(pending, self.is_sending && self.requests.len() == 1);
            self.finish(outcome, ended, out);
        }
    }

    /// Bytes that it holds.
    pub(super) fn held(&self) -> usize {
        self.requests.capacity() * size_of::<Pending>() + self.texts
    }
}

impl Pending {
    /// Bytes that its texts hold.
    fn texts(&self) -> usize {
        let text = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
        let http = &self.http;
        let state = self.trace.as_ref().map_or(0, |trace| size_of::<TraceContext>() + text(&trace.state));
        let headers = captured::held(&http.request_headers) + captured::held(&http.response_headers);
        let call = self.call.as_ref().map_or(0, |call| call.held());
        text(&http.method_original) + text(&http.host) + text(&http.path) + state + headers + call
    }
}
