//! What ClientHello and ServerHello say (RFC 8446 section 4.1, RFC 5246 section 7.4.1). A hello that was cut short says
//! what it had said until there.

use super::record::{CLIENT_HELLO, SERVER_HELLO};
use crate::model::TlsVersion;

/// Extensions that are read, by number.
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const PRE_SHARED_KEY: u16 = 41;
const EARLY_DATA: u16 = 42;
const SUPPORTED_VERSIONS: u16 = 43;
/// Longest name of a server, and of an application protocol, that is kept.
const NAME_MAX: usize = 255;
const ALPN_MAX: usize = 64;
/// The random of a ServerHello that asks for another ClientHello (RFC 8446 section 4.1.3).
const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2,
    0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];
/// The one suite of TLS 1.3 with short tags: TLS_AES_128_CCM_8_SHA256.
const CCM_8: u16 = 0x1305;

/// What a ClientHello says. Of one that hides its name (ECH) it is the outer one.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ClientHello {
    /// In lower case.
    pub(super) server_name: Option<Box<str>>,
    /// The application protocol, where one alone is offered.
    pub(super) alpn: Option<Box<str>>,
    /// It may send data before it is answered.
    pub(super) has_early_data: bool,
}

/// What a ServerHello says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ServerHello {
    pub(super) version: Option<TlsVersion>,
    /// It is TLS 1.3, or what comes after: all that follows is encrypted.
    pub(super) is_sealed: bool,
    /// It asks for another ClientHello.
    pub(super) is_retry: bool,
    /// It goes on with a session that the client offered; `false` says nothing before TLS 1.3.
    pub(super) has_key: bool,
    pub(super) alpn: Option<Box<str>>,
    /// Bytes of a record that holds an encrypted alert.
    pub(super) sealed_alert: usize,
}

impl ClientHello {
    /// Reads the message's body.
    pub(super) fn read(body: &[u8]) -> ClientHello {
        let mut hello = ClientHello::default();
        let mut rest = Bytes(body);
        let _ = hello.take(&mut rest);
        hello
    }

    fn take(&mut self, rest: &mut Bytes<'_>) -> Option<()> {
        rest.take(2 + 32)?;
        rest.vector::<1>()?;
        rest.vector::<2>()?;
        rest.vector::<1>()?;
        for (kind, data) in extensions(rest) {
            match kind {
                SERVER_NAME => self.server_name = server_name(data),
                ALPN => self.alpn = only(protocols(data)),
                EARLY_DATA => self.has_early_data = true,
                _ => {}
            }
        }
        Some(())
    }
}

impl ServerHello {
    /// Reads the message's body; `None` if it has no more than part of its fixed fields.
    pub(super) fn read(body: &[u8]) -> Option<ServerHello> {
        let mut rest = Bytes(body);
        let legacy = rest.number()?;
        let is_retry = rest.take(32)? == RETRY;
        rest.vector::<1>()?;
        let suite = rest.number()?;
        rest.take(1)?;
        let sealed_alert = 2 + 1 + if suite == CCM_8 { 8 } else { 16 };
        let version = version(legacy);
        let mut hello =
            ServerHello { version, is_sealed: false, is_retry, has_key: false, alpn: None, sealed_alert };
        for (kind, data) in extensions(&mut rest) {
            match kind {
                SUPPORTED_VERSIONS => {
                    hello.is_sealed = true;
                    hello.version = Bytes(data).number().and_then(self::version);
                }
                PRE_SHARED_KEY => hello.has_key = true,
                ALPN => hello.alpn = only(protocols(data)),
                _ => {}
            }
        }
        Some(hello)
    }
}

/// Bytes of a hello in a row that may all be shown, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) len: usize,
    pub(super) is_shown: bool,
}

/// What of a hello's body, as far as it goes, may be shown: what [`ClientHello`] and [`ServerHello`] have of it, and lengths.
pub(super) fn fields(kind: u8, body: &[u8]) -> Vec<Field> {
    let mut fields = Fields { rest: Bytes(body), found: Vec::new() };
    let _ = match kind {
        CLIENT_HELLO => fields.client(),
        SERVER_HELLO => fields.server(),
        _ => None,
    };
    fields.found
}

