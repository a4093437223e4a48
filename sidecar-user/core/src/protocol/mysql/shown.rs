//! What of a message may be shown: lengths and numbers of packets, commands, statements without what is not in their summaries, errors'
//! numbers, what frames results, the databases that are exported. All else is overwritten, byte by byte, so that the message is one of
//! the same form.

use super::answer::Form;
use super::attributes::{self, Skip};
use super::command::{self, CHANGE_USER, INIT_DB, QUERY};
use super::field::{Fields, name};
use super::packet::{HEADER, Piece};
use super::parser::{Mysql, Phase};
use super::session::{CONNECT_WITH_DB, FIXED, LENENC_AUTH, PROTOCOL_41, SECURE_CONNECTION};
use crate::model::Side;
use crate::protocol::sql::{self, Dialect};
use crate::protocol::{TEXT, Transcript};

/// In the place of numbers, and of what is no message.
pub(super) const NOTHING: u8 = 0;
/// No statement begins with it.
const NO_STATEMENT: u8 = b'+';

/// Bytes of a side's message that were not told of yet.
#[derive(Debug, Default)]
pub(super) struct Untold {
    n_header: usize,
    /// The command, which was told of.
    code: Option<u8>,
    payload: Vec<u8>,
    /// The whole message waits for its end.
    is_held: bool,
    /// In the place of the rest of one that does not.
    filler: u8,
}

impl Untold {
    /// Bytes that it holds.
    pub(super) fn held(&self) -> usize {
        self.payload.capacity()
    }
}

impl Mysql {
    /// A piece of `side`'s message, of which `n_header` bytes were headers.
    pub(super) fn tell_piece(&mut self, side: Side, n_header: usize, piece: &Piece<'_>) {
        let Mysql { untold, readers, transcript, .. } = self;
        let untold = &mut untold[side.index()];
        untold.n_header += n_header;
        if *piece == Piece::Broken || !readers[side.index()].has_header() {
            return;
        }
        let header = readers[side.index()].header();
        transcript.keep(side, &header[HEADER - std::mem::take(&mut untold.n_header)..]);
        let Piece::Payload { mut bytes, is_first, is_last } = *piece else { return };
        if is_first {
            *untold = Untold { is_held: transcript.is_recorded(), ..Untold::default() };
            let is_command = side == Side::Client && self.phase == Phase::Commands && self.data.is_none();
            if let Some((code, rest)) =
                bytes.split_first().filter(|(code, _)| is_command && command::of(**code).is_some())
            {
                transcript.keep(side, &bytes[..1]);
                (untold.code, bytes) = (Some(*code), rest);
                let is_text = matches!(*code, QUERY | command::STMT_PREPARE);
                untold.filler = if is_text { NO_STATEMENT } else { NOTHING };
            }
        }
        let is_too_long = untold.payload.len() + bytes.len() > self.limits.head_bytes;
        if untold.is_held && is_too_long {
            self.tell_message(side, false);
        }
        let untold = &mut self.untold[side.index()];
        if untold.is_held {
            untold.payload.extend_from_slice(bytes);
        } else {
            self.transcript.hide(side, bytes.len() as u64, untold.filler);
        }
        if is_last && self.untold[side.index()].is_held {
            self.tell_message(side, true);
        }
    }

    /// What was not told of by now will not be.
    pub(super) fn forget_untold(&mut self, side: Side) {
        self.untold[side.index()] = Untold::default();
    }

    /// What was not told of is not shown.
    pub(super) fn hide_untold(&mut self, side: Side) {
        let Untold { n_header, payload, .. } = std::mem::take(&mut self.untold[side.index()]);
        self.transcript.hide(side, (n_header + payload.len()) as u64, NOTHING);
    }

