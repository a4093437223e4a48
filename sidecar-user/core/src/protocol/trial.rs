//! Which answer is whose, where a connection was met in the middle and answers have nothing but their order.
//!
//! Some requests may have been under way when it was met: that many answers come first, and nobody said how many. What is known:
//! there were at least as many as answers have ever been ahead of requests, and exactly so many where that was at a time at which
//! everything had been answered. So requests and answers are held until that number is believed:
//! - the client, having been answered, went on that many times just when no more answers were ahead of requests than ever, or
//! - it did after a long silence, in which a request that does not wait for others would have been answered, or
//! - the connection ended so, or
//! - of all numbers that come into question, the kinds of the answers fit the requests for one only.
//!
//! Whatever is believed, answers that do not fit their requests refute it: then none of both is told of. Where there is no room to
//! hold more, the oldest are let go with their answers, which are as many as they have; what was seen so far still counts.

use std::collections::VecDeque;

use super::Limits;
use crate::model::{Ktime, Side};

/// Times that everything seemed to be answered before that is believed.
const DRAINS: u32 = 8;
/// The most that they become, where what was believed turned out to be wrong.
const DRAINS_MAX: u32 = 512;
/// A silence that settles it, nanoseconds.
const SILENCE: u64 = 1_000_000_000;
/// Numbers that are compared by the kinds of answers,
const COMPARED: u64 = 64;
/// with so many requests for the first time.
const FIRST_COMPARED: u64 = 128;

/// A request whose answer is known by its order.
pub(super) trait Asks<R> {
    /// Answers that it has.
    fn answers(&self) -> u32;
    /// It may be answered so.
    fn fits(&self, answer: &R) -> bool;
    /// It may wait for what others do before it is answered.
    fn is_blocking(&self) -> bool;
}

/// Requests and answers of which it is not known how they belong together.
#[derive(Debug)]
pub(super) struct Trial<C, R> {
    requests: VecDeque<C>,
    answers: VecDeque<R>,
    /// Answers that the requests have.
    due: u64,
    /// Answers of requests before the first, as far as it showed.
    before: u64,
    /// Answers of requests that were let go, which are still to come; then none is held.
    owed: u64,
    n_drains: u32,
    drains: u32,
    last: Option<(Side, Ktime)>,
    /// Requests with which the kinds are compared next.
    compared_at: u64,
}

/// What a trial that is over leaves.
pub(super) struct Settled<C, R> {
    /// In order.
    pub(super) requests: VecDeque<C>,
    /// Those to the requests, in order.
    pub(super) answers: VecDeque<R>,
    /// Answers to requests that are not known.
    pub(super) orphans: u64,
}

impl<C: Asks<R>, R> Trial<C, R> {
    /// `n_wrong`: times that what was believed turned out to be wrong.
    pub(super) fn new(n_wrong: u32) -> Self {
        Trial {
            requests: VecDeque::new(),
            answers: VecDeque::new(),
            due: 0,
            before: 0,
            owed: 0,
            n_drains: 0,
            drains: DRAINS.checked_shl(n_wrong.min(16)).unwrap_or(DRAINS_MAX).min(DRAINS_MAX),
            last: None,
            compared_at: FIRST_COMPARED,
        }
    }

    /// Bytes of `side` come. Says whether it is settled which answers are whose: before these bytes.
    pub(super) fn speaks(&mut self, side: Side, at: Ktime) -> bool {
        let last = self.last.replace((side, at));
        let Some((Side::Server, before)) = last.filter(|_| side == Side::Client) else { return false };
        let is_quiet = at.0.saturating_sub(before.0) >= SILENCE && !self.requests.iter().any(C::is_blocking);
        if self.is_drained() && !self.requests.is_empty() {
            self.n_drains += 1;
            if (self.n_drains >= self.drains || is_quiet) && self.fits(self.before) {
                return true;
            }
        }
        self.compare()
    }

    /// The connection ends. Says whether that settles it.
    pub(super) fn ends(&self) -> bool {
        self.is_drained() && self.fits(self.before)
    }

    /// A request came.
    pub(super) fn asked(&mut self, request: C) {
        self.due += u64::from(request.answers());
        self.requests.push_back(request);
    }

    /// An answer came.
    pub(super) fn answered(&mut self, answer: R) {
        self.answers.push_back(answer);
        let ahead = (self.answers.len() as u64).saturating_sub(self.due + self.owed);
        if ahead > self.before {
            self.before = ahead;
            self.n_drains = 0;
        }
        self.swallow();
    }

