//! What became of connections, judged by what the endpoints wrote down and by the policies that held.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
};

/// Services whose endpoints are swapped.
pub(super) const SWAPPED: [&str; 3] = ["direct", "proxied", "switching"];
/// Disjoint sets of endpoints of each: that of a policy is its number modulo this.
pub(super) const SETS: usize = 2;
/// Faults that are told.
const SHOWN: usize = 20;

/// A policy, by its place among them, ns of `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy {
    /// Before that it did not hold.
    pub(super) begun: u64,
    /// From then on none before it holds.
    pub(super) in_force: u64,
}

/// What a client tells of a connection.
#[derive(Clone, Debug)]
pub(super) struct Attempt<'a> {
    pub(super) id: &'a str,
    pub(super) service: &'a str,
    /// `HOST/PORT`.
    asked: &'a str,
    way: &'a str,
    before: u64,
    after: u64,
    pub(super) outcome: &'a str,
}

impl Attempt<'_> {
    /// Reads a line of a client's.
    pub(super) fn read(line: &str) -> Attempt<'_> {
        let words: Vec<_> = line.split(' ').collect();
        let [id, service, asked, way, before, after, outcome] = words[..] else {
            panic!("a client told: {line}")
        };
        let [before, after] = [before, after].map(|ns| ns.parse().expect("ns"));
        Attempt { id, service, asked, way, before, after, outcome }
    }

    pub(super) fn is_killed(&self) -> bool {
        self.outcome == "killed"
    }
}

/// What an endpoint tells of a connection.
#[derive(Clone, Debug)]
pub(super) struct Accept<'a> {
    endpoint: &'a str,
    /// `HOST/PORT`.
    local: &'a str,
    /// `-`: nothing was said.
    id: &'a str,
    at: u64,
}

impl Accept<'_> {
    /// Reads a line of the endpoints'.
    pub(super) fn read(line: &str) -> Accept<'_> {
        let words: Vec<_> = line.split(' ').collect();
        let [endpoint, local, id, at] = words[..] else { panic!("an endpoint told: {line}") };
        Accept { endpoint, local, id, at: at.parse().expect("ns") }
    }
}

/// What came out.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Connections by service, way and what came of them.
    counts: BTreeMap<[String; 3], u64>,
    /// Numbers worth telling.
    told: Vec<(&'static str, u64)>,
    /// Connections for which one set was allowed, and so one only was right.
    pub n_decisive: usize,
    /// Connections made while policies were swapped: either set may have them.
    pub n_overlapping: usize,
    faults: Vec<String>,
    n_faults: usize,
}

impl Account {
    pub(super) fn of(policies: &[Policy], attempts: &[Attempt<'_>], accepts: &[Accept<'_>]) -> Account {
        let mut account = Account::default();
        let mut accepted: HashMap<&str, Vec<&Accept<'_>>> = HashMap::new();
        for accept in accepts {
            accepted.entry(accept.id).or_default().push(accept);
        }
        let n_nameless = accepted.remove("-").map_or(0, |nameless| nameless.len());
        for attempt in attempts {
            let accepts = accepted.remove(attempt.id).unwrap_or_default();
            account.judge(policies, attempt, &accepts);
        }
        for id in accepted.keys() {
            account.expect(false, || format!("an endpoint got {id}, of which no client tells"));
        }
        let n_killed = attempts.iter().filter(|attempt| attempt.is_killed()).count();
        account.expect(n_nameless <= n_killed, || format!("{n_nameless} connections said nothing"));
        let n_used = accepts.iter().map(|accept| accept.endpoint).collect::<BTreeSet<_>>().len();
        account.expect(n_used == SWAPPED.len() * SETS * 3 + 1, || format!("{n_used} endpoints were used"));
        account.tell("policies", policies.len() as u64);
        let mut took: Vec<_> = policies.iter().skip(1).map(|policy| policy.in_force - policy.begun).collect();
        took.sort_unstable();
        let [typical, most] =
            [took.get(took.len() / 2), took.last()].map(|ns| ns.copied().unwrap_or_default());
        account.tell("µs from new settings to being told that they hold, as a median", typical / 1000);
        account.tell("µs at most", most / 1000);
        account.tell("connections", attempts.len() as u64);
        account.tell("of these, with one allowed set of endpoints", account.n_decisive as u64);
        account.tell("of these, while policies were swapped", account.n_overlapping as u64);
        account.tell("accepted by endpoints", accepts.len() as u64);
        account
    }

