//! The daemon under the security context of each pod manifest of `deploy/kubernetes`, beside an application under its own:
//! as much of it as `setpriv`, namespaces and mounts make without a container runtime. No seccomp filter, no security module,
//! and the root stays writable.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use serde_json::Value;
use sidecar_tests::{
    binary, cgroup, eventually, free_port,
    load::Load,
    nginx::Nginx,
    pod::{Confined, DEFAULT, Pod, UID},
    process::{self, Process},
    python, root,
    sidecar::Sidecar,
};

fn manifest(name: &str) -> Value {
    let file = root().join(format!("deploy/kubernetes/{name}.yaml"));
    let script = "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))";
    let json = process::run(Command::new(python()).args(["-c", script]).arg(file));
    serde_json::from_str(&json).expect("JSON")
}

/// Of a container: its own context first, then the pod's.
fn confined(pod: &Value, container: &Value, image_user: Option<u32>) -> Confined {
    let (own, common) = (&container["securityContext"], &pod["spec"]["securityContext"]);
    let number = |key: &str| own[key].as_u64().or_else(|| common[key].as_u64()).map(|id| id as u32);
    let capabilities = &own["capabilities"];
    let given = match capabilities["drop"].as_array() {
        Some(dropped) if dropped.iter().any(|one| one == "ALL") => "",
        _ => DEFAULT,
    };
    let added = capabilities["add"].as_array().into_iter().flatten();
    let added = added.filter_map(|one| one.as_str()).map(str::to_lowercase);
    let capabilities: Vec<String> =
        given.split(',').filter(|one| !one.is_empty()).map(str::to_owned).chain(added).collect();
    let uid = number("runAsUser").or(image_user).filter(|uid| *uid != 0);
    Confined {
        capabilities: capabilities.join(","),
        user: uid.map(|uid| (uid, number("runAsGroup").unwrap_or(uid))),
        no_new_privs: own["allowPrivilegeEscalation"] == false,
        own_processes: pod["spec"]["shareProcessNamespace"] != true,
    }
}

/// The daemon as the image has it: its file's capabilities are permitted to whoever starts it.
fn installed(dir: &Path) -> String {
    let file = dir.join("sidecar");
    fs::copy(binary(), &file).expect("a copy of the daemon");
    process::run(Command::new("setcap").arg("cap_bpf,cap_net_admin=p").arg(&file));
    file.display().to_string()
}

#[test]
#[ignore = "privileged: makes namespaces, attaches BPF programs to cgroups"]
fn each_observes_its_application() {
    for name in ["shared-process-namespace", "sys-ptrace", "host-cgroup"] {
        let dir = tempfile::tempdir().expect("a folder");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).expect("a folder for everybody");
        let manifest = manifest(name);
        let (init, containers) = (&manifest["spec"]["initContainers"], &manifest["spec"]["containers"]);
        let pod = Pod::new(dir.path());
        let daemon = confined(&manifest, &init[0], Some(65_532));
        let mut script = format!("export POD_UID={UID}");
        if let Some(volume) = manifest["spec"]["volumes"].get(0) {
            assert_eq!(volume["hostPath"]["path"], "/sys/fs/cgroup");
            assert_eq!(init[0]["volumeMounts"][0]["readOnly"], true);
            let node = dir.path().join("node");
            fs::create_dir(&node).expect("a place for the mount");
            script = format!(
                "mount --bind {mount} {node} && mount -o remount,bind,ro {node} && {script}",
                mount = cgroup::mount().display(),
                node = node.display()
            );
        }
        let mut words = pod.confined('d', &script, &daemon);
        let file = installed(dir.path());
        // In the place of the daemon that the harness would start comes the one that was installed.
        words.extend(["sh", "-c", &format!("shift; exec {file} \"$@\""), "sh"].map(str::to_owned));
        let wrapper: Vec<_> = words.iter().map(String::as_str).collect();
        let mut sidecar = Sidecar::spawn(dir.path(), &wrapper, &[], &[]);
        sidecar.await_attached();

        let place = dir.path().join("app");
        let nginx = Nginx::prepare(&place, "127.0.0.1", free_port(), "");
        fs::set_permissions(&place, fs::Permissions::from_mode(0o777)).expect("a folder for everybody");
        let mut words = pod.confined('a', "", &confined(&manifest, &containers[0], None));
        words.extend(nginx.command());
        let _server = Process::start(Command::new(&words[0]).args(&words[1..]), &place.join("out"));
        nginx.await_listening();
        eventually("the application to be observed", || {
            let observed = sidecar.scrape();
            let state = |state| observed.count("sidecar_cgroup_observed", &[("sidecar_state", state)]);
            ((state("attached"), state("unreachable")) == (1, 0)).then_some(())
        });
        let mut load = Load::new(dir.path(), &[]);
        load.h2load(("GET", 200), 100, "-c 4", 0, &nginx.url("100.bin"));
        let scrape = sidecar.scrape_at_rest();
        assert_eq!(scrape.requests("server"), nginx.answered(), "{name}: {}", sidecar.log());
        assert_eq!(load.total(), 100, "{name}");
        pod.remove('d');
        pod.remove('a');
    }
}
