//! Messages of both sides of which it is not known how they belong together: the connection was met in the middle, or bytes were
//! lost. The server says once that it is ready for each Sync, query and function call of the client's: what is between two of
//! them is a group, and groups are paired by `trial`.

use super::ask::{Ask, Passed};
use super::message;
use crate::model::{Ktime, Side};
use crate::protocol::Limits;
use crate::protocol::sql::Summary;
use crate::protocol::trial::{Asks, Trial};

/// Groups that are held for each request that may be outstanding.
const GROUPS: usize = 4;

/// A message of the server's, or several of a kind in a row.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) kind: u8,
    pub(super) n: u64,
    /// The beginning of its body.
    pub(super) body: Box<[u8]>,
}

#[derive(Debug)]
pub(super) struct Held<T> {
    /// In which order they passed, both sides'.
    order: u64,
    pub(super) passed: Passed,
    pub(super) what: T,
}

/// A group of the client's.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) messages: Vec<Held<Ask<'static>>>,
    /// Nothing was seen before it: its beginning may be missing.
    is_first: bool,
}

/// A group of the server's.
#[derive(Debug)]
pub(super) struct Answered(Vec<Held<Said>>);

#[derive(Debug)]
pub(super) struct Unsettled {
    trial: Trial<Asked, Answered>,
    asking: Vec<Held<Ask<'static>>>,
    answering: Vec<Held<Said>>,
    is_first: bool,
    /// Messages that were ever held.
    n: u64,
    /// Bytes that are held; more than there are, where some were let go since.
    held: usize,
}

/// What there was no room for, or what is not known of what was held.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Dropped {
    pub(super) requests: u64,
    pub(super) answers: u64,
}

/// A message of either side.
#[derive(Debug)]
pub(super) enum Either {
    Ask(Ask<'static>),
    Said(Said),
}

/// There is no room, whatever is let go.
pub(super) struct Full;

impl Unsettled {
    /// `n_wrong`: times that what was believed turned out to be wrong.
    pub(super) fn new(n_wrong: u32) -> Self {
        Unsettled {
            trial: Trial::new(n_wrong),
            asking: Vec::new(),
            answering: Vec::new(),
            is_first: true,
            n: 0,
            held: 0,
        }
    }

    /// `side` speaks. Says whether it is settled which group is whose.
    pub(super) fn speaks(&mut self, side: Side, at: Ktime) -> bool {
        (side == Side::Server || self.is_between()) && self.trial.speaks(side, at)
    }

    /// The connection ends. Says whether that settles it.
    pub(super) fn ends(&self) -> bool {
        self.is_between() && self.trial.ends()
    }

    /// All groups have come to their end.
    fn is_between(&self) -> bool {
        self.asking.is_empty() && self.answering.is_empty()
    }

    pub(super) fn ask(&mut self, ask: Ask<'_>, passed: Passed) {
        if let (Ask::Data { is_end: false }, Some(last)) = (&ask, self.asking.last_mut())
            && matches!(last.what, Ask::Data { is_end: false })
        {
            return last.passed.add(passed);
        }
        let is_end = ask.ends_group();
        let what = ask.into_owned();
        self.held += size_of::<Held<Ask<'_>>>() + what.held();
        self.n += 1;
        self.asking.push(Held { order: self.n, passed, what });
        if is_end {
            let messages = std::mem::take(&mut self.asking);
            self.trial.asked(Asked { messages, is_first: std::mem::take(&mut self.is_first) });
        }
    }

    pub(super) fn answer(&mut self, kind: u8, passed: Passed, body: &[u8]) {
        if let Some(last) = self.answering.last_mut().filter(|last| last.what.kind == kind)
            && matches!(kind, b'D' | b'd')
        {
            last.what.n += 1;
            return last.passed.add(passed);
        }
        let is_fatal = kind == b'E' && message::failure(body).is_fatal;
        // What ends a session that is idle answers nothing.
        if is_fatal && self.answering.is_empty() && self.trial.is_answered() {
            return;
        }
        self.held += size_of::<Held<Said>>() + body.len();
        self.n += 1;
        self.answering.push(Held { order: self.n, passed, what: Said { kind, n: 1, body: body.into() } });
        if kind == b'Z' || is_fatal {
            self.trial.answered(Answered(std::mem::take(&mut self.answering)));
        }
    }

