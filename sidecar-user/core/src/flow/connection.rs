//! One connection: which protocol it speaks, its parser, and what the kernel was last told of it.

mod recorded;

use std::sync::Arc;

use sidecar_ebpf::abi::verdict::{BUDGET_ALL, Verdict};

use super::{
    Context, Line, Options, Sink, Tally,
    held::Held,
    judge::{self, Need, Opaque},
    lane::{Lane, Run, distance},
    reading::Reading,
};
use crate::{
    event::{Drained, Segment},
    model::{
        Account, Activity, Connection, ConnectionId, Detail, Dir, End, Exchange, Ktime, Outcome, Role, Tcp,
    },
    protocol::{
        Birth, Close, Detection, Detector, Limits, Next, Parser, Protocol, Signal, Step, Successor, Then,
    },
    record::{Track, What},
};

/// A skip that lies so far behind could be mistaken for one ahead: it is taken back.
const STALE: i32 = 1 << 30;

/// A connection that is followed.
pub(super) struct Flow {
    connection: Connection,
    lanes: [Lane; 2],
    stage: Stage,
    /// What the kernel works by, as far as it was told.
    told: Told,
    last: Ktime,
    bytes: [u64; 2],
    /// Bytes of a handshake that were explained. Where it ends in encryption, the kernel may count them as that.
    handshake: u64,
    /// Bytes whose records were lost.
    lost: u64,
    /// The report of its end was lost.
    is_end_lost: bool,
    n_exchanges: u64,
    /// Requests that began and are not over.
    n_outstanding: u64,
    /// What was last said of it.
    activity: Option<Activity>,
    /// What of its socket's account was passed on.
    counted: Account,
    /// The first byte of the last response that is over.
    answered: Option<Ktime>,
    /// A response whose last byte was not seen to be acknowledged yet.
    undelivered: Option<Undelivered>,
    /// Only where reads are told.
    reading: Option<Box<Reading>>,
    /// Which way an RST went.
    reset: Option<Dir>,
    /// Bytes that it held when it was last weighed.
    weight: usize,
    /// Bytes of each side that parsers were given.
    given: [u64; 2],
    /// Only while it is recorded.
    track: Option<Box<Track>>,
}

/// What the kernel says of a connection at its end.
#[derive(Clone, Copy)]
pub(super) struct Last {
    pub(super) account: Account,
    pub(super) end: End,
    pub(super) drained: Drained,
}

/// A response on its way.
struct Undelivered {
    /// When its first byte passed.
    began: Ktime,
    /// The sequence number after its last byte.
    end: u32,
}

/// The kernel's side, as it must be by now.
#[derive(Default)]
struct Told {
    budget: [u32; 2],
    /// What it began with said already that it is read.
    is_judged: bool,
    /// The last verdict of this connection's own.
    verdict: Option<Verdict>,
}

enum Stage {
    /// The first bytes, until they show what they are.
    Detecting(Box<Detecting>),
    /// A parser reads it.
    Parsing { protocol: &'static Protocol, parser: Box<dyn Parser>, role: Role },
    /// Nobody does.
    Opaque(Opaque),
}

struct Detecting {
    detector: Detector,
    held: Held,
}

impl Flow {
    pub(super) fn new(
        connection: Connection,
        next: [u32; 2],
        at: Ktime,
        table: &'static [&'static Protocol],
        options: &Options,
    ) -> Self {
        let out = if options.wire { Dir::Ingress } else { Dir::Egress };
        let mut lanes = [Lane::new(Dir::Ingress), Lane::new(out)];
        for (lane, seq) in lanes.iter_mut().zip(next) {
            lane.begin(seq);
        }
        let birth = if connection.joined { Birth::Joined } else { Birth::Seen };
        let (local, remote) = (connection.local.port(), connection.remote.port());
        let detector = Detector::with_table(table, connection.role, birth, local, remote);
        Flow {
            connection,
            lanes,
            stage: Stage::Detecting(Box::new(Detecting { detector, held: Held::default() })),
            told: Told::default(),
            last: at,
            bytes: [0; 2],
            handshake: 0,
            lost: 0,
            is_end_lost: false,
            n_exchanges: 0,
            n_outstanding: 0,
            activity: None,
            counted: Account::default(),
            answered: None,
            undelivered: None,
            reading: options.reads.then(Box::default),
            reset: None,
            weight: 0,
            given: [0; 2],
            track: None,
        }
    }

