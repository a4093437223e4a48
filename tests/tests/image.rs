//! The container image: what is in it, and that it observes as a user who is not root.

use std::{path::Path, process::Command};

use sidecar_tests::{
    cgroup::Cgroup,
    eventually, free_port,
    image::Image,
    nginx::Nginx,
    process::{self, Process},
    sidecar::Sidecar,
};

/// Words that run the image's program in the image's root, as its user, with these words for setpriv: what a runtime does,
/// as far as it matters here.
fn inside(image: &Image, limits: &str) -> Vec<String> {
    let root = image.mount.display();
    // The first two words are the harness's: the path of its daemon, and `run`.
    let script = format!(
        "shift 2; mkdir -p {root}/proc {root}/sys && mount --rbind /proc {root}/proc && mount --rbind /sys {root}/sys && \
         exec setpriv {limits} --inh-caps=-all -- chroot --userspec=65532:65532 {root} /sidecar run \"$@\""
    );
    ["unshare", "--mount", "--propagation", "private", "sh", "-c", &script, "sh"].map(str::to_owned).to_vec()
}

/// What chroot takes to become that user; nothing of it is left to the program, which is not root.
const BOUNDS: &str = "--bounding-set=-all,+sys_chroot,+setuid,+setgid,+bpf,+net_admin";

fn spawn(dir: &Path, image: &Image, limits: &str, cgroup: &Cgroup) -> Sidecar {
    let wrapper = inside(image, limits);
    let wrapper: Vec<_> = wrapper.iter().map(String::as_str).collect();
    let path = cgroup.path().display().to_string();
    Sidecar::spawn(dir, &wrapper, &["--cgroup", &path], &[])
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn the_image_observes_without_root() {
    let dir = tempfile::tempdir().expect("a folder");
    let image = Image::build(dir.path());
    assert_eq!(image.says("{{.OCIv1.Config.User}} {{.OCIv1.Config.Entrypoint}}"), "65532:65532 [/sidecar]");
    let files =
        std::fs::read_dir(&image.mount).expect("its root").map(|entry| entry.expect("a file").file_name());
    assert_eq!(files.collect::<Vec<_>>(), ["sidecar"], "nothing else is in it");

    let cgroup = Cgroup::new();
    let nginx = Nginx::prepare(dir.path(), "127.0.0.1", free_port(), "");
    let words = [cgroup.wrapper(), nginx.command()].concat();
    let _server = Process::start(Command::new(&words[0]).args(&words[1..]), &dir.path().join("nginx.out"));
    nginx.await_listening();

    let mut sidecar = spawn(dir.path(), &image, BOUNDS, &cgroup);
    sidecar.await_attached();
    let status = format!("/proc/{}/status", sidecar.process().pid().as_raw_nonzero());
    let status = process::read(Path::new(&status));
    assert!(status.contains("Uid:\t65532\t65532\t65532\t65532"), "{status}");
    for _ in 0..5 {
        process::run(Command::new("curl").args(["-s", "-o", "/dev/null", &nginx.url("1000.bin")]));
    }
    let scrape = sidecar.scrape_at_rest();
    eventually("nginx's log", || (nginx.answered() == scrape.requests("server")).then_some(()));
    assert_eq!(nginx.answered().values().sum::<u64>(), 5);
    assert_eq!(sidecar.stop().code(), Some(0));

    // It starts all the same where the runtime lets it have nothing, and says so.
    for limits in ["--bounding-set=-all,+sys_chroot,+setuid,+setgid", &format!("{BOUNDS} --no-new-privs")] {
        let mut unable = spawn(dir.path(), &image, limits, &cgroup);
        assert_eq!(unable.wait().code(), Some(1), "{limits}: {}", unable.log());
        assert!(unable.log().contains("missing CAP_BPF and CAP_NET_ADMIN"), "{limits}: {}", unable.log());
    }
}
