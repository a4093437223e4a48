//! The file and the environment, read once at start and handed to `resolve`. Besides `cli` this is the one place
//! that reads variables.

use std::{
    path::{Path, PathBuf},
    str::{self, Utf8Error},
    sync::Arc,
};

use sidecar_core::{
    config::{Config, FILE_VARIABLE, Layers, Notice, Origin, Problem, Resolved, Setting, resolve},
    model::Kind as MetricKind,
    signal::catalogue,
    traffic::{self, Futile},
};

use crate::traffic::ROOM;

use super::{
    endpoints::{self, ListError},
    file::{ReadError, Reader, is_lasting},
    yaml::{self, Document},
};

/// Settings, and the text that they were read from.
pub(crate) struct Loaded {
    /// The settings.
    pub(crate) resolved: Resolved,
    source: Source,
}

/// A file of settings; without one, nothing.
#[derive(Default)]
struct Source {
    path: PathBuf,
    text: String,
    secret_lines: Vec<u64>,
    /// It is there, and has nothing in it.
    is_empty: bool,
}

/// Why there are no settings. All of it is the user's to mend.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// The file cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// As it was given.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Arc<ReadError>,
    },
    /// The file is no text.
    #[error("read {}", path.display())]
    Text {
        /// As it was given.
        path: PathBuf,
        /// Where it ends to be one.
        #[source]
        source: Utf8Error,
    },
    /// The file has nothing in it, and had something before.
    #[error(
        "{}: nothing is in it, as while it is being written: `{{}}` says that no setting is meant", path.display()
    )]
    Empty {
        /// As it was given.
        path: PathBuf,
    },
    /// What was given is not valid.
    #[error("{report}")]
    Invalid {
        /// A paragraph for each problem, with the line where there is one.
        report: String,
        /// One of them is on the command line.
        is_of_flags: bool,
    },
}

impl LoadError {
    /// Whether whoever typed the command line is to mend it, and not the file or the environment.
    pub(crate) fn is_of_flags(&self) -> bool {
        matches!(self, LoadError::Invalid { is_of_flags: true, .. })
    }
}

impl Loaded {
    /// Takes the place of settings that are at work.
    ///
    /// # Errors
    /// [`LoadError::Empty`], where those were of a file and nothing is in that any more.
    pub(crate) fn instead_of(self, running: &Resolved) -> Result<Self, LoadError> {
        let had_any = running.origins.values().any(|origin| matches!(origin, Origin::File { .. }));
        match self.source.is_empty && had_any {
            true => Err(LoadError::Empty { path: self.source.path }),
            false => Ok(self),
        }
    }

    /// What a key asks for cannot be done, for a reason that the settings alone do not show.
    pub(crate) fn refuse(&self, key: &str, why: &str) -> LoadError {
        let origin = self.resolved.origin(key).clone();
        self.source.refuse(&[Problem { origin, message: format!("{key}: {why}") }])
    }
}

/// Settings of everything that applies to a run: `file`, the environment, and the flags.
///
/// # Errors
/// [`LoadError`], with all problems of all layers.
pub(crate) fn load(
    file: Option<&Path>,
    flags: Vec<Setting>,
    reader: &mut Reader,
) -> Result<Loaded, LoadError> {
    let (environment, problems) = environment(std::env::vars_os());
    gather(file, environment, flags, problems, reader)
}

/// The file of settings: the one that was given, else the one that `SIDECAR_CONFIG` names.
pub(crate) fn file(given: Option<&Path>) -> Option<PathBuf> {
    let named = || std::env::var_os(FILE_VARIABLE).filter(|name| !name.is_empty()).map(PathBuf::from);
    given.map(Path::to_owned).or_else(named)
}

