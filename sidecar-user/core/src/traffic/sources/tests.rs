use std::net::IpAddr;

use super::*;
use crate::model::policy::{HashBy, Supply};

const S: u64 = 1_000_000_000;

fn dns(name: &str) -> Source {
    Source::Dns(name.to_owned())
}

fn endpoint(text: &str) -> Endpoint {
    Endpoint { address: text.parse().expect("an address"), weight: 1, is_near: true }
}

fn supply(source: Source) -> Supply {
    Supply { source, port: 80, weight: 100, zone: None }
}

fn service(name: &str, sources: &[Source]) -> Service {
    Service { supplies: sources.iter().cloned().map(supply).collect(), ..Service::named(name) }
}

fn policy(services: &[Service]) -> Policy {
    Policy { services: services.to_vec(), ..Policy::default() }
}

fn found(text: &str) -> Found {
    let address = text.parse::<IpAddr>().expect("an address");
    Found { address: (address, 0).into(), weight: None, zone: None }
}

fn said(addresses: &[&str], seconds: u64) -> Heard {
    let found = addresses.iter().map(|text| found(text)).collect();
    Heard::Said(Reply { found, ttl: Duration::from_secs(seconds), failed: [None; 2], detail: String::new() })
}

fn failed(why: SourceFailed) -> Heard {
    Heard::Said(Reply { failed: [Some(why); 2], ..Reply::default() })
}

fn addresses(sources: &Sources, policy: &Policy, at: usize) -> Vec<String> {
    let merged = sources.added_to(policy);
    merged.services[at].endpoints.iter().map(|one| one.address.to_string()).collect()
}

fn due(sources: &mut Sources, policy: &Policy, now: u64) -> Vec<Source> {
    sources.due(policy, Ktime(now)).into_iter().map(|(source, _)| source).collect()
}

fn begun(policy: &Policy) -> Sources {
    let mut sources = Sources::default().under(policy, |_| Vec::new());
    policy.services.iter().for_each(|service| sources.begin(&service.name));
    sources
}

#[test]
fn nobody_is_asked_for_a_service_that_waits() {
    let mut hashed = Service { balance: Balance::Hash(HashBy::User), ..Service::named("hashed") };
    hashed.endpoints = vec![endpoint("10.0.0.1:1")];
    let mut fixed = Service::named("fixed");
    fixed.endpoints = hashed.endpoints.clone();
    let policy = policy(&[service("named", &[dns("a")]), hashed, fixed]);
    let mut sources = Sources::default().under(&policy, |_| Vec::new());
    let waits = |sources: &Sources| -> Vec<_> {
        let merged = sources.added_to(&policy);
        merged.services.iter().map(|service| (service.waits, service.endpoints.len())).collect()
    };
    assert_eq!(waits(&sources), [(true, 0), (true, 0), (false, 1)]);
    assert_eq!((due(&mut sources, &policy, 0), sources.next(&policy)), (vec![], None));
    sources.begin("hashed");
    sources.begin("named");
    assert_eq!(waits(&sources), [(true, 0), (false, 1), (false, 1)]);
    assert_eq!(due(&mut sources, &policy, 0), [dns("a")]);
    assert_eq!(due(&mut sources, &policy, 9 * S), [], "it is waited for");
    sources.heard(&dns("a"), said(&["10.0.0.9", "fd00::9"], 5), Ktime(9 * S), 0);
    assert_eq!(waits(&sources)[0], (false, 2));
    assert_eq!(addresses(&sources, &policy, 0), ["10.0.0.9:80", "[fd00::9]:80"]);
    assert_eq!((due(&mut sources, &policy, 13 * S), sources.next(&policy)), (vec![], Some(Ktime(14 * S))));
    assert_eq!(due(&mut sources, &policy, 14 * S), [dns("a")]);
}

