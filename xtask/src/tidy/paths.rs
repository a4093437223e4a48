//! The paths of one file, and what they mean: imports and their new names, `self`, `super` and child modules are
//! followed as far as one file shows.

use std::collections::{HashMap, HashSet};

/// A path as written. A leading `::` is an empty first segment; a glob's last segment is `*`.
pub(super) struct PathAt {
    pub(super) segments: Vec<String>,
    pub(super) line: usize,
    /// The module that it stands in.
    pub(super) module: Vec<String>,
    pub(super) is_import: bool,
}

/// A path from its crate's root: `crate::…` for this one, else the crate's name first.
pub(super) struct Resolved {
    pub(super) segments: Vec<String>,
    /// How many of the segments an import of this file brought: a rule that such an import already breaks need not
    /// name each use of it.
    pub(super) imported: usize,
    pub(super) line: usize,
}

struct Import {
    target: Vec<String>,
    /// The module that the import stands in.
    module: Vec<String>,
}

#[derive(Default)]
pub(super) struct Paths {
    paths: Vec<PathAt>,
    /// By new name. A name may be imported in several scopes of a file; all its meanings are looked at.
    imports: HashMap<String, Vec<Import>>,
    modules: HashSet<(Vec<String>, String)>,
}

/// Imports of imports are followed so far.
const DEPTH: usize = 8;

impl Paths {
    pub(super) fn add(&mut self, path: PathAt) {
        self.paths.push(path);
    }

    /// `name` stands for `target`, written in `module`.
    pub(super) fn import(&mut self, name: String, target: Vec<String>, module: Vec<String>) {
        self.imports.entry(name).or_default().push(Import { target, module });
    }

    /// `module` has a child of that name.
    pub(super) fn declare(&mut self, module: Vec<String>, child: String) {
        self.modules.insert((module, child));
    }

    /// All meanings of all paths.
    pub(super) fn resolved(&self) -> Vec<Resolved> {
        let mut all = Vec::new();
        for path in &self.paths {
            for (segments, imported) in self.meanings(&path.segments, &path.module, DEPTH) {
                let imported = if path.is_import { 0 } else { imported };
                all.push(Resolved { segments, imported, line: path.line });
            }
        }
        all
    }

    fn meanings(&self, segments: &[String], module: &[String], depth: usize) -> Vec<(Vec<String>, usize)> {
        let Some((first, rest)) = segments.split_first() else { return Vec::new() };
        let here = |module: &[String]| [&["crate".to_string()], module].concat();
        match first.as_str() {
            "" => return vec![(rest.to_vec(), 0)],
            "crate" => return vec![(segments.to_vec(), 0)],
            "self" => return vec![([here(module), rest.to_vec()].concat(), 0)],
            "super" => {
                let parent = &module[..module.len().saturating_sub(1)];
                let is_more = rest.first().is_some_and(|next| next == "super");
                return if is_more {
                    self.meanings(rest, parent, depth)
                } else {
                    vec![([here(parent), rest.to_vec()].concat(), 0)]
                };
            }
            _ => {}
        }
        if self.modules.contains(&(module.to_vec(), first.clone())) {
            return vec![([here(module), segments.to_vec()].concat(), 0)];
        }
        let Some(targets) = self.imports.get(first).filter(|_| depth > 0) else {
            return vec![(segments.to_vec(), 0)];
        };
        let mut all = Vec::new();
        for Import { target, module } in targets {
            // `use name::…` as `name` leads to itself; what it says is the crate's name then.
            let is_own = target.first() == Some(first);
            let depth = if is_own { 0 } else { depth - 1 };
            for (mut meaning, _) in self.meanings(target, module, depth) {
                let imported = meaning.len();
                meaning.extend_from_slice(rest);
                all.push((meaning, imported));
            }
        }
        all
    }
}
