use hickory_proto::{
    op::{MessageType, Query},
    rr::{
        Name,
        rdata::{
            HTTPS,
            svcb::{IpHint, SVCB, SvcParamKey},
        },
    },
};
use proptest::{collection::vec, prelude::*};

use super::*;
use crate::model::policy::{Endpoint, Policy, Resolve, Service};

fn names() -> Names {
    let host = |text: &str| text.parse().expect("a name");
    let endpoint = Endpoint { address: "10.0.0.1:80".parse().expect("an address"), weight: 1, is_near: true };
    let ours = Service {
        hosts: vec![host("api.internal")],
        resolve: Resolve::Virtual,
        endpoints: vec![endpoint],
        ..Service::named("ours")
    };
    let theirs =
        Service { hosts: vec![host("*.example")], resolve: Resolve::Real, ..Service::named("theirs") };
    let pools = vec!["240.240.0.0/16".parse().expect("a network")];
    Names::new(&Policy { services: vec![ours, theirs], pools, ..Policy::default() })
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
    message
}

fn bytes(message: &Message) -> Vec<u8> {
    message.to_vec().expect("a message")
}

fn answer_of(judged: Judged) -> Message {
    match judged {
        Judged::Answered(bytes) | Judged::NoData(bytes) | Judged::Refused(bytes) => {
            Message::from_vec(&bytes).expect("an answer that can be read")
        }
        other => panic!("no answer: {other:?}"),
    }
}

fn forwarded(message: &Message) -> Asked {
    match judge(&names(), &bytes(message), Transport::Udp) {
        Judged::Forward(asked) => asked,
        other => panic!("not forwarded: {other:?}"),
    }
}

#[test]
fn names_of_ours_are_answered_by_kind() {
    let expected = names().find("api.internal").cloned();
    let Some(Known::Virtual(_, [Some(address), None])) = expected else { panic!("{expected:?}") };
    for (name, kind, has_address) in [
        ("api.internal.", RecordType::A, true),
        ("ApI.iNternal.", RecordType::A, true),
        ("api.internal.", RecordType::ANY, true),
        ("api.internal.", RecordType::AAAA, false),
        ("api.internal.", RecordType::HTTPS, false),
        ("api.internal.", RecordType::SOA, false),
    ] {
        let judged = judge(&names(), &bytes(&query(name, kind)), Transport::Udp);
        assert_eq!(matches!(judged, Judged::Answered(_)), has_address, "{name} {kind}");
        let answer = answer_of(judged);
        assert_eq!((answer.metadata.id, answer.metadata.response_code), (0x1234, ResponseCode::NoError));
        assert!(answer.metadata.recursion_desired && answer.metadata.recursion_available);
        assert!(answer.queries[0].name.eq_case(&Name::from_ascii(name).expect("a name")), "its case");
        let found: Vec<_> = answer.answers.iter().filter_map(|record| record.data.ip_addr()).collect();
        assert_eq!(found, if has_address { vec![address] } else { vec![] });
        assert!(answer.authorities.is_empty() && answer.edns.is_none());
    }
}

#[test]
fn edns_is_answered_where_it_is_asked_for() {
    for (version, code) in [(0, ResponseCode::NoError), (1, ResponseCode::BADVERS)] {
        let mut message = query("api.internal.", RecordType::A);
        let mut edns = Edns::new();
        edns.set_max_payload(4096).set_version(version).set_dnssec_ok(true);
        message.set_edns(edns);
        let answer = answer_of(judge(&names(), &bytes(&message), Transport::Udp));
        let edns = answer.edns.expect("EDNS");
        assert_eq!((edns.version(), edns.max_payload()), (0, PAYLOAD));
        assert!(edns.flags().dnssec_ok);
        // 16 has two names.
        assert_eq!(u16::from(answer.metadata.response_code), u16::from(code));
        assert_eq!(answer.answers.is_empty(), version > 0);
    }
    // Two of them.
    let mut message = query("api.internal.", RecordType::A);
    message.set_edns(Edns::new());
    let mut twice = bytes(&message);
    let opt = twice[twice.len() - 11..].to_vec();
    twice.extend_from_slice(&opt);
    twice[11] = 2;
    let answer = answer_of(judge(&names(), &twice, Transport::Udp));
    assert_eq!(answer.metadata.response_code, ResponseCode::FormErr);
}

#[test]
fn what_is_no_question_is_told_apart() {
    let question = bytes(&query("api.internal.", RecordType::A));
    let mut two = question.clone();
    two.extend_from_slice(&question[HEADER..]);
    two[5] = 2;
    let mut none = question[..HEADER].to_vec();
    none[5] = 0;
    let mut status = question.clone();
    status[2] |= 2 << 3;
    for (message, code) in [
        (two, ResponseCode::FormErr),
        (none, ResponseCode::FormErr),
        (question[..HEADER + 4].to_vec(), ResponseCode::FormErr),
        (status, ResponseCode::NotImp),
    ] {
        let answer = answer_of(judge(&names(), &message, Transport::Udp));
        assert_eq!((answer.metadata.id, answer.metadata.response_code), (0x1234, code));
    }
    let mut response = question.clone();
    response[2] |= 0x80;
    for message in [&[][..], &question[..HEADER - 1], &response] {
        assert_eq!(judge(&names(), message, Transport::Udp), Judged::Malformed);
    }
    // What is not ours is the resolver's to refuse.
    let mut update = bytes(&query("example.", RecordType::SOA));
    update[2] |= 5 << 3;
    let mut chaos = query("api.internal.", RecordType::TXT);
    chaos.queries[0].query_class = DNSClass::CH;
    for message in [update, bytes(&chaos)] {
        assert!(matches!(judge(&names(), &message, Transport::Udp), Judged::Forward(_)));
    }
}

