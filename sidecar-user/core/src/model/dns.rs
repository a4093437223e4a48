//! Questions of the DNS (RFC 1035).

/// A question and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// The name that is asked for, in lower case, without the last dot, at most 253 bytes; what is no printable ASCII as
    /// `\\DDD` (RFC 1035 section 5.1).
    pub name: Box<str>,
    /// More names than metrics tell apart were asked for before it: in metrics it is `_OTHER`.
    pub is_other: bool,
    /// QTYPE.
    pub record_type: u16,
    /// RCODE of the answer, with the upper bits that EDNS brings; `None` where none was seen.
    pub code: Option<u16>,
    /// Answers in it.
    pub answers: u16,
    /// It was cut short (TC): the client asks again over TCP.
    pub is_truncated: bool,
    /// Bytes of the question's message, and of the answer's.
    pub bytes: [Option<u64>; 2],
}
