//! Requests of the client paired with what the server answers, in order.

use std::collections::VecDeque;
use std::sync::Arc;

use super::message::{self, Failure};
use super::statements::{Statement, Statements};
use crate::model::{Cut, Db, DbSystem, Detail, Exchange, Ktime, Message, MessageKind, Outcome, Side, Start};
use crate::protocol::sql::Summary;
use crate::protocol::{Close, Limits, Oddities, Signal};

/// Steps that are held for each request that may be outstanding.
const STEPS: usize = 64;
/// The same of Parses.
const PARSES: usize = 8;
/// Bytes of prepared statements for each request that may be outstanding.
const PREPARED: usize = 1024;

#[derive(Debug)]
pub(super) struct Exchanges {
    pub(super) limits: Arc<Limits>,
    pub(super) odd: Oddities,
    pub(super) database: Option<Box<str>>,
    /// A ReadyForQuery has been seen, or the connection was joined.
    pub(super) is_open: bool,
    /// What the server has to answer, in order.
    steps: VecDeque<Step>,
    /// Those of the steps that are requests, but for [`Step::Untold`].
    pending: VecDeque<Pending>,
    /// Those that are Parses.
    parses: VecDeque<Parse>,
    statements: Statements,
    /// The messages that lead to the next Execute.
    leading: Option<Leading>,
    /// An Execute was sent after the last Sync.
    has_executed: bool,
    /// The server skips everything up to the next Sync.
    is_skipping: bool,
    /// The client is to send data, and does.
    is_copying: bool,
    /// The last request's query has not come to its end.
    is_sending: bool,
    /// The first messages that were seen in the middle may have been led by others, and what was sent before them may not
    /// have been answered.
    is_partial: bool,
    /// What was answered since, until the client goes on.
    doubtful: Vec<Exchange>,
    answer: Answer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Parse,
    Bind,
    Describe,
    Close,
    Execute,
    Query,
    Function,
    Sync,
    /// The end of data that was sent before it was asked for.
    Copied,
    /// An Execute that there was no room for.
    Untold,
    /// A query that there was no room for.
    UntoldQuery,
}

/// A request that has not been answered to the end.
#[derive(Debug)]
struct Pending {
    started: Ktime,
    requested: Option<Ktime>,
    is_started: bool,
    lost: u32,
    statement: Statement,
    bytes: u64,
    rows: u64,
    /// Rows by the tags.
    returned: Option<u64>,
    failure: Option<Failure>,
}

/// A Parse that has not been answered.
#[derive(Debug)]
struct Parse {
    name: Box<[u8]>,
    before: Statement,
    statement: Statement,
    since: Ktime,
    at: Ktime,
    bytes: u64,
}

#[derive(Debug)]
struct Leading {
    since: Ktime,
    bytes: u64,
}

/// What came so far for the request that is being answered.
#[derive(Debug, Default)]
struct Answer {
    first: Option<Ktime>,
    bytes: u64,
}

/// A message that has passed: when, and how long it was with its header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passed {
    pub(super) since: Ktime,
    pub(super) at: Ktime,
    pub(super) bytes: u64,
}

/// The two sides do not fit together any more.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Astray;

impl Exchanges {
    pub(super) fn new(limits: Arc<Limits>, is_open: bool) -> Self {
        Exchanges {
            limits,
            odd: Oddities::default(),
            database: None,
            is_open,
            steps: VecDeque::new(),
            pending: VecDeque::new(),
            parses: VecDeque::new(),
            statements: Statements::default(),
            leading: None,
            has_executed: false,
            is_skipping: false,
            is_copying: false,
            is_sending: false,
            is_partial: false,
            doubtful: Vec::new(),
            answer: Answer::default(),
        }
    }

    pub(super) fn held(&self) -> usize {
        let names = self.parses.iter().map(|parse| parse.name.len()).sum::<usize>();
        self.steps.capacity() * size_of::<Step>()
            + self.pending.capacity() * size_of::<Pending>()
            + self.parses.capacity() * size_of::<Parse>()
            + names
            + self.doubtful.capacity() * size_of::<Exchange>()
            + self.statements.held()
    }

    /// So many bytes of the connection were lost.
    pub(super) fn lose(&mut self, n: u64) {
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        self.pending.iter_mut().for_each(|pending| pending.lost = pending.lost.saturating_add(n));
    }

    /// A message was found in the middle.
    pub(super) fn found(&mut self) {
        self.is_partial = true;
    }

