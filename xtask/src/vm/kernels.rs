//! Which kernels there are to boot, and how to get them: Debian's own packages, unpacked and not installed.

use std::{
    cmp::Ordering,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{process::run, setup::mirror::Apt, workspace::Workspace};

/// A row of the table.
#[derive(Debug)]
pub(super) struct Row {
    /// As `--kernel` takes it.
    pub(super) name: &'static str,
    suite: &'static str,
    series: &'static str,
    /// The guest's tests that hold there.
    pub(super) tests: &'static [&'static str],
    /// Words for the kernel's command line.
    pub(super) options: &'static str,
}

/// What holds where nothing is steered.
const OBSERVES: &[&str] = &["attaches", "counts", "netem", "passes"];
/// All others: tracing programs reach socket storage from 5.11 on, and an errno is chosen (`bpf_set_retval`) from 5.18 on.
const ALL_HOLDS: &[&str] =
    &["attaches", "counts", "endures", "excepts", "netem", "pins", "reads", "steers", "swaps"];

/// The newest of a series in a suite: a pinned version would be gone with the archive's next point release.
pub(super) const ALL: &[Row] = &[
    Row { name: "5.10", suite: "bullseye", series: "5.10", tests: OBSERVES, options: "" },
    Row { name: "6.1", suite: "bookworm", series: "6.1", tests: ALL_HOLDS, options: "" },
    Row { name: "6.12-backport", suite: "bookworm-backports", series: "6.12", tests: ALL_HOLDS, options: "" },
    Row { name: "6.12", suite: "trixie", series: "6.12", tests: ALL_HOLDS, options: "" },
    Row { name: "6.18", suite: "trixie-backports", series: "6.18", tests: ALL_HOLDS, options: "" },
    // It allocates socket storage by `kmalloc_nolock`, which without cx16 (see `machine`) works for checked caches only.
    Row { name: "7.3", suite: "trixie-backports", series: "7.3", tests: ALL_HOLDS, options: "slab_debug=F" },
];

/// Debian's flavour for virtual machines: small, quick to boot, with the modules of network devices and queues.
const FLAVOUR: &str = "-cloud-amd64";

/// A kernel on disk.
#[derive(Debug)]
pub(super) struct Kernel {
    pub(super) row: &'static Row,
    /// As `uname -r` prints it there.
    pub(super) release: String,
    /// What the boot loader loads.
    pub(super) image: PathBuf,
    /// The folder that has `lib/modules`.
    pub(super) root: PathBuf,
}

/// The kernel, unpacked if it is not there yet.
pub(super) fn get(workspace: &Workspace, row: &'static Row) -> Result<Kernel> {
    let folder = workspace.path("target/vm/kernels").join(row.name);
    let stamp = folder.join("release");
    if !stamp.is_file() {
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fetch(&folder, row).with_context(|| format!("get kernel {}", row.name))?;
    }
    let release = fs::read_to_string(&stamp).context("read which kernel was unpacked")?;
    Ok(Kernel { row, release, image: folder.join("vmlinuz"), root: folder.join("root") })
}

fn fetch(folder: &Path, row: &Row) -> Result<()> {
    let apt = Apt::new(&folder.join("apt"), row.suite)?;
    let Row { suite, series, .. } = row;
    let names = apt.names(&format!("linux-image-{series}."))?;
    let release = newest(&names, "linux-image-")
        .with_context(|| format!("no linux-image-{series}.*{FLAVOUR} in {suite}"))?;
    // From 7.0 on `linux-image-` is empty: the kernel is in `linux-binary-`, its modules in the two others.
    let mut packages = Vec::new();
    for kind in ["linux-image-", "linux-binary-", "linux-modules-", "linux-base-"] {
        let name = format!("{kind}{release}");
        if apt.names(&name)?.contains(&name) {
            packages.push(name);
        }
    }
    println!("vm: unpacking {release} of Debian {suite}");
    let root = folder.join("root");
    apt.unpack(&packages, &root)?;
    let image = ["boot/vmlinuz-{}", "usr/lib/modules/{}/vmlinuz"]
        .map(|path| root.join(path.replace("{}", &release)))
        .into_iter()
        .find(|path| path.is_file());
    fs::copy(image.context("no kernel in the packages")?, folder.join("vmlinuz"))?;
    // `depmod` looks below lib/, where a machine with a merged /usr has a link.
    let merged = root.join("usr/lib/modules");
    if merged.is_dir() {
        fs::create_dir_all(root.join("lib"))?;
        fs::rename(merged, root.join("lib/modules"))?;
    }
    if !root.join("lib/modules").join(&release).is_dir() {
        bail!("no modules in {}", packages.join(" "));
    }
    run(Command::new("depmod").arg("-b").arg(&root).arg(&release))?;
    fs::remove_dir_all(folder.join("apt")).context("remove the lists of packages")?;
    fs::write(folder.join("release"), release).context("remember which kernel was unpacked")
}

/// The greatest version among packages of this kind and our flavour, without the kind.
fn newest(names: &[String], kind: &str) -> Option<String> {
    let releases = names.iter().filter_map(|name| name.strip_prefix(kind));
    let releases = releases.filter(|release| release.ends_with(FLAVOUR));
    releases.max_by(|one, other| by_numbers(one, other)).map(str::to_owned)
}

/// Numbers count as numbers: 6.1.0-9 comes before 6.1.0-10.
fn by_numbers(one: &str, other: &str) -> Ordering {
    let numbers = |text: &str| -> Vec<u64> {
        text.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
    };
    numbers(one).cmp(&numbers(other)).then(one.cmp(other))
}

#[cfg(test)]
mod tests {
    use super::newest;

    fn check(names: &[&str], expected: Option<&str>) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(newest(&names, "linux-image-").as_deref(), expected, "{names:?}");
    }

    #[test]
    fn the_newest_is_found_by_number() {
        let old = "linux-image-6.1.0-9-cloud-amd64";
        check(&[old, "linux-image-6.1.0-37-cloud-amd64"], Some("6.1.0-37-cloud-amd64"));
        check(
            &["linux-image-6.12.95+deb13-cloud-amd64", "linux-image-6.12.107+deb13-cloud-amd64"],
            Some("6.12.107+deb13-cloud-amd64"),
        );
        check(&[old, "linux-image-6.1.0-40-amd64", "linux-image-6.1.0-40-cloud-amd64-dbg"], Some(&old[12..]));
        check(&[], None);
    }
}
