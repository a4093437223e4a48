//! A daemon beside an application in a pod: which containers it reaches, and how it follows them.

use std::{fs, path::Path, process::Command};

use sidecar_tests::{
    cgroup::{self, Cgroup},
    eventually,
    pod::{Application, DEFAULT, Pod, UID},
    process, scrape,
    sidecar::Sidecar,
};

fn observed(sidecar: &Sidecar, state: &str) -> u64 {
    sidecar.scrape().count("sidecar_cgroup_observed", &[("sidecar_state", state)])
}

fn await_observed(sidecar: &Sidecar, n: u64) {
    eventually("the containers to be observed", || (observed(sidecar, "attached") == n).then_some(()));
}

fn requests(sidecar: &Sidecar) -> u64 {
    sidecar.scrape_at_rest().requests("server").values().sum()
}

/// What a container sees of itself and of its neighbour, and which capabilities reach the neighbour.
#[test]
#[ignore = "privileged: makes namespaces, attaches BPF programs to cgroups"]
fn which_capabilities_reach_which_container() {
    let dir = tempfile::tempdir().expect("a folder");
    let pod = Pod::new(dir.path());
    let confined = pod.application(dir.path(), 'a', "");
    let usual = pod.application(dir.path(), 'b', DEFAULT);

    // The table's first rows: paths.
    let script = "cat /proc/self/cgroup; for p in /proc/[0-9]*; do cat $p/cgroup; done";
    let mut words = pod.container('c', "", "bpf,net_admin");
    words.extend(["sh", "-c", script].map(str::to_owned));
    let paths = process::run(Command::new(&words[0]).args(&words[1..]));
    let unified: Vec<_> = paths.lines().filter_map(|line| line.strip_prefix("0::")).collect();
    assert_eq!(unified[0], "/");
    for application in [&confined, &usual] {
        let name = application.scope.file_name().and_then(|name| name.to_str()).expect("a name");
        assert!(unified.contains(&&*format!("/../{name}")), "{name}: {unified:?}");
    }
    pod.remove('c');

    for (capabilities, n_reached) in [
        ("bpf,net_admin", 1),
        ("bpf,net_admin,perfmon", 1),
        ("bpf,net_admin,perfmon,sys_ptrace", 2),
        ("bpf,net_admin,perfmon,dac_read_search", 1),
    ] {
        let mut sidecar = pod.sidecar(dir.path(), capabilities, "", &[]);
        sidecar.await_attached();
        await_observed(&sidecar, n_reached);
        assert_eq!(observed(&sidecar, "unreachable"), 2 - n_reached, "{capabilities}");
        assert_eq!(cgroup::attached(&confined.scope).len(), 9, "{capabilities}");
        let is_usual_reached = n_reached == 2;
        assert_eq!(
            cgroup::attached(&usual.scope).len(),
            if is_usual_reached { 9 } else { 0 },
            "{capabilities}"
        );
        assert_eq!(cgroup::attached(&pod.scope('d')), [] as [String; 0], "its own container");
        confined.request();
        usual.request();
        assert_eq!(requests(&sidecar), n_reached, "{capabilities}");
        let ready = scrape::get(sidecar.port, "/readyz?verbose", "");
        let missing = "without it the container must have no capabilities (`drop: [ALL]`)";
        assert_eq!(ready.contains(missing), !is_usual_reached, "{ready}");
        assert_eq!(sidecar.log().contains(missing), !is_usual_reached, "{}", sidecar.log());
        pod.remove('d');
        eventually("everything to be detached", || {
            cgroup::attached(&confined.scope).is_empty().then_some(())
        });
    }
}