    fn judge(&mut self, policies: &[Policy], attempt: &Attempt<'_>, accepts: &[&Accept<'_>]) {
        let Attempt { service, way, outcome, .. } = *attempt;
        let is_swapped = SWAPPED.contains(&service);
        let right = if is_swapped { sets(policies, attempt.before, attempt.after) } else { BTreeSet::new() };
        match (is_swapped, right.len()) {
            (false, _) => {}
            (true, 1) => self.n_decisive += 1,
            (true, _) => self.n_overlapping += 1,
        }
        let is_of = |endpoint: &str| match endpoint.rsplit('-').collect::<Vec<_>>()[..] {
            [_, set, name] => name == service && set.parse().is_ok_and(|set| right.contains(&set)),
            _ => !is_swapped && endpoint == service,
        };
        let is_right = match (service, outcome) {
            (_, "killed") => accepts.len() <= 1,
            ("refused", outcome) => outcome == "ECONNREFUSED" && accepts.is_empty(),
            // With data in the SYN, its reset may overtake the answer to it on another processor.
            ("unreachable", "ECONNREFUSED") => way != "plain" && accepts.is_empty(),
            ("unreachable", outcome) => {
                ["ECONNRESET", "EPIPE", "closed"].contains(&outcome) && accepts.is_empty()
            }
            (_, outcome) => accepts.len() == 1 && accepts[0].endpoint == outcome,
        };
        let is_truly = accepts.iter().all(|accept| {
            let asked = attempt.asked.trim_start_matches("::ffff:");
            let is_there = service != "asked" || accept.local == asked;
            is_of(accept.endpoint) && is_there && accept.at >= attempt.before
        });
        self.expect(is_right && is_truly, || format!("{attempt:?}: {accepts:?}, sets {right:?}"));
        let outcome = if outcome.starts_with(service) { "answered" } else { outcome };
        *self.counts.entry([service, way, outcome].map(str::to_owned)).or_default() += 1;
    }

    /// It is a fault if it is not so.
    pub(super) fn expect(&mut self, holds: bool, fault: impl FnOnce() -> String) {
        if !holds {
            self.n_faults += 1;
            if self.faults.len() < SHOWN {
                self.faults.push(fault());
            }
        }
    }

    pub(super) fn tell(&mut self, what: &'static str, n: u64) {
        self.told.push((what, n));
    }

    /// Connections to a service that were answered.
    #[must_use]
    pub fn n_answered(&self, service: &str) -> u64 {
        let of = |key: &[String; 3]| key[0] == service && key[2] == "answered";
        self.counts.iter().filter(|(key, _)| of(key)).map(|(_, n)| n).sum()
    }

    /// How many things were wrong.
    #[must_use]
    pub fn n_faults(&self) -> usize {
        self.n_faults
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ([service, way, outcome], n) in &self.counts {
            writeln!(f, "{service:12} {way:6} {outcome:14} {n:>8}")?;
        }
        for (what, n) in &self.told {
            writeln!(f, "{n:>8} {what}")?;
        }
        for fault in &self.faults {
            writeln!(f, "wrong: {fault}")?;
        }
        writeln!(f, "{:>8} wrong", self.n_faults)
    }
}

