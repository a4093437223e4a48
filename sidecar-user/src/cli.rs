//! The command line, as plain data. What it asks for is done in `app`.
//!
//! Exit statuses: 0, done; 1, failed; 2, the command line or the settings are wrong; 3, works with losses (`doctor`), or left something (`unpin`);
//! 125, `--strict` and observation could not start. `run -- COMMAND` ends with the command's own, also where the file or
//! the environment is wrong, unless there is `--strict`.

use std::{ffi::OsString, net::IpAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use sidecar_core::config::{Origin, Setting};

/// Failed.
pub(crate) const EXIT_FAILURE: u8 = 1;
/// The command line or the settings are wrong.
pub(crate) const EXIT_USAGE: u8 = 2;
/// Works, with losses; done, but not all of it.
pub(crate) const EXIT_DEGRADED: u8 = 3;
/// `--strict`, and observation could not start.
pub(crate) const EXIT_UNOBSERVED: u8 = 125;

/// What the command line asks for.
#[derive(Debug, PartialEq)]
pub(crate) enum Invocation {
    /// `sidecar run`.
    Run(Run),
    /// `sidecar check FILE`.
    Check {
        /// A file of settings.
        file: PathBuf,
    },
    /// `sidecar doctor`.
    Doctor {
        /// How the report is written.
        output: Output,
    },
    /// `sidecar unpin DIRECTORY`.
    Unpin {
        /// What `traffic.pin` names.
        dir: PathBuf,
    },
    /// `sidecar explain DESTINATION`.
    Explain(Explain),
    /// `sidecar tap`.
    Tap(Box<Tap>),
    /// `sidecar top`.
    Top(Top),
    /// `sidecar record`.
    Record(Box<Record>),
    /// `sidecar replay FILE`.
    Replay(Replay),
    /// `sidecar version`.
    Version,
}

/// `sidecar replay`.
#[derive(Args, Clone, Debug, PartialEq)]
pub(crate) struct Replay {
    /// A capture, pcap or pcapng; `-` is standard input
    pub(crate) file: PathBuf,
    /// Print the metrics, as Prometheus' text, instead of exchanges
    #[arg(long, conflicts_with = "output")]
    pub(crate) metrics: bool,
    /// Form of the exchanges' lines
    #[arg(short, long, value_enum, default_value_t = Lines::Ndjson)]
    pub(crate) output: Lines,
}

/// `sidecar record`. Of one condition any value may hold, all conditions must.
#[derive(Args, Clone, Debug, PartialEq)]
pub(crate) struct Record {
    /// File to be written, pcapng; `-` is standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub(crate) output: PathBuf,
    /// Take what is in this capture, pcap or pcapng, instead of asking a daemon; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["lasts", "admin", "config"])]
    pub(crate) from: Option<PathBuf>,
    /// End after this time: 10s, 5m
    #[arg(long = "for", value_name = "TIME")]
    pub(crate) lasts: Option<String>,
    /// End before the file has more bytes
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1024..))]
    pub(crate) max_bytes: Option<u64>,
    /// Only connections that begin with this protocol: http, http2, redis, ..., encrypted, unclassified; may be repeated, as those
    /// that follow
    #[arg(long, value_name = "NAME")]
    pub(crate) protocol: Vec<String>,
    /// Only where the application is this: client or server
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: Vec<String>,
    /// Only with a peer of this network: 10.0.0.0/8, or one address
    #[arg(long, value_name = "NETWORK")]
    pub(crate) peer: Vec<String>,
    /// Only with this port of the server
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Vec<String>,
    /// Leave out what fits a condition: protocol=tls, port=9090; may be repeated
    #[arg(long, value_name = "CONDITION=VALUE", value_parser = pair)]
    pub(crate) not: Vec<(String, String)>,
    /// The daemon's admin.listen: IP:PORT or unix:PATH; else what the environment and the file of settings say
    #[arg(long, value_name = "ADDR")]
    pub(crate) admin: Option<String>,
    /// File of settings, YAML
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

impl Record {
    /// Its conditions: name, value, and whether it is wanted.
    pub(crate) fn conditions(&self) -> impl Iterator<Item = (&str, &str, bool)> {
        let wanted =
            [("protocol", &self.protocol), ("role", &self.role), ("peer", &self.peer), ("port", &self.port)];
        let wanted = wanted
            .into_iter()
            .flat_map(|(name, values)| values.iter().map(move |value| (name, &**value, true)));
        wanted.chain(self.not.iter().map(|(name, value)| (&**name, &**value, false)))
    }
}

