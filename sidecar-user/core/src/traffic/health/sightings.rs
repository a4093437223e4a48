//! What was seen of endpoints by whoever reads connections: added up by address, until the judge looks.
//!
//! Addresses that nobody asked for are not kept, so that it has as many entries as there are endpoints.

use std::{net::SocketAddr, time::Duration};

use rustc_hash::FxHashMap;

use crate::model::{Connection, Cut, Detail, Exchange, Ktime, Outcome, Role, Side, health::Cause};

/// Samples of about so long are averaged (`1/e` of the weight is left to those before): one that waited for a processor does not tell
/// a server that is asked often from its neighbours, and one that is asked seldom is as it was last.
const WINDOW: Duration = Duration::from_secs(1);
/// For so long an average is remembered to which nothing is added.
const DECAY: Duration = Duration::from_secs(10);

/// What was seen of all endpoints.
#[derive(Clone, Debug, Default)]
pub struct Sightings(FxHashMap<SocketAddr, Sighting>);

/// What was seen of one, since it was first asked for. Counts only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sighting {
    /// Exchanges that went well.
    pub ok: u64,
    /// Those that the server failed.
    pub failed: u64,
    /// Of these, those since the last that went well.
    pub run: u64,
    /// How the last of these failed.
    pub cause: Option<Cause>,
    /// Connections that the relay made.
    pub reached: u64,
    /// Those that it could not make.
    pub unreached: u64,
    /// Until an answer begins, from the request's end.
    pub latency: Ewma,
    /// Until a connection is established.
    pub connect: Ewma,
    /// Which answers come too late: the least that any service says.
    slow: Option<Duration>,
}

impl Sightings {
    /// Keeps these, each with what is too slow of it, and forgets all others.
    pub fn watch(&mut self, endpoints: impl IntoIterator<Item = (SocketAddr, Option<Duration>)>) {
        let mut old = std::mem::take(&mut self.0);
        for (address, slow) in endpoints {
            let entry = self
                .0
                .entry(address)
                .or_insert_with(|| Sighting { slow: None, ..old.remove(&address).unwrap_or_default() });
            entry.slow = entry.slow.into_iter().chain(slow).min();
        }
    }

    /// What was seen of an endpoint.
    #[must_use]
    pub fn of(&self, address: SocketAddr) -> Sighting {
        self.0.get(&address).copied().unwrap_or_default()
    }

    /// An exchange is over. Only those of clients tell of a server: of the one that the relay took, where there is one between.
    pub fn exchange(&mut self, connection: &Connection, exchange: &Exchange) {
        let Some(entry) = self.entry(connection) else { return };
        let Some(judged) = judge(exchange, entry.slow) else { return };
        if let (Some(requested), Some(answered)) = (exchange.requested, exchange.answered) {
            entry.latency.add(exchange.ended, answered.since(requested));
        }
        match judged {
            Ok(()) => {
                entry.ok += 1;
                entry.run = 0;
            }
            Err(cause) => {
                entry.failed += 1;
                entry.run += 1;
                entry.cause = Some(cause);
            }
        }
    }

    /// A connection was established, so long after the first SYN. One to the relay says nothing of who is behind it.
    pub fn opened(&mut self, at: Ktime, connection: &Connection, took: Duration) {
        let is_direct = connection.peer() == connection.remote;
        if let Some(entry) = self.entry(connection).filter(|_| is_direct) {
            entry.connect.add(at, took);
        }
    }

    /// The relay reached an endpoint after so long, or did not.
    pub fn relayed(&mut self, at: Ktime, address: SocketAddr, reached: Option<Duration>) {
        let Some(entry) = self.0.get_mut(&address) else { return };
        match reached {
            Some(took) => {
                entry.reached += 1;
                entry.connect.add(at, took);
            }
            None => entry.unreached += 1,
        }
    }

    fn entry(&mut self, connection: &Connection) -> Option<&mut Sighting> {
        (connection.role == Some(Role::Client)).then(|| self.0.get_mut(&connection.peer()))?
    }
}