#[test]
fn only_the_answer_to_a_question_is_taken() {
    let asked = forwarded(&query("Who.Example.", RecordType::A));
    assert_eq!((asked.id(), asked.service.as_deref()), (0x1234, Some("theirs")));
    let answer = |change: &dyn Fn(&mut Message)| {
        let mut message = query("who.example.", RecordType::A).into_response();
        message.metadata.id = 7;
        change(&mut message);
        bytes(&message)
    };
    let is_taken = |change: &dyn Fn(&mut Message)| matches(&asked, 7, &answer(change));
    assert!(is_taken(&|_| {}));
    assert!(!is_taken(&|message| message.metadata.id = 8));
    assert!(!is_taken(&|message| message.metadata.message_type = MessageType::Query));
    assert!(!is_taken(&|message| message.queries[0].query_type = RecordType::AAAA));
    assert!(!is_taken(&|message| message.queries[0].name = Name::from_ascii("x.example.").expect("a name")));
    assert!(!is_taken(&|message| message.queries.clear()));
    assert!(is_taken(&|message| {
        message.queries.clear();
        message.metadata.response_code = ResponseCode::Refused;
    }));
    assert!(!matches(&asked, 7, &answer(&|_| {})[..HEADER - 1]));
}

#[test]
fn what_the_client_cannot_take_is_cut_to_the_question() {
    for payload in [None, Some(600)] {
        let mut message = query("who.example.", RecordType::A);
        if let Some(payload) = payload {
            message.set_edns(Edns::new().set_max_payload(payload).clone());
        }
        let asked = forwarded(&message);
        let limit = usize::from(payload.unwrap_or(512));
        assert!(asked.takes(&vec![0; limit]) && !asked.takes(&vec![0; limit + 1]));
        let mut full = message.clone().into_response();
        let data = RData::A(Ipv4Addr::LOCALHOST.into());
        full.add_answers(
            (0..50).map(|_| Record::from_rdata(message.queries[0].name.clone(), 1, data.clone())),
        );
        let full = bytes(&full);
        let short = truncated(&asked, &full);
        let read = Message::from_vec(&short).expect("an answer that can be read");
        assert!(read.metadata.truncation && read.answers.is_empty() && short.len() < limit);
        assert_eq!((read.metadata.id, &read.queries), (0x1234, &message.queries));
        assert_eq!(read.edns.is_some(), payload.is_some());
    }
    let over_a_connection = judge(&names(), &bytes(&query("a.b.", RecordType::A)), Transport::Tcp);
    assert!(matches!(over_a_connection, Judged::Forward(asked) if asked.takes(&[0; 60_000])));
}

#[test]
fn a_failure_has_the_question() {
    let question = query("who.example.", RecordType::A);
    let failure = Message::from_vec(&failed(&bytes(&question)).expect("an answer")).expect("it can be read");
    assert_eq!(failure.metadata.response_code, ResponseCode::ServFail);
    assert_eq!((failure.metadata.id, failure.queries), (0x1234, question.queries));
    assert_eq!(failed(&[0; 4]), None);
}

#[test]
fn addresses_are_found_behind_aliases_and_in_hints() {
    let mut message = query("Www.Example.", RecordType::A).into_response();
    let alias = Name::from_ascii("cdn.net.").expect("a name");
    let address = |text: &str| text.parse::<IpAddr>().expect("an address");
    message.add_answer(Record::from_rdata(alias.clone(), 60, RData::A(Ipv4Addr::new(10, 0, 0, 1).into())));
    message.add_answer(Record::from_rdata(alias.clone(), 30, RData::AAAA(Ipv6Addr::LOCALHOST.into())));
    let hints = vec![(
        SvcParamKey::Ipv4Hint,
        SvcParamValue::Ipv4Hint(IpHint(vec![Ipv4Addr::new(10, 0, 0, 2).into()])),
    )];
    message.add_answer(Record::from_rdata(alias, 20, RData::HTTPS(HTTPS(SVCB::new(1, Name::root(), hints)))));
    let expected = vec![(address("10.0.0.1"), 60), (address("::1"), 30), (address("10.0.0.2"), 20)];
    assert_eq!(addresses(&bytes(&message)), ("www.example".to_owned(), expected));
    assert_eq!(addresses(&[1, 2, 3]), Default::default());
}

proptest! {
    /// Whatever comes, nothing panics, and what is answered can be read.
    #[test]
    fn any_bytes_are_judged(mut message in vec(any::<u8>(), 0..100), start in 0..3_usize, transport in 0..2_u8) {
        let begin = [bytes(&query("api.internal.", RecordType::A)), bytes(&query("a.example.", RecordType::A))];
        if let Some(begin) = begin.get(start) {
            message.splice(0..0, begin.iter().copied());
        }
        let transport = if transport == 0 { Transport::Udp } else { Transport::Tcp };
        match judge(&names(), &message, transport) {
            Judged::Answered(answer) | Judged::NoData(answer) | Judged::Refused(answer) => {
                prop_assert!(Message::from_vec(&answer).is_ok());
            }
            Judged::Forward(asked) => {
                let _ = (matches(&asked, 1, &message), truncated(&asked, &message), addresses(&message));
                prop_assert!(failed(&message).is_some());
            }
            Judged::Malformed | Judged::Wait(_) => {}
        }
    }
}
