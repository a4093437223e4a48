//! An application that others come in to: nginx in a network namespace of its own, its clients in another, and the daemon beside it.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use rustix::process::Signal;

use crate::{
    cgroup::Cgroup,
    eventually,
    netns::Netns,
    nginx::Nginx,
    process::{self, Process},
    scrape::Scrape,
    sidecar::Sidecar,
};

/// The application's address.
pub const POD: &str = "10.77.0.1";
/// The same of IPv6.
pub const POD6: &str = "fd77::1";
/// A client's.
pub const CLIENT: &str = "10.77.0.2";
/// Another's, in the same namespace.
pub const OTHER: &str = "10.77.0.3";
/// The client's of IPv6.
pub const CLIENT6: &str = "fd77::2";
/// Where the application listens.
pub const PORT: u16 = 8080;

/// nginx in a network namespace that its clients are not in, and the daemon beside it.
pub struct World {
    /// Where the application and the daemon are.
    pub pod: Netns,
    /// Where those are who come in.
    pub clients: Netns,
    /// The application's.
    pub cgroup: Cgroup,
    /// Settings, logs.
    pub dir: tempfile::TempDir,
    /// Its settings and its account.
    pub nginx: Nginx,
    /// It.
    pub server: Process,
}

impl World {
    /// Without more.
    pub fn plain() -> World {
        World::listening("")
    }

    /// `how` nginx listens.
    pub fn listening(how: &str) -> World {
        let (pod, clients) = (Netns::new(), Netns::new());
        let ours = [format!("{POD}/24"), format!("{POD6}/64")];
        let theirs = [format!("{CLIENT}/24"), format!("{OTHER}/24"), format!("{CLIENT6}/64")];
        pod.cable(&clients, "wire0", [&ours, &theirs]);
        let (dir, cgroup) = (tempfile::tempdir().expect("a folder"), Cgroup::new());
        let nginx = Nginx::prepare(dir.path(), POD, PORT, "");
        let all =
            [POD, &format!("[{POD6}]"), "127.0.0.1"].map(|at| format!("listen {at}:{PORT} {how};")).concat();
        nginx.amend(&format!("listen {POD}:{PORT} ;"), &all);
        let words = [cgroup.wrapper(), pod.network(), nginx.command()].concat();
        let server = Process::start(Command::new(&words[0]).args(&words[1..]), &dir.path().join("nginx.out"));
        pod.within(|| nginx.await_listening());
        World { pod, clients, cgroup, dir, nginx, server }
    }

    /// Writes `traffic.inbound`; where it is.
    pub fn settings(&self, inbound: &str) -> String {
        let path = self.dir.path().join("settings.yaml");
        let new = self.dir.path().join("settings.new");
        fs::write(&new, format!("traffic:\n  inbound:\n{inbound}")).expect("settings");
        fs::rename(new, &path).expect("settings");
        path.display().to_string()
    }

    /// Starts the daemon, and waits until it is ready.
    pub fn run(&self, inbound: &str) -> Sidecar {
        let settings = self.settings(inbound);
        Sidecar::beside(&self.pod, &self.cgroup, self.dir.path(), Path::new(&settings))
    }

    /// What its metrics tell, once it has read all records.
    pub fn scrape(&self, sidecar: &Sidecar) -> Scrape {
        self.pod.within(|| sidecar.scrape_at_rest())
    }

    /// Has nginx log each request as `format` from now on.
    pub fn relog(&self, format: &str) {
        self.nginx.amend("'$request_method $status $remote_addr $body_bytes_sent'", &format!("'{format}'"));
        self.nginx.amend("/access.log counts", "/access.new counts");
        self.server.signal(Signal::HUP);
        eventually("nginx to go by its new log", || {
            self.ask(CLIENT, POD, PORT);
            self.logged().lines().last().map(drop)
        });
        fs::write(self.dir.path().join("access.new"), "").expect("an empty log");
    }

    /// What it logged since.
    pub fn logged(&self) -> String {
        process::read(&self.dir.path().join("access.new"))
    }

    /// Asks from outside, from an address: the status, or curl's own exit code where there is none.
    pub fn ask(&self, from: &str, to: &str, port: u16) -> String {
        curl(&self.clients.network(), &["--interface", from], to, port)
    }

    /// What is told of connections to a port from an address.
    pub fn explain(&self, sidecar: &Sidecar, port: u16, from: &str) -> String {
        let admin = format!("127.0.0.1:{}", sidecar.admin_port);
        let binary = crate::binary().display().to_string();
        let to = format!("{POD}:{port}");
        let words = [&binary, "explain", &to, "--from", from, "--admin", &admin].map(str::to_owned).to_vec();
        let words = [self.pod.network(), words].concat();
        process::run(Command::new(&words[0]).args(&words[1..]))
    }

    /// Asks as the application.
    pub fn ask_itself(&self, to: &str, port: u16) -> String {
        curl(&[self.cgroup.wrapper(), self.pod.network()].concat(), &[], to, port)
    }

    /// Who came since the last time that somebody asked, by nginx's account.
    pub fn came(&self) -> BTreeMap<String, u64> {
        let came = self.nginx.clients();
        fs::write(self.dir.path().join("access.log"), "").expect("an empty log");
        came
    }
}

/// Asks once: the status, or curl's own exit code where there is none.
#[must_use]
pub fn curl(before: &[String], words: &[&str], to: &str, port: u16) -> String {
    let to = if to.contains(':') { format!("[{to}]") } else { to.to_owned() };
    let url = format!("http://{to}:{port}/100.bin");
    let curl = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "20"];
    let output = process::output(Command::new(&before[0]).args(&before[1..]).args(curl).args(words).arg(url));
    match output.status.code() {
        Some(0) => String::from_utf8_lossy(&output.stdout).into_owned(),
        code => format!("curl {}", code.unwrap_or(-1)),
    }
}

/// A client that keeps its connection: says how each answer to a word of ours came.
pub const KEPT: &str = r#"
import http.client, sys
source = (sys.argv[3], 0) if len(sys.argv) > 3 else None
c = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]), timeout=20, source_address=source)
for _ in sys.stdin:
    c.request("GET", "/100.bin"); r = c.getresponse(); r.read()
    print(r.status, c.sock.getsockname()[0], flush=True)
"#;

/// A client that is told when.
pub struct Talker {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Talker {
    /// From outside.
    pub fn new(world: &World, script: &str, arguments: &[&str]) -> Talker {
        Talker::within(&world.clients.network(), script, arguments)
    }

    /// By a command before it.
    pub fn within(before: &[String], script: &str, arguments: &[&str]) -> Talker {
        let words = [&["python3", "-c", script], arguments].concat();
        let words = [before.to_vec(), words.into_iter().map(str::to_owned).collect()].concat();
        let mut command = Command::new(&words[0]);
        let mut child =
            command.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a client");
        let (input, output) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
        Talker { child, input, output: BufReader::new(output) }
    }

    /// Says a word.
    pub fn tell(&mut self) {
        self.input.write_all(b"\n").expect("a word");
    }

    /// What it says, a line.
    pub fn hear(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("an answer");
        line.trim().to_owned()
    }
}

/// One that keeps its connection.
pub struct Kept(pub Talker);

impl Kept {
    /// From outside, to nginx.
    pub fn new(world: &World) -> Kept {
        Kept::at(world, "8080")
    }

    /// The same, to another port.
    pub fn at(world: &World, port: &str) -> Kept {
        Kept(Talker::new(world, KEPT, &[POD, port]))
    }

    /// One request: status, and as whom it came.
    pub fn say(&mut self) -> String {
        self.0.tell();
        self.0.hear()
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
