//! Files that processes execute.

use std::{fmt, path::PathBuf, str::FromStr};

/// A file, as the kernel tells it from all others while it is there; with its generation, also from those that get its number after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId {
    /// Number of its file system: major and minor.
    pub device: (u32, u32),
    /// Number of its inode there.
    pub inode: u64,
    /// Which of those that have had the number; `None`: its file system does not tell.
    pub generation: Option<u32>,
}

impl FileId {
    /// Whether both are one file, as far as both tell.
    #[must_use]
    pub fn is(&self, other: &FileId) -> bool {
        let is_another = self.generation.zip(other.generation).is_some_and(|(ours, theirs)| ours != theirs);
        (self.device, self.inode) == (other.device, other.inode) && !is_another
    }
}

/// An executable file by its path, and what it stands for: in each root that processes have a file of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executable {
    /// As the user says it.
    pub path: PathBuf,
    /// What is there now.
    pub files: Vec<FileId>,
    /// Why what is there is no file that is excepted: once for each reason.
    pub unclear: Vec<String>,
}

impl Executable {
    /// Files that one path may stand for at a time.
    pub const FILES: usize = 16;
}

impl FromStr for FileId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split(':');
        let (major, minor, inode) = (parts.next(), parts.next(), parts.next());
        let number = |text: Option<&str>| text.and_then(|text| text.parse().ok()).ok_or(());
        let inode = inode.and_then(|text| text.parse().ok()).ok_or(())?;
        let generation = parts.next().map(|text| text.parse().map_err(|_| ())).transpose()?;
        Ok(FileId { device: (number(major)?, number(minor)?), inode, generation })
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.device.0, self.device.1, self.inode)?;
        self.generation.map_or(Ok(()), |generation| write!(f, ":{generation}"))
    }
}