    /// Leaves it out: its bytes are nobody's business. `is_told`: the kernel does so from the connection's beginning.
    pub(super) fn exclude<S: Sink>(&mut self, is_told: bool, context: &mut Context<'_, S>) {
        if is_told {
            context.tally.classified[1 + Opaque::Excluded as usize] += 1;
            self.stage = Stage::Opaque(Opaque::Excluded);
        } else {
            self.leave(Opaque::Excluded, context);
        }
    }

    /// Leaves it unread, as a path of MPTCP.
    pub(super) fn leave_mptcp<S: Sink>(&mut self, context: &mut Context<'_, S>) {
        self.leave(Opaque::Mptcp, context);
    }

    /// What holds for its parser from the next message on.
    pub(super) fn limit(&mut self, limits: &Arc<Limits>) {
        if let Stage::Parsing { parser, .. } = &mut self.stage {
            parser.limit(limits);
        }
    }

    /// Takes one segment.
    pub(super) fn segment<S: Sink>(&mut self, segment: &Segment<'_>, context: &mut Context<'_, S>) {
        self.last = segment.at;
        self.reset = self.reset.or(segment.rst.then_some(segment.dir));
        let dir = segment.dir;
        self.deliver(segment.drained, segment.at, context);
        if let Some(reading) = &mut self.reading {
            reading.note(segment);
        }
        let n_exchanges = self.n_exchanges;
        let mut lane = std::mem::replace(&mut self.lanes[dir.index()], Lane::new(dir));
        let overflows = lane.n_overflows;
        // What nobody reads is not held either.
        let bytes = if self.opaque().is_some() { b"" } else { segment.bytes };
        lane.accept(&Segment { bytes, ..*segment }, &mut |at, run| self.run(dir, at, run, context));
        context.tally.reorder_full += u64::from(lane.n_overflows - overflows);
        self.lanes[dir.index()] = lane;
        self.answer(n_exchanges, self.lanes[Dir::Egress.index()].next());
        self.deliver(segment.drained, segment.at, context);
        self.settle(context);
        let activity = match self.stage {
            Stage::Parsing { .. } if self.n_outstanding > 0 => Some(Activity::Active),
            Stage::Parsing { .. } => Some(Activity::Idle),
            Stage::Detecting(_) | Stage::Opaque(_) => None,
        };
        self.is_at(activity, context);
    }

    /// Passes on what its socket counted since the last time.
    pub(super) fn count(&mut self, at: Ktime, account: Account, sink: &mut impl Sink) {
        sink.tcp(at, Some(&self.connection), Tcp::Counted(account.since(&self.counted)));
        self.counted = account;
    }

    /// Ends it. `last` is the kernel's word, where there is one: what passed of which no record told was lost.
    pub(super) fn close<S: Sink>(
        &mut self,
        at: Ktime,
        how: Close,
        last: Option<Last>,
        context: &mut Context<'_, S>,
    ) {
        let is_whole = !self.connection.joined && self.opaque().is_none();
        let n_exchanges = self.n_exchanges;
        let mut sent = None;
        for dir in [Dir::Ingress, Dir::Egress] {
            let mut lane = std::mem::replace(&mut self.lanes[dir.index()], Lane::new(dir));
            lane.finish(at, &mut |at, run| self.run(dir, at, run, context));
            let told = self.bytes[dir.index()];
            let taken = last.filter(|_| is_whole).map_or(told, |last| last.account.bytes[dir.index()]);
            let untold = taken.saturating_sub(told);
            context.tally.refused += told.saturating_sub(taken);
            sent = lane.next();
            lane.miss(untold, at, &mut |at, run| self.run(dir, at, run, context));
        }
        self.name(context);
        match &mut self.stage {
            Stage::Parsing { parser, .. } => {
                parser.close(at, how, context.signals);
                context.tally.oddities.add(parser.oddities());
            }
            // It ended with the message in whose middle it was met.
            Stage::Detecting(detecting) if self.connection.joined => {
                context.tally.oddities.before_join += detecting.held.passed();
            }
            Stage::Detecting(_) | Stage::Opaque(_) => {}
        }
        context.tally.explained += std::mem::take(&mut self.handshake);
        self.flush(context);
        self.end_track(at, how, last, context);
        self.is_at(None, context);
        if let Some(last) = last {
            self.answer(n_exchanges, sent);
            self.deliver(last.drained, at, context);
            self.count(at, last.account, context.sink);
            context.sink.tcp(at, Some(&self.connection), Tcp::Closed(Some(last.end)));
        }
        if self.told.verdict.is_some() {
            context.sink.forget(self.connection.id);
        }
    }

