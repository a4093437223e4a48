//! The command: asks, or reads a capture, and writes what comes.

use std::{
    fmt::Write as _,
    fs::{File, OpenOptions},
    io::{self, IsTerminal as _, Write},
    ops::ControlFlow,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use hyper::StatusCode;
use sidecar_core::{
    record::{self, REASONS},
    replay::FileError,
};
use tokio::runtime;

use super::offline;
use crate::{
    admin::client,
    app::{ask, tap},
    cli::{self, EXIT_USAGE},
};

/// Why not all of it is written.
#[derive(Debug, thiserror::Error)]
pub(in crate::app) enum RecordError {
    /// Nobody can be asked from here.
    #[error("start the runtime")]
    Runtime(#[source] io::Error),
    /// The daemon was not reached, or broke off.
    #[error("ask the daemon")]
    Ask(#[source] client::AskError),
    /// The capture cannot be opened.
    #[error("open {file}")]
    Open {
        /// Which.
        file: String,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// It cannot be read to its end.
    #[error("{file}")]
    Read {
        /// Which.
        file: String,
        /// Where, and why.
        #[source]
        source: FileError,
    },
    /// The recording cannot be written.
    #[error("write {file}")]
    Write {
        /// Where to.
        file: String,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

/// What is written, and what is told of it.
pub(super) struct Writer {
    out: Box<dyn Write>,
    /// The beginning of a block.
    rest: Vec<u8>,
    n_packets: u64,
    left_out: [u64; 3],
    failed: Option<io::Error>,
}

/// Writes until it is ended, or there is enough: the exit status.
///
/// # Errors
/// [`RecordError`]
pub(in crate::app) fn write(asked: &cli::Record) -> Result<u8, RecordError> {
    if asked.output == Path::new("-") && io::stdout().is_terminal() {
        eprintln!("sidecar: a capture is nothing for a terminal: name a file, `-o FILE`");
        return Ok(EXIT_USAGE);
    }
    let file = asked.output.display().to_string();
    let (status, writer) = match &asked.from {
        Some(from) => offline::record(asked, from)?,
        None => follow(asked)?,
    };
    let Some(mut writer) = writer else { return Ok(status) };
    writer.end();
    match writer.failed {
        // Whoever reads has had enough.
        Some(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(0),
        Some(source) => return Err(RecordError::Write { file, source }),
        None => {}
    }
    let left_out: Vec<_> = REASONS
        .iter()
        .zip(writer.left_out)
        .filter(|(_, n)| *n > 0)
        .map(|(reason, n)| format!("{n} {reason}"))
        .collect();
    let left_out = if left_out.is_empty() { "none".to_owned() } else { left_out.join(", ") };
    eprintln!("sidecar: {} packets recorded; left out: {left_out}", writer.n_packets);
    Ok(status)
}

/// From a daemon.
fn follow(asked: &cli::Record) -> Result<(u8, Option<Writer>), RecordError> {
    let admin = match ask::admin(asked.admin.as_deref(), asked.config.as_deref()) {
        Ok(admin) => admin,
        Err(status) => return Ok((status, None)),
    };
    let stopped = tap::stopped().map_err(RecordError::Runtime)?;
    let runtime =
        runtime::Builder::new_current_thread().enable_all().build().map_err(RecordError::Runtime)?;
    let mut writer = None;
    let mut failed = None;
    let path = format!("/record?{}", query(asked));
    let answer = runtime.block_on(async {
        let each = |bytes: &[u8]| {
            // Not before there is something: what was asked for may be refused.
            if writer.is_none() {
                match Writer::open(&asked.output) {
                    Ok(opened) => writer = Some(opened),
                    Err(error) => {
                        failed = Some(error);
                        return ControlFlow::Break(());
                    }
                }
            }
            writer.as_mut().map_or(ControlFlow::Break(()), |writer| writer.take(bytes))
        };
        tokio::select! {
            answer = client::follow(&admin, &path, "*/*", each) => Some(answer),
            _ = stopped => None,
        }
    });
    if let Some(error) = failed {
        return Err(error);
    }
    match answer.transpose().map_err(RecordError::Ask)? {
        Some((status, body)) if status != StatusCode::OK => {
            let told: Option<serde_json::Value> = serde_json::from_str(&body).ok();
            let why = told.as_ref().and_then(|told| told["error"].as_str());
            eprintln!("sidecar: {}", why.unwrap_or(body.trim_end()));
            Ok((EXIT_USAGE, None))
        }
        Some(_) | None => Ok((0, writer)),
    }
}

fn query(asked: &cli::Record) -> String {
    let mut query = String::new();
    let mut add = |name: &str, value: &str| {
        // A `String` takes whatever is written.
        let _ = write!(query, "&{name}={}", ask::encoded(value));
    };
    for (name, value, is_wanted) in asked.conditions() {
        if is_wanted {
            add(name, value);
        } else {
            add(&format!("not.{name}"), value);
        }
    }
    asked.lasts.iter().for_each(|lasts| add("for", lasts));
    asked.max_bytes.iter().for_each(|most| add("max-bytes", &most.to_string()));
    query
}

impl Writer {
    /// Nobody else may read the file, unless somebody says so.
    pub(super) fn open(output: &Path) -> Result<Self, RecordError> {
        let out: Box<dyn Write> = if output == Path::new("-") {
            Box::new(io::stdout().lock())
        } else {
            let opened: io::Result<File> =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(output);
            Box::new(
                opened.map_err(|source| RecordError::Write { file: output.display().to_string(), source })?,
            )
        };
        Ok(Writer { out, rest: Vec::new(), n_packets: 0, left_out: [0; 3], failed: None })
    }

    /// Writes whole blocks, so that the file is one wherever it ends.
    pub(super) fn take(&mut self, bytes: &[u8]) -> ControlFlow<()> {
        self.rest.extend_from_slice(bytes);
        let n = record::whole_blocks(&self.rest);
        for block in record::blocks(&self.rest[..n]) {
            self.n_packets += u64::from(record::is_packet(block));
            self.left_out = record::read_note(block).unwrap_or(self.left_out);
        }
        let written = self.out.write_all(&self.rest[..n]);
        self.rest.drain(..n);
        match written {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.failed = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    fn end(&mut self) {
        if self.failed.is_none() {
            self.failed = self.out.flush().err();
        }
    }
}
