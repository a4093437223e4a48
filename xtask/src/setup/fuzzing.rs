//! What fuzzing needs.

use anyhow::Result;

use super::apt::{self, Package};
use crate::workspace::Workspace;

const PACKAGES: [Package; 1] = [Package { name: "g++", why: "libFuzzer is written in C++" }];

/// Installs what is missing.
pub(crate) fn install(workspace: &Workspace) -> Result<()> {
    apt::install(workspace, &PACKAGES.each_ref())
}