/// Its own cgroup may be attached to through a read-only mount; what is above is not shown; a user namespace of its own
/// takes the capabilities away.
#[test]
#[ignore = "privileged: makes namespaces, attaches BPF programs to cgroups"]
fn what_a_container_may_do_with_its_own_cgroup() {
    let dir = tempfile::tempdir().expect("a folder");
    let pod = Pod::new(dir.path());
    let mut sidecar = pod.sidecar(dir.path(), "bpf,net_admin", "", &["--cgroup", "/sys/fs/cgroup"]);
    sidecar.await_attached();
    assert_eq!(cgroup::attached(&pod.scope('d')).len(), 9);
    pod.remove('d');

    let mut above = pod.sidecar(dir.path(), "bpf,net_admin", "", &["--cgroup", "/sys/fs/cgroup/.."]);
    assert_eq!(above.wait().code(), Some(1));
    assert!(above.log().contains("is not a folder of a cgroup2 file system"), "{}", above.log());

    let binary = sidecar_tests::binary().display().to_string();
    let mut words = pod.container('d', "", "bpf,net_admin,sys_admin,setuid,setgid,setfcap");
    words.extend(
        ["unshare", "--user", "--map-root-user", &binary, "run", "--cgroup", "/sys/fs/cgroup"]
            .map(str::to_owned),
    );
    let output = process::output(Command::new(&words[0]).args(&words[1..]));
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("load the BPF object") && text.contains("not permitted"), "{text}");
}

/// The daemon is there first, as a native sidecar is; containers come, end and come again as other cgroups.
#[test]
#[ignore = "privileged: makes namespaces, attaches BPF programs to cgroups"]
fn a_container_that_starts_again_is_found_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let pod = Pod::new(dir.path());
    let mut sidecar = pod.sidecar(dir.path(), "bpf,net_admin", "", &[]);
    sidecar.await_attached();
    assert_eq!(observed(&sidecar, "attached"), 0);
    let ready = scrape::get(sidecar.port, "/readyz?verbose", "");
    assert!(ready.contains("no cgroup of the application is there yet"), "{ready}");
    let changes = |change| {
        let scrape = sidecar.scrape();
        scrape.count("sidecar_cgroup_changes_total", &[("sidecar_state", change)])
    };
    let mut n_requests = 0;
    for round in 1..=3 {
        let application = pod.application(dir.path(), 'a', "");
        await_observed(&sidecar, 1);
        application.request();
        n_requests += 1;
        assert_eq!(requests(&sidecar), n_requests);
        let scrape = scrape::get(sidecar.port, "/metrics", "");
        let has_label = ["{container_name=", ",container_name="].iter().any(|label| scrape.contains(label));
        assert!(!has_label, "there is nothing to tell it from: {scrape}");
        pod.remove('a');
        await_observed(&sidecar, 0);
        assert_eq!((changes("attached"), changes("gone")), (round, round));
    }
    assert!(sidecar.log().contains("an observed cgroup was removed"), "{}", sidecar.log());
}

/// With the node's hierarchy mounted and the pod's uid known, no capability and nothing of the application is needed
/// for reaching it, and a container is observed from its first byte on.
#[test]
#[ignore = "privileged: makes namespaces, attaches BPF programs to cgroups"]
fn a_mount_of_the_nodes_hierarchy_shows_the_pod() {
    let dir = tempfile::tempdir().expect("a folder");
    let pod = Pod::new(dir.path());
    let node = dir.path().join("node");
    fs::create_dir(&node).expect("a place for the mount");
    let script = format!(
        "mount --bind {mount} {node} && mount -o remount,bind,ro {node} && export POD_UID={UID}",
        mount = cgroup::mount().display(),
        node = node.display()
    );
    let mut sidecar = pod.sidecar(dir.path(), "bpf,net_admin", &script, &[]);
    sidecar.await_attached();
    assert_eq!(cgroup::attached(&pod.folder).len(), 9);
    let first = pod.application(dir.path(), 'a', DEFAULT);
    first.request();
    let second = pod.application(dir.path(), 'b', DEFAULT);
    second.request();
    // The daemon's own answers are no requests of the application's.
    let _ = sidecar.scrape();
    assert_eq!(requests(&sidecar), 2);
    eventually("both containers' figures", || {
        let scrape = sidecar.scrape();
        let of = |digit: char| {
            let id = digit.to_string().repeat(64);
            scrape.sum("container_cpu_time_seconds_total", &[("container_name", &id)])
        };
        assert_eq!(of('d'), None, "its own container is not the application's");
        (of('a')? > 0.0 && of('b')? > 0.0).then_some(())
    });
}

