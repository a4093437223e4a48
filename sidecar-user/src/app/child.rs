//! The command of `sidecar run -- …`: started inside its cgroup, signalled, reaped.

use std::{
    ffi::OsString,
    fs::File,
    io,
    os::{
        fd::AsFd as _,
        unix::process::{CommandExt as _, ExitStatusExt as _},
    },
    process::{Command, ExitStatus},
    thread,
};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};
use signal_hook::{
    consts::{SIGALRM, SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH},
    iterator::{SignalsInfo, exfiltrator::WithOrigin},
    low_level::siginfo::Cause,
};
use tokio::sync::mpsc;
use tracing::debug;

use crate::{
    discovery::usage::ignored_signals,
    kernel::{self, Later},
};

/// What a shell answers for a command that it cannot find, and for one that it cannot run.
pub(crate) const NOT_FOUND: u8 = 127;
pub(crate) const NOT_RUNNABLE: u8 = 126;

const FORWARDED: [i32; 9] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGCONT, SIGWINCH];

/// Signals of this process, from before anything can be missed.
pub(crate) struct Signals(SignalsInfo<WithOrigin>);

/// What the signals' thread reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// The command ended.
    Ended(ExitStatus),
    /// SIGHUP, and there is no command to give it to.
    Reload,
    /// SIGTERM or SIGINT, and there is no command to give it to.
    Stop,
}

impl Signals {
    /// Installs the handlers.
    ///
    /// # Errors
    /// If the kernel refuses a handler.
    pub(crate) fn install() -> io::Result<Self> {
        // What was ignored at the start (nohup) stays so, for the command too: a handler would not outlive its exec.
        let ignored = ignored_signals();
        let is_heard = |signal: &&i32| ignored >> (**signal - 1) & 1 == 0;
        let real_time: Vec<i32> = (libc::SIGRTMIN()..=libc::SIGRTMAX()).collect();
        let all = FORWARDED.iter().chain(&real_time).filter(is_heard).chain(&[SIGCHLD]);
        SignalsInfo::<WithOrigin>::new(all).map(Signals)
    }

    /// Starts the thread that forwards to `child` and reaps; or, without one, reports SIGTERM, SIGINT and SIGHUP.
    ///
    /// # Errors
    /// If there are no more threads to be had.
    pub(crate) fn start(mut self, child: Option<Pid>) -> io::Result<mpsc::Receiver<Notice>> {
        let (notices, inbox) = mpsc::channel(4);
        let serve = move || {
            // It may have ended before this thread began.
            if let Some(child) = child {
                reap(child, &notices);
            }
            for origin in self.0.forever() {
                match (origin.signal, child) {
                    (SIGCHLD, Some(child)) => reap(child, &notices),
                    // From the terminal: the command, in the same foreground group, has it already.
                    (_, Some(_)) if origin.cause == Cause::Kernel => {}
                    (signal, Some(child)) => forward(signal, child),
                    // A full queue has a stop in it.
                    (SIGTERM | SIGINT, None) => drop(notices.try_send(Notice::Stop)),
                    (SIGHUP, None) => drop(notices.try_send(Notice::Reload)),
                    _ => {}
                }
            }
        };
        thread::Builder::new().name("signals".into()).spawn(serve)?;
        Ok(inbox)
    }
}

/// Starts the command inside the cgroup whose `cgroup.procs` is given, or where we are.
///
/// # Errors
/// Those of fork, of joining the cgroup, and of execve: [`exit_code`] tells which code a shell would give.
#[expect(unsafe_code, reason = "joining a cgroup between fork and exec")]
pub(crate) fn spawn(command: &[OsString], procs: Option<&File>) -> io::Result<Pid> {
    let [program, args @ ..] = command else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no command"));
    };
    let mut process = Command::new(program);
    process.args(args);
    if let Some(procs) = procs {
        let procs = procs.as_fd().try_clone_to_owned()?;
        let join = move || {
            // "0" is the writing process (Documentation/admin-guide/cgroup-v2.rst).
            rustix::io::write(&procs, b"0").map(drop).map_err(io::Error::from)
        };
        // SAFETY: the closure makes one write(2), which is async-signal-safe, and allocates nothing.
        unsafe { process.pre_exec(join) };
    }
    let child = process.spawn()?;
    // It is reaped by pid, together with whatever PID 1 must reap.
    Pid::from_raw(child.id().cast_signed()).ok_or_else(|| io::Error::other("the child has no pid"))
}

/// The exit code for a command that could not be started.
pub(crate) fn exit_code(error: &io::Error) -> u8 {
    if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_RUNNABLE }
}

/// The exit code for one that ended: its own, or 128 and the signal.
pub(crate) fn code_of(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    u8::try_from(code).unwrap_or(u8::MAX)
}

fn reap(child: Pid, notices: &mpsc::Sender<Notice>) {
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid == child {
            // The receiver waits for just this.
            let _ = notices.try_send(Notice::Ended(ExitStatus::from_raw(status.as_raw())));
        } else {
            debug!(pid = pid.as_raw_nonzero().get(), "reaped an orphan");
        }
    }
}

#[expect(unsafe_code, reason = "real-time signals have no names")]
fn forward(signal: i32, child: Pid) {
    // SAFETY: the number is one that this process has just received, so the kernel knows it.
    let signal = unsafe { Signal::from_raw_unchecked(signal) };
    let sent = kernel::raised(Later::Signal, || kill_process(child, signal));
    if let Err(error) = sent {
        debug!(?signal, %error, "signal not forwarded");
    }
}
