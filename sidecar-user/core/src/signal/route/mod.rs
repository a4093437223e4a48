//! Paths to routes: by the patterns that the configuration gives, else by what is learned of the application. A raw
//! path is never a route.
//!
//! Not for clients: what they send belongs to another application's routes.

mod learner;
mod segment;

use std::sync::Arc;

use self::learner::Learner;
use crate::model::{Connection, Detail, Exchange, Http, Method, PathPattern, Role, Route, RouteSource};
use crate::signal::http;

/// What the configuration says of routes.
#[derive(Clone, Debug, Default)]
pub struct RouteOptions {
    /// The first that matches a path is its route.
    pub patterns: Vec<PathPattern>,
    /// Learn routes of paths that no pattern matches.
    pub learn: bool,
    /// How many are learned.
    pub cap: usize,
}

/// The routes of the observed application.
#[derive(Debug)]
pub struct Routes {
    configured: Vec<(PathPattern, Route)>,
    learner: Option<Learner>,
    overflowed: u64,
}

impl Routes {
    /// The configured ones; none is learned yet.
    #[must_use]
    pub fn new(options: RouteOptions) -> Self {
        let mut routes = Routes { configured: Vec::new(), learner: None, overflowed: 0 };
        routes.set(options);
        routes
    }

    /// From now on these are configured. Routes that were learned stay, unless learning is off: then they are forgotten.
    pub fn set(&mut self, options: RouteOptions) {
        let RouteOptions { patterns, learn, cap } = options;
        let route = |pattern: PathPattern| {
            let route = Route { source: RouteSource::Configured, pattern: Arc::from(pattern.as_str()) };
            (pattern, route)
        };
        self.configured = patterns.into_iter().map(route).collect();
        self.learner = self.learner.take().filter(|_| learn);
        match &mut self.learner {
            Some(learner) => learner.set_cap(cap),
            None => self.learner = learn.then(|| Learner::new(cap)),
        }
    }

    /// Adds its route to a request that the application answered, if it has one.
    pub fn label(&mut self, connection: &Connection, exchange: &mut Exchange) {
        let Detail::Http(http) = &mut exchange.detail else { return };
        if exchange.is_excluded || http::role(connection) != Role::Server {
            return;
        }
        if let Some(path) = http.path.take() {
            http.route = self.of(&path, proves_path(http));
            http.path = Some(path);
        }
    }

    /// How many there are of a source.
    #[must_use]
    pub fn len(&self, source: RouteSource) -> usize {
        match source {
            RouteSource::Configured => self.configured.len(),
            RouteSource::Learned => self.learner.as_ref().map_or(0, Learner::len),
        }
    }

    /// None is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.configured.is_empty() && self.len(RouteSource::Learned) == 0
    }

    /// Answers that would have shown another route, had there been room.
    #[must_use]
    pub fn overflowed(&self) -> u64 {
        self.overflowed
    }

    fn of(&mut self, path: &str, may_learn: bool) -> Option<Route> {
        if let Some((_, route)) = self.configured.iter().find(|(pattern, _)| pattern.matches(path)) {
            return Some(route.clone());
        }
        let learner = self.learner.as_mut()?;
        if let Some(known) = learner.find(path) {
            return Some(known.clone());
        }
        if !may_learn {
            return None;
        }
        let learned = learner.learn(path).cloned();
        self.overflowed += u64::from(learned.is_none());
        learned
    }
}

