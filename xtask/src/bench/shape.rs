//! What is requested, and by which client.

use anyhow::{Context as _, Result, ensure};

/// Connections that are open at once.
pub(super) const CONNECTIONS: u32 = 8;

/// A kind of load.
pub(super) struct Shape {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) path: &'static str,
    pub(super) client: Client,
}

/// Programs that send a fixed number of requests and count the answers, each on one thread.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Client {
    H2load,
    Ab,
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
];

impl Shape {
    pub(super) fn named(name: &str) -> Result<&'static Shape> {
        let found = SHAPES.iter().find(|shape| shape.name == name);
        found.with_context(|| format!("no shape `{name}`: there are {} and all", names()))
    }
}

pub(super) fn names() -> String {
    SHAPES.iter().map(|shape| shape.name).collect::<Vec<_>>().join("|")
}

impl Client {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::H2load => "h2load",
            Self::Ab => "ab",
        }
    }

    pub(super) fn words(self, url: &str, n: u64) -> Vec<String> {
        let (n, connections) = (n.to_string(), CONNECTIONS.to_string());
        let words = match self {
            Self::H2load => vec!["h2load", "--h1", "-t", "1", "-n", &n, "-c", &connections, url],
            Self::Ab => vec!["ab", "-q", "-n", &n, "-c", &connections, url],
        };
        words.into_iter().map(str::to_owned).collect()
    }

    /// That all were answered, and well, as the client says.
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
        };
        ensure!(is_complete, "{} did not get {n} good answers:\n{said}", self.name());
        Ok(())
    }
}
