//! Whom services leave alone: connections that are excepted by who makes them, against the logs of the servers that got them.

use std::{
    collections::BTreeMap, fs, net::UdpSocket, os::unix::fs::MetadataExt as _, path::PathBuf,
    process::Command, time::Duration,
};

use rustix::process::Signal;
use serde_json::Value;
use sidecar_tests::{
    binary,
    bpffs::Bpffs,
    cgroup::Cgroup,
    eventually, free_port,
    nginx::Nginx,
    process::{self, Process},
    scrape,
    sidecar::Sidecar,
};

/// Where services are asked for, and where the other server is.
const ASKED: &str = "127.12.0.1";
const DENIED: &str = "127.12.0.2";

/// Two servers: one at the addresses that are asked for, one that is the endpoint.
struct World {
    dir: tempfile::TempDir,
    cgroup: Cgroup,
    servers: [(Nginx, Process); 2],
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().expect("a folder");
        let server = |(name, address): (&str, &str)| {
            let nginx = Nginx::prepare(&dir.path().join(name), address, free_port(), "");
            let command = nginx.command();
            let log = dir.path().join(format!("{name}.log"));
            let process = Process::start(Command::new(&command[0]).args(&command[1..]), &log);
            nginx.await_listening();
            (nginx, process)
        };
        let servers = [("asked", "0.0.0.0"), ("endpoint", "127.0.0.1")].map(server);
        World { dir, cgroup: Cgroup::new(), servers }
    }

    /// A service with an endpoint and one that is denied, both at one port, with these exceptions.
    fn settings(&self, except: &str) -> PathBuf {
        let [port, endpoint] = [0, 1].map(|at: usize| self.servers[at].0.port);
        let (path, new) = (self.dir.path().join("settings.yaml"), self.dir.path().join("settings.new"));
        let text = format!(
            "traffic:
  services:
    - {{name: web, addresses: [{ASKED}], ports: [{port}], except: {except}, endpoints: ['127.0.0.1:{endpoint}']}}
    - {{name: closed, addresses: [{DENIED}], except: {except}, gear: deny, while_running: true}}\n"
        );
        fs::write(&new, text).expect("settings");
        fs::rename(new, &path).expect("settings");
        path
    }

    fn run(&self, except: &str) -> Sidecar {
        let settings = self.settings(except).display().to_string();
        let cgroup = self.cgroup.path().display().to_string();
        let sidecar = Sidecar::run(self.dir.path(), &["--cgroup", &cgroup, "--config", &settings], &[]);
        sidecar.await_ready();
        sidecar
    }

    /// Runs something in the application's cgroup.
    fn inside(&self, words: &[&str]) -> Command {
        let wrapper = self.cgroup.wrapper();
        let mut command = Command::new(&wrapper[0]);
        command.args(&wrapper[1..]).args(words);
        command
    }

    /// Fetches something as these words do, from an address that is asked for: what curl's exit status says, and which
    /// servers' logs have a line more.
    fn fetch(&self, curl: &[&str], address: &str) -> (Option<i32>, [u64; 2]) {
        let n = || [0, 1].map(|at: usize| self.servers[at].0.answered().values().sum::<u64>());
        let before = n();
        let url = format!("http://{address}:{}/100.bin", self.servers[0].0.port);
        let said = process::output(self.inside(curl).args(["-s", "-o", "/dev/null", "-m", "10", &url]));
        let n_lines = u64::from(said.status.success());
        let after = eventually("the servers' logs", || {
            let after = n();
            (after.iter().sum::<u64>() == before.iter().sum::<u64>() + n_lines).then_some(after)
        });
        (said.status.code(), [after[0] - before[0], after[1] - before[1]])
    }
}

const PASSED: (Option<i32>, [u64; 2]) = (Some(0), [1, 0]);
const BALANCED: (Option<i32>, [u64; 2]) = (Some(0), [0, 1]);
/// curl could not connect.
const REFUSED: (Option<i32>, [u64; 2]) = (Some(7), [0, 0]);

fn verdicts(sidecar: &Sidecar) -> BTreeMap<String, u64> {
    let scrape = sidecar.scrape();
    let all = scrape.all("sidecar_traffic_connections_total");
    let all = all.filter(|(labels, _)| labels["sidecar_traffic_direction"] == "outbound");
    let word =
        |labels: &sidecar_tests::scrape::Labels, name: &str| labels.get(name).cloned().unwrap_or_default();
    let told = all.map(|(labels, n)| {
        (format!("{} {}", word(labels, "sidecar_verdict"), word(labels, "sidecar_reason")), n as u64)
    });
    told.filter(|(_, n)| *n > 0).collect()
}