    /// Bytes of memory that it holds besides itself, and how many more that are than the last time.
    pub(super) fn weigh(&mut self) -> isize {
        let lanes: usize = self.lanes.iter().map(Lane::held).sum();
        let stage = match &self.stage {
            Stage::Detecting(detecting) => detecting.detector.held() + detecting.held.bytes(),
            Stage::Parsing { parser, .. } => parser.held(),
            Stage::Opaque(_) => 0,
        };
        let before = std::mem::replace(&mut self.weight, lanes + stage);
        self.weight as isize - before as isize
    }

    /// What it held when it was last weighed, bytes.
    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    /// Reads it no further, and holds nothing more: there is no room for it.
    pub(super) fn give_up<S: Sink>(&mut self, context: &mut Context<'_, S>) {
        self.lanes.iter_mut().for_each(Lane::let_go);
        if let Stage::Parsing { parser, .. } = &mut self.stage {
            parser.close(self.last, Close::Forgotten, context.signals);
        }
        self.flush(context);
        if self.opaque().is_none() {
            self.leave(Opaque::Unclassified, context);
        }
        self.is_at(None, context);
    }

    /// Its end was seen in its bytes.
    pub(super) fn is_over(&self) -> Option<Close> {
        if !self.connection.joined {
            return None;
        }
        if let Some(dir) = self.reset {
            return Some(self.reset(dir));
        }
        self.lanes.iter().all(Lane::is_ended).then_some(Close::Closed)
    }

    /// What the kernel's word on its end is to its parser.
    pub(super) fn how(&self, end: End) -> Close {
        match end {
            End::Orderly => Close::Closed,
            End::Received => self.reset(Dir::Ingress),
            End::Sent => self.reset(Dir::Egress),
            End::Expired => Close::Expired,
        }
    }

    /// An RST went that way. Where nobody knows the role there is no parser to tell it to.
    fn reset(&self, dir: Dir) -> Close {
        Close::Reset(self.connection.role.unwrap_or(Role::Client).side(dir))
    }

    /// Nobody would report its end.
    pub(super) fn is_unreported(&self) -> bool {
        self.connection.joined
    }

    /// Who.
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Its socket.
    pub(super) fn id(&self) -> ConnectionId {
        self.connection.id
    }

    /// Why it is not read, if so.
    pub(super) fn opaque(&self) -> Option<Opaque> {
        match self.stage {
            Stage::Opaque(why) => Some(why),
            _ => None,
        }
    }

    /// When something last passed.
    pub(super) fn last(&self) -> Ktime {
        self.last
    }

    pub(super) fn line(&self) -> Line {
        let protocol = match &self.stage {
            Stage::Detecting(_) => "detecting",
            Stage::Parsing { protocol, .. } => protocol.name,
            Stage::Opaque(why) => why.name(),
        };
        let Flow { bytes, lost, n_exchanges, .. } = *self;
        Line { connection: self.connection.clone(), protocol, bytes, lost, n_exchanges, is_over: false }
    }

    /// Something of it is missing.
    pub(super) fn has_gap(&self) -> bool {
        self.lost > 0 || self.is_end_lost
    }

    /// It must be over, and no report of that has come.
    pub(super) fn lose_end(&mut self, tally: &mut Tally) {
        tally.gaps += u64::from(!self.has_gap());
        self.is_end_lost = true;
    }

