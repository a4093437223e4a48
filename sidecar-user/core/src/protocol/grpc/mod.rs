//! What remote procedure calls say inside of HTTP, any version (gRPC's PROTOCOL-HTTP2 and PROTOCOL-WEB). No protocol of its
//! own.

mod call;
mod messages;
mod web;

use std::time::Duration;

use crate::model::RpcSystem;

pub(super) use call::{Call, Told};
use messages::{Messages, Part, Shape};
use web::{TRAILER_MAX, Trailer};

/// How bytes of a body may be shown to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Show {
    /// As they are.
    As,
    /// Each as this one.
    Filled(u8),
}

/// Which kind of call a content type names, and whether its body is base64.
pub(super) fn system(content_type: &[u8]) -> Option<(RpcSystem, bool)> {
    let (kind, rest) = content_type.split_at_checked(b"application/grpc".len())?;
    if !kind.eq_ignore_ascii_case(b"application/grpc") {
        return None;
    }
    let is = |suffix: &str| {
        let begin = rest.get(..suffix.len());
        begin.is_some_and(|begin| begin.eq_ignore_ascii_case(suffix.as_bytes()))
            && matches!(rest.get(suffix.len()), None | Some(b'+' | b';' | b' '))
    };
    match () {
        () if is("-web-text") => Some((RpcSystem::GrpcWeb, true)),
        () if is("-web") => Some((RpcSystem::GrpcWeb, false)),
        () if is("") => Some((RpcSystem::Grpc, false)),
        () => None,
    }
}

/// `grpc-timeout`: at most eight digits and a unit.
pub(super) fn timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    let n = number(digits).filter(|_| digits.len() <= 8)?;
    match unit {
        b'H' => Some(Duration::from_secs(n * 3600)),
        b'M' => Some(Duration::from_secs(n * 60)),
        b'S' => Some(Duration::from_secs(n)),
        b'm' => Some(Duration::from_millis(n)),
        b'u' => Some(Duration::from_micros(n)),
        b'n' => Some(Duration::from_nanos(n)),
        _ => None,
    }
}

/// The same, written: in the longest unit that it is whole in.
pub(super) fn written(timeout: Duration) -> String {
    let n = timeout.as_nanos();
    let units = [
        (3_600_000_000_000, 'H'),
        (60_000_000_000, 'M'),
        (1_000_000_000, 'S'),
        (1_000_000, 'm'),
        (1000, 'u'),
    ];
    let (unit, sign) = units.into_iter().find(|(unit, _)| n.is_multiple_of(*unit)).unwrap_or((1, 'n'));
    format!("{}{sign}", n / unit)
}

/// `grpc-status`.
pub(super) fn status(value: &[u8]) -> Option<u32> {
    number(value).and_then(|code| u32::try_from(code).ok())
}

use super::http::authority::decimal as number;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types() {
        for (text, expected) in [
            ("application/grpc", Some((RpcSystem::Grpc, false))),
            ("application/grpc+proto", Some((RpcSystem::Grpc, false))),
            ("Application/gRPC; charset=utf-8", Some((RpcSystem::Grpc, false))),
            ("application/grpc-web", Some((RpcSystem::GrpcWeb, false))),
            ("application/grpc-web+proto", Some((RpcSystem::GrpcWeb, false))),
            ("application/grpc-web-text", Some((RpcSystem::GrpcWeb, true))),
            ("application/grpc-web-text+proto", Some((RpcSystem::GrpcWeb, true))),
            ("application/grpcx", None),
            ("application/grpc-websocket", None),
            ("application/json", None),
            ("", None),
        ] {
            assert_eq!(system(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn timeouts() {
        for (text, expected) in [
            ("1S", Some(Duration::from_secs(1))),
            ("100m", Some(Duration::from_millis(100))),
            ("99999999u", Some(Duration::from_micros(99_999_999))),
            ("2H", Some(Duration::from_secs(7200))),
            ("3M", Some(Duration::from_secs(180))),
            ("5n", Some(Duration::from_nanos(5))),
            ("123456789S", None),
            ("S", None),
            ("1", None),
            ("-1S", None),
            ("1.5S", None),
            ("", None),
        ] {
            assert_eq!(timeout(text.as_bytes()), expected, "{text}");
        }
    }
}
