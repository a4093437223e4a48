//! What the machine finds as its file system: the tests, the daemon as it is shipped, and this machine's own programs
//! with the libraries that they are linked against. And for each kernel, its modules and what to run.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::{cpio::Archive, kernels::Kernel};
use crate::process::{find, output};

const INIT: &str = include_str!("init.sh");

/// Programs that the tests start by name. (busybox would start its own `setpriv` from its own shell.)
const PROGRAMS: &[&str] =
    &["ab", "bpftool", "curl", "dig", "dnsmasq", "h2load", "ip", "nft", "nginx", "setpriv", "sh", "ss", "tc"];

/// What the tests' Python programs import.
const PYTHON: &str = "errno os random selectors signal socket struct sys time";

/// Prints where Python is, and where the modules that they and itself import come from.
const IMPORTED: &str = "import os, sys
for name in sys.argv[1:]:
    __import__(name)
print(os.path.realpath(sys.executable))
for module in list(sys.modules.values()):
    file = getattr(module, '__file__', None)
    if file:
        print(file)
";

/// Modules that the tests need and no kernel of Debian's has built in.
const MODULES: &[&str] = &["veth", "sch_netem", "nf_tables"];

/// Where the daemon and the tests are in the machine.
const DAEMON: &str = "/tests/sidecar";
const TESTS: &str = "/tests/guest";
const CLIENT: &str = "/tests/requests";

/// What is the same for every kernel.
pub(super) fn common(daemon: &Path, tests: &Path, client: &Path) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    archive.program(Path::new("/init"), INIT.as_bytes());
    let busybox = program("busybox")?;
    archive.program(Path::new("/bin/busybox"), &read(&busybox)?);
    for name in PROGRAMS {
        with_libraries(&mut archive, &program(name)?, &Path::new("/usr/bin").join(name))?;
    }
    with_libraries(&mut archive, daemon, Path::new(DAEMON))?;
    with_libraries(&mut archive, tests, Path::new(TESTS))?;
    with_libraries(&mut archive, client, Path::new(CLIENT))?;
    python(&mut archive)?;
    Ok(archive.finish())
}

/// Python, with what the tests import: each file where it is here, by which it finds them.
fn python(archive: &mut Archive) -> Result<()> {
    let told = output(Command::new("python3").args(["-c", IMPORTED]).args(PYTHON.split(' ')))?;
    let mut files = told.lines().map(Path::new);
    let program = files.next().context("Python says where it is")?;
    with_libraries(archive, program, program)?;
    let script = format!("#!/bin/sh\nexec {} \"$@\"\n", program.display());
    archive.program(Path::new("/usr/bin/python3"), script.as_bytes());
    for module in files {
        if module.extension().is_some_and(|extension| extension == "so") {
            with_libraries(archive, module, module)?;
        } else {
            archive.file(module, &read(module)?);
        }
    }
    Ok(())
}

/// What is this kernel's: its modules in the order of loading, and the tests to run, with variables for them.
pub(super) fn of_kernel(kernel: &Kernel, tests: &[&str], sizes: &[(&str, String)]) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    let mut order = String::new();
    for file in modules(kernel)? {
        let name = file.file_name().and_then(|name| name.to_str()).context("a module has a name")?;
        let (name, content) = match name.rsplit_once('.') {
            Some((name, "xz")) => (name, unpacked("xz", &file)?),
            Some((name, "zst")) => (name, unpacked("zstd", &file)?),
            _ => (name, read(&file)?),
        };
        archive.file(&Path::new("/modules").join(name), &content);
        order.push_str(name);
        order.push('\n');
    }
    archive.file(Path::new("/modules/order"), order.as_bytes());
    // Tests share the kernel, so they run one after the other.
    let run = format!(
        "export TESTED_BINARY={DAEMON} TESTED_CLIENT={CLIENT} {}\nexec {TESTS} --include-ignored --show-output --test-threads=1 --exact {}\n",
        sizes.iter().map(|(name, size)| format!("{name}={size} ")).collect::<String>(),
        tests.join(" ")
    );
    archive.file(Path::new("/tests/run"), run.as_bytes());
    Ok(archive.finish())
}

/// The modules' files, each after those that it needs.
fn modules(kernel: &Kernel) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for module in MODULES {
        let mut modprobe = Command::new("modprobe");
        modprobe.arg("-d").arg(&kernel.root).args(["-S", &kernel.release, "--show-depends", module]);
        for line in output(&mut modprobe)?.lines() {
            // `builtin veth` where there is nothing to load.
            let Some(file) = line.strip_prefix("insmod ") else { continue };
            let file = PathBuf::from(file.trim());
            if !files.contains(&file) {
                files.push(file);
            }
        }
    }
    Ok(files)
}

fn unpacked(program: &str, file: &Path) -> Result<Vec<u8>> {
    let output = Command::new(program).arg("-dc").arg(file).output();
    let output = output.with_context(|| format!("start {program}"))?;
    if !output.status.success() {
        bail!("{program} cannot unpack {}", file.display());
    }
    Ok(output.stdout)
}

fn with_libraries(archive: &mut Archive, file: &Path, place: &Path) -> Result<()> {
    archive.program(place, &read(file)?);
    for library in libraries(&output(Command::new("ldd").arg(file))?)? {
        if !archive.contains(&library) {
            archive.program(&library, &read(&library)?);
        }
    }
    Ok(())
}

/// The files that ldd names: `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)`, `/lib64/ld-linux-x86-64.so.2 (0x…)`.
fn libraries(told: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for line in told.lines() {
        let (name, place) = line.split_once("=>").unwrap_or((line, line));
        if place.trim() == "not found" {
            bail!("{} is not found", name.trim());
        }
        let file = place.split_whitespace().next().filter(|file| file.starts_with('/'));
        files.extend(file.map(PathBuf::from));
    }
    Ok(files)
}

fn program(name: &str) -> Result<PathBuf> {
    // Root's programs may be outside of another's PATH.
    let more = || Some(Path::new("/usr/sbin").join(name)).filter(|file| file.is_file());
    find(name).or_else(more).with_context(|| format!("no {name} on this machine"))
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("read {}", file.display()))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::libraries;

    #[test]
    fn libraries_are_read_from_what_ldd_prints() {
        let told = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f3c)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f3d)\n";
        let expected = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        assert_eq!(libraries(told).expect("libraries"), expected);
        assert_eq!(libraries("\tstatically linked\n").expect("none"), [] as [PathBuf; 0]);
        let error = libraries("\tlibz.so.1 => not found\n").expect_err("an error");
        assert_eq!(error.to_string(), "libz.so.1 is not found");
    }
}
