//! Endpoints that are made to fail and to recover, by what the outside would have counted.

use std::{cell::RefCell, collections::BTreeMap};

use proptest::prelude::{ProptestConfig, any, prop, prop_assert, proptest};

use super::*;
use crate::model::{
    Connection, ConnectionId, Detail, Exchange, Http, HttpVersion, Method, Outcome, Role,
    health::{FailureShare, Probe},
    policy::{self, Endpoint},
};

const SECOND: u64 = 1_000_000_000;

/// The kernel, and a clock: what endpoints are made to do is counted here.
struct World {
    judge: Judge,
    now: Ktime,
    sightings: Sightings,
    outside: Counts,
}

#[derive(Default)]
struct Counts {
    n_served: u64,
    results: BTreeMap<SocketAddr, Results>,
    /// Whom the next connection is to try.
    slot: RefCell<Option<SocketAddr>>,
}

impl Outside for Counts {
    fn served(&self, _: &str) -> [u64; 2] {
        [self.n_served, 1]
    }

    fn results(&self, _: &str, endpoint: SocketAddr) -> Results {
        self.results.get(&endpoint).copied().unwrap_or_default()
    }

    fn is_tried(&self, _: &str, _: bool) -> bool {
        self.slot.borrow().is_none()
    }
}

fn address(n: usize) -> SocketAddr {
    ([10, 0, 0, n as u8], 80).into()
}

fn health() -> Health {
    Health {
        consecutive: 5,
        share: FailureShare { percent: 50, volume: 20 },
        slow: None,
        base: Duration::from_secs(5),
        max: Duration::from_secs(12),
        slow_start: Duration::from_secs(8),
        panic_percent: 0,
        probe: None,
    }
}

fn policy(n: usize, health: Health) -> Policy {
    let endpoint = |n| Endpoint { address: address(n), weight: 100, is_near: true };
    let endpoints = (0..n).map(endpoint).collect();
    Policy {
        services: vec![policy::Service { endpoints, health: Some(health), ..policy::Service::named("a") }],
        ..Policy::default()
    }
}

impl World {
    fn new(n: usize, health: Health) -> World {
        let now = Ktime(1000 * SECOND);
        let judge = Judge::default().under(&policy(n, health), now);
        let mut sightings = Sightings::default();
        sightings.watch(judge.watched());
        let mut world = World { judge, now, sightings, outside: Counts::default() };
        world.outside.n_served = 1;
        world.look();
        world
    }

    /// A tenth of a second later.
    fn look(&mut self) -> Look {
        self.now = Ktime(self.now.0 + SECOND / 10);
        self.outside.n_served += 1;
        let look = self.judge.look(self.now, &self.sightings, &self.outside, 0);
        for (_, trial) in &look.trials {
            assert!(self.outside.slot.borrow_mut().replace(*trial).is_none(), "one at a time");
        }
        look
    }

    fn look_for(&mut self, seconds: u64) -> Vec<Turn> {
        (0..seconds * 10).flat_map(|_| self.look().turns).collect()
    }

    fn result(&mut self, n: usize, what: u32, times: u64) {
        self.outside.results.entry(address(n)).or_default()[what as usize] += times;
    }

    fn exchanges(&mut self, n: usize, status: u16, times: u64) {
        let connection = Connection {
            id: ConnectionId(1),
            role: Some(Role::Client),
            local: ([10, 0, 0, 200], 5000).into(),
            remote: address(n),
            tgid: 0,
            cgroup: 0,
            joined: false,
            steered: None,
        };
        let exchange = Exchange {
            started: self.now,
            requested: Some(self.now),
            read: None,
            answered: Some(self.now),
            ended: self.now,
            outcome: Outcome::Complete,
            is_excluded: false,
            lost: 0,
            trace: None,
            detail: Detail::Http(Http {
                method: Some(Method::Get),
                method_original: None,
                version: HttpVersion::Http11,
                status: Some(status),
                host: None,
                port: None,
                path: None,
                route: None,
                request_headers: Vec::new(),
                response_headers: Vec::new(),
                exports: None,
                request_body: None,
                response_body: None,
                is_doubtful: false,
            }),
        };
        for _ in 0..times {
            self.sightings.exchange(&connection, &exchange);
        }
    }