    /// The client speaks. If it has been answered as often as it asked, the answers were to what it asked.
    pub(super) fn turn(&mut self, out: &mut Vec<Signal>) {
        if self.is_partial && self.steps.is_empty() && !self.doubtful.is_empty() {
            self.is_partial = false;
            out.extend(self.doubtful.drain(..).map(Signal::Finished));
        }
    }

    fn step(&mut self, step: Step) -> Result<(), Astray> {
        if self.steps.len() >= STEPS * self.limits.outstanding {
            self.odd.overflow += 1;
            return Err(Astray);
        }
        self.steps.push_back(step);
        Ok(())
    }

    /// The header of a query has come.
    pub(super) fn query_began(&mut self, since: Ktime, out: &mut Vec<Signal>) -> Result<(), Astray> {
        self.leading = None;
        if self.is_skipping {
            return Ok(());
        }
        // Clients do not send one before the last is answered, as some do with what ends with a Sync.
        self.is_partial &= !self.steps.is_empty() || !self.doubtful.is_empty();
        self.is_sending = self.request(Step::Query, Step::UntoldQuery, since, None, 0, out)?;
        Ok(())
    }

    pub(super) fn query_ended(&mut self, passed: Passed, statement: Summary) {
        if std::mem::take(&mut self.is_sending)
            && let Some(pending) = self.pending.back_mut()
        {
            pending.requested = Some(passed.at);
            pending.bytes = passed.bytes;
            pending.statement = Some(Arc::new(statement));
        }
    }

    pub(super) fn function(&mut self, passed: Passed, out: &mut Vec<Signal>) -> Result<(), Astray> {
        self.leading = None;
        if self.is_skipping {
            return Ok(());
        }
        if self.request(Step::Function, Step::UntoldQuery, passed.since, None, passed.bytes, out)? {
            self.requested(passed.at);
        }
        Ok(())
    }

    /// `name`: `None` where it was not seen.
    pub(super) fn parse(
        &mut self,
        passed: Passed,
        name: Option<&[u8]>,
        statement: Summary,
    ) -> Result<(), Astray> {
        if self.is_skipping {
            return Ok(());
        }
        self.lead(passed);
        let statement = Some(Arc::new(statement));
        let Some(name) = name else {
            self.statements.clear();
            return Err(Astray);
        };
        if self.parses.len() >= PARSES * self.limits.outstanding {
            self.odd.overflow += 1;
            return Err(Astray);
        }
        let room = PREPARED * self.limits.outstanding;
        let before = self.statements.prepare(name, statement.clone(), room);
        let Passed { since, at, bytes } = passed;
        self.parses.push_back(Parse { name: name.into(), before, statement, since, at, bytes });
        self.step(Step::Parse)
    }

    /// `names`: of the portal and of the statement; `None` where they were not seen.
    pub(super) fn bind(&mut self, passed: Passed, names: Option<(&[u8], &[u8])>) -> Result<(), Astray> {
        if self.is_skipping {
            return Ok(());
        }
        self.lead(passed);
        let statement = names.and_then(|(_, statement)| self.statements.statement(statement));
        match names {
            Some((portal, _)) => self.statements.bind(portal, statement),
            None => self.statements.transaction_ended(),
        }
        self.step(Step::Bind)
    }

    pub(super) fn describe(&mut self, passed: Passed) -> Result<(), Astray> {
        if self.is_skipping {
            return Ok(());
        }
        self.lead(passed);
        self.step(Step::Describe)
    }

    /// `what`: kind and name.
    pub(super) fn close(&mut self, what: Option<(u8, &[u8])>) -> Result<(), Astray> {
        if self.is_skipping {
            return Ok(());
        }
        match what {
            Some((b'S', name)) => drop(self.statements.forget(name)),
            Some((_, portal)) => self.statements.close_portal(portal),
            None => self.statements.clear(),
        }
        self.step(Step::Close)
    }

    pub(super) fn execute(
        &mut self,
        passed: Passed,
        portal: Option<&[u8]>,
        out: &mut Vec<Signal>,
    ) -> Result<(), Astray> {
        if self.is_skipping {
            return Ok(());
        }
        self.lead(Passed { bytes: 0, ..passed });
        let Leading { since, bytes } =
            self.leading.take().unwrap_or(Leading { since: passed.since, bytes: 0 });
        let statement = portal.and_then(|portal| self.statements.portal(portal)).flatten();
        self.odd.unresolved += u32::from(statement.is_none());
        let bytes = bytes + passed.bytes;
        if self.request(Step::Execute, Step::Untold, since, statement, bytes, out)? {
            self.requested(passed.at);
        }
        self.has_executed = true;
        Ok(())
    }

