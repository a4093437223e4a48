//! The command: asks, and prints what comes.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    ops::ControlFlow,
    thread,
};

use hyper::StatusCode;
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};
use tokio::{runtime, sync::oneshot};

use super::Form;
use crate::{
    admin::client,
    app::ask,
    cli::{self, EXIT_USAGE, Lines},
};

/// Why it ended.
#[derive(Debug, thiserror::Error)]
pub(in crate::app) enum TapError {
    /// Nobody can be asked from here.
    #[error("start the runtime")]
    Runtime(#[source] io::Error),
    /// The daemon was not reached, or broke off.
    #[error("ask the daemon")]
    Ask(#[source] client::AskError),
    /// Nobody takes what is printed.
    #[error("write to standard output")]
    Write(#[source] io::Error),
}

/// What has been printed.
struct Printer {
    form: Form,
    /// The beginning of a line.
    rest: Vec<u8>,
    n: u64,
    left_out: [u64; 2],
    failed: Option<io::Error>,
}

/// Prints exchanges until it is ended, or there are enough: the exit status.
///
/// # Errors
/// [`TapError`]
pub(in crate::app) fn print(tap: &cli::Tap) -> Result<u8, TapError> {
    let admin = match ask::admin(tap.admin.as_deref(), tap.config.as_deref()) {
        Ok(admin) => admin,
        Err(status) => return Ok(status),
    };
    let (form, accept) = match tap.output {
        Lines::Text => (Form::Text, "text/plain"),
        Lines::Ndjson => (Form::Ndjson, "application/x-ndjson"),
    };
    let stopped = stopped().map_err(TapError::Runtime)?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(TapError::Runtime)?;
    let mut printer = Printer { form, rest: Vec::new(), n: 0, left_out: [0; 2], failed: None };
    let path = format!("/tap?{}", query(tap));
    let answer = runtime.block_on(async {
        tokio::select! {
            answer = client::follow(&admin, &path, accept, |bytes| printer.take(bytes)) => Some(answer),
            _ = stopped => None,
        }
    });
    match answer.transpose().map_err(TapError::Ask)? {
        Some((status, body)) if status != StatusCode::OK => {
            let told: Option<serde_json::Value> = serde_json::from_str(&body).ok();
            let why = told.as_ref().and_then(|told| told["error"].as_str());
            eprintln!("sidecar: {}", why.unwrap_or(body.trim_end()));
            return Ok(EXIT_USAGE);
        }
        Some(_) | None => {}
    }
    match printer.failed {
        // Whoever reads has had enough.
        Some(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(0),
        Some(error) => return Err(TapError::Write(error)),
        None => {}
    }
    let [rate, slow] = printer.left_out;
    if rate + slow > 0 {
        let n = printer.n;
        eprintln!(
            "sidecar: {n} shown; left out: {rate} beyond {} a second, {slow} read too slowly",
            tap.rate
        );
    }
    Ok(0)
}

/// SIGINT or SIGTERM.
pub(in crate::app) fn stopped() -> io::Result<oneshot::Receiver<()>> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let (stop, stopped) = oneshot::channel();
    thread::Builder::new().name("signals".into()).spawn(move || {
        if signals.forever().next().is_some() {
            let _ = stop.send(());
        }
    })?;
    Ok(stopped)
}

fn query(tap: &cli::Tap) -> String {
    let mut query = format!("rate={}", tap.rate);
    let mut add = |name: &str, value: &str| {
        // A `String` takes whatever is written.
        let _ = write!(query, "&{name}={}", ask::encoded(value));
    };
    for (name, values) in [
        ("protocol", &tap.protocol),
        ("role", &tap.role),
        ("status", &tap.status),
        ("path", &tap.path),
        ("peer", &tap.peer),
    ] {
        values.iter().for_each(|value| add(name, value));
    }
    for (name, value) in &tap.not {
        add(&format!("not.{name}"), value);
    }
    tap.min_duration.iter().for_each(|least| add("min-duration", least));
    tap.lasts.iter().for_each(|lasts| add("for", lasts));
    tap.count.iter().for_each(|count| add("count", &count.to_string()));
    query
}

impl Printer {
    fn take(&mut self, bytes: &[u8]) -> ControlFlow<()> {
        self.rest.extend_from_slice(bytes);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            return ControlFlow::Continue(());
        };
        let lines: Vec<u8> = self.rest.drain(..=end).collect();
        let printed = self.lines(&String::from_utf8_lossy(&lines));
        match printed {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.failed = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    fn lines(&mut self, lines: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        for line in lines.lines() {
            if let Some(left_out) = self.form.read_note(line) {
                self.left_out = left_out;
            } else {
                writeln!(out, "{line}")?;
                self.n += 1;
            }
        }
        out.flush()
    }
}
