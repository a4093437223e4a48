//! TLS, as it shows before anything is encrypted.

/// A handshake. It is over with the first application data, or with what ends it instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Server name that the client asks for (SNI), in lower case, at most 255 bytes.
    pub server_name: Option<Box<str>>,
    /// The application protocol: as chosen where that shows (TLS 1.2), else the only one that is offered; at most 64 bytes.
    pub alpn: Option<Box<str>>,
    /// The version that was agreed on; before there is an answer none.
    pub version: Option<TlsVersion>,
    /// An earlier session went on, where that shows.
    pub is_resumed: Option<bool>,
    /// The alert that ended it, in the clear, by number (RFC 8446 section 6).
    pub alert: Option<u8>,
    /// Bytes of the handshake by side ([`super::Side::index`]).
    pub bytes: [u64; 2],
}

/// Version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the versions")]
pub enum TlsVersion {
    Ssl3,
    Tls10,
    Tls11,
    Tls12,
    Tls13,
}
