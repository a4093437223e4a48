//! What tracing backends make of spans, made here of every exchange: a sampler leaves nothing out of it.

use std::sync::Arc;

use super::catalogue;
use super::key;
use super::series::Series;
use super::snapshot::{Attributes, Moment, Point, PointValue};
use super::worded::Worded;
use super::{ExemplarIds, Histogram, Layout, Options};
use crate::model::{Connection, Exchange, Ktime, MetricDef, Role};

/// Which of them there are.
#[derive(Clone, Debug, Default)]
pub struct Derive {
    /// By what spans are called.
    pub spans: bool,
    /// By who asks whom.
    pub graph: bool,
    /// The application's `service.name`.
    pub service: Arc<str>,
}

#[derive(Debug)]
pub(super) struct Derived {
    derive: Derive,
    span: Layout,
    /// By role.
    edge: [Layout; 2],
    spans: Series<SpanKey, Histogram>,
    edges: Series<EdgeKey, Edge>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SpanKey {
    name: Box<str>,
    role: Role,
    is_error: bool,
}

/// The other end, and which end the application is.
#[derive(Debug, PartialEq, Eq, Hash)]
struct EdgeKey {
    other: Box<str>,
    role: Role,
}

#[derive(Debug)]
struct Edge {
    failed: u64,
    /// By the observed end: only the overflow has both.
    durations: [Histogram; 2],
}

impl Edge {
    fn count(&self) -> u64 {
        self.durations.iter().map(|one| one.count).sum()
    }
}

impl Derived {
    pub(super) fn new(options: &Options) -> Self {
        let mut edge = [&catalogue::EDGE_CLIENT; 2];
        edge[Role::Server as usize] = &catalogue::EDGE_SERVER;
        Derived {
            derive: options.derive.clone(),
            span: options.layout(&catalogue::SPAN_DURATION),
            edge: edge.map(|def| options.layout(def)),
            spans: Series::new(options.series_cap),
            edges: Series::new(options.series_cap),
        }
    }

    pub(super) fn set_cap(&mut self, cap: usize) {
        self.spans.set_cap(cap);
        self.edges.set_cap(cap);
    }

    pub(super) fn record(
        &mut self,
        connection: &Connection,
        exchange: &Exchange,
        at: Moment,
        span: Option<ExemplarIds>,
    ) {
        if exchange.is_excluded || !(self.derive.spans || self.derive.graph) {
            return;
        }
        let worded = Worded::new(connection, exchange);
        let took = exchange.ended.since(exchange.started).as_secs_f64();
        let (role, is_error) = (worded.role, worded.error.is_some());
        if self.derive.graph {
            let of_client = worded.attributes.iter().find(|(key, _)| *key == key::SERVER_ADDRESS);
            let other = match (role, of_client) {
                (Role::Client, Some((_, address))) => address.to_string(),
                _ => connection.peer().ip().to_canonical().to_string(),
            };
            let make = || Edge { failed: 0, durations: self.edge.each_ref().map(Histogram::new) };
            let edge = self.edges.entry(EdgeKey { other: other.into(), role }, at, make);
            edge.failed += u64::from(is_error);
            edge.durations[role as usize].record(took, at.unix, span);
        }
        if self.derive.spans {
            let key = SpanKey { name: worded.name.into(), role, is_error };
            let histogram = self.spans.entry(key, at, || Histogram::new(&self.span));
            histogram.record(took, at.unix, span);
        }
    }

    pub(super) fn expire(&mut self, since: Ktime) -> u64 {
        self.spans.expire(since) + self.edges.expire(since)
    }

    /// The points of a metric that is fed from here; `None` for the others.
    pub(super) fn points(&self, def: &'static MetricDef) -> Option<Vec<Point>> {
        let is = |other: &MetricDef| std::ptr::eq(def, other);
        let of_spans =
            |value: fn(&Histogram) -> Option<PointValue>| self.spans.points(|key| self.span(key), value);
        let of_edges =
            |value: &dyn Fn(&Edge) -> Option<PointValue>| self.edges.points(|key| self.edge(key), value);
        // A duration belongs to the end that was observed.
        let of_role = |role: Role| {
            let seen = move |edge: &Edge| {
                let histogram = Some(&edge.durations[role as usize]).filter(|one| one.count > 0)?;
                Some(PointValue::Histogram(histogram.clone()))
            };
            of_edges(&seen)
        };
        Some(match () {
            () if is(&catalogue::SPAN_CALLS) => of_spans(|one| Some(PointValue::U64(one.count))),
            () if is(&catalogue::SPAN_DURATION) => of_spans(|one| Some(PointValue::Histogram(one.clone()))),
            () if is(&catalogue::EDGE_REQUESTS) => of_edges(&|one| Some(PointValue::U64(one.count()))),
            () if is(&catalogue::EDGE_FAILED) => of_edges(&|one| Some(PointValue::U64(one.failed))),
            () if is(&catalogue::EDGE_CLIENT) => of_role(Role::Client),
            () if is(&catalogue::EDGE_SERVER) => of_role(Role::Server),
            () => return None,
        })
    }

