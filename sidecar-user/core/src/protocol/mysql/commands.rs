//! What the client sends.

use std::sync::Arc;

use super::attributes::{self, Skip};
use super::command::{self, CHANGE_USER, Command, INIT_DB, QUERY, Reply};
use super::field::name;
use super::packet::Message;
use super::parser::{Mysql, Phase, Place};
use super::queue::Pending;
use super::session::{self, Login};
use super::statements::Statement;
use crate::model::{Ktime, Side};
use crate::protocol::sql::{Dialect, Summarizer, Summary};
use crate::protocol::{Next, Signal};

/// Bytes of a message of the client that are held: what is before a text, numbers and names.
const HEAD_MAX: usize = 1024;

/// The client's message that is being read.
#[derive(Debug, Default)]
pub(super) struct Asking {
    command: Option<&'static Command>,
    head: Vec<u8>,
    text: Text,
    /// It is in the queue.
    is_queued: bool,
    /// Some of it was not seen.
    is_cut: bool,
}

#[derive(Debug, Default)]
enum Text {
    #[default]
    None,
    /// Where it begins is not known.
    Before(Dialect),
    Read {
        begins: usize,
        summarizer: Box<Summarizer>,
    },
}

/// What the client sends besides commands, as it was asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Data {
    /// A file (LOAD DATA LOCAL INFILE).
    File,
    /// What a login wants.
    Login,
}

impl Asking {
    fn begin(&mut self, command: Option<&'static Command>, dialect: Dialect) {
        *self = Asking { command, ..Asking::default() };
        if command.is_some_and(|command| matches!(command.code, QUERY | command::STMT_PREPARE)) {
            self.text = Text::Before(dialect);
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        if self.is_cut {
            return;
        }
        let room = (HEAD_MAX - self.head.len()).min(bytes.len());
        let (head, rest) = bytes.split_at(room);
        match &mut self.text {
            Text::None => self.head.extend_from_slice(head),
            Text::Read { summarizer, .. } => {
                self.head.extend_from_slice(head);
                summarizer.push(bytes);
            }
            Text::Before(dialect) => {
                self.head.extend_from_slice(head);
                let is_query = self.command.is_some_and(|command| command.code == QUERY);
                let behind = self.head.get(1..).unwrap_or_default();
                self.text = match if is_query { attributes::skip(behind) } else { Skip::Text(0) } {
                    Skip::NeedMore if self.head.len() < HEAD_MAX => return,
                    Skip::NeedMore | Skip::Malformed => Text::None,
                    Skip::Text(at) => {
                        let mut summarizer = Box::new(Summarizer::new(*dialect));
                        summarizer.push(&behind[at..]);
                        summarizer.push(rest);
                        Text::Read { begins: 1 + at, summarizer }
                    }
                };
            }
        }
    }

    /// A text is being read.
    pub(super) fn has_text(&self) -> bool {
        !matches!(self.text, Text::None)
    }

    /// The statement's number.
    fn number(&self) -> Option<u32> {
        let bytes = self.head.get(1..)?.first_chunk::<4>()?;
        Some(u32::from_le_bytes(*bytes))
    }

    fn summary(&mut self) -> Summary {
        match std::mem::take(&mut self.text) {
            Text::Read { summarizer, .. } if self.is_cut => summarizer.cut(),
            Text::Read { summarizer, .. } => summarizer.finish(),
            Text::None | Text::Before(_) => Summary::default(),
        }
    }

    /// The database that a text names which is nothing but USE and its name.
    fn used(&self, message: Message) -> Option<Box<str>> {
        let Text::Read { begins, .. } = &self.text else { return None };
        if message.len != self.head.len() as u64 {
            return None;
        }
        let text = self.head.get(*begins..)?.trim_ascii();
        let (verb, rest) = text.split_at_checked(3)?;
        if !verb.eq_ignore_ascii_case(b"use") || !matches!(rest.first(), Some(b' ' | b'\t' | b'\n' | b'`')) {
            return None;
        }
        let rest = rest.trim_ascii();
        let rest = rest.strip_suffix(b";").unwrap_or(rest).trim_ascii();
        let quoted = rest.strip_prefix(b"`").and_then(|rest| rest.strip_suffix(b"`"));
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..);
        match quoted {
            Some(quoted) => name(quoted).filter(|name| !name.contains('`')),
            None => name(rest).filter(|_| rest.iter().all(is_plain)),
        }
    }

