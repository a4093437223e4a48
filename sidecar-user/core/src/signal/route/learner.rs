//! Routes out of paths: a tree of segments, bounded by the number of routes.
//!
//! A segment that looks like a value (`segment::is_value`), or that comes where there are many others already, is taken
//! as `{id}`. Both are decided when a segment is first met, and nothing is ever taken out of the tree: so a path's
//! route never changes.

use super::segment;
use crate::model::{Route, RouteSource};

/// Texts that may follow each other in one place; more are values. The first segment is often the endpoint itself.
const TEXTS_MAX: [usize; 2] = [32, 16];
/// Segments of a route; what comes after is `*`.
const SEGMENTS_MAX: usize = 8;

#[derive(Debug)]
pub(super) struct Learner {
    /// The first is the root.
    nodes: Vec<Node>,
    n_routes: usize,
    cap: usize,
}

/// What may follow a beginning of a path.
#[derive(Debug, Default)]
struct Node {
    texts: Vec<(Box<str>, usize)>,
    value: Option<usize>,
    /// A path may end here.
    route: Option<Route>,
    /// A path may go on here, however.
    longer: Option<Route>,
}

/// Where a segment leads.
enum Step<'a> {
    Known(usize),
    NewText(&'a str),
    NewValue,
}

/// What lies between slashes, as `split('/')` has it, which is slow for pieces so short.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(path);
    std::iter::from_fn(move || {
        let path = rest?;
        let end = path.bytes().position(|b| b == b'/');
        rest = end.map(|end| &path[end + 1..]);
        Some(end.map_or(path, |end| &path[..end]))
    })
}

impl Learner {
    /// At most `cap` routes.
    pub(super) fn new(cap: usize) -> Self {
        Learner { nodes: vec![Node::default()], n_routes: 0, cap }
    }

    /// Learns no more than `cap` from now on; what is learned stays.
    pub(super) fn set_cap(&mut self, cap: usize) {
        self.cap = cap;
    }

    pub(super) fn len(&self) -> usize {
        self.n_routes
    }

    /// The route of a path, if it was learned.
    pub(super) fn find(&self, path: &str) -> Option<&Route> {
        let mut at = 0;
        for (depth, segment) in segments(path.strip_prefix('/')?).enumerate() {
            if depth == SEGMENTS_MAX {
                return self.nodes[at].longer.as_ref();
            }
            match self.step(at, depth, segment) {
                Step::Known(next) => at = next,
                Step::NewText(_) | Step::NewValue => return None,
            }
        }
        self.nodes[at].route.as_ref()
    }

    /// Learns the route of a path that has none. `None` where there is no room, or it is no path.
    pub(super) fn learn(&mut self, path: &str) -> Option<&Route> {
        let rest = path.strip_prefix('/')?;
        if self.n_routes >= self.cap {
            return None;
        }
        let (mut at, mut pattern, mut is_longer) = (0, String::new(), false);
        for (depth, segment) in segments(rest).enumerate() {
            pattern.push('/');
            if depth == SEGMENTS_MAX {
                pattern.push('*');
                is_longer = true;
                break;
            }
            let step = self.step(at, depth, segment);
            let next = match step {
                Step::Known(next) => next,
                Step::NewText(_) | Step::NewValue => self.nodes.len(),
            };
            let node = &mut self.nodes[at];
            match step {
                Step::Known(_) => {}
                Step::NewText(text) => node.texts.push((text.into(), next)),
                Step::NewValue => node.value = Some(next),
            }
            pattern.push_str(if node.value == Some(next) { "{id}" } else { segment });
            if next == self.nodes.len() {
                self.nodes.push(Node::default());
            }
            at = next;
        }
        self.n_routes += 1;
        let route = Route { source: RouteSource::Learned, pattern: pattern.into() };
        let node = &mut self.nodes[at];
        Some(if is_longer { node.longer.insert(route) } else { node.route.insert(route) })
    }

    fn step<'a>(&self, at: usize, depth: usize, segment: &'a str) -> Step<'a> {
        let node = &self.nodes[at];
        if let Some((_, next)) = node.texts.iter().find(|(text, _)| **text == *segment) {
            return Step::Known(*next);
        }
        let is_value = node.texts.len() >= TEXTS_MAX[depth.min(1)] || segment::is_value(segment);
        match node.value {
            _ if !is_value => Step::NewText(segment),
            Some(next) => Step::Known(next),
            None => Step::NewValue,
        }
    }

    /// Bytes that it holds.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        let texts = |node: &Node| -> usize {
            let route = |route: &Option<Route>| route.as_ref().map_or(0, |route| route.pattern.len());
            let own: usize = node.texts.iter().map(|(text, _)| text.len()).sum();
            own + node.texts.capacity() * size_of::<(Box<str>, usize)>()
                + route(&node.route)
                + route(&node.longer)
        };
        self.nodes.capacity() * size_of::<Node>() + self.nodes.iter().map(texts).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(paths: &[&str], cap: usize) -> Vec<String> {
        let mut learner = Learner::new(cap);
        let mut shown = |path: &&str| match learner.find(path) {
            Some(route) => route.pattern.to_string(),
            None => learner.learn(path).map_or("-".to_owned(), |route| route.pattern.to_string()),
        };
        paths.iter().map(&mut shown).collect()
    }

    #[test]
    fn routes() {
        let cases = [
            ("/", "/"),
            ("/users", "/users"),
            ("/users/", "/users/"),
            ("/users/7", "/users/{id}"),
            ("/users/8", "/users/{id}"),
            ("/users/me", "/users/me"),
            ("/users/9/posts/00f067aa0ba902b7", "/users/{id}/posts/{id}"),
            ("/api/v1/things", "/api/v1/things"),
            ("//", "//"),
            ("/1/2/3/4/5/6/7/8", "/{id}/{id}/{id}/{id}/{id}/{id}/{id}/{id}"),
            ("/1/2/3/4/5/6/7/8/9", "/{id}/{id}/{id}/{id}/{id}/{id}/{id}/{id}/*"),
            ("/1/2/3/4/5/6/7/8/9/10", "/{id}/{id}/{id}/{id}/{id}/{id}/{id}/{id}/*"),
            ("*", "-"),
            ("", "-"),
        ];
        let paths = cases.map(|(path, _)| path);
        assert_eq!(learned(&paths, 64), cases.map(|(_, route)| route));
    }

    #[test]
    fn where_many_texts_come_more_are_values() {
        let name = |i: u8| format!("/users/{}{}", char::from(b'a' + i / 26), char::from(b'a' + i % 26));
        let paths: Vec<String> = (0..40).map(name).collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let made = learned(&paths, 64);
        assert_eq!(made[..16], paths[..16]);
        assert!(made[16..].iter().all(|route| route == "/users/{id}"), "{made:?}");
    }

    #[test]
    fn beyond_the_cap_there_is_no_route() {
        assert_eq!(learned(&["/a", "/b", "/c", "/a"], 2), ["/a", "/b", "-", "/a"]);
    }
}
