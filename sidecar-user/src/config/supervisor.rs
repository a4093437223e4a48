//! What a service manager tells its service by variables: sd_notify(3), sd_watchdog_enabled(3).

use std::{ffi::OsString, time::Duration};

/// Where the manager listens, and how often it wants to hear.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Supervisor {
    /// `NOTIFY_SOCKET`: a path, or `@` and an abstract name.
    pub(crate) socket: Option<OsString>,
    /// `WATCHDOG_USEC`, where it is meant for this process: silence that is longer ends it.
    pub(crate) watchdog: Option<Duration>,
}

impl Supervisor {
    /// Of this process.
    pub(crate) fn own() -> Supervisor {
        Supervisor::of(|name| std::env::var_os(name), std::process::id())
    }

    fn of(variable: impl Fn(&str) -> Option<OsString>, pid: u32) -> Supervisor {
        let number = |name| variable(name).and_then(|value| value.to_str()?.parse::<u64>().ok());
        let is_ours = variable("WATCHDOG_PID").is_none() || number("WATCHDOG_PID") == Some(pid.into());
        let watchdog = number("WATCHDOG_USEC").filter(|us| is_ours && *us > 0).map(Duration::from_micros);
        Supervisor { socket: variable("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()), watchdog }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(variables: &[(&str, &str)], socket: Option<&str>, watchdog_us: Option<u64>) {
        let variable = |name: &str| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| OsString::from(value))
        };
        let expected = Supervisor {
            socket: socket.map(OsString::from),
            watchdog: watchdog_us.map(Duration::from_micros),
        };
        assert_eq!(Supervisor::of(variable, 7), expected, "{variables:?}");
    }

    #[test]
    fn variables() {
        check(&[], None, None);
        check(&[("NOTIFY_SOCKET", "")], None, None);
        check(&[("NOTIFY_SOCKET", "/run/s"), ("WATCHDOG_USEC", "5000000")], Some("/run/s"), Some(5_000_000));
        check(&[("NOTIFY_SOCKET", "@s"), ("WATCHDOG_USEC", "1"), ("WATCHDOG_PID", "7")], Some("@s"), Some(1));
        // Inherited from a service that started us.
        check(&[("WATCHDOG_USEC", "1"), ("WATCHDOG_PID", "8")], None, None);
        check(&[("WATCHDOG_USEC", "1"), ("WATCHDOG_PID", "x")], None, None);
        check(&[("WATCHDOG_USEC", "0")], None, None);
        check(&[("WATCHDOG_USEC", "-1")], None, None);
    }
}
