//! The OTLP receiver, `tests/support/demo_receiver.py`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use serde_json::Value;
use sidecar_tests::{
    eventually,
    process::{self, Process},
};

use super::show::Kinds;
use crate::workspace::Workspace;

pub(super) struct Receiver {
    _process: Process,
    state: PathBuf,
    port: u16,
}

/// What has arrived so far.
#[derive(Default)]
pub(super) struct Received {
    /// Counts of `http.server.request.duration`.
    pub(super) requests: Kinds,
    pub(super) spans: Kinds,
    /// Trace ids of spans that have a parent.
    pub(super) traces: Vec<String>,
}

impl Receiver {
    pub(super) fn start(workspace: &Workspace, dir: &Path) -> Result<Self> {
        let (state, log) = (dir.join("received.json"), dir.join("receiver.log"));
        let mut command = Command::new(workspace.parts().join("venv/bin/python"));
        command.arg(workspace.path("tests/support/demo_receiver.py")).arg(&state);
        let mut process = Process::start(&mut command, &log);
        eventually("the OTLP receiver to listen", || {
            assert!(process.is_running(), "the OTLP receiver ended:\n{}", process::read(&log));
            state.is_file().then_some(())
        });
        let port = read(&state)?["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        let port = port.context("the OTLP receiver has a port")?;
        Ok(Self { _process: process, state, port })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn received(&self) -> Result<Received> {
        let state = read(&self.state)?;
        let traces = state["traces"].as_array().into_iter().flatten();
        Ok(Received {
            requests: kinds(&state["requests"]),
            spans: kinds(&state["spans"]),
            traces: traces.filter_map(|trace| trace.as_str().map(str::to_owned)).collect(),
        })
    }
}

fn read(state: &Path) -> Result<Value> {
    let text = fs::read_to_string(state).context("read what the OTLP receiver has")?;
    serde_json::from_str(&text).context("understand what the OTLP receiver has")
}

/// `{"GET 200": 3}`.
fn kinds(counts: &Value) -> Kinds {
    let entries = counts.as_object().into_iter().flatten();
    entries
        .filter_map(|(kind, count)| {
            let (method, status) = kind.split_once(' ')?;
            Some(((method.to_owned(), status.to_owned()), count.as_u64()?))
        })
        .collect()
}
