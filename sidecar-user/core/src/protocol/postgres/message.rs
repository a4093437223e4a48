//! Messages as they are on the wire: <https://www.postgresql.org/docs/current/protocol-message-formats.html>.

use crate::model::Side;
use crate::protocol::Detect;

/// Type and length.
pub(super) const HEADER: usize = 5;
/// Length and code of what a client begins with.
pub(super) const STARTUP: usize = 8;
/// The longest start that a server reads (`MAX_STARTUP_PACKET_LENGTH`).
const STARTUP_MAX: u32 = 10_000;
/// The longest message: what a server's memory can be asked for at once (`MaxAllocSize`).
const LEN_MAX: u32 = 0x3fff_ffff;
/// A name beyond this is cut off by the server (`NAMEDATALEN`).
pub(super) const NAME_MAX: usize = 63;

/// What a client begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Startup {
    /// Parameters of a session.
    Session,
    Cancel,
    Tls,
    Gss,
}

/// By its length and code.
pub(super) fn startup(first: [u8; STARTUP]) -> Option<(Startup, u32)> {
    let [a, b, c, d, code @ ..] = first;
    let len = u32::from_be_bytes([a, b, c, d]);
    let is = |of: u32| len == of;
    Some((
        match u32::from_be_bytes(code) {
            80_877_102 if (16..=STARTUP_MAX).contains(&len) => Startup::Cancel,
            80_877_103 if is(8) => Startup::Tls,
            80_877_104 if is(8) => Startup::Gss,
            version if version >> 16 == 3 && (9..=STARTUP_MAX).contains(&len) => Startup::Session,
            _ => return None,
        },
        len,
    ))
}

/// Whether bytes begin as a client does. The first parameter's name tells it from others that count in the same way.
pub(super) fn begins_session(bytes: &[u8]) -> Detect {
    let fits = |at: usize, fits: &dyn Fn(u8) -> bool| bytes.get(at).is_none_or(|byte| fits(*byte));
    let begins = fits(0, &|byte| byte == 0)
        && fits(1, &|byte| byte == 0)
        && fits(4, &|byte| byte == 0 || byte == 4)
        && fits(5, &|byte| byte == 3 || byte == 0xd2)
        && fits(6, &|byte| byte == 0 || byte == 0x16);
    match bytes.first_chunk().map(|first| startup(*first)) {
        _ if !begins => Detect::No,
        None => Detect::NeedMore,
        Some(None) => Detect::No,
        Some(Some((Startup::Session, _))) => match bytes.get(STARTUP) {
            None => Detect::NeedMore,
            Some(b'a'..=b'z' | b'_') => Detect::Yes,
            Some(_) => Detect::No,
        },
        Some(Some(_)) => Detect::Yes,
    }
}

/// The length of a message's body, if its header is one.
pub(super) fn body_len(side: Side, header: [u8; HEADER]) -> Option<u32> {
    let [kind, len @ ..] = header;
    let len = u32::from_be_bytes(len);
    let is_exact = |of: u32| (len == of).then_some(len);
    let body = match (side, kind) {
        (Side::Client, b'S' | b'H' | b'X' | b'c')
        | (Side::Server, b'1' | b'2' | b'3' | b'n' | b's' | b'I' | b'c') => is_exact(4),
        (Side::Server, b'Z') => is_exact(5),
        (Side::Client, b'Q' | b'P' | b'B' | b'D' | b'E' | b'C' | b'F' | b'd' | b'f' | b'p')
        | (
            Side::Server,
            b'R' | b'K' | b'S' | b'T' | b'D' | b'C' | b'E' | b'N' | b't' | b'G' | b'H' | b'W' | b'd' | b'A'
            | b'V' | b'v',
        ) => (4..=LEN_MAX).contains(&len).then_some(len),
        _ => None,
    };
    body.map(|len| len - 4)
}

/// The text before the next NUL, and what follows that.
pub(super) fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

/// `database` of a session's parameters. Where it is left out it is the user's name, which is nobody's business.
pub(super) fn database(mut parameters: &[u8]) -> Option<&str> {
    while let Some((name, rest)) = text(parameters).filter(|(name, _)| !name.is_empty()) {
        let (value, rest) = text(rest)?;
        if name == b"database" {
            let value = std::str::from_utf8(value).ok()?;
            let is_shown = (1..=255).contains(&value.len()) && !value.chars().any(char::is_control);
            return is_shown.then_some(value);
        }
        parameters = rest;
    }
    None
}

/// What an error says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Failure {
    /// SQLSTATE.
    pub(super) code: Option<[u8; 5]>,
    /// The session is over.
    pub(super) is_fatal: bool,
}

/// Reads the first fields of an error, of which the message is one that is passed over.
pub(super) fn failure(mut fields: &[u8]) -> Failure {
    let mut failure = Failure::default();
    while let Some((field, rest)) = text(fields).filter(|(field, _)| !field.is_empty()) {
        match (field[0], &field[1..]) {
            (b'S' | b'V', b"FATAL" | b"PANIC") => failure.is_fatal = true,
            (b'C', code) => {
                let is_code = |byte: &u8| byte.is_ascii_digit() || byte.is_ascii_uppercase();
                failure.code = code.try_into().ok().filter(|code: &[u8; 5]| code.iter().all(is_code));
            }
            _ => {}
        }
        fields = rest;
    }
    failure
}

/// Rows that a command's tag says were returned.
pub(super) fn returned(tag: &[u8]) -> Option<u64> {
    let (tag, _) = text(tag)?;
    let tag = std::str::from_utf8(tag).ok()?;
    let (command, n) = tag.rsplit_once(' ')?;
    matches!(command, "SELECT" | "FETCH").then(|| n.parse().ok()).flatten()
}

/// Whether it is a command's tag, to its end.
pub(super) fn is_tag(bytes: &[u8]) -> bool {
    let Some((tag, [])) = text(bytes) else { return false };
    let is_part = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b' ';
    tag.len() >= 2 && tag[0].is_ascii_uppercase() && tag[1].is_ascii_uppercase() && tag.iter().all(is_part)
}
