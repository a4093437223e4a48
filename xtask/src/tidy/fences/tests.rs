use super::{Source, check};

/// The lines that `text`, as the file `file`, breaks a rule on.
fn lines(file: &str, text: &str) -> Vec<usize> {
    let source = Source::parse(file, text).expect(text);
    let mut violations = Vec::new();
    check(&source, &mut violations);
    let mut lines: Vec<usize> = violations.iter().map(|violation| violation.line).collect();
    lines.dedup();
    lines
}

fn flagged(file: &str, text: &str) {
    assert_ne!(lines(file, text), [0_usize; 0], "{file}: not flagged: {text}");
}

fn fine(file: &str, text: &str) {
    assert_eq!(lines(file, text), [0_usize; 0], "{file}: flagged: {text}");
}

#[test]
fn a_fence_holds_for_every_way_to_write_a_path() {
    let file = "sidecar-user/src/identity/mod.rs";
    for text in [
        "use aya::Ebpf;",
        "use aya;",
        "use aya::*;",
        "use ::aya::Ebpf;",
        "use {aya as x};",
        "use {bytes::Bytes, aya::{maps::{HashMap, RingBuf}, self}};",
        "pub use aya::Ebpf as Loaded;",
        "extern crate aya;",
        "extern crate aya as other;",
        "fn f(_: &aya::Ebpf) {}",
        "fn f() { let _ = ::aya::Ebpf::load(b\"\"); }",
        "fn f() -> Option<Vec<aya::Ebpf>> { None }",
        "impl From<aya::EbpfError> for E { fn from(_: aya::EbpfError) -> E { E } }",
        "fn f() { aya::include_bytes_aligned!(\"x\"); }",
        "fn f() { println!(\"{}\", aya::util::nr_cpus()); }",
        "#[derive(aya::Pod)] struct S;",
        "#[aya::main] fn f() {}",
        "fn f() { use aya::Ebpf; }",
        "mod inner { use aya_log::EbpfLogger; }",
        "#[cfg(test)] mod tests { use aya::Ebpf; }",
        "macro_rules! m { () => { aya::Ebpf::load(b\"\") } }",
        "struct S { #[serde(with = \"x\")] ebpf: aya::Ebpf }",
        "use opentelemetry_sdk::Resource;",
        "use tonic::Status;",
        "use prost::Message;",
        "use clap::Parser;",
        "use anyhow::Result;",
    ] {
        flagged(file, text);
    }
    fine(
        file,
        "use crate::kernel::Observer; mod aya_like; use bytes::Bytes; fn f() { ayah::f(); let aya = 1; }",
    );
    fine(file, "mod tonic; fn f() { tonic::f(); crate::aya::f(); super::clap::f(); }");
    fine(
        file,
        "fn f() { info!(aya = 1, \"the word aya, and aya::Ebpf in a text\"); }\n/// aya::Ebpf\nfn g() {}",
    );
}

#[test]
fn renamed_imports_are_followed() {
    let file = "sidecar-user/src/kernel/mod.rs";
    assert_eq!(lines(file, "use std as s;\nfn f() { s::env::var(\"X\"); }"), [2]);
    assert_eq!(lines(file, "use std as s;\nuse s::env as e;\nfn f() { e::var(\"X\"); }"), [2]);
    assert_eq!(lines(file, "use std::{\n    env,\n};\nfn f() { env::var(\"X\"); }"), [2]);
    assert_eq!(lines(file, "use std::*;\nfn f() { env::var(\"X\"); }"), [1]);
    fine(file, "use crate::environment as env; fn f() { env::var(); }");
    fine(file, "const OBJECT: &str = env!(\"SIDECAR_BPF_OBJECT\");");
}

#[test]
fn homes_are_open() {
    fine("sidecar-user/src/kernel/ring.rs", "use aya::maps::RingBuf; fn f() { aya_log::x(); }");
    fine(
        "sidecar-user/src/export/otlp.rs",
        "use opentelemetry_proto::tonic::metrics::v1::Metric; use tonic::Code;",
    );
    fine("sidecar-user/src/cli.rs", "use clap::Parser; fn f() { std::env::args(); }");
    fine("sidecar-user/src/config/load.rs", "fn f() { std::env::vars(); }");
    fine("sidecar-user/src/app.rs", "use anyhow::Context as _;");
    fine("xtask/src/main.rs", "use anyhow::Result; fn f() { std::env::args(); }");
    fine("sidecar-user/src/discovery/proc.rs", "const P: &str = \"/proc/self/mountinfo\";");
}

