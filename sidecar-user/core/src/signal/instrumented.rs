//! Applications that trace themselves, told by the exports that they send in plaintext by OTLP/HTTP. What goes to a
//! collector by TLS or gRPC is not seen, and not guessed at.

use rustc_hash::FxHashMap;

use super::{catalogue, store::Store};
use crate::model::{Connection, Exchange, Ktime, Role, Telemetry};

/// Applications that are remembered. Beyond it, the one that has not exported for longest is forgotten.
const APPS: usize = 1024;
/// An application that has not exported for so long is forgotten, ns: process ids are used again.
const MEMORY_NS: u64 = 60 * 60 * 1_000_000_000;

/// What counts as one application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// A process, and those that it was told to belong to ([`Instrumented::add_kin`]): where their ids can be looked up.
    Process,
    /// All of a cgroup: a container.
    Cgroup,
}

/// One application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum App {
    /// By thread group id in the initial PID namespace.
    Process(u32),
    /// By cgroup v2 id.
    Cgroup(u64),
}

/// Those that are known.
#[derive(Debug)]
pub struct Instrumented {
    scope: Scope,
    apps: FxHashMap<App, Known>,
}

#[derive(Clone, Debug, Default)]
struct Known {
    /// By [`Telemetry`]: it had an export accepted.
    exports: [bool; Telemetry::ALL.len()],
    /// It also takes what others export: it hands on their telemetry, and what it sends is no account of itself.
    is_relay: bool,
    /// It exports nothing itself; its child does.
    is_kin: bool,
    /// Those that are traced with it.
    kin: Vec<App>,
    last: Ktime,
}

impl Known {
    fn is_traced(&self) -> bool {
        self.exports[Telemetry::Traces as usize] && !self.is_relay
    }
}

impl Instrumented {
    /// Nobody is known yet.
    #[must_use]
    pub fn new(scope: Scope) -> Self {
        Instrumented { scope, apps: FxHashMap::default() }
    }

    /// Takes note of an exchange; the application, if this shows for the first time that it traces itself.
    pub fn note(&mut self, connection: &Connection, exchange: &Exchange) -> Option<App> {
        let http = exchange.http()?;
        let telemetry = http.exports?;
        let app = self.app(connection)?;
        let is_accepted = http.status.is_some_and(|status| (200..300).contains(&status));
        match connection.role? {
            Role::Server => {
                self.known(app, exchange.ended).is_relay = true;
                None
            }
            Role::Client if is_accepted => {
                let known = self.known(app, exchange.ended);
                let was_traced = known.is_traced();
                known.exports[telemetry as usize] = true;
                let news = (known.is_traced() && !was_traced).then_some(app);
                // Exports are few.
                for kin in known.kin.clone() {
                    self.known(kin, exchange.ended);
                }
                if news.is_some() && connection.cgroup != 0 {
                    // For sockets whose process is not known: they are older than the start.
                    self.add_kin(app, &[App::Cgroup(connection.cgroup)]);
                }
                news
            }
            Role::Client => None,
        }
    }

    /// `kin` started `app`, and may hold the sockets that `app` serves.
    pub fn add_kin(&mut self, app: App, kin: &[App]) {
        let kin = kin.iter().filter(|one| **one != app);
        let Some(known) = self.apps.get_mut(&app) else { return };
        let (exports, last) = (known.exports, known.last);
        known.kin.extend(kin.clone());
        for one in kin {
            let known = self.known(*one, last);
            known.is_kin |= !known.is_traced();
            known.exports = exports;
        }
    }

    /// Whether the application behind a connection traces itself.
    #[must_use]
    pub fn is_traced(&self, connection: &Connection, at: Ktime) -> bool {
        // Most of the time nobody is known at all.
        let known = || self.apps.get(&self.app(connection)?);
        !self.apps.is_empty() && known().is_some_and(|known| known.is_traced() && !is_over(known, at))
    }

    /// Brings how many there are into the store.
    pub fn record(&self, store: &mut Store) {
        for telemetry in Telemetry::ALL {
            let exports =
                |known: &&Known| !known.is_kin && !known.is_relay && known.exports[telemetry as usize];
            let n = self.apps.values().filter(exports).count() as u64;
            store.set(&catalogue::APP_OTLP, &[telemetry.as_str()], n);
        }
    }

    fn app(&self, connection: &Connection) -> Option<App> {
        match self.scope {
            Scope::Process if connection.tgid != 0 => Some(App::Process(connection.tgid)),
            _ if connection.cgroup != 0 => Some(App::Cgroup(connection.cgroup)),
            _ => None,
        }
    }

    fn known(&mut self, app: App, at: Ktime) -> &mut Known {
        if !self.apps.contains_key(&app) && self.apps.len() >= APPS {
            self.apps.retain(|_, known| !is_over(known, at));
            let oldest = self.apps.iter().min_by_key(|(_, known)| known.last).map(|(app, _)| *app);
            if let Some(oldest) = oldest.filter(|_| self.apps.len() >= APPS) {
                self.apps.remove(&oldest);
            }
        }
        let known = self.apps.entry(app).or_default();
        if is_over(known, at) {
            *known = Known::default();
        }
        known.last = at;
        known
    }
}

