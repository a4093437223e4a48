//! The archive that a kernel unpacks as its first file system: "newc" of cpio, as
//! Documentation/driver-api/early-userspace/buffer-format.rst of the kernel describes it.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_644;
const PROGRAM: u32 = 0o100_755;

/// Everything belongs to root. Several archives after each other are one.
#[derive(Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    /// Paths that are in it, relative to the root.
    known: BTreeSet<PathBuf>,
}

impl Archive {
    /// A file at this absolute path, with the folders above it. One that is there already stays as it is.
    pub(super) fn file(&mut self, path: &Path, content: &[u8]) {
        self.add(path, FILE, content);
    }

    /// The same, executable.
    pub(super) fn program(&mut self, path: &Path, content: &[u8]) {
        self.add(path, PROGRAM, content);
    }

    pub(super) fn contains(&self, path: &Path) -> bool {
        self.known.contains(relative(path))
    }

    /// Its bytes, complete.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn add(&mut self, path: &Path, mode: u32, content: &[u8]) {
        let path = relative(path);
        let above: Vec<&Path> = path.ancestors().skip(1).filter(|folder| *folder != Path::new("")).collect();
        for folder in above.into_iter().rev() {
            if self.known.insert(folder.to_path_buf()) {
                self.entry(&folder.to_string_lossy(), FOLDER, &[]);
            }
        }
        if self.known.insert(path.to_path_buf()) {
            self.entry(&path.to_string_lossy(), mode, content);
        }
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        let inode = self.known.len();
        let links = 1;
        let (size, name_size) = (content.len(), name.len() + 1);
        // Owner, group, time and devices are 0, and so is the checksum, which this format does not use.
        let header = format!(
            "070701{inode:08x}{mode:08x}{0:08x}{0:08x}{links:08x}{0:08x}{size:08x}{0:08x}{0:08x}{0:08x}{0:08x}\
             {name_size:08x}{0:08x}",
            0
        );
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Archive;

    #[test]
    fn folders_come_before_what_is_in_them_and_all_is_aligned() {
        let mut archive = Archive::default();
        archive.program(Path::new("/a/b/run"), b"12345");
        archive.file(Path::new("/a/c"), b"");
        archive.file(Path::new("/a/c"), b"again");
        assert!(archive.contains(Path::new("/a/b")) && archive.contains(Path::new("/a/c")));
        let bytes = archive.finish();
        let mut entries = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let field = |n: usize| {
                let digits = &bytes[at + 6 + n * 8..at + 14 + n * 8];
                usize::from_str_radix(std::str::from_utf8(digits).expect("digits"), 16).expect("a number")
            };
            assert_eq!((&bytes[at..at + 6], at % 4), (&b"070701"[..], 0));
            let (mode, size, name_size) = (field(1), field(6), field(11));
            let name = &bytes[at + 110..at + 110 + name_size - 1];
            entries.push((String::from_utf8_lossy(name).into_owned(), mode, size));
            at = (at + 110 + name_size).next_multiple_of(4) + size;
            at = at.next_multiple_of(4);
        }
        let expected = [
            ("a", 0o040_755, 0),
            ("a/b", 0o040_755, 0),
            ("a/b/run", 0o100_755, 5),
            ("a/c", 0o100_644, 0),
            ("TRAILER!!!", 0, 0),
        ];
        assert_eq!(entries, expected.map(|(name, mode, size)| (name.to_owned(), mode, size)));
    }
}