    /// An Execute is being answered.
    pub(super) fn is_executing(&self) -> bool {
        self.answering.iter().any(|said| said.what.kind == b'2')
    }

    /// There is room for more, or the oldest is let go.
    pub(super) fn make_room(&mut self, limits: &Limits, bytes: usize) -> Result<Dropped, Full> {
        let mut dropped = Dropped::default();
        let room = GROUPS * limits.outstanding;
        let is_over = |trial: &Trial<_, _>| trial.len().0.max(trial.len().1) >= room;
        while is_over(&self.trial) || self.held > bytes {
            let open = held(&self.asking) + said(&self.answering);
            let requests = self.trial.requests().map(|group| held(&group.messages)).sum::<usize>();
            self.held = open + requests + self.trial.answers().map(|group| said(&group.0)).sum::<usize>();
            if !is_over(&self.trial) && self.held <= bytes {
                break;
            }
            if self.trial.len() == (0, 0) {
                return Err(Full);
            }
            let n = n_requests(self.trial.requests());
            let (answers, _) = self.trial.let_go();
            dropped.answers += answers as u64;
            dropped.requests += n - n_requests(self.trial.requests());
        }
        Ok(dropped)
    }

    /// What is held, in the order in which it passed, without what it is not known to belong to.
    pub(super) fn settle(self) -> (Vec<(Passed, Either)>, Dropped) {
        let mut settled = self.trial.settle();
        let mut dropped = Dropped { requests: 0, answers: settled.orphans };
        let is_cut = |asked: &&Asked| {
            asked.is_first && settled.answers.front().is_some_and(|said| !is_whole(&asked.messages, &said.0))
        };
        if let Some(cut) = settled.requests.front().filter(is_cut) {
            dropped.requests += n_requests([cut]);
            dropped.answers += 1;
            settled.requests.pop_front();
            settled.answers.pop_front();
        }
        let asked = settled.requests.into_iter().flat_map(|group| group.messages).chain(self.asking);
        let answered = settled.answers.into_iter().flat_map(|group| group.0).chain(self.answering);
        let asked = asked.map(|held| (held.order, held.passed, Either::Ask(held.what)));
        let answered = answered.map(|held| (held.order, held.passed, Either::Said(held.what)));
        let mut all: Vec<_> = asked.chain(answered).collect();
        all.sort_unstable_by_key(|(order, ..)| *order);
        (all.into_iter().map(|(_, passed, what)| (passed, what)).collect(), dropped)
    }

    /// Nothing will be known of it.
    pub(super) fn give_up(self) -> Dropped {
        let open = self.asking.iter().filter(|held| held.what.is_request()).count() as u64;
        let answers = self.trial.len().1 + usize::from(!self.answering.is_empty());
        Dropped { requests: n_requests(self.trial.requests()) + open, answers: answers as u64 }
    }