struct Fields<'a> {
    rest: Bytes<'a>,
    found: Vec<Field>,
}

impl<'a> Fields<'a> {
    fn next(&mut self, len: usize, is_shown: bool) -> Option<&'a [u8]> {
        let taken = self.rest.take(len)?;
        self.found.push(Field { len, is_shown });
        Some(taken)
    }

    /// The length of what follows, in `n` bytes.
    fn len(&mut self, n: usize) -> Option<usize> {
        Some(self.next(n, true)?.iter().fold(0, |len, byte| len << 8 | usize::from(*byte)))
    }

    /// What has its length before it, in `n` bytes.
    fn vector(&mut self, n: usize) -> Option<()> {
        let len = self.len(n)?;
        self.next(len, false).map(drop)
    }

    fn client(&mut self) -> Option<()> {
        self.next(2, true)?;
        self.next(32, false)?;
        self.vector(1)?;
        self.vector(2)?;
        self.vector(1)?;
        self.extensions(false)
    }

    fn server(&mut self) -> Option<()> {
        self.next(2, true)?;
        let is_retry = self.rest.0.starts_with(&RETRY);
        self.next(32, is_retry)?;
        self.vector(1)?;
        self.next(2 + 1, true)?;
        self.extensions(true)
    }

    fn extensions(&mut self, is_server: bool) -> Option<()> {
        self.len(2)?;
        loop {
            let number = self.len(2)?;
            let len = self.len(2)?;
            let data = self.rest.0.get(..len)?;
            // Of several names the first is read.
            let n_shown = match u16::try_from(number).ok()? {
                SERVER_NAME => server_name(data).map_or(0, |name| 2 + 1 + 2 + name.len()),
                ALPN if only(protocols(data)).is_some() => len,
                SUPPORTED_VERSIONS if is_server => len.min(2),
                _ => 0,
            };
            self.next(n_shown, true)?;
            self.next(len - n_shown, false)?;
        }
    }
}

fn version(number: u16) -> Option<TlsVersion> {
    Some(match number {
        0x0300 => TlsVersion::Ssl3,
        0x0301 => TlsVersion::Tls10,
        0x0302 => TlsVersion::Tls11,
        0x0303 => TlsVersion::Tls12,
        0x0304 => TlsVersion::Tls13,
        _ => return None,
    })
}

/// The extensions that are whole.
fn extensions<'a>(rest: &mut Bytes<'a>) -> impl Iterator<Item = (u16, &'a [u8])> {
    let len = rest.number().map_or(0, usize::from);
    let mut all = Bytes(&rest.0[..len.min(rest.0.len())]);
    std::iter::from_fn(move || Some((all.number()?, all.vector::<2>()?)))
}

/// The name that the client asks for (RFC 6066 section 3).
fn server_name(data: &[u8]) -> Option<Box<str>> {
    let mut names = Bytes(Bytes(data).vector::<2>()?);
    let kind = names.take(1)?;
    let name = names.vector::<2>()?;
    let name = printable(name, NAME_MAX).filter(|_| kind == [0])?;
    Some(name.to_ascii_lowercase().into())
}

/// The names in a list of application protocols (RFC 7301 section 3.1) that are none of those that stand for nothing
/// (RFC 8701).
fn protocols(data: &[u8]) -> impl Iterator<Item = &str> {
    let mut all = Bytes(Bytes(data).vector::<2>().unwrap_or_default());
    std::iter::from_fn(move || all.vector::<1>()).filter_map(|name| printable(name, ALPN_MAX))
}

fn only<'a>(mut all: impl Iterator<Item = &'a str>) -> Option<Box<str>> {
    let first = all.next()?;
    all.next().is_none().then(|| first.into())
}

fn printable(text: &[u8], max: usize) -> Option<&str> {
    let fits = (1..=max).contains(&text.len()) && text.iter().all(u8::is_ascii_graphic);
    str::from_utf8(text).ok().filter(|_| fits)
}

/// Bytes that are read from their beginning.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// What has its length before it, in `N` bytes.
    fn vector<const N: usize>(&mut self) -> Option<&'a [u8]> {
        let len = self.take(N)?.iter().fold(0, |len, byte| len << 8 | usize::from(*byte));
        self.take(len)
    }
}