/// Whose set may have a connection that was asked for between the two times.
fn sets(policies: &[Policy], before: u64, after: u64) -> BTreeSet<usize> {
    // The first that may still have held: the one before the first that was in force later.
    let first = policies.partition_point(|policy| policy.in_force < before).saturating_sub(1);
    let held = policies.iter().enumerate().skip(first).take_while(|(_, policy)| policy.begun <= after);
    held.map(|(number, _)| number % SETS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICIES: [Policy; 3] = [
        Policy { begun: 0, in_force: 10 },
        Policy { begun: 100, in_force: 120 },
        Policy { begun: 200, in_force: 220 },
    ];

    #[test]
    fn sets_are_those_of_the_policies_that_may_have_held() {
        for (before, after, expected) in [
            (20, 30, &[0][..]),
            (20, 99, &[0]),
            (20, 100, &[0, 1]),
            (105, 110, &[0, 1]),
            (120, 125, &[0, 1]),
            (121, 199, &[1]),
            (121, 200, &[0, 1]),
            (221, 1000, &[0]),
            (20, 1000, &[0, 1]),
        ] {
            let expected = expected.iter().copied().collect();
            assert_eq!(sets(&POLICIES, before, after), expected, "{before}..{after}");
        }
    }

    #[test]
    fn what_went_wrong_is_a_fault() {
        for (attempt, accepts, is_wrong) in [
            (
                "1-1 direct 10.9.1.1/80 plain 20 30 direct-0-100",
                &["direct-0-100 127.0.0.1/100 1-1 40"][..],
                false,
            ),
            // Another set's, another service's, another than answered, before it was asked for, twice, and never.
            ("1-1 direct 10.9.1.1/80 plain 20 30 direct-1-110", &["direct-1-110 127.0.0.1/110 1-1 40"], true),
            (
                "1-1 direct 10.9.1.1/80 plain 20 30 proxied-0-120",
                &["proxied-0-120 127.0.0.1/120 1-1 40"],
                true,
            ),
            ("1-1 direct 10.9.1.1/80 plain 20 30 direct-0-100", &["direct-0-101 127.0.0.1/101 1-1 40"], true),
            ("1-1 direct 10.9.1.1/80 plain 20 30 direct-0-100", &["direct-0-100 127.0.0.1/100 1-1 19"], true),
            (
                "1-1 direct 10.9.1.1/80 plain 20 30 direct-0-100",
                &["direct-0-100 127.0.0.1/100 1-1 40"; 2],
                true,
            ),
            ("1-1 direct 10.9.1.1/80 plain 20 30 direct-0-100", &[], true),
            ("1-1 direct 10.9.1.1/80 plain 20 30 ECONNREFUSED", &[], true),
            // Two answers, one of which is of the set that held.
            ("1-1 asked ::ffff:127.9.0.1/201 lazy 20 30 asked", &["asked 127.9.0.1/201 1-1 40"], false),
            ("1-1 asked 127.9.0.1/201 lazy 20 30 asked", &["asked 127.9.0.1/202 1-1 40"], true),
            ("1-1 refused 10.9.4.1/80 early 20 30 ECONNREFUSED", &[], false),
            ("1-1 refused 10.9.4.1/80 early 20 30 closed", &[], true),
            ("1-1 unreachable 10.9.5.1/80 early 20 30 ECONNRESET", &[], false),
            ("1-1 unreachable 10.9.5.1/80 early 20 30 ECONNREFUSED", &[], false),
            ("1-1 unreachable 10.9.5.1/80 plain 20 30 ECONNREFUSED", &[], true),
            ("1-1 direct 10.9.1.1/80 early 20 30 killed", &[], false),
            ("1-1 direct 10.9.1.1/80 early 20 30 killed", &["direct-0-100 127.0.0.1/100 1-1 40"], false),
            ("1-1 direct 10.9.1.1/80 early 20 30 killed", &["direct-1-110 127.0.0.1/110 1-1 40"], true),
            ("1-1 direct 10.9.1.1/80 plain 20 30 direct-0-100", &["direct-0-100 127.0.0.1/100 1-2 40"], true),
        ] {
            let accepts: Vec<_> = accepts.iter().map(|line| Accept::read(line)).collect();
            let mut account = Account::default();
            account.judge(
                &POLICIES,
                &Attempt::read(attempt),
                &accepts.iter().filter(|accept| accept.id == "1-1").collect::<Vec<_>>(),
            );
            assert_eq!(account.n_faults() > 0, is_wrong, "{attempt}: {account}");
        }
    }
}
