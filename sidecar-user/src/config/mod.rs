//! Where settings are read from. What they mean is `sidecar_core::config`.

pub(crate) mod load;
mod yaml;
