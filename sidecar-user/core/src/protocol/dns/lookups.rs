//! Questions of a connection that are outstanding, and their answers in whatever order.

use std::collections::VecDeque;

use super::lookup::{Answer, Lookup};
use crate::dns::{AXFR, Question, Reader};
use crate::model::{Ktime, Outcome, Start};
use crate::protocol::Signal;

#[derive(Default)]
pub(super) struct Lookups {
    waiting: VecDeque<Waiting>,
    /// Bytes of their names.
    names: usize,
}

struct Waiting {
    lookup: Lookup,
    /// Of a zone's transfer: what came so far, and how many SOA records are in it.
    answer: Option<Answer>,
    n_soa: u16,
    /// Its answer may have been among bytes that were not seen.
    is_hidden: bool,
}

impl Lookups {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn ask(&mut self, lookup: Lookup, out: &mut Vec<Signal>) {
        out.push(Signal::Started(Start { at: lookup.started, method: None, is_excluded: false }));
        self.names += lookup.question.name.len();
        self.waiting.push_back(Waiting { lookup, answer: None, n_soa: 0, is_hidden: false });
    }

    /// The last question is there to its end.
    pub(super) fn asked(&mut self, at: Ktime, bytes: Option<u64>) {
        if let Some(last) = self.waiting.back_mut() {
            (last.lookup.requested, last.lookup.bytes) = (Some(at), bytes);
        }
    }

    /// Takes an answer; whether anybody waits for it. One whose question was lost is taken by its id if no other has that.
    pub(super) fn answer(
        &mut self,
        reader: &Reader,
        is_holed: bool,
        answer: Answer,
        ended: Ktime,
        out: &mut Vec<Signal>,
    ) -> bool {
        let Some(place) = self.find(reader, is_holed) else { return false };
        let waiting = &mut self.waiting[place];
        waiting.n_soa = waiting.n_soa.saturating_add(reader.n_soa());
        let so_far = waiting.answer.map_or(answer, |so_far| Answer {
            began: so_far.began,
            answers: so_far.answers.saturating_add(answer.answers),
            bytes: so_far.bytes.zip(answer.bytes).map(|(before, more)| before + more),
            ..answer
        });
        let is_transfer = waiting.lookup.question.record_type == AXFR && answer.code == Some(0) && !is_holed;
        if is_transfer && waiting.n_soa < 2 {
            waiting.answer = Some(so_far);
        } else {
            self.finish(place, Some(so_far), ended, Outcome::Complete, out);
        }
        true
    }

    /// An answer that began and will not end.
    pub(super) fn cut(
        &mut self,
        reader: &Reader,
        answer: Answer,
        at: Ktime,
        how: Outcome,
        out: &mut Vec<Signal>,
    ) {
        if let Some(place) = self.find(reader, true) {
            self.finish(place, Some(Answer { code: None, bytes: None, ..answer }), at, how, out);
        }
    }

    /// Bytes were not seen among which any answer may have been.
    pub(super) fn hide(&mut self) {
        self.waiting.iter_mut().for_each(|waiting| waiting.is_hidden = true);
    }

    /// So many bytes of the connection were lost.
    pub(super) fn lose(&mut self, n: u64) {
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        for waiting in &mut self.waiting {
            waiting.lookup.lost = waiting.lookup.lost.saturating_add(n);
        }
    }

    /// All are over. `how` is told whether the question was whole, and whether its answer had begun; `None`: nobody knows.
    pub(super) fn finish_all(
        &mut self,
        at: Ktime,
        how: impl Fn(bool, bool) -> Outcome,
        out: &mut Vec<Signal>,
    ) {
        while let Some(Waiting { lookup, answer, is_hidden, .. }) = self.waiting.front() {
            let outcome = match is_hidden {
                true => Outcome::NotObserved,
                false => how(lookup.requested.is_some(), answer.is_some()),
            };
            let answer = answer.filter(|_| !is_hidden).map(|answer| Answer { code: None, ..answer });
            self.finish(0, answer, at, outcome, out);
        }
    }

    /// Bytes of memory that they hold.
    pub(super) fn held(&self) -> usize {
        self.waiting.capacity() * size_of::<Waiting>() + self.names
    }

    fn find(&self, reader: &Reader, is_holed: bool) -> Option<usize> {
        let header = reader.header()?;
        let question = reader.question();
        let is_it = |waiting: &Waiting| waiting.lookup.is_answered_by(header.id(), question);
        let first = self.waiting.iter().position(is_it)?;
        let is_doubtful = question.is_none() && is_holed && header.n_questions() > 0;
        let has_more = || self.waiting.iter().skip(first + 1).any(is_it);
        if is_doubtful && has_more() { None } else { Some(first) }
    }

    fn finish(
        &mut self,
        place: usize,
        answer: Option<Answer>,
        ended: Ktime,
        how: Outcome,
        out: &mut Vec<Signal>,
    ) {
        let Some(Waiting { lookup, .. }) = self.waiting.remove(place) else { return };
        self.names -= lookup.question.name.len();
        if self.waiting.is_empty() {
            // A connection that idles holds nothing.
            self.waiting = VecDeque::new();
        }
        out.push(Signal::Finished(lookup.finish(answer, ended, how)));
    }
}

/// A question as it began.
pub(super) fn begun(id: u16, question: &Question, started: Ktime) -> Lookup {
    Lookup { id, question: question.clone(), started, requested: None, bytes: None, lost: 0 }
}
