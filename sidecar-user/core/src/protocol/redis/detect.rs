//! Is it Redis?

use super::table::{self, COMMANDS, MANY, TEXT};
use super::value::{Read, Values};
use crate::model::Ktime;
use crate::protocol::line::number;
use crate::protocol::{Detect, Transcript};

/// The longest line that is waited for.
const LINE_MAX: usize = 1024;
/// The longest count of words or of bytes.
const DIGITS: usize = 10;

/// A command that is in the table, as an array, is enough. One that is not, and a line of words, which anybody may send, take an
/// answer. Of a server's bytes alone an array or a string is enough that is whole.
pub(super) fn detect(client: &[u8], server: &[u8]) -> Detect {
    match (commands(client), values(server)) {
        (Client::Array, _) => Detect::Yes,
        (Client::Nothing | Client::Begun | Client::None, Server::Strong) => Detect::Yes,
        (Client::Unsure, Server::Strong | Server::Weak) => Detect::Yes,
        (Client::None, _) | (_, Server::None) => Detect::No,
        _ => Detect::NeedMore,
    }
}

/// Bytes begin with a command that is in the table.
pub(super) fn is_command(bytes: &[u8]) -> bool {
    commands(bytes) == Client::Array
}

/// Bytes begin with a value, and go on with values as far as they go.
pub(super) fn is_value(bytes: &[u8]) -> bool {
    matches!(values(bytes), Server::Weak | Server::Strong)
}

/// Bytes begin with the first line of something that has a length.
pub(super) fn is_long_value(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let digits =
        line.strip_suffix(b"\r").and_then(|line| line.strip_prefix(b"$").or(line.strip_prefix(b"*")));
    line.len() < bytes.len() && digits.and_then(number).is_some_and(|length| length > 0)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    Nothing,
    None,
    Begun,
    /// An array that no command of the table begins, or a line of words that may be a command.
    Unsure,
    Array,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    Nothing,
    None,
    Begun,
    /// A line that says little.
    Weak,
    /// A string with its length, or values in a value.
    Strong,
}

fn commands(bytes: &[u8]) -> Client {
    match bytes.first() {
        None => Client::Nothing,
        Some(b'*') => array(bytes),
        Some(first) if first.is_ascii_alphabetic() => words(bytes),
        Some(_) => Client::None,
    }
}

/// `*2\r\n$4\r\nLLEN\r\n`
fn array(bytes: &[u8]) -> Client {
    let Some(rest) = count(bytes, b'*') else { return Client::None };
    let Some((n_words, rest)) = rest else { return Client::Begun };
    let Some(rest) = count(rest, b'$') else { return Client::None };
    let Some((length, rest)) = rest else { return Client::Begun };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if n_words == 0 || !(1..=32).contains(&length) {
        return Client::None;
    }
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-|".contains(byte);
    match rest.split_at_checked(length) {
        None if rest.iter().all(is_word) => Client::Begun,
        Some((name, rest)) if name.iter().all(is_word) => match rest {
            b"" | b"\r" => Client::Begun,
            [b'\r', b'\n', ..] => match table::find(&name.to_ascii_uppercase()) {
                Some(at) if COMMANDS[at].takes(n_words) => Client::Array,
                _ => Client::Unsure,
            },
            _ => Client::None,
        },
        _ => Client::None,
    }
}

/// The number in a line that begins with `kind`, and what follows; `Some(None)` where the line is not whole.
fn count(bytes: &[u8], kind: u8) -> Option<Option<(u64, &[u8])>> {
    let Some((first, rest)) = bytes.split_first() else { return Some(None) };
    if *first != kind {
        return None;
    }
    let n = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, end) = rest.split_at(n);
    match end {
        _ if n > DIGITS => None,
        b"" => Some(None),
        _ if n == 0 => None,
        b"\r" => Some(None),
        [b'\r', b'\n', rest @ ..] => Some(Some((number(digits)?, rest))),
        _ => None,
    }
}

/// A line whose first word is a command that takes so many.
fn words(bytes: &[u8]) -> Client {
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let line = &bytes[..end.unwrap_or(bytes.len())];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() > LINE_MAX || line.iter().any(|byte| byte.is_ascii_control()) {
        return Client::None;
    }
    let mut words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let Some(name) = words.next().map(<[u8]>::to_ascii_uppercase) else { return Client::None };
    let n_words = 1 + words.count() as u64;
    let is_named = end.is_some() || n_words > 1 || line.ends_with(b" ");
    if !is_named {
        let is_begun = COMMANDS.iter().any(|known| known.name.as_bytes().starts_with(&name));
        return if is_begun { Client::Begun } else { Client::None };
    }
    let Some(known) = table::find(&name).map(|at| &COMMANDS[at]) else { return Client::None };
    match end {
        Some(_) if known.takes(n_words) => Client::Unsure,
        None if known.may_take(n_words) => Client::Begun,
        _ => Client::None,
    }
}

fn values(bytes: &[u8]) -> Server {
    match bytes.first() {
        None => return Server::Nothing,
        Some(first) if !b"+-:$*_#,(!=%~>|".contains(first) => return Server::None,
        Some(b'*') if is_command(bytes) => return Server::None,
        Some(_) => {}
    }
    let (mut rest, mut values, mut said) = (bytes, Values::new(), Server::Begun);
    while !rest.is_empty() {
        let (used, read) = values.take(Ktime::default(), rest, &mut Transcript::default());
        rest = &rest[used..];
        match read {
            Read::Malformed => return Server::None,
            Read::More => {}
            Read::Value(value) if value.kind & (TEXT | MANY) != 0 && value.bytes > 4 => said = Server::Strong,
            Read::Value(_) if said == Server::Begun => said = Server::Weak,
            Read::Value(_) => {}
        }
    }
    let is_endless = said == Server::Begun && values.left() == 0 && !bytes.contains(&b'\n');
    if is_endless && bytes.len() > LINE_MAX { Server::None } else { said }
}