    /// Where there is no room for more, lets go of what is oldest: how many answers to requests that are not known, and how many
    /// requests.
    pub(super) fn make_room(&mut self, limits: &Limits) -> (usize, usize) {
        let (mut n_answers, mut n_requests) = (0, 0);
        let room = (limits.small() / 2).max(1);
        while self.requests.len().max(self.answers.len()) >= room {
            let (answers, requests) = self.let_go();
            n_answers += answers;
            n_requests += requests;
        }
        (n_answers, n_requests)
    }

    /// Lets go of the older half: how many answers to requests that are not known, and how many requests.
    pub(super) fn let_go(&mut self) -> (usize, usize) {
        // However it will be settled, so many are nobody's.
        let nobodys = self.answers.len().min(usize::try_from(self.before).unwrap_or(usize::MAX));
        self.answers.drain(..nobodys);
        self.before -= nobodys as u64;
        let oldest = self.requests.drain(..self.requests.len().div_ceil(2));
        let n_requests = oldest.len();
        let n: u64 = oldest.map(|request| u64::from(request.answers())).sum();
        self.due -= n;
        self.owed += n;
        self.swallow();
        self.compared_at = FIRST_COMPARED.max(self.requests.len() as u64 + 1);
        (nobodys, n_requests)
    }

    /// Lets go of the answers to requests that were let go. Which of those at the front they are is all the same: it is only
    /// their number that is skipped.
    fn swallow(&mut self) {
        let n = self.answers.len().min(usize::try_from(self.owed).unwrap_or(usize::MAX));
        self.answers.drain(..n);
        self.owed -= n as u64;
    }

    /// Requests and answers that are held.
    pub(super) fn len(&self) -> (usize, usize) {
        (self.requests.len(), self.answers.len())
    }

    /// They, in order.
    pub(super) fn requests(&self) -> impl Iterator<Item = &C> {
        self.requests.iter()
    }

    /// They, in order.
    pub(super) fn answers(&self) -> impl Iterator<Item = &R> {
        self.answers.iter()
    }

    /// As far as it showed, everything has been answered.
    pub(super) fn is_answered(&self) -> bool {
        self.answers.len() as u64 == self.before + self.due + self.owed
    }

    pub(super) fn settle(mut self) -> Settled<C, R> {
        let orphans = self.before.min(self.answers.len() as u64);
        self.answers.drain(..orphans as usize);
        Settled { requests: self.requests, answers: self.answers, orphans }
    }

    /// Bytes that it holds.
    pub(super) fn held(&self) -> usize {
        self.requests.capacity() * size_of::<C>() + self.answers.capacity() * size_of::<R>()
    }

    fn is_drained(&self) -> bool {
        !self.answers.is_empty() && self.is_answered()
    }

    /// With so many answers to requests before, all that are held may belong together.
    fn fits(&self, before: u64) -> bool {
        let each = self.requests.iter().flat_map(|one| std::iter::repeat_n(one, one.answers() as usize));
        let answers = self.answers.iter().skip(usize::try_from(before).unwrap_or(usize::MAX));
        each.zip(answers).all(|(request, answer)| request.fits(answer))
    }

