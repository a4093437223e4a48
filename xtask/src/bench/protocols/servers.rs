//! Servers in a cgroup, as they are installed, and how long they take to answer.

use std::{fs, net::TcpStream, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use anyhow::{Context as _, Result};
use sidecar_tests::{
    cgroup::Cgroup,
    dnsmasq, eventually,
    nginx::Nginx,
    pki::Pki,
    process::{self, Process},
    python, root,
};

use super::super::world::SERVER_CPU;

/// Who serves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Server {
    /// nginx, with what follows the address where it listens.
    Nginx(&'static str),
    Grpcio,
    Postgres,
    MariaDb,
    Redis,
    Memcached,
    Dnsmasq,
    WebSocket,
}

/// The database that clients ask.
pub(super) const DATABASE: &str = "bench";
/// Where dnsmasq listens.
pub(super) const RESOLVER: &str = "127.0.0.77";
const VERSIONS: &str = "/usr/lib/postgresql";
const AS_POSTGRES: [&str; 4] = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"];

impl Server {
    /// Starts it, and waits until it answers.
    pub(super) fn start(self, dir: &Path, cgroup: &Cgroup, port: u16) -> Result<Process> {
        // Some read their files as another user.
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).context("open the folder")?;
        let number = port.to_string();
        let support = |name: &str| root().join("tests/support").join(name).display().to_string();
        let words: Vec<String> = match self {
            Server::Nginx(listen) => nginx(dir, port, listen),
            Server::Grpcio => vec![python(), support("grpc_server.py"), number, "/dev/null".to_owned()],
            Server::Postgres => postgres(dir, &number)?,
            Server::MariaDb => mariadb(dir, port),
            Server::Redis => {
                words("redis-server --bind 127.0.0.1 --save  --maxclients 20000 --port", &number)
            }
            Server::Memcached => words("memcached -u root -l 127.0.0.1 -c 20000 -p", &number),
            Server::Dnsmasq => {
                let wrapper = [cgroup.wrapper(), pinned()].concat();
                let more = ["--address=/bench.test/192.0.2.1".to_owned()];
                let (log, answers) = (dir.join("server.out"), ["a.bench.test", "192.0.2.1"]);
                return Ok(dnsmasq::start_by(&wrapper, RESOLVER, &more, &log, answers));
            }
            Server::WebSocket => {
                vec![python(), support("websocket_server.py"), number, "plain".to_owned()]
            }
        };
        let command = [cgroup.wrapper(), pinned(), words].concat();
        let log = dir.join("server.out");
        let server = Process::start(Command::new(&command[0]).args(&command[1..]), &log);
        eventually("the server to listen", || TcpStream::connect(("127.0.0.1", port)).ok());
        match self {
            Server::Postgres => {
                let owner = |program: &str, words: &[&str]| {
                    let mut owner = Command::new(program);
                    owner.arg("-h").arg(dir.join("data")).args(["-p", &port.to_string(), "-U", "postgres"]);
                    owner.args(words);
                    owner
                };
                eventually("the server to answer", || {
                    process::output(&mut owner("createdb", &[DATABASE])).status.success().then_some(())
                });
                process::run(&mut owner("pgbench", &["--initialize", "--quiet", DATABASE]));
            }
            Server::MariaDb => {
                let user =
                    "CREATE DATABASE bench; CREATE USER app@'127.0.0.1'; GRANT ALL ON *.* TO app@'127.0.0.1'";
                eventually("the server to answer", || {
                    let mut owner = Command::new("mariadb");
                    owner.args(["--no-defaults", "--user=root", "-S"]).arg(dir.join("data/mariadb.sock"));
                    process::output(owner.args(["-e", user])).status.success().then_some(())
                });
            }
            _ => {}
        }
        Ok(server)
    }
}

fn pinned() -> Vec<String> {
    ["taskset", "-c", SERVER_CPU].map(str::to_owned).to_vec()
}

fn words(text: &str, last: &str) -> Vec<String> {
    text.split(' ').chain([last]).map(str::to_owned).collect()
}

fn nginx(dir: &Path, port: u16, listen: &str) -> Vec<String> {
    let nginx = Nginx::prepare(dir, "127.0.0.1", port, listen);
    let log = format!("access_log {}/access.log counts;", dir.display());
    nginx.amend(&log, "access_log off;");
    nginx.amend("worker_connections 1024;", "worker_connections 30000;");
    nginx.amend("user root;", "user root; worker_rlimit_nofile 65536;");
    if listen == "ssl" {
        let pki = Pki::new(dir);
        let (certificate, key) = (pki.path("server.pem"), pki.path("server.key"));
        nginx.amend("root ", &format!("ssl_certificate {certificate}; ssl_certificate_key {key}; root "));
    }
    nginx.command()
}

fn postgres(dir: &Path, port: &str) -> Result<Vec<String>> {
    let data = dir.join("data");
    process::run(Command::new("install").args(["-d", "-o", "postgres", "-g", "postgres"]).arg(&data));
    let data = data.display().to_string();
    let version = fs::read_dir(VERSIONS).context(VERSIONS)?.next().context("no PostgreSQL")??;
    let program = |name: &str| version.path().join("bin").join(name).display().to_string();
    let initdb = program("initdb");
    let words = [&initdb, "--auth=trust", "--no-sync", "--no-locale", "--encoding=UTF8", "-D", &data];
    process::run(Command::new(AS_POSTGRES[0]).args(&AS_POSTGRES[1..]).args(words));
    let sockets = format!("unix_socket_directories={data}");
    let postgres = program("postgres");
    let mut words = [&AS_POSTGRES[..], &[&postgres, "-D", &data, "-p", port]].concat();
    for setting in ["listen_addresses=127.0.0.1", &sockets, "fsync=off", "max_connections=300"] {
        words.extend(["-c", setting]);
    }
    Ok(words.into_iter().map(str::to_owned).collect())
}

fn mariadb(dir: &Path, port: u16) -> Vec<String> {
    let data = dir.join("data");
    process::run(Command::new("install").args(["-d", "-o", "mysql", "-g", "mysql"]).arg(&data));
    let data = format!("--datadir={}", data.display());
    let common = ["--no-defaults", "--user=mysql", &data, "--innodb-flush-method=nosync"];
    process::run(Command::new("mariadb-install-db").args(common).arg("--skip-test-db"));
    let socket = format!("--socket={}", dir.join("data/mariadb.sock").display());
    let port = format!("--port={port}");
    let own = [&*port, &socket, "--bind-address=127.0.0.1", "--skip-name-resolve", "--max-connections=1000"];
    [&["mariadbd"], &common[..], &own].concat().into_iter().map(str::to_owned).collect()
}
