//! `sidecar explain DESTINATION`: asks the daemon, and adds what only whoever asks can see of a process.

use std::{fmt::Write as _, io, path::Path};

use hyper::StatusCode;
use sidecar_core::config::{AdminListen, Origin, Setting};
use tokio::runtime;

use crate::{
    admin::client,
    cli::{EXIT_USAGE, Explain, Output},
    config::{file::Reader, load},
    discovery::{
        cgroup::{Cgroup, CgroupError},
        executable, host,
    },
};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// Nobody can be asked from here.
    #[error("start the runtime")]
    Runtime(#[source] io::Error),
    /// The daemon was not reached.
    #[error("ask the daemon")]
    Client(#[source] client::AskError),
    /// The process is not to be found.
    #[error("find the cgroup of process {pid}")]
    Process {
        /// Its number.
        pid: u32,
        /// Why.
        #[source]
        source: CgroupError,
    },
}

/// Prints the answer: the exit status.
///
/// # Errors
/// [`AskError`]
pub(super) fn destination(explain: &Explain) -> Result<u8, AskError> {
    let admin = match admin(explain.admin.as_deref(), explain.config.as_deref()) {
        Ok(admin) => admin,
        Err(status) => return Ok(status),
    };
    let mut path = format!("/explain?destination={}", encoded(&explain.destination));
    if let Some(from) = explain.from {
        // A `String` takes whatever is written.
        let _ = write!(path, "&from={}", encoded(&from.to_string()));
    }
    if let Some(pid) = explain.pid {
        path.push_str(&process(pid)?);
    }
    let accept = match explain.output {
        Output::Text => "text/plain",
        Output::Json => "application/json",
    };
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(AskError::Runtime)?;
    let answer = runtime.block_on(client::get(&admin, &path, accept));
    let (status, body) = answer.map_err(AskError::Client)?;
    if status == StatusCode::OK {
        print!("{body}");
        return Ok(0);
    }
    let told: Option<serde_json::Value> = serde_json::from_str(&body).ok();
    let why = told.as_ref().and_then(|told| told["error"].as_str());
    eprintln!("sidecar: {}", why.unwrap_or(body.trim_end()));
    Ok(EXIT_USAGE)
}

/// Where the daemon is to be asked, by what the command line, the environment and the file of settings say; else the exit
/// status, and why is told.
pub(super) fn admin(told: Option<&str>, file: Option<&Path>) -> Result<AdminListen, u8> {
    let told = told.map(|value| Setting::new("admin.listen", value, Origin::Flag("--admin".into())));
    let loaded = load::load(load::file(file).as_deref(), told.into_iter().collect(), &mut Reader::at_start());
    match loaded {
        Ok(loaded) => Ok(loaded.resolved.config.admin.listen),
        Err(error) => Err(super::usage(&error)),
    }
}

/// What the query says of a process. Its number is that of our PID namespace, so the daemon is told what it stands for.
fn process(pid: u32) -> Result<String, AskError> {
    let cgroup = Cgroup::of(pid).map_err(|source| AskError::Process { pid, source })?;
    let mut query = format!("&pid={pid}");
    for id in cgroup.lineage() {
        // A `String` takes whatever is written.
        let _ = write!(query, "&cgroup={id}");
    }
    if let Ok(netns) = host::netns(Some(pid)) {
        let _ = write!(query, "&netns={netns}");
    }
    if let Some(uid) = host::uid(pid) {
        let _ = write!(query, "&uid={uid}");
    }
    if let Ok(file) = executable::of_process(pid) {
        let _ = write!(query, "&file={file}");
    }
    Ok(query)
}

/// As forms write it.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        // A `String` takes whatever is written.
        let _ = match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => {
                write!(out, "{}", char::from(byte))
            }
            _ => write!(out, "%{byte:02X}"),
        };
    }
    out
}
