//! Executable files that services except, from their paths to what those stand for now.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error as _,
    path::{Path, PathBuf},
};

use sidecar_core::model::{Executable, FileId, policy::Policy};
use tracing::{info, warn};

use crate::discovery::executable::{Held, Root};

/// What is known of them.
#[derive(Clone, Default)]
pub(super) struct Executables {
    by_path: BTreeMap<PathBuf, Vec<Held>>,
    /// What was complained of by the last look.
    unclear: BTreeSet<(PathBuf, String)>,
}

/// Paths that a policy has.
pub(super) fn paths(policy: &Policy) -> BTreeSet<PathBuf> {
    let all = policy.services.iter().flat_map(|service| &service.except.executables);
    all.map(|executable| executable.path.clone()).collect()
}

/// What is at each path, in each of these roots.
pub(super) struct Found {
    by_path: BTreeMap<PathBuf, Vec<Held>>,
    unclear: BTreeSet<(PathBuf, String)>,
}

impl Found {
    /// Looks.
    pub(super) fn look(paths: BTreeSet<PathBuf>, roots: &[Root]) -> Found {
        let mut found = Found { by_path: BTreeMap::new(), unclear: BTreeSet::new() };
        for path in paths {
            let held = found.at(&path, roots);
            found.by_path.insert(path, held);
        }
        found
    }

    fn at(&mut self, path: &Path, roots: &[Root]) -> Vec<Held> {
        let mut all: Vec<Held> = Vec::new();
        for root in roots {
            match root.find(path) {
                Ok(None) => {}
                Ok(Some(held)) if all.iter().any(|other| other.id == held.id) => {}
                Ok(Some(held)) if all.len() < Executable::FILES => all.push(held),
                Ok(Some(_)) => {
                    let why = format!("more than {} files are there", Executable::FILES);
                    self.unclear.insert((path.to_owned(), why));
                }
                Err(error) => {
                    let source = error.source().map(|source| format!(": {source}")).unwrap_or_default();
                    self.unclear.insert((path.to_owned(), format!("{error}{source}")));
                }
            }
        }
        all.sort_by_key(|held| held.id);
        all
    }
}

impl Executables {
    /// What was found, and what is known besides of the same paths: in roots that were not looked at.
    pub(super) fn with(&self, mut found: Found) -> Found {
        for (path, all) in &mut found.by_path {
            for held in self.by_path.get(path).into_iter().flatten() {
                if all.len() < Executable::FILES && all.iter().all(|other| other.id != held.id) {
                    all.push(held.clone());
                }
            }
            all.sort_by_key(|held| held.id);
        }
        found
    }

    /// Whether that is something else than what is known.
    pub(super) fn differs(&self, found: &Found) -> bool {
        ids(&self.by_path) != ids(&found.by_path)
    }

    /// From now on that is known.
    pub(super) fn take(&mut self, found: Found) {
        for (path, why) in found.unclear.difference(&self.unclear) {
            warn!(path = %path.display(), why, "an executable file is not told from others: it is not excepted");
        }
        (self.by_path, self.unclear) = (found.by_path, found.unclear);
    }

    /// The kernel did not take it: what is known is what was.
    pub(super) fn go_back(&mut self, before: Executables) {
        self.by_path = before.by_path;
    }

    /// Says what is known now, where that is something else.
    pub(super) fn tell(&self, before: &Executables) {
        if ids(&self.by_path) != ids(&before.by_path) {
            for (path, held) in &self.by_path {
                info!(path = %path.display(), files = held.len(), "executable files that services leave alone");
            }
        }
    }

    /// The policy with what its paths stand for.
    pub(super) fn added_to(&self, mut policy: Policy) -> Policy {
        for executable in policy.services.iter_mut().flat_map(|service| &mut service.except.executables) {
            let held = self.by_path.get(&executable.path);
            executable.files = held.iter().flat_map(|held| held.iter()).map(|held| held.id).collect();
            let unclear = self.unclear.iter().filter(|(path, _)| *path == executable.path);
            executable.unclear = unclear.map(|(_, why)| why.clone()).collect();
        }
        policy
    }
}

fn ids(by_path: &BTreeMap<PathBuf, Vec<Held>>) -> BTreeMap<&Path, Vec<FileId>> {
    by_path.iter().map(|(path, held)| (path.as_path(), held.iter().map(|held| held.id).collect())).collect()
}
