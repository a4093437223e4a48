//! Handshakes of TLS, with the attributes of the conventions' registry (v1.44.0, "TLS Attributes").

use std::borrow::Cow;

use super::{Called, End, Error, Spoken, Word};
use crate::model::{MetricDef, Role, Tls, TlsVersion};
use crate::signal::catalogue;

pub(super) const DURATION: [&MetricDef; 2] = {
    let mut defs = [&catalogue::TLS_CLIENT_DURATION; 2];
    defs[Role::Server as usize] = &catalogue::TLS_SERVER_DURATION;
    defs
};

/// Alerts, by number (RFC 8446 section 6, RFC 5246 section 7.2).
const ALERTS: [(u8, &str); 27] = [
    (0, "close_notify"),
    (10, "unexpected_message"),
    (20, "bad_record_mac"),
    (22, "record_overflow"),
    (40, "handshake_failure"),
    (42, "bad_certificate"),
    (43, "unsupported_certificate"),
    (44, "certificate_revoked"),
    (45, "certificate_expired"),
    (46, "certificate_unknown"),
    (47, "illegal_parameter"),
    (48, "unknown_ca"),
    (49, "access_denied"),
    (50, "decode_error"),
    (51, "decrypt_error"),
    (70, "protocol_version"),
    (71, "insufficient_security"),
    (80, "internal_error"),
    (86, "inappropriate_fallback"),
    (90, "user_canceled"),
    (100, "no_renegotiation"),
    (109, "missing_extension"),
    (110, "unsupported_extension"),
    (112, "unrecognized_name"),
    (113, "bad_certificate_status_response"),
    (115, "unknown_psk_identity"),
    (120, "no_application_protocol"),
];
const ALERTED: &str = "one side ended the handshake with this alert";

fn version(version: TlsVersion) -> &'static str {
    match version {
        TlsVersion::Ssl3 => "3.0",
        TlsVersion::Tls10 => "1.0",
        TlsVersion::Tls11 => "1.1",
        TlsVersion::Tls12 => "1.2",
        TlsVersion::Tls13 => "1.3",
    }
}

fn alert(number: u8) -> Cow<'static, str> {
    let known = ALERTS.iter().find(|(known, _)| *known == number);
    known.map_or_else(|| format!("alert_{number}").into(), |(_, name)| Cow::Borrowed(*name))
}

pub(super) fn called<'a>(end: End<'a>, tls: &'a Tls) -> Called<'a> {
    let alerted = tls.alert.map(|number| Error::new(alert(number), ALERTED));
    let error = alerted.or_else(|| Error::of(end.exchange.outcome, end.role));
    let own = [
        tls.version.and_then(|known| Word::text(version(known))),
        tls.is_resumed.map(Word::Flag),
        tls.alpn.as_deref().and_then(Word::text),
        tls.server_name.as_deref().and_then(Word::text),
        error.as_ref().and_then(|error| Word::text(error.text.clone())),
    ];
    Called {
        duration: DURATION[end.role as usize],
        also: None,
        words: end.words(own, end.server(None, None)),
        error,
    }
}

pub(super) fn spoken(tls: &Tls) -> Spoken<'_> {
    Spoken {
        name: "TLS handshake".into(),
        operation: Some("handshake".into()),
        status: tls.alert.map(alert),
        attributes: Vec::new(),
        bytes: tls.bytes.map(Some),
    }
}

pub(super) fn errors() -> Vec<(String, String)> {
    ALERTS.iter().map(|(_, name)| ((*name).to_owned(), ALERTED.to_owned())).collect()
}
