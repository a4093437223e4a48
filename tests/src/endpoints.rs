//! Servers that say in each answer who they are, and write down when each request began; and the client that asks at a steady rate.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{
    nginx::Nginx,
    process::{self, Process},
};
use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

/// What it serves, in 100 bytes.
pub const PATH: &str = "/100.bin";

/// An nginx, which may be down.
pub struct Endpoint {
    /// As its answers call it.
    pub name: String,
    /// `HOST:PORT`.
    pub address: String,
    nginx: Nginx,
    dir: PathBuf,
    process: Option<Process>,
}

/// A request as its server wrote it down.
pub struct Logged {
    /// When it began, µs since the epoch; in whole ms.
    pub begun: u64,
    /// That of its answer.
    pub status: u16,
}

impl Endpoint {
    /// Not running yet.
    pub fn new(dir: &Path, name: &str, host: &str, port: u16) -> Endpoint {
        let dir = dir.join(name);
        let nginx = Nginx::prepare(&dir, host, port, "");
        nginx.amend("$body_bytes_sent'", "$body_bytes_sent $msec $request_time'");
        let root = format!("root {}/html;", dir.display());
        nginx.amend(&root, &format!("add_header X-Endpoint {name} always; {root}"));
        let address = format!("{host}:{port}");
        Endpoint { name: name.to_owned(), address, nginx, dir, process: None }
    }

    /// Changes its configuration, which it goes by from its next start on, or [`Endpoint::reload`].
    pub fn amend(&self, from: &str, to: &str) {
        self.nginx.amend(from, to);
    }

    /// Returns when it listens.
    pub fn start(&mut self) {
        let words = self.nginx.command();
        let output = self.dir.join("out");
        self.process = Some(Process::start(Command::new(&words[0]).args(&words[1..]), &output));
        self.nginx.await_listening();
    }

    /// Lets it read its configuration again; does not wait.
    pub fn reload(&self) {
        self.signal(Signal::HUP);
    }

    /// Ends it by this signal.
    pub fn end(&mut self, signal: Signal) {
        self.signal(signal);
        if let Some(mut process) = self.process.take() {
            process.wait();
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(process) = &self.process {
            process.signal(signal);
        }
    }

    /// All that it has answered.
    pub fn log(&self) -> Result<Vec<Logged>> {
        let text = process::read(&self.dir.join("access.log"));
        // The last line may be half written.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(Logged::read).collect()
    }
}

impl Logged {
    fn read(line: &str) -> Result<Logged> {
        let words: Vec<_> = line.split(' ').collect();
        let [_, status, _, _, at, took] = words[..] else { anyhow::bail!("nginx logged: {line}") };
        // Seconds, with three digits behind the point.
        let us = |text: &str| text.replace('.', "").parse::<u64>().map(|ms| ms * 1000);
        let (at, took) = (us(at).context("$msec")?, us(took).context("$request_time")?);
        Ok(Logged { begun: at.saturating_sub(took), status: status.parse().context("$status")? })
    }
}

/// A client's request, as it tells of it. Times in µs since the epoch.
pub struct Asked {
    /// By the rate.
    pub due: u64,
    /// When the client came to it.
    pub begun: u64,
    /// When its connection was asked for.
    pub opened: u64,
    /// When its answer was whole, or it had failed.
    pub ended: u64,
    /// Who answered.
    pub endpoint: Option<String>,
    /// A status, or an error in one word.
    pub outcome: String,
}

impl Asked {
    /// It was answered with 200.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.outcome == "200"
    }

    fn read(line: &str) -> Result<Asked> {
        let words: Vec<_> = line.split(' ').collect();
        let [due, begun, opened, ended, _, endpoint, outcome] = words[..] else {
            anyhow::bail!("the client told: {line}")
        };
        let us = |text: &str| text.parse().with_context(|| format!("the client told: {line}"));
        let (due, begun, opened, ended) = (us(due)?, us(begun)?, us(opened)?, us(ended)?);
        let endpoint = (endpoint != "-").then(|| endpoint.to_owned());
        Ok(Asked { due, begun, opened, ended, endpoint, outcome: outcome.to_owned() })
    }
}

/// A client at work.
pub struct Client {
    process: Process,
    output: PathBuf,
}

impl Client {
    /// `words` start it, whatever goes before its program.
    pub fn start(words: &[String], output: PathBuf) -> Client {
        Client { process: Process::start(Command::new(&words[0]).args(&words[1..]), &output), output }
    }

    /// What it has told so far, but for what it has not written yet.
    pub fn told(&self) -> Result<Vec<Asked>> {
        let text = process::read(&self.output);
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(Asked::read).collect()
    }

    /// Lets it come to its end: all that it did.
    pub fn finish(mut self) -> Result<Vec<Asked>> {
        self.process.signal(Signal::TERM);
        let status = self.process.wait();
        ensure!(status.success(), "the client ended with {status}:\n{}", process::read(&self.output));
        self.told()
    }
}

/// µs since the epoch.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64
}
