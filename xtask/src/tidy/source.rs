//! A Rust file: where it stands in its crate, and the facts in it that rules ask about.

use super::facts::Facts;

/// Where the crates keep their sources; the longest prefix counts.
const CRATES: [&str; 5] =
    ["sidecar-user/src/", "sidecar-user/core/src/", "sidecar-ebpf/src/", "xtask/src/", "tests/src/"];

pub(super) struct Source {
    /// Path from the workspace's root.
    pub(super) file: String,
    pub(super) facts: Facts,
}

impl Source {
    pub(super) fn parse(file: &str, text: &str) -> syn::Result<Self> {
        let is_test = file.ends_with("/tests.rs") || file.contains("/tests/");
        let facts = Facts::of(&syn::parse_file(text)?, module(file), is_test);
        Ok(Self { file: file.to_string(), facts })
    }
}

/// The module path that a file has in its crate; the root's is empty.
pub(super) fn module(file: &str) -> Vec<String> {
    let inside = CRATES.iter().find_map(|prefix| file.strip_prefix(prefix)).unwrap_or_default();
    let inside = inside.strip_suffix(".rs").unwrap_or(inside);
    let mut module: Vec<String> = inside.split('/').filter(|part| !part.is_empty()).map(Into::into).collect();
    let is_root = module.len() == 1 && (module[0] == "main" || module[0] == "lib");
    if is_root || module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    module
}

#[cfg(test)]
mod tests {
    use super::module;

    #[test]
    fn modules_of_files() {
        assert!(module("sidecar-user/src/main.rs").is_empty());
        assert_eq!(module("sidecar-user/src/kernel/mod.rs"), ["kernel"]);
        assert_eq!(module("sidecar-user/core/src/protocol/http1/head.rs"), ["protocol", "http1", "head"]);
        assert_eq!(module("sidecar-user/src/app.rs"), ["app"]);
    }
}
