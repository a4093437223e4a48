//! Connections that are steered: who tells the kernel (`apply`), and who carries those that come to the daemon (`relay`).

mod apply;
mod carry;
mod dns;
mod doors;
mod listen;
mod relay;

use sidecar_core::traffic::Room;

pub(crate) use apply::{ApplyError, Traffic, Usage};
pub(crate) use dns::{Answerer, Questions};
pub(crate) use relay::{Relay, Relayed, Waiting};

/// What the kernel's maps have room for.
pub(crate) const ROOM: Room = Room { rules: 4096, services: 256, targets: 2048, places: 65_536 };
