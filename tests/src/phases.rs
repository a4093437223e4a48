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

/// Room for both ends of the load.
const RING: &str = "capture.ring_bytes=33554432";
/// The smallest that there is.
const SMALL_RING: &str = "capture.ring_bytes=65536";
const ROLES: [&str; 2] = ["server", "client"];

/// A client and its server in one cgroup.
#[expect(missing_debug_implementations, reason = "it has closures")]
pub struct Load<'a> {
    /// Of both.
    pub cgroup: &'a Cgroup,
    /// Where the client finds `phase`, and writes that it has done enough: see `tests/support/phases.py`.
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
    /// Starts it, and waits until it is under way.
    #[must_use]
    pub fn start(&self) -> Running<'_> {
        let words = [self.cgroup.wrapper(), self.client.clone()].concat();
        set(self.dir, "before", 0);
        let output = self.dir.join("load.out");
        let client = Process::start(Command::new(&words[0]).args(&words[1..]), &output);
        let mut running = Running { load: self, client, n: 0 };
        running.is_enough();
        running
    }

    fn daemon(&self, ring: &str) -> Sidecar {
        let path = self.cgroup.path().display().to_string();
        let args = ["--cgroup", &path, "--set", ring];
        let sidecar = Sidecar::run(self.dir, &[&args, self.settings].concat(), &[]);
        sidecar.await_ready();
        sidecar
    }

    fn kill(&self, mut sidecar: Sidecar) {
        sidecar.signal(Signal::KILL);
        sidecar.wait();
        // The kernel lets go of links when it gets to it.
        eventually("nothing to be attached", || {
            cgroup::attached(self.cgroup.path()).is_empty().then_some(())
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
        told.iter().for_each(|told| no_more(told, &account, phase));
        let missing = 2 * total(&account) - told.iter().map(total).sum::<u64>();
        assert!(missing <= unresolved, "{phase}: {missing} are missing, {unresolved} are unresolved");
    }
}

/// A load that is under way.
#[expect(missing_debug_implementations, reason = "it has closures")]
pub struct Running<'a> {
    load: &'a Load<'a>,
    client: Process,
    n: u32,
}

impl Running<'_> {
    /// Lets a daemon come to it, kills it, and lets another come. What each of them tells of what was begun since it was
    /// ready is what the server tells: both ends' exchanges, each once. Gives what the second said at last.
    pub fn observe(&mut self) -> Scrape {
        let load = self.load;
        let first = load.daemon(RING);
        self.to(FIRST);
        self.to("meanwhile");
        load.settle(&first, FIRST);
        load.compare(&first, FIRST);
        no_loss(&first.scrape());
        assert!(!cgroup::attached(load.cgroup.path()).is_empty());
        load.kill(first);
        self.to("between");

        let second = load.daemon(RING);
        self.to(SECOND);
        self.to(THIRD);
        self.to("pause");
        let scrape = second.scrape_at_rest();
        no_loss(&scrape);
        for role in ROLES {
            let mut of_first = (load.told)(&second, role, FIRST);
            of_first.remove("");
            assert_eq!(total(&of_first), 0, "{role}: it was not there: {of_first:?}");
        }
        load.compare(&second, SECOND);
        load.compare(&second, THIRD);
        assert_eq!(scrape.bytes("unclassified"), 0);
        load.kill(second);
        scrape
    }

    /// Lets a daemon come to it that does not see all, as its ring is too small and it is stopped in between: it tells less,
    /// and nothing else. Ends the load.
    pub fn hide(mut self) {
        let load = self.load;
        let phases = [FIRST, SECOND, THIRD];
        let before = phases.map(|phase| (load.account)(phase));
        self.to("between");
        let daemon = load.daemon(SMALL_RING);
        self.to(FIRST);
        daemon.signal(Signal::STOP);
        self.to(SECOND);
        daemon.signal(Signal::CONT);
        self.to(THIRD);
        self.go("end");
        self.await_file("ended");
        let scrape = daemon.scrape_at_rest();
        assert!(scrape.drops().contains_key("ring_full"), "{:?}", scrape.drops());
        let coverage =
            scrape.sum("sidecar_capture_coverage_ratio", &[]).expect("there is something to cover");
        assert!(coverage < 1.0 && scrape.bytes("explained") < scrape.bytes("seen"), "{coverage}");
        let mut n_told = 0;
        for (phase, before) in phases.into_iter().zip(before) {
            let mut account = (load.account)(phase);
            account.iter_mut().for_each(|(name, n)| *n -= before.get(name).copied().unwrap_or_default());
            for role in ROLES {
                let mut told = (load.told)(&daemon, role, phase);
                told.remove("");
                no_more(&told, &account, &format!("{phase}, {role}"));
                n_told += total(&told);
            }
        }
        println!("coverage {coverage}, {n_told} exchanges, {:?}", scrape.drops());
        assert!(n_told > 0);
    }

    /// Until each part of the load is in this phase, and has done enough of it.
    fn to(&mut self, phase: &str) {
        self.go(phase);
        self.is_enough();
    }

    fn go(&mut self, phase: &str) {
        self.n += 1;
        set(self.load.dir, phase, self.n);
    }

    fn is_enough(&mut self) {
        self.await_file(&format!("{}.enough", self.n));
    }

    fn await_file(&mut self, name: &str) {
        let dir = self.load.dir;
        eventually(name, || {
            assert!(self.client.is_running(), "{}", process::read(&dir.join("load.out")));
            dir.join(name).exists().then_some(())
        });
    }
}

fn set(dir: &Path, phase: &str, n: u32) {
    let new = dir.join("phase.new");
    fs::write(&new, format!("{phase} {n}")).expect("write the phase");
    fs::rename(new, dir.join("phase")).expect("put it in place");
}

/// No name more often than there is.
fn no_more(told: &Counts, account: &Counts, of: &str) {
    let is_more = |(name, n): (&String, &u64)| account.get(name).is_none_or(|all| n > all);
    assert!(!told.iter().any(is_more), "{of}: {told:?} of {account:?}");
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
