//! `sidecar explain DESTINATION`, against what clients and servers say themselves.

use std::{collections::BTreeMap, fs, process::Command};

use serde_json::Value;
use sidecar_tests::{
    binary,
    cgroup::Cgroup,
    eventually, free_port,
    nginx::Nginx,
    process::{self, Process},
    sidecar::Sidecar,
};

struct World {
    dir: tempfile::TempDir,
    cgroup: Cgroup,
    sidecar: Sidecar,
}

impl World {
    fn new(services: &str) -> World {
        let (dir, cgroup) = (tempfile::tempdir().expect("a folder"), Cgroup::new());
        let settings = dir.path().join("settings.yaml");
        fs::write(&settings, format!("traffic:\n  services:\n{services}")).expect("settings");
        let (path, settings) = (cgroup.path().display().to_string(), settings.display().to_string());
        let sidecar = Sidecar::run(dir.path(), &["--cgroup", &path, "--config", &settings], &[]);
        sidecar.await_ready();
        World { dir, cgroup, sidecar }
    }

    fn ask(&self, args: &[&str]) -> String {
        let admin = format!("127.0.0.1:{}", self.sidecar.admin_port);
        process::run(Command::new(binary()).args(["explain", "--admin", &admin]).args(args))
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ask(&[args, &["-o", "json"]].concat())).expect("JSON")
    }

    fn curl(&self, args: &[&str]) -> Command {
        let words =
            [self.cgroup.wrapper(), ["curl", "-s", "-o", "/dev/null"].map(str::to_owned).to_vec()].concat();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(args);
        command
    }
}

/// Starts two servers that say which of them got a request.
fn servers(dir: &std::path::Path) -> Vec<(Nginx, Process)> {
    let server = |name| {
        let nginx = Nginx::prepare(&dir.join(name), "127.0.0.1", free_port(), "");
        nginx.amend(
            "'$request_method $status $remote_addr $body_bytes_sent'",
            "'$remote_port $server_addr:$server_port'",
        );
        let command = nginx.command();
        let process =
            Process::start(Command::new(&command[0]).args(&command[1..]), &dir.join(format!("{name}.log")));
        nginx.await_listening();
        (nginx, process)
    };
    ["one", "two"].map(server).into()
}

/// Which rule, where to, how much of the limit is used, and what came of the last connections: as nginx and curl have it.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn what_is_explained_is_what_happens() {
    let files = tempfile::tempdir().expect("a folder");
    let servers = servers(files.path());
    let [one, two] = [0, 1].map(|at: usize| servers[at].0.port);
    let world = World::new(&format!(
        "
    - name: web
      addresses: [10.9.0.0/24, 'fd09::/64']
      ports: [80]
      except: {{addresses: [10.9.0.9]}}
      endpoints: ['127.0.0.1:{one}', {{address: '127.0.0.1:{two}', weight: 0}}]
      limits: {{connections: 3}}
    - name: closed
      addresses: [10.9.1.1]
      gear: deny
      while_running: true
    - name: wide
      addresses: [10.0.0.0/8]
      gear: proxy
      endpoints: ['127.0.0.1:{two}']
"
    ));
    // Two that last, and as many requests that do not.
    let slow = |at: usize| {
        let args = ["--limit-rate", "1k", "http://10.9.0.1/5000000.bin"];
        Process::start(&mut world.curl(&args), &world.dir.path().join(format!("curl{at}")))
    };
    let clients = [0, 1].map(slow);
    let web = eventually("two connections", || {
        let web = world.json(&["10.9.0.1:80"]);
        (web["limits"]["active"] == 2).then_some(web)
    });
    assert_eq!(
        (&web["rule"]["service"], &web["rule"]["network"], &web["rule"]["port"]),
        (&"web".into(), &"10.9.0.0/24".into(), &80.into())
    );
    assert_eq!(
        (&web["gear"], &web["shadows"], &web["limits"]["connections"]),
        (&"direct".into(), &serde_json::json!(["wide"]), &3.into())
    );
    let of = |address: String| {
        let endpoints = web["endpoints"].as_array().expect("a list");
        let one = endpoints.iter().find(|one| one["address"] == address.as_str()).expect("it");
        (one["weight"].as_u64(), one["connections"].as_u64())
    };
    assert_eq!(of(format!("127.0.0.1:{one}")), (Some(100), Some(2)));
    assert_eq!(of(format!("127.0.0.1:{two}")), (Some(0), Some(0)));
    process::run(&mut world.curl(&["http://10.9.0.1/100.bin"]));
    assert_eq!(web["what"], "connect() is given one of the endpoints");
    // What `check` says of it, and of nobody else.
    let path = world.dir.path().join("settings.yaml");
    let checked = process::run(Command::new(binary()).arg("check").arg(&path));
    let said = "`web` has fd09::/64 and no endpoint of IPv6: connections there go where they ask";
    assert!(checked.starts_with(&format!("traffic.services: {said}\n")), "{checked}");
    assert_eq!(
        (&web["futile"], &world.json(&["10.9.2.1:80"])["futile"]),
        (&serde_json::json!([said]), &serde_json::json!([]))
    );
    assert!(world.ask(&["10.9.0.1:80"]).contains(&format!("\n  check      {said}\n")));
    drop(clients);
    for (to, expected) in [("10.9.1.1:80", "closed"), ("10.9.2.1:80", "wide"), ("10.9.0.9:80", "web")] {
        assert_eq!(world.json(&[to])["rule"]["service"], expected, "{to}");
    }
    assert_eq!(world.json(&["10.9.0.9:80"])["rule"]["exception"], "10.9.0.9/32");
    assert_eq!(world.json(&["11.0.0.1:80"])["rule"], Value::Null);
    // Each request of curl's that was refused, or answered, is among the last.
    for _ in 0..3 {
        let refused = process::output(&mut world.curl(&["http://10.9.1.1/"]));
        assert_eq!(refused.status.code(), Some(7), "curl could not connect");
    }
    let denied = eventually("the refusals", || {
        let denied = world.json(&["10.9.1.1:443"]);
        (denied["last"].as_array().expect("a list").len() == 3).then_some(denied)
    });
    for one in denied["last"].as_array().expect("a list") {
        let told = ["verdict", "reason", "came", "asked"].map(|key| one[key].as_str().unwrap_or_default());
        assert_eq!(told, ["denied", "gear", "refused", "10.9.1.1:80"]);
    }
    process::run(&mut world.curl(&["http://10.9.2.1/100.bin"]));
    let answered = |name: &str| process::read(&files.path().join(name).join("access.log"));
    let count = |text: String| {
        text.lines().filter_map(|line| line.split(' ').nth(1).map(str::to_owned)).fold(
            BTreeMap::new(),
            |mut all, server| {
                *all.entry(server).or_insert(0) += 1;
                all
            },
        )
    };
    for (to, name) in [("10.9.0.1:80", "one"), ("10.9.2.1:80", "two")] {
        let expected: BTreeMap<String, i32> = eventually("the server's account", || {
            let all = count(answered(name));
            (all.values().sum::<i32>() == if name == "one" { 3 } else { 1 }).then_some(all)
        });
        let told = world.json(&[to]);
        let mut endpoints = BTreeMap::new();
        for one in told["last"].as_array().expect("a list") {
            assert_eq!(one["came"], "established");
            *endpoints.entry(one["endpoint"].as_str().unwrap_or_default().to_owned()).or_insert(0) += 1;
        }
        assert_eq!(endpoints, expected, "{to}");
    }
    let text = world.ask(&["10.9.0.1:80"]);
    for line in [
        "rule       service web: 10.9.0.0/24, port 80",
        "of 3 connections",
        "nothing is pinned",
        "shadows    wide",
        "direct (gear) to 127.0.0.1:",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    // No place is left; whoever is excepted needs none.
    let _clients = [2, 3, 4].map(slow);
    eventually("the last place to be taken", || {
        let what = world.json(&["10.9.0.1:80"])["what"].to_string();
        what.contains("fails with ECONNREFUSED for now (connections)").then_some(())
    });
    let refused = process::output(&mut world.curl(&["http://10.9.0.1/100.bin"]));
    assert_eq!(refused.status.code(), Some(7), "curl could not connect");
    assert_eq!(world.json(&["10.9.0.9:80"])["what"], "it goes where it asks");
}