/// `sidecar explain`.
#[derive(Args, Clone, Debug, PartialEq)]
pub(crate) struct Explain {
    /// Where connections go: IP:PORT, [IPv6]:PORT, or HOST:PORT where a service has the name
    pub(crate) destination: String,
    /// Say what becomes of connections that come in from this address
    #[arg(long, value_name = "IP", conflicts_with = "pid")]
    pub(crate) from: Option<IpAddr>,
    /// Say what becomes of this process's connections
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pid: Option<u32>,
    /// The daemon's admin.listen: IP:PORT or unix:PATH; else what the environment and the file of settings say
    #[arg(long, value_name = "ADDR")]
    pub(crate) admin: Option<String>,
    /// File of settings, YAML
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

/// `sidecar tap`. Of one condition any value may hold, all conditions must.
#[derive(Args, Clone, Debug, PartialEq)]
pub(crate) struct Tap {
    /// Only of this protocol: http, http2, grpc, redis, ...; may be repeated, as those that follow
    #[arg(long, value_name = "NAME")]
    pub(crate) protocol: Vec<String>,
    /// Only where the application is this: client or server
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: Vec<String>,
    /// Only with this status; 5xx is each of its class
    #[arg(long, value_name = "STATUS")]
    pub(crate) status: Vec<String>,
    /// Only with a path of this pattern: /orders/{id}, /static/*
    #[arg(long, value_name = "PATTERN")]
    pub(crate) path: Vec<String>,
    /// Only with a peer of this network: 10.0.0.0/8, or one address
    #[arg(long, value_name = "NETWORK")]
    pub(crate) peer: Vec<String>,
    /// Only those that took as long, or longer: 250us, 10ms, 1.5s
    #[arg(long, value_name = "TIME")]
    pub(crate) min_duration: Option<String>,
    /// Leave out what fits a condition: status=2xx, path=/health, min-duration=1s; may be repeated
    #[arg(long, value_name = "CONDITION=VALUE", value_parser = pair)]
    pub(crate) not: Vec<(String, String)>,
    /// Form of the lines
    #[arg(short, long, value_enum, default_value_t = Lines::Text)]
    pub(crate) output: Lines,
    /// At most so many lines a second; what is left out is counted
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub(crate) rate: u64,
    /// End after so many lines
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// End after this time: 10s, 5m
    #[arg(long = "for", value_name = "TIME")]
    pub(crate) lasts: Option<String>,
    /// The daemon's admin.listen: IP:PORT or unix:PATH; else what the environment and the file of settings say
    #[arg(long, value_name = "ADDR")]
    pub(crate) admin: Option<String>,
    /// File of settings, YAML
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// `sidecar top`.
#[derive(Args, Clone, Debug, PartialEq)]
pub(crate) struct Top {
    /// How rows are put together
    #[arg(long, value_enum, default_value_t)]
    pub(crate) by: By,
    /// By which column they are ordered
    #[arg(long, value_enum, default_value_t)]
    pub(crate) sort: Sort,
    /// Only rows with this in a protocol, role, operation or peer
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) filter: String,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub(crate) interval: u64,
    /// Print so many tables as text and end; where the output is no terminal they are printed until it is ended
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// The daemon's admin.listen: IP:PORT or unix:PATH; else what the environment and the file of settings say
    #[arg(long, value_name = "ADDR")]
    pub(crate) admin: Option<String>,
    /// File of settings, YAML
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// By what rows of `sidecar top` are put together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    /// Each protocol, role, operation and peer
    #[default]
    All,
    /// Protocol and role
    Protocol,
    /// What is asked for, whoever asks
    Route,
    /// The other end, whatever is asked for
    Peer,
}

/// By which column rows of `sidecar top` are ordered, the highest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sort {
    /// Requests a second
    #[default]
    Rate,
    /// Share of errors
    Errors,
    /// Median of durations
    P50,
    /// 99th percentile of durations
    P99,
    /// Names, from a to z
    Name,
}

/// `sidecar run`.
#[derive(Debug, PartialEq)]
pub(crate) struct Run {
    /// `None` only together with `print_config`.
    pub(crate) target: Option<Target>,
    /// The hierarchy's root may be observed.
    pub(crate) whole_node: bool,
    /// Do not run unobserved.
    pub(crate) strict: bool,
    /// File of settings.
    pub(crate) config: Option<PathBuf>,
    /// The top layer of settings, in the order in which they apply.
    pub(crate) settings: Vec<Setting>,
    /// Show the settings and end.
    pub(crate) print_config: bool,
}

/// What is observed.
#[derive(Debug, PartialEq)]
pub(crate) enum Target {
    /// These cgroups' folders.
    Cgroups(Vec<PathBuf>),
    /// The cgroup of this process.
    Pid(u32),
    /// This command, program first, in a cgroup made for it.
    Command(Vec<OsString>),
    /// The other containers of the pod that the daemon is in.
    Pod,
}

