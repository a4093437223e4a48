//! Messages of the DNS: what becomes of a question, and whether an answer is its answer.
//!
//! What is not ours is passed on as it came, so of that only the header and the question are read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::{
    op::{Edns, Message, OpCode, ResponseCode},
    rr::{DNSClass, RData, Record, RecordType, rdata::svcb::SvcParamValue},
};

use super::{Known, Names};
use crate::dns::{HEADER, Header, QUERY, Question, question};

/// How long an address of ours may be remembered, s. New settings may want another.
const TTL: u32 = 5;
/// What goes through without fragments, as the DNS Flag Day of 2020 has it.
const PAYLOAD: u16 = 1232;
/// What a datagram may have where nothing is said (RFC 1035, 4.2.1).
const PLAIN: usize = 512;
/// The most that a message may have.
const MOST: usize = u16::MAX as usize;

/// How a question came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// In a datagram.
    Udp,
    /// Over a connection.
    Tcp,
}

/// What becomes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    /// This is the answer. It has addresses.
    Answered(Vec<u8>),
    /// This is the answer: the name is there, and has none of what is asked for.
    NoData(Vec<u8>),
    /// This is the answer: the question cannot be understood, or is none that we answer.
    Refused(Vec<u8>),
    /// It is the resolver's to answer.
    Forward(Asked),
    /// It is ours to answer, once this service's endpoints are known.
    Wait(String),
    /// It is no question at all.
    Malformed,
}

/// A question that is passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    id: u16,
    op_code: u8,
    /// `None`: none that can be read.
    question: Option<Question>,
    /// How long an answer may be.
    limit: usize,
    /// The client speaks EDNS.
    has_edns: bool,
    /// Whose real addresses are asked for.
    pub service: Option<String>,
}

impl Asked {
    /// What the client called it.
    #[must_use]
    pub fn id(&self) -> u16 {
        self.id
    }

    /// Whether the client can take so much at once.
    #[must_use]
    pub fn takes(&self, answer: &[u8]) -> bool {
        answer.len() <= self.limit
    }
}

/// What becomes of a message from an application.
#[must_use]
pub fn judge(names: &Names, message: &[u8], transport: Transport) -> Judged {
    let Some(header) = Header::of(message) else { return Judged::Malformed };
    if header.is_response() {
        return Judged::Malformed;
    }
    let is_query = header.op_code() == QUERY;
    let question = if header.n_questions() == 1 { question(message) } else { None };
    let question = question.map(|(question, _)| question);
    // RFC 9619: one question, and no other number of them.
    if is_query && question.is_none() {
        return Judged::Refused(refusal(&header, ResponseCode::FormErr));
    }
    let known = question
        .as_ref()
        .filter(|question| question.class == u16::from(DNSClass::IN))
        .and_then(|question| names.find(&question.name));
    match (known, question) {
        (Some(_), Some(_)) if !is_query => Judged::Refused(refusal(&header, ResponseCode::NotImp)),
        (Some(Known::Virtual(service, addresses)), Some(_)) => match Message::from_vec(message) {
            Ok(_) if names.waits(service) => Judged::Wait(service.clone()),
            Ok(message) => answer(&message, *addresses),
            // Such as two records of EDNS (RFC 6891, 6.1.1).
            Err(_) => Judged::Refused(refusal(&header, ResponseCode::FormErr)),
        },
        (known, question) => {
            let edns = Message::from_vec(message).map(|message| message.edns);
            let limit = match (transport, &edns) {
                (Transport::Udp, Ok(Some(edns))) => usize::from(edns.max_payload()).max(PLAIN),
                (Transport::Udp, Ok(None)) => PLAIN,
                // What it says is not understood, and not ours to understand.
                (Transport::Udp, Err(_)) | (Transport::Tcp, _) => MOST,
            };
            let service = match known {
                Some(Known::Real(service)) => Some(service.clone()),
                _ => None,
            };
            let has_edns = matches!(edns, Ok(Some(_)));
            Judged::Forward(Asked {
                id: header.id(),
                op_code: header.op_code(),
                question,
                limit,
                has_edns,
                service,
            })
        }
    }
}

/// Of a name that is ours.
fn answer(asked: &Message, addresses: [Option<IpAddr>; 2]) -> Judged {
    let Some(question) = asked.queries.first().cloned() else { return Judged::Malformed };
    let mut reply = Message::response(asked.metadata.id, OpCode::Query);
    reply.metadata.authoritative = true;
    reply.metadata.recursion_available = true;
    reply.metadata.recursion_desired = asked.metadata.recursion_desired;
    reply.metadata.checking_disabled = asked.metadata.checking_disabled;
    let mut is_understood = true;
    if let Some(theirs) = &asked.edns {
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD).set_dnssec_ok(theirs.flags().dnssec_ok);
        reply.set_edns(edns);
        if theirs.version() > 0 {
            reply.metadata.response_code = ResponseCode::BADVERS;
            is_understood = false;
        }
    }
    let is_wanted = |address: &IpAddr| match question.query_type {
        RecordType::A => address.is_ipv4(),
        RecordType::AAAA => address.is_ipv6(),
        RecordType::ANY => true,
        _ => false,
    };
    let found = addresses.into_iter().flatten().filter(is_wanted).filter(|_| is_understood);
    for address in found {
        let data = match address {
            IpAddr::V4(v4) => RData::A(v4.into()),
            IpAddr::V6(v6) => RData::AAAA(v6.into()),
        };
        reply.add_answer(Record::from_rdata(question.name.clone(), TTL, data));
    }
    let has_answers = !reply.answers.is_empty();
    reply.add_query(question);
    match reply.to_vec() {
        Ok(bytes) if !is_understood => Judged::Refused(bytes),
        Ok(bytes) if has_answers => Judged::Answered(bytes),
        Ok(bytes) => Judged::NoData(bytes),
        // Nothing that can be read is too long to be written again.
        Err(_) => Judged::Malformed,
    }
}

