//! Others who steer what a daemon steers: it is told of them, by itself and by `doctor`.

use std::{fs, path::Path, process::Command};

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
    sidecar::{Sidecar, THREE_CAPABILITIES, TWO_CAPABILITIES},
};

const WARNING: &str = "others send connections of what is observed elsewhere, too";

/// A cgroup, a server, and a bpffs.
struct World {
    dir: tempfile::TempDir,
    bpffs: Bpffs,
    cgroup: Cgroup,
    port: u16,
    _server: Process,
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().expect("a folder");
        let nginx = Nginx::prepare(&dir.path().join("nginx"), "127.0.0.1", free_port(), "");
        let words = nginx.command();
        let output = dir.path().join("nginx.log");
        let server = Process::start(Command::new(&words[0]).args(&words[1..]), &output);
        nginx.await_listening();
        World { dir, bpffs: Bpffs::new(), cgroup: Cgroup::new(), port: nginx.port, _server: server }
    }

    /// Runs a daemon behind a wrapper, with this below `traffic`.
    fn run(&self, name: &str, wrapper: &[&str], traffic: &str) -> Sidecar {
        let dir = self.dir.path().join(name);
        fs::create_dir_all(&dir).expect("a folder");
        let settings = dir.join("settings.yaml");
        fs::write(&settings, format!("traffic:\n{traffic}")).expect("settings");
        let (cgroup, settings) = (self.cgroup.path().display().to_string(), settings.display().to_string());
        let mut sidecar = Sidecar::spawn(&dir, wrapper, &["--cgroup", &cgroup, "--config", &settings], &[]);
        sidecar.await_attached();
        sidecar.await_ready();
        sidecar
    }

    /// One that denies the server, pinned.
    fn denies(&self, pin: &Path) -> String {
        format!(
            "  pin: {}\n  services: [{{name: denied, addresses: [127.0.0.1], ports: [{}], gear: deny}}]\n",
            pin.display(),
            self.port
        )
    }

    /// Whether the server is reached from the cgroup.
    fn is_reached(&self) -> bool {
        let url = format!("http://127.0.0.1:{}/100.bin", self.port);
        let words = [
            self.cgroup.wrapper(),
            ["curl", "-sf", "-m", "10", "-o", "/dev/null", &url].map(str::to_owned).into(),
        ]
        .concat();
        process::output(Command::new(&words[0]).args(&words[1..])).status.success()
    }

    /// Ids of programs on a hook of the cgroup, by bpftool's account.
    fn attached(&self, hook: &str) -> Vec<u64> {
        let shown =
            process::run(Command::new("bpftool").args(["-j", "cgroup", "show"]).arg(self.cgroup.path()));
        let shown: Vec<Value> = serde_json::from_str(&shown).expect("JSON");
        let of_hook = shown.iter().filter(|one| one["attach_type"] == hook);
        of_hook.filter_map(|one| one["id"].as_u64()).collect()
    }
}

/// What `/readyz` says of steering.
fn readiness(sidecar: &Sidecar) -> String {
    let ready = scrape::get(sidecar.port, "/readyz", "");
    ready.lines().find(|line| line.starts_with("steering")).unwrap_or_default().to_owned()
}

fn n_warnings(sidecar: &Sidecar) -> usize {
    sidecar.log().matches(WARNING).count()
}

fn unpin(dir: &Path) {
    process::run(Command::new(binary()).arg("unpin").arg(dir));
}

/// Pins of a folder that is not the daemon's any more, or of settings that pin nothing now, go on beside its own policy: until
/// they are removed, as it says.
#[test]
#[ignore = "privileged: attaches BPF programs, mounts a bpffs"]
fn a_policy_that_was_left_is_told_of() {
    let world = World::new();
    let [old, new] = ["old", "new"].map(|name| world.bpffs.path().join(name));
    let else_where = "services: [{name: other, addresses: [127.9.9.9]}]\n";
    let unpinned = format!("  {else_where}");
    let pinned = format!("  pin: {}\n  {else_where}", new.display());
    let (ok_unpinned, ok_pinned) =
        ("steering ok: not pinned".to_owned(), format!("steering ok: pinned at {}", new.display()));
    for (name, traffic, alone) in [("unpinned", &unpinned, &ok_unpinned), ("pinned", &pinned, &ok_pinned)] {
        let mut first = world.run("first", &TWO_CAPABILITIES, &world.denies(&old));
        assert!(first.stop().success());
        let mut second = world.run(name, &TWO_CAPABILITIES, traffic);
        assert!(!world.is_reached(), "{name}: what was left is at work");
        let advice = format!(
            "steered by others, too: what is pinned at {0}: `sidecar unpin {0}` ends it",
            old.display()
        );
        assert!(readiness(&second).contains(&advice), "{}", readiness(&second));
        assert!(
            readiness(&second).contains(alone.trim_start_matches("steering ok: ")),
            "{}",
            readiness(&second)
        );
        // Its daemon may live for all that was seen of it so far.
        eventually("it to be taken for gone", || {
            readiness(&second).starts_with("steering degraded: ").then_some(())
        });
        assert_eq!(n_warnings(&second), 1, "{}", second.log());
        assert!(second.log().contains(&format!("sidecar unpin {}", old.display())), "{}", second.log());
        unpin(&old);
        assert!(world.is_reached());
        eventually("nobody else to be there", || (readiness(&second) == *alone).then_some(()));
        assert_eq!(n_warnings(&second), 1);
        assert!(second.stop().success());
    }
    unpin(&new);
}

