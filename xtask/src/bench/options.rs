//! What was asked for on the command line.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};

use super::{
    beside::Kind,
    shape::{self, SHAPES, Shape, Unit},
};

/// Connections at once where nothing else was said.
const CONNECTIONS: u32 = 8;

pub(super) struct Options {
    pub(super) n_rounds: usize,
    n_requests: u64,
    n_mebibytes: u64,
    pub(super) shapes: Vec<&'static Shape>,
    connections: Vec<u32>,
    pub(super) kinds: Vec<Kind>,
    pub(super) table: Option<PathBuf>,
    /// The words themselves, for the page that is made of the result.
    pub(super) words: String,
}

impl Options {
    pub(super) fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Options {
            n_rounds: 21,
            n_requests: 20_000,
            n_mebibytes: 4096,
            shapes: vec![&SHAPES[0]],
            connections: vec![CONNECTIONS],
            kinds: vec![Kind::Nothing, Kind::Floor, Kind::Sidecar],
            table: None,
            words: arguments.join(" "),
        };
        let mut words = arguments.iter();
        while let Some(flag) = words.next() {
            let value = words.next().with_context(|| format!("{flag} needs a value"))?;
            match flag.as_str() {
                "--pairs" => options.n_rounds = value.parse().context("--pairs N")?,
                "--requests" => options.n_requests = value.parse().context("--requests N")?,
                "--mebibytes" => options.n_mebibytes = value.parse().context("--mebibytes N")?,
                "--shape" if value == "all" => options.shapes = SHAPES.iter().collect(),
                "--shape" => options.shapes = list(value, Shape::named)?,
                "--connections" => {
                    options.connections = list(value, |n| n.parse().context("--connections N,…"))?
                }
                "--beside" => options.kinds = kinds(value)?,
                "--table" => options.table = Some(value.into()),
                _ => bail!(
                    "no flag {flag}: there are --pairs N, --requests N, --mebibytes N, --shape {}|all, \
                     --connections N,…, --beside floor,sidecar,envoy, --table FILE",
                    shape::names()
                ),
            }
        }
        ensure!(options.n_rounds >= 6, "an interval of 95 % takes 6 pairs at least");
        ensure!(
            options.n_requests >= 1000,
            "fewer than 1000 requests are over before anything can be measured"
        );
        ensure!(options.n_mebibytes >= 64, "fewer than 64 MiB are over before anything can be measured");
        ensure!(options.connections.iter().all(|n| (1..=20_000).contains(n)), "1 to 20000 connections");
        Ok(options)
    }

    /// Bulk goes through one connection, whatever was asked for others.
    pub(super) fn connections_of(&self, shape: &Shape) -> Vec<u32> {
        match shape.unit() {
            Unit::Request => self.connections.clone(),
            Unit::Mebibyte => vec![1],
        }
    }

    /// Units of work in one run: ten requests a connection at least, so that opening them does not outweigh the rest.
    pub(super) fn work(&self, shape: &Shape, connections: u32) -> u64 {
        match shape.unit() {
            Unit::Request => self.n_requests.max(10 * u64::from(connections)),
            Unit::Mebibyte => self.n_mebibytes,
        }
    }
}

fn kinds(value: &str) -> Result<Vec<Kind>> {
    let named = |name: &str| {
        let found = Kind::ALL.into_iter().find(|kind| kind.name() == name);
        found.with_context(|| format!("nothing to put beside is called `{name}`"))
    };
    let mut kinds = list(value, named)?;
    // Everything is compared with nothing.
    kinds.extend([Kind::Nothing, Kind::Sidecar]);
    kinds.sort();
    kinds.dedup();
    Ok(kinds)
}

fn list<T>(value: &str, one: impl Fn(&str) -> Result<T>) -> Result<Vec<T>> {
    value.split(',').map(one).collect()
}
