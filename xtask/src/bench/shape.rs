//! What is asked of the server, and by which client.

use anyhow::{Context as _, Result, ensure};

/// A kind of load.
pub(super) struct Shape {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    path: &'static str,
    pub(super) client: Client,
}

/// Programs that do a fixed amount of work and count it, each on one thread.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Client {
    H2load,
    Ab,
    Iperf3,
}

/// What work is counted in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Request,
    Mebibyte,
}

pub(super) const SHAPES: &[Shape] = &[
    Shape { name: "small", about: "GET of 100 bytes, keep-alive", path: "100.bin", client: Client::H2load },
    Shape { name: "10k", about: "GET of 10 kB, keep-alive", path: "10000.bin", client: Client::H2load },
    Shape {
        name: "close",
        about: "GET of 100 bytes, a connection for each",
        path: "100.bin",
        client: Client::Ab,
    },
    Shape { name: "bulk", about: "plain TCP, one way", path: "", client: Client::Iperf3 },
];

impl Shape {
    pub(super) fn named(name: &str) -> Result<&'static Shape> {
        let found = SHAPES.iter().find(|shape| shape.name == name);
        found.with_context(|| format!("no shape `{name}`: there are {} and all", names()))
    }

    pub(super) fn unit(&self) -> Unit {
        match self.client {
            Client::H2load | Client::Ab => Unit::Request,
            Client::Iperf3 => Unit::Mebibyte,
        }
    }

    /// The client's command line for `n` units on so many connections at once.
    pub(super) fn words(&self, port: u16, n: u64, connections: u32) -> Vec<String> {
        let url = format!("http://127.0.0.1:{port}/{}", self.path);
        let words = match self.client {
            Client::H2load => format!("h2load --h1 -t 1 -n {n} -c {connections} {url}"),
            Client::Ab => format!("ab -q -n {n} -c {connections} {url}"),
            // `-n` is what each connection sends.
            Client::Iperf3 => {
                let each = n / u64::from(connections.max(1));
                format!("iperf3 -c 127.0.0.1 -p {port} -P {connections} -n {each}M -J")
            }
        };
        words.split(' ').map(str::to_owned).collect()
    }
}

pub(super) fn names() -> String {
    SHAPES.iter().map(|shape| shape.name).collect::<Vec<_>>().join("|")
}

impl Unit {
    pub(super) fn name(self) -> &'static str {
        match self {
            Unit::Request => "request",
            Unit::Mebibyte => "MiB",
        }
    }
}

impl Client {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::H2load => "h2load",
            Self::Ab => "ab",
            Self::Iperf3 => "iperf3",
        }
    }

    /// That all was done, and well, as the client says.
    pub(super) fn check(self, said: &str, n: u64) -> Result<()> {
        let is_complete = match self {
            Self::H2load => {
                said.contains(&format!("{n} succeeded, 0 failed, 0 errored"))
                    && said.contains(&format!("status codes: {n} 2xx"))
            }
            Self::Ab => {
                let value = |name: &str| {
                    let line = said.lines().find_map(|line| line.strip_prefix(name));
                    line.and_then(|line| line.trim().parse::<u64>().ok())
                };
                value("Complete requests:") == Some(n)
                    && value("Failed requests:") == Some(0)
                    && value("Non-2xx responses:").is_none()
            }
            Self::Iperf3 => {
                let told: serde_json::Value = serde_json::from_str(said).context("read iperf3's report")?;
                let sent = told["end"]["sum_sent"]["bytes"].as_u64();
                sent.is_some_and(|bytes| bytes >= n * 1024 * 1024)
            }
        };
        ensure!(is_complete, "{} did not get {n} times what it asked for:\n{said}", self.name());
        Ok(())
    }
}
