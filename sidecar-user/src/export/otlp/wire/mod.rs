//! One try of one request to one receiver, by either protocol, and what its end means for another try.

mod grpc;
mod http;
mod tls;

use std::error::Error as StdError;
use std::time::Duration;

use bytes::Bytes;
use hyper::Uri;
use hyper::body::Body;
use hyper::header::{HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::http::uri::InvalidUri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use sidecar_core::config::{Compression, File, Protocol, Target};
use thiserror::Error;
use tokio::time::timeout;

use self::grpc::Grpc;
use self::http::Http;
use super::retry::Again;
use super::{SCOPE, VERSION};
use crate::config::file::Reader;
use crate::export::{Failed, Signal};

/// Bytes that an answer may have: it says how many items were rejected, and why.
const ANSWER_MAX: usize = 256 * 1024;

/// Why a receiver cannot be pushed to as it was configured.
#[derive(Debug, Error)]
pub(crate) enum Error {
    /// Not a URL.
    #[error("parse {url} as the URL of a collector")]
    Url {
        /// Who says so.
        key: String,
        /// As it came out.
        url: String,
        /// What is wrong with it.
        #[source]
        source: InvalidUri,
    },
    /// A name or value that a header cannot carry. The value is not shown: it may be a secret.
    #[error("header {name:?} is not a name with a printable value")]
    Header {
        /// As it was given.
        name: String,
    },
    /// A file of certificates or keys cannot be read.
    #[error("read the {what} in {}", file.path.display())]
    Read {
        /// What it should hold.
        what: &'static str,
        /// As it was given.
        file: File,
        /// The system's reason, or the format's.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// It holds nothing of that kind.
    #[error("{} holds no {what} in PEM", file.path.display())]
    Empty {
        /// What it should hold.
        what: &'static str,
        /// As it was given.
        file: File,
    },
    /// Certificates or a key that cannot be used.
    #[error("use the {what} in {}", file.path.display())]
    Unusable {
        /// What it is.
        what: &'static str,
        /// As it was given.
        file: File,
        /// Why not.
        #[source]
        source: Box<rustls::Error>,
    },
    /// No file was given, and the system has none.
    #[error("this system has no certificates to check a collector's by: set otlp.certificate")]
    NoCertificates {
        /// Whose endpoint needs them.
        key: String,
    },
    /// No version of TLS can be spoken.
    #[error("set up TLS")]
    Versions {
        /// Whose endpoint needs it.
        key: String,
        /// Why not.
        #[source]
        source: Box<rustls::Error>,
    },
}

impl Error {
    /// The key that is to be set in another way, or whose file is.
    pub(crate) fn key(&self) -> &str {
        match self {
            Error::Url { key, .. } | Error::NoCertificates { key } | Error::Versions { key, .. } => key,
            Error::Header { .. } => "otlp.headers",
            Error::Read { file, .. } | Error::Empty { file, .. } | Error::Unusable { file, .. } => &file.key,
        }
    }
}

/// A try that failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) why: Failed,
    pub(super) again: Again,
    /// For the log; holds no secret.
    pub(super) message: String,
}

/// The way to one receiver, for one signal. Connects when it is first used, and again whenever it has to.
#[derive(Clone)]
pub(super) struct Wire {
    way: Way,
    timeout: Duration,
}

#[derive(Clone)]
enum Way {
    Http(Http),
    Grpc(Grpc),
}

impl Wire {
    /// Reads the files that the target names; connects to nothing.
    pub(super) fn new(target: &Target, signal: Signal, reader: &mut Reader) -> Result<Wire, Error> {
        let Target { key, url, .. } = target;
        let unusable = |source| Error::Url { key: key.clone(), url: url.clone(), source };
        let uri: Uri = url.parse().map_err(unusable)?;
        let headers = headers(target)?;
        let tls = tls::client(target, reader)?;
        let connectors = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let is_gzip = target.compression == Compression::Gzip;
        let way = match target.protocol {
            Protocol::HttpProtobuf => {
                Way::Http(Http::new(connectors.enable_http1().wrap_connector(tcp), uri, headers, is_gzip))
            }
            Protocol::Grpc => {
                let connector = connectors.enable_http2().wrap_connector(tcp);
                Way::Grpc(Grpc::new(connector, uri, headers, is_gzip, signal))
            }
        };
        Ok(Wire { way, timeout: target.timeout.get() })
    }

    /// The request as it will be sent, however often.
    pub(super) fn packed(&self, request: &Bytes) -> Bytes {
        match &self.way {
            Way::Http(http) => http.packed(request),
            // Compressed inside its frame.
            Way::Grpc(_) => request.clone(),
        }
    }

    /// Sends it once; gives the answer's message, not yet decoded.
    pub(super) async fn attempt(&mut self, packed: Bytes) -> Result<Bytes, Failure> {
        let answer = match &mut self.way {
            Way::Http(http) => timeout(self.timeout, http.attempt(packed)).await,
            Way::Grpc(grpc) => timeout(self.timeout, grpc.attempt(packed)).await,
        };
        answer.unwrap_or_else(|_elapsed| {
            if let Way::Grpc(grpc) = &mut self.way {
                // One connection carries all its requests: it may be that which hangs.
                grpc.reconnect();
            }
            let message = format!("no answer within {:?}", self.timeout);
            Err(Failure { why: Failed::Timeout, again: Again::Backoff, message })
        })
    }
}

fn headers(target: &Target) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, user_agent());
    for (name, value) in target.headers.iter() {
        let pair = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value.expose()).ok());
        let Some((key, mut value)) = pair else { return Err(Error::Header { name: name.to_owned() }) };
        value.set_sensitive(true);
        headers.insert(key, value);
    }
    Ok(headers)
}

