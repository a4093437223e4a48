//! `cargo xtask demo`: a real server under `sidecar run`, real requests, and what was seen of them. What it shows is
//! compared with the server's own access log, and it fails where they differ.

mod receiver;
mod show;
mod stage;
mod visitors;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use sidecar_tests::scrape::Scrape;
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

use crate::{
    build, only_flag, privileges,
    setup::{self, Extent},
    workspace::Workspace,
};
use receiver::Received;
use show::Kinds;
use stage::Stage;

/// Spans wait for their batch up to 5 s.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two requests while a person looks around.
const PACE: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(200);

pub(crate) fn command(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let is_once = only_flag(arguments, "--once")?;
    privileges::check()?;
    let compiler = setup::run(workspace, Extent::BuildAndTest)?;
    build::release(workspace, &compiler)?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register(signal, Arc::clone(&stop)).context("catch the signals that end the demo")?;
    }
    // The harness panics where something does not come up; what it says is all that a person needs.
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("demo: {}", panic.payload_as_str().unwrap_or("failed"));
    }));
    let stage = Stage::new(workspace)?;
    stage.introduce();
    visitors::all(&stage.nginx)?;
    let seen = stage.sidecar.scrape_at_rest();
    let logged = stage.nginx.answered();
    let received = wait_for(&stage, &seen)?;
    show::everything(&stage, &seen, &logged, &received);
    show::verdict(&seen, &logged, &received)?;
    if !is_once {
        stay(&stage, &stop)?;
    }
    Ok(())
}

/// What the receiver has once it has everything, or after some time without.
fn wait_for(stage: &Stage, seen: &Scrape) -> Result<Received> {
    let wanted: Kinds = seen.requests("server");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let received = stage.receiver.received()?;
        if (received.requests == wanted && received.spans == wanted) || Instant::now() > deadline {
            return Ok(received);
        }
        sleep(LOOK);
    }
}

/// Until Ctrl-C, with a request now and then, so that there is something to see.
fn stay(stage: &Stage, stop: &AtomicBool) -> Result<()> {
    println!(
        "\nIt goes on, with a request every {} s. Look for yourself, in another terminal:",
        PACE.as_secs()
    );
    println!("  curl http://127.0.0.1:{}/metrics", stage.sidecar.port);
    println!("  curl http://127.0.0.1:{}/connections", stage.sidecar.admin_port);
    println!("  curl http://127.0.0.1:{}/100.bin     (the server itself)", stage.nginx.port);
    println!("Ctrl-C ends it.");
    let mut next = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        if Instant::now() >= next {
            if let Err(error) = visitors::one(&stage.nginx)
                && !stop.load(Ordering::Relaxed)
            {
                bail!("the server does not answer any more: {error:#}");
            }
            next = Instant::now() + PACE;
        }
        sleep(LOOK);
    }
    println!();
    Ok(())
}
