//! How much of what went by was understood.

/// Payload bytes of the application, since the start. The classes are an account, not a partition: what is neither
/// encrypted, excluded nor before the join should be explained, and what is missing is the sidecar's debt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    /// All payload that passed the sockets.
    pub seen: u64,
    /// On connections that are TLS, handshakes that succeeded or ended by an alert included; one that was cut off is
    /// explained. What another protocol said before it changed to TLS is explained as well.
    pub encrypted: u64,
    /// On connections whose protocol nobody knows.
    pub unclassified: u64,
    /// On connections that the configuration leaves out.
    pub excluded: u64,
    /// On paths of MPTCP, which are not read.
    pub mptcp: u64,
    /// Before the first message boundary of a connection that was met in the middle.
    pub before_join: u64,
    /// Inside messages that a parser read, or knows the length of.
    pub explained: u64,
    /// Wanted by a parser, and never arrived in user space.
    pub lost: u64,
}

/// The share of readable bytes that were explained, 0 to 1; `None` while there were none to read.
#[must_use]
pub fn coverage(bytes: &Bytes) -> Option<f64> {
    let unread = [bytes.encrypted, bytes.excluded, bytes.before_join];
    let readable = unread.into_iter().fold(bytes.seen, u64::saturating_sub);
    // The kernel counts a byte when the socket moves past it, the parser when it arrives: a reading may catch the
    // second before the first.
    (readable > 0).then(|| bytes.explained.min(readable) as f64 / readable as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explained_of_readable() {
        // seen, encrypted, before_join, explained => coverage
        let cases = [
            ((0, 0, 0, 0), None),
            ((100, 100, 0, 0), None),
            ((100, 60, 40, 0), None),
            ((100, 0, 0, 100), Some(1.0)),
            ((100, 0, 0, 0), Some(0.0)),
            ((100, 50, 10, 30), Some(0.75)),
            ((100, 0, 0, 120), Some(1.0)),
            ((10, 60, 0, 0), None),
        ];
        for ((seen, encrypted, before_join, explained), expected) in cases {
            let bytes = Bytes { seen, encrypted, before_join, explained, ..Bytes::default() };
            assert_eq!(coverage(&bytes), expected, "{bytes:?}");
        }
        let bytes = Bytes { seen: 100, excluded: 50, explained: 50, ..Bytes::default() };
        assert_eq!(coverage(&bytes), Some(1.0));
    }
}
