//! Removing what was pinned: what is ours, of whichever build.

use std::{fs, path::Path};

use super::{
    PinError,
    examine::{self, link_of},
    files, lock, name, sys,
};

/// What became of a folder.
#[derive(Debug, Default)]
pub(crate) struct Unpinned {
    /// Files that are gone.
    pub(crate) n_removed: usize,
    /// Files that are not ours, each with what it is.
    pub(crate) left: Vec<String>,
}

/// Ends everything that is pinned there, and removes it and the folder.
///
/// # Errors
/// [`PinError`]: the folder is none of ours, or a daemon is at work with it.
pub(crate) fn unpin(dir: &Path) -> Result<Unpinned, PinError> {
    if fs::symlink_metadata(dir).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        return Ok(Unpinned::default());
    }
    let _lock = lock(dir)?;
    let done = every(dir)?;
    if done.left.is_empty() {
        let failed = |source| PinError::Io { step: "remove", path: dir.to_owned(), source };
        fs::remove_dir(dir).map_err(failed)?;
    }
    Ok(done)
}

/// The same for a folder that is held, and stays.
///
/// # Errors
/// [`PinError`], also where something has a name that one of ours is to have, and is not ours; then everything is as it was.
pub(super) fn all(dir: &Path) -> Result<(), PinError> {
    let build = examine::build(dir);
    for path in files(dir)?.iter().filter(|path| examine::MAPS.iter().any(|map| map.name == name(path))) {
        examine::is_ours(path, build)?;
    }
    every(dir).map(drop)
}

/// Removes links that are at work on nothing any more.
///
/// # Errors
/// [`PinError`].
pub(super) fn dead(dir: &Path) -> Result<(), PinError> {
    for path in files(dir)?.iter().filter(|path| link_of(name(path)).is_some()) {
        if examine::link(path)?.cgroup == 0 {
            let failed = |source| PinError::Io { step: "remove", path: path.clone(), source };
            fs::remove_file(path).map_err(failed)?;
        }
    }
    Ok(())
}

/// Links first: what goes by the maps is not at work any more when they go. LAYOUT last: where this breaks off, it still says
/// whose the others are.
fn every(dir: &Path) -> Result<Unpinned, PinError> {
    let mut done = Unpinned::default();
    let build = examine::build(dir);
    let (links, mut others): (Vec<_>, Vec<_>) =
        files(dir)?.into_iter().partition(|path| link_of(name(path)).is_some());
    others.sort_by_key(|path| name(path) == "LAYOUT");
    for path in links.iter().chain(&others) {
        let is_ours = match link_of(name(path)) {
            Some(_) => examine::link(path).map(drop),
            None => examine::is_ours(path, build),
        };
        if let Err(error) = is_ours {
            done.left.push(super::told(&error));
            continue;
        }
        if link_of(name(path)).is_some()
            && let Ok(link) = sys::open(path)
        {
            // At once, where the kernel knows how (5.9); the file's end would do it later.
            let _ = sys::detach(&link);
        }
        let failed = |source| PinError::Io { step: "remove", path: path.clone(), source };
        fs::remove_file(path).map_err(failed)?;
        done.n_removed += 1;
    }
    Ok(done)
}