    fn run<S: Sink>(&mut self, dir: Dir, at: Ktime, run: Run<'_>, context: &mut Context<'_, S>) {
        let n = match run {
            Run::Bytes(bytes) => bytes.len() as u64,
            Run::Skipped(n) => {
                context.tally.skipped += n;
                n
            }
            // The programs are attached one after the other. What passed before the second of them is no loss, and the parser
            // need not know: it begins with the next turn.
            Run::Gap(n) if self.connection.joined && self.bytes[dir.index()] == 0 => {
                context.tally.oddities.before_join += n;
                self.bytes[dir.index()] += n;
                return;
            }
            Run::Gap(n) => {
                context.tally.lost += n;
                context.tally.gaps += u64::from(!self.has_gap());
                self.lost += n;
                n
            }
            Run::End => 0,
        };
        self.bytes[dir.index()] += n;
        match &mut self.stage {
            Stage::Opaque(_) => self.pass_unread(dir, at, run, context),
            Stage::Parsing { .. } => self.parse(dir, at, run, context),
            Stage::Detecting(detecting) => {
                let Detecting { detector, held } = detecting.as_mut();
                let found = match run {
                    Run::Bytes(bytes) => detector.push(dir, bytes),
                    Run::Gap(_) => {
                        detector.miss();
                        Detection::Pending
                    }
                    Run::Skipped(_) | Run::End => Detection::Pending,
                };
                match found {
                    Detection::Known { protocol, role } => {
                        let held = std::mem::take(held);
                        self.know(protocol, role, context);
                        for (dir, at, run) in held.runs() {
                            self.parse(dir, at, run, context);
                        }
                        self.parse(dir, at, run, context);
                    }
                    Detection::Pending if (self.connection.joined || self.lost > 0) && held.is_full() => {
                        // The middle of something large: its message cannot be told any more.
                        if self.connection.joined {
                            context.tally.oddities.before_join += held.passed() + n;
                        }
                        let held = std::mem::take(held);
                        self.pass_all_unread(held.runs());
                        self.pass_unread(dir, at, run, context);
                    }
                    Detection::Pending if !held.is_full() => held.keep(dir, at, run),
                    Detection::Pending | Detection::Unknown => {
                        self.leave(Opaque::Unclassified, context);
                        self.pass_unread(dir, at, run, context);
                    }
                }
            }
        }
    }

    /// It ended before it was known what it speaks: what passed may fit one protocol only.
    fn name<S: Sink>(&mut self, context: &mut Context<'_, S>) {
        let Stage::Detecting(detecting) = &mut self.stage else { return };
        let passed = detecting.held.passed();
        if passed == 0 || self.connection.joined || self.lost > 0 {
            return;
        }
        let held = std::mem::take(&mut detecting.held);
        if let Detection::Known { protocol, role } = detecting.detector.last() {
            self.know(protocol, role, context);
            for (dir, at, run) in held.runs() {
                self.parse(dir, at, run, context);
            }
        } else {
            // The kernel need not be told any more.
            context.tally.classified[1 + Opaque::Unclassified as usize] += 1;
            context.tally.late[Opaque::Unclassified as usize] += passed;
            self.stage = Stage::Opaque(Opaque::Unclassified);
        }
    }

    fn know<S: Sink>(
        &mut self,
        protocol: &'static Protocol,
        role: Option<Role>,
        context: &mut Context<'_, S>,
    ) {
        let role = role.or_else(|| context.endpoints.role(&self.connection));
        self.connection.role = self.connection.role.or(role);
        match (protocol.then, self.connection.role) {
            (Then::Handshake(_), role) if role.is_none() || self.connection.joined => {
                self.leave(Opaque::Encrypted, context);
            }
            (_, None) => self.leave(Opaque::Unclassified, context),
            (Then::Parse(open) | Then::Handshake(open), Some(role)) => {
                let birth = if self.connection.joined { Birth::Joined } else { Birth::Seen };
                let mut parser = open(Arc::clone(&context.options.limits), birth);
                context.tally.classified[0] += 1;
                self.keep_track(protocol.name, context);
                if let Some(transcript) = parser.transcript() {
                    transcript.record(self.track.is_some());
                }
                self.stage = Stage::Parsing { protocol, parser, role };
                // Where the kernel began with it: what was learned of the server, if it knew the role then.
                let is_whole = !self.connection.joined && context.endpoints.is_pipelined(&self.connection);
                let budget = if is_whole { BUDGET_ALL } else { context.options.turn_bytes };
                self.told.budget = [budget; 2];
                self.told.is_judged = is_whole;
            }
        }
    }

