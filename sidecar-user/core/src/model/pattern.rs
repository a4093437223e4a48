//! Patterns of paths, as users write them.

use std::fmt;
use std::str::FromStr;

/// A path whose segments are texts or, as `{name}`, anything that is not empty. A last segment `*` stands for any rest,
/// an empty one too.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathPattern {
    text: Box<str>,
    segments: Box<[Segment]>,
    takes_rest: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Segment {
    Text(Box<str>),
    Any,
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a path pattern: write /text, /{{name}} for one segment, /* at the end for any rest")]
pub struct Malformed(pub String);

impl PathPattern {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a path, without its query, is one of those that it stands for.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let Some(path) = path.strip_prefix('/') else { return false };
        let mut path = path.split('/');
        for segment in &self.segments {
            let Some(found) = path.next() else { return false };
            let is_same = match segment {
                Segment::Text(text) => **text == *found,
                Segment::Any => !found.is_empty(),
            };
            if !is_same {
                return false;
            }
        }
        path.next().is_none() != self.takes_rest
    }
}

impl FromStr for PathPattern {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let malformed = || Malformed(text.to_owned());
        let path = text.strip_prefix('/').ok_or_else(malformed)?;
        let (path, takes_rest) = match path.strip_suffix('*') {
            Some("") => (None, true),
            Some(before) => (Some(before.strip_suffix('/').ok_or_else(malformed)?), true),
            None => (Some(path), false),
        };
        let segment = |segment: &str| match segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'))
        {
            Some(name) if !name.is_empty() && !name.contains(['{', '}', '*']) => Ok(Segment::Any),
            None if !segment.contains(['{', '}', '*', '?', '#']) => Ok(Segment::Text(segment.into())),
            _ => Err(malformed()),
        };
        let is_plain = |c: char| !c.is_whitespace() && !c.is_control();
        if !text.chars().all(is_plain) {
            return Err(malformed());
        }
        let segments = path.iter().flat_map(|path| path.split('/')).map(segment).collect::<Result<_, _>>()?;
        Ok(PathPattern { text: text.into(), segments, takes_rest })
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (pattern, path, is_match) in [
            ("/", "/", true),
            ("/", "/a", false),
            ("/a", "/a", true),
            ("/a", "/a/", false),
            ("/a/", "/a/", true),
            ("/a", "/A", false),
            ("/users/{id}", "/users/7", true),
            ("/users/{id}", "/users/", false),
            ("/users/{id}", "/users/7/", false),
            ("/users/{id}/posts/{post}", "/users/7/posts/8", true),
            ("/static/*", "/static/", true),
            ("/static/*", "/static/a/b", true),
            ("/static/*", "/static", false),
            ("/{tenant}/*", "/a/b/c", true),
            ("/*", "/", true),
            ("/*", "/a/b", true),
            ("/*", "*", false),
            ("/a", "", false),
        ] {
            let parsed: PathPattern = pattern.parse().expect("a pattern");
            assert_eq!(parsed.matches(path), is_match, "{pattern} {path}");
            assert_eq!(parsed.to_string(), pattern);
        }
    }

    #[test]
    fn what_is_no_pattern() {
        for text in [
            "", "a", "*", "/a*", "/*/a", "/{}", "/{a", "/a}", "/x{a}", "/{a}{b}", "/a b", "/a?b=c", "/a#b",
            "/a\n",
        ] {
            assert_eq!(text.parse::<PathPattern>(), Err(Malformed(text.to_owned())), "{text}");
        }
    }
}