/// Whether the server did well; `None`: it is not to blame, and not to praise either.
fn judge(exchange: &Exchange, slow: Option<Duration>) -> Option<Result<(), Cause>> {
    let waited = |asked: Ktime| exchange.answered.unwrap_or(exchange.ended).since(asked);
    let is_slow = slow.zip(exchange.requested.map(waited)).is_some_and(|(slow, waited)| waited > slow);
    let is_error = match &exchange.detail {
        Detail::Http(http) => http.status.is_some_and(|status| (500..600).contains(&status)),
        Detail::Rpc(rpc) => rpc.is_server_error(),
        // What a database, a resolver or a handshake refuses as a rule is the asker's fault.
        Detail::Db(_) | Detail::Dns(_) | Detail::Tls(_) | Detail::WebSocket(_) => false,
    };
    match exchange.outcome {
        Outcome::Complete if is_error => Some(Err(Cause::Errors)),
        Outcome::Complete if is_slow => Some(Err(Cause::Slow)),
        Outcome::Complete => Some(Ok(())),
        Outcome::Truncated(cut) | Outcome::Unanswered(cut) => match cut {
            Cut::Closed(Some(Side::Server))
            | Cut::Reset(Side::Server)
            | Cut::Stream(Side::Server)
            | Cut::Expired => Some(Err(Cause::CutOff)),
            // The client gave up: of its own accord, unless it had waited too long.
            Cut::Closed(_) | Cut::Reset(Side::Client) | Cut::Stream(Side::Client) => {
                is_slow.then_some(Err(Cause::Slow))
            }
        },
        // Of half a request nobody knows who gave up first.
        Outcome::NotObserved | Outcome::Aborted(_) => None,
    }
}

/// An average by time, which fades where there is no news.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ewma {
    at: Ktime,
    ns: f64,
}

impl Ewma {
    fn add(&mut self, at: Ktime, sample: Duration) {
        let sample = sample.as_nanos() as f64;
        let left = if self.at > Ktime(0) { self.left(at, WINDOW) } else { 0.0 };
        self.ns = self.ns * left + sample * (1.0 - left);
        self.at = self.at.max(at);
    }

    /// What is left of it at this time: without news it fades, so that an endpoint is tried again. `None`: nothing was seen.
    #[must_use]
    pub fn at(&self, now: Ktime) -> Option<Duration> {
        (self.at > Ktime(0)).then(|| Duration::from_nanos((self.ns * self.left(now, DECAY)) as u64))
    }

    /// As it was after the last sample.
    #[must_use]
    pub fn last(&self) -> Option<Duration> {
        self.at(self.at)
    }

