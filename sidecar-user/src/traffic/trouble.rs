//! What goes wrong again and again is told when it begins, and when it is over.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::time::sleep;
use tracing::info;

/// Without another failure for so long it is over: what comes and goes is one trouble.
const QUIET: Duration = Duration::from_secs(10);

/// Between two looks whether one is over.
const LOOK: Duration = Duration::from_secs(1);

/// What the kernel did not take of what is told of besides the settings.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    /// Endpoints of sources.
    pub(super) sources: Trouble,
    /// Services that are used for the first time.
    services: BTreeMap<String, Trouble>,
    /// Addresses of names.
    pub(super) names: Trouble,
    /// What paths of executables stand for.
    pub(super) executables: Trouble,
    /// What endpoints weigh, and who is tried.
    pub(super) weights: Trouble,
    /// Signs of life.
    pub(super) beats: Trouble,
    /// Addresses of this network namespace.
    pub(super) own: Trouble,
}

impl Troubles {
    /// That of a service which is to begin.
    pub(super) fn service(&mut self, name: &str) -> &mut Trouble {
        self.services.entry(name.to_owned()).or_default()
    }

    /// Says which are over.
    pub(super) fn tell(&mut self, now: Instant) {
        let Troubles { sources, services, names, executables, weights, beats, own } = self;
        for (service, trouble) in services.iter_mut() {
            if let Some(failures) = trouble.over(now) {
                info!(failures, service, "the kernel has refused nothing for a while");
            }
        }
        services.retain(|_, trouble| trouble.n > 0);
        for (trouble, of) in [
            (sources, "endpoints of sources"),
            (names, "addresses of names"),
            (executables, "executable files"),
            (weights, "weights of endpoints"),
            (beats, "signs of life"),
            (own, "addresses of the host"),
        ] {
            if let Some(failures) = trouble.over(now) {
                info!(failures, of, "the kernel has refused nothing for a while");
            }
        }
    }
}

/// One kind of failure.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    /// How often since it began.
    n: u64,
    last: Option<Instant>,
}

impl Trouble {
    /// It failed; whether this is the beginning.
    pub(super) fn failed(&mut self, now: Instant) -> bool {
        self.n += 1;
        self.last = Some(now);
        self.n == 1
    }

    /// How often it failed, once it is over: told once.
    pub(super) fn over(&mut self, now: Instant) -> Option<u64> {
        if self.failed_within(QUIET, now) {
            return None;
        }
        let n = std::mem::take(&mut self.n);
        (n > 0).then_some(n)
    }

    /// Whether it failed so shortly before.
    pub(super) fn failed_within(&self, time: Duration, now: Instant) -> bool {
        self.last.is_some_and(|last| now.saturating_duration_since(last) < time)
    }
}

/// How often it failed, once it is over.
pub(super) async fn end_of(trouble: Rc<RefCell<Trouble>>) -> u64 {
    loop {
        sleep(LOOK).await;
        if let Some(failures) = trouble.borrow_mut().over(Instant::now()) {
            return failures;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_and_goes_is_one_trouble() {
        let (mut trouble, start) = (Trouble::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(trouble.over(at(0)), None);
        assert!(trouble.failed(at(0)));
        assert_eq!(trouble.over(at(9)), None);
        assert!(!trouble.failed(at(9)));
        assert!(!trouble.failed(at(12)));
        assert!(trouble.failed_within(Duration::from_secs(2), at(13)));
        assert!(!trouble.failed_within(Duration::from_secs(2), at(14)));
        assert_eq!(trouble.over(at(21)), None);
        assert_eq!(trouble.over(at(22)), Some(3));
        assert_eq!(trouble.over(at(40)), None);
        assert!(trouble.failed(at(41)));
        assert_eq!(trouble.over(at(60)), Some(1));
    }
}
