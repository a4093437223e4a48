//! Loading the object and attaching it to a cgroup.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    net::UdpSocket,
    os::fd::{AsFd as _, BorrowedFd},
    time::Duration,
};

use aya::{
    BtfError, Ebpf, EbpfLoader,
    maps::{Array, MapError, SkStorage},
    programs::ProgramError,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sidecar_core::traffic::Room;
use sidecar_ebpf::abi::{control::Control, who::Who};
use tokio::{task::JoinHandle, time::sleep};
use tracing::{debug, warn};

use super::{
    caps, executable,
    maps::{Abi, Counts, Verdicts},
    others,
    pins::Pins,
    programs::{self, Link, Program},
    ring::Ring,
    steer::{self, Handover, Steering},
};

/// The BPF object, built by `cargo xtask build`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("SIDECAR_BPF_OBJECT"));

/// Between two looks for the programs' own lines.
const LOG_PACE: Duration = Duration::from_millis(100);

/// What loading depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Size of the `EVENTS` ring, bytes: a power of two, at least a page.
    pub(crate) ring_bytes: u32,
    /// Bytes copied of each turn on a connection that nobody judged yet.
    pub(crate) turn_bytes: u32,
    /// How many connections can have a verdict.
    pub(crate) connections: u32,
    /// Whether reads are looked at, on all of the node.
    pub(crate) socket_wait: bool,
    /// Highest level of the programs' own log lines that is compiled in: 0 none, 4 debug.
    pub(crate) log_level: u8,
    /// Room for steering connections; `None`: they are only observed.
    pub(crate) steering: Option<Room>,
    /// Whether datagrams are looked at, too.
    pub(crate) datagrams: bool,
    /// Whether connections that come in are steered, too.
    pub(crate) inbound: bool,
    /// Whether programs that steer must be told what a process executes.
    pub(crate) executables: bool,
}

/// The daemon's own place, for what is steered to it.
#[derive(Clone, Copy)]
pub(crate) struct Own<'a> {
    /// Its cgroup.
    pub(crate) cgroup: BorrowedFd<'a>,
    /// Its network namespace.
    pub(crate) netns: BorrowedFd<'a>,
}

impl Options {
    /// All that there is to load.
    fn programs(&self) -> impl Iterator<Item = &'static Program> + Clone {
        let reads = self.socket_wait.then_some(&programs::READS);
        let own = self.steering.is_some().then_some(&programs::TAKE_OVER);
        self.wanted().chain(reads).chain(own).chain(self.inbound.then_some(&programs::COME_IN))
    }

    /// Its name in the object.
    fn name(&self, row: &'static Program) -> &'static str {
        row.telling().filter(|_| self.executables).unwrap_or(row.name)
    }

    /// What goes to each of the application's cgroups.
    fn wanted(&self) -> impl Iterator<Item = &'static Program> + Clone {
        programs::wanted(self.log_level > 0, self.steering.is_some(), self.datagrams)
    }
}