/// Settings of a file alone, and of the lists of endpoints that it names, for `sidecar check`.
///
/// # Errors
/// [`LoadError`], with all problems of the file.
pub(crate) fn check(file: &Path, reader: &mut Reader) -> Result<Loaded, LoadError> {
    let mut loaded = gather(Some(file), Vec::new(), Vec::new(), Vec::new(), reader)?;
    let (mut problems, mut notices) = (Vec::new(), Vec::new());
    notices.extend(loaded.source.is_empty.then_some(Notice::Empty));
    // As the daemon does, which never waits for one.
    let mut lists = Reader::again();
    for (i, service) in loaded.resolved.config.traffic.services.iter().enumerate() {
        for path in service.sources.iter().filter_map(|source| source.file.as_deref()) {
            match endpoints::read(path, &mut lists) {
                Ok(_) => {}
                // Who writes it may not have been here yet.
                Err(ListError::Read(why)) => {
                    let why = format!("`{}` has a source that cannot be read: {why}", service.name);
                    notices.push(Notice::Risky { key: "traffic.services", why });
                }
                Err(ListError::Invalid(why)) => {
                    let key = format!("traffic.services.{i}");
                    let message = format!("{key}: a source is no list of endpoints: {why}");
                    problems.push(Problem { origin: loaded.resolved.origin(&key).clone(), message });
                }
            }
        }
    }
    loaded.resolved.notices.extend(notices);
    if problems.is_empty() { Ok(loaded) } else { Err(loaded.source.refuse(&problems)) }
}

fn gather(
    file: Option<&Path>,
    environment: Vec<(String, String)>,
    flags: Vec<Setting>,
    mut problems: Vec<Problem>,
    reader: &mut Reader,
) -> Result<Loaded, LoadError> {
    let mut source = Source::default();
    if let Some(path) = file {
        source = Source { path: path.to_owned(), text: text(path, reader)?, ..source };
    }
    let Document { settings, secret_lines, problems: found, is_empty, .. } = yaml::parse(&source.text);
    problems.extend(found);
    (source.secret_lines, source.is_empty) = (secret_lines, is_empty && file.is_some());
    let layers = Layers { file: settings, environment, flags };
    match resolve(&layers) {
        Ok(mut resolved) => {
            problems.extend(unknown_metrics(&resolved));
            problems.extend(no_lists(&resolved));
            match too_much(&resolved) {
                // It would take long to look through.
                Some(problem) => problems.push(problem),
                None => resolved.notices.extend(useless(&resolved.config)),
            }
            if problems.is_empty() {
                return Ok(Loaded { resolved, source });
            }
        }
        Err(more) => problems.extend(more),
    }
    Err(source.refuse(&problems))
}

/// Sources that are there, and can be no file with a list of endpoints.
fn no_lists(resolved: &Resolved) -> Vec<Problem> {
    let services = resolved.config.traffic.services.iter().enumerate();
    let paths = services.flat_map(|(i, service)| {
        let paths = service.sources.iter().filter_map(|source| source.file.as_deref());
        paths.map(move |path| (i, path))
    });
    let problem = |(i, path): (usize, &Path)| {
        let key = format!("traffic.services.{i}");
        let path = path.display();
        let message =
            format!("{key}: source {path} is no regular file: one with a list is read again and again");
        Problem { origin: resolved.origin(&key).clone(), message }
    };
    paths.filter(|(_, path)| !is_lasting(path)).map(problem).collect()
}