/// Whose connections are steered: a process in the observed cgroup, one outside of it, one in another network namespace.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn a_process_is_steered_or_not() {
    let world = World::new(
        "    - name: web\n      addresses: [10.9.0.1]\n      gear: proxy\n      endpoints: ['127.0.0.1:9']\n",
    );
    let start = |words: &[String], name: &str| {
        let process = Process::start(Command::new(&words[0]).args(&words[1..]), &world.dir.path().join(name));
        eventually("it to sleep", || {
            let pid = process.pid().as_raw_nonzero();
            (process::read(format!("/proc/{pid}/comm").as_ref()).trim() == "sleep").then_some(())
        });
        process
    };
    let sleep = |before: &[&str]| {
        before.iter().chain(&["sleep", "1000"]).map(|word| (*word).to_owned()).collect::<Vec<_>>()
    };
    let inside = start(&[world.cgroup.wrapper(), sleep(&[])].concat(), "inside");
    let outside = start(&sleep(&[]), "outside");
    let elsewhere = start(&[world.cgroup.wrapper(), sleep(&["unshare", "-n"])].concat(), "elsewhere");
    for (process, is_observed, same_netns, word) in [
        (&inside, true, true, "in the daemon's network namespace"),
        (&outside, false, true, "not steered"),
        (&elsewhere, true, false, "not sent to the relay"),
    ] {
        let pid = process.pid().as_raw_nonzero().to_string();
        let told = world.json(&["10.9.0.1:80", "--pid", &pid]);
        let told = &told["process"];
        assert_eq!(
            (told["cgroup"].is_string(), &told["same_netns"]),
            (is_observed, &same_netns.into()),
            "{told}"
        );
        assert!(told["what"].as_str().is_some_and(|what| what.contains(word)), "{told}");
    }
    // What is no destination is said to be none, and a daemon that is not there is missed.
    let admin = format!("127.0.0.1:{}", world.sidecar.admin_port);
    for (destination, admin, code) in
        [("web", admin.as_str(), 2), ("10.9.0.1", &admin, 2), ("10.9.0.1:80", "127.0.0.1:1", 1)]
    {
        let out = process::output(Command::new(binary()).args(["explain", "--admin", admin, destination]));
        assert_eq!(out.status.code(), Some(code), "{destination} {}", String::from_utf8_lossy(&out.stderr));
    }
}
