//! The pattern of a request's path, `http.route`.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A route that the observed application has. Two are the same where their `pattern` is, whoever says so.
#[derive(Clone, Debug, Eq)]
pub struct Route {
    /// Who says that it is one.
    pub source: RouteSource,
    /// As metrics and spans show it: `/users/{id}`.
    pub pattern: Arc<str>,
}

impl PartialEq for Route {
    fn eq(&self, other: &Route) -> bool {
        self.pattern == other.pattern
    }
}

impl Hash for Route {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.pattern.hash(state);
    }
}

/// Who says that a route is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteSource {
    /// The configuration.
    Configured,
    /// The paths that were seen.
    Learned,
}

impl RouteSource {
    /// `configured` or `learned`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            RouteSource::Configured => "configured",
            RouteSource::Learned => "learned",
        }
    }
}