/// As what a process of the application is, the daemon explains it.
fn explained(sidecar: &Sidecar, address: &str, process: Option<&Process>) -> Value {
    let admin = format!("127.0.0.1:{}", sidecar.admin_port);
    let pid = process.map(|process| process.pid().as_raw_nonzero().to_string());
    let pid = pid.iter().flat_map(|pid| ["--pid", pid]);
    let mut command = Command::new(binary());
    command.args(["explain", "--admin", &admin, "-o", "json", address]).args(pid);
    serde_json::from_str(&process::run(&mut command)).expect("JSON")
}

/// Users that are excepted go where they ask, what is denied and datagrams too, whatever they are in a namespace of their own.
/// Others are balanced, or refused. All of it changes while running.
#[test]
#[ignore = "privileged: attaches BPF programs"]
fn users_are_left_alone() {
    let world = World::new();
    let sidecar = world.run("{uids: [4242, 5000-5999]}");
    let as_user = |uid: &'static str| ["setpriv", "--reuid", uid, "--clear-groups", "curl"];
    for (uid, is_excepted) in [
        ("4241", false),
        ("4242", true),
        ("4243", false),
        ("4999", false),
        ("5000", true),
        ("5999", true),
        ("6000", false),
        ("0", false),
    ] {
        let [web, closed] = [ASKED, DENIED].map(|address| world.fetch(&as_user(uid), address));
        let expected = if is_excepted { [PASSED, PASSED] } else { [BALANCED, REFUSED] };
        assert_eq!([web, closed], expected, "user {uid}");
    }
    // Root in a user namespace of its own is who it is outside.
    let own =
        ["setpriv", "--reuid", "4242", "--clear-groups", "unshare", "--user", "--map-root-user", "curl"];
    assert_eq!(world.fetch(&own, ASKED), PASSED);
    let expected = [("direct gear", 5), ("denied gear", 5), ("passed exception", 7)];
    assert_eq!(verdicts(&sidecar), expected.map(|(word, n)| (word.to_owned(), n)).into());

    let receiver = UdpSocket::bind((DENIED, 0)).expect("a socket");
    receiver.set_read_timeout(Some(Duration::from_millis(1))).expect("a timeout");
    let port = receiver.local_addr().expect("its address").port().to_string();
    let script = "
import errno, os, socket, sys
os.setuid(int(sys.argv[3]))
try: print(socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', (sys.argv[1], int(sys.argv[2]))))
except OSError as error: print(errno.errorcode[error.errno])
";
    let says = |uid: &str| {
        let words = ["python3", "-c", script, DENIED, &port, uid];
        process::run(&mut world.inside(&words)).trim().to_owned()
    };
    assert_eq!(["4242", "4243"].map(says), ["1", "EPERM"]);
    // Loopback has delivered what it delivers when sending returns.
    assert_eq!((0..).take_while(|_| receiver.recv(&mut [0]).is_ok()).count(), 1);

    let sleeper = |uid: &str| {
        let words = ["setpriv", "--reuid", uid, "--clear-groups", "sleep", "1000"];
        let process = Process::start(&mut world.inside(&words), &world.dir.path().join(uid));
        eventually("it to sleep", || {
            let comm = format!("/proc/{}/comm", process.pid().as_raw_nonzero());
            (process::read(comm.as_ref()).trim() == "sleep").then_some(())
        });
        process
    };
    let [excepted, other] = ["5500", "6000"].map(sleeper);
    let asked = format!("{ASKED}:{}", world.servers[0].0.port);
    for (process, expected) in
        [(Some(&excepted), "user 5500".into()), (Some(&other), Value::Null), (None, Value::Null)]
    {
        let told = explained(&sidecar, &asked, process);
        assert_eq!(told["rule"]["exception"], expected, "{told}");
        assert_eq!(told["rule"]["excepts"]["uids"], serde_json::json!(["4242", "5000-5999"]));
    }

    world.settings("{uids: [6000]}");
    sidecar.signal(Signal::HUP);
    eventually("the new settings", || sidecar.log().contains("settings read again").then_some(()));
    assert_eq!(["4242", "6000"].map(|uid| world.fetch(&as_user(uid), ASKED)), [BALANCED, PASSED]);
    assert_eq!(["4242", "6000"].map(|uid| world.fetch(&as_user(uid), DENIED)), [REFUSED, PASSED]);
    world.settings("{}");
    sidecar.signal(Signal::HUP);
    eventually("the newest settings", || {
        (sidecar.log().matches("settings read again").count() == 2).then_some(())
    });
    assert_eq!(world.fetch(&as_user("6000"), ASKED), BALANCED);
}

/// Processes of executable files that are excepted go where they ask, by whatever name they were started; copies of the file do
/// not. What a path stands for is looked at again: where nothing was, where another file came, and where a process has a root of
/// its own.
#[test]
#[ignore = "privileged: attaches BPF programs"]
fn executables_are_left_alone() {
    let world = World::new();
    let curl = process::run(Command::new("sh").args(["-c", "command -v curl"]));
    let path = |name: &str| world.dir.path().join(name).display().to_string();
    let copy = |name: &str| {
        fs::copy(curl.trim(), path(name)).expect("a copy of curl");
    };
    let [one, two, later, inner] = ["one", "two", "later", "inner"].map(path);
    ["one", "two"].into_iter().for_each(copy);
    fs::hard_link(&one, path("hard")).expect("a link");
    std::os::unix::fs::symlink(&one, path("soft")).expect("a link");
    let own = format!("{inner}/app");
    let sidecar = world.run(&format!("{{executables: [{one}, {later}, {own}, {inner}]}}"));
    let asked = format!("{ASKED}:{}", world.servers[0].0.port);
    let files = |at: usize| {
        let told = explained(&sidecar, &asked, None);
        let one = told["rule"]["excepts"]["executables"][at]["files"].clone();
        serde_json::from_value::<Vec<String>>(one).expect("a list of files")
    };
    let until = |what: &str, at: usize, is_it: &dyn Fn(&[String]) -> bool| {
        eventually(what, || Some(files(at)).filter(|files| is_it(files)))
    };

    let [soft, hard] = ["soft", "hard"].map(path);
    let as_one = ["bash", "-c", "exec -a \"$0\" \"$@\"", &one];
    for (words, is_excepted) in [
        (vec![one.as_str()], true),
        (vec![&soft], true),
        (vec![&hard], true),
        (vec![&two], false),
        (vec!["curl"], false),
        ([as_one.as_slice(), &[&two]].concat(), false),
    ] {
        let [web, closed] = [ASKED, DENIED].map(|address| world.fetch(&words, address));
        let expected = if is_excepted { [PASSED, PASSED] } else { [BALANCED, REFUSED] };
        assert_eq!([web, closed], expected, "{words:?}");
    }
    let expected = [("direct gear", 3), ("denied gear", 3), ("passed exception", 6)];
    assert_eq!(verdicts(&sidecar), expected.map(|(word, n)| (word.to_owned(), n)).into());
    // Datagrams: of TFTP.
    let receiver = UdpSocket::bind((DENIED, 0)).expect("a socket");
    receiver.set_read_timeout(Some(Duration::from_millis(1))).expect("a timeout");
    let url = format!("tftp://{DENIED}:{}/x", receiver.local_addr().expect("its address").port());
    for (curl, is_sent) in [(&two, false), (&one, true)] {
        process::output(world.inside(&[curl, "-s", "-m", "1", &url]).args(["-o", "/dev/null"]));
        assert_eq!(receiver.recv(&mut [0; 1024]).is_ok(), is_sent, "{curl}");
    }

    // A file comes, where there was none.
    assert_eq!(files(1), [""; 0]);
    copy("later");
    until("the later one", 1, &|files| files.len() == 1);
    assert_eq!(world.fetch(&[&later], ASKED), PASSED);
    // Another one comes in the place of the first, which goes on under its other name.
    let before = files(0);
    copy("new");
    fs::rename(path("new"), &one).expect("renamed");
    until("the new one", 0, &|files| files.len() == 1 && files != before);
    assert_eq!([&one, &hard].map(|curl| world.fetch(&[curl], ASKED)), [PASSED, BALANCED]);

    // A folder is no executable, and is not nothing either.
    let unclear =
        || explained(&sidecar, &asked, None)["rule"]["excepts"]["executables"][3]["unclear"].clone();
    assert_eq!(unclear(), serde_json::json!([]));
    fs::create_dir(&inner).expect("a folder");
    eventually("the folder", || (unclear() == serde_json::json!(["it is no file"])).then_some(()));
    // In a root of its own: what is there is nobody else's.
    let script = format!(
        "mount -t tmpfs tmpfs {inner} && cp {two} {own} && cp {two} {inner}/other && exec sleep 1000"
    );
    let mut command = world.inside(&["unshare", "--mount", "--propagation", "private", "sh", "-c", &script]);
    let process = Process::start(&mut command, &world.dir.path().join("elsewhere"));
    until("the file of another root", 2, &|files| files.len() == 1);
    let pid = process.pid().as_raw_nonzero().to_string();
    let (enter, other) = (["nsenter", "--target", &pid, "--mount"], format!("{inner}/other"));
    let there = |curl: &str| world.fetch(&[&enter[..], &[curl]].concat(), ASKED);
    assert_eq!([&own, &other].map(|curl| there(curl)), [PASSED, BALANCED]);
    let told = explained(&sidecar, &asked, Some(&process));
    assert_eq!(told["rule"]["exception"], Value::Null, "it sleeps");
    drop(process);
    until("nothing to be there", 2, &|files| files.is_empty());
}

/// A file system of its own, of a kind that gives a number anew as soon as its file is gone.
struct Ext4(tempfile::TempDir);

impl Ext4 {
    fn new() -> Ext4 {
        let dir = tempfile::tempdir().expect("a folder");
        let (image, place) = (dir.path().join("image"), dir.path().join("place"));
        fs::File::create(&image).and_then(|file| file.set_len(32 << 20)).expect("an image");
        fs::create_dir(&place).expect("a folder");
        process::run(Command::new("mkfs.ext4").arg("-q").arg(&image));
        process::run(Command::new("mount").args(["-o", "loop"]).args([&image, &place]));
        Ext4(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join("place").join(name)
    }
}

impl Drop for Ext4 {
    fn drop(&mut self) {
        // While panicking there is nobody left to tell.
        let _ = process::output(Command::new("umount").args(["-l", "-d"]).arg(self.path("")));
    }
}

/// What is pinned excepts a file, and no other that gets its number once it is gone, though nobody holds it any more.
#[test]
#[ignore = "privileged: attaches BPF programs, mounts a bpffs and an ext4"]
fn another_file_of_the_same_number_is_another() {
    let (world, bpffs, ext4) = (World::new(), Bpffs::new(), Ext4::new());
    let curl = process::run(Command::new("sh").args(["-c", "command -v curl"]));
    let copy = |name: &str| {
        let path = ext4.path(name);
        fs::copy(curl.trim(), &path).expect("a copy of curl");
        (fs::metadata(&path).expect("a file").ino(), path.display().to_string())
    };
    let (number, one) = copy("one");
    let [port, endpoint] = [0, 1].map(|at: usize| world.servers[at].0.port);
    let settings = world.dir.path().join("settings.yaml");
    let text = format!(
        "traffic:
  pin: {}
  services:
    - {{name: web, addresses: [{ASKED}], ports: [{port}], except: {{executables: [{one}]}}, endpoints: ['127.0.0.1:{endpoint}']}}\n",
        bpffs.pins().display()
    );
    fs::write(&settings, text).expect("settings");
    let (settings, cgroup) = (settings.display().to_string(), world.cgroup.path().display().to_string());
    let args = ["--cgroup", &cgroup, "--config", &settings];
    let run = |name: &str| {
        let dir = world.dir.path().join(name);
        fs::create_dir(&dir).expect("a folder");
        let sidecar = Sidecar::run(&dir, &args, &[]);
        sidecar.await_ready();
        sidecar
    };
    let kill = |mut sidecar: Sidecar| {
        sidecar.signal(Signal::KILL);
        sidecar.wait();
    };
    let sidecar = run("first");
    assert_eq!(world.fetch(&[&one], ASKED), PASSED);
    kill(sidecar);
    assert_eq!(world.fetch(&[&one], ASKED), PASSED, "it is pinned");
    fs::remove_file(&one).expect("removed");
    let mut n_copies = 0;
    let two = eventually("its number to be another's", || {
        n_copies += 1;
        let (copied, path) = copy(&format!("two{n_copies}"));
        (copied == number).then_some(path)
    });
    assert_eq!(world.fetch(&[&two], ASKED), BALANCED);
    // By the path it is meant, once somebody looks.
    fs::rename(&two, &one).expect("renamed");
    let sidecar = run("second");
    assert!(sidecar.log().contains("adopted from a daemon before"), "{}", sidecar.log());
    assert_eq!(world.fetch(&[&one], ASKED), PASSED);
    kill(sidecar);
    assert_eq!(world.fetch(&[&one], ASKED), PASSED);
}

/// Where it cannot be told what a process executes, nothing is steered, and it is said what is missing.
#[test]
#[ignore = "privileged: attaches BPF programs"]
fn what_cannot_be_told_is_not_guessed() {
    let world = World::new();
    let (settings, cgroup) = (world.settings("{executables: [/usr/bin/curl]}"), world.cgroup.path());
    let args = ["--cgroup", &cgroup.display().to_string(), "--config", &settings.display().to_string()];
    let two = ["--bounding-set=-all,+bpf,+net_admin", "--inh-caps=-all", "--nnp"];
    let mut sidecar = Sidecar::spawn(world.dir.path(), &[&["setpriv"], &two[..]].concat(), &args, &[]);
    sidecar.await_attached();
    let log = sidecar.log();
    assert!(log.contains("CAP_PERFMON is needed") && log.contains("except.executables"), "{log}");
    // It is ready all the same, and does not say that this is well.
    let ready = scrape::get(sidecar.port, "/readyz", "");
    assert!(ready.ends_with("\nok\n"), "{ready}");
    assert!(ready.contains("\nsteering degraded: connections are not steered: "), "{ready}");
    assert_eq!(world.fetch(&["curl"], ASKED), PASSED);
    assert_eq!(world.fetch(&["curl"], DENIED), PASSED);
}
