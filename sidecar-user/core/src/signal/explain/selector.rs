//! Which series is asked for: a vector selector of PromQL, or pairs of a query, with names in either spelling.

use regex_lite::Regex;

use crate::model::MetricDef;
use crate::signal::names;

/// A metric's name and what its labels must be.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    metric: Option<String>,
    matchers: Vec<Matcher>,
}

#[derive(Clone, Debug)]
struct Matcher {
    label: String,
    is: Is,
}

/// As PromQL compares: a label that is not there is empty, a regular expression holds for the whole value.
#[derive(Clone, Debug)]
enum Is {
    Equal(String),
    NotEqual(String),
    Like(Regex),
    Unlike(Regex),
}

/// Why a selector is none, or asks for what there is not. Its `Display` is the whole sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadSelector(String);

impl BadSelector {
    /// With this sentence.
    #[must_use]
    pub fn new(why: String) -> Self {
        BadSelector(why)
    }
}

/// The label that bounds a histogram's bucket.
const BOUND: &str = "le";
/// What Prometheus adds to a histogram's name.
const OF_HISTOGRAM: [&str; 3] = ["_bucket", "_count", "_sum"];
/// Longest regular expression, bytes.
const PATTERN_MAX: usize = 1000;

impl Selector {
    /// `name{label="value",…}`. Names may have dots; in quotes they may have anything, as in Prometheus 3.
    ///
    /// # Errors
    /// Where it is not of that form.
    pub fn parse(text: &str) -> Result<Selector, BadSelector> {
        let mut rest = Rest(text.trim());
        let mut selector = Selector { metric: rest.name().map(str::to_owned), matchers: Vec::new() };
        if rest.take('{') {
            while !rest.take('}') {
                let quoted = rest.0.starts_with(['"', '\'']);
                let label = if quoted { rest.text()? } else { rest.name().unwrap_or_default().to_owned() };
                if label.is_empty() {
                    return Err(rest.refuse("a label's name"));
                }
                match rest.operator() {
                    Some(operator) => selector.and(&label, operator, rest.text()?)?,
                    None if quoted => selector.metric = Some(label),
                    None => return Err(rest.refuse("=, !=, =~ or !~")),
                }
                if !rest.take(',') && !rest.0.starts_with('}') {
                    return Err(rest.refuse("a comma or }"));
                }
            }
        }
        if rest.0.is_empty() { Ok(selector) } else { Err(rest.refuse("the end")) }
    }

    /// Asks for a metric by name.
    pub fn set_metric(&mut self, name: &str) {
        self.metric = Some(name.to_owned());
    }

    /// Asks for a label's value too.
    ///
    /// # Errors
    /// None for `=`; the expression's own where it is not one.
    pub fn and(&mut self, label: &str, operator: &str, value: String) -> Result<(), BadSelector> {
        if label == "__name__" && operator == "=" {
            self.metric = Some(value);
            return Ok(());
        }
        let is = match operator {
            "!=" => Is::NotEqual(value),
            "=~" => Is::Like(regex(&value)?),
            "!~" => Is::Unlike(regex(&value)?),
            _ => Is::Equal(value),
        };
        self.matchers.push(Matcher { label: label.to_owned(), is });
        Ok(())
    }

    /// The metric that is asked for, among those that there are; `None` where the selector names none.
    ///
    /// # Errors
    /// Where it names another, or a label that the metric does not have.
    pub fn metric(&self, known: &[&'static MetricDef]) -> Result<Option<&'static MetricDef>, BadSelector> {
        let Some(name) = &self.metric else { return self.check_labels(known).map(|()| None) };
        let is_it = |def: &&&'static MetricDef| {
            let exposed = names::metric(def).sample();
            let suffix = name.strip_prefix(&exposed);
            def.name == name || suffix.is_some_and(|end| end.is_empty() || OF_HISTOGRAM.contains(&end))
        };
        let Some(def) = known.iter().find(is_it) else {
            let all: Vec<_> = known.iter().map(|def| def.name).collect();
            return Err(BadSelector(format!(
                "no exchange feeds `{name}`; these are fed: {}",
                all.join(", ")
            )));
        };
        self.check_labels(&[def]).map(|()| Some(*def))
    }

    /// Whether a measurement of `value` is one of the series. Labels by OpenTelemetry's keys.
    #[must_use]
    pub fn takes(&self, labels: &[(&'static str, String)], value: f64) -> bool {
        self.matchers.iter().all(|Matcher { label, is }| {
            if label == BOUND {
                return matches!(is, Is::Equal(bound) if bound.parse().is_ok_and(|bound: f64| value <= bound));
            }
            let found = labels.iter().find(|(key, _)| is_spelt(key, label));
            let found = found.map(|(_, value)| value.as_str()).unwrap_or_default();
            match is {
                Is::Equal(wanted) => found == wanted,
                Is::NotEqual(wanted) => found != wanted,
                Is::Like(regex) => regex.is_match(found),
                Is::Unlike(regex) => !regex.is_match(found),
            }
        })
    }

    fn check_labels(&self, of: &[&'static MetricDef]) -> Result<(), BadSelector> {
        let keys = || of.iter().flat_map(|def| def.attributes);
        for Matcher { label, is } in &self.matchers {
            let is_bound = label == BOUND && matches!(is, Is::Equal(bound) if bound.parse::<f64>().is_ok());
            if !is_bound && !keys().any(|key| is_spelt(key, label)) {
                let mut all: Vec<_> = keys().copied().collect();
                all.sort_unstable();
                all.dedup();
                return Err(BadSelector(format!("there is no label `{label}` here but: {}", all.join(", "))));
            }
        }
        Ok(())
    }
}

fn is_spelt(key: &str, label: &str) -> bool {
    key == label || names::label(key) == label
}

fn regex(pattern: &str) -> Result<Regex, BadSelector> {
    if pattern.len() > PATTERN_MAX {
        return Err(BadSelector(format!("a regular expression of more than {PATTERN_MAX} bytes")));
    }
    Regex::new(&format!("^(?:{pattern})$")).map_err(|error| BadSelector(format!("`{pattern}`: {error}")))
}

/// What is left to read.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn take(&mut self, c: char) -> bool {
        self.0 = self.0.trim_start();
        let rest = self.0.strip_prefix(c);
        self.0 = rest.unwrap_or(self.0).trim_start();
        rest.is_some()
    }

    fn name(&mut self) -> Option<&'a str> {
        self.0 = self.0.trim_start();
        let end = self.0.find(|c: char| !(c.is_alphanumeric() || "_:.".contains(c))).unwrap_or(self.0.len());
        let (name, rest) = self.0.split_at(end);
        self.0 = rest.trim_start();
        Some(name).filter(|name| !name.is_empty())
    }

    fn operator(&mut self) -> Option<&'static str> {
        let operator = ["=~", "!~", "!=", "="].into_iter().find(|operator| self.0.starts_with(operator))?;
        self.0 = self.0[operator.len()..].trim_start();
        Some(operator)
    }