/// Where no route holds, the conditions that are missing are named.
#[test]
#[ignore = "privileged: makes namespaces"]
fn without_a_route_the_conditions_are_named() {
    let dir = tempfile::tempdir().expect("a folder");
    // The machine itself: no pod at all.
    let mut sidecar = Sidecar::spawn(dir.path(), &[], &[], &[]);
    assert_eq!(sidecar.wait().code(), Some(1));
    let log = sidecar.log();
    assert!(log.contains("give --cgroup PATH") && log.contains("this is no container"), "{log}");

    // A container with a PID namespace of its own.
    let cgroup = Cgroup::new();
    let alone = format!(
        "echo 0 >{}/cgroup.procs && exec unshare --pid --fork --kill-child --mount --cgroup --mount-proc sh -c \
         'umount -R -l /sys/fs/cgroup; mount -t cgroup2 -o ro cgroup2 /sys/fs/cgroup && exec \"$@\"' sh \"$@\"",
        cgroup.path().display()
    );
    let binary = sidecar_tests::binary().display().to_string();
    let run = |words: &[&str]| {
        let output = process::output(Command::new("sh").args(["-c", &alone, "sh"]).args(words));
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    };
    let (status, text) = run(&[&binary, "run"]);
    assert_eq!(status, Some(1), "{text}");
    for condition in ["POD_UID", "shareProcessNamespace is not true"] {
        assert!(text.contains(condition), "{condition}: {text}");
    }
    let (_, text) = run(&["env", "KUBERNETES_SERVICE_HOST=10.0.0.1", &binary, "doctor"]);
    let line = text.lines().find(|line| line.contains(" pod ")).unwrap_or_else(|| panic!("{text}"));
    assert!(line.starts_with("lost") && line.contains("shareProcessNamespace is not true"), "{line}");
}

/// Several cgroups by name, one below another only once; one that is made anew, as a unit that is restarted.
#[test]
#[ignore = "privileged: attaches BPF programs to cgroups"]
fn cgroups_given_by_name_are_followed() {
    let dir = tempfile::tempdir().expect("a folder");
    let cgroup = Cgroup::new();
    let below = |name: &str| {
        let path = cgroup.path().join(name);
        fs::create_dir(&path).expect("a cgroup");
        path
    };
    let (one, two) = (below("one.service"), below("two.service"));
    fs::create_dir(two.join("inner")).expect("a cgroup");
    let inner = two.join("inner").display().to_string();
    let serve = |folder: &Path| Application::in_cgroup(dir.path(), folder);
    let (one_path, two_path) = (one.display().to_string(), two.display().to_string());
    let args = ["--cgroup", &one_path, "--cgroup", &inner, "--cgroup", &two_path];
    let sidecar = Sidecar::run(dir.path(), &args, &[]);
    assert_eq!(observed(&sidecar, "attached"), 2);
    let (first, second) = (serve(&one), serve(&two.join("inner")));
    first.request();
    second.request();
    assert_eq!(requests(&sidecar), 2);
    let of = |name| {
        let scrape = sidecar.scrape();
        scrape.count("http_server_request_duration_seconds_count", &[("container_name", name)])
    };
    assert_eq!((of("one.service"), of("two.service")), (1, 1));
    let cpu = sidecar.scrape().sum("container_cpu_time_seconds_total", &[("container_name", "one.service")]);
    assert!(cpu.is_some_and(|cpu| cpu > 0.0), "{cpu:?}");

    drop(first);
    eventually("the cgroup to empty", || fs::remove_dir(&one).ok());
    eventually("its end to be noticed", || (observed(&sidecar, "unreachable") == 1).then_some(()));
    let again = serve(&below("one.service"));
    eventually("the new one to be observed", || (observed(&sidecar, "attached") == 2).then_some(()));
    again.request();
    assert_eq!(requests(&sidecar), 3);
}