    fn leave<S: Sink>(&mut self, why: Opaque, context: &mut Context<'_, S>) {
        context.tally.classified[1 + why as usize] += 1;
        if let Stage::Parsing { parser, .. } = &mut self.stage {
            context.tally.oddities.add(parser.oddities());
        }
        let before = std::mem::replace(&mut self.stage, Stage::Opaque(why));
        self.left(&before, why, context);
        // With the verdict, the bytes of a connection that nobody has judged yet become encrypted, all that passed.
        let handshake = std::mem::take(&mut self.handshake);
        if why != Opaque::Encrypted || self.told.is_judged {
            context.tally.explained += handshake;
        }
        self.tell(judge::opaque(self.connection.role, why), context);
    }

    fn parse<S: Sink>(&mut self, dir: Dir, at: Ktime, run: Run<'_>, context: &mut Context<'_, S>) {
        let Stage::Parsing { protocol, parser, role } = &mut self.stage else {
            return self.pass_unread(dir, at, run, context);
        };
        let side = role.side(dir);
        if let Run::Bytes(bytes) = run {
            self.given[side.index()] += bytes.len() as u64;
        }
        let out = &mut *context.signals;
        if let (Run::Bytes(bytes), Some(track)) = (run, &mut self.track) {
            track.pass(dir, at, What::Bytes(bytes.len() as u64));
        }
        let step = match run {
            Run::Bytes(bytes) => parser.push(side, at, bytes, out),
            Run::Skipped(n) => parser.skipped(side, at, n, out),
            Run::Gap(n) => parser.gap(side, at, n, out),
            Run::End => parser.end(side, at, out),
        };
        match protocol.then {
            Then::Parse(_) => context.tally.explained += step.explained,
            Then::Handshake(_) => self.handshake += step.explained,
        }
        context.tally.oddities.add(parser.oddities());
        self.flush(context);
        self.show();
        if !matches!(run, Run::Bytes(_)) {
            self.pass(dir, at, run);
        }
        self.follow(step, context);
        self.write_track(context);
    }

    /// Does what the parser asks for.
    fn follow<S: Sink>(&mut self, step: Step, context: &mut Context<'_, S>) {
        let why = match step.next {
            Next::Continue => return context.wanted = Some(step.want),
            Next::Become if self.succeed(context) => return context.wanted = Some(step.want),
            Next::Become | Next::Opaque => Opaque::Unclassified,
            Next::Encrypted => Opaque::Encrypted,
        };
        if let Stage::Parsing { parser, .. } = &mut self.stage {
            parser.close(self.last, Close::Forgotten, context.signals);
        }
        self.flush(context);
        self.leave(why, context);
    }

    /// Lets another protocol's parser go on, if there is one.
    fn succeed<S: Sink>(&mut self, context: &mut Context<'_, S>) -> bool {
        let Stage::Parsing { parser, role, .. } = &mut self.stage else { return false };
        let Some(Successor { protocol, parser: next, mut signals }) = parser.successor() else {
            return false;
        };
        context.tally.oddities.add(parser.oddities());
        self.stage = Stage::Parsing { protocol, parser: next, role: *role };
        context.signals.append(&mut signals);
        self.flush(context);
        self.show();
        true
    }