/// More rules, endpoints, or places of tables than the kernel's maps have room for.
fn too_much(resolved: &Resolved) -> Option<Problem> {
    let policy = resolved.config.traffic.policy();
    let endpoints: usize = policy.services.iter().map(|service| service.endpoints.len()).sum();
    let counts = [("rules", policy.n_rules(), ROOM.rules), ("endpoints", endpoints, ROOM.targets)];
    let problem = |key: &str, message| Some(Problem { origin: resolved.origin(key).clone(), message });
    if let Some((what, n, room)) = counts.into_iter().find(|(_, n, room)| *n > *room as usize) {
        let message = format!("traffic.services: {n} {what}, and there is room for {room}");
        return problem("traffic.services", message);
    }
    let room = ROOM.places_of_one() as usize;
    let sums = policy.services.iter().scan(0, |sum, service| {
        *sum += traffic::n_places(service);
        Some(*sum)
    });
    let (i, n) = sums.enumerate().find(|(_, n)| *n > room)?;
    let key = format!("traffic.services.{i}");
    let message = format!(
        "{key}: with this service tables take {n} places, and there is room for {room}: up to 32 of each endpoint, or by a hash 100 and 251 at least"
    );
    problem(&key, message)
}

/// What of services does less than it seems to, and what pins do not promise.
fn useless(config: &Config) -> impl Iterator<Item = Notice> + use<> {
    let risks = config.traffic.risks_of_pins().into_iter();
    let risks = risks.map(|why| Notice::Risky { key: "traffic.services", why });
    traffic::futile(&config.traffic.policy()).into_iter().map(notice).chain(risks)
}

/// Under the key where it is to be mended.
pub(crate) fn notice(Futile { comes_in, why, .. }: Futile) -> Notice {
    Notice::Risky { key: if comes_in { "traffic.inbound" } else { "traffic.services" }, why }
}

/// Buckets of what is no histogram of the catalogue, which the settings themselves do not know.
fn unknown_metrics(resolved: &Resolved) -> impl Iterator<Item = Problem> {
    let is_histogram = |name: &str| {
        let mut defs = catalogue::ALL.iter().filter(|def| matches!(def.kind, MetricKind::Histogram(_)));
        defs.any(|def| def.name == name)
    };
    let unknown = resolved.config.metrics.buckets.keys().filter(move |name| !is_histogram(name));
    unknown.map(|name| {
        let key = format!("metrics.buckets.{name}");
        let message = format!("{key}: no histogram has this name, docs/metrics.md lists them");
        Problem { origin: resolved.origin(&key).clone(), message }
    })
}