    fn take_trial(&mut self) -> Option<SocketAddr> {
        self.outside.slot.borrow_mut().take()
    }

    fn conditions(&self) -> Vec<Condition> {
        self.standing().endpoints.iter().map(|one| one.condition).collect()
    }

    fn standing(&self) -> ServiceStanding {
        self.judge.standings(self.now).remove(0)
    }

    fn percents(&self) -> Vec<u64> {
        let weights: Vec<_> = self.standing().endpoints.iter().map(|one| u64::from(one.weight)).collect();
        let total = weights.iter().sum::<u64>().max(1);
        weights.iter().map(|weight| (weight * 100 + total / 2) / total).collect()
    }
}

use sidecar_ebpf::abi::steer::{RESULT_ENDED, RESULT_ESTABLISHED, RESULT_FAILED, RESULT_RESET};

const OUT: Condition = Condition::Ejected(Cause::Errors);
const WELL: Condition = Condition::Healthy;

/// The first sentence: of two endpoints one answers 503. It is avoided, tried by one connection at a time, less and
/// less often, and comes back slowly.
#[test]
fn one_of_two_answers_with_errors() {
    let mut world = World::new(2, health());
    world.exchanges(0, 503, 4);
    world.exchanges(0, 200, 1);
    world.exchanges(0, 503, 4);
    assert_eq!(world.look().turns, []);
    world.exchanges(0, 503, 1);
    let look = world.look();
    assert_eq!(world.conditions(), [OUT, WELL]);
    assert_eq!(look.weighed[0].1.iter().map(|(_, one)| one.weight > 0).collect::<Vec<_>>(), [false, true]);
    // Whatever connections find, and what old ones still hear: it is out for five seconds, then tried once.
    world.result(0, RESULT_ESTABLISHED, 3);
    world.exchanges(0, 200, 3);
    assert_eq!(world.look_for(4), []);
    assert_eq!(world.look_for(2).len(), 1);
    assert_eq!(world.conditions()[0], Condition::OnTrial(Cause::Errors));
    assert_eq!(world.percents(), [0, 100]);
    assert_eq!(world.take_trial(), Some(address(0)));
    // That it was connected to says nothing of its answers.
    world.result(0, RESULT_ESTABLISHED, 1);
    world.look_for(1);
    assert_eq!(world.conditions()[0], Condition::OnTrial(Cause::Errors));
    world.exchanges(0, 503, 1);
    world.look();
    assert_eq!(world.conditions()[0], OUT);
    // Ten seconds, then no more than twelve.
    for seconds in [10, 12, 12] {
        world.look_for(seconds - 1);
        assert_eq!(world.take_trial(), None);
        world.look_for(2);
        assert_eq!(world.take_trial(), Some(address(0)));
        world.exchanges(0, 500, 1);
        world.look();
        assert_eq!(world.conditions(), [OUT, WELL]);
    }
    world.look_for(14);
    assert!(world.take_trial().is_some());
    world.exchanges(0, 200, 1);
    world.look();
    assert_eq!((world.conditions(), world.percents()), (vec![Condition::Returning, WELL], vec![11, 89]));
    world.look_for(4);
    assert_eq!(world.percents(), [33, 67]);
    world.look_for(5);
    assert_eq!((world.conditions(), world.percents()), (vec![WELL; 2], vec![50, 50]));
    let standing = world.standing();
    assert_eq!(
        (standing.endpoints[0].ejections[Cause::Errors as usize], standing.endpoints[0].n_trials),
        (5, 5)
    );
    assert_eq!(standing.n_panics, 0);
    // It has been well for long enough: the next ejection is as short as the first.
    world.look_for(30);
    world.exchanges(0, 503, 5);
    world.look();
    world.look_for(6);
    assert!(world.take_trial().is_some());
}

/// The last healthy one is not ejected; where it fails too, all are tried, and whoever does well comes back.
#[test]
fn the_last_one_stays() {
    let mut world = World::new(3, health());
    for n in 0..3 {
        world.exchanges(n, 503, 5);
        world.look();
    }
    assert_eq!(world.conditions(), [OUT, OUT, Condition::LastOne(Cause::Errors)]);
    assert_eq!(world.percents(), [33, 33, 33]);
    assert!(world.standing().is_panic);
    for n in 0..3 {
        world.exchanges(n, 503, 20);
    }
    world.look_for(20);
    assert_eq!((world.standing().n_panics, world.take_trial()), (1, None));
    world.exchanges(1, 200, 1);
    world.look();
    // The first one's time is over meanwhile.
    assert_eq!(world.conditions(), [Condition::OnTrial(Cause::Errors), Condition::Returning, OUT]);
    assert_eq!(world.percents(), [0, 100, 0]);
    assert!(!world.standing().is_panic);
}

