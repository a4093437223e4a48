//! Where settings are read from. What they mean is `sidecar_core::config`.

pub(crate) mod load;
pub(crate) mod supervisor;
mod yaml;