/// Whether this is the answer to what was asked on, under another id. One that fails may leave the question out.
#[must_use]
pub fn matches(asked: &Asked, id: u16, answer: &[u8]) -> bool {
    let Some(header) = Header::of(answer) else { return false };
    if header.id() != id || !header.is_response() || header.op_code() != asked.op_code {
        return false;
    }
    match (&asked.question, header.n_questions()) {
        (None, _) => true,
        (Some(_), 0) => header.code() != 0,
        (Some(asked), 1) => question(answer).is_some_and(|(question, _)| question == *asked),
        _ => false,
    }
}

/// The header and the question of an answer that the client cannot take as a whole: it will ask again over a connection.
#[must_use]
pub fn truncated(asked: &Asked, answer: &[u8]) -> Vec<u8> {
    let end = question_end(answer).unwrap_or(HEADER.min(answer.len()));
    let mut short = answer[..end].to_vec();
    if short.len() < HEADER {
        return short;
    }
    short[2] |= 0x02;
    let n_questions = u16::from(end > HEADER).to_be_bytes();
    let n_additional = u16::from(asked.has_edns).to_be_bytes();
    short[4..6].copy_from_slice(&n_questions);
    short[6..10].fill(0);
    short[10..12].copy_from_slice(&n_additional);
    if asked.has_edns {
        // RFC 6891, 6.1.2: the root's name, the type, the payload's size, no flags, no data.
        short.extend_from_slice(&[0, 0, 41]);
        short.extend_from_slice(&PAYLOAD.to_be_bytes());
        short.extend_from_slice(&[0; 6]);
    }
    short
}

/// An answer that there is none: nobody could be asked.
#[must_use]
pub fn failed(message: &[u8]) -> Option<Vec<u8>> {
    let header = Header::of(message)?;
    let end = question_end(message).unwrap_or(HEADER);
    let mut reply = refusal(&header, ResponseCode::ServFail);
    reply[5] = u8::from(end > HEADER);
    reply.extend_from_slice(&message[HEADER..end]);
    Some(reply)
}

/// Addresses that an answer has for what was asked, and for how many seconds; those of hints too (RFC 9460, 7.3). Empty where
/// it is none, or none that can be read. With the name that was asked for, in lower case.
#[must_use]
pub fn addresses(answer: &[u8]) -> (String, Vec<(IpAddr, u32)>) {
    let Ok(message) = Message::from_vec(answer) else { return Default::default() };
    let name = question(answer).map(|(question, _)| question.name.into_string()).unwrap_or_default();
    let mut all = Vec::new();
    for record in &message.answers {
        let ttl = record.ttl;
        match &record.data {
            RData::A(a) => all.push((Ipv4Addr::from(*a).into(), ttl)),
            RData::AAAA(aaaa) => all.push((IpAddr::from(Ipv6Addr::from(*aaaa)).to_canonical(), ttl)),
            RData::HTTPS(https) => hints(&https.0.svc_params, |address| all.push((address, ttl))),
            RData::SVCB(svcb) => hints(&svcb.svc_params, |address| all.push((address, ttl))),
            _ => {}
        }
    }
    (name, all)
}

fn hints<K>(parameters: &[(K, SvcParamValue)], mut take: impl FnMut(IpAddr)) {
    for (_, value) in parameters {
        match value {
            SvcParamValue::Ipv4Hint(hints) => {
                hints.0.iter().for_each(|a| take(Ipv4Addr::from(*a).into()));
            }
            SvcParamValue::Ipv6Hint(hints) => {
                hints.0.iter().for_each(|aaaa| take(IpAddr::from(Ipv6Addr::from(*aaaa)).to_canonical()));
            }
            _ => {}
        }
    }
}

fn question_end(message: &[u8]) -> Option<usize> {
    question(message).map(|(_, end)| end)
}

/// An answer that is a header only.
fn refusal(header: &Header, code: ResponseCode) -> Vec<u8> {
    let octets = header.octets();
    // What was asked, and whether recursion was desired; it is available.
    let flags = [0x80 | octets[2] & 0x79, 0x80 | octets[3] & 0x10 | code.low()];
    [&octets[..2], &flags, &[0; 8]].concat()
}

#[cfg(test)]
mod tests;
