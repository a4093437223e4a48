//! TLS, as it shows before anything is encrypted.

/// A handshake. It is over with the second Finished; in TLS 1.3, where that is encrypted, with the client's first record
/// after the ServerHello; or with what ends it instead. One that an alert in the clear ends is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Server name that the client asks for (SNI), in lower case, at most 255 bytes; of one that is encrypted (ECH) the outer
    /// one.
    pub server_name: Option<Box<str>>,
    /// The application protocol: as chosen where that shows (TLS 1.2), else the only one that is offered; at most 64 bytes.
    pub alpn: Option<Box<str>>,
    /// The version that was agreed on; before there is an answer none.
    pub version: Option<TlsVersion>,
    /// An earlier session went on, where that shows. In TLS 1.3 one whose key both sides had from elsewhere looks the same.
    pub is_resumed: Option<bool>,
    /// The alert that ended it, in the clear, by number (RFC 8446 section 6).
    pub alert: Option<u8>,
    /// Bytes until it was over, by side ([`super::Side::index`]).
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
