//! Spans of exchanges, in the words of semantic conventions v1.44.0.

use std::borrow::Cow;

use super::sampling::SAMPLED;
use super::worded::Worded;
use super::{Attributes, key};
use crate::model::{Connection, Exchange, Ktime, Outcome, Role};

/// Ids of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanIds {
    /// The parent's trace, where there is one.
    pub trace: [u8; 16],
    /// Its own id.
    pub span: [u8; 8],
}

/// One exchange as one of its ends saw it.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// As the conventions of its family want it: of HTTP the method, and the route where it is known.
    pub name: Cow<'static, str>,
    /// The observed end: the span's kind.
    pub role: Role,
    /// Trace id: the parent's, where there is one.
    pub trace: [u8; 16],
    /// Its own id.
    pub id: [u8; 8],
    /// The span that sent the request, across the network.
    pub parent: Option<[u8; 8]>,
    /// `tracestate` that came with the parent; empty for none.
    pub trace_state: Box<str>,
    /// W3C trace flags: the parent's, and `sampled`.
    pub flags: u8,
    /// The request's first byte.
    pub started: Ktime,
    /// The response's last byte, or what ended the exchange instead.
    pub ended: Ktime,
    /// In the conventions' words.
    pub attributes: Attributes,
    /// Headers that the configuration names: attribute and values.
    pub headers: Vec<(String, Vec<String>)>,
    /// Status `Error`, else unset.
    pub error: bool,
}

impl Span {
    /// The span of an exchange that is sampled. `container` is whose it is, where that is told.
    #[must_use]
    pub fn new(connection: &Connection, exchange: &Exchange, ids: SpanIds, container: Option<&str>) -> Span {
        let Worded { role, name, mut attributes, headers, error, .. } = Worded::new(connection, exchange);
        attributes.extend(container.map(|name| (key::CONTAINER_NAME, name.to_owned().into())));
        let trace = exchange.trace.as_deref();
        Span {
            name,
            role,
            trace: ids.trace,
            id: ids.span,
            parent: trace.map(|trace| trace.parent.span),
            trace_state: trace.and_then(|trace| trace.state.clone()).unwrap_or_default(),
            flags: trace.map_or(0, |trace| trace.parent.flags) | SAMPLED,
            started: exchange.started,
            ended: exchange.ended,
            attributes,
            headers,
            // That a response was not captured says nothing of the application.
            error: error.is_some() && exchange.outcome != Outcome::NotObserved,
        }
    }
}