/// Whether the answer shows that the application knows the path. Errors may be given to any path, and so may the answers
/// to these methods.
fn proves_path(http: &Http) -> bool {
    let is_of_path = !matches!(http.method, None | Some(Method::Options | Method::Trace | Method::Connect));
    is_of_path && matches!(http.status, Some(200..=399 | 500))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn routes(patterns: &[&str], cap: usize) -> Routes {
        let patterns = patterns.iter().map(|pattern| pattern.parse().expect("a pattern")).collect();
        Routes::new(RouteOptions { patterns, learn: cap > 0, cap })
    }

    fn shown(route: Option<Route>) -> String {
        route.map_or("-".to_owned(), |route| format!("{} {}", route.source.as_str(), route.pattern))
    }

    #[test]
    fn configured_ones_come_first_and_in_their_order() {
        let mut routes = routes(&["/users/me", "/users/{id}", "/static/*"], 4);
        for (path, route) in [
            ("/users/me", "configured /users/me"),
            ("/users/7", "configured /users/{id}"),
            ("/static/js/app.js", "configured /static/*"),
            ("/users", "learned /users"),
            ("/users/7/posts", "learned /users/{id}/posts"),
        ] {
            assert_eq!(shown(routes.of(path, true)), route, "{path}");
        }
        let own: Vec<usize> = [RouteSource::Configured, RouteSource::Learned].map(|of| routes.len(of)).into();
        assert_eq!(own, [3, 2]);
        // What is configured needs no proof.
        assert_eq!(shown(routes.of("/users/none", false)), "configured /users/{id}");
    }

    #[test]
    fn nothing_is_learned_where_that_is_off() {
        let mut routes = routes(&["/a"], 0);
        assert_eq!(shown(routes.of("/b", true)), "-");
        assert_eq!((shown(routes.of("/a", true)), routes.overflowed()), ("configured /a".to_owned(), 0));
    }

    #[test]
    fn answers_that_prove_a_path() {
        let http = |method, status| Http {
            method: Some(method),
            method_original: None,
            version: crate::model::HttpVersion::Http11,
            status,
            host: None,
            port: None,
            path: None,
            route: None,
            request_headers: Vec::new(),
            response_headers: Vec::new(),
            request_body: Some(0),
            response_body: Some(0),
            exports: None,
            is_doubtful: false,
        };
        for (method, status, is_proof) in [
            (Method::Get, Some(200), true),
            (Method::Post, Some(201), true),
            (Method::Get, Some(304), true),
            (Method::Get, Some(500), true),
            (Method::Get, Some(400), false),
            (Method::Get, Some(403), false),
            (Method::Get, Some(404), false),
            (Method::Put, Some(405), false),
            (Method::Get, Some(502), false),
            (Method::Get, None, false),
            (Method::Options, Some(204), false),
            (Method::Trace, Some(200), false),
        ] {
            assert_eq!(proves_path(&http(method, status)), is_proof, "{method:?} {status:?}");
        }
    }

    #[test]
    fn new_patterns_hold_and_what_was_learned_stays() {
        let patterns = |all: &[&str]| all.iter().map(|one| one.parse().expect("a pattern")).collect();
        let mut routes = routes(&["/a", "/b"], 2);
        for path in ["/a", "/b", "/c/1", "/d"] {
            routes.of(path, true);
        }
        let (before, learned) = (routes.of("/b", false), routes.of("/c/1", false));
        routes.set(RouteOptions { patterns: patterns(&["/b", "/d", "/e/{x}"]), learn: true, cap: 1 });
        for (path, route) in
            [("/a", "-"), ("/e/1", "configured /e/{x}"), ("/c/2", "learned /c/{id}"), ("/f", "-")]
        {
            assert_eq!(shown(routes.of(path, true)), route, "{path}");
        }
        // The series of a pattern that stays goes on.
        assert_eq!((routes.of("/b", true), routes.of("/c/1", true)), (before, learned));
        routes.set(RouteOptions { patterns: patterns(&[]), learn: false, cap: 1 });
        assert_eq!(shown(routes.of("/c/2", true)), "-");
        routes.set(RouteOptions { patterns: patterns(&[]), learn: true, cap: 2 });
        assert_eq!(shown(routes.of("/c/me", true)), "learned /c/me");
    }

    /// A hundred thousand of each kind; a scanner's errors among them.
    #[test]
    fn memory_and_routes_are_bounded() {
        let mut routes = routes(&[], 64);
        for i in 0..100_000u32 {
            let word: String = (0..6).map(|at| char::from(b'a' + (i >> (4 * at)) as u8 % 16)).collect();
            for path in [
                format!("/{word}"),
                format!("/x/{word}/y/{word}"),
                format!("/o/{i}"),
                "/a".repeat(i as usize % 300),
            ] {
                routes.of(&path, true);
                let n = routes.len(RouteSource::Learned);
                routes.of(&format!("{path}/{word}/none"), false);
                assert_eq!(routes.len(RouteSource::Learned), n, "an error makes no route");
            }
        }
        assert!(routes.len(RouteSource::Learned) <= 64);
        assert!(routes.overflowed() > 0);
        let held = routes.learner.as_ref().map_or(0, Learner::held);
        assert!(held < 64 * 1024, "{held} bytes");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever comes between, a path's route is always the one that it was first given.
        #[test]
        fn a_route_never_changes(paths in proptest::collection::vec(("(/[a-c0-2]{0,2}){1,4}", any::<bool>()), 0..200), cap in 1usize..20) {
            let mut routes = routes(&[], cap);
            let mut given = std::collections::HashMap::new();
            for (path, may_learn) in &paths {
                if let Some(route) = routes.of(path, *may_learn) {
                    prop_assert!(path.matches('/').count() == route.pattern.matches('/').count());
                    given.entry(path).or_insert(route);
                }
            }
            for (path, route) in given {
                prop_assert_eq!(routes.of(path, false), Some(route));
            }
        }

        #[test]
        fn any_text_is_borne(path in "\\PC{0,300}") {
            let mut routes = routes(&[], 4);
            let first = routes.of(&path, true);
            prop_assert_eq!(first.is_some(), path.starts_with('/'));
            prop_assert_eq!(routes.of(&path, false), first);
        }
    }
}
