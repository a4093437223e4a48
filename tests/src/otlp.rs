//! What an OTLP receiver that is not ours got: `tests/support/otlp_receiver.py`, on gRPC's C core.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::{
    eventually,
    process::{self, Process},
    python, root,
    scrape::Labels,
};

/// The receiver, running.
#[derive(Debug)]
pub struct Receiver {
    _process: Process,
    output: PathBuf,
    port: u64,
}

/// The last push of metrics.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    /// The resource's attributes.
    pub resource: Labels,
    /// By name and attributes, in OpenTelemetry's spelling.
    pub points: BTreeMap<(String, Labels), Numbers>,
}

/// A data point.
#[derive(Clone, Debug, PartialEq)]
pub enum Numbers {
    /// A sum or gauge.
    Value(f64),
    /// A histogram.
    Histogram {
        /// All.
        count: u64,
        /// Their sum.
        sum: f64,
        /// In each bucket alone, the last without an upper bound.
        buckets: Vec<u64>,
    },
}

/// A span.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Span {
    /// Its name.
    pub name: String,
    /// `SPAN_KIND_SERVER`, …
    pub kind: String,
    /// In hexadecimal.
    pub trace: String,
    /// In hexadecimal; empty for none.
    pub parent: String,
    /// `tracestate`.
    pub trace_state: String,
    /// Its status is an error.
    pub error: bool,
    /// Numbers as text.
    pub attributes: Labels,
    /// The resource's attributes.
    pub resource: Labels,
}

impl Receiver {
    /// Starts it for gRPC, on a port of its own choice; it takes everything.
    #[must_use]
    pub fn start(dir: &Path) -> Receiver {
        Receiver::with(dir, &[])
    }

    /// Starts it with arguments: how it answers is told in the script.
    #[must_use]
    pub fn with(dir: &Path, args: &[&str]) -> Receiver {
        let output = dir.join("otlp.ndjson");
        let script = root().join("tests/support/otlp_receiver.py");
        let process = Process::start(Command::new(python()).arg("-u").arg(script).args(args), &output);
        let port = eventually("the OTLP receiver", || lines(&output).first()?["port"].as_u64());
        Receiver { _process: process, output, port }
    }

    /// Where it listens on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u64 {
        self.port
    }

    /// For `--otlp-endpoint`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Items of a signal that it took so far, by its own account.
    #[must_use]
    pub fn taken(&self, signal: &str) -> u64 {
        self.requests(signal).iter().filter_map(|line| line["taken"].as_u64()).sum()
    }

    /// Requests of a signal so far, in their order, with `headers` and `request`.
    #[must_use]
    pub fn requests(&self, signal: &str) -> Vec<Value> {
        lines(&self.output).into_iter().filter(|line| line["signal"] == signal).collect()
    }

    /// Every span so far.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        let mut spans = Vec::new();
        for line in self.requests("traces") {
            for of in items(&line["request"]["resourceSpans"]) {
                let resource = attributes(&of["resource"]["attributes"]);
                let all = items(&of["scopeSpans"]).flat_map(|scope| items(&scope["spans"]));
                spans.extend(all.map(|json| span(json, &resource)));
            }
        }
        spans
    }

    /// The last push.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let mut last = Metrics::default();
        let Some(line) = self.requests("metrics").pop() else { return last };
        for of in items(&line["request"]["resourceMetrics"]) {
            last.resource = attributes(&of["resource"]["attributes"]);
            for metric in items(&of["scopeMetrics"]).flat_map(|scope| items(&scope["metrics"])) {
                let name = metric["name"].as_str().unwrap_or_default();
                let kinds = ["sum", "gauge", "histogram"];
                for point in kinds.iter().flat_map(|kind| items(&metric[kind]["dataPoints"])) {
                    last.points.insert((name.to_owned(), attributes(&point["attributes"])), numbers(point));
                }
            }
        }
        last
    }
}

/// protobuf's JSON form has numbers of 64 bits as text, and leaves out what is 0.
fn number(value: &Value) -> f64 {
    value.as_f64().or_else(|| value.as_str()?.parse().ok()).unwrap_or(0.0)
}

fn numbers(point: &Value) -> Numbers {
    if point["bucketCounts"].is_null() {
        let key = if point["asDouble"].is_null() { "asInt" } else { "asDouble" };
        return Numbers::Value(number(&point[key]));
    }
    Numbers::Histogram {
        count: number(&point["count"]) as u64,
        sum: number(&point["sum"]),
        buckets: items(&point["bucketCounts"]).map(|count| number(count) as u64).collect(),
    }
}

fn span(json: &Value, resource: &Labels) -> Span {
    let text = |key: &str| json[key].as_str().unwrap_or_default().to_owned();
    Span {
        name: text("name"),
        kind: text("kind"),
        trace: hex(&text("traceId")),
        parent: hex(&text("parentSpanId")),
        trace_state: text("traceState"),
        error: json["status"]["code"] == "STATUS_CODE_ERROR",
        attributes: attributes(&json["attributes"]),
        resource: resource.clone(),
    }
}

/// Base64 as hexadecimal.
fn hex(base64: &str) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let values = base64.bytes().filter_map(|byte| ALPHABET.iter().position(|one| *one == byte));
    let bits: String = values.map(|value| format!("{value:06b}")).collect();
    let nibbles = bits.as_bytes().chunks_exact(4).take(bits.len() / 8 * 2);
    let digit =
        |nibble: &[u8]| char::from_digit(nibble.iter().fold(0, |n, bit| n * 2 + u32::from(bit - b'0')), 16);
    nibbles.filter_map(digit).collect()
}

fn lines(output: &Path) -> Vec<Value> {
    // The last may be half written.
    process::read(output).lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// `[{"key": …, "value": {"stringValue": …}}, …]`.
fn attributes(value: &Value) -> Labels {
    let pair = |pair: &Value| {
        let value = pair["value"].as_object()?.values().next()?;
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Some((pair["key"].as_str()?.to_owned(), text))
    };
    items(value).filter_map(pair).collect()
}
