//! One direction of a connection: segments to bytes in order.
//!
//! A program sees packets before TCP judges them, so ingress may come twice, late or never. What lies before the
//! record's `edge` (`rcv_nxt`, `snd_nxt`) is settled: a hole there is bytes whose record was lost, and is reported as
//! a gap. A hole after it may still be filled, so later segments wait, within a bound.

use crate::{
    event::Segment,
    model::{Dir, Ktime},
};

/// Bytes that wait for a hole to be filled, per direction.
const PENDING_BYTES: usize = 256 * 1024;
/// The longest hole that sequence numbers tell.
const FARTHEST: u32 = 1 << 30;
/// Segments that wait, per direction.
const PENDING_SEGMENTS: usize = 256;

/// The next stretch in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Run<'a> {
    /// Bytes.
    Bytes(&'a [u8]),
    /// So many were, by design, not copied.
    Skipped(u64),
    /// So many were lost.
    Gap(u64),
    /// FIN.
    End,
}

/// The order of one direction.
#[derive(Debug)]
pub(super) struct Lane {
    dir: Dir,
    /// Sequence number of the next byte; `None` until the first.
    next: Option<u32>,
    fin: Option<u32>,
    is_ended: bool,
    /// Bytes before this need not be reported: a verdict said so.
    skip_mark: Option<u32>,
    /// What waits behind a hole. It is rare that something does.
    waiting: Option<Box<Waiting>>,
    /// How often a hole was given up because too much waited behind it.
    pub(super) n_overflows: u32,
}

/// Segments after a hole.
#[derive(Debug, Default)]
struct Waiting {
    /// By sequence number; not empty for longer than a call.
    segments: Vec<Pending>,
    /// Bytes that they hold.
    n_bytes: usize,
}

#[derive(Debug)]
struct Pending {
    seq: u32,
    len: u32,
    at: Ktime,
    bytes: Box<[u8]>,
}

impl Lane {
    pub(super) fn new(dir: Dir) -> Self {
        Lane { dir, next: None, fin: None, is_ended: false, skip_mark: None, waiting: None, n_overflows: 0 }
    }

    /// Where the direction begins.
    pub(super) fn begin(&mut self, seq: u32) {
        self.next.get_or_insert(seq);
    }

    /// Sequence number of the next byte, if any came.
    pub(super) fn next(&self) -> Option<u32> {
        self.next
    }

    /// FIN was reached.
    pub(super) fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// The kernel was told that it need not report what lies before `mark`.
    pub(super) fn set_skip_mark(&mut self, mark: Option<u32>) {
        self.skip_mark = mark;
    }

