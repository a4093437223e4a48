//! The daemon's own log: lines on standard error, with a level that can be changed while it runs.

use std::io::{self, IsTerminal as _};

use sidecar_core::config::{Level, Log, LogFormat};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    Layer as _, Registry, filter::Targets, fmt, layer::SubscriberExt as _, reload,
    util::SubscriberInitExt as _,
};

pub(super) use crate::chain::chain;

/// Changes the level.
pub(crate) type Reload = reload::Handle<Targets, Registry>;

/// Sets the log up. Lines of the `log` crate (the kernel programs' own come through it) are taken too.
pub(crate) fn init(log: &Log) -> Reload {
    let (filter, reload) = reload::Layer::new(filter(log.level));
    let registry = tracing_subscriber::registry().with(filter);
    let lines = fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    let lines = match log.format {
        LogFormat::Text => lines.with_target(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    // It fails only if there is a log already.
    let _ = registry.with(lines).try_init();
    reload
}

/// A level of ours as `tracing` has it. aya tells of each relocation at `debug`: that is for `trace`.
pub(crate) fn filter(level: Level) -> Targets {
    let of_ours = match level {
        Level::Off => LevelFilter::OFF,
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    let of_aya = if level == Level::Trace { of_ours } else { of_ours.min(LevelFilter::WARN) };
    Targets::new().with_default(of_ours).with_target("aya", of_aya).with_target("aya_obj", of_aya)
}
