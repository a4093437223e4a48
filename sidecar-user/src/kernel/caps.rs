//! Capabilities of this thread, and of the threads it starts.

use std::io;

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

/// A capability by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Capability {
    /// `bpf()`: maps and programs.
    Bpf,
    /// Attaching to cgroups.
    NetAdmin,
    /// Tracepoints.
    Perfmon,
}

impl Capability {
    /// What observing needs: these two and no other. What is asked for beside it may need one more.
    pub(crate) const NEEDED: [Capability; 2] = [Capability::Bpf, Capability::NetAdmin];

    /// As capabilities(7) spells it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Capability::Bpf => "CAP_BPF",
            Capability::NetAdmin => "CAP_NET_ADMIN",
            Capability::Perfmon => "CAP_PERFMON",
        }
    }

    fn set(self) -> CapabilitySet {
        match self {
            Capability::Bpf => CapabilitySet::BPF,
            Capability::NetAdmin => CapabilitySet::NET_ADMIN,
            Capability::Perfmon => CapabilitySet::PERFMON,
        }
    }
}

/// Those of [`Capability::NEEDED`] that this thread has not in effect.
///
/// # Errors
/// If the kernel does not tell.
pub(crate) fn missing() -> io::Result<Vec<Capability>> {
    let sets = capabilities(None)?;
    Ok(Capability::NEEDED.into_iter().filter(|one| !sets.effective.contains(one.set())).collect())
}

/// Whether a capability may be put into effect.
pub(super) fn is_permitted(one: Capability) -> bool {
    capabilities(None).is_ok_and(|sets| sets.permitted.contains(one.set()))
}

/// Puts into effect what of [`Capability::NEEDED`] is permitted: file capabilities without the effective bit (which would
/// keep the program from starting wherever one of them is out of bounds) arrive so.
///
/// # Errors
/// If the kernel refuses, which it does not for what is permitted.
pub(crate) fn take_effect() -> io::Result<()> {
    let now = capabilities(None)?;
    let needed: CapabilitySet = Capability::NEEDED.into_iter().map(Capability::set).collect();
    let effective = now.effective | (now.permitted & needed);
    if effective != now.effective {
        set_capabilities(None, CapabilitySets { effective, ..now })?;
    }
    Ok(())
}

/// What may be needed after the capabilities were dropped, besides the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Later {
    /// Walking into the mounts of another container's process.
    Reach,
    /// Signals for a command that changed its user.
    Signal,
    /// Removing the cgroup that was made for it, where its parent is writable for nobody (as the root is).
    RemoveCgroup,
}

impl Later {
    fn set(self) -> CapabilitySet {
        match self {
            Later::Reach => CapabilitySet::SYS_PTRACE,
            Later::Signal => CapabilitySet::KILL,
            Later::RemoveCgroup => CapabilitySet::DAC_OVERRIDE,
        }
    }
}

/// Empties the effective and inheritable sets. Of the permitted one stay the two that later attachments need, and what
/// `later` names, as far as it was there.
///
/// # Errors
/// If the kernel refuses, which it does not for a set that shrinks.
pub(crate) fn drop_effective(later: &[Later]) -> io::Result<()> {
    let now = capabilities(None)?;
    let needed = Capability::NEEDED.into_iter().map(Capability::set);
    let keep: CapabilitySet = needed.chain(later.iter().map(|later| later.set())).collect();
    let sets = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: now.permitted & keep,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets)?;
    Ok(())
}

/// Puts CAP_BPF, and no other, back into effect.
///
/// # Errors
/// If it is not permitted.
pub(crate) fn keep_bpf() -> io::Result<()> {
    let now = capabilities(None)?;
    set_capabilities(None, CapabilitySets { effective: CapabilitySet::BPF, ..now })?;
    Ok(())
}

/// Runs `action` with a capability in effect, where it is permitted.
pub(crate) fn raised<T>(later: Later, action: impl FnOnce() -> T) -> T {
    with(later.set(), action)
}

/// Runs `action` with those of [`Capability::NEEDED`] in effect.
pub(super) fn with_needed<T>(action: impl FnOnce() -> T) -> T {
    with(Capability::NEEDED.into_iter().map(Capability::set).collect(), action)
}

/// Runs `action` with CAP_PERFMON in effect, where it is permitted; for a program that others must not be loaded like: with
/// it the verifier does not guard against speculation.
pub(super) fn with_perfmon<T>(action: impl FnOnce() -> T) -> T {
    with(Capability::Perfmon.set(), action)
}

fn with<T>(set: CapabilitySet, action: impl FnOnce() -> T) -> T {
    let Ok(before) = capabilities(None) else { return action() };
    let effective = before.effective | (before.permitted & set);
    // Where raising fails, the action is done as who we are.
    let _ = set_capabilities(None, CapabilitySets { effective, ..before });
    let result = action();
    let _ = set_capabilities(None, before);
    result
}
