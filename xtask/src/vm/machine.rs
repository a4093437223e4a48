//! One machine under emulation, from power on to power off.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::kernels::Kernel;

/// No run takes nearly as long, not even beside others.
const LIMIT: Duration = Duration::from_secs(900);
/// Lines of the console that are shown where something went wrong.
const TAIL: usize = 30;

/// What became of one.
#[derive(Debug)]
pub(super) struct Outcome {
    /// What the tests printed.
    pub(super) report: String,
    /// Why the run counts for nothing: a crash, a hang, or a kernel that is not the one that was asked for.
    pub(super) fault: Option<String>,
    pub(super) took: Duration,
}

impl Outcome {
    /// Its tests had begun to run, whatever became of them.
    pub(super) fn has_begun(&self) -> bool {
        self.report.lines().any(|line| line.starts_with("running "))
    }
}

/// Boots the kernel with these archives as its first file system, and waits for its end.
///
/// # Errors
/// If it cannot be started. What goes wrong later is in the outcome.
pub(super) fn run(folder: &Path, kernel: &Kernel, archives: [&[u8]; 2]) -> Result<Outcome> {
    fs::create_dir_all(folder)?;
    let file = |end: &str| folder.join(format!("{}.{end}", kernel.row.name));
    let (files, console, report) = (file("cpio"), file("console"), file("report"));
    fs::write(&files, archives.concat()).context("write the machine's files")?;
    fs::write(&report, "")?;
    let qemu_log = fs::File::create(file("qemu"))?;
    let mut command = Command::new("qemu-system-x86_64");
    command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-machine", "q35"]);
    // Without cx16: QEMU 7.2 leaves wrong flags behind that instruction, and kernels die of it at random.
    command.args(["-accel", "tcg", "-cpu", "max,-cx16", "-m", "768M", "-smp", "2"]);
    command.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(&files);
    let options = format!("console=ttyS0 quiet panic=-1 random.trust_cpu=on {}", kernel.row.options);
    command.args(["-append", &options]);
    for serial in [&console, &report] {
        command.arg("-serial").arg(format!("file:{}", serial.display()));
    }
    command.stdin(Stdio::null()).stdout(qemu_log.try_clone()?).stderr(qemu_log);
    let start = Instant::now();
    let child = command.spawn().context("start qemu-system-x86_64")?;
    let end = await_end(&mut Running(child))?;
    let took = start.elapsed();
    fs::remove_file(&files)?;
    let report = fs::read(&report).context("read the machine's report")?;
    let report = String::from_utf8_lossy(&report).replace('\r', "");
    let fault = fault(end, &report, kernel).map(|fault| {
        let tail = [file("qemu"), console].map(|file| tail(&file)).concat();
        format!("{fault}; the end of its console:\n{tail}")
    });
    Ok(Outcome { report, fault, took })
}

fn fault(end: Option<ExitStatus>, report: &str, kernel: &Kernel) -> Option<String> {
    let Some(end) = end else { return Some(format!("it did not end within {LIMIT:?}")) };
    if !end.success() {
        return Some(format!("the emulator ended with {end}"));
    }
    if said(report, "status ").is_none() {
        return Some("it ended before its tests did".to_owned());
    }
    let release = said(report, "kernel ").unwrap_or_default();
    (release != kernel.release).then(|| format!("it runs {release}, not {}", kernel.release))
}

/// The exit status of the tests.
pub(super) fn status(report: &str) -> Option<i32> {
    said(report, "status ")?.parse().ok()
}

fn said<'a>(report: &'a str, what: &str) -> Option<&'a str> {
    report.lines().rev().find_map(|line| line.strip_prefix(what))
}

/// A machine that is switched off when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `None` if it had to be switched off.
fn await_end(running: &mut Running) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + LIMIT;
    while Instant::now() < deadline {
        if let Some(status) = running.0.try_wait()? {
            return Ok(Some(status));
        }
        sleep(Duration::from_millis(50));
    }
    Ok(None)
}

fn tail(file: &PathBuf) -> String {
    let text = fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..].iter().map(|line| format!("  {}\n", line.trim_end())).collect()
}
