//! What a connection is subscribed to, by count: as the server confirms it.

use super::name::Verb;

/// Numbers of channels, patterns and shards' channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Subscriptions {
    channels: u64,
    patterns: u64,
    shards: u64,
    /// There may be some that nobody saw.
    pub(super) is_unknown: bool,
}

impl Subscriptions {
    /// There may be any.
    pub(super) fn unknown() -> Self {
        Subscriptions { is_unknown: true, ..Subscriptions::default() }
    }

    /// Messages may come.
    pub(super) fn is_any(self) -> bool {
        self.is_unknown || self.channels + self.patterns + self.shards > 0
    }

    /// Confirmations of the end of all of a kind: one where there are none.
    pub(super) fn ending(self, verb: Verb) -> Option<u64> {
        let n = match verb {
            Verb::Unsubscribe | Verb::Subscribe => self.channels,
            Verb::PUnsubscribe | Verb::PSubscribe => self.patterns,
            Verb::SUnsubscribe | Verb::SSubscribe => self.shards,
        };
        (!self.is_unknown).then_some(n.max(1))
    }

    /// Confirmed. `total` counts channels and patterns, or the shards' channels.
    pub(super) fn confirm(&mut self, verb: Verb, total: u64) {
        match verb {
            Verb::Subscribe | Verb::Unsubscribe => self.channels = total.saturating_sub(self.patterns),
            Verb::PSubscribe | Verb::PUnsubscribe => self.patterns = total.saturating_sub(self.channels),
            Verb::SSubscribe | Verb::SUnsubscribe => self.shards = total,
        }
    }
}
