//! Messages of the DNS (RFC 1035, 4) as far as whoever answers questions and whoever observes them needs them: header, first
//! question, and what the records say of the whole. Read as they come, in any pieces, and never held.

mod name;
mod reader;
#[cfg(test)]
mod tests;

pub use reader::{Malformed, Part, Reader};

/// Where resolvers and servers are asked.
pub const PORT: u16 = 53;
/// Octets of a header (RFC 1035, 4.1.1).
pub const HEADER: usize = 12;
/// QUERY (RFC 1035, 4.1.1).
pub const QUERY: u8 = 0;
/// QTYPE of a whole zone (RFC 5936).
pub const AXFR: u16 = 252;

/// A header as it lies in a message (RFC 1035, 4.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header([u8; HEADER]);

/// The first question of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The name in lower case, without the last dot; the root is `.`. What is no printable ASCII is `\DDD`, and a dot or a
    /// backslash in a label has one before it (RFC 1035, 5.1): so each name has one text, of at most 1,003 bytes.
    pub name: Box<str>,
    /// QTYPE.
    pub record_type: u16,
    /// QCLASS.
    pub class: u16,
}

impl Header {
    /// What a message begins with.
    #[must_use]
    pub fn of(message: &[u8]) -> Option<Self> {
        message.first_chunk().copied().map(Header)
    }

    /// Its octets.
    #[must_use]
    pub fn octets(&self) -> &[u8; HEADER] {
        &self.0
    }

    /// What the client calls the question.
    #[must_use]
    pub fn id(&self) -> u16 {
        self.word(0)
    }

    /// QR.
    #[must_use]
    pub fn is_response(&self) -> bool {
        self.0[2] & 0x80 != 0
    }

    /// OPCODE.
    #[must_use]
    pub fn op_code(&self) -> u8 {
        self.0[2] >> 3 & 0x0f
    }

    /// TC.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.0[2] & 0x02 != 0
    }

    /// RCODE, without the bits that EDNS brings.
    #[must_use]
    pub fn code(&self) -> u8 {
        self.0[3] & 0x0f
    }

    /// QDCOUNT.
    #[must_use]
    pub fn n_questions(&self) -> u16 {
        self.word(4)
    }

    /// ANCOUNT.
    #[must_use]
    pub fn n_answers(&self) -> u16 {
        self.word(6)
    }

    /// NSCOUNT.
    #[must_use]
    pub fn n_authorities(&self) -> u16 {
        self.word(8)
    }

    /// ARCOUNT.
    #[must_use]
    pub fn n_additional(&self) -> u16 {
        self.word(10)
    }

    /// Records after the questions.
    #[must_use]
    pub fn n_records(&self) -> u32 {
        u32::from(self.n_answers()) + u32::from(self.n_authorities()) + u32::from(self.n_additional())
    }

    fn word(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.0[at], self.0[at + 1]])
    }
}

/// The first question of a whole message, and where it ends.
#[must_use]
pub fn question(message: &[u8]) -> Option<(Question, usize)> {
    let mut reader = Reader::default();
    // What comes after it may be anything.
    let _ = reader.push(message);
    reader.into_question()
}