    pub(super) fn sync(&mut self) -> Result<(), Astray> {
        // While it waits for data the server passes over it.
        if self.is_copying && self.steps.front() == Some(&Step::Execute) {
            return Ok(());
        }
        self.leading = None;
        self.has_executed = false;
        self.is_skipping = false;
        self.step(Step::Sync)
    }

    /// Data of a COPY, or the end of it.
    pub(super) fn copy_data(&mut self, passed: Passed, is_end: bool) -> Result<(), Astray> {
        let to = if self.is_copying { self.pending.front_mut() } else { self.pending.back_mut() };
        if let Some(pending) = to {
            pending.bytes += passed.bytes;
            pending.requested = Some(passed.at);
        }
        if is_end && !std::mem::take(&mut self.is_copying) && !self.steps.is_empty() && !self.is_skipping {
            self.step(Step::Copied)?;
        }
        Ok(())
    }

    /// A message leads to an Execute, with those before it that have not been answered: a client that waits in between
    /// is not measured.
    fn lead(&mut self, passed: Passed) {
        if self.steps.is_empty() {
            self.leading = None;
            self.answer = Answer::default();
        }
        let leading = self.leading.get_or_insert(Leading { since: passed.since, bytes: 0 });
        leading.bytes += passed.bytes;
    }

    fn requested(&mut self, at: Ktime) {
        if let Some(pending) = self.pending.back_mut() {
            pending.requested = Some(at);
        }
    }

    /// A request, if there is room for it. It has begun unless the server may skip it, for one that is before it.
    fn request(
        &mut self,
        step: Step,
        untold: Step,
        started: Ktime,
        statement: Statement,
        bytes: u64,
        out: &mut Vec<Signal>,
    ) -> Result<bool, Astray> {
        if self.pending.len() >= self.limits.outstanding {
            self.odd.overflow += 1;
            self.step(untold)?;
            return Ok(false);
        }
        self.step(step)?;
        let mut pending = Pending {
            started,
            requested: None,
            is_started: false,
            lost: 0,
            statement,
            bytes,
            rows: 0,
            returned: None,
            failure: None,
        };
        if self.pending.is_empty() || !self.has_executed {
            pending.start(out);
        }
        if self.pending.capacity() == 0 {
            self.pending.reserve_exact(1);
        }
        self.pending.push_back(pending);
        Ok(true)
    }

    /// A message of the server, of which `body` is the beginning.
    pub(super) fn answered(
        &mut self,
        kind: u8,
        passed: Passed,
        body: &[u8],
        out: &mut Vec<Signal>,
    ) -> Result<(), Astray> {
        match kind {
            b'N' | b'S' | b'R' | b'K' | b'v' => return Ok(()),
            b'A' => {
                let bytes = passed.bytes.saturating_sub(super::message::HEADER as u64);
                let kind = MessageKind::Push;
                out.push(Signal::Message(Message { at: passed.at, side: Side::Server, kind, bytes }));
                return Ok(());
            }
            _ => {}
        }
        self.answer.first.get_or_insert(passed.since);
        self.answer.bytes += passed.bytes;
        let Some(step) = self.steps.front().copied() else { return self.orphan(kind, body) };
        let is_query = matches!(step, Step::Query | Step::Function | Step::UntoldQuery);
        let is_execute = matches!(step, Step::Execute | Step::Untold);
        match kind {
            b'Z' if is_query || step == Step::Sync => {
                if body == b"I" {
                    self.statements.transaction_ended();
                }
                self.is_copying &= !is_query;
                self.end_step(passed.at, out);
            }
            // What failed may be something that was sent before: then all of these were skipped.
            b'E' if self.is_partial && !is_query => return Err(Astray),
            b'E' => self.failed(step, passed, message::failure(body), out),
            b'1' if step == Step::Parse => {
                self.parses.pop_front();
                self.steps.pop_front();
            }
            b'2' if step == Step::Bind => drop(self.steps.pop_front()),
            b'3' if step == Step::Close => {
                self.steps.pop_front();
                self.answer = Answer::default();
            }
            b'T' | b'n' if step == Step::Describe => drop(self.steps.pop_front()),
            b't' if step == Step::Describe => {}
            b'D' if is_query || is_execute => self.told(|pending| pending.rows += 1),
            b'C' if is_query || is_execute => {
                if let Some(n) = message::returned(body) {
                    self.told(|pending| pending.returned = Some(pending.returned.unwrap_or(0) + n));
                }
                self.is_copying = false;
                if is_execute {
                    self.end_step(passed.at, out);
                }
            }
            b'I' | b's' if is_execute => self.end_step(passed.at, out),
            // The server asks for more: as an interim response is.
            b'G' if is_query || is_execute => {
                self.answer = Answer::default();
                self.copy_in();
            }
            b'T' | b'I' | b'V' if is_query => {}
            b'H' | b'W' | b'd' | b'c' if is_query || is_execute => {}
            // Answers to what came before the first message that was seen.
            b'1' | b'2' | b'3' | b't' | b'T' | b'n' if self.is_partial => self.answer = Answer::default(),
            _ => return Err(Astray),
        }
        Ok(())
    }

