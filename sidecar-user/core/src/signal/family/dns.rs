//! Lookups of the DNS, by "Semantic Conventions for DNS" v1.44.0; a resolver's own in the same words.

use std::borrow::Cow;

use super::{Called, End, Error, Spoken, Word};
use crate::model::{Dns, MetricDef, Outcome, Role};
use crate::signal::{Value, catalogue, key};

pub(super) const DURATION: [&MetricDef; 2] = {
    let mut defs = [&catalogue::DNS_CLIENT_DURATION; 2];
    defs[Role::Server as usize] = &catalogue::DNS_SERVER_DURATION;
    defs
};

/// Response codes of IANA's registry, by number.
const CODES: [&str; 11] = [
    "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET",
    "NOTAUTH", "NOTZONE",
];
/// Types of records of IANA's registry that are asked for in practice.
const TYPES: [(u16, &str); 22] = [
    (1, "A"),
    (2, "NS"),
    (5, "CNAME"),
    (6, "SOA"),
    (12, "PTR"),
    (13, "HINFO"),
    (15, "MX"),
    (16, "TXT"),
    (28, "AAAA"),
    (33, "SRV"),
    (35, "NAPTR"),
    (39, "DNAME"),
    (43, "DS"),
    (46, "RRSIG"),
    (47, "NSEC"),
    (48, "DNSKEY"),
    (52, "TLSA"),
    (64, "SVCB"),
    (65, "HTTPS"),
    (252, "AXFR"),
    (255, "ANY"),
    (257, "CAA"),
];
const ANSWERED: &str = "the resolver answered with this code";
const TIMEOUT: &str = "timeout";
/// All names beyond those that metrics tell apart.
const OTHER: &str = "_OTHER";

fn code(code: u16) -> Cow<'static, str> {
    CODES.get(usize::from(code)).map_or_else(|| format!("RCODE{code}").into(), |name| Cow::Borrowed(*name))
}

/// As RFC 3597 section 5 writes what has no name.
fn record_type(number: u16) -> Cow<'static, str> {
    let known = TYPES.iter().find(|(known, _)| *known == number);
    known.map_or_else(|| format!("TYPE{number}").into(), |(_, name)| Cow::Borrowed(*name))
}

pub(super) fn called<'a>(end: End<'a>, dns: &'a Dns) -> Called<'a> {
    let error = match (dns.code, end.exchange.outcome) {
        (Some(0), _) => None,
        (Some(number), _) => Some(Error::new(code(number), ANSWERED)),
        (None, Outcome::NotObserved | Outcome::Complete) => Error::of(Outcome::NotObserved, end.role),
        (None, Outcome::Truncated(_)) => Error::of(end.exchange.outcome, end.role),
        (None, _) => Some(Error::new(TIMEOUT, "no answer came while it was waited for")),
    };
    let own = [
        Word::text(if dns.is_other { OTHER } else { &*dns.name }),
        Word::text(record_type(dns.record_type)),
        error.as_ref().and_then(|error| Word::text(error.text.clone())),
    ];
    Called {
        duration: DURATION[end.role as usize],
        also: None,
        words: end.words(own, [const { None }; 4]),
        error,
    }
}

pub(super) fn spoken(dns: &Dns) -> Spoken<'_> {
    let operation = record_type(dns.record_type);
    let mut attributes = vec![(key::DNS_QUESTION, dns.name.to_string().into())];
    // Of an answer that was not seen nobody knows.
    if dns.code.is_some() {
        attributes.push((key::DNS_ANSWERS, i64::from(dns.answers).into()));
        attributes.push((key::DNS_TRUNCATED, Value::Bool(dns.is_truncated)));
    }
    Spoken {
        name: format!("DNS {operation}").into(),
        operation: Some(operation),
        status: dns.code.map(code),
        attributes,
        bytes: dns.bytes,
    }
}

pub(super) fn errors() -> Vec<(String, String)> {
    let codes = CODES[1..].iter().map(|name| ((*name).to_owned(), ANSWERED.to_owned()));
    codes.chain([(TIMEOUT.to_owned(), "no answer came while it was waited for".to_owned())]).collect()
}
