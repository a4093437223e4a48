//! The exchanges behind a number: the newest, kept in memory for whoever asks why a series stands where it does.

mod selector;

use std::{collections::VecDeque, sync::Arc};

pub use self::selector::{BadSelector, Selector};
use super::{Attributes, Decision, Worded, requests};
use crate::model::{Connection, Detail, Exchange, Http, Ktime, MetricDef, Role, RouteSource};

/// Of the newest exchanges, one in so many is kept longer if it was an error, so that a flood of others does not push
/// it out.
const ERRORS: usize = 4;
/// Bytes of a path that are kept.
const PATH_MAX: usize = 256;

/// What is kept.
#[derive(Debug)]
pub struct Explain {
    newest: VecDeque<Kept>,
    /// Errors that the newest pushed out.
    errors: VecDeque<Kept>,
    cap: usize,
    with_paths: bool,
}

/// One exchange.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// Its connection, as it was at the exchange's end.
    pub connection: Connection,
    /// Name of the protocol.
    pub protocol: &'static str,
    /// Without header values; its path, if at all, up to 256 bytes.
    pub exchange: Exchange,
    /// What became of it as a span.
    pub decision: Decision,
    /// Whose it is, where that is told.
    pub container: Option<Arc<str>>,
}

// Beside it come host (255 bytes), path (256) and the allocator's own: 1 KiB an exchange is enough.
const _: () = assert!(size_of::<Kept>() <= 480);

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Exchanges that are kept.
    pub n_kept: usize,
    /// When the oldest of the newest began: since then every exchange is here.
    pub complete_since: Option<Ktime>,
    /// Exchanges that were measured in the series that are asked for.
    pub n_matched: usize,
    /// The last of them, newest first.
    pub last: Vec<Explained>,
}

/// One exchange, and what it came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Explained {
    /// As it was kept.
    pub kept: Kept,
    /// In words.
    pub worded: Worded,
    /// The metric.
    pub metric: &'static MetricDef,
    /// The series, beyond whose cap it went to the overflow's.
    pub series: Attributes,
    /// What was measured, in the metric's unit.
    pub value: f64,
    /// Why `http.route` is what it is, or is not; `None`: it is no HTTP.
    pub route: Option<&'static str>,
}

impl Explain {
    /// Keeps so many exchanges, and a quarter more of errors; 0 keeps none. `with_paths`: paths may be shown.
    #[must_use]
    pub fn new(cap: usize, with_paths: bool) -> Self {
        Explain { newest: VecDeque::new(), errors: VecDeque::new(), cap, with_paths }
    }

    /// Keeps so many from now on, the newest of what there is; where paths may no longer be shown, none is kept.
    pub fn set(&mut self, cap: usize, with_paths: bool) {
        (self.cap, self.with_paths) = (cap, with_paths);
        for (kept, cap) in [(&mut self.newest, cap), (&mut self.errors, cap.div_ceil(ERRORS))] {
            kept.drain(..kept.len().saturating_sub(cap));
            kept.shrink_to_fit();
            for one in kept.iter_mut().filter(|_| !with_paths) {
                one.exchange.hide_path();
            }
        }
    }

    /// Keeps an exchange; `container` is whose it is, where that is told.
    pub fn keep(
        &mut self,
        connection: &Connection,
        protocol: &'static str,
        mut exchange: Exchange,
        decision: Decision,
        container: Option<Arc<str>>,
    ) {
        if self.cap == 0 {
            return;
        }
        if let Some(http) = exchange.http_mut() {
            http.path = http.path.take().filter(|_| self.with_paths).map(shortened);
            (http.request_headers, http.response_headers) = (Vec::new(), Vec::new());
        }
        if let Some(trace) = &mut exchange.trace {
            trace.state = None;
        }
        if self.newest.len() >= self.cap
            && let Some(oldest) = self.newest.pop_front()
            && oldest.is_error()
        {
            if self.errors.len() >= self.cap.div_ceil(ERRORS) {
                self.errors.pop_front();
            }
            self.errors.push_back(oldest);
        }
        self.newest.push_back(Kept {
            connection: connection.clone(),
            protocol,
            exchange,
            decision,
            container,
        });
    }

    /// The last `limit` exchanges that were measured in the series of `selector`. Without a metric, it selects by the
    /// labels of durations.
    ///
    /// # Errors
    /// Where no exchange is measured by that metric, or it has not these labels.
    pub fn find(&self, selector: &Selector, limit: usize) -> Result<Answer, BadSelector> {
        let metric = selector.metric(&requests::measured())?;
        let (mut n_matched, mut last) = (0, Vec::new());
        for kept in self.newest.iter().rev().chain(self.errors.iter().rev()) {
            let Some(explained) = kept.explained(metric) else { continue };
            let labels: Vec<_> =
                explained.series.iter().map(|(key, value)| (*key, value.to_string())).collect();
            if selector.takes(&labels, explained.value) {
                n_matched += 1;
                if last.len() < limit {
                    last.push(explained);
                }
            }
        }
        let complete_since = self.newest.front().map(|kept| kept.exchange.started);
        Ok(Answer { n_kept: self.newest.len() + self.errors.len(), complete_since, n_matched, last })
    }
}

impl Kept {
    fn is_error(&self) -> bool {
        requests::is_error(&self.connection, &self.exchange)
    }

