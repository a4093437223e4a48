//! Servers of many makes that answer `/STATUS/SIZE`, each with an account of its own.

use std::{
    collections::BTreeMap,
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
};

use crate::{
    eventually, free_port, parts, process, root,
    scrape::{Kind, known_method},
};

/// What was answered, by method and status.
pub type Counts = BTreeMap<Kind, u64>;

/// One that is to be started.
#[derive(Debug)]
pub struct Server {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    /// What starts it.
    pub command: Vec<String>,
    account: Account,
}

#[derive(Debug)]
enum Account {
    /// Lines of `METHOD STATUS` in a file.
    Lines(PathBuf),
    /// uvicorn's own lines, in its output.
    Uvicorn,
    /// Caddy's own lines, in a file.
    Caddy(PathBuf),
}

impl Server {
    /// Java's `com.sun.net.httpserver`.
    #[must_use]
    pub fn java(dir: &Path) -> Server {
        Server::with_lines(dir, &["java"], "Server.java")
    }

    /// Node's `http`.
    #[must_use]
    pub fn node(dir: &Path) -> Server {
        Server::with_lines(dir, &["node"], "server.js")
    }

    /// Python's `http.server`.
    #[must_use]
    pub fn python(dir: &Path) -> Server {
        Server::with_lines(dir, &["python3"], "threads.py")
    }

    /// asyncio and h11, by a server that many use.
    #[must_use]
    pub fn uvicorn() -> Server {
        let (port, uvicorn) = (free_port(), parts().join("venv/bin/uvicorn").display().to_string());
        let folder = root().join("tests/support/servers").display().to_string();
        let words = ["--app-dir", &folder, "--loop", "asyncio", "--http", "h11", "asgi:app", "--port"];
        let command = words.iter().map(|word| (*word).to_owned());
        let command = std::iter::once(uvicorn).chain(command).chain([port.to_string()]).collect();
        Server { port, command, account: Account::Uvicorn }
    }

    /// Caddy, which is Go's net/http. It answers what the tests ask for.
    #[must_use]
    pub fn caddy(dir: &Path) -> Server {
        let (port, config, log) = (free_port(), dir.join("Caddyfile"), dir.join("caddy.log"));
        let answers =
            [("200", 1000), ("404", 20_000), ("201", 100), ("500", 10), ("200", 3000), ("200", 100)];
        let routes = answers
            .map(|(status, size)| format!("  respond /{status}/{size} \"{}\" {status}\n", "g".repeat(size)))
            .concat();
        fs::create_dir(dir.join("200")).expect("a folder");
        fs::write(dir.join("200/2000000"), vec![b'g'; 2_000_000]).expect("content");
        let text = format!(
            "{{\n  admin off\n  persist_config off\n}}\nhttp://:{port} {{\n  bind 127.0.0.1\n  log {{\n    output file {log}\n  }}\n\
             {routes}  root * {root}\n  file_server\n}}\n",
            log = log.display(),
            root = dir.display(),
        );
        fs::write(&config, text).expect("the configuration");
        let home = format!("HOME={}", dir.display());
        let caddy = parts().join("venv/bin/caddy").display().to_string();
        let config = config.display().to_string();
        let command = ["env", &home, &caddy, "run", "--config", &config].map(str::to_owned).to_vec();
        Server { port, command, account: Account::Caddy(log) }
    }

    fn with_lines(dir: &Path, interpreter: &[&str], script: &str) -> Server {
        let (port, log) = (free_port(), dir.join("answered"));
        let mut command: Vec<String> = interpreter.iter().map(|word| (*word).to_owned()).collect();
        command.extend([support(script), log.display().to_string(), port.to_string()]);
        Server { port, command, account: Account::Lines(log) }
    }

    /// Waits until it answers.
    pub fn await_listening(&self) {
        eventually("the server to listen", || TcpStream::connect(("127.0.0.1", self.port)).ok());
    }

    /// What it answered so far, by its own account. `output` is what it wrote.
    #[must_use]
    pub fn answered(&self, output: &str) -> Counts {
        match &self.account {
            Account::Lines(log) => counted(&process::read(log)),
            // INFO:     127.0.0.1:41234 - "GET /200/1000 HTTP/1.1" 200 OK
            Account::Uvicorn => {
                let pairs = output.lines().filter_map(|line| {
                    let (request, status) = line.split_once(" - \"")?.1.split_once('"')?;
                    Some(format!("{} {}\n", request.split(' ').next()?, status.split_whitespace().next()?))
                });
                counted(&pairs.collect::<String>())
            }
            Account::Caddy(log) => {
                let lines = process::read(log);
                let json = |line| serde_json::from_str::<serde_json::Value>(line).expect("JSON");
                let answers = lines.lines().map(json).filter(|line| line["request"].is_object());
                let pairs = answers.map(|line| {
                    let method = line["request"]["method"].as_str().expect("a method").to_owned();
                    format!("{method} {}\n", line["status"])
                });
                counted(&pairs.collect::<String>())
            }
        }
    }
}

/// A program of `tests/support/servers`.
#[must_use]
pub fn support(name: &str) -> String {
    root().join("tests/support/servers").join(name).display().to_string()
}

/// The sums of lines of `METHOD STATUS`; others are skipped.
#[must_use]
pub fn counted(text: &str) -> Counts {
    let mut counts = Counts::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [method, status] = words[..]
            && method.bytes().all(|byte| byte.is_ascii_uppercase())
            && status.parse::<u16>().is_ok()
        {
            *counts.entry((known_method(method).to_owned(), status.to_owned())).or_default() += 1;
        }
    }
    counts
}