    pub(super) fn n_series(&self) -> u64 {
        2 * self.spans.len() + 3 * self.edges.len()
    }

    pub(super) fn overflowed(&self) -> u64 {
        self.spans.overflowed() + self.edges.overflowed()
    }

    fn span(&self, key: &SpanKey) -> Attributes {
        let kind = match key.role {
            Role::Client => "SPAN_KIND_CLIENT",
            Role::Server => "SPAN_KIND_SERVER",
        };
        let status = if key.is_error { "STATUS_CODE_ERROR" } else { "STATUS_CODE_UNSET" };
        vec![
            (key::SERVICE_NAME, self.derive.service.to_string().into()),
            (key::SPAN_NAME, key.name.to_string().into()),
            (key::SPAN_KIND, kind.into()),
            (key::SPAN_STATUS, status.into()),
        ]
    }

    fn edge(&self, key: &EdgeKey) -> Attributes {
        let (own, other) = (self.derive.service.to_string(), key.other.to_string());
        let (client, server) = match key.role {
            Role::Client => (own, other),
            Role::Server => (other, own),
        };
        vec![(key::EDGE_CLIENT, client.into()), (key::EDGE_SERVER, server.into())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Method, Outcome};
    use crate::signal::tests::{connection, exchange};

    /// `attributes value` of a counter's points, in order.
    fn counted(derived: &Derived, def: &'static MetricDef) -> Vec<String> {
        let point = |point: Point| {
            let words: Vec<_> =
                point.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let n = match point.value {
                PointValue::U64(n) => n,
                PointValue::Histogram(of) => of.count,
                PointValue::F64(n) => n as u64,
            };
            format!("{} {n}", words.join(" "))
        };
        let mut points: Vec<_> = derived.points(def).expect("one of ours").into_iter().map(point).collect();
        points.sort();
        points
    }

    #[test]
    fn by_names_of_spans_and_by_both_ends() {
        for (spans, graph) in [(true, true), (false, false)] {
            let derive = Derive { spans, graph, service: "shop".into() };
            let mut derived = Derived::new(&Options { derive, ..Options::default() });
            for (role, status, n) in [(Role::Client, 200, 3), (Role::Client, 404, 2), (Role::Server, 503, 1)]
            {
                let made = exchange(Method::Get, Some(status), Outcome::Complete);
                for _ in 0..n {
                    derived.record(&connection(Some(role)), &made, Moment::default(), None);
                }
            }
            let expected: [(&'static MetricDef, &[&str]); 6] = [
                (
                    &catalogue::SPAN_CALLS,
                    &[
                        "service.name=shop span.name=GET span.kind=SPAN_KIND_CLIENT status.code=STATUS_CODE_ERROR 2",
                        "service.name=shop span.name=GET span.kind=SPAN_KIND_CLIENT status.code=STATUS_CODE_UNSET 3",
                        "service.name=shop span.name=GET span.kind=SPAN_KIND_SERVER status.code=STATUS_CODE_ERROR 1",
                    ],
                ),
                (
                    &catalogue::EDGE_REQUESTS,
                    &["client=10.0.0.2 server=shop 1", "client=shop server=api.test 5"],
                ),
                (
                    &catalogue::EDGE_FAILED,
                    &["client=10.0.0.2 server=shop 1", "client=shop server=api.test 2"],
                ),
                (&catalogue::EDGE_CLIENT, &["client=shop server=api.test 5"]),
                (&catalogue::EDGE_SERVER, &["client=10.0.0.2 server=shop 1"]),
                (&catalogue::SPAN_DURATION, &[]),
            ];
            for (def, lines) in expected.iter().filter(|(_, lines)| !lines.is_empty()) {
                let lines: &[&str] = if spans { lines } else { &[] };
                assert_eq!(counted(&derived, def), lines, "{}", def.name);
            }
            assert_eq!(derived.n_series(), if spans { 12 } else { 0 });
        }
    }
}
