//! What a parser tells of bytes, checked as the core's own tests check it.

pub(crate) use sidecar_core::protocol::{Reel, Shown};

#[path = "../../../sidecar-user/core/src/protocol/transcript/witness.rs"]
pub(crate) mod witness;
