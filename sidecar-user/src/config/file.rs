//! Small files that hold settings, or that settings name: read whole, bounded in bytes and in time. There is no other way
//! to read one.

use std::{
    collections::BTreeMap,
    fs::{self, File, Metadata},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{Mode, OFlags, open},
    io::Errno,
};
use sidecar_core::config::Look;

/// Bytes that a file may have; a system's whole bundle of certificates has a quarter of it.
const MAX: u64 = 1 << 20;
/// How long whoever writes into a pipe may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no content.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The system's reason.
    #[error(transparent)]
    System(#[from] io::Error),
    /// Too big to be meant.
    #[error("it has more than {MAX} bytes")]
    TooBig,
    /// A pipe or a device that does not end.
    #[error("no end of it came within {0:?}")]
    Late(Duration),
    /// What such a source gave is gone.
    #[error("it is no regular file: a pipe or a device is read once, at the start")]
    NotAgain,
}

impl ReadError {
    /// There is nothing of this name.
    fn is_missing(&self) -> bool {
        matches!(self, ReadError::System(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

/// Reads files, each once however often it is asked for: what a pipe gave is needed by two signals, and what was taken is
/// what was looked at.
pub(crate) struct Reader {
    /// `None`: only regular files, which nobody has to be waited for.
    patience: Option<Duration>,
    had: BTreeMap<PathBuf, Result<Vec<u8>, Arc<ReadError>>>,
}

impl Reader {
    /// At the start: pipes and devices too, to their end.
    pub(crate) fn at_start() -> Self {
        Reader { patience: Some(PATIENCE), had: BTreeMap::new() }
    }

    /// While running: never waits.
    pub(crate) fn again() -> Self {
        Reader { patience: None, had: BTreeMap::new() }
    }

    /// The whole content.
    pub(crate) fn read(&mut self, path: &Path) -> Result<&[u8], Arc<ReadError>> {
        let read = || read(path, self.patience).map_err(Arc::new);
        let had = self.had.entry(path.to_owned()).or_insert_with(read);
        had.as_deref().map_err(Arc::clone)
    }

    /// How these files look, those that were read as they were then. What is not there, or is read once only, looks the
    /// same each time.
    pub(crate) fn look<'a>(&mut self, paths: impl IntoIterator<Item = &'a PathBuf>) -> Look {
        let (mut content, mut stamp) = (DefaultHasher::new(), DefaultHasher::new());
        for path in paths {
            let read = self.read(path).map_err(|error| (error.is_missing(), error.to_string()));
            (path, read).hash(&mut content);
            let of =
                |of: Metadata| (of.ino(), of.len(), of.mtime(), of.mtime_nsec(), of.ctime(), of.ctime_nsec());
            fs::metadata(path).ok().map(of).hash(&mut stamp);
        }
        Look { content: content.finish(), stamp: stamp.finish() }
    }
}

/// Whether it can be read again.
pub(crate) fn is_lasting(path: &Path) -> bool {
    !fs::metadata(path).is_ok_and(|of| !of.is_file())
}

fn read(path: &Path, patience: Option<Duration>) -> Result<Vec<u8>, ReadError> {
    // Before it is opened: of a device or a pipe, others notice that.
    if patience.is_none() && !fs::metadata(path)?.is_file() {
        return Err(ReadError::NotAgain);
    }
    // It does not wait for a writer, whatever is in its place by now.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut file = File::from(open(path, flags, Mode::empty()).map_err(io::Error::from)?);
    let begun = Instant::now();
    let mut content = Vec::new();
    loop {
        // A pipe that nobody has opened for writing yet would be read as if it had ended.
        if let Some(patience) = patience {
            await_bytes(&file, begun + patience, patience)?;
        }
        match (&mut file).take(MAX + 1 - content.len() as u64).read_to_end(&mut content) {
            Ok(_) if content.len() as u64 > MAX => return Err(ReadError::TooBig),
            Ok(_) => return Ok(content),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && patience.is_some() => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn await_bytes(file: &File, until: Instant, patience: Duration) -> Result<(), ReadError> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(|_| ReadError::Late(patience))?;
        match poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&left)) {
            Ok(0) => return Err(ReadError::Late(patience)),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(io::Error::from(errno).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::OpenOptions, io::Write as _, os::unix::fs::symlink, thread};

    use rustix::fs::{CWD, FileType, mknodat};

    use super::*;

    fn fifo(folder: &tempfile::TempDir) -> PathBuf {
        let path = folder.path().join("fifo");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a FIFO");
        path
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let big = folder.path().join("big");
        fs::write(&big, vec![b'#'; (1 << 20) + 1]).expect("written");
        let fifo = fifo(&folder);
        let link = folder.path().join("link");
        symlink(&fifo, &link).expect("a link");
        let short = Some(Duration::from_millis(20));
        let again = "it is no regular file: a pipe or a device is read once, at the start";
        for (path, patience, expected) in [
            (big.as_path(), None, "it has more than 1048576 bytes"),
            (&big, short, "it has more than 1048576 bytes"),
            (&folder.path().join("none"), short, "No such file or directory (os error 2)"),
            (folder.path(), None, again),
            (folder.path(), short, "Is a directory (os error 21)"),
            (&fifo, None, again),
            (&link, None, again),
            (Path::new("/dev/null"), None, again),
            (&fifo, short, "no end of it came within 20ms"),
            (Path::new("/dev/zero"), short, "it has more than 1048576 bytes"),
        ] {
            let error = read(path, patience).expect_err("nothing to read").to_string();
            assert_eq!(error, expected, "{}", path.display());
        }
        assert_eq!(read(Path::new("/dev/null"), short).expect("its end"), b"");
    }

    /// A writer that is there, and one that comes late and in parts; either is asked once.
    #[test]
    fn a_pipe_is_read_to_its_end_and_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = fifo(&folder);
        let to = path.clone();
        let writer = thread::spawn(move || {
            let mut pipe = OpenOptions::new().write(true).open(to).expect("opened, once there is a reader");
            for _ in 0..50 {
                pipe.write_all(&[b'#'; 4096]).expect("written");
                thread::yield_now();
            }
        });
        let mut reader = Reader::at_start();
        for _ in 0..2 {
            assert_eq!(reader.read(&path).expect("its content").len(), 50 * 4096);
        }
        writer.join().expect("it ends");
        // One that opened it and says nothing is not waited for longer than for nobody.
        let hold = OpenOptions::new().read(true).write(true).open(&path).expect("opened");
        let late = read(&path, Some(Duration::from_millis(20)));
        assert!(matches!(late, Err(ReadError::Late(_))), "{late:?}");
        drop(hold);
    }

    /// Whatever is wrong with a file is a look like any other.
    #[test]
    fn looks_differ_as_contents_do() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s.yaml");
        let now = || Reader::again().look([&path]);
        let mut seen = vec![now().content];
        for content in [b"# a\n".to_vec(), b"\xff".to_vec(), vec![b'#'; (1 << 20) + 1]] {
            fs::write(&path, content).expect("written");
            assert_eq!(now(), now());
            seen.push(now().content);
        }
        fs::remove_file(&path).expect("removed");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR, 0).expect("a FIFO");
        seen.push(now().content);
        let n = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), n);
        // The same again, in another file.
        fs::remove_file(&path).expect("removed");
        fs::write(&path, b"# a\n").expect("written");
        let before = now();
        fs::write(folder.path().join("new"), b"# a\n").expect("written");
        fs::rename(folder.path().join("new"), &path).expect("in its place");
        let after = now();
        assert!(before.content == after.content && before.stamp != after.stamp);
    }
}
