//! Who may name what: the fences round libraries and the order of the layers. A row is added here when the design
//! gets another boundary.

use super::{Violation, source::Source};

/// Paths that have one home.
struct Fence {
    /// A `*` at the end of a crate's name stands for any ending.
    paths: &'static [&'static str],
    /// Where the rule holds.
    within: &'static str,
    /// Files and folders under `within` that may.
    home: &'static [&'static str],
    why: &'static str,
}

const FENCES: &[Fence] = &[
    Fence {
        paths: &["aya", "aya_log", "aya_obj"],
        within: "sidecar-user/",
        home: &["src/kernel/"],
        why: "only kernel/ speaks with the kernel's BPF side; the rest gets plain values from it",
    },
    Fence {
        paths: &["prometheus_client", "prost*"],
        within: "sidecar-user/",
        home: &["src/export/"],
        why: "signals are made once and encoded at the edge",
    },
    Fence {
        paths: &["opentelemetry*", "tonic*"],
        within: "sidecar-user/",
        home: &["src/export/"],
        why: "signals are made once and encoded at the edge",
    },
    Fence {
        paths: &["hickory_proto"],
        within: "sidecar-user/",
        home: &["core/src/traffic/names/"],
        why: "messages of the DNS are made in one place, and tested there as data",
    },
    Fence {
        paths: &["etherparse", "pcap_parser"],
        within: "sidecar-user/",
        home: &["core/src/replay/"],
        why: "captures are read in one place, and are events from there on",
    },
    Fence {
        paths: &["hickory_resolver*"],
        within: "sidecar-user/",
        home: &["src/traffic/sources/"],
        why: "only sources of endpoints ask resolvers for themselves",
    },
    Fence {
        paths: &["clap*"],
        within: "sidecar-user/",
        home: &["src/cli.rs"],
        why: "flags become a config value in one place",
    },
    Fence {
        paths: &["std::env"],
        within: "sidecar-user/",
        home: &["build.rs", "core/benches/", "src/cli.rs", "src/config/"],
        why: "the environment is read once, with the precedence that the documentation promises",
    },
    Fence {
        paths: &["anyhow"],
        within: "sidecar-user/",
        home: &["src/main.rs", "src/app.rs"],
        why: "a module's errors are types, so that its callers can tell them apart",
    },
    Fence {
        paths: &["std::time::Instant", "std::time::SystemTime"],
        within: "sidecar-user/core/",
        home: &["benches/"],
        why: "the pure layers are given times and read no clock",
    },
    Fence {
        paths: &[
            "std::env",
            "std::fs",
            "std::net::TcpListener",
            "std::net::TcpStream",
            "std::net::ToSocketAddrs",
            "std::net::UdpSocket",
            "std::os",
            "std::process",
            "std::thread",
        ],
        within: "sidecar-user/core/",
        home: &["benches/"],
        why: "the pure layers are functions of their inputs",
    },
    Fence {
        paths: &["sidecar_ebpf"],
        within: "sidecar-user/core/",
        home: &["benches/", "src/event/", "src/flow/", "src/replay/", "src/signal/kernel.rs", "src/traffic/"],
        why: "the kernel's layouts end where records become events, judgements verdicts, counts series, and policies plans",
    },
];

/// Modules that do not know each other.
struct Layer {
    within: &'static str,
    modules: &'static [&'static str],
    /// Modules that they may not name (each may name itself).
    not: &'static [&'static str],
    why: &'static str,
}

const LAYERS: &[Layer] = &[
    Layer {
        within: "sidecar-user/core/src/",
        modules: &["model"],
        not: &[
            "dns", "event", "protocol", "signal", "config", "traffic", "record", "flow", "told", "accounts",
            "replay",
        ],
        why: "model is the lowest layer: plain values",
    },
    Layer {
        within: "sidecar-user/core/src/",
        modules: &["dns"],
        not: &[
            "model", "event", "protocol", "signal", "config", "traffic", "record", "flow", "told",
            "accounts", "replay",
        ],
        why: "messages of the DNS are read in one place, by whoever answers and by whoever observes",
    },
    Layer {
        within: "sidecar-user/core/src/",
        modules: &["event", "protocol", "signal", "config", "traffic"],
        not: &[
            "event", "protocol", "signal", "config", "traffic", "record", "flow", "told", "accounts",
            "replay",
        ],
        why: "these layers meet in model, not in each other",
    },
    Layer {
        within: "sidecar-user/core/src/",
        modules: &["record"],
        not: &["signal", "config", "traffic", "flow", "told", "accounts", "replay"],
        why: "a recording is made of what parsers tell, whoever feeds them",
    },
    Layer {
        within: "sidecar-user/core/src/",
        modules: &["flow"],
        not: &["signal", "config", "traffic", "told", "accounts", "replay"],
        why: "flow uses event, protocol and model only",
    },
    Layer {
        within: "sidecar-user/core/src/",
        modules: &["told", "accounts"],
        not: &["event", "protocol", "config", "traffic", "record", "told", "accounts", "replay"],
        why: "what is told of exchanges and flows does not know where they come from",
    },
    Layer {
        within: "sidecar-user/src/",
        modules: &["kernel", "discovery", "export", "logs", "identity", "traffic", "config"],
        not: &["app", "admin", "api", "cli"],
        why: "what does the I/O does not know who wires it up",
    },
];