    pub(super) fn held(&self) -> usize {
        self.held + self.trial.held()
    }
}

impl Passed {
    fn add(&mut self, next: Passed) {
        self.at = next.at;
        self.bytes += next.bytes;
    }
}

fn held(messages: &[Held<Ask<'_>>]) -> usize {
    messages.iter().map(|held| size_of::<Held<Ask<'_>>>() + held.what.held()).sum()
}

fn said(messages: &[Held<Said>]) -> usize {
    messages.iter().map(|held| size_of::<Held<Said>>() + held.what.body.len()).sum()
}

fn n_requests<'a>(groups: impl IntoIterator<Item = &'a Asked>) -> u64 {
    let messages = groups.into_iter().flat_map(|group| &group.messages);
    messages.filter(|held| held.what.is_request()).count() as u64
}

impl Asks<Answered> for Asked {
    fn answers(&self) -> u32 {
        1
    }

    fn fits(&self, answer: &Answered) -> bool {
        // What was not seen of a group has been answered before what was.
        let from = if self.is_first { answer.0.len() } else { 1 };
        (0..from).any(|from| fits(&self.messages, &answer.0[from..]))
    }

    fn is_blocking(&self) -> bool {
        false
    }
}

/// Whether these messages are answered by those, and nothing was asked before them.
fn is_whole(asked: &[Held<Ask<'_>>], answered: &[Held<Said>]) -> bool {
    // What failed may be something that was asked before: then all of these were skipped.
    let is_alone = matches!(asked, [Held { what: Ask::Query(_), .. }]);
    (is_alone || answered.iter().all(|held| held.what.kind != b'E')) && fits(asked, answered)
}

/// Whether these messages are answered by those.
fn fits(asked: &[Held<Ask<'_>>], answered: &[Held<Said>]) -> bool {
    let mut said = answered.iter().map(|held| &held.what).peekable();
    for held in asked {
        // What follows an error is skipped.
        let is_failed = said.peek().is_some_and(|said| said.kind == b'E');
        if is_failed && !matches!(held.what, Ask::Data { .. }) {
            return said.skip(1).all(|said| said.kind == b'Z');
        }
        let mut is_next = |kinds: &[u8]| said.next_if(|said| kinds.contains(&said.kind)).is_some();
        let is_answered = match &held.what {
            Ask::Data { .. } => true,
            Ask::Parse(..) => is_next(b"1"),
            Ask::Bind(_) => is_next(b"2"),
            Ask::Close(_) => is_next(b"3"),
            Ask::Describe => is_next(b"t") | is_next(b"Tn"),
            Ask::Sync => is_next(b"Z"),
            Ask::Function => is_next(b"V") && is_next(b"Z"),
            Ask::Execute(_) => {
                while is_next(b"DHWdc") {}
                if is_next(b"E") {
                    return said.all(|said| said.kind == b'Z');
                }
                is_next(b"CIs")
            }
            Ask::Query(statement) => {
                let is_known = |said: &Said| match said.kind {
                    b'C' => may_be_tag(statement, &said.body),
                    kind => b"TDIEGHWdcZ".contains(&kind),
                };
                said.by_ref().all(is_known)
            }
        };
        if !is_answered {
            return false;
        }
    }
    said.next().is_none()
}

/// Whether a statement may be completed with this tag, as far as it is known what it is.
pub(super) fn may_be_tag(statement: &Summary, tag: &[u8]) -> bool {
    /// Statements, and their tags.
    const TAGS: &[(&str, &[&str])] = &[
        ("SELECT", &["SELECT"]),
        ("INSERT", &["INSERT"]),
        ("UPDATE", &["UPDATE"]),
        ("DELETE", &["DELETE"]),
        ("COPY", &["COPY"]),
        ("BEGIN", &["BEGIN"]),
        ("COMMIT", &["COMMIT", "ROLLBACK"]),
        ("END", &["COMMIT", "ROLLBACK"]),
        ("ROLLBACK", &["ROLLBACK", "COMMIT"]),
        ("ABORT", &["ROLLBACK", "COMMIT"]),
        ("LISTEN", &["LISTEN"]),
        ("NOTIFY", &["NOTIFY"]),
        ("FETCH", &["FETCH"]),
        ("TRUNCATE", &["TRUNCATE"]),
    ];
    let first = tag.split(|byte| !byte.is_ascii_uppercase()).next().unwrap_or_default();
    let operation = statement.operation.as_deref().filter(|_| statement.statements == Some(1));
    let known = TAGS.iter().find(|(known, _)| operation == Some(known));
    known.is_none_or(|(_, tags)| tags.iter().any(|tag| tag.as_bytes() == first))
}
