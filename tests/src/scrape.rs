//! What the daemon exposes, as a scraper sees it.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

/// Labels of a sample.
pub type Labels = BTreeMap<String, String>;

/// All samples of one scrape, by name.
#[derive(Clone, Debug, Default)]
pub struct Scrape(Vec<(String, Labels, f64)>);

/// A method and a status (or the `error.type` where there was none).
pub type Kind = (String, String);

impl Scrape {
    /// Scrapes `/metrics` of this port in the text format.
    #[must_use]
    pub fn of(port: u16) -> Scrape {
        Scrape::parse(&get(port, "/metrics", ""))
    }

    /// Reads the text format.
    #[must_use]
    pub fn parse(text: &str) -> Scrape {
        Scrape(text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect())
    }

    /// The sum of all samples of this name that have these labels; `None` if there is no such sample.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has = |of: &Labels| labels.iter().all(|(key, value)| of.get(*key).is_some_and(|v| v == value));
        let values: Vec<f64> =
            self.0.iter().filter(|(n, l, _)| n == name && has(l)).map(|(_, _, value)| *value).collect();
        if values.is_empty() { None } else { Some(values.iter().sum()) }
    }

    /// The same as a count, 0 where there is none.
    #[must_use]
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.sum(name, labels).unwrap_or(0.0) as u64
    }

    /// What parsers found odd, by reason.
    #[must_use]
    pub fn oddities(&self) -> BTreeMap<String, u64> {
        let mut oddities = BTreeMap::new();
        for (labels, n) in self.all("sidecar_parser_oddities_total").filter(|(_, n)| *n > 0.0) {
            *oddities.entry(labels["sidecar_reason"].clone()).or_default() += n as u64;
        }
        oddities
    }

    /// Every sample of this name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a Labels, f64)> {
        self.0.iter().filter(move |(n, _, _)| n == name).map(|(_, labels, value)| (labels, *value))
    }

    /// Requests of a role (`server`, `client`) by method and status.
    #[must_use]
    pub fn requests(&self, role: &str) -> BTreeMap<Kind, u64> {
        let mut kinds = BTreeMap::new();
        for (labels, value) in self.all(&format!("http_{role}_request_duration_seconds_count")) {
            let method = labels.get("http_request_method").cloned().unwrap_or_default();
            let status = labels.get("http_response_status_code").or_else(|| labels.get("error_type"));
            *kinds.entry((method, status.cloned().unwrap_or_default())).or_default() += value as u64;
        }
        kinds
    }

    /// Payload bytes of a class (`seen`, `explained`, …).
    #[must_use]
    pub fn bytes(&self, class: &str) -> u64 {
        self.count("sidecar_capture_bytes_total", &[("sidecar_class", class)])
    }

    /// Everything that was dropped on the way, by reason, where it is not 0.
    #[must_use]
    pub fn drops(&self) -> BTreeMap<String, u64> {
        let drops = self.all("sidecar_capture_drops_total").filter(|(_, value)| *value > 0.0);
        drops.map(|(labels, value)| (labels["sidecar_reason"].clone(), value as u64)).collect()
    }

    /// The counts are these, every byte is explained, and nothing was dropped: requests by role, as the other programs
    /// tell them.
    pub fn assert_whole(&self, expected: &[(&str, BTreeMap<Kind, u64>)]) {
        let mut wrong = String::new();
        for role in ["server", "client"] {
            let (mut left, counted) = (BTreeMap::new(), self.requests(role));
            let own =
                expected.iter().find(|(of, _)| *of == role).map(|(_, own)| own.clone()).unwrap_or_default();
            left.extend(counted.iter().filter(|(kind, n)| own.get(kind) != Some(n)));
            let right: BTreeMap<_, _> = own.iter().filter(|(kind, n)| counted.get(kind) != Some(n)).collect();
            if (left.len(), right.len()) != (0, 0) {
                let _ = writeln!(wrong, "{role}: counted {left:?}, their own account {right:?}");
            }
        }
        let coverage = self.sum("sidecar_capture_coverage_ratio", &[]);
        let (seen, explained) = (self.bytes("seen"), self.bytes("explained"));
        if coverage != Some(1.0) || seen != explained {
            let _ = writeln!(wrong, "coverage {coverage:?}: seen {seen}, explained {explained}");
        }
        if !self.drops().is_empty() {
            let _ = writeln!(wrong, "dropped {:?}", self.drops());
        }
        let shed = self.count("sidecar_capture_shed_bytes_total", &[]);
        assert!(wrong.is_empty(), "{wrong}({shed} bytes were left out as the ring was crowded)");
        for class in ["lost", "unclassified", "encrypted", "before_join"] {
            assert_eq!(self.bytes(class), 0, "{class}");
        }
    }
}

/// A method as it is exposed: `_OTHER` where it is none of RFC 9110's, nor PATCH (RFC 5789) or QUERY (RFC 10008).
#[must_use]
pub fn known_method(method: &str) -> &str {
    const KNOWN: [&str; 10] =
        ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"];
    if KNOWN.contains(&method) { method } else { "_OTHER" }
}

/// `GET` over HTTP/1.0 from 127.0.0.1: the body. `headers` are whole lines, each ended by CRLF.
#[must_use]
pub fn get(port: u16, path: &str, headers: &str) -> String {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("connect to the daemon");
    let (head, body) = ask(stream, path, headers);
    assert!(head.contains(" 200 "), "GET {path}: {head}");
    body
}

/// The same, of somebody who may not be there or answer otherwise yet: `None` then.
#[must_use]
pub fn try_get(port: u16, path: &str) -> Option<String> {
    let (head, body) = ask(TcpStream::connect(("127.0.0.1", port)).ok()?, path, "");
    head.contains(" 200 ").then_some(body)
}

/// Head and body of the answer.
fn ask(mut stream: TcpStream, path: &str, headers: &str) -> (String, String) {
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out");
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).expect("send the request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("read the answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
    (head.to_owned(), body.to_owned())
}

fn sample(line: &str) -> Option<(String, Labels, f64)> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let mut rest = labels.strip_suffix('}')?;
    let mut labels = Labels::new();
    while let Some((key, after)) = rest.split_once("=\"") {
        // The values here have no escaped quotes.
        let (value, after) = after.split_once('"')?;
        labels.insert(key.trim_start_matches(',').to_owned(), value.to_owned());
        rest = after;
    }
    Some((name.to_owned(), labels, value.parse().ok()?))
}
