//! `sidecar explain DESTINATION`: what becomes of connections somewhere and why, told by the daemon (`/explain?destination=`).

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use serde_json::{Value, json};
use sidecar_core::{
    flow::Seen,
    model::{
        Executable, FileId, Host,
        policy::{Balance, Except, Gear, HashBy, Policy, Service},
    },
    traffic::{Caller, Candidate, Decides, Excepted, Explanation, explain},
};

use super::{explain::decoded, last};
use crate::traffic::Usage;

/// What is asked.
#[derive(Debug, PartialEq)]
pub(super) struct Question {
    pub(super) destination: SocketAddr,
    /// The name that stands for it.
    pub(super) name: Option<String>,
    /// Who connects to it: one of the application's own addresses it is then.
    pub(super) from: Option<IpAddr>,
    pub(super) process: Option<Process>,
}

/// A process as whoever asks sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Process {
    pub(super) pid: u32,
    /// Its cgroup and those above that, by their ids.
    pub(super) cgroups: Vec<u64>,
    /// The inode of its network namespace, where that could be read.
    pub(super) netns: Option<u64>,
    /// What rules ask of it.
    pub(super) caller: Caller,
}

/// What the daemon knows besides the policy.
pub(super) struct Known {
    /// Connections are steered at all.
    pub(super) is_on: bool,
    /// The policy outlives the daemon.
    pub(super) is_pinned: bool,
    /// What goes on at the service.
    pub(super) usage: Option<Usage>,
    /// Its last connections, the newest first.
    pub(super) last: Vec<Seen>,
    /// Names of cgroups that are observed, by their ids.
    pub(super) cgroups: BTreeMap<u64, String>,
    /// Inode of the daemon's network namespace.
    pub(super) netns: Option<u64>,
    /// What makes Unix time of the kernel's.
    pub(super) offset: u64,
    /// What of the service does less than it seems to, as `sidecar check` says it.
    pub(super) futile: Vec<String>,
}

/// What a query asks for; `None`: it is not of a destination. `locate` says where a name leads.
pub(super) fn parse(
    query: &str,
    locate: impl Fn(&str) -> Result<IpAddr, String>,
) -> Result<Option<Question>, String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let pairs: Vec<_> = pairs.map(|(name, value)| (name, decoded(value))).collect();
    if !pairs.iter().any(|(name, _)| *name == "destination") {
        return Ok(None);
    }
    let (mut destination, mut from, mut process) = (None, None, Process::default());
    for (name, value) in pairs {
        let number = || value.parse().map_err(|_| format!("{name}: `{value}` is not a number"));
        match name {
            "destination" => destination = Some(address(&value, &locate)?),
            "from" => {
                let client = value.parse().map_err(|_| format!("from: `{value}` is not an address"));
                from = Some(IpAddr::to_canonical(&client?));
            }
            "pid" => process.pid = u32::try_from(number()?).map_err(|_| "pid: too large".to_owned())?,
            "cgroup" => process.cgroups.push(number()?),
            "netns" => process.netns = Some(number()?),
            "uid" => {
                process.caller.uid = Some(u32::try_from(number()?).map_err(|_| "uid: too large".to_owned())?)
            }
            "file" => {
                process.caller.file =
                    Some(value.parse().map_err(|()| "file: not MAJOR:MINOR:INODE[:GENERATION]".to_owned())?)
            }
            _ => {
                return Err(format!(
                    "`{name}`: with a destination there are from, pid, cgroup, netns, uid and file"
                ));
            }
        }
    }
    let (destination, name) = destination.ok_or("no destination")?;
    let process = Some(process).filter(|process| process.pid != 0);
    Ok(Some(Question { destination, name, from, process }))
}