/// Connections alone: refused ones, reset ones; nothing was read.
#[test]
fn what_is_not_read_is_judged_by_its_connections() {
    let mut world = World::new(2, health());
    world.result(0, RESULT_FAILED, 5);
    world.look();
    assert_eq!(world.conditions(), [Condition::Ejected(Cause::Connect), WELL]);
    world.look_for(6);
    assert!(world.take_trial().is_some());
    world.result(0, RESULT_ESTABLISHED, 1);
    world.look();
    assert_eq!(world.conditions()[0], Condition::Returning);
    world.look_for(10);
    // A connection that was made is none that lasted.
    for _ in 0..5 {
        world.result(0, RESULT_ESTABLISHED, 1);
        world.result(0, RESULT_RESET, 1);
        world.look();
    }
    assert_eq!(world.conditions(), [Condition::Ejected(Cause::Reset), WELL]);
    world.look_for(11);
    assert!(world.take_trial().is_some());
    world.result(0, RESULT_ESTABLISHED, 1);
    world.look();
    assert_eq!(world.conditions()[0], Condition::OnTrial(Cause::Reset));
    world.result(0, RESULT_ENDED, 1);
    world.look();
    assert_eq!(world.conditions()[0], Condition::Returning);
    // Of one that is read resets tell nothing: its idle connections may be reset by whoever is tired of them.
    world.exchanges(1, 200, 1);
    world.result(1, RESULT_RESET, 50);
    world.look_for(10);
    assert_eq!(world.conditions(), [WELL, WELL]);
}

/// Too often, though never in a row.
#[test]
fn shares_are_looked_at() {
    let mut world = World::new(2, health());
    for round in 0..3 {
        for _ in 0..3 {
            world.exchanges(0, 503, 2);
            world.exchanges(0, 200, 1);
        }
        world.look();
        let expected = if round < 2 { WELL } else { Condition::Ejected(Cause::Share) };
        assert_eq!(world.conditions()[0], expected, "{round}");
    }
    let mut patient = World::new(2, Health { share: FailureShare { percent: 101, volume: 1 }, ..health() });
    for _ in 0..50 {
        patient.exchanges(0, 503, 4);
        patient.exchanges(0, 200, 1);
        patient.look();
    }
    assert_eq!(patient.conditions(), [WELL, WELL]);
}

/// A probe brings back, once the time is over; and ejects by itself.
#[test]
fn probes_are_asked_and_heard() {
    let probe = Probe {
        ask: Ask::Http("/".to_owned()),
        port: Some(8080),
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        healthy: 2,
        unhealthy: 3,
    };
    let mut world = World::new(2, Health { probe: Some(probe), ..health() });
    let ask = |world: &mut World, good: [bool; 2]| {
        world.look_for(1);
        let questions = world.judge.questions(world.now);
        assert_eq!(world.judge.questions(world.now), [], "each is asked once");
        for question in &questions {
            assert_eq!(question.at.port(), 8080);
            let n = usize::from(question.endpoint == address(1));
            world.judge.answered("a", question.endpoint, good[n]);
        }
        questions.len()
    };
    world.exchanges(0, 503, 5);
    world.look();
    for _ in 0..4 {
        assert_eq!(ask(&mut world, [true, true]), 2);
        assert_eq!(world.conditions(), [OUT, WELL], "not before its time");
    }
    ask(&mut world, [true, true]);
    world.look_for(1);
    assert_eq!((world.conditions()[0], world.take_trial()), (Condition::Returning, None));
    for n in 0..4 {
        ask(&mut world, [true, false]);
        world.look();
        let is_out = world.conditions()[1] == Condition::Ejected(Cause::Probe);
        assert_eq!(is_out, n >= 2, "{n}");
    }
    // Both: nobody is left.
    for _ in 0..3 {
        ask(&mut world, [false, false]);
    }
    world.look();
    assert!(world.standing().is_panic);
    for _ in 0..2 {
        ask(&mut world, [false, true]);
    }
    world.look();
    assert_eq!(world.conditions(), [Condition::Ejected(Cause::Probe), Condition::Returning]);
    let stranger = ([1, 2, 3, 4], 5).into();
    world.judge.answered("a", stranger, true);
    world.judge.answered("b", address(0), true);
}

