//! What an OTLP receiver that is not ours got.

use std::{collections::BTreeMap, path::Path, path::PathBuf, process::Command};

use serde_json::Value;

use crate::{eventually, process, process::Process, python, root, scrape::Labels};

/// `tests/support/otlp_receiver.py`, running.
#[derive(Debug)]
pub struct Receiver {
    _process: Process,
    output: PathBuf,
    port: u64,
}

/// A span as it came, and its resource's attributes.
#[derive(Clone, Debug)]
pub struct Span {
    /// protobuf's JSON form: bytes are base64, numbers of 64 bits are text.
    pub json: Value,
    /// `http.request.method` and so on; numbers as text.
    pub attributes: Labels,
    /// Of the resource.
    pub resource: Labels,
}

/// A data point as it came, and its resource's attributes.
#[derive(Clone, Debug)]
pub struct Point {
    /// protobuf's JSON form.
    pub json: Value,
    /// Of the point.
    pub attributes: Labels,
    /// Of the resource.
    pub resource: Labels,
}

impl Receiver {
    /// Starts it on a port of its own choice.
    #[must_use]
    pub fn start(dir: &Path) -> Receiver {
        let output = dir.join("otlp.ndjson");
        let script = root().join("tests/support/otlp_receiver.py");
        let process = Process::start(Command::new(python()).arg("-u").arg(script), &output);
        let port = eventually("the OTLP receiver", || lines(&output).first()?["port"].as_u64());
        Receiver { _process: process, output, port }
    }

    /// For `--otlp-endpoint`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
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
                for scope in items(&of["scopeSpans"]) {
                    spans.extend(items(&scope["spans"]).map(|span| Span {
                        attributes: attributes(&span["attributes"]),
                        resource: attributes(&of["resource"]["attributes"]),
                        json: span.clone(),
                    }));
                }
            }
        }
        spans
    }

    /// The points of the last push, by the metric's name.
    #[must_use]
    pub fn last_metrics(&self) -> BTreeMap<String, Vec<Point>> {
        let mut metrics: BTreeMap<String, Vec<Point>> = BTreeMap::new();
        let Some(line) = self.requests("metrics").pop() else { return metrics };
        for of in items(&line["request"]["resourceMetrics"]) {
            for metric in items(&of["scopeMetrics"]).flat_map(|scope| items(&scope["metrics"])) {
                let kinds = ["sum", "gauge", "histogram"];
                let points = kinds.iter().flat_map(|kind| items(&metric[kind]["dataPoints"]));
                let points = points.map(|point| Point {
                    attributes: attributes(&point["attributes"]),
                    resource: attributes(&of["resource"]["attributes"]),
                    json: point.clone(),
                });
                let name = metric["name"].as_str().unwrap_or_default().to_owned();
                metrics.entry(name).or_default().extend(points);
            }
        }
        metrics
    }
}

/// A number that is a number or text.
#[must_use]
pub fn number(value: &Value) -> f64 {
    value.as_f64().or_else(|| value.as_str()?.parse().ok()).unwrap_or(0.0)
}

/// The bytes of base64 in hexadecimal.
#[must_use]
pub fn hex(base64: &Value) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = base64.as_str().unwrap_or_default().bytes().filter(|byte| *byte != b'=');
    let values = digits.filter_map(|byte| ALPHABET.iter().position(|one| *one == byte));
    let bits: String = values.map(|value| format!("{value:06b}")).collect();
    let whole = bits.as_bytes().chunks_exact(4).take(bits.len() / 8 * 2);
    whole
        .map(|nibble| nibble.iter().fold(0, |sum, bit| sum * 2 + u32::from(bit - b'0')))
        .filter_map(|nibble| char::from_digit(nibble, 16))
        .collect()
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