    fn left(&self, now: Ktime, pace: Duration) -> f64 {
        (-now.since(self.at).as_secs_f64() / pace.as_secs_f64()).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::model::{ConnectionId, Http, HttpVersion, Method, Reason, Rpc, RpcSystem, Steered, Verdict};

    fn connection(role: Role) -> Connection {
        Connection {
            id: ConnectionId(1),
            role: Some(role),
            local: ([10, 0, 0, 1], 5000).into(),
            remote: ([10, 0, 0, 2], 80).into(),
            tgid: 0,
            cgroup: 0,
            joined: false,
            steered: None,
        }
    }

    fn exchange(outcome: Outcome, status: Option<u16>, ms: u64) -> Exchange {
        let at = |ms: u64| Ktime(1_000_000_000 + ms * 1_000_000);
        Exchange {
            started: at(0),
            requested: (!matches!(outcome, Outcome::Aborted(_))).then_some(at(0)),
            read: None,
            answered: status.map(|_| at(ms)),
            ended: at(ms),
            outcome,
            is_excluded: false,
            lost: 0,
            trace: None,
            detail: Detail::Http(Http {
                method: Some(Method::Get),
                method_original: None,
                version: HttpVersion::Http11,
                status,
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
        }
    }

    #[test]
    fn only_the_server_is_blamed() {
        let slow = Some(Duration::from_millis(500));
        let (closed, reset) = (Cut::Closed, Cut::Reset);
        for (outcome, status, ms, expected) in [
            (Outcome::Complete, Some(200), 1, Some(Ok(()))),
            (Outcome::Complete, Some(404), 1, Some(Ok(()))),
            (Outcome::Complete, Some(429), 1, Some(Ok(()))),
            (Outcome::Complete, Some(500), 1, Some(Err(Cause::Errors))),
            (Outcome::Complete, Some(503), 900, Some(Err(Cause::Errors))),
            (Outcome::Complete, Some(200), 501, Some(Err(Cause::Slow))),
            (Outcome::Truncated(reset(Side::Server)), Some(200), 1, Some(Err(Cause::CutOff))),
            (Outcome::Unanswered(closed(Some(Side::Server))), None, 1, Some(Err(Cause::CutOff))),
            (Outcome::Unanswered(Cut::Expired), None, 1, Some(Err(Cause::CutOff))),
            (Outcome::Unanswered(closed(Some(Side::Client))), None, 1, None),
            (Outcome::Truncated(reset(Side::Client)), Some(200), 1, None),
            (Outcome::Unanswered(closed(None)), None, 1, None),
            (Outcome::Unanswered(reset(Side::Client)), None, 501, Some(Err(Cause::Slow))),
            (Outcome::NotObserved, None, 501, None),
            (Outcome::Aborted(reset(Side::Server)), None, 501, None),
        ] {
            assert_eq!(judge(&exchange(outcome, status, ms), slow), expected, "{outcome:?} {status:?} {ms}");
        }
    }

    #[test]
    fn calls_are_judged_by_their_own_status() {
        let slow = Some(Duration::from_millis(500));
        let client = Cut::Stream(Side::Client);
        for (outcome, status, ms, expected) in [
            (Outcome::Complete, Some(0), 1, Some(Ok(()))),
            (Outcome::Complete, Some(5), 1, Some(Ok(()))),
            (Outcome::Complete, Some(16), 1, Some(Ok(()))),
            (Outcome::Complete, Some(14), 1, Some(Err(Cause::Errors))),
            (Outcome::Complete, Some(4), 1, Some(Err(Cause::Errors))),
            (Outcome::Complete, Some(0), 501, Some(Err(Cause::Slow))),
            (Outcome::Unanswered(client), None, 1, None),
            (Outcome::Unanswered(client), None, 501, Some(Err(Cause::Slow))),
            (Outcome::Unanswered(Cut::Stream(Side::Server)), None, 1, Some(Err(Cause::CutOff))),
        ] {
            let mut call = exchange(outcome, Some(200), ms);
            let Detail::Http(http) = call.detail else { panic!("HTTP") };
            call.answered = status.and(call.answered);
            call.detail = Detail::Rpc(Box::new(Rpc {
                system: RpcSystem::Grpc,
                http,
                status,
                messages: [Some(1); 2],
                timeout: None,
                reset: None,
            }));
            assert_eq!(judge(&call, slow), expected, "{outcome:?} {status:?} {ms}");
        }
    }

    #[test]
    fn what_nobody_asked_for_is_not_kept() {
        let mut sightings = Sightings::default();
        let address = connection(Role::Client).remote;
        let ok = exchange(Outcome::Complete, Some(200), 3);
        sightings.exchange(&connection(Role::Client), &ok);
        assert_eq!(sightings.of(address), Sighting::default());
        sightings.watch([(address, None), (address, Some(Duration::from_secs(1)))]);
        let bad = exchange(Outcome::Complete, Some(503), 3);
        for exchange in [&ok, &bad, &bad] {
            sightings.exchange(&connection(Role::Client), exchange);
            // The application's own answers say nothing of the endpoint, wherever they go.
            sightings.exchange(&connection(Role::Server), exchange);
        }
        sightings.opened(Ktime(1), &connection(Role::Client), Duration::from_millis(2));
        let seen = sightings.of(address);
        assert_eq!((seen.ok, seen.failed, seen.run, seen.cause), (1, 2, 2, Some(Cause::Errors)));
        assert_eq!(seen.latency.last(), Some(Duration::from_millis(3)));
        assert_eq!(seen.connect.last(), Some(Duration::from_millis(2)));
        sightings.exchange(&connection(Role::Client), &ok);
        assert_eq!(sightings.of(address).run, 0);
        // Who stays keeps what was seen.
        sightings.watch([(address, None)]);
        assert_eq!((sightings.of(address).failed, sightings.of(address).slow), (2, None));
        sightings.watch([]);
        assert_eq!(sightings.of(address), Sighting::default());
    }

    /// What the application hears through the relay is laid to the endpoint; what it took to reach the relay is not.
    #[test]
    fn the_one_behind_the_relay_is_judged() {
        let endpoint = "10.0.1.1:8080".parse().expect("an address");
        let mut proxied = connection(Role::Client);
        proxied.steered = Some(Arc::new(Steered {
            verdict: Verdict::Proxied,
            reason: Reason::Gear,
            service: None,
            asked: proxied.remote,
            host: None,
            endpoint: Some(endpoint),
        }));
        proxied.remote = ([127, 0, 0, 1], 9000).into();
        let mut sightings = Sightings::default();
        sightings.watch([(endpoint, None), (proxied.remote, None)]);
        sightings.exchange(&proxied, &exchange(Outcome::Complete, Some(503), 3));
        sightings.opened(Ktime(1), &proxied, Duration::from_millis(2));
        let seen = sightings.of(endpoint);
        assert_eq!((seen.failed, seen.connect.last()), (1, None));
        assert_eq!(sightings.of(proxied.remote), Sighting::default());
        sightings.relayed(Ktime(2), endpoint, Some(Duration::from_millis(5)));
        sightings.relayed(Ktime(3), endpoint, None);
        let seen = sightings.of(endpoint);
        assert_eq!((seen.reached, seen.unreached), (1, 1));
        assert_eq!(seen.connect.last(), Some(Duration::from_millis(5)));
    }

    /// Milliseconds after so many samples, one each so many milliseconds from second 1 on.
    fn averaged(ewma: &mut Ewma, begun: u64, (n, every): (u64, u64), sample: u64) -> u64 {
        for number in 1..=n {
            ewma.add(Ktime((begun + number * every) * 1_000_000), Duration::from_millis(sample));
        }
        ewma.last().expect("seen").as_millis() as u64
    }

    #[test]
    fn what_is_often_asked_is_judged_by_many_answers() {
        let mut ewma = Ewma::default();
        assert_eq!(ewma.at(Ktime(1)), None);
        assert_eq!(averaged(&mut ewma, 1000, (250, 4), 1), 1);
        // A turn of the scheduler's for eight of 250 a second.
        assert_eq!(averaged(&mut ewma, 2000, (8, 4), 30), 1);
        // Slow from then on.
        assert!((15..25).contains(&averaged(&mut ewma, 2032, (25, 4), 200)));
        assert!((120..140).contains(&averaged(&mut ewma, 2132, (250, 4), 200)));
        // And not any more.
        assert!(averaged(&mut ewma, 3132, (1500, 4), 1) <= 2);
    }

    #[test]
    fn what_is_seldom_asked_is_as_it_was_last_and_fades() {
        let mut ewma = Ewma::default();
        assert_eq!(averaged(&mut ewma, 1000, (1, 1), 2), 2);
        assert!(averaged(&mut ewma, 1000, (1, 5000), 800) > 790);
        assert!(averaged(&mut ewma, 6000, (1, 5000), 2) < 10);
        assert!(averaged(&mut ewma, 11_000, (1, 5000), 800) > 790);
        let later = ewma.at(Ktime(26_000_000_000)).expect("seen");
        let ms = Duration::from_millis;
        assert!((ms(280)..ms(300)).contains(&later), "{later:?}");
    }
}
