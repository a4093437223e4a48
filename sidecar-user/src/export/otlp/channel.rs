//! The connection to the receiver, and what goes along with each request.

use opentelemetry_otlp::ExporterBuildError;
use thiserror::Error;
use tonic::metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue};
use tonic::transport::{Channel, Endpoint};

use super::{Options, SCOPE, VERSION};

/// Why an exporter cannot be set up.
#[derive(Debug, Error)]
pub(crate) enum Error {
    /// An `https` endpoint.
    #[error("TLS is not supported yet: use http:// instead of {endpoint}")]
    Tls {
        /// As it was given.
        endpoint: String,
    },
    /// Neither `http` nor `https`.
    #[error("{endpoint} is not of the form http://host:port")]
    Endpoint {
        /// As it was given.
        endpoint: String,
    },
    /// Not a URI.
    #[error("parse {endpoint} as an endpoint")]
    Uri {
        /// As it was given.
        endpoint: String,
        /// What is wrong with it.
        #[source]
        source: tonic::transport::Error,
    },
    /// A name or value that gRPC metadata cannot carry as text. The value is not shown: it may be a secret.
    #[error("header {name:?} is not a gRPC metadata name with a printable ASCII value")]
    Header {
        /// As it was given.
        name: String,
    },
    /// The span exporter did not like its settings or its environment (`OTEL_EXPORTER_OTLP_COMPRESSION`).
    #[error("set up the span exporter")]
    Spans {
        /// What it says.
        #[source]
        source: ExporterBuildError,
    },
}

/// A channel that connects when it is first used, and again whenever it has to.
pub(super) fn connect(options: &Options) -> Result<Channel, Error> {
    let text = || options.endpoint.clone();
    // Before tonic sees it, which would take other schemes, too.
    match options.endpoint.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase()).as_deref() {
        Some("http") => {}
        Some("https") => return Err(Error::Tls { endpoint: text() }),
        _ => return Err(Error::Endpoint { endpoint: text() }),
    }
    let uri = |source| Error::Uri { endpoint: text(), source };
    let endpoint = Endpoint::from_shared(text()).map_err(uri)?;
    let endpoint = endpoint.user_agent(format!("{SCOPE}/{VERSION}")).map_err(uri)?;
    Ok(endpoint.timeout(options.timeout).connect_timeout(options.timeout).connect_lazy())
}

/// Headers as gRPC metadata.
pub(super) fn metadata(headers: &[(String, String)]) -> Result<MetadataMap, Error> {
    let mut metadata = MetadataMap::new();
    for (name, value) in headers {
        let key = MetadataKey::<Ascii>::from_bytes(name.to_ascii_lowercase().as_bytes());
        let pair = key.ok().zip(MetadataValue::<Ascii>::try_from(value.as_str()).ok());
        let Some((key, value)) = pair else {
            return Err(Error::Header { name: name.clone() });
        };
        metadata.append(key, value);
    }
    Ok(metadata)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn endpoints() {
        let cases = [
            ("http://localhost:4317", None),
            ("http://[::1]:4317", None),
            ("http://localhost:4317/", None),
            (
                "https://localhost:4317",
                Some("TLS is not supported yet: use http:// instead of https://localhost:4317"),
            ),
            ("localhost:4317", Some("localhost:4317 is not of the form http://host:port")),
            ("unix:///run/otlp.sock", Some("unix:///run/otlp.sock is not of the form http://host:port")),
            ("http://", Some("parse http:// as an endpoint")),
            ("http://a b:1", Some("parse http://a b:1 as an endpoint")),
            ("HTTPS://a", Some("TLS is not supported yet: use http:// instead of HTTPS://a")),
        ];
        for (endpoint, expected) in cases {
            let error = connect(&Options::new(endpoint)).err().map(|error| error.to_string());
            assert_eq!(error.as_deref(), expected, "{endpoint}");
        }
    }

    #[test]
    fn headers() {
        let cases = [
            ("authorization", "Bearer x", true),
            ("X-Tenant", "a", true),
            ("bad name", "a", false),
            ("data-bin", "a", false),
            ("x", "a\nb", false),
        ];
        for (name, value, fits) in cases {
            let made = metadata(&[(name.to_owned(), value.to_owned())]);
            assert_eq!(made.is_ok(), fits, "{name}");
            if let Ok(made) = made {
                assert_eq!(made.get(name.to_ascii_lowercase()).map(|v| v.as_bytes()), Some(value.as_bytes()));
            }
        }
    }
}