/// Where a connection would go, and the name that was given for it.
fn address(
    text: &str,
    locate: impl Fn(&str) -> Result<IpAddr, String>,
) -> Result<(SocketAddr, Option<String>), String> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        // As the kernel has it for a socket that is not bound.
        let ip = match address.ip().to_canonical() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        return Ok((SocketAddr::new(ip, address.port()), None));
    }
    let wrong = || format!("`{text}` is not a destination: write IP:PORT, [IPv6]:PORT or HOST:PORT");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().map_err(|_| wrong())?;
    let host: Host = host.trim_end_matches('.').parse().map_err(|_| wrong())?;
    let address = locate(host.name())?;
    Ok((SocketAddr::new(address, port), Some(host.name().to_owned())))
}

/// An answer, in parts that are shown in one of two forms.
pub(super) struct Told<'a> {
    question: &'a Question,
    known: &'a Known,
    explanation: Explanation<'a>,
    candidates: Vec<Candidate>,
}

/// What there is to say.
pub(super) fn tell<'a>(question: &'a Question, policy: &'a Policy, known: &'a Known) -> Told<'a> {
    let caller = question.process.as_ref().map(|process| process.caller.clone()).unwrap_or_default();
    let explanation = explain(policy, question.destination, &caller);
    let measured = |address| known.usage.as_ref()?.endpoints.get(&address).cloned();
    let candidates = explanation.rule.as_ref().map(|rule| rule.candidates(question.destination, measured));
    Told { question, known, explanation, candidates: candidates.unwrap_or_default() }
}

