//! Connections that are steered: who tells the kernel (`apply`), who carries those that come to
//! the daemon (`relay`), and which endpoints are well (`health`, `probe`), and who tells of them (`sources`);
//! and which addresses are this host's (`own`).

mod apply;
mod carry;
mod dns;
mod doors;
mod executables;
mod health;
mod listen;
mod own;
mod probe;
mod pulse;
mod relay;
mod sources;
mod trouble;

use sidecar_core::traffic::Room;

pub(crate) use apply::{ApplyError, Traffic, Usage};
pub(crate) use dns::{Answerer, Questions};
pub(crate) use health::Watched;
pub(crate) use relay::{Relay, Relayed, Waiting, room as relay_room};

/// What the kernel's maps have room for.
pub(crate) const ROOM: Room = Room { rules: 4096, services: 256, targets: 2048, places: 65_536 };