/// How a report is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[default]
    Text,
    /// One JSON value.
    Json,
}

/// How exchanges are written, one a line.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub(crate) enum Lines {
    /// `key=value`, for people.
    Text,
    /// JSON objects.
    Ndjson,
}

/// Reads the command line; on a wrong one, and for `--help`, writes what there is to say and ends the process.
pub(crate) fn parse() -> Invocation {
    parse_from(std::env::args_os()).unwrap_or_else(|error| error.exit())
}

fn parse_from(words: impl IntoIterator<Item = OsString>) -> Result<Invocation, clap::Error> {
    Ok(match Cli::try_parse_from(words)?.verb {
        Verb::Run(args) => Invocation::Run((*args).try_into()?),
        Verb::Check { file } => Invocation::Check { file },
        Verb::Doctor { output } => Invocation::Doctor { output },
        Verb::Unpin { dir } => Invocation::Unpin { dir },
        Verb::Explain(explain) => Invocation::Explain(explain),
        Verb::Tap(tap) => Invocation::Tap(tap),
        Verb::Top(top) => Invocation::Top(top),
        Verb::Record(record) => Invocation::Record(record),
        Verb::Replay(replay) => Invocation::Replay(replay),
        Verb::Version => Invocation::Version,
    })
}

/// Observes an application from beside it: metrics and traces without a change to its code.
#[derive(Debug, Parser)]
#[command(name = "sidecar", version, subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Observe cgroups, a process or a command; inside a pod, without any of these, its containers
    Run(Box<RunArgs>),
    /// Try a file of settings
    Check {
        /// YAML
        file: PathBuf,
    },
    /// Say what this machine lets the sidecar do
    Doctor {
        /// Form of the report
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// End what a daemon left at work in this folder (`traffic.pin`), and remove it
    Unpin {
        /// On a bpffs
        #[arg(value_name = "DIRECTORY")]
        dir: PathBuf,
    },
    /// Say what becomes of connections to a destination, and why: asks a daemon that runs
    Explain(Explain),
    /// Show single exchanges as they end, each in a line: asks a daemon that runs
    Tap(Box<Tap>),
    /// Show requests as they end, by protocol, operation and peer: asks a daemon that runs
    Top(Top),
    /// Write a capture that others may see, without bodies, keys, literals and credentials: asks a daemon that runs
    Record(Box<Record>),
    /// Read a capture as if it had been observed, and print the exchanges in it, each in a line
    Replay(Replay),
    /// Print the version
    Version,
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Observe this cgroup: a folder of the cgroup2 hierarchy; may be repeated
    #[arg(long, value_name = "PATH", group = "target")]
    cgroup: Vec<PathBuf>,
    /// Observe the cgroup of this process
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..), group = "target")]
    pid: Option<u32>,
    /// Run this command in a cgroup of its own and observe it
    #[arg(last = true, value_name = "COMMAND", group = "target")]
    command: Vec<OsString>,
    /// Allow the hierarchy's root: every process of the machine
    #[arg(long)]
    whole_node: bool,
    /// Exit before the command is started where observation cannot start (status 125) or settings are wrong (2)
    #[arg(long)]
    strict: bool,
    /// File of settings, YAML
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Sets metrics.listen: IP:PORT or :PORT
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Sets admin.listen: IP:PORT or unix:PATH
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
    /// Sets otlp.endpoint: http://HOST:PORT
    #[arg(long, value_name = "URL")]
    otlp_endpoint: Option<String>,
    /// Sets service.name
    #[arg(long, value_name = "NAME")]
    service_name: Option<String>,
    /// Sets log.level: off, error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Sets any key; may be repeated, the last of two wins
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
    /// Show the settings that hold and who said so, and exit
    #[arg(long)]
    print_config: bool,
}

impl TryFrom<RunArgs> for Run {
    type Error = clap::Error;

