//! `/explain`: the exchanges behind a series, as JSON, or as text for whoever asks for that.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};
use sidecar_core::{
    event,
    model::{Detail, Http, HttpVersion, Ktime, Role},
    signal::{
        UnixNanos,
        explain::{Answer, BadSelector, Explained, Selector},
        reason::Ended,
    },
};

/// Exchanges that are shown unless the query says how many.
const LIMIT: usize = 20;
/// Most that a query may ask for.
const LIMIT_MAX: usize = 1000;

/// What a query asks for: `selector` in PromQL's syntax, `metric`, `limit`, and any other name as a label.
pub(super) fn parse(query: &str) -> Result<(Selector, usize), BadSelector> {
    let (mut selector, mut limit, mut rest) = (Selector::default(), LIMIT, Vec::new());
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decoded(name), decoded(value));
        match name.as_str() {
            "selector" => selector = Selector::parse(&value)?,
            "limit" => {
                let n = value.parse().ok().filter(|n| (1..=LIMIT_MAX).contains(n));
                limit =
                    n.ok_or_else(|| BadSelector::new(format!("limit: a number from 1 to {LIMIT_MAX}")))?;
            }
            _ => rest.push((name, value)),
        }
    }
    for (name, value) in rest {
        match name.as_str() {
            "metric" => selector.set_metric(&value),
            _ => selector.and(&name, "=", value)?,
        }
    }
    Ok((selector, limit))
}

