//! The wiring, to be read from top to bottom: what is started, in which order, and how it ends.
//!
//! Until the command is started everything happens on the main thread, because capabilities and the cgroup of a new
//! process belong to the thread; only then come the runtime and the other threads, which inherit what is left.

mod accounts;
mod arrival;
mod ask;
mod attach;
mod child;
mod containers;
mod destination;
mod doctor;
mod explain;
mod facts;
mod health;
mod identity;
mod last;
mod limits;
mod logging;
mod notify;
mod others;
mod pipeline;
mod plain;
mod record;
mod reload;
mod replay;
mod spans;
mod steering;
mod tap;
mod top;
mod watching;

use std::{
    path::Path,
    process::{ExitCode, ExitStatus},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use rustix::process::Pid;
use sidecar_core::{
    config::{Config, Listen, Resolved},
    model::Directory,
};
use tokio::{
    runtime,
    sync::{Notify, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::{error, info, warn};

use self::{
    attach::{Place, Watch},
    child::{Notice, Signals},
    facts::Facts,
    logging::chain,
    notify::Notifier,
    pipeline::Handle,
    reload::{Files, Reloader},
    steering::Steered,
    watching::Observed,
};
use crate::{
    admin::{
        Facts as _, Verdict,
        bind::{self, Bound},
        serve::{Face, serve},
    },
    cli::{self, EXIT_DEGRADED, EXIT_FAILURE, EXIT_UNOBSERVED, EXIT_USAGE, Invocation, Run, Target},
    config::{
        Downward,
        file::Reader,
        load::{self, LoadError},
        supervisor::Supervisor,
    },
    discovery::pod,
    export::{
        ExportStats, Resource,
        otlp::{self, Exporter, Receivers},
    },
    kernel::{self, Maps},
    traffic::Waiting,
};

/// Spans that wait to be pushed.
const SPANS: usize = 2048;
/// How long the last records may take to be read.
const LAST_RECORDS: Duration = Duration::from_secs(1);
/// How long after one try to open the public listener the next one comes.
const OPEN_AGAIN: Duration = Duration::from_secs(5);

/// Does what the command line says.
pub(crate) fn main() -> ExitCode {
    let invocation = cli::parse();
    if let Err(error) = kernel::take_effect() {
        eprintln!("sidecar: raise the permitted capabilities: {error}");
    }
    let code = match invocation {
        Invocation::Run(run) => start(run),
        Invocation::Check { file } => Ok(check(&file)),
        Invocation::Doctor { output } => Ok(doctor::report(output)),
        Invocation::Unpin { dir } => unpin(&dir),
        Invocation::Explain(explain) => ask::destination(&explain).map_err(Into::into),
        Invocation::Tap(asked) => tap::print(&asked).map_err(Into::into),
        Invocation::Top(asked) => top::show(&asked).map_err(Into::into),
        Invocation::Record(asked) => record::write(&asked).map_err(Into::into),
        Invocation::Replay(asked) => replay::print(&asked).map_err(Into::into),
        Invocation::Version => {
            println!("sidecar {}", env!("CARGO_PKG_VERSION"));
            Ok(0)
        }
    };
    let code = code.unwrap_or_else(|error| {
        eprintln!("sidecar: {error:#}");
        EXIT_FAILURE
    });
    ExitCode::from(code)
}

fn check(file: &Path) -> u8 {
    let mut reader = Reader::at_start();
    let checked = load::check(file, &mut reader).and_then(|loaded| reload::open(loaded, &mut reader));
    match checked {
        Ok((resolved, _)) => {
            for notice in &resolved.notices {
                println!("{notice}");
            }
            println!("{}: valid", file.display());
            0
        }
        Err(error) => usage(&error),
    }
}

/// `sidecar unpin`: the exit code.
fn unpin(dir: &Path) -> anyhow::Result<u8> {
    let done = kernel::unpin(dir)?;
    println!("{}: {} pinned objects removed", dir.display(), done.n_removed);
    for left in &done.left {
        eprintln!("sidecar: left: {left}");
    }
    Ok(if done.left.is_empty() { 0 } else { EXIT_DEGRADED })
}

fn usage(error: &dyn std::error::Error) -> u8 {
    eprintln!("sidecar: {error}");
    if let Some(source) = error.source() {
        eprintln!("  because: {source}");
    }
    EXIT_USAGE
}

/// `sidecar run`: the exit code.
fn start(args: Run) -> anyhow::Result<u8> {
    let file = load::file(args.config.as_deref());
    let mut reader = Reader::at_start();
    let loaded = match load::load(file.as_deref(), args.settings.clone(), &mut reader) {
        Ok(loaded) => loaded,
        Err(error) => return without_settings(&args, &error),
    };
    let Some(target) = args.target.as_ref().filter(|_| !args.print_config) else {
        for notice in &loaded.resolved.notices {
            eprintln!("{notice}");
        }
        print!("{}", loaded.resolved.print());
        return Ok(0);
    };
    // Valid or refused: a certificate that cannot be read is found now, not at the first push.
    let (resolved, receivers) = match reload::open(loaded, &mut reader) {
        Ok(opened) => opened,
        Err(error) => return without_settings(&args, &error),
    };
    let files = Files::new(file, args.settings.clone(), &resolved, &mut reader);
    let log = logging::init(&resolved.config.log);
    for notice in &resolved.notices {
        warn!("{notice}");
    }
    let signals = Signals::install().context("install signal handlers")?;
    let config = &resolved.config;
    // Everything that a command of ours needs to be seen from its first socket on comes before it.
    let pod = Downward::read(pod::is_around());
    let begun = Place::of(target, args.whole_node, pod.uid.as_deref()).and_then(|(place, source)| {
        let watch = Watch::begin(source, config)?;
        Ok((place, watch))
    });
    let (place, mut watch) = match (begun, target) {
        (Ok(begun), _) => begun,
        (Err(error), Target::Command(_)) if args.strict => {
            error!(error = chain(&error), "observation cannot start, and --strict was given");
            return Ok(EXIT_UNOBSERVED);
        }
        (Err(error), Target::Command(command)) => {
            error!(error = chain(&error), "observation cannot start: running unobserved");
            return unobserved(command, signals);
        }
        (Err(error), _) => return Err(error).context("observation cannot start"),
    };
    // After attaching, so that these sockets, should they share the application's cgroup, are known as ours.
    let public = match bind::public(config.metrics.listen) {
        Ok(public) => Some(public),
        Err(error) if args.strict => {
            error!(error = chain(&error), "the metrics cannot be served, and --strict was given");
            place.remove();
            return Ok(EXIT_UNOBSERVED);
        }
        // Nobody would ever see what is observed.
        Err(error) if receivers.is_empty() && !matches!(target, Target::Command(_)) => {
            place.remove();
            return Err(error)
                .context("metrics.listen: the metrics cannot be served, and otlp.endpoint is not set");
        }
        Err(error) => {
            error!(error = chain(&error), "listener not opened: going on without, and trying again");
            None
        }
    };
    let listeners = Listeners { public, admin: open_admin(config) };
    let (maps, unpinned) = (watch.maps.steering.take(), watch.unpinned.take());
    let steered = steering::begin(maps, unpinned, &watch.watcher.attached().refused, config);
    let steered = match steered {
        Ok(steered) => Ok(steered),
        Err(error) if args.strict => {
            error!(error = chain(&error), "connections cannot be steered, and --strict was given");
            place.remove();
            return Ok(EXIT_UNOBSERVED);
        }
        Err(error) => {
            let now = match &config.traffic.pin {
                Some(_) => "by what is pinned, or where they ask",
                None => "where they ask",
            };
            error!(error = chain(&error), "connections are not steered: they go {now}");
            Err(format!("connections are not steered: {}", chain(&error)))
        }
    };
    let child = match target {
        Target::Command(command) => {
            let procs = place.procs().context("open cgroup.procs")?;
            match child::spawn(command, procs.as_ref()) {
                Ok(child) => Some(child),
                Err(error) => {
                    eprintln!("sidecar: start {}: {error}", command[0].display());
                    place.remove();
                    return Ok(child::exit_code(&error));
                }
            }
        }
        Target::Cgroups(_) | Target::Pid(_) | Target::Pod => None,
    };
    // Not the command's, which was started with what we were.
    limits::raise_descriptors();
    if let Err(error) = kernel::drop_effective(&place.later(config.traffic.tells_executables())) {
        warn!(%error, "capabilities not dropped");
    }
    if !watch.maps.counts.is_reachable() {
        let kept = kernel::keep_bpf().is_ok();
        info!(kept, "this kernel asks for CAP_BPF with each use of a map: it stays in effect");
    }
    let runtime = runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    let code = runtime.block_on(observe(
        resolved, files, receivers, log, target, &pod, watch, listeners, steered, signals, child,
    ));
    runtime.shutdown_timeout(Duration::from_millis(100));
    place.remove();
    code
}

/// Settings that are not valid. Whoever changes a file or a variable may be far from the application, which must start all
/// the same; whoever types a command line sees what is wrong with it.
fn without_settings(args: &Run, error: &LoadError) -> anyhow::Result<u8> {
    let code = usage(error);
    match &args.target {
        Some(Target::Command(command)) if !(args.strict || args.print_config || error.is_of_flags()) => {
            eprintln!("sidecar: the settings are not valid: running unobserved");
            unobserved(command, Signals::install().context("install signal handlers")?)
        }
        _ => Ok(code),
    }
}

/// The command, without anybody looking.
fn unobserved(command: &[std::ffi::OsString], signals: Signals) -> anyhow::Result<u8> {
    let child = match child::spawn(command, None) {
        Ok(child) => child,
        Err(error) => {
            eprintln!("sidecar: start {}: {error}", command[0].display());
            return Ok(child::exit_code(&error));
        }
    };
    let mut notices = signals.start(Some(child)).context("start the signals' thread")?;
    loop {
        match notices.blocking_recv() {
            Some(Notice::Ended(status)) => return Ok(child::code_of(status)),
            Some(Notice::Stop | Notice::Reload) => {}
            None => anyhow::bail!("the signals' thread is gone"),
        }
    }
}

/// The two listeners, as far as they could be opened.
struct Listeners {
    public: Option<Bound>,
    admin: Option<Bound>,
}

fn open_admin(config: &Config) -> Option<Bound> {
    let tell = |error: bind::BindError| {
        error!(error = chain(&error), "listener not opened: going on without");
    };
    bind::admin(&config.admin.listen).map_err(tell).ok()
}

/// The public listener, once its address is free.
async fn open_later(listen: Listen) -> Bound {
    loop {
        sleep(OPEN_AGAIN).await;
        if let Ok(bound) = bind::public(listen) {
            info!(metrics = %bound.address, "listener opened");
            return bound;
        }
    }
}

/// From here on everything runs; returns when the command ended or we were told to stop.
#[expect(clippy::too_many_arguments, reason = "the wiring's one meeting point")]
async fn observe(
    resolved: Resolved,
    files: Files,
    receivers: Receivers,
    log: logging::Reload,
    target: &Target,
    pod: &Downward,
    watch: Watch,
    listeners: Listeners,
    steered: Result<Option<(Arc<Steered>, Waiting)>, String>,
    signals: Signals,
    child: Option<Pid>,
) -> anyhow::Result<u8> {
    let config = resolved.config.clone();
    let mut notices = signals.start(child).context("start the signals' thread")?;
    let (drain, draining) = watch::channel(false);
    let (drain_servers, servers_draining) = watch::channel(false);

    // The path of the data: ring, flows, store; then whoever wants to see it.
    let stats = Arc::new(ExportStats::default());
    let (spans, span_queue) = otlp::queue(SPANS, Arc::clone(&stats));
    let Watch { mut watcher, maps: Maps { ring, verdicts, counts, .. }, .. } = watch;
    let observed = watcher.observed();
    let subject = watcher.first();
    let resource = Arc::new(Resource::new(identity::attributes(&config, target, subject.as_ref(), pod)));
    let parts = pipeline::Parts {
        service: resource.service_name().into(),
        ring,
        verdicts,
        counts,
        containers: observed.containers(),
        is_pod: matches!(target, Target::Pod),
        spans,
        directory: match &steered {
            Ok(Some((steered, _))) => steered.directory(),
            Ok(None) | Err(_) => Directory::default(),
        },
        watched: steered.as_ref().ok().and_then(Option::as_ref).map(|(steered, _)| steered.watched()),
    };
    let (handle, thread) = parts.start(&config, &stats).context("start the capture thread")?;

    let (steered, relay) = match steered {
        Ok(Some((steered, waiting))) => {
            steered.tell(handle.clone());
            steered.attach_by(watcher.asks());
            let relay = steered.start(waiting);
            (Ok(Some(steered)), relay)
        }
        Ok(None) => (Ok(None), None),
        Err(why) => (Err(why), None),
    };
    let options = otlp::Options {
        interval: config.otlp.interval.get(),
        form: otlp::Form { temporality: config.otlp.temporality, histograms: config.otlp.histograms },
        drain: config.shutdown.deadline.get(),
        ..otlp::Options::default()
    };
    let (exporter, switch) = Exporter::new(receivers, options, &resource, Arc::clone(&stats))
        .context("set up the push by OTLP")?;
    let facts = Arc::new(Facts::new(
        handle.clone(),
        Arc::clone(&observed),
        Arc::clone(&resource),
        switch,
        steered.clone(),
        resolved,
        log,
    ));

    let mut servers = JoinSet::new();
    let mut addresses = [const { String::new() }; 2];
    let listeners = [(listeners.public, Face::Public), (listeners.admin, Face::Admin)];
    for ((bound, face), address) in listeners.into_iter().zip(&mut addresses) {
        let Some(bound) = bound else {
            if face == Face::Public {
                let (facts, mut draining) = (Arc::clone(&facts), servers_draining.clone());
                let listen = config.metrics.listen;
                servers.spawn(async move {
                    let bound = tokio::select! {
                        bound = open_later(listen) => bound,
                        _ = draining.wait_for(|is_draining| *is_draining) => return,
                    };
                    if let Err(error) = serve(bound, face, facts, draining).await {
                        error!(%error, "a listener cannot serve");
                    }
                });
            }
            continue;
        };
        if let Some(note) = &bound.note {
            warn!("{note}");
        }
        *address = bound.address.to_string();
        let serving = serve(bound, face, facts.clone(), servers_draining.clone());
        servers.spawn(async {
            if let Err(error) = serving.await {
                error!(%error, "a listener cannot serve");
            }
        });
    }
    let source = facts::Source { facts: Arc::clone(&facts) };
    let exporter = tokio::spawn(async move { exporter.run(&source, span_queue, draining).await });
    let logger = watcher.attached().start_logger();

    info!(
        cgroup = watcher.first().map(|first| first.path.display().to_string()),
        cgroup_id = watcher.first().map(|first| first.id),
        programs = observed.summary(),
        metrics = addresses[0],
        admin = addresses[1],
        "attached"
    );
    for refusal in &watcher.attached().refused {
        warn!(program = refusal.program, hook = refusal.hook, lost = refusal.loses, "{refusal}");
    }

    let steered = steered.ok().flatten();
    let notifier = Arc::new(Notifier::new(&Supervisor::own(), child.is_some()));
    notifier.ready(&observed.summary());
    let watchdog = start_watchdog(&notifier, &facts);

    let asked = Notify::new();
    let reloader = Reloader::new(files, Arc::clone(&facts), Arc::clone(&notifier));
    let ended = tokio::select! {
        ended = wait(&mut notices, child, &asked) => ended?,
        () = reloader.run(&asked) => None,
        () = watcher.run(steered.clone()) => None,
        () = alive(steered.as_deref()) => None,
    };
    info!(ended = ended.map(tracing::field::display), "stopping");
    notifier.stopping();
    if let (Some(steered), Some(relay)) = (steered, relay) {
        // Of a command that has ended nobody is left to wait for.
        let deadline = if ended.is_some() { Duration::ZERO } else { config.shutdown.deadline.get() };
        steered.end(&relay, deadline).await;
        relay.stop();
    }

    // In this order: what is in the ring, then what was made of it, then whoever may ask.
    stop_capture(&handle, &observed, &facts).await;
    let _ = drain.send(true);
    if exporter.await.is_err() {
        // It ends by itself, at the deadline at the latest.
        error!("the exporter panicked");
    }
    let _ = drain_servers.send(true);
    let _ = timeout(Duration::from_secs(1), async { while servers.join_next().await.is_some() {} }).await;
    for task in [logger, watchdog].into_iter().flatten() {
        task.abort();
    }
    if thread.join().is_err() {
        error!("the capture thread panicked");
    }
    Ok(ended.map_or(0, child::code_of))
}

/// Signs of life for the programs that steer, for ever.
async fn alive(steered: Option<&Steered>) {
    match steered {
        Some(steered) => steered.live().await,
        None => std::future::pending().await,
    }
}

async fn wait(
    notices: &mut tokio::sync::mpsc::Receiver<Notice>,
    child: Option<Pid>,
    asked: &Notify,
) -> anyhow::Result<Option<ExitStatus>> {
    loop {
        match (notices.recv().await, child) {
            (Some(Notice::Ended(status)), _) => return Ok(Some(status)),
            (Some(Notice::Stop), None) => return Ok(None),
            (Some(Notice::Stop), Some(_)) => {}
            (Some(Notice::Reload), _) => asked.notify_one(),
            (None, _) => anyhow::bail!("the signals' thread is gone"),
        }
    }
}

/// Signs of life for the service manager that wants them, as long as `/livez` holds.
fn start_watchdog(notifier: &Arc<Notifier>, facts: &Arc<Facts>) -> Option<tokio::task::JoinHandle<()>> {
    let mut ticks = tokio::time::interval(notifier.period?);
    let (notifier, facts) = (Arc::clone(notifier), Arc::clone(facts));
    Some(tokio::spawn(async move {
        loop {
            ticks.tick().await;
            if facts.live().iter().all(|check| check.verdict != Verdict::Failed) {
                notifier.alive();
            }
        }
    }))
}

async fn stop_capture(handle: &Handle, observed: &Observed, facts: &Facts) {
    match timeout(LAST_RECORDS, handle.stop(observed.read())).await {
        Ok(Some(last)) => facts.set_last(last),
        Ok(None) | Err(_) => {
            warn!("the capture thread did not answer in time: the last records are not exported")
        }
    }
}
