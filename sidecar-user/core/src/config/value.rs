//! The types of settings that are more than a number: each parses from the text a person writes, and a wrong text is
//! refused with what would be right.

use std::{
    fmt,
    net::{Ipv6Addr, SocketAddr},
    path::PathBuf,
    str::FromStr,
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{
    text,
    traffic::{HostPort, HostSetting},
};
use crate::model::{Network, PathPattern};

/// Why a text is not a value of its type. Its `Display` is the whole sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub(super) String);

/// A length of time: `500ms`, `10s`, `2m`, `1h`; also `1m30s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Duration(std::time::Duration);

impl Duration {
    /// Whole seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(std::time::Duration::from_secs(seconds))
    }

    /// As the standard library counts it.
    #[must_use]
    pub const fn get(self) -> std::time::Duration {
        self.0
    }
}

impl FromStr for Duration {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        text::duration(text).map(Self)
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        match ms {
            0 => f.write_str("0s"),
            _ if ms.is_multiple_of(3_600_000) => write!(f, "{}h", ms / 3_600_000),
            _ if ms.is_multiple_of(1000) => write!(f, "{}s", ms / 1000),
            _ => write!(f, "{ms}ms"),
        }
    }
}

/// `IP:PORT`, or `:PORT` for every address of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Listen(pub SocketAddr);

impl FromStr for Listen {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        let every = text.strip_prefix(':').and_then(|port| port.parse().ok());
        every
            .map(|port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))
            .or_else(|| text.parse().ok())
            .map(Self)
            .ok_or_else(|| {
                Refused(format!("`{text}` is not an address: write IP:PORT, [IPv6]:PORT or :PORT"))
            })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// `IP:PORT`, or `unix:PATH` with an absolute path.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum AdminListen {
    /// A port.
    Tcp(SocketAddr),
    /// A socket file, created with mode 0600.
    Unix(PathBuf),
}

impl FromStr for AdminListen {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        // unix(7): sun_path has 108 bytes, the last of them 0.
        match text.strip_prefix("unix:") {
            Some(path) if !path.starts_with('/') => {
                Err(Refused(format!("`{text}` needs an absolute path: unix:/run/sidecar.sock")))
            }
            Some(path) if path.len() > 107 => Err(Refused(format!(
                "the path of `{text}` has {} bytes, a socket's may have 107",
                path.len()
            ))),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text.parse::<Listen>().map(|listen| Self::Tcp(listen.0)),
        }
    }
}

impl fmt::Display for AdminListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// URL of a collector, `http[s]://HOST[:PORT][/PATH]` or `HOST:PORT`, without credentials.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Endpoint(String);

impl Endpoint {
    /// Whether it says `http` or `https` itself.
    #[must_use]
    pub fn has_scheme(&self) -> bool {
        self.0.contains("://")
    }

    /// The URL, its scheme in lower case; without one it is `http` where TLS is not wanted.
    #[must_use]
    pub(super) fn url(&self, insecure: bool) -> String {
        match self.0.split_once("://") {
            Some((scheme, rest)) => format!("{}://{rest}", scheme.to_ascii_lowercase()),
            None if insecure => format!("http://{}", self.0),
            None => format!("https://{}", self.0),
        }
    }
}

impl FromStr for Endpoint {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        text::endpoint(text).map(|()| Self(text.to_owned()))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Bytes of a BPF ring buffer: a power of two from 64 KiB to 1 GiB, so a multiple of every page size in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct RingBytes(u32);

impl RingBytes {
    /// 4 MiB.
    pub const DEFAULT: Self = Self(4 << 20);

    /// As the map's `max_entries` wants it.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u64> for RingBytes {
    type Error = Refused;

