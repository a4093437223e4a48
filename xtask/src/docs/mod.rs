//! `cargo xtask docs`: pages that are made from the program's own tables, so that they cannot say something else.

mod abi;

use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::{only_flag, workspace::Workspace};

struct Page {
    path: &'static str,
    make: fn(&Workspace) -> Result<String>,
}

const PAGES: &[Page] = &[
    Page { path: "docs/abi.txt", make: abi::page },
    Page { path: "docs/config.md", make: |_| Ok(sidecar_core::config::reference()) },
    Page { path: "docs/metrics.md", make: |_| Ok(sidecar_core::signal::reference()) },
];

pub(crate) fn command(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let is_check = only_flag(arguments, "--check")?;
    let mut stale = Vec::new();
    for page in PAGES {
        let text = (page.make)(workspace).with_context(|| format!("make {}", page.path))?;
        let file = workspace.path(page.path);
        if fs::read_to_string(&file).is_ok_and(|old| old == text) {
            continue;
        }
        if is_check {
            stale.push(page.path);
        } else {
            fs::create_dir_all(file.parent().context("a page is in a folder")?)?;
            fs::write(&file, text).with_context(|| format!("write {}", page.path))?;
            println!("docs: wrote {}", page.path);
        }
    }
    if !stale.is_empty() {
        bail!("out of date, run `cargo xtask docs`: {}", stale.join(", "));
    }
    Ok(())
}
