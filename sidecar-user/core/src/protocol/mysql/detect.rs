//! Is it MySQL's? By the server's greeting, which comes before all else, or by a command and what answers it.

use super::answer::{Answer, LOOKED_AT, Said};
use super::command::{self, Command, Reply};
use super::packet::HEADER;
use super::session::{self, PROTOCOL_41, PROTOCOL_VERSION, VERSION_MAX};
use crate::protocol::Detect;

/// A greeting is enough. Of a connection that was met in the middle both sides have to fit: a whole command, and packets that answer
/// that one.
pub(super) fn detect(client: &[u8], server: &[u8]) -> Detect {
    match greeting(server) {
        Detect::Yes => Detect::Yes,
        Detect::NeedMore if client.is_empty() => Detect::NeedMore,
        Detect::NeedMore | Detect::No => middle(client, server),
    }
}

/// Bytes of what a server says first,
const LENGTHS: std::ops::RangeInclusive<usize> = 5..=512;
/// and that a greeting has at least.
const GREETING_MIN: usize = 32;
/// Bytes of a command that is waited for; longer ones are not told from what they are not.
const COMMAND_MAX: usize = 8 * 1024;
const ERR: u8 = 0xff;

/// Whether bytes are those of the server's first packet.
pub(super) fn greeting(server: &[u8]) -> Detect {
    let Some(header) = server.first_chunk::<HEADER>() else {
        let is_short = match *server {
            [low, high, ref rest @ ..] => {
                let len = usize::from(u16::from_le_bytes([low, high]));
                LENGTHS.contains(&len) && rest.iter().all(|byte| *byte == 0)
            }
            _ => true,
        };
        return if is_short { Detect::NeedMore } else { Detect::No };
    };
    let [low, high, 0, 0] = *header else { return Detect::No };
    let len = usize::from(u16::from_le_bytes([low, high]));
    let payload = &server[HEADER..server.len().min(HEADER + len)];
    if !LENGTHS.contains(&len) || server.len() > HEADER + len {
        return Detect::No;
    }
    let fits = match payload.first() {
        None => true,
        Some(&PROTOCOL_VERSION) => len >= GREETING_MIN && begins_greeting(&payload[1..]),
        Some(&ERR) => begins_refusal(&payload[1..]),
        Some(_) => false,
    };
    match fits {
        false => Detect::No,
        true if payload.len() < len => Detect::NeedMore,
        true => Detect::Yes,
    }
}

/// Version, thread, 8 bytes of a nonce and a NUL, capabilities, character set, status, capabilities, length of the nonce, zeros.
fn begins_greeting(rest: &[u8]) -> bool {
    let is_text = |byte: &u8| (b' '..=b'~').contains(byte);
    let n = rest.iter().take_while(|byte| is_text(byte)).count();
    if n > VERSION_MAX || !rest.first().is_none_or(u8::is_ascii_digit) {
        return false;
    }
    let Some(end) = rest.get(n) else { return true };
    let fixed = &rest[n + 1..];
    let is_zero = |at: usize| fixed.get(at).is_none_or(|byte| *byte == 0);
    let speaks_41 = fixed.get(14).is_none_or(|high| u32::from(*high) << 8 & PROTOCOL_41 != 0);
    *end == 0 && n > 0 && is_zero(12) && speaks_41 && (21..27).all(is_zero)
}

/// Number and text of an error, as what is told instead of a greeting.
fn begins_refusal(rest: &[u8]) -> bool {
    let number = rest.first_chunk::<2>().map(|number| u16::from_le_bytes(*number));
    let text = rest.get(2..).unwrap_or_default();
    number.is_none_or(|number| (1000..5000).contains(&number))
        && text.iter().all(|byte| (b' '..=b'~').contains(byte))
}

fn middle(client: &[u8], server: &[u8]) -> Detect {
    match first_command(client) {
        Found::No => Detect::No,
        Found::NeedMore | Found::Command(_) if server.is_empty() => Detect::NeedMore,
        Found::NeedMore => Detect::No,
        Found::Command(command) => answers(command, server),
    }
}

enum Found {
    No,
    NeedMore,
    /// One that is answered.
    Command(&'static Command),
}

/// The command that is answered first, of bytes that are commands.
fn first_command(mut bytes: &[u8]) -> Found {
    let mut found = Found::NeedMore;
    while !bytes.is_empty() {
        let is_long = bytes.get(1).is_some_and(|high| usize::from(*high) << 8 > COMMAND_MAX);
        if is_long || bytes.get(2).is_some_and(|highest| *highest != 0) {
            return Found::No;
        }
        let Some(header) = bytes.first_chunk::<HEADER>() else { break };
        let [a, b, c, sequence] = *header;
        let len = u32::from_le_bytes([a, b, c, 0]) as usize;
        let payload = &bytes[HEADER..bytes.len().min(HEADER + len)];
        if sequence != 0 || !command::fits(payload, len as u64) {
            return Found::No;
        }
        if payload.len() < len {
            break;
        }
        bytes = &bytes[HEADER + len..];
        match (&found, command::of(payload[0])) {
            (_, None) => return Found::No,
            (Found::NeedMore, Some(command)) if command.reply != Reply::None => {
                found = Found::Command(command);
            }
            _ => {}
        }
    }
    found
}

/// Whether packets answer this command.
fn answers(command: &'static Command, mut bytes: &[u8]) -> Detect {
    let (mut answer, mut has_eof) = (Answer::new(), None);
    for number in 1..=u8::MAX {
        let Some(header) = bytes.first_chunk::<HEADER>() else { break };
        let [a, b, c, sequence] = *header;
        let len = u32::from_le_bytes([a, b, c, 0]) as usize;
        let payload = &bytes[HEADER..bytes.len().min(HEADER + len)];
        if sequence != number || len == 0 {
            return Detect::No;
        }
        if payload.len() < len.min(LOOKED_AT) {
            break;
        }
        let looked_at = &payload[..payload.len().min(LOOKED_AT)];
        match answer.take(command.reply, looked_at, len as u64, &mut has_eof) {
            Said::Part { is_sure: true } | Said::Over | Said::PerhapsOver => return Detect::Yes,
            Said::Part { is_sure: false } => {}
            Said::Progress | Said::Infile | Said::Asked | Said::Odd => return Detect::No,
        }
        bytes = &bytes[bytes.len().min(HEADER + len)..];
    }
    Detect::NeedMore
}

/// The greeting's payload in a packet of its own.
pub(super) fn is_greeting(bytes: &[u8]) -> bool {
    greeting(bytes) == Detect::Yes && bytes.get(HEADER..).and_then(session::greeting).is_some()
}
