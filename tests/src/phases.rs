//! A load that goes on while daemons come and are killed. It is in phases, and what it begins in one bears the phase's
//! name: so that what was begun since a daemon was ready is known by name, though nobody waited.

use std::{collections::BTreeMap, fs, path::Path, process::Command, thread::sleep, time::Duration};

use rustix::process::Signal;

use crate::{
    cgroup::{self, Cgroup},
    eventually,
    process::{self, Process},
    scrape::Scrape,
    sidecar::Sidecar,
};

/// How often, by what a protocol has for a name; by nothing where the name is not known any more.
pub type Counts = BTreeMap<String, u64>;

/// What was begun since the first daemon was ready, and before the load went on to something else.
pub const FIRST: &str = "first";
/// What was begun since the second daemon was ready.
pub const SECOND: &str = "second";
/// What was begun when each connection had been seen for a while.
pub const THIRD: &str = "third";

const ROLES: [&str; 2] = ["server", "client"];

/// A client and its server in one cgroup.
#[expect(missing_debug_implementations, reason = "it has closures")]
pub struct Load<'a> {
    /// Of both.
    pub cgroup: &'a Cgroup,
    /// Where the client finds `phase`, and writes `PHASE.enough` and `ended`: see `tests/support/phases.py`.
    pub dir: &'a Path,
    /// What runs the client.
    pub client: Vec<String>,
    /// More words for the daemons.
    pub settings: &'a [&'a str],
    /// Of what was begun in the first two phases some may be counted as unresolved instead: answers have nothing but their order.
    pub may_be_unresolved: bool,
    /// What the server says it did in a phase.
    pub account: &'a dyn Fn(&str) -> Counts,
    /// What a daemon says of a role and a phase.
    pub told: &'a dyn Fn(&Sidecar, &str, &str) -> Counts,
}

impl Load<'_> {
    /// Lets a daemon come to it, kills it, and lets another come. What each of them tells of what was begun since it was
    /// ready is what the server tells: both ends' exchanges, each once. Gives what the second said at last.
    pub fn observe(&self) -> Scrape {
        self.go("before");
        let words = [self.cgroup.wrapper(), self.client.clone()].concat();
        let output = self.dir.join("load.out");
        let mut client = Process::start(Command::new(&words[0]).args(&words[1..]), &output);
        self.await_file(&mut client, "before.enough");

        let mut first = self.daemon();
        for phase in [FIRST, "meanwhile"] {
            self.go(phase);
            self.await_file(&mut client, &format!("{phase}.enough"));
        }
        self.settle(&first, FIRST);
        self.compare(&first, FIRST);
        no_loss(&first.scrape());
        assert!(!cgroup::attached(self.cgroup.path()).is_empty());
        first.signal(Signal::KILL);
        first.wait();
        // The kernel lets go of links when it gets to it.
        eventually("nothing to be attached", || {
            cgroup::attached(self.cgroup.path()).is_empty().then_some(())
        });
        self.go("between");
        self.await_file(&mut client, "between.enough");

        let second = self.daemon();
        for phase in [SECOND, THIRD] {
            self.go(phase);
            self.await_file(&mut client, &format!("{phase}.enough"));
        }
        self.go("end");
        self.await_file(&mut client, "ended");
        let scrape = second.scrape_at_rest();
        no_loss(&scrape);
        for role in ROLES {
            let mut of_first = (self.told)(&second, role, FIRST);
            of_first.remove("");
            assert_eq!(total(&of_first), 0, "{role}: it was not there: {of_first:?}");
        }
        self.compare(&second, SECOND);
        self.compare(&second, THIRD);
        assert_eq!(scrape.bytes("unclassified"), 0);
        scrape
    }

    fn daemon(&self) -> Sidecar {
        let path = self.cgroup.path().display().to_string();
        // Room for both ends of the load: what a crowded ring leaves out is another test's.
        let args = ["--cgroup", &path, "--set", "capture.ring_bytes=33554432"];
        let sidecar = Sidecar::run(self.dir, &[&args, self.settings].concat(), &[]);
        sidecar.await_ready();
        sidecar
    }

    fn go(&self, phase: &str) {
        let new = self.dir.join("phase.new");
        fs::write(&new, phase).expect("write the phase");
        fs::rename(new, self.dir.join("phase")).expect("put it in place");
    }

    fn await_file(&self, client: &mut Process, name: &str) {
        eventually(name, || {
            assert!(client.is_running(), "{}", process::read(&self.dir.join("load.out")));
            self.dir.join(name).exists().then_some(())
        });
    }

    /// Until a moment after the daemon has told of all of a phase that is over, while the load goes on.
    fn settle(&self, sidecar: &Sidecar, phase: &str) {
        let account = total(&(self.account)(phase));
        let is_told = || ROLES.iter().all(|role| total(&(self.told)(sidecar, role, phase)) >= account);
        // What is still missing after a second the comparison shows.
        for _ in 0..50 {
            if is_told() {
                break;
            }
            sleep(Duration::from_millis(20));
        }
        sleep(Duration::from_millis(100));
    }

    fn compare(&self, sidecar: &Sidecar, phase: &str) {
        let account = (self.account)(phase);
        let told = ROLES.map(|role| (self.told)(sidecar, role, phase));
        let reason = [("sidecar_reason", "unresolved")];
        let unresolved = sidecar.scrape().count("sidecar_parser_oddities_total", &reason);
        if !self.may_be_unresolved || phase == THIRD {
            let both = [account.clone(), account];
            assert_eq!(told, both, "{phase}, by server and client; {unresolved} are unresolved");
            return;
        }
        let is_more = |(name, n): (&String, &u64)| account.get(name).is_none_or(|all| n > all);
        assert!(!told.iter().flatten().any(is_more), "{phase}: {told:?} of {account:?}");
        let missing = 2 * total(&account) - told.iter().map(total).sum::<u64>();
        assert!(missing <= unresolved, "{phase}: {missing} are missing, {unresolved} are unresolved");
    }
}

fn no_loss(scrape: &Scrape) {
    assert_eq!((scrape.drops(), scrape.bytes("lost")), (BTreeMap::new(), 0));
    assert_eq!(scrape.count("sidecar_capture_shed_bytes_total", &[]), 0);
}

fn total(counts: &Counts) -> u64 {
    counts.values().sum()
}

/// What parsers of this daemon found odd, by reason: answers to what it never saw are at most so many, as the load had on
/// its way, and are left out.
#[must_use]
pub fn odd(scrape: &Scrape, orphans_max: u64) -> Counts {
    let odd = scrape.all("sidecar_parser_oddities_total").filter(|(_, n)| *n > 0.0);
    let mut odd: Counts = odd.map(|(labels, n)| (labels["sidecar_reason"].clone(), n as u64)).collect();
    let orphans = odd.remove("orphan_response").unwrap_or_default();
    assert!(orphans <= orphans_max, "{orphans} of {orphans_max}");
    odd
}