#[test]
fn times_to_live_are_bounded() {
    let policy = policy(&[service("a", &[dns("a")])]);
    for (ttl, next) in [(0, 1), (1, 1), (60, 60), (86_400, 300)] {
        let mut sources = begun(&policy);
        sources.heard(&dns("a"), said(&["10.0.0.1"], ttl), Ktime(0), 0);
        assert_eq!(sources.next(&policy), Some(Ktime(next * S)), "{ttl}");
    }
}

#[test]
fn what_fails_keeps_its_last_word_and_is_asked_less_and_less() {
    let policy = policy(&[service("a", &[dns("a")])]);
    let mut sources = begun(&policy);
    sources.heard(&dns("a"), said(&["10.0.0.1"], 5), Ktime(0), 0);
    let mut now = 5 * S;
    let mut waits = Vec::new();
    for random in [50, 50, 50, 50, 50, 50, 50, 0] {
        sources.heard(&dns("a"), failed(SourceFailed::Timeout), Ktime(now), random);
        let next = sources.next(&policy).expect("it is asked again").0;
        waits.push((next - now) / (S / 10));
        now = next;
    }
    assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300, 150]);
    let standing = &sources.standings(&policy)[0];
    assert_eq!((standing.failure, standing.told), (Some(SourceFailed::Timeout), Some(Ktime(0))));
    assert_eq!((standing.failures[SourceFailed::Timeout as usize], standing.n_endpoints), (8, 1));
    assert_eq!(addresses(&sources, &policy, 0), ["10.0.0.1:80"]);
    // An answer is an answer, though there is nobody in it.
    sources.heard(&dns("a"), said(&[], 5), Ktime(now), 0);
    assert_eq!(addresses(&sources, &policy, 0), Vec::<String>::new());
    let merged = sources.added_to(&policy);
    assert_eq!((merged.services[0].waits, sources.standings(&policy)[0].failure), (false, None));
    // The next failure is a first one again.
    sources.heard(&dns("a"), failed(SourceFailed::Refused), Ktime(now), 50);
    assert_eq!(sources.next(&policy), Some(Ktime(now + S)));
}

#[test]
fn one_family_fails_and_the_other_goes_on() {
    let policy = policy(&[service("a", &[dns("a")])]);
    let mut sources = begun(&policy);
    sources.heard(&dns("a"), said(&["10.0.0.1", "fd00::1"], 5), Ktime(0), 0);
    let half = Reply {
        found: vec![found("10.0.0.2")],
        ttl: Duration::from_secs(5),
        failed: [None, Some(SourceFailed::Timeout)],
        detail: String::new(),
    };
    sources.heard(&dns("a"), Heard::Said(half), Ktime(S), 50);
    assert_eq!(addresses(&sources, &policy, 0), ["10.0.0.2:80", "[fd00::1]:80"]);
    let standing = &sources.standings(&policy)[0];
    assert_eq!((standing.failure, standing.failures[0]), (Some(SourceFailed::Timeout), 1));
    assert_eq!(sources.next(&policy), Some(Ktime(2 * S)), "it backs off");
}

#[test]
fn an_answer_of_before_a_reload_is_nobodys() {
    let before = policy(&[service("a", &[dns("old")])]);
    let mut sources = begun(&before);
    assert_eq!(due(&mut sources, &before, 0), [dns("old")]);
    let after = policy(&[service("a", &[dns("new")])]);
    let mut sources = sources.under(&after, |_| vec![endpoint("10.9.9.9:9")]);
    sources.heard(&dns("old"), said(&["10.0.0.1"], 5), Ktime(S), 0);
    // What it had holds until the new one has said something, or for ever.
    assert_eq!(addresses(&sources, &after, 0), ["10.9.9.9:9"]);
    assert!(sources.standings(&after)[0].keeps);
    assert_eq!(due(&mut sources, &after, S), [dns("new")], "it has begun");
    sources.heard(&dns("new"), failed(SourceFailed::Refused), Ktime(S), 0);
    let mut sources = sources.under(&after, |_| Vec::new());
    assert_eq!(addresses(&sources, &after, 0), ["10.9.9.9:9"]);
    sources.heard(&dns("new"), said(&["10.0.0.2"], 5), Ktime(2 * S), 0);
    assert_eq!(addresses(&sources, &after, 0), ["10.0.0.2:80"]);
    // The same source of another service, and other words of the same service: what it said holds.
    let renamed =
        policy(&[service("b", &[dns("new")]), Service { name: "a".into(), ..service("a", &[dns("new")]) }]);
    let sources = sources.under(&renamed, |_| Vec::new());
    assert_eq!(addresses(&sources, &renamed, 1), ["10.0.0.2:80"]);
    assert!(sources.added_to(&renamed).services[0].waits, "it has not begun");
    assert!(Sources::default().under(&renamed, |_| Vec::new()).added_to(&renamed).services[1].waits);
}