    /// A message, or its beginning.
    fn tell_message(&mut self, side: Side, is_whole: bool) {
        let Untold { code, payload, filler, .. } = std::mem::take(&mut self.untold[side.index()]);
        let (dialect, len) = (self.dialect(), self.readers[side.index()].message().len);
        let form = self.queue.oldest().map(|oldest| oldest.answer.form(oldest.command.reply, &payload, len));
        let mut telling = Telling { transcript: &mut self.transcript, side, rest: &payload };
        let _ = match (self.phase, side) {
            (Phase::Greeting, Side::Server) => telling.greeting(),
            (Phase::Login, Side::Client) => telling.login(),
            (Phase::Authentication, Side::Server) => telling.keep(1),
            (Phase::Commands, Side::Server) => telling.answer(form.unwrap_or(Form::of_error(&payload))),
            (Phase::Commands, Side::Client) => code.and_then(|code| telling.command(code, is_whole, dialect)),
            (Phase::Greeting | Phase::Login | Phase::Authentication, _) => None,
        };
        let n = telling.rest.len();
        telling.hide(n, filler);
        self.untold[side.index()].filler = filler;
    }
}

/// A payload that is gone through; what is not told of is hidden.
struct Telling<'a, 'b> {
    transcript: &'a mut Transcript,
    side: Side,
    rest: &'b [u8],
}

