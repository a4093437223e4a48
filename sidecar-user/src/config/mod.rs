//! Where settings are read from. What they mean is `sidecar_core::config`.

mod downward;
pub(crate) mod endpoints;
pub(crate) mod file;
pub(crate) mod load;
pub(crate) mod supervisor;
mod yaml;

pub(crate) use downward::Downward;
