//! Files that list endpoints: read again once they differ from what was read, and hold still.

use std::{collections::BTreeMap, path::Path, path::PathBuf, time::Duration};

use sidecar_core::{
    config::{Look, Watch},
    model::policy::SourceFailed,
    traffic::sources::{Heard, Reply},
};

use crate::config::{
    endpoints::{self, ListError},
    file::Reader,
};

/// Between two looks at a file.
const PACE: Duration = Duration::from_secs(1);

/// How the files looked when they were read.
#[derive(Default)]
pub(super) struct Files(BTreeMap<PathBuf, Watch>);

impl Files {
    /// What a file says, where that is something else than before, or nobody has heard of it (`is_new`).
    pub(super) fn look(&mut self, path: &Path, is_new: bool) -> Heard {
        let mut reader = Reader::again();
        let now = reader.look([&path.to_owned()]);
        let watch = self.0.entry(path.to_owned()).or_insert_with(|| Watch::new(Look::default()));
        if !watch.is_due(now) && !is_new {
            return Heard::Same(PACE);
        }
        // What was read is what was looked at.
        let read = endpoints::read(path, &mut reader);
        watch.took(now);
        let failed = |why, detail| Reply { failed: [Some(why); 2], detail, ..Reply::default() };
        Heard::Said(match read {
            Ok(found) => Reply { found, ttl: PACE, ..Reply::default() },
            Err(ListError::Read(detail)) => failed(SourceFailed::Unreadable, detail),
            Err(ListError::Invalid(detail)) => failed(SourceFailed::Invalid, detail),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A file is read at once, and later when it holds still; what is wrong is told once.
    #[test]
    fn a_change_is_noticed_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("e.yaml");
        let (mut files, write) = (Files::default(), |text: &str| {
            fs::write(folder.path().join("new"), text).expect("written");
            fs::rename(folder.path().join("new"), &path).expect("in its place");
        });
        let mut look = |is_new: bool| match files.look(&path, is_new) {
            Heard::Same(_) => "same".to_owned(),
            Heard::Said(Reply { failed: [Some(why), _], .. }) => format!("{why:?}"),
            Heard::Said(reply) => reply.found.len().to_string(),
        };
        assert_eq!([look(true), look(false)], ["Unreadable", "same"]);
        write("['10.0.0.1:80']");
        assert_eq!([look(false), look(false), look(false)], ["same", "1", "same"]);
        write("['10.0.0.1");
        assert_eq!([look(false), look(false), look(false)], ["same", "Invalid", "same"]);
        write("['10.0.0.1:80', '10.0.0.2:80']");
        assert_eq!([look(false), look(false), look(true)], ["same", "2", "2"]);
    }
}
