//! What becomes of an exchange as a span, decided before anything is made of it.

use super::{App, IdSource, Instrumented, Sampler, SpanIds, catalogue, reason::Decided, store::Store};
use crate::model::{Connection, Exchange, Role};

/// Decides, and counts what it decided.
#[derive(Debug)]
pub struct Tracer {
    /// Spans have somewhere to go.
    is_on: bool,
    sampler: Sampler,
    instrumented: Instrumented,
    if_instrumented: IfInstrumented,
    ids: IdSource,
    news: Option<App>,
    counts: [u64; Decided::WORDS.len()],
}

/// What is done about an application that traces itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfInstrumented {
    /// No span is made of it from when that shows.
    Skip,
    /// It is taken to do so without having shown it: no spans at all.
    Assume,
    /// It is traced like any other.
    Ignore,
}

/// Of one exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It becomes a span with these ids.
    Sampled(SpanIds),
    /// The sampler left it out.
    NotSampled,
    /// The application traces itself.
    Instrumented,
    /// The request is an export of the application's own telemetry, which no SDK traces either.
    Export,
    /// Nobody wants spans, or the exchange is left out of all signals.
    Off,
}

impl Decision {
    /// The span's ids, if it becomes one.
    #[must_use]
    pub fn ids(self) -> Option<SpanIds> {
        match self {
            Decision::Sampled(ids) => Some(ids),
            _ => None,
        }
    }

    fn decided(self) -> Option<Decided> {
        match self {
            Decision::Sampled(_) => Some(Decided::Sampled),
            Decision::NotSampled => Some(Decided::NotSampled),
            Decision::Instrumented => Some(Decided::Instrumented),
            Decision::Export => Some(Decided::Export),
            Decision::Off => None,
        }
    }

    /// `sidecar.decision`'s word; `off` where nobody wants spans.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.decided().map_or("off", Decided::word)
    }
}

impl Tracer {
    /// `is_on`: spans have somewhere to go.
    #[must_use]
    pub fn new(
        is_on: bool,
        sampler: Sampler,
        ids: IdSource,
        instrumented: Instrumented,
        if_instrumented: IfInstrumented,
    ) -> Self {
        let counts = [0; Decided::WORDS.len()];
        Tracer { is_on, sampler, instrumented, if_instrumented, ids, news: None, counts }
    }

    /// Decides so from now on. What is known of applications stays.
    pub fn set(&mut self, is_on: bool, sampler: Sampler, if_instrumented: IfInstrumented) {
        (self.is_on, self.sampler, self.if_instrumented) = (is_on, sampler, if_instrumented);
    }

    /// What becomes of an exchange. The parent is the one that the request names, never a guess.
    pub fn decide(&mut self, connection: &Connection, exchange: &Exchange) -> Decision {
        self.news = self.instrumented.note(connection, exchange).or(self.news);
        let decision = self.decision(connection, exchange);
        if let Some(decided) = decision.decided() {
            self.counts[decided as usize] += 1;
        }
        decision
    }

    /// An application that has shown that it traces itself, told once.
    pub fn take_news(&mut self) -> Option<App> {
        self.news.take()
    }

    /// `kin` belong to the application `app`.
    pub fn add_kin(&mut self, app: App, kin: &[App]) {
        self.instrumented.add_kin(app, kin);
    }

    fn decision(&mut self, connection: &Connection, exchange: &Exchange) -> Decision {
        if !self.is_on || exchange.is_excluded {
            return Decision::Off;
        }
        let exports = exchange.http().is_some_and(|http| http.exports.is_some());
        if exports && connection.role == Some(Role::Client) {
            return Decision::Export;
        }
        let is_instrumented = match self.if_instrumented {
            IfInstrumented::Skip => self.instrumented.is_traced(connection, exchange.ended),
            IfInstrumented::Assume => true,
            IfInstrumented::Ignore => false,
        };
        if is_instrumented {
            return Decision::Instrumented;
        }
        let parent = exchange.trace.as_ref().map(|trace| &trace.parent);
        let trace = parent.map_or_else(|| self.ids.trace(), |parent| parent.trace);
        if self.sampler.samples(trace, parent) {
            Decision::Sampled(SpanIds { trace, span: self.ids.span() })
        } else {
            Decision::NotSampled
        }
    }

    /// Brings what was counted into the store.
    pub fn record(&self, store: &mut Store) {
        self.instrumented.record(store);
        if self.is_on {
            for (decision, n) in Decided::WORDS.iter().zip(self.counts) {
                store.set(&catalogue::SPANS, &[decision], n);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Detail, Method, Outcome, Telemetry, TraceContext, TraceParent};
    use crate::signal::tests::{connection, exchange, points};
    use crate::signal::{Options, PointValue, Root, Scope};

    fn tracer(is_on: bool, sampler: Sampler, if_instrumented: IfInstrumented) -> Tracer {
        Tracer::new(is_on, sampler, IdSource::new(1), Instrumented::new(Scope::Cgroup), if_instrumented)
    }

    #[test]
    fn what_becomes_of_exchanges() {
        let server = connection(Some(Role::Server));
        let own = exchange(Method::Get, Some(200), Outcome::Complete);
        let mut of_a_trace = own.clone();
        let parent = TraceParent { trace: [7; 16], span: [8; 8], flags: 1 };
        of_a_trace.trace = Some(Box::new(TraceContext { parent, state: None }));

        let only_of_sampled = Sampler { is_parent_based: true, root: Root::AlwaysOff };
        let mut tracer_ = tracer(true, only_of_sampled, IfInstrumented::Skip);
        assert_eq!(tracer_.decide(&server, &own), Decision::NotSampled);
        let Decision::Sampled(ids) = tracer_.decide(&server, &of_a_trace) else {
            panic!("its sender samples it")
        };
        assert_eq!(ids.trace, [7; 16]);
        let mut store = Store::new(Options::default());
        tracer_.record(&mut store);
        let n = |word: &str, n| (format!("sidecar.decision={word}"), PointValue::U64(n));
        assert_eq!(
            points(&mut store, &catalogue::SPANS),
            [n("export", 0), n("instrumented", 0), n("not_sampled", 1), n("sampled", 1)]
        );
        let mut off = tracer(false, Sampler::default(), IfInstrumented::Skip);
        assert_eq!(off.decide(&server, &of_a_trace), Decision::Off);
    }

    #[test]
    fn an_application_that_traces_itself() {
        let of = |role| Connection { cgroup: 3, ..connection(Some(role)) };
        let own = exchange(Method::Get, Some(200), Outcome::Complete);
        let mut export = own.clone();
        let Detail::Http(http) = &mut export.detail else { panic!("HTTP") };
        http.exports = Some(Telemetry::Traces);
        for (policy, before, after) in [
            (IfInstrumented::Skip, "sampled", "instrumented"),
            (IfInstrumented::Assume, "instrumented", "instrumented"),
            (IfInstrumented::Ignore, "sampled", "sampled"),
        ] {
            let mut tracer = tracer(true, Sampler::default(), policy);
            assert_eq!(tracer.decide(&of(Role::Server), &own).as_str(), before, "{policy:?}");
            assert_eq!(tracer.take_news(), None);
            assert_eq!(tracer.decide(&of(Role::Client), &export), Decision::Export);
            assert_eq!(tracer.decide(&of(Role::Server), &own).as_str(), after, "{policy:?}");
            assert_eq!(tracer.take_news(), Some(App::Cgroup(3)));
            assert_eq!(tracer.take_news(), None);
        }
    }
}