    fn explained(&self, metric: Option<&'static MetricDef>) -> Option<Explained> {
        let (metric, series, value) =
            requests::measurement(metric, &self.connection, &self.exchange, self.container.clone())?;
        let worded = Worded::new(&self.connection, &self.exchange);
        let role = worded.role;
        let route = match &self.exchange.detail {
            Detail::Http(http) => Some(route(role, http)),
            _ => None,
        };
        Some(Explained { kept: self.clone(), worded, metric, series, value, route })
    }
}

fn route(role: Role, http: &Http) -> &'static str {
    match &http.route {
        _ if role == Role::Client => "a client does not know the server's routes",
        Some(route) => match route.source {
            RouteSource::Configured => "the configuration has this pattern, and the path fits it",
            RouteSource::Learned => "learned of the paths that were answered before, and the path fits it",
        },
        None if matches!(http.status, Some(400..=499 | 501..)) => {
            "answered with an error that any path may be given: such paths never make a route"
        }
        None if http.status.is_none() => "not answered: such paths never make a route",
        None => "no configured pattern fits, and none is learned of it: learning is off, or at its cap",
    }
}

fn shortened(path: Box<str>) -> Box<str> {
    if path.len() <= PATH_MAX { path } else { path[..path.floor_char_boundary(PATH_MAX)].into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Method, Outcome};
    use crate::signal::tests::{connection, exchange};

    fn keep(explain: &mut Explain, role: Role, status: u16, started: u64) {
        let mut made = exchange(Method::Get, Some(status), Outcome::Complete);
        (made.started, made.ended) = (Ktime(started), Ktime(started + 1_000_000));
        explain.keep(&connection(Some(role)), "http", made, Decision::Off, None);
    }

    fn starts(explain: &Explain, selector: &str, limit: usize) -> Vec<u64> {
        let selector = Selector::parse(selector).expect("a selector");
        let found = explain.find(&selector, limit).expect("an answer");
        found.last.iter().map(|explained| explained.kept.exchange.started.0).collect()
    }

    #[test]
    fn the_last_of_a_series_newest_first() {
        let mut explain = Explain::new(100, true);
        for at in 0..10 {
            keep(&mut explain, if at % 2 == 0 { Role::Server } else { Role::Client }, 200, at);
        }
        assert_eq!(starts(&explain, "", 3), [9, 8, 7]);
        assert_eq!(starts(&explain, "http.server.request.duration", 3), [8, 6, 4]);
        assert_eq!(starts(&explain, "{server_address=\"api.test\"}", 2), [9, 7]);
        let all = explain.find(&Selector::default(), 3).expect("an answer");
        assert_eq!((all.n_kept, all.n_matched, all.complete_since), (10, 10, Some(Ktime(0))));
        assert_eq!(all.last[0].metric.name, "http.client.request.duration");
        assert!((all.last[0].value - 0.001).abs() < 1e-9);
    }

    #[test]
    fn a_flood_does_not_push_out_the_errors() {
        let mut explain = Explain::new(8, true);
        for at in 0..4 {
            keep(&mut explain, Role::Server, 500, at);
        }
        for at in 10..1000 {
            keep(&mut explain, Role::Server, 200, at);
        }
        // A quarter of 8.
        assert_eq!(starts(&explain, "{error.type=\"500\"}", 20), [3, 2]);
        assert_eq!(starts(&explain, "", 20).len(), 10);
        let mut off = Explain::new(0, true);
        keep(&mut off, Role::Server, 200, 1);
        assert!(starts(&off, "", 20).is_empty());
    }

    #[test]
    fn new_bounds_hold_for_what_is_kept_already() {
        let mut explain = Explain::new(8, true);
        for at in 0..20 {
            keep(&mut explain, Role::Server, if at < 12 { 500 } else { 200 }, at);
        }
        explain.set(4, false);
        assert_eq!(starts(&explain, "", 20), [19, 18, 17, 16, 11]);
        let all = explain.find(&Selector::default(), 20).expect("an answer");
        assert!(all.last.iter().all(|one| one.kept.exchange.http().expect("HTTP").path.is_none()));
        explain.set(6, true);
        for at in 20..30 {
            keep(&mut explain, Role::Server, 200, at);
        }
        assert_eq!(starts(&explain, "", 20), [29, 28, 27, 26, 25, 24, 11]);
        explain.set(0, true);
        assert!(starts(&explain, "", 20).is_empty());
    }

    #[test]
    fn what_is_not_to_be_shown_is_not_kept() {
        for (with_paths, expected) in [(true, Some(PATH_MAX - 1)), (false, None)] {
            let mut explain = Explain::new(1, with_paths);
            let mut made = exchange(Method::Get, Some(200), Outcome::Complete);
            let Detail::Http(http) = &mut made.detail else { panic!("HTTP") };
            http.path = Some(format!("/{}", "\u{e9}".repeat(500)).into());
            http.request_headers = vec![("authorization".into(), vec!["secret".into()])];
            explain.keep(&connection(Some(Role::Server)), "http", made, Decision::Off, None);
            let found = explain.find(&Selector::default(), 1).expect("an answer");
            let http = found.last[0].kept.exchange.http().expect("HTTP");
            assert_eq!(http.path.as_ref().map(|path| path.len()), expected);
            assert!(http.request_headers.is_empty());
        }
    }
}