    /// Takes one segment; gives `each` what is now in order.
    pub(super) fn accept(&mut self, segment: &Segment<'_>, each: &mut dyn FnMut(Ktime, Run<'_>)) {
        if segment.fin {
            self.fin = Some(segment.seq.wrapping_add(segment.len));
        }
        // FIN takes a sequence number and is no byte (RFC 9293, 3.4): a RST that comes after it is not past a hole.
        let seq = self.fin.filter(|fin| segment.len == 0 && segment.seq == fin.wrapping_add(1));
        let segment = &Segment { seq: seq.unwrap_or(segment.seq), ..*segment };
        let segment = &self.without_past(*segment);
        let start = segment.seq.wrapping_sub(segment.skipped);
        let next = *self.next.get_or_insert(start);
        let settled = match self.dir {
            // Our own socket sends in order.
            Dir::Egress => segment.seq,
            Dir::Ingress => earlier(segment.edge, segment.seq),
        };
        self.pass_hole(next, start, settled, segment.at, each);
        let next = self.next.unwrap_or(start);
        if distance(next, segment.seq) > 0 && distance(start, next) < 0 {
            self.keep(segment, each);
        } else {
            if distance(next, segment.seq) > 0 {
                // `start` is reached: what a verdict let pass lies between.
                let n = segment.seq.wrapping_sub(next);
                self.next = Some(segment.seq);
                each(segment.at, Run::Skipped(u64::from(n)));
            }
            self.deliver(segment.seq, segment.len, segment.bytes, segment.at, each);
        }
        self.drain(each);
        self.end_if_due(segment.at, each);
    }

    /// Forgets what waits, as if it had passed.
    pub(super) fn let_go(&mut self) {
        let waiting = self.waiting.take();
        if let Some(last) = waiting.as_ref().and_then(|waiting| waiting.segments.last()) {
            self.next = Some(last.seq.wrapping_add(last.len));
        }
    }

    /// Bytes of memory that wait.
    pub(super) fn held(&self) -> usize {
        let of = |waiting: &Waiting| waiting.n_bytes + waiting.segments.capacity() * size_of::<Pending>();
        self.waiting.as_deref().map_or(0, of)
    }

    /// Without what TCP had before it: that passed, and was answered, when its record was lost. Now it would come too late.
    /// (Of what was not copied a record tells when much of it has passed: then TCP has most of that.)
    fn without_past<'a>(&self, segment: Segment<'a>) -> Segment<'a> {
        let past = segment.edge.wrapping_sub(segment.seq);
        let is_inside = distance(segment.seq, segment.edge) > 0 && past < segment.len;
        if self.dir == Dir::Egress || !is_inside || segment.bytes.is_empty() {
            return segment;
        }
        let bytes = segment.bytes.get(past as usize..).unwrap_or_default();
        Segment { seq: segment.edge, len: segment.len - past, bytes, skipped: 0, ..segment }
    }

    /// No more segments will come: whatever waits is given out, its holes as gaps.
    pub(super) fn finish(&mut self, at: Ktime, each: &mut dyn FnMut(Ktime, Run<'_>)) {
        while self.waiting.is_some() {
            self.give_up_hole(each);
            self.drain(each);
        }
        self.end_if_due(at, each);
    }

    /// After the end: `n` more bytes passed, and no record told of them.
    pub(super) fn miss(&mut self, n: u64, at: Ktime, each: &mut dyn FnMut(Ktime, Run<'_>)) {
        let (Some(next), Ok(n @ 1..=FARTHEST)) = (self.next, u32::try_from(n)) else { return };
        let end = next.wrapping_add(n);
        self.pass_hole(next, end, end, at, each);
    }

    /// Steps over the part of a hole between `next` and `start` that will not be filled.
    fn pass_hole(
        &mut self,
        next: u32,
        start: u32,
        settled: u32,
        at: Ktime,
        each: &mut dyn FnMut(Ktime, Run<'_>),
    ) {
        let mut next = next;
        while distance(next, start) > 0 {
            if let Some(mark) = self.skip_mark {
                let until = earlier(mark, start);
                if distance(next, until) > 0 {
                    each(at, Run::Skipped(u64::from(until.wrapping_sub(next))));
                    next = until;
                }
            }
            let until = earlier(settled, start);
            // Segments that wait may lie in the hole.
            let until = self.first().map_or(until, |first| earlier(until, first.seq));
            if distance(next, until) > 0 {
                each(at, Run::Gap(u64::from(until.wrapping_sub(next))));
                next = until;
            }
            self.next = Some(next);
            self.drain(each);
            let drained = self.next.unwrap_or(next);
            if drained == next {
                break;
            }
            next = drained;
        }
    }

    fn deliver(&mut self, seq: u32, len: u32, bytes: &[u8], at: Ktime, each: &mut dyn FnMut(Ktime, Run<'_>)) {
        let Some(next) = self.next else { return };
        let end = seq.wrapping_add(len);
        if distance(next, end) <= 0 {
            return;
        }
        let known = next.wrapping_sub(seq) as usize;
        self.next = Some(end);
        if let Some(fresh) = bytes.get(known..)
            && !fresh.is_empty()
        {
            each(at, Run::Bytes(fresh));
        }
        let uncopied = len as usize - known.max(bytes.len());
        if uncopied > 0 {
            each(at, Run::Skipped(uncopied as u64));
        }
    }

    fn keep(&mut self, segment: &Segment<'_>, each: &mut dyn FnMut(Ktime, Run<'_>)) {
        if segment.len == 0 {
            return;
        }
        let is_full = |waiting: &Waiting| {
            waiting.segments.len() >= PENDING_SEGMENTS
                || waiting.n_bytes + segment.bytes.len() > PENDING_BYTES
        };
        while self.waiting.as_deref().is_some_and(is_full) {
            self.n_overflows += 1;
            self.give_up_hole(each);
            self.drain(each);
        }
        let waiting = self.waiting.get_or_insert_default();
        let at = waiting.segments.partition_point(|kept| distance(kept.seq, segment.seq) >= 0);
        waiting.n_bytes += segment.bytes.len();
        let kept =
            Pending { seq: segment.seq, len: segment.len, at: segment.at, bytes: segment.bytes.into() };
        waiting.segments.insert(at, kept);
    }

    fn give_up_hole(&mut self, each: &mut dyn FnMut(Ktime, Run<'_>)) {
        let (Some(first), Some(next)) = (self.first(), self.next) else { return };
        if distance(next, first.seq) > 0 {
            let (at, seq) = (first.at, first.seq);
            each(at, Run::Gap(u64::from(seq.wrapping_sub(next))));
            self.next = Some(seq);
        }
    }

    /// Gives out what waited and is now in order.
    fn drain(&mut self, each: &mut dyn FnMut(Ktime, Run<'_>)) {
        while let (Some(waiting), Some(next)) = (&mut self.waiting, self.next)
            && waiting.segments.first().is_some_and(|first| distance(next, first.seq) <= 0)
        {
            let first = waiting.segments.remove(0);
            waiting.n_bytes -= first.bytes.len();
            if waiting.segments.is_empty() {
                self.waiting = None;
            }
            self.deliver(first.seq, first.len, &first.bytes, first.at, each);
        }
    }

    fn first(&self) -> Option<&Pending> {
        self.waiting.as_ref().and_then(|waiting| waiting.segments.first())
    }

    fn end_if_due(&mut self, at: Ktime, each: &mut dyn FnMut(Ktime, Run<'_>)) {
        if !self.is_ended && self.fin.is_some() && self.fin == self.next {
            self.is_ended = true;
            each(at, Run::End);
        }
    }
}

/// How far `to` is after `from` (RFC 1982): negative if before.
pub(crate) fn distance(from: u32, to: u32) -> i32 {
    to.wrapping_sub(from) as i32
}

fn earlier(a: u32, b: u32) -> u32 {
    if distance(a, b) >= 0 { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Drained;

    /// One segment: (seq, content, uncopied tail, edge).
    type Row = (u32, &'static str, u32, u32);

    fn check(name: &str, dir: Dir, begin: u32, rows: &[Row], expected: &str) {
        let mut lane = Lane::new(dir);
        lane.begin(begin);
        let mut got = String::new();
        let mut each = |_at: Ktime, run: Run<'_>| match run {
            Run::Bytes(bytes) => got.push_str(&String::from_utf8_lossy(bytes)),
            Run::Skipped(n) => got.push_str(&format!("<skip {n}>")),
            Run::Gap(n) => got.push_str(&format!("<gap {n}>")),
            Run::End => got.push_str("<end>"),
        };
        for &(seq, text, tail, edge) in rows {
            let (text, fin) = text.strip_suffix('|').map_or((text, false), |text| (text, true));
            let segment = Segment {
                dir,
                at: Ktime(1),
                seq,
                len: text.len() as u32 + tail,
                bytes: text.as_bytes(),
                edge,
                skipped: 0,
                fin,
                rst: false,
                drained: Drained::default(),
                read: None,
            };
            lane.accept(&segment, &mut each);
        }
        lane.finish(Ktime(2), &mut each);
        assert_eq!(got, expected, "{name}");
    }

    #[test]
    fn orders_segments() {
        use Dir::{Egress, Ingress};
        check("in order", Ingress, 10, &[(10, "ab", 0, 10), (12, "cd|", 0, 12)], "abcd<end>");
        check("twice", Ingress, 10, &[(10, "ab", 0, 10), (10, "ab", 0, 10)], "ab");
        check("overlap", Ingress, 10, &[(10, "abc", 0, 10), (11, "bcde", 0, 10)], "abcde");
        check("swapped", Ingress, 10, &[(12, "cd", 0, 10), (10, "ab", 0, 10)], "abcd");
        check("swapped, three", Ingress, 0, &[(4, "ef", 0, 0), (2, "cd", 0, 0), (0, "ab", 0, 0)], "abcdef");
        check("lost record", Ingress, 10, &[(12, "cd", 0, 12)], "<gap 2>cd");
        check("lost record, and again", Ingress, 10, &[(10, "abcd", 0, 12)], "<gap 2>cd");
        check("lost record, egress", Egress, 10, &[(12, "cd", 0, 12)], "<gap 2>cd");
        check("hole, then settled", Ingress, 10, &[(12, "cd", 0, 10), (14, "ef", 0, 14)], "<gap 2>cdef");
        check("never filled", Ingress, 10, &[(12, "cd|", 0, 10)], "<gap 2>cd<end>");
        check("uncopied tail", Egress, 10, &[(10, "ab", 5, 10), (17, "cd", 0, 17)], "ab<skip 5>cd");
        let rows = [(10, "ab", 0, 10), (12, "", 100, 80), (112, "cd", 0, 112)];
        check("not copied, and most of it settled", Ingress, 10, &rows, "ab<skip 100>cd");
        check("wraps", Ingress, u32::MAX, &[(0, "b", 0, u32::MAX), (u32::MAX, "a", 0, u32::MAX)], "ab");
        check("fin before data", Ingress, 10, &[(12, "cd|", 0, 10), (10, "ab", 0, 10)], "abcd<end>");
        let rows = [(10, "ab|", 0, 10), (13, "", 0, 13)];
        check("reset after fin", Egress, 10, &rows, "ab<end>");
        let rows = [(12, "cd|", 0, 10), (15, "", 0, 10), (10, "ab", 0, 10)];
        check("reset after fin, data late", Ingress, 10, &rows, "abcd<end>");
        check("fin alone", Ingress, 10, &[(10, "|", 0, 10)], "<end>");
        check("partly settled", Ingress, 10, &[(14, "ef", 0, 12), (12, "cd", 0, 12)], "<gap 2>cdef");
    }

    #[test]
    fn what_no_record_told_of_is_a_gap_unless_a_verdict_asked_for_it() {
        let mut lane = Lane::new(Dir::Egress);
        lane.begin(100);
        let mut got = Vec::new();
        lane.set_skip_mark(Some(150));
        lane.miss(0, Ktime(1), &mut |_, run| got.push(format!("{run:?}")));
        lane.miss(80, Ktime(1), &mut |_, run| got.push(format!("{run:?}")));
        assert_eq!(got, ["Skipped(50)", "Gap(30)"]);
    }

    #[test]
    fn holds_no_more_than_its_bound() {
        let mut lane = Lane::new(Dir::Ingress);
        lane.begin(0);
        let bytes = [b'x'; 1000];
        let mut n = 0u64;
        for i in 0..5000u32 {
            let segment = Segment {
                dir: Dir::Ingress,
                at: Ktime(0),
                seq: 1 + i * 1000,
                len: 1000,
                bytes: &bytes,
                edge: 0,
                skipped: 0,
                fin: false,
                rst: false,
                drained: Drained::default(),
                read: None,
            };
            lane.accept(&segment, &mut |_, run| {
                if let Run::Bytes(bytes) = run {
                    n += bytes.len() as u64;
                }
            });
            let waits =
                lane.waiting.as_ref().map_or((0, 0), |waiting| (waiting.n_bytes, waiting.segments.len()));
            assert!(waits.0 <= PENDING_BYTES && waits.1 <= PENDING_SEGMENTS);
        }
        assert_eq!(lane.n_overflows, 1);
        assert!(n > 4_000_000);
    }

    #[test]
    fn a_hole_that_a_verdict_asked_for_is_no_gap() {
        let mut lane = Lane::new(Dir::Egress);
        lane.begin(0);
        lane.set_skip_mark(Some(100));
        let segment = Segment {
            dir: Dir::Egress,
            at: Ktime(0),
            seq: 100,
            len: 1,
            bytes: b"x",
            edge: 90,
            skipped: 10,
            fin: false,
            rst: false,
            drained: Drained::default(),
            read: None,
        };
        let mut got = Vec::new();
        lane.accept(&segment, &mut |_, run| got.push(format!("{run:?}")));
        assert_eq!(got, ["Skipped(90)", "Skipped(10)", "Bytes([120])"]);
    }
}