/// Why there is no object in the kernel.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Maps or relocation.
    #[error("load the BPF object")]
    Load(#[source] aya::EbpfError),
    /// A program without which there is nothing to see.
    #[error("a program that is needed was refused")]
    Needed {
        /// Which, and why.
        source: Box<Refusal>,
    },
    /// A map is not there or not what it should be: object and daemon are of different builds.
    #[error("open map {name}")]
    Map {
        /// Its name.
        name: &'static str,
        /// Why.
        #[source]
        source: MapError,
    },
    /// The set-up of the ring's reader.
    #[error("set up the ring's reader")]
    Reader(#[source] io::Error),
}

/// A program that the kernel did not take.
#[derive(Debug, thiserror::Error)]
#[error("{step} {program}: {reason}")]
pub(crate) struct Refusal {
    /// `load` or `attach`.
    pub(crate) step: &'static str,
    /// Its name.
    pub(crate) program: &'static str,
    /// Its hook.
    pub(crate) hook: &'static str,
    /// What is lost.
    pub(crate) loses: &'static str,
    /// In plain words.
    pub(crate) reason: String,
    /// Without it there is nothing to see.
    pub(crate) needed: bool,
    /// The kernel's error number, 0 if it was not the kernel that refused.
    pub(crate) errno: i32,
}

/// Loaded programs and maps.
pub(crate) struct Kernel {
    ebpf: Ebpf,
    options: Options,
    refused: Vec<Refusal>,
    /// Where what steers is to outlive us.
    pins: Option<Pins>,
}

/// Programs, loaded once, at work on any number of cgroups. Dropping it detaches them.
pub(crate) struct Attached {
    /// Keeps the programs alive.
    ebpf: Ebpf,
    /// By cgroup.
    links: HashMap<u64, Vec<Link>>,
    /// On the node, on our own cgroup and network namespace.
    _others: Vec<Link>,
    /// Those that are not at work.
    pub(crate) refused: Vec<Refusal>,
    logger: Option<Logger>,
    options: Options,
    pins: Option<Pins>,
}

/// The ends of the maps that user space holds.
pub(crate) struct Maps {
    pub(crate) ring: Ring,
    pub(crate) verdicts: Verdicts,
    pub(crate) counts: Counts,
    /// Where traffic is steered.
    pub(crate) steering: Option<(Steering, Handover)>,
}

/// Reads the programs' own lines; aya gives them to the `log` crate, which hands them to `tracing`.
type Logger = aya_log::EbpfLogger<&'static dyn log::Log>;

impl Attached {
    /// Attaches to one more cgroup, after the capabilities were dropped.
    ///
    /// # Errors
    /// If a program that is needed was refused; nothing stays attached then. Others that are refused are only logged.
    pub(crate) fn attach(&mut self, id: u64, cgroup: BorrowedFd<'_>) -> Result<(), Error> {
        let mut links = Vec::new();
        for row in self.options.wanted() {
            if self.refused.iter().any(|refusal| refusal.program == row.name) {
                continue;
            }
            let Some(program) = self.ebpf.program_mut(self.options.name(row)) else { continue };
            match caps::with_needed(|| put(self.pins.as_ref(), row, program, (id, cgroup))) {
                Ok(link) => links.extend(link),
                Err(error) => {
                    let refusal = refusal(row, "attach", &error);
                    if refusal.needed {
                        return Err(Error::Needed { source: Box::new(refusal) });
                    }
                    warn!(cgroup_id = id, program = row.name, lost = row.loses, "{refusal}");
                }
            }
        }
        self.links.insert(id, links);
        Ok(())
    }

    /// Loads the programs that look at datagrams, and attaches them to those of these cgroups that are observed, where that is not
    /// done yet: whether it was not.
    ///
    /// # Errors
    /// If one was refused; then none is at work.
    pub(crate) fn look_at_datagrams<'a>(
        &mut self,
        cgroups: impl Iterator<Item = (u64, BorrowedFd<'a>)>,
    ) -> Result<bool, Error> {
        if self.options.datagrams {
            return Ok(false);
        }
        let refused = |row, step, error| Error::Needed { source: Box::new(refusal(row, step, &error)) };
        for row in programs::DATAGRAMS {
            let program = self.ebpf.program_mut(self.options.name(row));
            match program
                .map_or(Err(ProgramError::NotLoaded), |program| caps::with_needed(|| row.load(program)))
            {
                // Another one was refused the last time.
                Ok(()) | Err(ProgramError::AlreadyLoaded) => {}
                Err(error) => return Err(refused(row, "load", error)),
            }
        }
        let mut new = Vec::new();
        for (id, cgroup) in cgroups {
            if !self.links.contains_key(&id) {
                continue;
            }
            for row in programs::DATAGRAMS {
                let Some(program) = self.ebpf.program_mut(self.options.name(row)) else { continue };
                let link = caps::with_needed(|| put(self.pins.as_ref(), row, program, (id, cgroup)));
                new.push((id, link.map_err(|error| refused(row, "attach", error))?));
            }
        }
        for (id, link) in new {
            self.links.entry(id).or_default().extend(link);
        }
        self.options.datagrams = true;
        Ok(true)
    }

    /// Programs of others that send connections of these cgroups elsewhere, as it seems. None where the kernel does not tell.
    pub(crate) fn strangers<'a>(&self, cgroups: impl Iterator<Item = BorrowedFd<'a>>) -> BTreeSet<u32> {
        let own = self.ebpf.program(others::PEER_PROGRAM).and_then(|program| program.info().ok());
        let found = cgroups.flat_map(|cgroup| others::steering(cgroup).unwrap_or_default());
        let mut found: BTreeSet<_> = caps::with_needed(|| found.collect());
        if let Some(own) = own {
            found.remove(&own.id());
        }
        found
    }

    /// Lets go of a cgroup.
    pub(crate) fn detach(&mut self, id: u64) {
        self.links.remove(&id);
        if let Some(pins) = &self.pins {
            pins.detach(id);
        }
    }

    /// What holds, in one line: `Err` where something is lost.
    pub(crate) fn summary(&self) -> Result<String, String> {
        let n_all = self.options.programs().count();
        let all = format!("{} of {n_all} programs", n_all - self.refused.len());
        if self.refused.is_empty() {
            return Ok(all);
        }
        let lost: Vec<_> = self.refused.iter().map(|refusal| refusal.loses).collect();
        Err(format!("{all}; lost: {}", lost.join(", ")))
    }

    /// Starts to read the programs' own lines, if they were asked for.
    pub(crate) fn start_logger(&mut self) -> Option<JoinHandle<()>> {
        let mut logger = self.logger.take()?;
        Some(tokio::spawn(async move {
            loop {
                logger.flush();
                sleep(LOG_PACE).await;
            }
        }))
    }
}