    fn try_from(args: RunArgs) -> Result<Self, clap::Error> {
        let target = (Some(args.cgroup).filter(|paths| !paths.is_empty()).map(Target::Cgroups))
            .or(args.pid.map(Target::Pid))
            .or(Some(args.command).filter(|command| !command.is_empty()).map(Target::Command))
            .or((!args.print_config).then_some(Target::Pod));
        let named = [
            ("--listen", "metrics.listen", args.listen),
            ("--admin", "admin.listen", args.admin),
            ("--otlp-endpoint", "otlp.endpoint", args.otlp_endpoint),
            ("--service-name", "service.name", args.service_name),
            ("--log-level", "log.level", args.log_level),
        ];
        let named = named
            .into_iter()
            .filter_map(|(flag, key, value)| Some(Setting::new(key, value?, Origin::Flag(flag.into()))));
        let set = || Origin::Flag("--set".into());
        let any = args.set.into_iter().map(|(key, value)| Setting::new(key, value, set()));
        Ok(Self {
            target,
            whole_node: args.whole_node,
            strict: args.strict,
            config: args.config,
            settings: any.chain(named).collect(),
            print_config: args.print_config,
        })
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Invocation, clap::Error> {
        parse_from(line.split(' ').map(OsString::from))
    }

    fn run(line: &str) -> Run {
        match parse(line) {
            Ok(Invocation::Run(run)) => run,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn targets() {
        let command = |words: &[&str]| Some(Target::Command(words.iter().map(OsString::from).collect()));
        for (line, target) in [
            ("sidecar run --cgroup /a", Some(Target::Cgroups(vec!["/a".into()]))),
            ("sidecar run --cgroup /a --cgroup /b", Some(Target::Cgroups(vec!["/a".into(), "/b".into()]))),
            ("sidecar run", Some(Target::Pod)),
            ("sidecar run --pid 7", Some(Target::Pid(7))),
            ("sidecar run -- nginx -g x --config y", command(&["nginx", "-g", "x", "--config", "y"])),
            ("sidecar run -- sh -- -c", command(&["sh", "--", "-c"])),
            ("sidecar run --print-config", None),
        ] {
            assert_eq!(run(line).target, target, "{line}");
        }
        let run = run("sidecar run --strict --whole-node --config f --pid 1");
        assert!(run.strict && run.whole_node && run.config == Some("f".into()) && !run.print_config);
    }

    #[test]
    fn arguments_need_not_be_text() {
        use std::os::unix::ffi::OsStringExt as _;
        let odd = OsString::from_vec(vec![0xff]);
        let words = ["sidecar", "run", "--", "cat"].map(OsString::from).into_iter().chain([odd.clone()]);
        let Ok(Invocation::Run(run)) = parse_from(words) else { panic!("refused") };
        assert_eq!(run.target, Some(Target::Command(vec!["cat".into(), odd])));
    }

    #[test]
    fn wrong_lines_are_usage_errors() {
        for line in [
            "sidecar run --cgroup /a --pid 7",
            "sidecar run --pid 7 -- true",
            "sidecar run --pid 0",
            "sidecar run true",
            "sidecar run --stric -- true",
            "sidecar run --set nothing -- true",
            "sidecar doctor -o xml",
            "sidecar walk",
        ] {
            let error = parse(line).expect_err(line);
            assert_eq!(error.exit_code(), i32::from(EXIT_USAGE), "{line}");
        }
    }

    #[test]
    fn flags_are_settings_and_a_named_one_wins_over_set() {
        let run = run("sidecar run --listen :1 --set metrics.listen=:2 --set otlp.headers=a=b --pid 1");
        let settings: Vec<_> =
            run.settings.iter().map(|s| (s.key.as_str(), s.value.as_str(), s.origin.to_string())).collect();
        assert_eq!(
            settings,
            [
                ("metrics.listen", ":2", "--set".to_owned()),
                ("otlp.headers", "a=b", "--set".to_owned()),
                ("metrics.listen", ":1", "--listen".to_owned()),
            ]
        );
    }

    #[test]
    fn the_other_verbs() {
        assert!(
            matches!(parse("sidecar check f"), Ok(Invocation::Check { file }) if file.as_os_str() == "f")
        );
        assert!(matches!(parse("sidecar doctor -o json"), Ok(Invocation::Doctor { output: Output::Json })));
        assert!(
            matches!(parse("sidecar unpin /d"), Ok(Invocation::Unpin { dir }) if dir.as_os_str() == "/d")
        );
        let Ok(Invocation::Tap(tap)) =
            parse("sidecar tap --protocol http --protocol redis --not status=2xx --for 10s -n 3")
        else {
            panic!("no tap")
        };
        assert_eq!((tap.protocol.len(), tap.count, tap.lasts.as_deref()), (2, Some(3), Some("10s")));
        assert_eq!(
            (tap.not, tap.rate, tap.output),
            (vec![("status".into(), "2xx".into())], 100, Lines::Text)
        );
        let replay = |line| match parse(line) {
            Ok(Invocation::Replay(Replay { file, metrics, output })) => (file, metrics, output),
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(replay("sidecar replay -"), ("-".into(), false, Lines::Ndjson));
        assert_eq!(replay("sidecar replay -o text f"), ("f".into(), false, Lines::Text));
        assert_eq!(replay("sidecar replay --metrics f"), ("f".into(), true, Lines::Ndjson));
        assert!(matches!(parse("sidecar version"), Ok(Invocation::Version)));
    }
}
