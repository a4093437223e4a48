//! HAProxy, with a log that says what it answered.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    arrival::{self, Arrival},
    process::{self, Process},
};

/// A configuration on disk, and where its log goes.
#[derive(Clone, Debug)]
pub struct Haproxy {
    dir: PathBuf,
}

impl Haproxy {
    /// Writes a configuration below `dir`. It listens where each of `binds` says, and does what `rules` say of a request; what
    /// they let pass goes on to the `sections` behind.
    #[must_use]
    pub fn prepare(dir: &Path, binds: &[&str], rules: &str, sections: &str) -> Haproxy {
        let binds = binds.iter().map(|bind| format!("  bind {bind}\n")).collect::<String>();
        let config = format!(
            "global\n  nbthread 1\n  log stdout format raw local0\n\
             defaults\n  mode http\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n\
             \x20 option http-server-close\n  http-reuse never\n\
             frontend all\n{binds}  log global\n  log-format '%HM %ST %ci %B %fi %HQ'\n{rules}\n{sections}\n"
        );
        fs::create_dir_all(dir).expect("a folder");
        fs::write(dir.join("haproxy.cfg"), config).expect("the configuration");
        Haproxy { dir: dir.to_path_buf() }
    }

    /// Starts it behind a wrapper.
    #[must_use]
    pub fn start(&self, wrapper: &[String]) -> Process {
        let config = self.dir.join("haproxy.cfg").display().to_string();
        let words = [wrapper, &["haproxy", "-db", "-f", &config].map(str::to_owned)].concat();
        Process::start(Command::new(&words[0]).args(&words[1..]), &self.dir.join("haproxy.out"))
    }

    /// What it answered with 200 so far.
    #[must_use]
    pub fn arrivals(&self) -> Vec<Arrival> {
        arrival::logged(&self.dir.join("haproxy.out"))
    }

    /// What it complained of so far, and what it answered.
    #[must_use]
    pub fn output(&self) -> String {
        process::read(&self.dir.join("haproxy.out"))
    }
}
