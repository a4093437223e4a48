//! What a TCP socket tells of itself, whatever its bytes are.

use std::time::Duration;

/// A turn in a connection's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tcp {
    /// It is established; a client's, so long after its first SYN, where that was seen.
    Opened(Option<Duration>),
    /// What its socket counted since the last time.
    Counted(Account),
    /// It is over; `None`: nobody saw how.
    Closed(Option<End>),
    /// It was never established.
    Failed(Failure),
}

/// A socket's own counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Payload bytes, ingress and egress ([`super::Dir::index`]).
    pub bytes: [u64; 2],
    /// Segments sent again.
    pub retransmits: u32,
    /// Smoothed round-trip time at present, where there was something to measure it by.
    pub rtt: Option<Duration>,
}

impl Account {
    /// What came since `earlier`; the round-trip time is the present one.
    #[must_use]
    pub fn since(self, earlier: &Account) -> Account {
        let bytes = [0, 1].map(|dir| self.bytes[dir].saturating_sub(earlier.bytes[dir]));
        let retransmits = self.retransmits.saturating_sub(earlier.retransmits);
        Account { bytes, retransmits, rtt: self.rtt }
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// FIN both ways.
    Orderly,
    /// The peer sent RST.
    Received,
    /// The application's side sent RST.
    Sent,
    /// The peer acknowledged nothing for so long that it was given up.
    Expired,
}

/// Why an attempt to connect came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// `ECONNREFUSED`.
    Refused,
    /// `ETIMEDOUT`.
    Timeout,
    /// The application closed the socket first.
    Cancelled,
    /// `EHOSTUNREACH` or `ENETUNREACH`.
    Unreachable,
}