    /// A text in quotes. A backslash makes the next character itself, or a line's end of `n`.
    fn text(&mut self) -> Result<String, BadSelector> {
        let Some(quote) = self.0.chars().next().filter(|c| "\"'`".contains(*c)) else {
            return Err(self.refuse("a value in quotes"));
        };
        let (mut text, mut chars) = (String::new(), self.0.char_indices().skip(1));
        while let Some((at, c)) = chars.next() {
            match c {
                c if c == quote => {
                    self.0 = self.0[at + c.len_utf8()..].trim_start();
                    return Ok(text);
                }
                '\\' if quote != '`' => match chars.next() {
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, c)) => text.push(c),
                    None => break,
                },
                c => text.push(c),
            }
        }
        Err(BadSelector("a quote is not closed".to_owned()))
    }

    fn refuse(&self, wanted: &str) -> BadSelector {
        let found: String = self.0.chars().take(20).collect();
        BadSelector(format!("{wanted} is wanted, here is `{found}`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::{catalogue, key};

    const KNOWN: [&MetricDef; 2] = [&catalogue::HTTP_SERVER_DURATION, &catalogue::HTTP_CLIENT_DURATION];

    fn takes(selector: &str, status: &str, value: f64) -> bool {
        let selector = Selector::parse(selector).unwrap_or_else(|error| panic!("{selector}: {error}"));
        let labels = [(key::METHOD, "GET".to_owned()), (key::STATUS, status.to_owned())];
        selector.takes(&labels, value)
    }

    #[test]
    fn metrics_in_either_spelling() {
        for (text, expected) in [
            ("http.server.request.duration", Some("http.server.request.duration")),
            ("http_server_request_duration_seconds", Some("http.server.request.duration")),
            ("http_client_request_duration_seconds_bucket{le=\"0.5\"}", Some("http.client.request.duration")),
            ("http_server_request_duration_seconds_count{}", Some("http.server.request.duration")),
            ("{__name__=\"http.server.request.duration\"}", Some("http.server.request.duration")),
            (
                "{\"http.server.request.duration\", \"url.scheme\"='http'}",
                Some("http.server.request.duration"),
            ),
            ("{http_request_method=\"GET\"}", None),
            ("", None),
        ] {
            let selector = Selector::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let found = selector.metric(&KNOWN).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(found.map(|def| def.name), expected, "{text}");
        }
    }

    #[test]
    fn labels_as_promql_compares_them() {
        for (selector, status, expected) in [
            ("{http_response_status_code=\"500\"}", "500", true),
            ("{http.response.status_code=\"500\"}", "200", false),
            ("{\"http.response.status_code\"!=\"500\",}", "200", true),
            ("{http_response_status_code=~\"5..\"}", "503", true),
            ("{http_response_status_code=~\"5\"}", "503", false),
            ("{http_response_status_code!~'5..|4..', http_request_method=\"GET\"}", "200", true),
            ("{http_response_status_code=`500`, http_request_method=\"POST\"}", "500", false),
            ("{error_type=\"\"}", "200", true),
            ("{http_request_method=\"G\\\"ET\"}", "200", false),
        ] {
            assert_eq!(takes(selector, status, 0.2), expected, "{selector} {status}");
        }
        assert!(takes("{le=\"0.25\"}", "200", 0.25) && !takes("{le=\"0.25\"}", "200", 0.3));
        assert!(takes("{le=\"+Inf\"}", "200", 1e9));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, part) in [
            ("http.server", "no exchange feeds `http.server`"),
            ("http.server.request.duration{job=\"a\"}", "no label `job`"),
            ("http.server.request.duration{le=\"low\"}", "no label `le`"),
            ("{job=\"a\"}", "no label `job`"),
            ("a{b}", "=, !=, =~ or !~ is wanted, here is `}`"),
            ("a{b=c}", "a value in quotes is wanted"),
            ("a{b=\"c\"", "a comma or }"),
            ("a{b=\"c}", "a quote is not closed"),
            ("a{b=\"c\" d=\"e\"}", "a comma or }"),
            ("a{=\"c\"}", "a label's name"),
            ("a{} b", "the end is wanted"),
            ("{url.scheme=~\"(\"}", "`(`"),
        ] {
            let found = Selector::parse(text).and_then(|selector| selector.metric(&KNOWN));
            let error = found.expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
