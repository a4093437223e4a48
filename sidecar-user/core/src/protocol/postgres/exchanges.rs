//! Requests of the client paired with what the server answers, in order.

use std::collections::VecDeque;
use std::sync::Arc;

use super::ask::{Ask, Passed};
use super::message::{self, Failure};
use super::pending::Pending;
use super::statements::{Statement, Statements};
use super::unsettled::{self, Dropped, Either, Full, Unsettled};
use crate::model::{Cut, Ktime, Message, MessageKind, Outcome, Side};
use crate::protocol::sql::Summary;
use crate::protocol::{Close, Limits, Oddities, Signal};

/// Steps that are held for each request that may be outstanding, of those of which little is held.
const STEPS: usize = 8;
/// Bytes that are held unsettled for each request that may be outstanding.
const UNSETTLED: usize = 3072;
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
    /// Where it is not known which answer is whose.
    unsettled: Option<Box<Unsettled>>,
    /// It was not: what is believed may turn out to be wrong.
    is_doubtful: bool,
    /// Times that it did.
    n_wrong: u32,
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
            unsettled: None,
            is_doubtful: false,
            n_wrong: 0,
            answer: Answer::default(),
        }
    }

    pub(super) fn held(&self) -> usize {
        let names = self.parses.iter().map(|parse| parse.name.len()).sum::<usize>();
        self.steps.capacity() * size_of::<Step>()
            + self.pending.capacity() * size_of::<Pending>()
            + self.parses.capacity() * size_of::<Parse>()
            + names
            + self.unsettled.as_ref().map_or(0, |unsettled| unsettled.held())
            + self.statements.held()
    }

    /// So many bytes of the connection were lost.
    pub(super) fn lose(&mut self, n: u64) {
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        self.pending.iter_mut().for_each(|pending| pending.lost = pending.lost.saturating_add(n));
    }

    /// A message was found in the middle.
    pub(super) fn found(&mut self) {
        self.unsettled = Some(Box::new(Unsettled::new(self.n_wrong)));
        self.is_doubtful = true;
    }

    /// `side` speaks; `is_between`: no message has begun that has not ended.
    pub(super) fn speaks(
        &mut self,
        side: Side,
        at: Ktime,
        is_between: bool,
        out: &mut Vec<Signal>,
    ) -> Result<(), Astray> {
        match self.unsettled.take_if(|unsettled| is_between && unsettled.speaks(side, at)) {
            Some(unsettled) => self.settle(*unsettled, at, out),
            None => Ok(()),
        }
    }

    /// It is believed which answer is whose. Where that turns out to be wrong at once, nothing is told.
    fn settle(&mut self, unsettled: Unsettled, at: Ktime, out: &mut Vec<Signal>) -> Result<(), Astray> {
        let (messages, dropped) = unsettled.settle();
        self.count(dropped);
        let mut told = Vec::new();
        let done = messages.into_iter().try_for_each(|(passed, what)| match what {
            Either::Ask(ask) => {
                if let Ask::Query(_) = ask {
                    self.query_began(passed.since, &mut told)?;
                }
                self.ask(ask, passed, &mut told)
            }
            Either::Said(said) => self.answer(said.kind, said.n, passed, &said.body, &mut told),
        });
        if done.is_ok() {
            out.append(&mut told);
        } else {
            self.end_all(at, &mut told, |_, _| Outcome::NotObserved);
            let is_over = |signal: &&Signal| matches!(signal, Signal::Finished(_));
            self.count(Dropped { requests: told.iter().filter(is_over).count() as u64, answers: 0 });
        }
        done
    }

    /// Answers do not fit what they were believed to answer.
    pub(super) fn mistrust(&mut self) {
        self.n_wrong += u32::from(self.is_doubtful && self.unsettled.is_none());
    }

    fn count(&mut self, dropped: Dropped) {
        let n = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        self.odd.unresolved = self.odd.unresolved.saturating_add(n(dropped.requests));
        self.odd.orphan_responses = self.odd.orphan_responses.saturating_add(n(dropped.answers));
    }

    /// There is room for what is unsettled, or the oldest of it is dropped.
    fn make_room(&mut self) -> Result<(), Astray> {
        let Some(unsettled) = &mut self.unsettled else { return Ok(()) };
        match unsettled.make_room(&self.limits, UNSETTLED * self.limits.outstanding) {
            Ok(dropped) => self.count(dropped),
            Err(Full) => {
                self.odd.overflow += 1;
                return Err(Astray);
            }
        }
        Ok(())
    }

    /// A message of the client's.
    pub(super) fn asked(
        &mut self,
        ask: Ask<'_>,
        passed: Passed,
        out: &mut Vec<Signal>,
    ) -> Result<(), Astray> {
        match &mut self.unsettled {
            Some(unsettled) => unsettled.ask(ask, passed),
            None => return self.ask(ask, passed, out),
        }
        self.make_room()
    }

    fn ask(&mut self, ask: Ask<'_>, passed: Passed, out: &mut Vec<Signal>) -> Result<(), Astray> {
        if let Ask::Query(statement) = ask {
            self.query_ended(passed, *statement);
            return Ok(());
        }
        if self.is_skipping && !matches!(ask, Ask::Sync | Ask::Data { .. }) {
            if let Ask::Function = ask {
                self.leading = None;
            }
            return Ok(());
        }
        match ask {
            Ask::Query(_) => Ok(()),
            Ask::Function => self.function(passed, out),
            Ask::Parse(name, statement) => self.parse(passed, name.as_deref(), *statement),
            Ask::Bind(names) => {
                self.bind(passed, names.as_ref().map(|[portal, statement]| [&**portal, &**statement]))
            }
            Ask::Describe => {
                self.lead(passed);
                self.step(Step::Describe)
            }
            Ask::Execute(portal) => self.execute(passed, portal.as_deref(), out),
            Ask::Close(what) => self.close(what.as_ref().map(|(kind, name)| (*kind, &**name))),
            Ask::Sync => self.sync(),
            Ask::Data { is_end } => self.copy_data(passed, is_end),
        }
    }

    fn step(&mut self, step: Step) -> Result<(), Astray> {
        if self.steps.len() >= STEPS * self.limits.small() {
            self.odd.overflow += 1;
            return Err(Astray);
        }
        self.steps.push_back(step);
        Ok(())
    }

    /// The header of a query has come.
    pub(super) fn query_began(&mut self, since: Ktime, out: &mut Vec<Signal>) -> Result<(), Astray> {
        self.leading = None;
        if self.is_skipping || self.unsettled.is_some() {
            return Ok(());
        }
        self.is_sending = self.request(Step::Query, Step::UntoldQuery, since, None, 0, out)?;
        Ok(())
    }

    fn query_ended(&mut self, passed: Passed, statement: Summary) {
        if std::mem::take(&mut self.is_sending)
            && let Some(pending) = self.pending.back_mut()
        {
            pending.requested = Some(passed.at);
            pending.bytes = passed.bytes;
            pending.statement = Some(Arc::new(statement));
        }
    }

    fn function(&mut self, passed: Passed, out: &mut Vec<Signal>) -> Result<(), Astray> {
        self.leading = None;
        if self.request(Step::Function, Step::UntoldQuery, passed.since, None, passed.bytes, out)? {
            self.requested(passed.at);
        }
        Ok(())
    }

    /// `name`: `None` where it was not seen.
    fn parse(&mut self, passed: Passed, name: Option<&[u8]>, statement: Summary) -> Result<(), Astray> {
        self.lead(passed);
        let statement = Some(Arc::new(statement));
        let Some(name) = name else {
            self.statements.clear();
            return Err(Astray);
        };
        if self.parses.len() >= self.limits.small() {
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
    fn bind(&mut self, passed: Passed, names: Option<[&[u8]; 2]>) -> Result<(), Astray> {
        self.lead(passed);
        let statement = names.and_then(|[_, statement]| self.statements.statement(statement));
        match names {
            Some([portal, _]) => self.statements.bind(portal, statement),
            None => self.statements.transaction_ended(),
        }
        self.step(Step::Bind)
    }

    /// `what`: kind and name.
    fn close(&mut self, what: Option<(u8, &[u8])>) -> Result<(), Astray> {
        match what {
            Some((b'S', name)) => drop(self.statements.forget(name)),
            Some((_, portal)) => self.statements.close_portal(portal),
            None => self.statements.clear(),
        }
        self.step(Step::Close)
    }

    fn execute(
        &mut self,
        passed: Passed,
        portal: Option<&[u8]>,
        out: &mut Vec<Signal>,
    ) -> Result<(), Astray> {
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

    fn sync(&mut self) -> Result<(), Astray> {
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
    fn copy_data(&mut self, passed: Passed, is_end: bool) -> Result<(), Astray> {
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
        if self.pending.len() >= self.limits.small() {
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

    /// A message of the server's, of which `body` is the beginning.
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
        match &mut self.unsettled {
            // Syncs that were sent before the data count for nothing: how many is not known.
            Some(unsettled) if kind == b'G' && unsettled.is_executing() => return Err(Astray),
            Some(unsettled) => unsettled.answer(kind, passed, body),
            None => return self.answer(kind, 1, passed, body, out),
        }
        self.make_room()
    }

    /// `n` messages in a row.
    fn answer(
        &mut self,
        kind: u8,
        n: u64,
        passed: Passed,
        body: &[u8],
        out: &mut Vec<Signal>,
    ) -> Result<(), Astray> {
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
            b'D' if is_query || is_execute => self.told(|pending| pending.rows += n),
            b'C' if is_query || is_execute => {
                if self.is_doubtful && !self.may_be_tag(body) {
                    return Err(Astray);
                }
                if let Some(n) = message::returned(body) {
                    self.told(|pending| pending.returned = Some(pending.returned.unwrap_or(0) + n));
                }
                // Nobody saw the end of the data, to which this answers.
                if std::mem::take(&mut self.is_copying) {
                    self.told(|pending| pending.requested = None);
                }
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
            _ => return Err(Astray),
        }
        Ok(())
    }

    /// Whether the first request may be completed with this tag.
    fn may_be_tag(&self, tag: &[u8]) -> bool {
        let is_told = matches!(self.steps.front(), Some(Step::Execute | Step::Query));
        let statement = self.pending.front().filter(|_| is_told).and_then(|one| one.statement.as_ref());
        statement.is_none_or(|statement| unsettled::may_be_tag(statement, tag))
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
        out.push(Signal::Finished(exchange));
    }

    /// What is held unsettled is told as what is not known.
    fn drop_unsettled(&mut self) {
        if let Some(unsettled) = self.unsettled.take() {
            self.count(unsettled.give_up());
        }
    }

    /// Nothing is known any more of what is outstanding, nor of what is prepared.
    pub(super) fn forget(&mut self, at: Ktime, out: &mut Vec<Signal>) {
        self.drop_unsettled();
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
        let is_known = how != Some(Close::Forgotten);
        if let Some(unsettled) = self.unsettled.take_if(|unsettled| is_known && unsettled.ends()) {
            // Where it turns out to be wrong, nothing of it is told, and nothing else will be.
            let _ = self.settle(*unsettled, at, out);
        }
        self.drop_unsettled();
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