impl Told<'_> {
    /// What is done about a connection there, in a sentence.
    fn what(&self) -> &'static str {
        match &self.explanation.rule {
            _ if !self.known.is_on => {
                "it goes where it asks: nothing is steered (`sidecar doctor` says what is missing)"
            }
            Some(rule) if self.is_full(rule) => {
                "connect() fails with ECONNREFUSED for now (connections): the service has as many as its limit"
            }
            Some(rule) => rule.what(),
            None if self.explanation.is_virtual => {
                "connect() fails with ECONNREFUSED: it is a virtual address, and no service has it at this port"
            }
            None => "it goes where it asks: no service has it",
        }
    }

    /// Whether no place of the service's is left.
    fn is_full(&self, rule: &Decides<'_>) -> bool {
        let active = self.known.usage.as_ref().map(|usage| usage.active);
        let takes_place = rule.except.is_none() && rule.service.gear != Gear::Deny;
        let most = rule.service.limits.connections.map(u64::from);
        takes_place && active.zip(most).is_some_and(|(active, most)| active >= most)
    }

    /// What becomes of a process's connections, with whether they are observed and in the daemon's network namespace.
    fn process(&self) -> Option<(u32, Option<&str>, Option<bool>, String)> {
        let process = self.question.process.as_ref()?;
        let observed = process.cgroups.iter().find_map(|id| self.known.cgroups.get(id)).map(String::as_str);
        let shares = process.netns.zip(self.known.netns).map(|(its, own)| its == own);
        let needs_relay = self
            .explanation
            .rule
            .as_ref()
            .is_some_and(|rule| rule.except.is_none() && rule.service.gear == Gear::Proxy);
        let text = match (observed, shares) {
            (None, _) => "not in an observed cgroup: its connections are not steered".to_owned(),
            (Some(name), Some(false)) if needs_relay => {
                format!(
                    "in observed cgroup {name}, in another network namespace than the daemon's: not sent to the relay (netns)"
                )
            }
            (Some(name), Some(false)) => {
                format!("in observed cgroup {name}, in another network namespace than the daemon's")
            }
            (Some(name), Some(true)) => {
                format!("in observed cgroup {name}, in the daemon's network namespace")
            }
            (Some(name), None) => {
                format!("in observed cgroup {name}; its network namespace could not be read")
            }
        };
        Some((process.pid, observed, shares, text))
    }

    /// As JSON.
    pub(super) fn to_json(&self) -> Value {
        let Told { question, known, explanation, candidates } = self;
        let rule = explanation.rule.as_ref();
        json!({
            "destination": question.destination.to_string(),
            "name": question.name,
            "what": self.what(),
            "steers": known.is_on,
            "rule": rule.map(|rule| json!({
                "service": rule.service.name,
                "network": rule.network.to_string(),
                "port": rule.port,
                "host": rule.host.as_ref().map(ToString::to_string),
                "exception": rule.except.map(|except| excepted(&except)),
                "excepts": excepts_json(&rule.service.except),
            })),
            "shadows": explanation.shadows,
            "gear": rule.map(|rule| gear(rule.service.gear)),
            "balance": rule.map(|rule| balance(rule.service.balance)),
            "endpoints": candidates.iter().map(candidate).collect::<Vec<_>>(),
            "sources": known.usage.as_ref().map(|usage| usage.sources.clone()),
            "limits": rule.map(|rule| self.limits_json(rule.service)),
            "verdicts": known.usage.as_ref().map(|usage| usage.verdicts.iter().copied().collect::<BTreeMap<_, _>>()),
            "when_gone": rule.map(|rule| rule.when_gone(known.is_pinned)),
            "caveats": rule.map(|rule| rule.caveats(question.destination)),
            "futile": known.futile,
            "process": self.process().map(|(pid, cgroup, shares, text)| json!({
                "pid": pid, "cgroup": cgroup, "same_netns": shares, "what": text,
            })),
            "last": last::to_json(&known.last, known.offset),
        })
    }

    fn limits_json(&self, service: &Service) -> Value {
        let rate = service.limits.rate;
        json!({
            "connections": service.limits.connections,
            "active": self.known.usage.as_ref().map(|usage| usage.active),
            "rate": rate.map(|rate| rate.per_second),
            "burst": rate.map(|rate| rate.burst),
        })
    }

    /// As text.
    pub(super) fn to_text(&self) -> String {
        let mut out = String::new();
        // A `String` takes whatever is written.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let Told { question, known, explanation, candidates } = self;
        let name = question.name.as_ref().map(|name| format!("{name} is ")).unwrap_or_default();
        writeln!(out, "{name}{}: {}", question.destination, self.what())?;
        if let Some((pid, .., text)) = self.process() {
            writeln!(out, "  process    {pid} is {text}")?;
        }
        match &explanation.rule {
            Some(rule) => self.write_rule(out, rule, candidates)?,
            None => writeln!(out, "  rule       none")?,
        }
        last::write(out, &known.last, known.offset)
    }

    fn write_rule(&self, out: &mut String, rule: &Decides<'_>, candidates: &[Candidate]) -> std::fmt::Result {
        let Decides { service, network, port, except, host } = rule;
        let port = port.map_or("any port".to_owned(), |port| format!("port {port}"));
        let host = host.as_ref().map(|host| format!(", which is {host}")).unwrap_or_default();
        writeln!(out, "  rule       service {}: {network}{host}, {port}", service.name)?;
        if let Some(except) = except {
            writeln!(out, "  exception  by {}", excepted(except))?;
        } else if rule.host.is_none() {
            for line in excepts(&service.except) {
                writeln!(out, "  excepts    {line}: theirs go where they ask")?;
            }
        }
        if !self.explanation.shadows.is_empty() {
            let shadows = self.explanation.shadows.join(", ");
            writeln!(out, "  shadows    {shadows}: they have this destination too, and come later")?;
        }
        writeln!(out, "  gear       {}, balance {}", gear(service.gear), balance(service.balance))?;
        for (at, one) in candidates.iter().enumerate() {
            let head = if at == 0 { "endpoints" } else { "" };
            let mut line = format!("{}  weight {}", one.address, one.weight);
            if let Some(now) = &one.now {
                write!(line, "  connections {}  cost {}", now.connections, now.cost)?;
            }
            if !one.is_of_family {
                line.push_str("  of another address family");
            }
            if let Some(state) = one.now.as_ref().and_then(|now| now.state.as_ref()) {
                write!(line, "  {state}")?;
            }
            writeln!(out, "  {head:9}  {line}")?;
        }
        let sources = self.known.usage.iter().flat_map(|usage| &usage.sources);
        for (at, line) in sources.enumerate() {
            writeln!(out, "  {:9}  {line}", if at == 0 { "sources" } else { "" })?;
        }
        writeln!(out, "  limits     {}", limits(service, self.known.usage.as_ref()))?;
        let (gone, notes) = (rule.when_gone(self.known.is_pinned), rule.caveats(self.question.destination));
        let lines = gone.into_iter().map(|line| ("gone", line));
        let lines = lines.chain(notes.into_iter().map(|line| ("note", line)));
        let futile = self.known.futile.iter().map(|line| ("check", line.as_str()));
        lines.chain(futile).try_for_each(|(head, line)| writeln!(out, "  {head:9}  {line}"))
    }
}

