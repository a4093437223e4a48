//! What became of the requests.

use std::{collections::BTreeMap, fmt};

use crate::endpoints::Asked;

/// Who is at the service's own address.
pub(super) const ASKED: &str = "asked";
/// Faults that are told.
const SHOWN: usize = 20;
/// A request that begins later than this after it was due is told of: the client was busy.
const LATE_US: u64 = 100_000;
const LONG_US: u64 = 1_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gear {
    Direct,
    Proxy,
}

impl Gear {
    pub(super) fn word(self) -> &'static str {
        match self {
            Gear::Direct => "direct",
            Gear::Proxy => "proxy",
        }
    }
}

/// A policy, µs since the epoch.
pub(super) struct Policy {
    pub(super) gear: Gear,
    /// Before that it did not hold.
    pub(super) begun: u64,
    /// From then on none before it holds.
    pub(super) in_force: u64,
}

/// A daemon that was killed, µs since the epoch.
pub(super) struct Kill {
    pub(super) sent: u64,
    /// When its sockets were closed.
    pub(super) done: u64,
}

/// An endpoint that was taken out, and its server ended.
pub(super) struct Removal {
    pub(super) name: String,
    /// From then on it gets no new connection.
    pub(super) from: u64,
    /// When it had none any more.
    pub(super) until: u64,
}

/// What a load did.
#[derive(Default)]
pub(super) struct Account {
    lines: Vec<(String, String)>,
    /// Requests that were answered with 200.
    pub(super) n_answered: usize,
    faults: Vec<String>,
}

impl Account {
    /// By the order of their times. Without policies all that fails is a fault.
    pub(super) fn of(all: &[Asked], policies: &[Policy], kills: &[Kill], removals: &[Removal]) -> Account {
        let mut account = Account::default();
        let n = all.len();
        let first = all.iter().map(|asked| asked.due).min().unwrap_or_default();
        let last = all.iter().map(|asked| asked.due).max().unwrap_or_default();
        let seconds = (last - first) as f64 / 1e6;
        account.tell("requests", format!("{n} in {seconds:.0} s, {:.0} a second", n as f64 / seconds));
        let count = |is: &dyn Fn(&Asked) -> bool| all.iter().filter(|asked| is(asked)).count();
        let is_own = |asked: &Asked| asked.opened >= asked.begun;
        account.tell("connections", count(&is_own));
        account.n_answered = count(&Asked::is_well);
        account.tell("answered with 200", account.n_answered);
        let late = |asked: &Asked| asked.begun.saturating_sub(asked.due) > LATE_US;
        account.tell("begun more than 100 ms late, as the client was busy", count(&late));
        let took = |asked: &Asked| asked.ended.saturating_sub(asked.begun);
        account.tell("that took more than 1 s", count(&|asked| took(asked) > LONG_US));
        account.tell("the longest, ms", all.iter().map(took).max().unwrap_or_default() / 1000);
        let mut lost = vec![0; kills.len()];
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        for asked in all.iter().filter(|asked| !asked.is_well()) {
            match kills.iter().position(|kill| is_lost(asked, policies, kill)) {
                Some(kill) => {
                    lost[kill] += 1;
                    *kinds.entry(&asked.outcome).or_default() += 1;
                }
                None => account.faults.push(format!(
                    "{} at {}: due {}, connection asked for at {}, took {} ms, of {}",
                    asked.outcome,
                    told(asked.begun, first),
                    told(asked.due, first),
                    told(asked.opened, first),
                    took(asked) / 1000,
                    asked.endpoint.as_deref().unwrap_or("nobody"),
                )),
            }
        }
        if policies.is_empty() {
            return account;
        }
        let shifts = policies.windows(2).filter(|two| two[0].gear != two[1].gear).count();
        account.tell("policies put in force", policies.len());
        account.tell("of these, with another gear than the one before", shifts);
        let served = |removal: &&Removal| {
            let is_of = |asked: &&Asked| {
                asked.endpoint.as_ref() == Some(&removal.name)
                    && (removal.from..removal.until).contains(&asked.begun)
            };
            all.iter().filter(is_of).count()
        };
        account.tell("endpoints removed, drained and ended", removals.len());
        account.tell(
            "requests that those answered after their removal",
            removals.iter().map(|one| served(&one)).sum::<usize>(),
        );
        account.tell("daemons killed", kills.len());
        account.tell(
            "of these, in the proxy gear",
            kills.iter().filter(|kill| gear(policies, kill.sent) == Some(Gear::Proxy)).count(),
        );
        let strays = count(&|asked| {
            asked.endpoint.as_deref() == Some(ASKED) && !may_be_proxied(policies, asked.opened)
        });
        account.tell("that reached the service's own address in the direct gear", strays);
        let lost_all: usize = lost.iter().sum();
        account.tell("lost with the relay, by kill", format!("{lost_all}: {lost:?} {kinds:?}"));
        account
    }

    pub(super) fn tell(&mut self, what: &str, value: impl fmt::Display) {
        self.lines.push((what.to_owned(), value.to_string()));
    }

    pub(super) fn expect(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.faults.push(what());
        }
    }

    pub(super) fn n_faults(&self) -> usize {
        self.faults.len()
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, value) in &self.lines {
            writeln!(f, "{what:56} {value}")?;
        }
        writeln!(f, "{:56} {}", "failed, and not with the relay", self.faults.len())?;
        self.faults.iter().take(SHOWN).try_for_each(|fault| writeln!(f, "  {fault}"))
    }
}

/// Seconds since the beginning.
fn told(at: u64, first: u64) -> String {
    format!("{:.3} s", (at as f64 - first as f64) / 1e6)
}

/// Whether it was in the relay when that was killed, or on the way to it: its connection may have been proxied, and it was there at the
/// kill.
fn is_lost(asked: &Asked, policies: &[Policy], kill: &Kill) -> bool {
    let from = asked.opened.min(asked.begun);
    may_be_proxied(policies, asked.opened) && from <= kill.done && asked.ended >= kill.sent
}

fn may_be_proxied(policies: &[Policy], at: u64) -> bool {
    let end = |place: usize| policies.get(place + 1).map_or(u64::MAX, |next| next.in_force);
    let mut proxied = policies.iter().enumerate().filter(|(_, policy)| policy.gear == Gear::Proxy);
    proxied.any(|(place, policy)| (policy.begun..=end(place)).contains(&at))
}

fn gear(policies: &[Policy], at: u64) -> Option<Gear> {
    policies.iter().rev().find(|policy| policy.in_force <= at).map(|policy| policy.gear)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_in_the_relay_at_its_end_is_lost_with_it() {
        let policy = |gear, begun| Policy { gear, begun, in_force: begun + 10 };
        let policies = [policy(Gear::Direct, 0), policy(Gear::Proxy, 100), policy(Gear::Direct, 200)];
        let kill = |sent| Kill { sent, done: sent + 5 };
        for (opened, begun, ended, sent, expected) in [
            (150, 150, 170, 160, true),
            // Over before.
            (150, 150, 155, 160, false),
            // Begun after.
            (170, 170, 180, 160, false),
            // Kept from the proxy gear until the daemon was killed in the direct one.
            (205, 290, 310, 300, true),
            (215, 290, 310, 300, false),
            // Before any was proxied.
            (95, 95, 170, 160, false),
        ] {
            let asked =
                Asked { due: begun, begun, opened, ended, endpoint: None, outcome: "ConnectionReset".into() };
            assert_eq!(is_lost(&asked, &policies, &kill(sent)), expected, "{opened} {begun} {ended} {sent}");
        }
    }
}
