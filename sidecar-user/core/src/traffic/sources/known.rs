//! What is known of one source.

use std::time::Duration;

use super::{ENDPOINTS, after};
use crate::model::{
    Ktime,
    policy::{Found, SourceFailed},
};

/// An answer holds at least, and at most, for so long.
const TTL: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(300)];
/// From one failure to the next try: doubled with each that follows, up to the latter.
const BACK_OFF: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];

/// What came of asking.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// It is what it was, good or bad; for so long.
    Same(Duration),
    /// Something was said.
    Said(Reply),
}

/// What a source said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reply {
    /// Endpoints, in any order. None is an answer too.
    pub found: Vec<Found>,
    /// For how long that holds.
    pub ttl: Duration,
    /// Of IPv4's and of IPv6's endpoints: why nothing was heard. What was known of them holds then.
    pub failed: [Option<SourceFailed>; 2],
    /// The same in words; empty where there is no more to say.
    pub detail: String,
}

/// What of a source's word is not used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Addresses that it told of twice.
    pub duplicates: u64,
    /// Addresses that nobody can be at: of everybody (`0.0.0.0`), of groups, of IPv6's links.
    pub unusable: u64,
    /// More than a service may have.
    pub too_many: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// `None`: nothing yet.
    pub(super) told: Option<Vec<Found>>,
    pub(super) told_at: Option<Ktime>,
    pub(super) failure: Option<SourceFailed>,
    pub(super) detail: String,
    pub(super) failures: [u64; SourceFailed::ALL.len()],
    pub(super) left_out: LeftOut,
    pub(super) is_asked: bool,
    pub(super) next: Ktime,
    n_in_a_row: u32,
}

impl Known {
    pub(super) fn is_due(&self, now: Ktime) -> bool {
        !self.is_asked && now >= self.next
    }

    pub(super) fn hear(&mut self, heard: Heard, now: Ktime, random: u64) {
        self.is_asked = false;
        let reply = match heard {
            Heard::Same(ttl) => {
                self.next = after(now, ttl);
                if self.failure.is_none() && self.told.is_some() {
                    self.told_at = Some(now);
                }
                return;
            }
            Heard::Said(reply) => reply,
        };
        let Reply { found, ttl, failed, detail } = reply;
        self.detail = detail;
        for why in failed.into_iter().flatten().collect::<std::collections::BTreeSet<_>>() {
            self.failures[why as usize] += 1;
        }
        self.failure = failed.into_iter().flatten().next();
        if failed.iter().any(Option::is_none) {
            let is_kept = |one: &&Found| failed[usize::from(one.address.is_ipv6())].is_some();
            let kept = self.told.iter().flatten().filter(is_kept).cloned();
            let all: Vec<_> = found.into_iter().chain(kept).collect();
            let (used, left_out) = sift(all);
            // Where half could not be found out, that the other half is nobody says nothing yet.
            if self.failure.is_none() || self.told.is_some() || !used.is_empty() {
                (self.told, self.left_out) = (Some(used), left_out);
                self.told_at = Some(now);
            }
        }
        if self.failure.is_none() {
            self.n_in_a_row = 0;
            self.next = after(now, ttl.clamp(TTL[0], TTL[1]));
            return;
        }
        let most = BACK_OFF[0].saturating_mul(1 << self.n_in_a_row.min(16)).min(BACK_OFF[1]);
        self.n_in_a_row = self.n_in_a_row.saturating_add(1);
        // From half of it to all, so that those who failed together do not ask together.
        let part = 50 + u32::try_from(random % 51).unwrap_or(0);
        self.next = after(now, most * part / 100);
    }
}

/// What can be used of what was told: each address once.
fn sift(found: Vec<Found>) -> (Vec<Found>, LeftOut) {
    let mut left_out = LeftOut::default();
    let mut seen = std::collections::HashSet::new();
    let mut used = Vec::new();
    for mut one in found {
        one.address.set_ip(one.address.ip().to_canonical());
        let ip = one.address.ip();
        let is_nobodys = match ip {
            std::net::IpAddr::V4(v4) => v4.is_broadcast(),
            // It wants a scope, which a plan has no place for.
            std::net::IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        if ip.is_unspecified() || ip.is_multicast() || is_nobodys {
            left_out.unusable += 1;
        } else if seen.contains(&one.address) {
            left_out.duplicates += 1;
        } else if used.len() >= ENDPOINTS {
            left_out.too_many += 1;
        } else {
            seen.insert(one.address);
            used.push(one);
        }
    }
    // Resolvers tell the same in another order each time.
    used.sort_by_key(|one| one.address);
    (used, left_out)
}
