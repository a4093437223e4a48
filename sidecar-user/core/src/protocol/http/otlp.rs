//! Whether a request is an export by OTLP/HTTP: what its method, target and content type say (OTLP specification 1.9,
//! "OTLP/HTTP Request"). Its body is not looked at. Not for OTLP/gRPC, which is HTTP/2.

use crate::model::{Method, Telemetry};

/// The signal that a request exports. `path` is the target's, without its query.
///
/// Behind another collector's prefix the path only ends in the signal's. An endpoint may be configured to have any path
/// at all; such an export is not known as one.
pub(in crate::protocol) fn exported(
    method: Method,
    path: Option<&str>,
    content_type: Option<&[u8]>,
) -> Option<Telemetry> {
    if method != Method::Post {
        return None;
    }
    let (path, content_type) = (path?, content_type?);
    let signals = [
        ("/v1/traces", Telemetry::Traces),
        ("/v1/metrics", Telemetry::Metrics),
        ("/v1/logs", Telemetry::Logs),
    ];
    let signal = signals.iter().find(|(end, _)| path.ends_with(end)).map(|(_, signal)| *signal);
    signal.filter(|_| is_encoding(content_type))
}

/// `application/x-protobuf` or `application/json`, with or without parameters (RFC 9110 section 8.3.1).
fn is_encoding(content_type: &[u8]) -> bool {
    let media = content_type.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
    [&b"application/x-protobuf"[..], b"application/json"]
        .iter()
        .any(|known| media.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exports() {
        let protobuf = "application/x-protobuf";
        for (method, path, content_type, expected) in [
            (Method::Post, "/v1/traces", protobuf, Some(Telemetry::Traces)),
            (Method::Post, "/v1/metrics", protobuf, Some(Telemetry::Metrics)),
            (Method::Post, "/v1/logs", "Application/JSON; charset=utf-8", Some(Telemetry::Logs)),
            (Method::Post, "/api/default/v1/traces", protobuf, Some(Telemetry::Traces)),
            (Method::Put, "/v1/traces", protobuf, None),
            (Method::Post, "/v1/traces/", protobuf, None),
            (Method::Post, "/v2/traces", protobuf, None),
            (Method::Post, "/v1/traces", "application/x-protobuffer", None),
            (Method::Post, "/v1/traces", "text/plain", None),
            (Method::Post, "/v1/traces", "", None),
        ] {
            let found = exported(method, Some(path), Some(content_type.as_bytes()));
            assert_eq!(found, expected, "{method:?} {path} {content_type}");
        }
        assert_eq!(exported(Method::Post, None, Some(protobuf.as_bytes())), None);
        assert_eq!(exported(Method::Post, Some("/v1/traces"), None), None);
    }
}
