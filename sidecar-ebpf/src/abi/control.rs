//! The single entry of `CONTROL`: what user space sets for all connections. Only user space writes it.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Settings that every program reads.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Control {
    /// Grows with each change of `VERDICTS`; a connection looks its verdict up again when it differs.
    pub generation: u32,
    /// The daemon's own thread group id in the initial PID namespace: its sockets are not observed. 0: not known yet.
    pub own_tgid: u32,
    /// Budget of a turn on a connection that nobody judged yet, bytes.
    pub budget: u32,
    /// Fill of the ring, in bytes, above which a record wakes the reader.
    pub wake_above: u32,
    /// Fill of the ring, in bytes, above which only the beginning of a packet is copied.
    pub shed_above: u32,
    /// Explicit padding.
    pub pad: u32,
}

const _: () = assert!(size_of::<Control>() == 24);
