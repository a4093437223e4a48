//! Names of fields, as far as they matter.

use std::sync::Arc;

use crate::protocol::http::b3::Part;

/// What a field is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Name {
    /// Told before anything was seen, or in what was lost.
    Unknown,
    /// One that an exchange is made of.
    Field(Field),
    /// Another of the static table's.
    Plain(&'static str),
    /// One that is asked for by name.
    Asked(Arc<str>),
    /// Any other.
    Other,
}

/// Fields that an exchange is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Field {
    Authority,
    Method,
    Path,
    Scheme,
    Status,
    Host,
    ContentType,
    TraceParent,
    TraceState,
    GrpcStatus,
    GrpcTimeout,
    B3(Part),
}

impl Field {
    const ALL: [Field; 16] = [
        Field::Authority,
        Field::Method,
        Field::Path,
        Field::Scheme,
        Field::Status,
        Field::Host,
        Field::ContentType,
        Field::TraceParent,
        Field::TraceState,
        Field::GrpcStatus,
        Field::GrpcTimeout,
        Field::B3(Part::Single),
        Field::B3(Part::Trace),
        Field::B3(Part::Span),
        Field::B3(Part::Sampled),
        Field::B3(Part::Flags),
    ];

    pub(super) fn text(self) -> &'static str {
        match self {
            Field::Authority => ":authority",
            Field::Method => ":method",
            Field::Path => ":path",
            Field::Scheme => ":scheme",
            Field::Status => ":status",
            Field::Host => "host",
            Field::ContentType => "content-type",
            Field::TraceParent => "traceparent",
            Field::TraceState => "tracestate",
            Field::GrpcStatus => "grpc-status",
            Field::GrpcTimeout => "grpc-timeout",
            Field::B3(part) => part.name(),
        }
    }

    pub(super) fn named(text: &[u8]) -> Option<Field> {
        Field::ALL.into_iter().find(|field| field.text().as_bytes() == text)
    }
}

impl Name {
    /// By a literal.
    pub(super) fn of(text: &[u8], asked: &[Arc<str>]) -> Name {
        if let Some(field) = Field::named(text) {
            return Name::Field(field);
        }
        match asked.iter().find(|name| name.as_bytes() == text) {
            Some(name) => Name::Asked(Arc::clone(name)),
            None => Name::Other,
        }
    }

    /// How it is written, if that is kept.
    pub(in super::super) fn text(&self) -> Option<&str> {
        match self {
            Name::Unknown | Name::Other => None,
            Name::Field(field) => Some(field.text()),
            Name::Plain(text) => Some(text),
            Name::Asked(text) => Some(text),
        }
    }

    /// Whether anybody looks at its values.
    pub(super) fn is_wanted(&self, asked: &[Arc<str>]) -> bool {
        match self {
            Name::Unknown | Name::Other => false,
            Name::Field(_) | Name::Asked(_) => true,
            Name::Plain(text) => asked.iter().any(|name| **name == **text),
        }
    }
}
