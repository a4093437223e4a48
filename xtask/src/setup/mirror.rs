//! Packages of another Debian release, unpacked into a folder: no script of theirs runs, and the machine's own lists
//! and package state are not touched. The mirror is the one that the machine already uses.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::testing::{answers, link};
use crate::process::{output, run};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

pub(super) struct Unpack {
    pub(super) release: &'static str,
    pub(super) packages: &'static [&'static str],
    /// Paths in the packages, to be linked into `bin`.
    pub(super) programs: &'static [&'static str],
    /// Further paths in them that are needed.
    pub(super) files: &'static [&'static str],
    pub(super) why: &'static str,
}

impl Unpack {
    pub(super) fn install(&self, parts: &Path, bin: &Path) -> Result<()> {
        let name = |program: &'static str| program.rsplit('/').next().unwrap_or(program);
        let root = parts.join(self.release);
        let has_files = self.files.iter().all(|file| root.join(file).exists());
        if has_files && self.programs.iter().all(|program| answers(bin, name(program))) {
            return Ok(());
        }
        println!("setup: unpacking {} of Debian {}: {}", self.packages.join(", "), self.release, self.why);
        let apt = Apt::new(&parts.join("apt"), self.release)?;
        apt.unpack(self.packages, &root)?;
        for program in self.programs {
            link(&root.join(program), bin)?;
        }
        fs::remove_dir_all(parts.join("apt")).context("remove the lists of packages")
    }
}

/// apt with lists, cache and package state of its own.
pub(crate) struct Apt {
    folder: PathBuf,
}

impl Apt {
    /// One that knows the packages of this release (or suite) as they are now; keeps all of its own in `folder`.
    pub(crate) fn new(folder: &Path, release: &str) -> Result<Self> {
        fs::create_dir_all(folder.join("lists/partial"))?;
        fs::create_dir_all(folder.join("cache/archives/partial"))?;
        fs::write(folder.join("status"), "")?;
        let line = format!("deb [signed-by={KEYRING}] {} {release} main\n", of_this_machine()?);
        fs::write(folder.join("sources.list"), line)?;
        let apt = Self { folder: folder.to_path_buf() };
        run(apt.command("apt-get").args(["-qq", "update"]))?;
        Ok(apt)
    }

    /// Names of the packages that begin like this.
    pub(crate) fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let names = output(self.command("apt-cache").args(["pkgnames", prefix]))?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// Downloads these packages and unpacks them below `root`.
    pub(crate) fn unpack(&self, packages: &[impl AsRef<OsStr>], root: &Path) -> Result<()> {
        let archives = self.folder.join("archives");
        fs::create_dir_all(&archives)?;
        run(self.command("apt-get").current_dir(&archives).args(["-qq", "download"]).args(packages))?;
        for entry in fs::read_dir(&archives)? {
            run(Command::new("dpkg-deb").arg("-x").arg(entry?.path()).arg(root))?;
        }
        fs::remove_dir_all(archives).context("remove the downloaded packages")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let inside = |name: &str| self.folder.join(name).display().to_string();
        for (option, value) in [
            ("Dir::State::lists", inside("lists")),
            ("Dir::State::status", inside("status")),
            ("Dir::Cache", inside("cache")),
            ("Dir::Etc::sourcelist", inside("sources.list")),
            ("Dir::Etc::sourceparts", "/dev/null".into()),
            ("Dir::Etc::preferences", "/dev/null".into()),
            ("Dir::Etc::preferencesparts", "/dev/null".into()),
            ("APT::Sandbox::User", "root".into()),
            ("Acquire::Languages", "none".into()),
        ] {
            command.arg("-o").arg(format!("{option}={value}"));
        }
        command
    }
}

/// Where this machine has its own release from: the source whose suite is the release's code name, with nothing
/// after it.
fn of_this_machine() -> Result<String> {
    let release = fs::read_to_string("/etc/os-release").context("read /etc/os-release")?;
    let codename = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let codename = codename.context("no VERSION_CODENAME in /etc/os-release")?.trim_matches('"');
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(folder) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(folder.filter_map(|entry| Some(entry.ok()?.path())));
    }
    files.sort();
    for file in files {
        let is_source = file.extension().is_some_and(|end| end == "list" || end == "sources");
        let text = if is_source { fs::read_to_string(&file).unwrap_or_default() } else { String::new() };
        if let Some(mirror) = mirror(&text, codename) {
            return Ok(mirror);
        }
    }
    bail!("no source for {codename} under /etc/apt")
}

/// The address in the text of a sources file, of either format (sources.list(5)).
fn mirror(text: &str, codename: &str) -> Option<String> {
    let stanza = text.split("\n\n").find_map(|stanza| {
        let field = |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name));
        let has = |name: &str, word: &str| {
            field(name).is_some_and(|list| list.split_whitespace().any(|w| w == word))
        };
        (has("Types:", "deb") && has("Suites:", codename) && has("Components:", "main"))
            .then(|| field("URIs:")?.split_whitespace().next())?
    });
    let line = || {
        text.lines().find_map(|line| {
            let line = line.strip_prefix("deb ")?.trim_start();
            let line = if line.starts_with('[') { line.split_once(']')?.1 } else { line };
            let mut words = line.split_whitespace();
            let uri = words.next()?;
            (words.next()? == codename && words.any(|word| word == "main")).then_some(uri)
        })
    };
    stanza.or_else(line).map(str::to_string)
}

#[cfg(test)]
mod tests {
    use super::mirror;

    fn check(text: &str, expected: Option<&str>) {
        assert_eq!(mirror(text, "bookworm").as_deref(), expected, "{text}");
    }

    #[test]
    fn reads_both_formats() {
        let stanza = |suites: &str, uri: &str| {
            format!("Types: deb\n# a comment\nURIs: {uri}\nSuites: {suites}\nComponents: main\n")
        };
        check(&stanza("bookworm bookworm-updates", "http://m.test/debian"), Some("http://m.test/debian"));
        check(&stanza("bookworm-security", "http://m.test/s"), None);
        let both =
            stanza("bookworm-security", "http://m.test/s") + "\n" + &stanza("bookworm", "http://m.test/d");
        check(&both, Some("http://m.test/d"));
        check("deb http://m.test/debian bookworm main contrib\n", Some("http://m.test/debian"));
        check("# deb http://m.test/debian bookworm main\n", None);
        check("deb [arch=amd64 signed-by=/k.gpg] http://m.test/d bookworm main\n", Some("http://m.test/d"));
        check("deb http://m.test/s bookworm-security main\ndeb-src http://m.test/d bookworm main\n", None);
        check("", None);
    }
}
