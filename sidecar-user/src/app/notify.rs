//! What the service manager is told: ready, stopping, still alive (sd_notify(3)).

use std::{
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::Duration,
};

use sidecar_core::model::Ktime;
use tracing::{debug, warn};

use crate::config::supervisor::Supervisor;

/// The way to the service manager; silent where there is none.
pub(super) struct Notifier {
    socket: Option<UnixDatagram>,
    /// Time between two signs of life.
    pub(super) period: Option<Duration>,
}

impl Notifier {
    /// Connects to the manager of this process. Beside a command of ours there is nothing to tell: the unit's state is
    /// the command's to tell, which inherits the variables.
    pub(super) fn new(supervisor: &Supervisor, has_command: bool) -> Notifier {
        let wanted = supervisor.socket.as_deref().filter(|_| !has_command);
        let socket = wanted.and_then(|name| {
            connect(name).inspect_err(|error| warn!(%error, ?name, "the service manager is not told")).ok()
        });
        // Twice in the time that it waits, as sd_watchdog_enabled(3) advises.
        let period = supervisor.watchdog.map(|silence| silence / 2).filter(|_| socket.is_some());
        Notifier { socket, period }
    }

    /// What follows may start.
    pub(super) fn ready(&self, status: &str) {
        // One line: a path may hold anything.
        let status = status.replace(char::is_control, "?");
        self.send(&format!("READY=1\nSTATUS={status}"));
    }

    /// New settings are being read, since `now` by the monotonic clock; [`Notifier::ready`] ends it.
    pub(super) fn reloading(&self, now: Ktime) {
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.0 / 1000));
    }

    /// The end has begun.
    pub(super) fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// A sign of life.
    pub(super) fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    fn send(&self, state: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(state.as_bytes())
        {
            debug!(%error, state, "the service manager was not told");
        }
    }
}

/// A datagram socket that never waits: a manager that does not read must not stop us.
fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect_addr(&address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        socket.set_nonblocking(true).expect("set");
        let n = socket.recv(&mut buffer).unwrap_or(0);
        String::from_utf8_lossy(&buffer[..n]).into_owned()
    }

    fn supervisor(socket: &OsStr) -> Supervisor {
        Supervisor { socket: Some(socket.to_owned()), watchdog: Some(Duration::from_secs(10)) }
    }

    #[test]
    fn both_kinds_of_address() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let name = format!("sidecar-test-{}", std::process::id());
        let abstract_address = SocketAddr::from_abstract_name(&name).expect("a name");
        for (manager, address) in [
            (UnixDatagram::bind(&path), path.into_os_string()),
            (UnixDatagram::bind_addr(&abstract_address), format!("@{name}").into()),
        ] {
            let manager = manager.expect("bound");
            let notifier = Notifier::new(&supervisor(&address), false);
            assert_eq!(notifier.period, Some(Duration::from_secs(5)));
            notifier.ready("observing /a\nREADY=0");
            assert_eq!(told(&manager), "READY=1\nSTATUS=observing /a?READY=0");
            notifier.reloading(Ktime(7_000_999));
            assert_eq!(told(&manager), "RELOADING=1\nMONOTONIC_USEC=7000");
            notifier.alive();
            assert_eq!(told(&manager), "WATCHDOG=1");
            notifier.stopping();
            assert_eq!(told(&manager), "STOPPING=1");
            let silent = Notifier::new(&supervisor(&address), true);
            silent.ready("");
            assert_eq!((told(&manager), silent.period), (String::new(), None));
        }
    }

    #[test]
    fn a_manager_that_is_gone_or_does_not_read_holds_nothing_up() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        assert_eq!(Notifier::new(&supervisor(path.as_os_str()), false).period, None);
        let _deaf = UnixDatagram::bind(&path).expect("bound");
        let notifier = Notifier::new(&supervisor(path.as_os_str()), false);
        for _ in 0..10_000 {
            notifier.alive();
        }
    }
}