fn user_agent() -> HeaderValue {
    HeaderValue::try_from(format!("{SCOPE}/{VERSION}")).unwrap_or(HeaderValue::from_static(SCOPE))
}

type Connector = HttpsConnector<HttpConnector>;

fn client<B>(connector: Connector, is_http2: bool) -> Client<Connector, B>
where
    B: Body + Send,
    B::Data: Send,
{
    Client::builder(TokioExecutor::new()).http2_only(is_http2).pool_max_idle_per_host(1).build(connector)
}

/// No answer came, or none that is HTTP: another protocol on that port, which will not change by itself.
fn broken(error: &(dyn StdError + 'static)) -> Failure {
    let (mut is_nonsense, mut message, mut next) = (false, Vec::new(), Some(error));
    while let Some(error) = next {
        is_nonsense |= error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse);
        // This side ended the connection, for what it read there.
        is_nonsense |= error.downcast_ref::<h2::Error>().is_some_and(|error| {
            error.is_library()
                && matches!(error.reason(), Some(h2::Reason::FRAME_SIZE_ERROR | h2::Reason::PROTOCOL_ERROR))
        });
        message.push(error.to_string());
        next = error.source();
    }
    let (why, again) =
        if is_nonsense { (Failed::BadAnswer, Again::Never) } else { (Failed::Connection, Again::Backoff) };
    Failure { why, again, message: message.join(": ") }
}

#[cfg(test)]
mod tests {
    use sidecar_core::config::{Layers, Origin, Setting, resolve};

    use super::*;

    fn target(settings: &[(&str, &str)]) -> Target {
        let file = settings.iter().map(|(key, value)| Setting::new(*key, *value, Origin::Default));
        let layers = Layers { file: file.collect(), ..Layers::default() };
        resolve(&layers).expect("settings").config.otlp.to_metrics().expect("a target")
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let missing = "https://h:1";
        for (settings, expected) in [
            (vec![("otlp.endpoint", "http://h:1")], None),
            (vec![("otlp.endpoint", "http://h:1"), ("otlp.certificate", "/no/ca.pem")], None),
            (
                vec![("otlp.endpoint", missing), ("otlp.certificate", "/no/ca.pem")],
                Some(("otlp.certificate", "read the certificates in /no/ca.pem")),
            ),
            (
                vec![("otlp.endpoint", missing), ("otlp.certificate", "/dev/null")],
                Some(("otlp.certificate", "/dev/null holds no certificates in PEM")),
            ),
            (
                vec![("otlp.metrics_endpoint", "http://h\\1")],
                Some(("otlp.metrics_endpoint", "parse http://h\\1 as the URL of a collector")),
            ),
        ] {
            let made = Wire::new(&target(&settings), Signal::Metrics, &mut Reader::at_start());
            let error = made.err().map(|error| (error.key().to_owned(), error.to_string()));
            let error = error.as_ref().map(|(key, text)| (key.as_str(), text.as_str()));
            assert_eq!(error, expected, "{settings:?}");
        }
    }

    #[test]
    fn configured_headers_win() {
        let settings = [("otlp.endpoint", "http://h:1"), ("otlp.headers", "user-agent=x,a=b")];
        let headers = headers(&target(&settings)).expect("headers");
        assert_eq!((headers[USER_AGENT].as_bytes(), headers["a"].as_bytes()), (&b"x"[..], &b"b"[..]));
        assert!(!format!("{headers:?}").contains("\"b\""));
    }
}