#[test]
fn what_was_pinned_stays_warm_until_its_source_has_spoken() {
    let policy = policy(&[service("a", &[dns("a")]), service("b", &[dns("b")])]);
    let adopted = Sources::adopted(vec![("a".to_owned(), vec![endpoint("10.0.0.1:1")])]);
    let mut sources = adopted.under(&policy, |_| Vec::new());
    assert_eq!(addresses(&sources, &policy, 0), ["10.0.0.1:1"]);
    assert!(sources.added_to(&policy).services[1].waits);
    assert_eq!(due(&mut sources, &policy, 0), [dns("a")]);
    sources.heard(&dns("a"), said(&[], 5), Ktime(0), 0);
    assert_eq!(addresses(&sources, &policy, 0), Vec::<String>::new());
}

#[test]
fn what_is_told_is_put_together_once_each() {
    let mut mixed = service("a", &[dns("a"), Source::File("/e".into())]);
    mixed.supplies[0].zone = Some("near".to_owned());
    mixed.endpoints = vec![endpoint("10.0.0.1:80")];
    let mut policy = policy(&[mixed]);
    policy.zone = Some("near".to_owned());
    policy.pools = vec!["240.240.0.0/16".parse().expect("a network")];
    let mut sources = begun(&policy);
    let told = [
        "10.0.0.2",
        "10.0.0.1",
        "10.0.0.2",
        "0.0.0.0",
        "224.0.0.1",
        "fe80::1",
        "::ffff:10.0.0.2",
        "240.240.0.1",
    ];
    sources.heard(&dns("a"), said(&told, 5), Ktime(0), 0);
    let file = Found {
        address: "10.0.0.3:81".parse().expect("an address"),
        weight: Some(7),
        zone: Some("far".into()),
    };
    let reply =
        Reply { found: vec![file], ttl: Duration::from_secs(1), failed: [None; 2], detail: String::new() };
    sources.heard(&Source::File("/e".into()), Heard::Said(reply), Ktime(0), 0);
    let merged = sources.added_to(&policy);
    let own: Vec<_> = merged.services[0]
        .endpoints
        .iter()
        .map(|one| (one.address.to_string(), one.weight, one.is_near))
        .collect();
    let expected = [("10.0.0.1:80", 1, true), ("10.0.0.2:80", 100, true), ("10.0.0.3:81", 7, false)];
    assert_eq!(own, expected.map(|(address, weight, is_near)| (address.to_owned(), weight, is_near)));
    let standing = &sources.standings(&policy)[0];
    assert_eq!(standing.left_out, LeftOut { duplicates: 2, unusable: 3, too_many: 0 });
    let many: Vec<_> = (0..600).map(|n| format!("10.1.{}.{}", n / 256, n % 256)).collect();
    sources.heard(&dns("a"), said(&many.iter().map(String::as_str).collect::<Vec<_>>(), 5), Ktime(0), 0);
    assert_eq!(sources.standings(&policy)[0].left_out.too_many, 88);
    assert_eq!(sources.added_to(&policy).services[0].endpoints.len(), 512);
}