    /// A text that was not understood may be a USE, by its first word.
    fn may_use(&self) -> bool {
        let Text::Read { begins, .. } = &self.text else { return true };
        let text = self.head.get(*begins..).unwrap_or_default().trim_ascii_start();
        let n = text.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
        n == 0 || n == text.len() || text[..n].eq_ignore_ascii_case(b"use")
    }

    /// Bytes that it holds.
    pub(super) fn held(&self) -> usize {
        let text = match &self.text {
            Text::Read { summarizer, .. } => size_of::<Summarizer>() + summarizer.held(),
            Text::None | Text::Before(_) => 0,
        };
        self.head.capacity() + text
    }
}

impl Mysql {
    /// Some of the client's current message.
    pub(super) fn asked(
        &mut self,
        at: Ktime,
        bytes: &[u8],
        is_first: bool,
        is_last: bool,
        out: &mut Vec<Signal>,
    ) {
        if self.phase == Phase::Commands && self.data.is_none() {
            return self.command(at, bytes, is_first, is_last, out);
        }
        let message = self.reader(Side::Client).message();
        match self.phase {
            // The server speaks first.
            Phase::Greeting => return self.malformed(at, out),
            Phase::Login => {
                if is_first {
                    self.asking.begin(None, self.dialect());
                }
                self.asking.push(bytes);
            }
            Phase::Authentication => {}
            Phase::Commands => {
                let expected = self.queue.oldest().map(|oldest| oldest.sequence);
                if is_first && expected != Some(message.first) {
                    return self.malformed(at, out);
                }
            }
        }
        if !is_last {
            return;
        }
        self.explain(Side::Client, message.passed);
        match self.phase {
            Phase::Login => self.logged_in(at, out),
            Phase::Commands => self.sent_data(at, message),
            Phase::Greeting | Phase::Authentication => {}
        }
    }

    /// The client said who logs in, or that it wants TLS.
    fn logged_in(&mut self, at: Ktime, out: &mut Vec<Signal>) {
        let asking = std::mem::take(&mut self.asking);
        match session::login(&asking.head, self.capabilities) {
            Some(Login::Tls) => self.over = Some(Next::Become),
            Some(Login::User { has_eof, is_compressed, namespace }) => {
                self.session.has_eof = Some(has_eof);
                self.session.is_compressed = is_compressed;
                self.session.namespace = namespace.map(Into::into);
                self.phase = Phase::Authentication;
            }
            None if asking.is_cut => self.lose(Side::Client, at, out),
            None => self.malformed(at, out),
        }
    }

    /// A packet of a file, or of a login, was sent.
    fn sent_data(&mut self, at: Ktime, message: Message) {
        let Some(oldest) = self.queue.oldest() else { return };
        oldest.sent = oldest.sent.map(|sent| sent + message.passed);
        oldest.sequence = message.last.wrapping_add(1);
        // An empty packet ends a file.
        if self.data == Some(Data::Login) || message.len == 0 {
            oldest.requested = Some(at);
            self.data = None;
        }
    }

    /// Some of a command.
    fn command(&mut self, at: Ktime, bytes: &[u8], is_first: bool, is_last: bool, out: &mut Vec<Signal>) {
        let message = self.reader(Side::Client).message();
        if is_first {
            let command = bytes.first().and_then(|code| command::of(*code));
            let Some(command) = command.filter(|_| message.first == 0) else {
                return self.malformed(at, out);
            };
            self.asking.begin(Some(command), self.dialect());
            if self.place(Side::Client) == Place::Known && !self.begin(command, message.since, at, out) {
                return;
            }
        }
        self.asking.push(bytes);
        self.command_went_on(at, is_last, out);
    }