fn is_over(known: &Known, at: Ktime) -> bool {
    at.0.saturating_sub(known.last.0) > MEMORY_NS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Detail, Method, Outcome};
    use crate::signal::PointValue;
    use crate::signal::tests::{connection, exchange};

    const SECOND: u64 = 1_000_000_000;

    fn at(tgid: u32, cgroup: u64, role: Role) -> Connection {
        Connection { tgid, cgroup, ..connection(Some(role)) }
    }

    fn export(telemetry: Telemetry, status: u16, ended: u64) -> Exchange {
        let mut made = exchange(Method::Post, Some(status), Outcome::Complete);
        made.ended = Ktime(ended);
        let Detail::Http(http) = &mut made.detail else { panic!("HTTP") };
        http.exports = Some(telemetry);
        made
    }

    #[test]
    fn an_accepted_export_of_traces_shows_it_once() {
        for (scope, app) in [(Scope::Process, App::Process(7)), (Scope::Cgroup, App::Cgroup(3))] {
            let mut known = Instrumented::new(scope);
            let own = at(7, 3, Role::Client);
            assert_eq!(known.note(&own, &export(Telemetry::Traces, 503, 1)), None);
            assert_eq!(known.note(&own, &export(Telemetry::Metrics, 200, 1)), None);
            assert_eq!(known.note(&own, &exchange(Method::Post, Some(200), Outcome::Complete)), None);
            assert!(!known.is_traced(&own, Ktime(1)));
            assert_eq!(known.note(&own, &export(Telemetry::Traces, 202, 1)), Some(app));
            assert_eq!(known.note(&own, &export(Telemetry::Traces, 200, 2)), None);
            assert!(known.is_traced(&at(7, 3, Role::Server), Ktime(2)));
            // Another process of the same container, and one of another.
            assert_eq!(known.is_traced(&at(8, 3, Role::Server), Ktime(2)), scope == Scope::Cgroup);
            assert!(!known.is_traced(&at(8, 4, Role::Server), Ktime(2)));
            // Its process is not known: it may be the one.
            assert!(known.is_traced(&at(0, 3, Role::Server), Ktime(2)));
        }
        let mut nobody = Instrumented::new(Scope::Process);
        assert_eq!(nobody.note(&at(0, 0, Role::Client), &export(Telemetry::Traces, 200, 1)), None);
        // Without a process, its cgroup will do.
        let app = nobody.note(&at(0, 3, Role::Client), &export(Telemetry::Traces, 200, 1));
        assert_eq!(app, Some(App::Cgroup(3)));
    }

    #[test]
    fn who_started_it_is_traced_with_it() {
        let mut known = Instrumented::new(Scope::Process);
        let app = known.note(&at(7, 3, Role::Client), &export(Telemetry::Traces, 200, 1)).expect("news");
        known.add_kin(app, &[App::Process(5)]);
        assert!(known.is_traced(&at(5, 3, Role::Server), Ktime(1)));
        assert!(!known.is_traced(&at(6, 3, Role::Server), Ktime(1)));
        // As long as the child goes on.
        let later = 3000 * SECOND;
        let _ = known.note(&at(7, 3, Role::Client), &export(Telemetry::Traces, 200, later));
        assert!(known.is_traced(&at(5, 3, Role::Server), Ktime(2 * later)));
        let mut store = Store::new(crate::signal::Options::default());
        known.record(&mut store);
        let points = crate::signal::tests::points(&mut store, &catalogue::APP_OTLP);
        let n = |signal: &str| points.iter().find(|(told, _)| told.ends_with(signal)).map(|(_, n)| n.clone());
        assert_eq!(n("=traces"), Some(PointValue::U64(1)), "kin is not counted");
        assert_eq!(n("=metrics"), Some(PointValue::U64(0)));
    }

    #[test]
    fn a_relay_is_not_traced_by_what_it_hands_on() {
        let mut known = Instrumented::new(Scope::Process);
        let relay = |role| at(7, 3, role);
        assert!(known.note(&relay(Role::Client), &export(Telemetry::Traces, 200, 1)).is_some());
        assert_eq!(known.note(&relay(Role::Server), &export(Telemetry::Traces, 200, 2)), None);
        assert_eq!(known.note(&relay(Role::Client), &export(Telemetry::Traces, 200, 3)), None);
        assert!(!known.is_traced(&relay(Role::Server), Ktime(3)));
    }

    #[test]
    fn silence_is_forgotten_and_there_is_a_bound() {
        let mut known = Instrumented::new(Scope::Process);
        let own = at(1, 3, Role::Client);
        let _ = known.note(&own, &export(Telemetry::Traces, 200, SECOND));
        // Any export keeps it known.
        let _ = known.note(&own, &export(Telemetry::Metrics, 200, 1800 * SECOND));
        assert!(known.is_traced(&own, Ktime(5400 * SECOND)));
        assert!(!known.is_traced(&own, Ktime(5401 * SECOND)));
        for tgid in 2..2000 {
            let export = export(Telemetry::Traces, 200, 5000 * SECOND + u64::from(tgid));
            assert!(known.note(&at(tgid, 3, Role::Client), &export).is_some());
        }
        assert_eq!(known.apps.len(), APPS);
        assert!(known.is_traced(&at(1999, 3, Role::Client), Ktime(5000 * SECOND)));
        assert!(!known.is_traced(&at(2, 3, Role::Client), Ktime(5000 * SECOND)));
    }
}