fn text(path: &Path, reader: &mut Reader) -> Result<String, LoadError> {
    let bytes = reader.read(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
    let text = str::from_utf8(bytes).map_err(|source| LoadError::Text { path: path.to_owned(), source })?;
    Ok(text.to_owned())
}

/// The variables that may concern us; those of ours that are no text are problems, those of others are nobody's.
fn environment(
    all: impl Iterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
) -> (Vec<(String, String)>, Vec<Problem>) {
    let (mut environment, mut problems) = (Vec::new(), Vec::new());
    for (name, value) in all {
        let Ok(name) = name.into_string() else { continue };
        let is_ours = name.starts_with("SIDECAR_");
        if !is_ours && !name.starts_with("OTEL_") {
            continue;
        }
        match value.into_string() {
            Ok(value) => environment.push((name, value)),
            Err(_) if is_ours && name != FILE_VARIABLE => {
                let message = "the value is not UTF-8".to_owned();
                problems.push(Problem { origin: Origin::Variable(name.into()), message });
            }
            Err(_) => {}
        }
    }
    (environment, problems)
}

impl Source {
    fn refuse(&self, problems: &[Problem]) -> LoadError {
        let report: Vec<_> = problems.iter().map(|problem| self.paragraph(problem)).collect();
        let is_of_flags = problems.iter().any(|problem| matches!(problem.origin, Origin::Flag(_)));
        LoadError::Invalid { report: report.join("\n"), is_of_flags }
    }

    /// `path:line:column: message`, and the line with a caret, unless it holds a secret.
    fn paragraph(&self, problem: &Problem) -> String {
        let Origin::File { line, column } = problem.origin else { return problem.to_string() };
        let head = format!("{}:{line}:{column}: {}", self.path.display(), problem.message);
        let source = usize::try_from(line).ok().and_then(|n| self.text.lines().nth(n.checked_sub(1)?));
        match source.filter(|_| !self.secret_lines.contains(&line)) {
            Some(source) => {
                let number = line.to_string();
                let (gutter, indent) =
                    (" ".repeat(number.len()), " ".repeat(column.saturating_sub(1) as usize));
                format!("{head}\n {gutter} |\n {number} | {source}\n {gutter} | {indent}^")
            }
            None => head,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsString, fs, os::unix::ffi::OsStringExt as _};

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    fn check(path: &Path) -> Result<Resolved, LoadError> {
        super::check(path, &mut Reader::at_start()).map(|loaded| loaded.resolved)
    }

    fn report(text: &str) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s.yaml");
        fs::write(&path, text).expect("written");
        let prefix = format!("{}/", folder.path().display());
        check(&path).map_or_else(|error| error.to_string().replace(&prefix, ""), |_| String::new())
    }

    #[test]
    fn a_file_becomes_settings() {
        let text = "\
# comment
log: { level: debug }
service:
  name: shop
  version: 1.10
otlp:
  endpoint: http://collector:4317
  headers:
    Authorization: Bearer x
metrics:
resource: {deployment.environment.name: test, n: 007}
capture: {ring_bytes: 65536}
http:
  routes: [/a, '/users/{id}']
  request_headers: x-id
exclude:
  ports:
    - 8080
    - 9000
  paths:
";
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s.yaml");
        fs::write(&path, text).expect("written");
        let resolved = check(&path).expect("valid");
        assert_eq!(resolved.config.service.version.as_deref(), Some("1.10"));
        assert_eq!(resolved.config.resource["n"], "007");
        assert_eq!(resolved.config.resource["deployment.environment.name"], "test");
        assert_eq!(resolved.config.capture.ring_bytes.get(), 65536);
        assert_eq!(*resolved.origin("service.version"), Origin::File { line: 5, column: 12 });
        // What is printed is a file of settings again, secrets aside.
        fs::write(&path, resolved.print()).expect("written");
        let again = check(&path).expect("valid");
        assert_eq!(again.config.service, resolved.config.service);
        assert_eq!(again.config.resource, resolved.config.resource);
        assert_eq!(
            (&again.config.http, &again.config.exclude),
            (&resolved.config.http, &resolved.config.exclude)
        );
        assert_eq!(resolved.config.exclude.ports, [8080, 9000]);
        assert_eq!(resolved.config.http.routes.len(), 2);
    }

    /// What would have to be waited for, or is read once only: told at once.
    #[test]
    fn a_source_that_is_no_regular_file_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let fifo = folder.path().join("fifo");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a FIFO");
        for path in [fifo.as_path(), folder.path(), Path::new("/dev/zero"), Path::new("/dev/null")] {
            let path = path.display();
            let text = format!(
                "traffic:\n  services:\n    - {{name: a, addresses: [10.0.0.1], sources: [{{file: {path}}}]}}\n"
            );
            let report = report(&text);
            let expected = format!("s.yaml:3:7: traffic.services.0: source {path} is no regular file");
            assert!(report.starts_with(&expected), "{report}");
        }
        // One that nobody has written yet is taken.
        let none = folder.path().join("none");
        let text = format!(
            "traffic: {{services: [{{name: a, addresses: [10.0.0.1], sources: [{{file: {}}}]}}]}}\n",
            none.display()
        );
        assert_eq!(report(&text), "");
    }

    #[test]
    fn problems_name_the_place_and_show_the_line() {
        for (text, expected) in [
            (
                "otlp:\n  intervall: 10s\n",
                "s.yaml:2:3: unknown key `otlp.intervall`, did you mean `otlp.interval`?\n   |\n 2 |   intervall: 10s\n   |   ^",
            ),
            (
                "log:\n  level: loud\nshutdown: {deadline: 5}",
                "s.yaml:2:10: log.level: `loud` is not one of off, error, warn, info, debug, trace\n   |\n 2 |   level: loud\n   |          ^\n\
                 s.yaml:3:22: shutdown.deadline: `5` is not a length of time: write 500ms, 10s, 2m or 1h\n   |\n 3 | shutdown: {deadline: 5}\n   |                      ^",
            ),
            // A value that may be secret is not shown.
            (
                "otlp:\n  headers:\n    a: \"caf\u{e9}\"\n",
                "s.yaml:3:8: otlp.headers.a: the value of header `a` has bytes that are not visible ASCII",
            ),
        ] {
            assert_eq!(report(text), expected);
        }
        let levels = "`off`, `error`, `warn`, `info`, `debug`, `trace`";
        let ports = "a list, or one text with commas, of: a whole number from 0 to 65535";
        for (text, head) in [
            ("log: 3\n", "1:1: log: found a single value, expected the section's keys below it"),
            ("log: loud\n", "1:1: log: found a single value, expected the section's keys below it"),
            ("log: [a]\n", "1:1: log: found a list, expected the section's keys below it"),
            ("- log\n", "1:1: found a list, expected a mapping with a section's name for each"),
            (
                "exclude:\n  ports: {a: 1}\n",
                &format!("2:3: exclude.ports: found a mapping, expected {ports}"),
            ),
            (
                "exclude:\n  ports: [80, [1]]\n",
                &format!("2:15: exclude.ports: found a list, expected {ports}"),
            ),
            ("exclude:\n  ports:\n    - 80\n    - x\n", "4:7: exclude.ports: `x` is not a whole number"),
            ("http:\n  routes: [/a, b]\n", "2:16: http.routes: `b` is not a path pattern: write /text"),
            ("http:\n  routes: ['/a,b']\n", "2:11: http.routes: `/a,b` has a comma"),
            ("log:\n  level: [a]\n", &format!("2:10: log.level: found a list, expected {levels}")),
            ("log:\n  level:\n    a: b\n", &format!("3:5: log.level: found a mapping, expected {levels}")),
            (
                "metrics:\n  buckets:\n    a.b: 2 1\n",
                "3:10: metrics.buckets.a.b: `1` is not above the bound before it",
            ),
            (
                "metrics: {buckets: {a: 1 2}}\n",
                "1:24: metrics.buckets.a: no histogram has this name, docs/metrics.md lists them",
            ),
            ("metrics: {buckets: {a: [1]}}\n", "1:24: metrics.buckets.a: found a list, expected a text"),
            (
                "http.route_cap: 3\n",
                "1:1: `http.route_cap` is not read with its dots: write `http: {route_cap: …}`",
            ),
            (
                "otlp.headers: {a: b}\n",
                "1:1: `otlp.headers` is not read with its dots: write `otlp: {headers: …}`",
            ),
            (
                "otlp: {headers.a: b}\n",
                "1:8: `headers.a` is not read with its dots: write `otlp: {headers: {a: …}}`",
            ),
            (
                "resource.a.b: x\n",
                "1:1: `resource.a.b` is not read with its dots: write `resource: {a.b: …}`",
            ),
            ("http.rout_cap: 3\n", "1:1: unknown key `http.rout_cap`, did you mean `http.route_cap`?"),
            ("a: [1\n", "1:4: unclosed bracket '['"),
            ("log: {level: info}\nlog: {level: info}\n", "2:1: duplicate mapping key `log`"),
            ("log: {level: info}\n---\nlog: {}\n", "3:1: only"),
        ] {
            let report = report(text);
            assert!(report.starts_with(&format!("s.yaml:{head}")) && report.contains('^'), "{text}{report}");
        }
        for text in [
            "otlp:\n  headers: [hunter2]\n",
            "otlp:\n  headers: 72436834\n",
            "otlp:\n  headers: {a: [hunter2]}\n",
            "otlp:\n  headers:\n    a: \"hunter2\n",
            "otlp:\n  headers: {a: hunter2\n",
            "otlp:\n  headers: {a: hunter2}}\n",
        ] {
            let report = report(text);
            assert!(report.starts_with("s.yaml:"), "{report}");
            assert!(!report.contains("hunter2") && !report.contains("72436834"), "{report}");
        }
        assert_eq!((report(""), report("# nothing\n")), (String::new(), String::new()));
    }

    /// Where there were settings, a file without anything in it is one that is being written.
    #[test]
    fn an_empty_file_takes_no_ones_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s.yaml");
        let load = |text: &str| {
            fs::write(&path, text).expect("written");
            super::check(&path, &mut Reader::at_start()).expect("valid")
        };
        for (text, is_empty) in [
            ("", true),
            ("\n \n", true),
            ("# nothing\n# yet\n", true),
            ("---\n", true),
            ("null\n", true),
            ("{}\n", false),
            ("log:\n", false),
            ("traffic: {services: []}\n", false),
        ] {
            let running = load("log: {level: debug}\n").resolved;
            let new = load(text);
            let is_told = new.resolved.notices.contains(&Notice::Empty);
            let refused = new.instead_of(&running).err().map(|error| error.to_string());
            assert_eq!((is_told, refused.is_some()), (is_empty, is_empty), "{text:?}: {refused:?}");
            let name = format!("{}: nothing is in it", path.display());
            assert!(refused.iter().all(|why| why.starts_with(&name)), "{refused:?}");
            // Where there were none, nothing is lost.
            let before = load("{}\n").resolved;
            assert!(load(text).instead_of(&before).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let missing = folder.path().join("no.yaml");
        assert!(matches!(check(&missing), Err(LoadError::Read { path, .. }) if path == missing));
        let latin = folder.path().join("latin.yaml");
        fs::write(&latin, b"# caf\xe9\n").expect("written");
        assert!(matches!(check(&latin), Err(LoadError::Text { path, .. }) if path == latin));
    }

    #[test]
    fn lists_of_endpoints_are_checked_too() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, list) = (folder.path().join("s.yaml"), folder.path().join("e.yaml"));
        let text = "traffic:\n  services:\n    - {name: a, addresses: [10.0.0.1], sources: [{file: FILE}]}\n";
        fs::write(&path, text.replace("FILE", &list.display().to_string())).expect("written");
        let resolved = check(&path).expect("valid");
        let notices: Vec<_> = resolved.notices.iter().map(ToString::to_string).collect();
        assert!(notices.len() == 1 && notices[0].contains("e.yaml: No such file"), "{notices:?}");
        fs::write(&list, "- 10.0.0.1:80\n- 10.0.0.1\n").expect("written");
        let report = check(&path).expect_err("it is refused").to_string();
        let parts = ["s.yaml:3:7: traffic.services.0", "e.yaml:2:3: `10.0.0.1` is not an endpoint"];
        assert!(parts.iter().all(|part| report.contains(part)), "{report}");
        fs::write(&list, "- 10.0.0.1:80\n").expect("written");
        assert_eq!(check(&path).expect("valid").notices.len(), 0);
    }

    #[test]
    fn only_variables_that_concern_us_are_taken() {
        let broken = OsString::from_vec(vec![0xff]);
        let (taken, problems) = environment(
            [
                ("PATH".into(), "x".into()),
                ("OTEL_SERVICE_NAME".into(), "shop".into()),
                ("OTEL_LOG_LEVEL".into(), broken.clone()),
                ("SIDECAR_LOG_LEVEL".into(), broken),
            ]
            .into_iter(),
        );
        assert_eq!(taken, [("OTEL_SERVICE_NAME".to_owned(), "shop".to_owned())]);
        let problems: Vec<_> = problems.iter().map(Problem::to_string).collect();
        assert_eq!(problems, ["SIDECAR_LOG_LEVEL: the value is not UTF-8"]);
    }
}