#[test]
fn core_is_pure_and_layered() {
    let core = |module: &str| format!("sidecar-user/core/src/{module}/mod.rs");
    flagged(&core("flow"), "use std::time::{Duration, Instant};");
    flagged(&core("flow"), "fn f() { std::time::SystemTime::now(); }");
    flagged(&core("flow"), "use std::time; fn f() -> time::Instant { time::Instant::now() }");
    flagged(&core("config"), "fn f() { let _ = std::fs::read(\"x\"); }");
    flagged(&core("config"), "use std::net::*;");
    fine(&core("flow"), "use std::{net::{IpAddr, SocketAddr}, time::Duration};");

    flagged(&core("model"), "use crate::event::Event;");
    flagged(&core("model"), "use super::protocol;");
    flagged(&core("model"), "mod inner { use super::super::flow; }");
    flagged(&core("model"), "use crate::*;");
    flagged(&core("protocol"), "fn f(_: crate::signal::Store) {}");
    flagged(&core("signal"), "use crate::{model::Exchange, protocol::Parser};");
    flagged(&core("signal"), "use crate as c; fn f() { c::config::f(); }");
    flagged(&core("flow"), "use crate::signal::Store;");
    flagged(&core("signal"), "use sidecar_ebpf::abi::count;");
    flagged(&core("protocol"), "use sidecar_ebpf::abi::record;");
    fine("sidecar-user/core/src/signal/kernel.rs", "use sidecar_ebpf::abi::count;");
    fine(&core("flow"), "use crate::{event::Event, protocol::Parser, model::Exchange}; use super::flow::x;");
    fine(&core("event"), "use sidecar_ebpf::abi::record; use crate::model; use self::decode::f; mod decode;");
    fine("sidecar-user/core/src/signal/tests.rs", "use super::*; use crate::model::Exchange;");
    fine(
        "sidecar-user/core/src/protocol/http1/mod.rs",
        "use super::detect; use crate::protocol::Step; mod signal;",
    );
    fine(
        "sidecar-user/core/src/protocol/http1/mod.rs",
        "mod signal; use signal::x; fn f() { self::signal::f(); }",
    );
}

#[test]
fn lower_layers_of_the_daemon_do_not_know_the_upper_ones() {
    flagged("sidecar-user/src/kernel/attach.rs", "fn f() { crate::app::run(); }");
    flagged("sidecar-user/src/export/mod.rs", "use crate::{admin::Server, kernel};");
    flagged("sidecar-user/src/export/mod.rs", "use super::cli::Cli;");
    flagged("sidecar-user/src/config/load.rs", "use super::super::cli;");
    flagged("sidecar-user/src/traffic/mod.rs", "macro_rules! m { () => { $crate::app::run() } }");
    fine("sidecar-user/src/admin/mod.rs", "use crate::{app::App, kernel};");
    fine("sidecar-user/src/main.rs", "mod app; mod cli; fn main() { app::run(cli::parse()); }");
}

#[test]
fn places_are_looked_for_in_discovery() {
    let file = "sidecar-user/src/kernel/attach.rs";
    flagged(file, "const P: &str = \"/proc\";");
    flagged(file, "fn f(pid: u32) { format!(\"/proc/{pid}/cgroup\"); }");
    flagged(file, "fn f() { open(c\"/sys/fs/cgroup\"); }");
    flagged(file, "fn f() { open(b\"/sys/fs/cgroup/x\"); }");
    fine(
        file,
        "const P: &str = \"/process\"; const Q: &str = \"/sys/fs/bpf\";\n/// \"/proc\"\n#[doc = \"/proc/x\"] fn f() {}",
    );
    fine(file, "#[cfg(test)] mod tests { const P: &str = \"/proc/self\"; }");
    fine(file, "#[test] fn t() { open(\"/proc/self\"); }");
    flagged(file, "#[cfg(not(test))] mod real { const P: &str = \"/proc/self\"; }");
}