/// How much of a service's limits is used.
pub(super) fn limits(service: &Service, usage: Option<&Usage>) -> String {
    let active = usage.map_or("?".to_owned(), |usage| usage.active.to_string());
    let most = service.limits.connections.map_or("any number".to_owned(), |most| most.to_string());
    let rate = service.limits.rate.map_or("any rate".to_owned(), |rate| {
        format!("{} new ones a second, {} at once", rate.per_second, rate.burst)
    });
    format!("{active} of {most} connections, {rate}")
}

fn candidate(one: &Candidate) -> Value {
    json!({
        "address": one.address.to_string(),
        "weight": one.weight,
        "of_family": one.is_of_family,
        "connections": one.now.as_ref().map(|now| now.connections),
        "cost": one.now.as_ref().map(|now| now.cost),
        "state": one.now.as_ref().and_then(|now| now.state.as_ref()),
    })
}

/// Whom a service leaves alone.
fn excepts(except: &Except) -> Vec<String> {
    let uids: Vec<_> = except.uids.iter().map(ToString::to_string).collect();
    let users = (!uids.is_empty()).then(|| format!("users {}", uids.join(", ")));
    let executable = |Executable { path, files, unclear }: &Executable| {
        let files = files.iter().map(ToString::to_string);
        let all: Vec<_> =
            files.chain(unclear.iter().map(|why| format!("nothing is excepted there: {why}"))).collect();
        let files = if all.is_empty() { "nothing is there".to_owned() } else { all.join(", ") };
        format!("processes of {} ({files})", path.display())
    };
    users.into_iter().chain(except.executables.iter().map(executable)).collect()
}

fn excepts_json(except: &Except) -> Value {
    let texts = |all: &[FileId]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
    let executables = except.executables.iter();
    json!({
        "uids": except.uids.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "executables": executables.map(|one| json!({ "path": one.path, "files": texts(&one.files), "unclear": one.unclear })).collect::<Vec<_>>(),
    })
}

fn excepted(except: &Excepted<'_>) -> String {
    match except {
        Excepted::Network(network) => network.to_string(),
        Excepted::Port(port) => format!("port {port}"),
        Excepted::User(uid) => format!("user {uid}"),
        Excepted::Executable(path) => path.display().to_string(),
    }
}

pub(super) fn gear(gear: Gear) -> &'static str {
    match gear {
        Gear::Direct => "direct",
        Gear::Proxy => "proxy",
        Gear::Deny => "deny",
    }
}

fn balance(balance: Balance) -> &'static str {
    match balance {
        Balance::Least => "least",
        Balance::Random => "random",
        Balance::Hash(HashBy::Process) => "hash by process",
        Balance::Hash(HashBy::User) => "hash by user",
        Balance::Hash(HashBy::Cgroup) => "hash by cgroup",
        Balance::Hash(HashBy::Source) => "hash by source",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobodys_address_is_loopback() {
        let nowhere = |_: &str| Err("nobody is asked".to_owned());
        for (text, expected) in [
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("[::ffff:0.0.0.0]:80", "127.0.0.1:80"),
            ("[::]:80", "[::1]:80"),
            ("[::ffff:10.0.0.1]:80", "10.0.0.1:80"),
            ("[fd00::1]:80", "[fd00::1]:80"),
        ] {
            let expected = expected.parse().expect("an address");
            assert_eq!(address(text, nowhere), Ok((expected, None)), "{text}");
        }
    }
}
