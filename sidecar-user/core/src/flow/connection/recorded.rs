//! What a recording has of a connection.

use super::{Flow, Last, Stage};
use crate::{
    flow::{Context, Sink, judge::Opaque, lane::Run},
    model::{Dir, Ktime, Side},
    protocol::Close,
    record::{Recorder, Track, What},
};

impl Flow {
    /// From now on it is recorded, if it is one of those that are.
    pub(in crate::flow) fn record(&mut self, recorder: &Recorder) {
        let protocol = match &self.stage {
            // Nobody's business.
            Stage::Opaque(Opaque::Excluded) => return,
            Stage::Detecting(_) => None,
            Stage::Parsing { protocol, .. } => Some(protocol.name),
            Stage::Opaque(why) => Some(why.name()),
        };
        if protocol.is_some_and(|name| !recorder.takes(&self.connection, name)) {
            return;
        }
        let is_new = !self.connection.joined && self.bytes == [0; 2];
        let mut track = Track::new(is_new.then_some(self.last));
        if let Stage::Parsing { parser, role, .. } = &mut self.stage
            && let Some(transcript) = parser.transcript()
        {
            // What it holds it will still tell of.
            for side in [Side::Client, Side::Server] {
                let held = self.given[side.index()].saturating_sub(transcript.told(side));
                track.pass(role.dir(side), self.last, What::Bytes(held));
            }
            transcript.record(true);
        }
        self.track = Some(Box::new(track));
    }

    /// It is recorded no longer.
    pub(in crate::flow) fn end_record(&mut self, recorder: &mut Recorder) {
        if let Stage::Parsing { parser, .. } = &mut self.stage
            && let Some(transcript) = parser.transcript()
        {
            transcript.record(false);
        }
        if let Some(track) = self.track.take() {
            track.close(self.last, Close::Forgotten, &self.connection, recorder);
        }
    }

    /// Its protocol is known.
    pub(super) fn keep_track<S: Sink>(&mut self, protocol: &str, context: &mut Context<'_, S>) {
        let is_asked_for =
            || context.recorder.as_ref().is_some_and(|recorder| recorder.takes(&self.connection, protocol));
        if self.track.is_some() && !is_asked_for() {
            self.track = None;
        }
    }

    /// Something passed that the parser was told of.
    pub(super) fn pass(&mut self, dir: Dir, at: Ktime, run: Run<'_>) {
        if let Some(track) = &mut self.track {
            track.pass(dir, at, what(run));
        }
    }

    /// The same where nobody reads it.
    pub(super) fn pass_unread<S: Sink>(
        &mut self,
        dir: Dir,
        at: Ktime,
        run: Run<'_>,
        context: &mut Context<'_, S>,
    ) {
        self.pass_all_unread(std::iter::once((dir, at, run)));
        self.write_track(context);
    }

    /// What its parser told since the last time.
    pub(super) fn show(&mut self) {
        let (Stage::Parsing { parser, role, .. }, Some(track)) = (&mut self.stage, &mut self.track) else {
            return;
        };
        match parser.transcript() {
            Some(transcript) => transcript.drain(|piece| track.tell(&piece, *role)),
            None => track.settle(),
        }
    }

    pub(super) fn write_track<S: Sink>(&mut self, context: &mut Context<'_, S>) {
        if let (Some(track), Some(recorder)) = (&mut self.track, &mut context.recorder) {
            track.write(&self.connection, recorder);
        }
    }

    /// It left a stage, and nobody reads on.
    pub(super) fn left<S: Sink>(&mut self, stage: &Stage, why: Opaque, context: &mut Context<'_, S>) {
        match stage {
            Stage::Detecting(detecting) => {
                self.keep_track(why.name(), context);
                self.pass_all_unread(detecting.held.runs());
            }
            Stage::Parsing { .. } | Stage::Opaque(_) => {}
        }
        self.track.iter_mut().for_each(|track| track.settle());
        self.write_track(context);
    }

    pub(super) fn pass_all_unread<'a>(&mut self, runs: impl Iterator<Item = (Dir, Ktime, Run<'a>)>) {
        let Some(track) = &mut self.track else { return };
        runs.for_each(|(dir, at, run)| track.pass(dir, at, what(run)));
        track.settle();
    }

    /// It is over.
    pub(super) fn end_track<S: Sink>(
        &mut self,
        at: Ktime,
        how: Close,
        last: Option<Last>,
        context: &mut Context<'_, S>,
    ) {
        self.show();
        let (Some(mut track), Some(recorder)) = (self.track.take(), &mut context.recorder) else { return };
        if let (Some(Last { account, .. }), Some(_), false) = (last, self.opaque(), self.connection.joined) {
            // The kernel told nothing more of it, but how much it was.
            for dir in [Dir::Ingress, Dir::Egress] {
                let n = account.bytes[dir.index()].saturating_sub(self.bytes[dir.index()]);
                track.pass(dir, at, What::Skipped(n));
            }
        }
        track.close(at, how, &self.connection, recorder);
    }
}

fn what(run: Run<'_>) -> What {
    match run {
        Run::Bytes(bytes) => What::Bytes(bytes.len() as u64),
        Run::Skipped(n) => What::Skipped(n),
        Run::Gap(n) => What::Gap(n),
        Run::End => What::End,
    }
}
