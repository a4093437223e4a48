//! rotel, an OTLP receiver in Rust: what it prints of what it got.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    eventually, free_port,
    otlp::{Metrics, Numbers, Span},
    parts,
    process::{self, Process},
    scrape::Labels,
};

/// rotel, running.
#[derive(Debug)]
pub struct Rotel {
    _process: Process,
    output: PathBuf,
    port: u16,
    http_port: u16,
}

impl Rotel {
    /// Starts it.
    #[must_use]
    pub fn start(dir: &Path) -> Rotel {
        let (port, http_port, output) = (free_port(), free_port(), dir.join("rotel.txt"));
        let mut command = Command::new(parts().join("bin/rotel"));
        command.args(["start", "--exporter", "blackhole", "--disable-batching"]);
        command.args([
            "--debug-log",
            "metrics",
            "--debug-log",
            "traces",
            "--debug-log-verbosity",
            "detailed",
        ]);
        command.arg("--pid-file").arg(dir.join("rotel.pid"));
        command.args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{port}")]);
        command.args(["--otlp-http-endpoint", &format!("127.0.0.1:{http_port}")]);
        let process = Process::start(&mut command, &output);
        for port in [port, http_port] {
            eventually("rotel to listen", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        }
        Rotel { _process: process, output, port, http_port }
    }

    /// For `--otlp-endpoint`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The same for OTLP by HTTP.
    #[must_use]
    pub fn http_endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.http_port)
    }

    /// The last push.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let mut last = Metrics::default();
        let (mut name, mut attributes) = (String::new(), Labels::new());
        for line in self.lines() {
            match parse(&line) {
                Line::Begins("ResourceMetrics") => last = Metrics::default(),
                Line::Begins("ResourceSpans") => name.clear(),
                Line::Begins("ScopeMetrics") => last.resource = std::mem::take(&mut attributes),
                Line::Begins("Metric" | "HistogramDataPoints" | "NumberDataPoints") => attributes.clear(),
                Line::Attribute("Name", value) => name = value.to_owned(),
                Line::Attribute(key, value) => drop(attributes.insert(key.to_owned(), value.to_owned())),
                Line::Field(field, value) if !name.is_empty() => {
                    let key = (name.clone(), attributes.clone());
                    note(last.points.entry(key), field, value);
                }
                _ => {}
            }
        }
        last
    }

    /// Every span so far.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::new();
        // What the attributes are of: a resource of spans, a span, or neither.
        let (mut in_spans, mut in_span, mut resource) = (false, false, Labels::new());
        for line in self.lines() {
            match parse(&line) {
                Line::Begins(what @ ("ResourceMetrics" | "ResourceSpans")) => {
                    (in_spans, in_span) = (what == "ResourceSpans", false);
                    resource.clear();
                }
                Line::Begins("Span") => {
                    in_span = true;
                    spans.push(Span { resource: resource.clone(), ..Span::default() });
                }
                Line::Attribute(key, value) if in_spans => {
                    let to = spans.last_mut().filter(|_| in_span);
                    let to = to.map_or(&mut resource, |span| &mut span.attributes);
                    to.insert(key.to_owned(), value.to_owned());
                }
                Line::Field(field, value) if in_spans => {
                    let Some(span) = spans.last_mut() else { continue };
                    match field {
                        "Trace ID" => span.trace = value.to_owned(),
                        "Parent ID" => span.parent = value.to_owned(),
                        "Name" => span.name = value.to_owned(),
                        "Kind" => span.kind = value.to_owned(),
                        "Status code" => span.error = value == "STATUS_CODE_ERROR",
                        _ => {}
                    }
                }
                _ => {}
            }
        }
        spans
    }

    fn lines(&self) -> Vec<String> {
        process::read(&self.output).lines().map(str::to_owned).collect()
    }
}

enum Line<'a> {
    /// `Metric #3`.
    Begins(&'a str),
    /// `-> url.scheme: Str(http)`, without its type; also `-> Name: http.server.request.duration`.
    Attribute(&'a str, &'a str),
    /// `Count: 2`, `Buckets #3, Count: 0`.
    Field(&'a str, &'a str),
    Other,
}

fn parse(line: &str) -> Line<'_> {
    let line = line.trim();
    if let Some((key, value)) = line.strip_prefix("-> ").and_then(|rest| rest.split_once(": ")) {
        let typed = value.strip_suffix(')').and_then(|value| value.split_once('('));
        return Line::Attribute(key, typed.map_or(value, |(_, value)| value));
    }
    match (line.split_once(':'), line.split_once(" #")) {
        (Some((field, value)), _) => Line::Field(field.trim(), value.trim()),
        (None, Some((what, n))) if n.parse::<u32>().is_ok() => Line::Begins(what),
        _ => Line::Other,
    }
}

fn note(entry: std::collections::btree_map::Entry<'_, (String, Labels), Numbers>, field: &str, value: &str) {
    let number: f64 = value.parse().unwrap_or_default();
    let histogram = Numbers::Histogram { count: 0, sum: 0.0, buckets: vec![] };
    match field.split(' ').next() {
        Some("Value") => drop(entry.insert_entry(Numbers::Value(number))),
        Some("Count") => {
            if let Numbers::Histogram { count, .. } = entry.or_insert(histogram) {
                *count = number as u64;
            }
        }
        Some("Sum") => {
            if let Numbers::Histogram { sum, .. } = entry.or_insert(histogram) {
                *sum = number;
            }
        }
        Some("Buckets") => {
            if let Numbers::Histogram { buckets, .. } = entry.or_insert(histogram) {
                buckets.push(number as u64);
            }
        }
        _ => {}
    }
}