    fn try_from(bytes: u64) -> Result<Self, Refused> {
        u32::try_from(bytes)
            .ok()
            .filter(|bytes| bytes.is_power_of_two() && (1 << 16..=1 << 30).contains(bytes))
            .map(Self)
            .ok_or_else(|| Refused(format!("{bytes} is not a power of two from 65536 to 1073741824")))
    }
}

impl From<RingBytes> for u64 {
    fn from(bytes: RingBytes) -> Self {
        bytes.0.into()
    }
}

impl JsonSchema for RingBytes {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RingBytes".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 1 << 16, "maximum": 1 << 30 })
    }
}

/// A share, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ratio(f64);

impl Ratio {
    /// As a number.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl Default for Ratio {
    fn default() -> Self {
        Self(1.0)
    }
}

impl FromStr for Ratio {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        text.parse()
            .ok()
            .filter(|share| (0.0..=1.0).contains(share))
            .map(Self)
            .ok_or_else(|| Refused(format!("`{text}` is not a number from 0 to 1")))
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// OpenTelemetry's samplers, under the names that `OTEL_TRACES_SAMPLER` has for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Sampler {
    /// Every request.
    AlwaysOn,
    /// None.
    AlwaysOff,
    /// A share of all traces.
    #[serde(rename = "traceidratio")]
    TraceIdRatio,
    /// As the sender decided; every request without a sender's decision.
    #[default]
    #[serde(rename = "parentbased_always_on")]
    ParentBasedAlwaysOn,
    /// As the sender decided; no request without a sender's decision.
    #[serde(rename = "parentbased_always_off")]
    ParentBasedAlwaysOff,
    /// As the sender decided; a share of the traces that begin here.
    #[serde(rename = "parentbased_traceidratio")]
    ParentBasedTraceIdRatio,
}

/// What is done about an application that makes spans by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Instrumented {
    /// Once it is seen to export traces, it is not traced twice.
    #[default]
    Detect,
    /// It is taken to do so: no spans are made.
    Assume,
    /// Spans are made in any case.
    Ignore,
}

/// How important a line of the log must be to be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Level {
    /// Nothing.
    #[default]
    Off,
    /// What failed.
    Error,
    /// What is lost or ignored.
    Warn,
    /// What changed.
    Info,
    /// What was decided.
    Debug,
    /// What happened to each event.
    Trace,
}

impl Level {
    /// All of them with their names, least first.
    pub const ALL: [(&'static str, Self); 6] = [
        ("off", Self::Off),
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
        ("trace", Self::Trace),
    ];

    /// Its name in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        Self::ALL[self as usize].0
    }
}

impl FromStr for Level {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        let found = Self::ALL.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
        let all = Self::ALL.map(|(name, _)| name).join(", ");
        found.map(|(_, level)| *level).ok_or_else(|| Refused(format!("`{text}` is not one of {all}")))
    }
}

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// A pattern of paths: `/users/{id}`, `/static/*`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(pub PathPattern);

impl FromStr for Pattern {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        text.parse().map(Self).map_err(|error: crate::model::Malformed| Refused(error.to_string()))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A CIDR block, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Peers(pub Network);

impl FromStr for Peers {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        text.parse().map(Self).map_err(|error: crate::model::MalformedNetwork| Refused(error.to_string()))
    }
}

impl fmt::Display for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Name of a header, in lower case.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct HeaderName(Box<str>);

impl HeaderName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HeaderName {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        text::header_name(text)?;
        Ok(Self(text.to_ascii_lowercase().into()))
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Serde and schema of the types that are text: `FromStr` in, `Display` out.
macro_rules! textual {
    ($($type:ident $name:literal),*) => {$(
        impl TryFrom<String> for $type {
            type Error = Refused;

            fn try_from(text: String) -> Result<Self, Refused> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "format": $name })
            }
        }
    )*};
}
textual!(Duration "duration", Listen "address", AdminListen "address or unix:PATH", Endpoint "URL", Ratio "ratio");
textual!(Pattern "path pattern", Peers "network", HeaderName "header name", HostPort "IP:PORT", HostSetting "host");
