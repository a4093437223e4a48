//! The sidecar daemon. Everything begins in [`app`].

mod admin;
mod app;
mod chain;
mod cli;
mod config;
mod discovery;
mod export;
mod kernel;
mod traffic;

use std::process::ExitCode;

fn main() -> ExitCode {
    app::main()
}