#[test]
fn so_many_are_asked_at_a_time() {
    let names: Vec<_> = (0..40).map(|n| dns(&format!("n{n:02}"))).collect();
    let policy_of_names = policy(&[service("a", &names)]);
    let mut sources = begun(&policy_of_names);
    let first = due(&mut sources, &policy_of_names, 0);
    assert_eq!((first.len(), due(&mut sources, &policy_of_names, 0).len()), (16, 0));
    sources.heard(&first[0], said(&[], 5), Ktime(0), 0);
    assert_eq!(due(&mut sources, &policy_of_names, 0).len(), 1);
    // Those that fail leave room for others, and none is waited for to look at a file.
    let files = [Source::File("/a".into()), Source::File("/b".into())];
    let policy = policy(&[service("a", &[&names[..20], &files].concat())]);
    let mut sources = begun(&policy);
    let first = due(&mut sources, &policy, 0);
    assert_eq!(first.iter().filter(|one| files.contains(one)).count(), 2);
    let (failing, rest): (Vec<_>, Vec<_>) =
        names[..20].iter().cloned().partition(|name| first.contains(name));
    assert_eq!((failing.len(), rest.len()), (16, 4));
    failing.iter().for_each(|name| sources.heard(name, failed(SourceFailed::Timeout), Ktime(0), 50));
    files.iter().for_each(|file| sources.heard(file, Heard::Same(Duration::from_secs(1)), Ktime(0), 0));
    let second = due(&mut sources, &policy, S);
    assert_eq!(second.iter().filter(|one| failing.contains(one)).count(), 8);
    assert!(rest.iter().chain(&files).all(|one| second.contains(one)), "{second:?}");
    files.iter().for_each(|file| sources.heard(file, Heard::Same(Duration::from_secs(1)), Ktime(S), 0));
    assert_eq!(due(&mut sources, &policy, 2 * S), files);
}

#[test]
fn what_the_kernel_does_not_take_is_tried_again() {
    let policy = policy(&[service("a", &[dns("a")])]);
    let mut sources = begun(&policy);
    sources.heard(&dns("a"), said(&["10.0.0.1"], 5), Ktime(0), 0);
    sources.refused(&dns("a"), Ktime(S), 50);
    let standing = &sources.standings(&policy)[0];
    assert_eq!(
        (standing.failure, sources.next(&policy)),
        (Some(SourceFailed::NotSteered), Some(Ktime(2 * S)))
    );
    // The same again is news.
    assert_eq!(sources.due(&policy, Ktime(2 * S)), [(dns("a"), true)]);
}

#[test]
fn services_of_the_lowest_priority_share_by_weight() {
    let record = |priority, weight, addresses: &[&str]| Record {
        priority,
        weight,
        port: 8080,
        addresses: addresses.iter().map(|text| text.parse().expect("an address")).collect(),
    };
    for (records, expected) in [
        (
            vec![record(1, 3, &["10.0.0.1"]), record(1, 1, &["10.0.0.2"]), record(2, 9, &["10.0.0.3"])],
            vec![3, 1],
        ),
        // Nobody is at the lowest.
        (vec![record(1, 3, &[]), record(2, 9, &["10.0.0.3"])], vec![9]),
        // All alike, and one hardly ever.
        (vec![record(1, 0, &["10.0.0.1"]), record(1, 0, &["10.0.0.2"])], vec![1000, 1000]),
        (vec![record(1, 0, &["10.0.0.1"]), record(1, 2, &["10.0.0.2"])], vec![1, 2000]),
        (vec![record(1, 0, &["10.0.0.1"]), record(1, 65_535, &["10.0.0.2"])], vec![1, 65_535]),
        // Two addresses of one have its share.
        (
            vec![record(1, 4, &["10.0.0.1", "10.0.0.2", "fd00::1"]), record(1, 4, &["10.0.0.3"])],
            vec![2000, 2000, 4000, 4000],
        ),
        (vec![], vec![]),
    ] {
        let weights: Vec<_> =
            balanced(&records).iter().map(|found| found.weight.expect("a weight")).collect();
        assert_eq!(weights, expected, "{records:?}");
    }
}