/// As forms write it: `+` is a space, `%XX` a byte.
pub(super) fn decoded(text: &str) -> String {
    let (bytes, mut out, mut at) = (text.as_bytes(), Vec::new(), 0);
    while let Some(byte) = bytes.get(at) {
        let hex = text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (byte, hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            _ => out.push(*byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// As JSON. `offset` is what makes Unix time of the kernel's.
pub(super) fn to_json(answer: &Answer, offset: u64) -> Value {
    let time = |at: Ktime| rfc3339(UnixNanos(at.0.saturating_add(offset)));
    json!({
        "kept": answer.n_kept,
        "complete_since": answer.complete_since.map(time),
        "matched": answer.n_matched,
        "exchanges": answer.last.iter().map(|one| exchange(one, time)).collect::<Vec<_>>(),
    })
}

fn exchange(explained: &Explained, time: impl Fn(Ktime) -> String) -> Value {
    let Explained { kept, worded, metric, series, value, route } = explained;
    let (connection, exchange, http) = (&kept.connection, &kept.exchange, kept.exchange.http());
    let series: Map<_, _> =
        series.iter().map(|(key, value)| ((*key).to_owned(), value.to_string().into())).collect();
    let seconds = |from: Option<Ktime>, to: Option<Ktime>| Some(to?.since(from?).as_secs_f64());
    let (started, ended) = (Some(exchange.started), Some(exchange.ended));
    let ids = kept.decision.ids();
    json!({
        "metric": metric.name,
        "unit": metric.unit,
        "value": value,
        "series": series,
        "role": role_word(worded.role),
        "protocol": match http.map(|http| http.version) {
            Some(HttpVersion::Http10) => "http/1.0",
            Some(HttpVersion::Http11) => "http/1.1",
            Some(HttpVersion::Http2) => "http/2",
            None => kept.protocol,
        },
        "outcome": Ended::from(exchange.outcome).word(),
        "operation": worded.operation,
        "status": match &exchange.detail {
            Detail::Http(http) => json!(http.status),
            _ => json!(worded.status),
        },
        "path": http.and_then(|http| http.path.as_deref()),
        "host": http.and_then(|http| http.host.as_deref()),
        "times": {
            "started": time(exchange.started),
            "requested": exchange.requested.map(&time),
            "read": exchange.read.map(&time),
            "answered": exchange.answered.map(&time),
            "ended": time(exchange.ended),
        },
        "seconds": {
            "request": seconds(started, exchange.requested),
            "first_byte": seconds(started, exchange.answered),
            "wait": seconds(exchange.requested, exchange.answered),
            "socket_wait": seconds(exchange.requested, exchange.read),
            "work": seconds(exchange.read, exchange.answered),
            "response": seconds(exchange.answered, ended),
            "total": seconds(started, ended),
        },
        "bytes": { "request_body": worded.bytes[0], "response_body": worded.bytes[1], "lost": exchange.lost },
        "connection": {
            "cookie": event::cookie(connection.id),
            "local": connection.local.to_string(),
            "remote": connection.remote.to_string(),
            "pid": (connection.tgid != 0).then_some(connection.tgid),
            "cgroup_id": (connection.cgroup != 0).then_some(connection.cgroup),
            "joined": connection.joined,
        },
        "route": route.map(|why| json!({ "value": pattern(http), "why": why })),
        "error": worded.error.as_ref().map(|(value, why)| json!({ "type": value, "why": why })),
        "span": {
            "decision": kept.decision.as_str(),
            "trace_id": ids.map(|ids| hex(&ids.trace)),
            "span_id": ids.map(|ids| hex(&ids.span)),
            "parent_trace_id": exchange.trace.as_ref().map(|trace| hex(&trace.parent.trace)),
            "parent_span_id": exchange.trace.as_ref().map(|trace| hex(&trace.parent.span)),
        },
    })
}

/// As text: a line on the whole, and a few on each exchange.
pub(super) fn to_text(answer: &Answer, offset: u64) -> String {
    let time = |at: Ktime| rfc3339(UnixNanos(at.0.saturating_add(offset)));
    let since = answer.complete_since.map_or_else(|| "-".to_owned(), time);
    let mut out = format!(
        "{} of {} exchanges match, {} shown; complete since {since}\n",
        answer.n_matched,
        answer.n_kept,
        answer.last.len()
    );
    for explained in &answer.last {
        // A `String` takes whatever is written.
        let _ = one(&mut out, explained, time);
    }
    out
}

fn one(out: &mut String, explained: &Explained, time: impl Fn(Ktime) -> String) -> std::fmt::Result {
    let Explained { kept, worded, metric, series, value, route } = explained;
    let (connection, exchange, http) = (&kept.connection, &kept.exchange, kept.exchange.http());
    let series: Vec<_> = series.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
    writeln!(out, "\n{}  {} {value} {}", time(exchange.started), metric.name, metric.unit)?;
    writeln!(out, "  series      {}", series.join(" "))?;
    let what = match &exchange.detail {
        Detail::Http(http) => http.path.as_deref(),
        _ => worded.operation.as_deref(),
    };
    let (what, status) = (what.unwrap_or("-"), worded.status.as_deref().unwrap_or("no status"));
    writeln!(out, "  exchange    {what} {status}, {}", Ended::from(exchange.outcome).word())?;
    let ms = |to: Option<Ktime>| {
        let ms = to.map(|to| to.since(exchange.started).as_secs_f64() * 1000.0);
        ms.map_or_else(|| "not seen".to_owned(), |ms| format!("+{ms:.3} ms"))
    };
    let (requested, answered) = (ms(exchange.requested), ms(exchange.answered));
    let ended = ms(Some(exchange.ended));
    let read = exchange.read.map(|_| format!(", read {}", ms(exchange.read))).unwrap_or_default();
    writeln!(out, "  times       request ended {requested}{read}, first byte {answered}, ended {ended}")?;
    let size = |bytes: Option<u64>| bytes.map_or_else(|| "not known".to_owned(), |bytes| bytes.to_string());
    let (sent, got) = (size(worded.bytes[0]), size(worded.bytes[1]));
    let body = if http.is_some() { " body" } else { "" };
    writeln!(out, "  bytes       request{body} {sent}, response{body} {got}, lost {}", exchange.lost)?;
    let (local, remote, cookie) = (connection.local, connection.remote, event::cookie(connection.id));
    let joined = if connection.joined { ", met in the middle" } else { "" };
    writeln!(
        out,
        "  connection  {} {local}, peer {remote}, cookie {cookie}{joined}",
        role_word(worded.role)
    )?;
    if let Some(why) = route {
        writeln!(out, "  route       {}: {why}", pattern(http).unwrap_or("none"))?;
    }
    if let Some((value, why)) = &worded.error {
        writeln!(out, "  error       {value}: {why}")?;
    }
    let decision = kept.decision.as_str();
    match kept.decision.ids() {
        Some(ids) => writeln!(out, "  span        {decision}: {} {}", hex(&ids.trace), hex(&ids.span)),
        None => writeln!(out, "  span        {decision}"),
    }
}

fn pattern(http: Option<&Http>) -> Option<&str> {
    http?.route.as_ref().map(|route| &*route.pattern)
}

fn role_word(role: Role) -> &'static str {
    match role {
        Role::Client => "client",
        Role::Server => "server",
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// In UTC, to the microsecond (RFC 3339). The date by days since 0000-03-01, so that leap days come last in a year.
pub(super) fn rfc3339(at: UnixNanos) -> String {
    let (seconds, us) = (at.0 / 1_000_000_000, at.0 % 1_000_000_000 / 1000);
    let days = seconds / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{us:06}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        // As GNU date has them: date -u -d @N +%FT%T
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000001Z"),
            (951_782_399, "2000-02-28T23:59:59.000001Z"),
            (951_782_400, "2000-02-29T00:00:00.000001Z"),
            (951_868_800, "2000-03-01T00:00:00.000001Z"),
            (1_795_737_599, "2026-11-26T23:59:59.000001Z"),
            (4_107_542_399, "2100-02-28T23:59:59.000001Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000001Z"),
        ] {
            assert_eq!(rfc3339(UnixNanos(seconds * 1_000_000_000 + 1999)), expected);
        }
    }

    #[test]
    fn queries() {
        for query in [
            "",
            "limit=1000",
            "metric=http.server.request.duration&http.response.status_code=500",
            "selector=http_server_request_duration_seconds%7Bhttp_response_status_code%3D~%225..%22%7D&limit=5",
            "url.scheme=http&selector=http_server_request_duration_seconds",
        ] {
            assert!(parse(query).is_ok(), "{query}");
        }
        for query in ["limit=0", "limit=1001", "limit=a", "selector=a%7B"] {
            assert!(parse(query).is_err(), "{query}");
        }
        for (text, expected) in [
            ("a+b%20c", "a b c"),
            ("%7b%7D", "{}"),
            ("%", "%"),
            ("%4", "%4"),
            ("%zz", "%zz"),
            ("%C3%A9%", "é%"),
        ] {
            assert_eq!(decoded(text), expected);
        }
    }
}
