//! When the application took a request out of its socket: from the kernel's word on the last read to the exchange that it
//! belongs to.
//!
//! The kernel notes the first read after the last payload that came in, and each record carries that note. Where the last
//! payload before a response was the request's end, it is the read that was waited for. Where anything else had come
//! since, or was outstanding beside it, whose read it was cannot be told, and nothing is said.

use crate::{
    event::Segment,
    model::{Dir, Exchange, Ktime},
};

/// What is known of a connection's reads.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// When the last payload came in.
    arrived: Ktime,
    /// That time, and the first read after it, as the last segment that went out has them.
    last: Option<(Ktime, Ktime)>,
    /// Since nothing was outstanding there have been two requests at a time.
    overlaps: bool,
}

impl Reading {
    /// A segment passed.
    pub(super) fn note(&mut self, segment: &Segment<'_>) {
        match segment.dir {
            Dir::Ingress if segment.len > 0 || segment.skipped > 0 => self.arrived = segment.at,
            Dir::Ingress => {}
            Dir::Egress => self.last = segment.read.map(|read| (self.arrived, read)),
        }
    }

    /// A request began; so many are outstanding with it.
    pub(super) fn began(&mut self, n_outstanding: u64) {
        self.overlaps |= n_outstanding > 1;
    }

    /// A request is over, and so many are still outstanding: when it was read.
    pub(super) fn ended(&mut self, n_outstanding: u64, exchange: &Exchange) -> Option<Ktime> {
        let is_lone = !self.overlaps;
        self.overlaps &= n_outstanding > 0;
        let (arrived, read) = self.last.filter(|_| is_lone)?;
        let (requested, answered) = exchange.requested.zip(exchange.answered)?;
        (arrived == requested && (requested..=answered).contains(&read)).then_some(read)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{GET, ID, OK, Play, segment};
    use super::*;
    use crate::{
        event::Event,
        model::{Dir::*, Role},
    };

    /// What passes: when, which way, and the note that comes along.
    type Passes<'a> = &'a [(u64, Dir, &'a [u8], Option<u64>)];

    fn check(name: &str, role: Role, passes: Passes<'_>, expected: &[Option<u64>]) {
        let mut play = Play::new();
        play.open(Some(role), false);
        for &(at, dir, bytes, read) in passes {
            let seq = &mut play.next[dir.index()];
            let segment =
                Segment { read: read.map(Ktime), ..segment(dir, at, *seq, bytes.len() as u32, bytes) };
            *seq += bytes.len() as u32;
            play.flows.apply(&Event::Data { id: ID, segment }, &mut play.told);
        }
        play.close();
        assert_eq!(play.told.reads, expected, "{name}");
    }

    #[test]
    fn a_read_belongs_to_the_request_whose_end_it_follows() {
        let check =
            |name: &str, passes: Passes<'_>, expected: &[_]| check(name, Role::Server, passes, expected);
        let head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n";
        let (begun, go_on) = (&[&head[..], b"ab"].concat()[..], &b"HTTP/1.1 100 Continue\r\n\r\n"[..]);
        let (two, two_ok) = (&GET.repeat(2)[..], &OK.repeat(2)[..]);

        check("as it is meant", &[(10, Ingress, GET, None), (30, Egress, OK, Some(25))], &[Some(25)]);
        check("in one instant", &[(10, Ingress, GET, None), (10, Egress, OK, Some(10))], &[Some(10)]);
        check("nobody looked", &[(10, Ingress, GET, None), (30, Egress, OK, None)], &[None]);
        check(
            "the read of the body's end counts",
            &[(10, Ingress, begun, None), (20, Ingress, b"cd", Some(15)), (40, Egress, OK, Some(30))],
            &[Some(30)],
        );
        check(
            "a read of what was there before",
            &[(10, Ingress, begun, None), (20, Ingress, b"cd", None), (40, Egress, OK, Some(15))],
            &[None],
        );
        check(
            "one after the other",
            &[
                (10, Ingress, GET, None),
                (30, Egress, OK, Some(25)),
                (50, Ingress, GET, None),
                (60, Egress, OK, Some(55)),
            ],
            &[Some(25), Some(55)],
        );
        check(
            "an interim response",
            &[
                (10, Ingress, head, None),
                (12, Egress, go_on, Some(11)),
                (20, Ingress, b"abcd", None),
                (40, Egress, OK, Some(30)),
            ],
            &[Some(30)],
        );
        check(
            "a response in two parts",
            &[(10, Ingress, GET, None), (30, Egress, &OK[..9], Some(25)), (31, Egress, &OK[9..], Some(25))],
            &[Some(25)],
        );
        check("answered early", &[(10, Ingress, begun, None), (20, Egress, OK, Some(15))], &[None]);
        check(
            "two at a time, then one",
            &[
                (10, Ingress, two, None),
                (30, Egress, two_ok, Some(20)),
                (50, Ingress, GET, None),
                (60, Egress, OK, Some(55)),
            ],
            &[None, None, Some(55)],
        );
        check(
            "the next one's beginning came before the answer",
            &[
                (10, Ingress, GET, None),
                (15, Ingress, &GET[..9], None),
                (30, Egress, OK, Some(20)),
                (50, Ingress, &GET[9..], None),
                (60, Egress, OK, Some(55)),
            ],
            &[None, Some(55)],
        );
    }

    #[test]
    fn a_clients_reads_are_no_waiting() {
        let passes: Passes<'_> =
            &[(10, Egress, GET, Some(10)), (30, Ingress, OK, None), (50, Egress, GET, Some(10))];
        check("client", Role::Client, passes, &[None, None]);
    }
}
