//! dnsmasq, which knows what it is told on its command line and asks nobody else.

use std::{path::Path, process::Command};

use crate::{
    eventually,
    process::{self, Process},
};

/// Runs it at port 53 of `address`, with what it is to know as `more` options, and waits until it answers a question for `name`
/// with what has `part` in it, as `dig` prints it. It logs questions into `log`.
#[must_use]
pub fn start(address: &str, more: &[String], log: &Path, answers: [&str; 2]) -> Process {
    start_by(&[], address, more, log, answers)
}

/// The same, with words before the command.
#[must_use]
pub fn start_by(
    wrapper: &[String],
    address: &str,
    more: &[String],
    log: &Path,
    [name, part]: [&str; 2],
) -> Process {
    let words = [wrapper, &["dnsmasq".to_owned()]].concat();
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).args([
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--no-resolv",
        "--no-hosts",
        "--no-ping",
    ]);
    command.args(["--user=root", "--pid-file=", "--bind-interfaces", "--log-queries", "--log-facility=-"]);
    command.arg(format!("--listen-address={address}")).args(more);
    let resolver = Process::start(&mut command, log);
    eventually("the resolver", || {
        let at = format!("@{address}");
        let said = process::output(Command::new("dig").args(["+time=1", "+tries=1", &at, name]));
        String::from_utf8_lossy(&said.stdout).contains(part).then_some(())
    });
    resolver
}

/// Words before a command that finds `resolvers` in its /etc/resolv.conf, with `options` there, written into `file`.
#[must_use]
pub fn resolving(resolvers: &[&str], options: &str, file: &Path) -> Vec<String> {
    let lines = resolvers.iter().map(|address| format!("nameserver {address}\n"));
    std::fs::write(file, lines.collect::<String>() + options).expect("resolv.conf");
    let script = format!("mount --bind {} /etc/resolv.conf && exec \"$@\"", file.display());
    ["unshare", "-m", "sh", "-c", &script, "sh"].map(str::to_owned).to_vec()
}
