//! nginx, with an access log that says what it answered.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use crate::{
    arrival::{self, Arrival},
    eventually, process,
    scrape::{Kind, known_method},
};

/// A configuration on disk, and where its log goes.
#[derive(Clone, Debug)]
pub struct Nginx {
    dir: PathBuf,
    address: String,
    /// Where it listens.
    pub port: u16,
}

/// Sizes, in bytes, of the files that it serves as `/N.bin`.
pub const SIZES: [usize; 6] = [0, 100, 1_000, 10_000, 60_000, 5_000_000];

impl Nginx {
    /// Writes configuration and content below `dir`. `listen` is what follows the address (`deferred`, …). The server
    /// answers `/N.bin` and `/numbered/N/…` with 200, `/status/CODE` with these codes, `/made` to POST and PUT with 201,
    /// the rest with 404.
    #[must_use]
    pub fn prepare(dir: &Path, address: &str, port: u16, listen: &str) -> Nginx {
        let dir = dir.to_path_buf();
        let html = dir.join("html");
        fs::create_dir_all(&html).expect("a folder for content");
        for size in SIZES {
            fs::write(html.join(format!("{size}.bin")), vec![b'x'; size]).expect("content");
        }
        let codes = [204, 301, 304, 400, 403, 410, 500, 503]
            .map(|code| format!("location = /status/{code} {{ return {code}; }}"))
            .join("\n    ");
        let dir_text = dir.display();
        let config = format!(
            "user root; daemon off; worker_processes 1; pid {dir_text}/nginx.pid; error_log {dir_text}/error.log;\n\
             events {{ worker_connections 1024; }}\n\
             http {{\n  log_format counts '$request_method $status $remote_addr $body_bytes_sent';\n\
             access_log {dir_text}/access.log counts;\n  keepalive_requests 100000000;\n  client_max_body_size 0;\n\
             client_body_temp_path {dir_text}/body;\n  proxy_temp_path {dir_text}/proxy;\n\
             fastcgi_temp_path {dir_text}/fastcgi;\n  uwsgi_temp_path {dir_text}/uwsgi;\n\
             scgi_temp_path {dir_text}/scgi;\n\
             server {{\n    listen {address}:{port} {listen};\n    root {dir_text}/html;\n    {codes}\n\
             location ~ ^/numbered/([0-9]+)/ {{ try_files /$1.bin =404; }}\n    \
             location = /made {{ return 201 \"made\"; }}\n  }}\n}}\n"
        );
        fs::write(dir.join("nginx.conf"), config).expect("the configuration");
        Nginx { dir, address: address.to_owned(), port }
    }

    /// Puts something else in place of a part of its configuration.
    pub fn amend(&self, from: &str, to: &str) {
        let path = self.dir.join("nginx.conf");
        let text = process::read(&path);
        assert!(text.contains(from), "no `{from}` in {text}");
        fs::write(&path, text.replace(from, to)).expect("the configuration");
    }

    /// The command that runs it in the foreground.
    #[must_use]
    pub fn command(&self) -> Vec<String> {
        let config = self.dir.join("nginx.conf").display().to_string();
        vec!["nginx".into(), "-c".into(), config, "-p".into(), self.dir.display().to_string()]
    }

    /// Waits until it answers.
    pub fn await_listening(&self) {
        let to = format!("{}:{}", self.address, self.port);
        eventually("nginx to listen", || std::net::TcpStream::connect(&to).ok());
    }

    /// The address of something that it serves.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}:{}/{path}", self.address, self.port)
    }

    /// What it answered so far, by method (as it is exposed) and status.
    #[must_use]
    pub fn answered(&self) -> BTreeMap<Kind, u64> {
        let mut kinds = BTreeMap::new();
        self.log(|[method, status, _]| {
            *kinds.entry((known_method(method).to_owned(), status.to_owned())).or_default() += 1;
        });
        kinds
    }

    /// How many requests it answered so far, by the client's address.
    #[must_use]
    pub fn clients(&self) -> BTreeMap<String, u64> {
        let mut clients = BTreeMap::new();
        self.log(|[_, _, client]| *clients.entry(client.to_owned()).or_default() += 1);
        clients
    }

    /// Lets its log tell also which address was reached and what stands behind the `?`; before it is started.
    pub fn log_arrivals(&self) {
        self.amend("$body_bytes_sent'", "$body_bytes_sent $server_addr $args'");
    }

    /// What it answered with 200 so far, where its log tells of it.
    #[must_use]
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.await_lines();
        arrival::logged(&self.dir.join("access.log"))
    }

    /// A line is written after its answer was sent, before the worker sleeps again: waits for that, if not for ever.
    fn await_lines(&self) {
        let id = fs::read_to_string(self.dir.join("nginx.pid")).unwrap_or_default();
        let id = id.trim();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        let is_busy = |id: &str| {
            // Its state stands behind its name, proc_pid_stat(5).
            let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['R', 'D']))
        };
        for _ in 0..1000 {
            if ![id].into_iter().chain(children.split_whitespace()).any(is_busy) {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Method, status and client of each line of its log.
    fn log(&self, mut line: impl FnMut([&str; 3])) {
        self.await_lines();
        for text in process::read(&self.dir.join("access.log")).lines() {
            let mut fields = text.split(' ');
            if let (Some(method), Some(status), Some(client)) = (fields.next(), fields.next(), fields.next())
            {
                line([method, status, client]);
            }
        }
    }

    /// What it complained of so far.
    #[must_use]
    pub fn errors(&self) -> String {
        process::read(&self.dir.join("error.log"))
    }
}