    /// Compares by kinds, now and then: it takes a while.
    fn compare(&mut self) -> bool {
        let n = self.requests.len() as u64;
        if n < self.compared_at || (self.answers.len() as u64) < self.before + COMPARED + FIRST_COMPARED / 2 {
            return false;
        }
        self.compared_at = n * 2;
        let mut fitting = (self.before..=self.before + COMPARED).filter(|before| self.fits(*before));
        match (fitting.next(), fitting.next()) {
            (Some(only), None) => {
                self.before = only;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request that is answered by its like.
    struct Asked(char);

    impl Asks<char> for Asked {
        fn answers(&self) -> u32 {
            if self.0 == 't' { 2 } else { 1 }
        }
        fn fits(&self, answer: &char) -> bool {
            self.0 == *answer
        }
        fn is_blocking(&self) -> bool {
            self.0 == 'b'
        }
    }

    /// Plays a conversation, lower case for requests and upper case for answers, and says after how many characters it is
    /// settled and how many answers were nobody's.
    fn play(conversation: &str, pause: u64) -> Option<(usize, u64)> {
        let mut trial = Trial::new(0);
        for (n, letter) in conversation.chars().enumerate() {
            let side = if letter.is_lowercase() { Side::Client } else { Side::Server };
            if trial.speaks(side, Ktime(n as u64 * pause)) {
                return Some((n, trial.settle().orphans));
            }
            match side {
                Side::Client => trial.asked(Asked(letter)),
                Side::Server => trial.answered(letter.to_ascii_lowercase()),
            }
        }
        None
    }

    #[test]
    fn it_is_settled_by_drains() {
        for (conversation, settled) in [
            ("aA".repeat(9), Some((16, 0))),
            ("aA".repeat(8), None),
            (format!("AA{}", "aA".repeat(9)), Some((18, 2))),
            (format!("aAA{}", "aA".repeat(9)), Some((17, 1))),
            // Sixteen at a time, of which three had passed.
            (format!("{}{}", "a".repeat(13), "A".repeat(16)) + &("aA".repeat(10)), Some((43, 3))),
            // More answers than ever: the count begins anew.
            (format!("{}A{}", "aA".repeat(7), "aA".repeat(9)), Some((29, 1))),
            ("tTT".repeat(9), Some((24, 0))),
        ] {
            assert_eq!(play(&conversation, 1), settled, "{conversation}");
        }
    }

    #[test]
    fn it_is_settled_by_silence() {
        assert_eq!(play("aAa", SILENCE), Some((2, 0)));
        assert_eq!(play("AaAa", SILENCE), Some((3, 1)));
        assert_eq!(play("aAa", SILENCE / 2), None);
        assert_eq!(play("bBb", SILENCE), None);
    }

    /// Two are always under way, so that answers are never ahead by more than nothing.
    #[test]
    fn it_is_settled_by_kinds() {
        let letter = |n: u32| if n.pow(3).wrapping_mul(2_654_435_761) >> 16 & 1 == 0 { 'a' } else { 'c' };
        let letters: Vec<char> = (0..400).map(letter).collect();
        let mut varied: String = String::new();
        for (n, letter) in letters.iter().enumerate().skip(2) {
            varied.push(*letter);
            varied.push(letters[n - 2].to_ascii_uppercase());
        }
        assert_eq!(play(&varied, 1).map(|(_, before)| before), Some(2));
        let mut same = String::new();
        for _ in 0..7 {
            same.push_str("aA");
        }
        assert_eq!(play(&same, 1), None);
    }

    #[test]
    fn answers_that_do_not_fit_settle_nothing() {
        assert_eq!(play(&"aC".repeat(9), 1), None);
        assert_eq!(play("aCa", SILENCE), None);
    }

    /// A request that nothing tells from others but its number.
    struct Numbered(u32);

    impl Asks<u32> for Numbered {
        fn answers(&self) -> u32 {
            1
        }
        fn fits(&self, _: &u32) -> bool {
            true
        }
        fn is_blocking(&self) -> bool {
            false
        }
    }

    /// Pipelines that there is no room for, of which the first was half way when it was met: it is settled by drains all the
    /// same, what is held then belongs together, and all else is accounted for.
    #[test]
    fn a_pipeline_deeper_than_there_is_room_for() {
        let limits = Limits { outstanding: 4, ..Limits::default() };
        for (depth, passed) in [(100, 37), (1000, 0), (1000, 999), (63, 5), (64, 64), (2, 300)] {
            let mut trial = Trial::<Numbered, u32>::new(0);
            let (mut orphans, mut unresolved, mut n_answers, mut clock) = (0, 0, 0, 0);
            let settled = 'talk: loop {
                for _ in 0..depth {
                    clock += 1;
                    if trial.speaks(Side::Client, Ktime(clock)) {
                        break 'talk trial.settle();
                    }
                    trial.asked(Numbered(clock as u32));
                    let (answers, requests) = trial.make_room(&limits);
                    (orphans, unresolved) = (orphans + answers, unresolved + requests);
                }
                let before = if n_answers == 0 { passed } else { 0 };
                let asked: Vec<u32> = (clock - depth + 1..=clock).map(|number| number as u32).collect();
                for number in std::iter::repeat_n(0, before).chain(asked) {
                    n_answers += 1;
                    let _ = trial.speaks(Side::Server, Ktime(clock));
                    trial.answered(number);
                    let (answers, requests) = trial.make_room(&limits);
                    (orphans, unresolved) = (orphans + answers, unresolved + requests);
                }
                assert!(trial.requests.len().max(trial.answers.len()) < limits.small() / 2);
                assert!(n_answers < 100_000, "never settled: {depth} {passed}");
            };
            assert_eq!(orphans as u64 + settled.orphans, passed as u64, "{depth} {passed}");
            let asked: Vec<u32> = settled.requests.iter().map(|request| request.0).collect();
            assert_eq!(settled.answers, asked, "{depth} {passed}");
            assert_eq!(unresolved + asked.len() + passed, n_answers, "{depth} {passed}");
            assert!(!asked.is_empty());
        }
    }
}