    /// An answer to nothing that is known. The first ReadyForQuery is one, and what ends a session that was idle.
    fn orphan(&mut self, kind: u8, body: &[u8]) -> Result<(), Astray> {
        self.answer = Answer::default();
        match kind {
            b'Z' if !self.is_open => self.is_open = true,
            b'E' if !self.is_open || message::failure(body).is_fatal => {}
            _ => {
                self.odd.orphan_responses += 1;
                return Err(Astray);
            }
        }
        Ok(())
    }

    /// Syncs that were sent before the end of the data are passed over.
    fn copy_in(&mut self) {
        let is_execute = matches!(self.steps.front(), Some(Step::Execute | Step::Untold));
        let end = self.steps.iter().position(|step| *step == Step::Copied);
        self.is_copying = end.is_none();
        let end = end.unwrap_or(self.steps.len());
        let mut at = 0;
        self.steps.retain(|step| {
            at += 1;
            !(at - 1 == end || at - 1 < end && is_execute && *step == Step::Sync)
        });
    }

    fn told(&mut self, tell: impl FnOnce(&mut Pending)) {
        let is_told = matches!(self.steps.front(), Some(Step::Execute | Step::Query | Step::Function));
        if let Some(pending) = self.pending.front_mut().filter(|_| is_told) {
            tell(pending);
        }
    }

    fn failed(&mut self, step: Step, passed: Passed, failure: Failure, out: &mut Vec<Signal>) {
        self.is_copying = false;
        match step {
            Step::Sync => return,
            Step::Query | Step::Function | Step::UntoldQuery => {
                self.told(|pending| pending.failure = Some(failure));
                if failure.is_fatal {
                    self.end_step(passed.at, out);
                }
                return;
            }
            _ => {}
        }
        let end = self.steps.iter().position(|step| *step == Step::Sync);
        self.is_skipping = end.is_none();
        let skipped: Vec<Step> = self.steps.drain(..end.unwrap_or(self.steps.len())).collect();
        let first = skipped.iter().find(|step| matches!(step, Step::Execute | Step::Untold));
        let n_told = skipped.iter().filter(|step| matches!(step, Step::Execute | Step::Query)).count();
        let n_parses = skipped.iter().filter(|step| **step == Step::Parse).count();
        let lone = self.parses.front().filter(|_| step == Step::Parse && first.is_none());
        if let Some(Parse { statement, since, at, bytes, .. }) = lone {
            let mut pending = Pending {
                started: *since,
                requested: Some(*at),
                is_started: false,
                lost: 0,
                statement: statement.clone(),
                bytes: *bytes,
                rows: 0,
                returned: None,
                failure: Some(failure),
            };
            pending.start(out);
            self.finish(pending, Outcome::Complete, passed.at, out);
        } else if first == Some(&Step::Execute)
            && let Some(mut pending) = self.pending.pop_front()
        {
            pending.failure = Some(failure);
            self.finish(pending, Outcome::Complete, passed.at, out);
        }
        // What follows was not executed.
        let n_skipped = n_told - usize::from(first == Some(&Step::Execute));
        for pending in self.pending.drain(..n_skipped.min(self.pending.len())).filter(|one| one.is_started) {
            let exchange = pending.exchange(Outcome::NotObserved, passed.at, None, None, None);
            out.push(Signal::Finished(exchange));
        }
        let parses: Vec<Parse> = self.parses.drain(..n_parses.min(self.parses.len())).collect();
        for Parse { name, before, .. } in parses.into_iter().rev() {
            self.statements.prepare(&name, before, PREPARED * self.limits.outstanding);
        }
        self.leading = None;
        self.has_executed = false;
        self.answer = Answer::default();
        self.start_next(out);
    }

    /// The first step is over, and its request if it is one.
    fn end_step(&mut self, at: Ktime, out: &mut Vec<Signal>) {
        let step = self.steps.pop_front();
        if matches!(step, Some(Step::Execute | Step::Query | Step::Function))
            && let Some(pending) = self.pending.pop_front()
        {
            self.is_sending &= !self.pending.is_empty();
            self.finish(pending, Outcome::Complete, at, out);
        }
        self.answer = Answer::default();
        self.start_next(out);
    }