    /// Tells the kernel what the parser wants, if that is news. Only now, with all of the segment taken: a skip counts
    /// from the last byte that the parser has seen.
    fn settle<S: Sink>(&mut self, context: &mut Context<'_, S>) {
        let Stage::Parsing { role, .. } = self.stage else { return };
        let Some(wants) = context.wanted.take() else { return };
        let need = judge::need(wants);
        // That messages alternate is known once one has been answered. A connection for one request is not worth a verdict.
        let need = need.filter(|need| *need == Need::Stream || self.n_exchanges > 1);
        if need == Some(Need::Stream)
            && let Some((endpoint, verdict)) = context.endpoints.learn(&self.connection)
        {
            context.sink.judge_endpoint(endpoint, verdict);
        }
        let next = [self.lanes[0].next(), self.lanes[1].next()];
        let verdict = context.endpoints.want(&self.connection, role, wants, next, self.told.budget);
        let told = self.told.verdict;
        let skips_on = verdict.skips != 0
            && told.is_none_or(|told| (told.skips, told.skip_until) != (verdict.skips, verdict.skip_until));
        let is_stale = told.is_some_and(|told| {
            (0..2).any(|dir| {
                let behind = |next| distance(told.skip_until[dir], next);
                told.skips & (1 << dir) != 0 && next[dir].is_some_and(|next| behind(next) > STALE)
            })
        });
        let role_is_news = self.connection.joined && told.is_none();
        if skips_on || is_stale || role_is_news || need.is_some() && verdict.budget != self.told.budget {
            for (dir, lane) in self.lanes.iter_mut().enumerate() {
                if verdict.skips & (1 << dir) != 0 {
                    lane.set_skip_mark(Some(verdict.skip_until[dir]));
                }
            }
            self.tell(verdict, context);
        }
    }

    /// Notes the response that ended since there were `before` exchanges. With one request at a time nothing was sent
    /// after it; where there were more its end cannot be told from here.
    fn answer(&mut self, before: u64, sent: Option<u32>) {
        if self.n_exchanges == before || !matches!(self.stage, Stage::Parsing { role: Role::Server, .. }) {
            return;
        }
        let is_lone = self.n_exchanges == before + 1 && self.n_outstanding == 0;
        let told = self.answered.zip(sent).filter(|_| is_lone);
        self.undelivered = told.map(|(began, end)| Undelivered { began, end });
    }

    /// Measures the response that is on its way, if its last byte was the last that was acknowledged.
    fn deliver<S: Sink>(&mut self, drained: Drained, at: Ktime, context: &mut Context<'_, S>) {
        let Stage::Parsing { protocol, .. } = self.stage else { return };
        let is_told = |answer: &mut Undelivered| answer.end == drained.seq;
        let Some(answer) = self.undelivered.take_if(is_told) else { return };
        if at.since(answer.began) < Drained::HORIZON {
            context.sink.delivered(at, &self.connection, protocol, drained.at.since(answer.began));
        }
    }

    fn tell<S: Sink>(&mut self, verdict: Verdict, context: &mut Context<'_, S>) {
        self.told = Told { budget: verdict.budget, is_judged: true, verdict: Some(verdict) };
        context.sink.judge(self.connection.id, verdict);
    }

    fn is_at<S: Sink>(&mut self, activity: Option<Activity>, context: &mut Context<'_, S>) {
        if activity != self.activity {
            let before = std::mem::replace(&mut self.activity, activity);
            context.sink.activity(&self.connection, before, activity);
        }
    }

    fn flush<S: Sink>(&mut self, context: &mut Context<'_, S>) {
        let Stage::Parsing { protocol, role, .. } = &self.stage else { return };
        let Context { signals, sink, endpoints, .. } = context;
        let Connection { local, remote, .. } = self.connection;
        let server = if *role == Role::Server { local } else { remote };
        for signal in signals.drain(..) {
            match signal {
                Signal::Started(start) => {
                    self.n_outstanding += 1;
                    if let Some(reading) = &mut self.reading {
                        reading.began(self.n_outstanding);
                    }
                    sink.started(&self.connection, &start);
                }
                Signal::Finished(mut exchange) => {
                    self.n_exchanges += 1;
                    self.n_outstanding = self.n_outstanding.saturating_sub(1);
                    let reading = self.reading.as_mut();
                    let read = reading.and_then(|reading| reading.ended(self.n_outstanding, &exchange));
                    exchange.read = read.filter(|_| *role == Role::Server);
                    self.answered = answered(&exchange);
                    if let Detail::Db(db) = &mut exchange.detail {
                        endpoints.name(server, db);
                    }
                    sink.finished(&self.connection, protocol, exchange);
                }
                Signal::Message(message) => sink.message(&self.connection, protocol, &message),
            }
        }
    }
}

/// When its response began, if that was seen from its first byte to its last. Only of HTTP is its way to the peer measured.
fn answered(exchange: &Exchange) -> Option<Ktime> {
    let is_measured = exchange.outcome == Outcome::Complete && matches!(exchange.detail, Detail::Http(_));
    exchange.answered.filter(|_| is_measured)
}