/// A reload keeps what is known of endpoints that stay; a new one starts slowly; what is gone is forgotten.
#[test]
fn a_reload_keeps_ejections() {
    let mut world = World::new(3, health());
    world.exchanges(0, 503, 5);
    world.look();
    world.look_for(6);
    assert_eq!(world.conditions()[0], Condition::OnTrial(Cause::Errors));
    // The slot is cleared with the reload: whoever was to be tried is to be tried again.
    world.judge = world.judge.under(&policy(4, health()), world.now);
    world.take_trial();
    assert_eq!(world.conditions(), [OUT, WELL, WELL, Condition::Returning]);
    assert_eq!(world.judge.weights("a").expect("judged")[&address(0)].weight, 0);
    world.sightings.watch(world.judge.watched());
    world.look();
    assert_eq!(world.take_trial(), Some(address(0)));
    world.judge = world.judge.under(&policy(1, health()), world.now);
    assert_eq!(world.judge.weights("a").expect("judged").len(), 1);
    world.look();
    assert!(world.standing().is_panic, "the only one that is left gets everything");
    assert_eq!(world.percents(), [100]);
    world.judge = world.judge.under(&Policy::default(), world.now);
    assert_eq!((world.judge.weights("a"), world.judge.standings(world.now)), (None, Vec::new()));
}

/// Nothing is looked at before the first use, and of what nobody uses any more.
#[test]
fn what_is_not_used_rests() {
    struct Idle(RefCell<u64>);
    impl Outside for Idle {
        fn served(&self, _: &str) -> [u64; 2] {
            [0, 0]
        }
        fn results(&self, _: &str, _: SocketAddr) -> Results {
            *self.0.borrow_mut() += 1;
            Results::default()
        }
        fn is_tried(&self, _: &str, _: bool) -> bool {
            true
        }
    }
    let mut judge = Judge::default().under(&policy(2, health()), Ktime(0));
    let idle = Idle(RefCell::default());
    for n in 1..100 {
        judge.look(Ktime(n * SECOND), &Sightings::default(), &idle, 0);
    }
    assert_eq!(*idle.0.borrow(), 2, "once each, for what was counted before");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever happens to endpoints: someone gets connections, never all are ejected while one is well, what is ejected gets
    /// none unless all are tried, and there is one trial at a time (`World::look` asserts it).
    #[test]
    fn someone_always_serves(
        n in 1_usize..6,
        panic_percent in 0_u8..=100,
        steps in prop::collection::vec((0_usize..6, 0_u8..6, 1_u64..12, any::<bool>(), 1_u64..40), 1..80),
    ) {
        let mut world = World::new(n, Health { panic_percent, ..health() });
        for (at, what, times, takes, looks) in steps {
            let at = at % n;
            match what {
                0 => world.exchanges(at, 503, times),
                1 => world.exchanges(at, 200, times),
                2 => world.result(at, RESULT_FAILED, times),
                3 => world.result(at, RESULT_ESTABLISHED, times),
                4 => world.result(at, RESULT_RESET, times),
                _ => world.result(at, RESULT_ENDED, times),
            }
            for _ in 0..looks {
                if takes {
                    world.take_trial();
                }
                world.look();
                let standing = world.standing();
                let total: u64 = standing.endpoints.iter().map(|one| u64::from(one.weight)).sum();
                prop_assert!(total > 0, "nobody serves: {standing:?}");
                prop_assert!(total <= (1 << 20) + n as u64);
                let serves = |one: &Standing| {
                    matches!(one.condition, Condition::Healthy | Condition::Returning | Condition::LastOne(_))
                };
                prop_assert!(standing.endpoints.iter().any(serves), "all are ejected: {standing:?}");
                for one in &standing.endpoints {
                    prop_assert!(standing.is_panic || serves(one) == (one.weight > 0), "{standing:?}");
                }
            }
        }
    }
}