impl Kernel {
    /// Loads everything that the kernel takes, with the maps that are pinned, if any are to be.
    ///
    /// # Errors
    /// If maps cannot be made. What programs were refused shows when it is attached.
    pub(crate) fn load(options: Options, pins: Option<Pins>) -> Result<Kernel, Error> {
        // Kernel BTF is not needed; the maps' own comes with the object.
        let mut loader = without_opening_files(EbpfLoader::new);
        loader.btf(None).map_max_entries("EVENTS", options.ring_bytes);
        loader.map_max_entries("VERDICTS", options.connections);
        if let Some(room) = options.steering {
            for (map, entries) in steer::entries(room) {
                loader.map_max_entries(map, entries);
            }
        }
        if let Some(pins) = &pins {
            pins.maps(&mut loader);
        }
        loader.override_global("AYA_LOG_LEVEL", &options.log_level, true);
        if options.log_level == 0 {
            loader.map_max_entries("AYA_LOGS", 4096);
        }
        let mut ebpf = loader.load(OBJECT).map_err(Error::Load)?;
        let mut refused = Vec::new();
        let places = if options.executables { executable::tell(&mut ebpf) } else { Ok(()) };
        for row in options.programs() {
            let is_telling = options.executables && row.telling().is_some();
            if let (true, Err(reason)) = (is_telling, &places) {
                refused.push(executable::refusal(row, reason));
                continue;
            }
            let result = match ebpf.program_mut(options.name(row)) {
                Some(program) if is_telling => caps::with_perfmon(|| row.load(program)),
                Some(program) => row.load(program),
                None => Err(ProgramError::NotLoaded),
            };
            if let Err(error) = result {
                refused.push(refusal(row, "load", &error));
            }
        }
        if let Some(pins) = &pins {
            pins.seal(&mut ebpf)?;
        }
        Ok(Kernel { ebpf, options, refused, pins })
    }