impl<'b> Telling<'_, 'b> {
    fn take(&mut self, n: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.rest.split_at_checked(n)?;
        self.rest = rest;
        Some(taken)
    }

    fn keep(&mut self, n: usize) -> Option<()> {
        let taken = self.take(n)?;
        self.transcript.keep(self.side, taken);
        Some(())
    }

    fn hide(&mut self, n: usize, filler: u8) -> Option<()> {
        self.take(n)?;
        self.transcript.hide(self.side, n as u64, filler);
        Some(())
    }

    /// Shows other bytes in the place of the next, of which there are as many.
    fn write(&mut self, others: Vec<u8>) {
        self.rest = &self.rest[others.len()..];
        self.transcript.write(self.side, others.len() as u64, || others);
    }

    /// What a NUL ends, if it may be shown.
    fn until_nul(&mut self, is_shown: impl FnOnce(&[u8]) -> bool) -> Option<()> {
        let text = Fields::of(self.rest).until_nul()?;
        match is_shown(text) {
            true => self.keep(text.len())?,
            false => self.hide(text.len(), TEXT)?,
        }
        self.keep(1)
    }

    /// A length-encoded integer that says how long something is.
    fn length(&mut self) -> Option<usize> {
        let mut fields = Fields::of(self.rest);
        let length = fields.int()?;
        self.keep(self.rest.len() - fields.rest.len())?;
        usize::try_from(length).ok()
    }

    /// One that is a number: as long, and nothing.
    fn number(&mut self) -> Option<()> {
        let mut fields = Fields::of(self.rest);
        fields.int()?;
        let n = self.rest.len() - fields.rest.len();
        if n > 1 {
            self.keep(1)?;
            return self.hide(n - 1, NOTHING);
        }
        self.hide(1, NOTHING)
    }

    /// Of a version, what tells one system from the other.
    fn greeting(&mut self) -> Option<()> {
        if self.rest.first() == Some(&0xff) {
            return self.answer(Form::Error);
        }
        self.keep(1)?;
        let version = Fields::of(self.rest).until_nul()?;
        let system = version.windows(7).position(|part| part.eq_ignore_ascii_case(b"mariadb"));
        let (before, after) = system.map_or((version.len(), 0), |at| (at, version.len() - at - 7));
        self.version(before)?;
        if system.is_some() {
            self.keep(7)?;
        }
        self.version(after)?;
        self.keep(1)?;
        // Thread and nonce.
        self.hide(4 + 8, TEXT)?;
        // Capabilities, character set, status, length of the nonce, and what more MariaDB can.
        self.keep(1 + 2 + 1 + 2 + 2 + 1 + 10)?;
        let n = self.rest.len();
        self.hide(n, TEXT)
    }

    fn version(&mut self, n: usize) -> Option<()> {
        let part = self.take(n)?;
        self.transcript.sift(self.side, part, TEXT, |b| b.is_ascii_digit() || matches!(b, b'.' | b'-'));
        Some(())
    }

    fn login(&mut self) -> Option<()> {
        let capabilities = Fields::of(self.rest).u32()?;
        if capabilities & PROTOCOL_41 == 0 {
            return self.keep(4);
        }
        self.keep(FIXED)?;
        self.user(capabilities)
    }

    /// The user, a proof, and the database.
    fn user(&mut self, capabilities: u32) -> Option<()> {
        self.until_nul(|_| false)?;
        if capabilities & (LENENC_AUTH | SECURE_CONNECTION) != 0 {
            let is_long = capabilities & LENENC_AUTH != 0;
            let n = if is_long { self.length()? } else { usize::from(*self.rest.first()?) };
            if !is_long {
                self.keep(1)?;
            }
            self.hide(n, TEXT)?;
        } else {
            self.until_nul(|_| false)?;
        }
        if capabilities & CONNECT_WITH_DB != 0 {
            self.until_nul(|database| name(database).is_some())?;
        }
        Some(())
    }

    fn command(&mut self, code: u8, is_whole: bool, dialect: Dialect) -> Option<()> {
        match code {
            QUERY | command::STMT_PREPARE => {
                let is_query = code == QUERY;
                match if is_query { attributes::skip(self.rest) } else { Skip::Text(0) } {
                    Skip::Text(at) if is_whole => self.statement(at, dialect),
                    _ => None,
                }
            }
            INIT_DB => {
                let is_shown = name(self.rest).is_some();
                let n = self.rest.len();
                if is_shown { self.keep(n) } else { self.hide(n, TEXT) }
            }
            CHANGE_USER => self.user(SECURE_CONNECTION | CONNECT_WITH_DB),
            // A statement's number, flags, iterations.
            command::STMT_EXECUTE => self.keep(4 + 1 + 4),
            command::STMT_BULK_EXECUTE | command::STMT_SEND_LONG_DATA => self.keep(4 + 2),
            command::STMT_CLOSE | command::STMT_RESET => self.keep(4),
            command::STMT_FETCH => self.keep(4 + 4),
            _ => None,
        }
    }

    /// A text that begins here. Attributes become blanks before it.
    fn statement(&mut self, at: usize, dialect: Dialect) -> Option<()> {
        let (mut begins, text) = (vec![b' '; at], &self.rest[at..]);
        if let [count, sets, ..] = &mut begins[..] {
            (*count, *sets) = (0, 1);
        }
        begins.extend(sql::shown(text, dialect));
        self.write(begins);
        Some(())
    }

    fn answer(&mut self, form: Form) -> Option<()> {
        match form {
            Form::Whole => self.keep(self.rest.len()),
            Form::First(n) => self.keep(n),
            Form::Ok => self.ok(),
            Form::Error => {
                self.keep(1 + 2)?;
                if self.rest.first() == Some(&b'#') {
                    self.keep(1 + 5)?;
                }
                self.keep(super::answer::names_system(self.rest))?;
                let n = self.rest.len();
                self.hide(n, TEXT)
            }
            Form::Hidden => {
                let n = self.rest.len();
                self.hide(n, TEXT)
            }
        }
    }

    /// OK: status, and which database is the default now.
    fn ok(&mut self) -> Option<()> {
        const SCHEMA: u8 = 1;
        self.keep(1)?;
        self.number()?;
        self.number()?;
        self.keep(2)?;
        self.hide(2, NOTHING)?;
        let n = self.length()?;
        self.hide(n, TEXT)?;
        self.length()?;
        while let Some(kind) = self.rest.first().copied() {
            self.keep(1)?;
            let n = self.length()?;
            let mut schema = Fields::of(self.rest.get(..n)?);
            let is_shown = kind == SCHEMA && schema.string().is_some_and(|schema| name(schema).is_some());
            match is_shown && schema.rest.is_empty() {
                true => self.keep(n)?,
                false => self.hide(n, NOTHING)?,
            }
        }
        Some(())
    }
}