    fn start_next(&mut self, out: &mut Vec<Signal>) {
        if let Some(pending) = self.pending.front_mut() {
            pending.start(out);
        }
    }

    fn finish(&mut self, mut pending: Pending, outcome: Outcome, at: Ktime, out: &mut Vec<Signal>) {
        pending.start(out);
        let answered = self.answer.first.filter(|_| outcome != Outcome::NotObserved);
        let bytes = (outcome == Outcome::Complete).then_some(self.answer.bytes);
        let exchange = pending.exchange(outcome, at, answered, bytes, self.database.clone());
        if self.is_partial && outcome == Outcome::Complete {
            if self.doubtful.len() >= self.limits.outstanding {
                self.refute(out);
            }
            self.doubtful.push(exchange);
        } else {
            out.push(Signal::Finished(exchange));
        }
    }

    /// What was answered was something else.
    fn refute(&mut self, out: &mut Vec<Signal>) {
        for mut exchange in self.doubtful.drain(..) {
            exchange.outcome = Outcome::NotObserved;
            exchange.answered = None;
            if let Detail::Db(db) = &mut exchange.detail {
                (db.status, db.is_error, db.rows, db.response_bytes) = (None, false, None, None);
            }
            out.push(Signal::Finished(exchange));
        }
    }

    /// Nothing is known any more of what is outstanding, nor of what is prepared.
    pub(super) fn forget(&mut self, at: Ktime, out: &mut Vec<Signal>) {
        self.refute(out);
        self.is_partial = false;
        self.end_all(at, out, |_, _| Outcome::NotObserved);
        self.steps.clear();
        self.parses.clear();
        self.statements.clear();
        self.leading = None;
        self.has_executed = false;
        self.is_skipping = false;
        self.is_copying = false;
    }

    /// The connection is gone, or its server says no more.
    pub(super) fn cut(&mut self, at: Ktime, how: Option<Close>, first: Option<Side>, out: &mut Vec<Signal>) {
        let cut = match (how, first) {
            (Some(Close::Expired), _) => Cut::Expired,
            (Some(Close::Reset(by)), first) if first.is_none_or(|side| side == by) => Cut::Reset(by),
            (_, first) => Cut::Closed(first),
        };
        match how {
            Some(Close::Forgotten) => self.refute(out),
            _ => out.extend(self.doubtful.drain(..).map(Signal::Finished)),
        }
        self.end_all(at, out, |has_answer, is_sending| match how {
            Some(Close::Forgotten) => Outcome::NotObserved,
            _ if has_answer => Outcome::Truncated(cut),
            _ if is_sending => Outcome::Aborted(cut),
            _ => Outcome::Unanswered(cut),
        });
        self.steps.clear();
    }

    fn end_all(&mut self, at: Ktime, out: &mut Vec<Signal>, outcome: impl Fn(bool, bool) -> Outcome) {
        let is_sending = std::mem::take(&mut self.is_sending);
        while let Some(pending) = self.pending.pop_front() {
            let outcome = outcome(self.answer.first.is_some(), is_sending && self.pending.is_empty());
            self.finish(pending, outcome, at, out);
            self.answer = Answer::default();
        }
        self.answer = Answer::default();
    }
}

impl Pending {
    fn start(&mut self, out: &mut Vec<Signal>) {
        if !std::mem::replace(&mut self.is_started, true) {
            out.push(Signal::Started(Start { at: self.started, method: None, is_excluded: false }));
        }
    }

    fn exchange(
        self,
        outcome: Outcome,
        ended: Ktime,
        answered: Option<Ktime>,
        response_bytes: Option<u64>,
        namespace: Option<Box<str>>,
    ) -> Exchange {
        let statement = self.statement.as_deref().cloned().unwrap_or_default();
        let rows = Some(self.rows).filter(|rows| *rows > 0).or(self.returned);
        let db = Db {
            operation: statement.operation,
            collection: statement.collection,
            summary: statement.summary,
            namespace,
            status: self.failure.and_then(|failure| Some(std::str::from_utf8(&failure.code?).ok()?.into())),
            is_error: self.failure.is_some(),
            rows: rows.filter(|_| self.lost == 0 && outcome == Outcome::Complete),
            batch: statement.statements.filter(|n| *n >= 2),
            request_bytes: self.requested.map(|_| self.bytes),
            response_bytes,
            ..Db::new(DbSystem::PostgreSql)
        };
        Exchange {
            started: self.started,
            requested: self.requested,
            read: None,
            answered,
            ended,
            outcome,
            is_excluded: false,
            lost: self.lost,
            trace: None,
            detail: Detail::Db(Box::new(db)),
        }
    }
}