/// Beginnings of paths in the file system that have one home.
struct Place {
    paths: &'static [&'static str],
    within: &'static str,
    home: &'static str,
    why: &'static str,
}

const PLACES: &[Place] = &[Place {
    paths: &["/proc", "/sys/fs/cgroup"],
    within: "sidecar-user/",
    home: "src/discovery/",
    why: "where processes and cgroups are found is discovery's business (tests may look for themselves)",
}];

pub(super) fn check(source: &Source, violations: &mut Vec<Violation>) {
    for path in source.facts.paths.resolved() {
        let mut report = |breaks: &dyn Fn(&[String]) -> bool, why| {
            if breaks(&path.segments) && !breaks(&path.segments[..path.imported]) {
                let rule = format!("`{}` does not belong here", path.segments.join("::"));
                violations.push(Violation { file: source.file.clone(), line: path.line, rule, why });
            }
        };
        for fence in FENCES.iter().filter(|fence| fence.holds_in(&source.file)) {
            report(&|segments| fence.paths.iter().any(|fenced| leads_to(segments, fenced)), fence.why);
        }
        for layer in LAYERS {
            if let Some(module) = layer.module(&source.file) {
                report(&|segments| layer.is_broken(module, segments), layer.why);
            }
        }
    }
    for place in PLACES {
        if inside(&source.file, place.within).is_none_or(|rest| rest.starts_with(place.home)) {
            continue;
        }
        for text in source.facts.strings.iter().filter(|text| !text.is_test) {
            if place.paths.iter().any(|path| begins(&text.value, path)) {
                let rule = format!("the path {:?} does not belong here", text.value);
                violations.push(Violation {
                    file: source.file.clone(),
                    line: text.line,
                    rule,
                    why: place.why,
                });
            }
        }
    }
}

impl Fence {
    fn holds_in(&self, file: &str) -> bool {
        inside(file, self.within).is_some_and(|rest| !self.home.iter().any(|home| rest.starts_with(home)))
    }
}

impl Layer {
    /// The one of its modules that the file is part of.
    fn module(&self, file: &str) -> Option<&'static str> {
        let rest = inside(file, self.within)?;
        let first = rest.split('/').next()?;
        let first = first.strip_suffix(".rs").unwrap_or(first);
        self.modules.iter().copied().find(|module| *module == first)
    }

    fn is_broken(&self, own: &str, segments: &[String]) -> bool {
        let [krate, module, ..] = segments else { return false };
        krate == "crate" && (module == "*" || (module != own && self.not.contains(&module.as_str())))
    }
}

fn inside<'a>(file: &'a str, folder: &str) -> Option<&'a str> {
    file.strip_prefix(folder)
}

/// Whether a path is a fenced one or goes through it. A glob on the way to it counts too.
fn leads_to(segments: &[String], fenced: &str) -> bool {
    let fenced: Vec<&str> = fenced.split("::").collect();
    let is_same = |(segment, fenced): (&String, &&str)| match fenced.strip_suffix('*') {
        Some(beginning) => segment.starts_with(beginning),
        None => segment == fenced,
    };
    let (length, is_glob) = match segments {
        [before @ .., last] if last == "*" && before.len() < fenced.len() => {
            (before.len(), !before.is_empty())
        }
        _ => (fenced.len(), segments.len() >= fenced.len()),
    };
    is_glob && segments.iter().zip(&fenced).take(length).all(is_same)
}

fn begins(text: &str, path: &str) -> bool {
    text.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests;