    /// Attaches to these cgroups, none below another, and opens the maps. `own` is the daemon's
    /// place, for what is steered to it.
    ///
    /// # Errors
    /// If a program that is needed cannot be loaded or attached, or a map is missing.
    pub(crate) fn attach(
        mut self,
        cgroups: &[(u64, BorrowedFd<'_>)],
        own: Option<Own<'_>>,
    ) -> Result<(Attached, Maps), Error> {
        let mut control = Control {
            generation: 1,
            own_tgid: 0,
            budget: self.options.turn_bytes,
            wake_above: self.options.ring_bytes / 8,
            shed_above: self.options.ring_bytes / 4 * 3,
            pad: 0,
        };
        self.set_control(control)?;
        let mut links = HashMap::new();
        for (id, cgroup) in cgroups {
            links.insert(*id, self.attach_all((*id, *cgroup), &mut control)?);
        }
        self.attach_to_orphans();
        if let Some(refusal) = take_needed(&mut self.refused) {
            return Err(Error::Needed { source: Box::new(refusal) });
        }
        let mut others: Vec<_> = self.attach_to_node().into_iter().collect();
        let pins = self.pins.clone();
        let steering =
            self.options.steering.is_some().then(|| Steering::open(&mut self.ebpf, pins)).transpose()?;
        if let Some(own) = own.filter(|_| steering.is_some()) {
            others.extend(self.attach_one(&programs::TAKE_OVER, own.cgroup));
            if self.options.inbound {
                others.extend(self.attach_one(&programs::COME_IN, own.netns));
            }
        }
        let logger =
            (self.options.log_level > 0).then(|| aya_log::EbpfLogger::init(&mut self.ebpf).ok()).flatten();
        let ring = Ring::open(&mut self.ebpf, self.options.ring_bytes as usize)?;
        let verdicts = Verdicts::open(&mut self.ebpf, control)?;
        let counts = Counts::open(&mut self.ebpf)?;
        let Kernel { ebpf, options, refused, pins } = self;
        let attached = Attached { ebpf, links, _others: others, refused, logger, options, pins };
        Ok((attached, Maps { ring, verdicts, counts, steering }))
    }

    /// Tries every program, and says what became of each: for `sidecar doctor`.
    pub(crate) fn try_out(mut self, cgroup: BorrowedFd<'_>) -> Result<Vec<Refusal>, Error> {
        let mut control = Control {
            generation: 1,
            own_tgid: 0,
            budget: 0,
            wake_above: u32::MAX,
            shed_above: u32::MAX,
            pad: 0,
        };
        let _links = self.attach_all((0, cgroup), &mut control)?;
        let _node = self.attach_to_node();
        if self.options.steering.is_some() {
            let _own = self.attach_one(&programs::TAKE_OVER, cgroup);
        }
        Ok(self.refused)
    }

    /// What steers, and is pinned, goes to commands that were left behind, too: all of it, or nothing.
    fn attach_to_orphans(&mut self) {
        let Some(pins) = self.pins.as_ref() else { return };
        if self.refused.iter().any(|refusal| programs::steers(refusal.program)) {
            return;
        }
        for row in self.options.wanted().filter(|row| row.steers()) {
            let Some(program) = self.ebpf.program(self.options.name(row)) else { continue };
            if let Err(error) = pins.attach_to_orphans(row, program) {
                self.refused.push(refusal(row, "attach", &error));
            }
        }
    }

    /// What goes to the node, if it was asked for and could be loaded.
    fn attach_to_node(&mut self) -> Option<Link> {
        let row = &programs::READS;
        let is_out = self.refused.iter().any(|refusal| refusal.program == row.name);
        let program = self.ebpf.program_mut(row.name).filter(|_| self.options.socket_wait && !is_out)?;
        match row.attach_to_node(program) {
            Ok(link) => Some(link),
            Err(error) => {
                self.refused.push(refusal(row, "attach", &error));
                None
            }
        }
    }

    /// One program at one place, where it could be loaded.
    fn attach_one(&mut self, row: &'static Program, place: BorrowedFd<'_>) -> Option<Link> {
        let is_out = self.refused.iter().any(|refusal| refusal.program == row.name);
        let program = self.ebpf.program_mut(row.name).filter(|_| !is_out)?;
        row.attach(program, place).map_err(|error| self.refused.push(refusal(row, "attach", &error))).ok()
    }

    fn attach_all(
        &mut self,
        (id, cgroup): (u64, BorrowedFd<'_>),
        control: &mut Control,
    ) -> Result<Vec<Link>, Error> {
        self.set_control(*control)?;
        let mut links = Vec::new();
        let options = self.options;
        for row in options.wanted() {
            // Of those that steer and are pinned all of a build are at work, or none.
            let is_out = |refusal: &Refusal| {
                refusal.program == row.name
                    || self.pins.is_some() && row.steers() && programs::steers(refusal.program)
            };
            if self.refused.iter().any(is_out) {
                continue;
            }
            let Some(program) = self.ebpf.program_mut(options.name(row)) else { continue };
            match put(self.pins.as_ref(), row, program, (id, cgroup)) {
                Ok(link) => links.extend(link),
                Err(error) => self.refused.push(refusal(row, "attach", &error)),
            }
            // Before any program that could see a socket of ours. In a cgroup of its own the daemon stays unknown,
            // and has nothing there to exclude.
            if row.name == "sk_create"
                && control.own_tgid == 0
                && let Some(own_tgid) = self.own_tgid()
            {
                debug!(own_tgid, "sharing the application's cgroup");
                control.own_tgid = own_tgid;
                self.set_control(*control)?;
            }
        }
        Ok(links)
    }

    /// BPF's thread group id is the initial namespace's, which neither getpid() nor /proc shows inside a container: a
    /// socket made now carries it.
    fn own_tgid(&mut self) -> Option<u32> {
        let probe = UdpSocket::bind(("127.0.0.1", 0)).or_else(|_| UdpSocket::bind(("::1", 0))).ok()?;
        let who: SkStorage<_, Abi<Who>> = SkStorage::try_from(self.ebpf.map_mut("WHO")?).ok()?;
        let who = who.get(&probe.as_fd(), 0).ok()?;
        (who.0.tgid != 0).then_some(who.0.tgid)
    }

    fn set_control(&mut self, control: Control) -> Result<(), Error> {
        let wrap = |source| Error::Map { name: "CONTROL", source };
        let map =
            self.ebpf.map_mut("CONTROL").ok_or(wrap(MapError::InvalidName { name: "CONTROL".into() }))?;
        let mut map: Array<_, Abi<Control>> = Array::try_from(map).map_err(wrap)?;
        map.set(0, Abi(control), 0).map_err(wrap)
    }
}

/// Puts a program to work on a cgroup: for as long as the link lives, or where it is pinned, without one.
fn put(
    pins: Option<&Pins>,
    row: &Program,
    program: &mut aya::programs::Program,
    (id, cgroup): (u64, BorrowedFd<'_>),
) -> Result<Option<Link>, ProgramError> {
    match pins.filter(|_| row.steers()) {
        Some(pins) => pins.attach(row, program, (id, cgroup)).map(|()| None),
        None => row.attach(program, cgroup).map(Some),
    }
}

/// aya's loader reads the kernel's BTF when it is made, wanted or not: 12 MiB of memory at the start, which no later use
/// comes near. With no descriptor to be had it goes without. Only while there is one thread.
fn without_opening_files<T>(make: impl FnOnce() -> T) -> T {
    let usual = getrlimit(Resource::Nofile);
    let is_set = setrlimit(Resource::Nofile, Rlimit { current: Some(0), ..usual }).is_ok();
    let made = make();
    if is_set {
        // Up to the hard limit, which stayed, everybody may.
        let _ = setrlimit(Resource::Nofile, usual);
    }
    made
}

fn refusal(row: &'static Program, step: &'static str, error: &ProgramError) -> Refusal {
    let (errno, reason) = explain(row, error);
    Refusal { step, program: row.name, hook: row.hook, loses: row.loses, reason, errno, needed: row.needed }
}

fn take_needed(refused: &mut Vec<Refusal>) -> Option<Refusal> {
    let at = refused.iter().position(|refusal| refusal.needed)?;
    Some(refused.swap_remove(at))
}

/// The kernel's error number and what it means here.
fn explain(row: &Program, error: &ProgramError) -> (i32, String) {
    let (io, log) = match error {
        ProgramError::Btf(BtfError::FileError { path, error }) => {
            let reason = format!("the kernel's BTF ({}) cannot be read: {error}", path.display());
            return (error.raw_os_error().unwrap_or(0), reason);
        }
        ProgramError::Btf(BtfError::UnknownBtfTypeName { .. }) => {
            return (0, format!("this kernel has no {}: {error}", row.hook));
        }
        ProgramError::LoadError { io_error, verifier_log } => (Some(io_error), verifier_log.to_string()),
        ProgramError::SyscallError(call) => (Some(&call.io_error), String::new()),
        _ => (None, String::new()),
    };
    let Some(io) = io else { return (0, error.to_string()) };
    let errno = io.raw_os_error().unwrap_or(0);
    let needed = row.capabilities().iter().map(|one| one.name()).collect::<Vec<_>>().join(" and ");
    let meaning = match errno {
        1 => &format!("not permitted: {needed} are needed, in the initial user namespace"),
        13 => "the verifier refused the program",
        22 => "this kernel does not know the hook or a helper",
        9 | 95 => "not a cgroup v2 directory",
        12 => "out of memory",
        _ => "the kernel refused",
    };
    let objection = objection(&log).map(|line| format!(" ({line})")).unwrap_or_default();
    (errno, format!("{meaning}: {io}{objection}"))
}

/// What the verifier minds: its last line before the statistics (`print_verification_stats` in kernel/bpf/verifier.c).
fn objection(log: &str) -> Option<&str> {
    let is_statistics =
        |line: &str| ["processed ", "stack depth ", "verification time "].iter().any(|s| line.starts_with(s));
    log.lines().map(str::trim).rfind(|line| !line.is_empty() && !is_statistics(line))
}

#[cfg(test)]
mod tests {
    use super::objection;

    #[test]
    fn the_verifiers_objection_is_found_above_its_statistics() {
        let statistics = "stack depth 200+0+0\nprocessed 23 insns (limit 1000000) max_states_per_insn 0\n";
        let log = format!("22: (61) r1 = *(u32 *)(r7 +36)\nR7 invalid mem access 'scalar'\n{statistics}");
        assert_eq!(objection(&log), Some("R7 invalid mem access 'scalar'"));
        assert_eq!(objection(statistics), None);
        assert_eq!(objection(""), None);
    }
}