    /// More of a command was sent, or passed unseen.
    pub(super) fn command_went_on(&mut self, at: Ktime, is_last: bool, out: &mut Vec<Signal>) {
        let message = self.reader(Side::Client).message();
        if self.place(Side::Client) == Place::Trial && !command::fits(&self.asking.head, message.len) {
            return self.malformed(at, out);
        }
        if is_last {
            self.explain(Side::Client, message.passed);
            self.command_ended(at, message, out);
        }
    }

    /// A command that is answered goes into the queue. Says whether there was room.
    fn begin(&mut self, command: &'static Command, since: Ktime, at: Ktime, out: &mut Vec<Signal>) -> bool {
        if matches!(command.reply, Reply::None | Reply::Stream) {
            return true;
        }
        self.settle(out);
        let is_executed_at_once = command.code == command::STMT_EXECUTE
            && self.queue.len() == 1
            && self.queue.oldest().is_some_and(|oldest| oldest.command.reply == Reply::Prepared);
        self.has_pipelined |= !self.queue.is_empty() && !is_executed_at_once;
        if self.queue.len() >= self.limits.outstanding {
            self.odd.overflow += 1;
            self.give_up(at, out);
            return false;
        }
        self.queue.push(Pending::new(command, since, self.session.namespace.clone()));
        self.queue.is_sending = true;
        self.asking.is_queued = true;
        if self.place(Side::Client) == Place::Known {
            self.queue.tell(out);
        }
        true
    }

    /// A command was sent to its end.
    fn command_ended(&mut self, at: Ktime, message: Message, out: &mut Vec<Signal>) {
        let Some(command) = self.asking.command else { return };
        if command.reply == Reply::Stream {
            return self.give_up(at, out);
        }
        if !self.asking.is_queued && !self.begin(command, message.since, at, out) {
            return;
        }
        let mut asking = std::mem::take(&mut self.asking);
        if command.code == command::STMT_CLOSE {
            asking.number().into_iter().for_each(|number| self.statements.close(number));
        }
        // It may have been answered before it was all there.
        if !asking.is_queued || !std::mem::take(&mut self.queue.is_sending) {
            return;
        }
        let wanted = match command.code {
            QUERY => asking.used(message),
            INIT_DB if !asking.is_cut => name(&asking.head[1..]),
            CHANGE_USER if !asking.is_cut => session::changed_user(&asking.head[1..]),
            _ => None,
        };
        let may_use = command.code == QUERY && asking.may_use();
        let summary = asking.summary();
        let is_unclear = may_use && summary.summary.is_none();
        let mut prepared = None;
        let statement = match command.code {
            QUERY => Some(Arc::new(Statement::new(summary))),
            command::STMT_PREPARE => {
                let statement = Arc::new(Statement::new(summary));
                let named = Statement::named(command.name, Some(&statement));
                self.statements.preparing(Arc::clone(&statement));
                prepared = Some(statement);
                Some(Arc::new(named))
            }
            command::STMT_EXECUTE | command::STMT_BULK_EXECUTE => self.prepared(&asking),
            command::STMT_FETCH => {
                let on = self.prepared(&asking);
                Some(Arc::new(Statement::named(command.name, on.as_deref())))
            }
            _ => Some(Arc::new(Statement::named(command.name, None))),
        };
        let Some(youngest) = self.queue.youngest() else { return };
        youngest.requested = Some(at);
        youngest.sent = Some(message.passed);
        youngest.sequence = message.last.wrapping_add(1);
        youngest.is_unclear = is_unclear;
        (youngest.statement, youngest.prepared, youngest.wanted) = (statement, prepared, wanted);
        if self.place(Side::Client) == Place::Trial {
            self.await_answer();
        }
    }

    /// The statement that a command names by its number.
    fn prepared(&mut self, asking: &Asking) -> Option<Arc<Statement>> {
        let statement = asking.number().and_then(|number| self.statements.get(number));
        self.odd.unresolved += u32::from(statement.is_none());
        statement
    }

    /// Some of the client's current message passed unseen.
    pub(super) fn ask_unseen(&mut self) {
        self.asking.is_cut = true;
    }

    pub(super) fn dialect(&self) -> Dialect {
        if self.session.is_plain_backslash { Dialect::MySqlNoBackslash } else { Dialect::MySql }
    }
}