/// Two that run are nobody's mistake: told, as far as the second can know, and nothing more. One that came and went is not told of.
#[test]
#[ignore = "privileged: attaches BPF programs, mounts a bpffs"]
fn one_that_runs_is_told_of_as_far_as_can_be_known() {
    let world = World::new();
    let pin = world.bpffs.pins();
    let traffic = "  services: [{name: other, addresses: [127.9.9.9]}]\n";
    let pinned = format!("  pin: {}\n{traffic}", pin.display());
    let folder = format!("what is pinned at {}", pin.display());
    // Who may list programs sees names, where whoever loaded them could give them any.
    for (theirs, first, ours, expected) in [
        (&[][..], traffic, &[][..], "another sidecar that runs (program ID)"),
        (&THREE_CAPABILITIES, traffic, &[], "another sidecar that runs (program ID)"),
        (&[], traffic, &TWO_CAPABILITIES, "program ID: whose it is is not known"),
        (&TWO_CAPABILITIES, traffic, &[], "program ID: whose it is is not known"),
        (&TWO_CAPABILITIES, &pinned, &TWO_CAPABILITIES, folder.as_str()),
    ] {
        let mut other = world.run("other", theirs, first);
        let [id] = world.attached("cgroup_inet4_getpeername")[..] else { panic!("not one program") };
        let expected = expected.replace("ID", &id.to_string());
        let mut own = world.run("own", ours, traffic);
        let is_told = || {
            let said = readiness(&own);
            (said.starts_with("steering ok: not pinned; steered by others, too: ")
                && said.contains(&expected))
            .then_some(())
        };
        eventually(&expected, is_told);
        assert_eq!(n_warnings(&own), 1, "{}", own.log());
        // Not the one that was there first: who comes looks.
        assert_eq!(n_warnings(&other), 0);
        other.signal(Signal::KILL);
        other.wait();
        if first == traffic {
            eventually("nobody else to be there", || {
                (readiness(&own) == "steering ok: not pinned").then_some(())
            });
        } else {
            unpin(&pin);
        }
        own.signal(Signal::KILL);
        own.wait();
    }
    let mut last = world.run("last", &TWO_CAPABILITIES, traffic);
    assert_eq!(readiness(&last), "steering ok: not pinned");
    assert!(last.stop().success());
    assert_eq!(n_warnings(&last), 0, "{}", last.log());
}

/// One that observes and steers nothing says who does; one whose folder is in use by another says that, and no more.
#[test]
#[ignore = "privileged: attaches BPF programs, mounts a bpffs"]
fn who_steers_nothing_is_told_too() {
    let world = World::new();
    let pin = world.bpffs.pins();
    let mut first = world.run("first", &TWO_CAPABILITIES, &world.denies(&pin));
    let observer = world.run("observer", &TWO_CAPABILITIES, "  services: []\n");
    let said = readiness(&observer);
    assert!(
        said.starts_with("steering ok: nothing by this daemon; steered by others, too: what is pinned at"),
        "{said}"
    );
    drop(observer);
    let refused = world.run("refused", &TWO_CAPABILITIES, &world.denies(&pin));
    let said = readiness(&refused);
    assert!(said.contains("in use by a sidecar that runs") && !said.contains("others"), "{said}");
    assert_eq!(n_warnings(&refused), 0);
    drop(refused);
    assert!(first.stop().success());
    unpin(&pin);
}

/// What is pinned where the settings say is the daemon's own; of others it says where they are pinned, and what they are called.
#[test]
#[ignore = "privileged: attaches BPF programs, mounts a bpffs"]
fn doctor_tells_ours_from_others() {
    let world = World::new();
    let [own, other] = ["own", "other"].map(|name| world.bpffs.path().join(name));
    let _daemons = [(&own, &TWO_CAPABILITIES), (&other, &THREE_CAPABILITIES)].map(|(pin, wrapper)| {
        let name = pin.file_name().expect("a name").to_string_lossy().into_owned();
        world.run(&name, &wrapper[..], &world.denies(pin))
    });
    let examined = |pin: Option<&Path>| {
        let wrapper = world.cgroup.wrapper();
        let mut command = Command::new(&wrapper[0]);
        command.args(&wrapper[1..]).arg(binary()).args(["doctor", "-o", "json"]);
        command.envs(pin.map(|pin| ("SIDECAR_TRAFFIC_PIN", pin)));
        let output = process::output(&mut command);
        let findings: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
        let on_hook = |one: &&Value| one["name"] == "programs of others on getpeername4";
        let finding =
            findings.iter().find(on_hook).map(|one| one["detail"].as_str().expect("text").to_owned());
        assert!(
            !findings.iter().any(|one| one["detail"].as_str().is_some_and(|text| text.contains("()"))),
            "{findings:#?}"
        );
        finding.unwrap_or_default()
    };
    let [first, second] = world.attached("cgroup_inet4_getpeername")[..] else { panic!("not two programs") };
    let [first, second] = [
        format!("{first} (name not known, pinned at {})", own.display()),
        format!("{second} (peer4, pinned at {})", other.display()),
    ];
    assert_eq!(examined(None), format!("in this order: {first}, {second}"));
    assert_eq!(examined(Some(&own)), format!("in this order: {second}"));
    assert_eq!(examined(Some(&other)), format!("in this order: {first}"));
    drop(_daemons);
    unpin(&own);
    assert_eq!(examined(Some(&other)), "");
    unpin(&other);
}
