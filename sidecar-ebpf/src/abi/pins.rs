//! What outlives the daemon, where it is pinned: what tells the maps of one build from those of another, and what only the
//! next daemon reads.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{
    steer::{Handed, Pair, Rule, RuleKey, Service, ServiceKey, Steer, Steered, Target, Use},
    who::Who,
};

/// What the pinned maps and programs mean. It moves whenever a daemon and programs of different builds would not understand
/// each other; sizes are compared besides.
pub const VERSION: u32 = 9;

/// The single entry of `LAYOUT`. Only user space writes it, once everything else is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Layout {
    /// [`VERSION`]; 0: whoever pinned it did not come to the end.
    pub version: u32,
    /// Of the sizes of keys and values.
    pub sizes: u32,
}

/// Sizes of what the pinned maps have, in one number (FNV-1a).
const SIZES: u32 = {
    let sizes = [
        size_of::<Steer>(),
        size_of::<RuleKey>(),
        size_of::<Rule>(),
        size_of::<ServiceKey>(),
        size_of::<Service>(),
        size_of::<Target>(),
        size_of::<Use>(),
        size_of::<Steered>(),
        size_of::<Pair>(),
        size_of::<Handed>(),
        size_of::<Who>(),
        size_of::<Name>(),
        size_of::<Answer>(),
        size_of::<Held>(),
    ];
    let mut hash = 0x811c_9dc5_u32;
    let mut at = 0;
    while at < sizes.len() {
        hash = (hash ^ sizes[at] as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    hash
};

/// What this build pins.
pub const LAYOUT: Layout = Layout { version: VERSION, sizes: SIZES };

/// Entry of `NAMES`, by a service's id: what it is called, zeros behind it. All zero: no service has the id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Name {
    /// UTF-8.
    pub bytes: [u8; 64],
}

/// Key of `LEARNED`: what a resolver told of a name that is a service's.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Answer {
    /// An address of it: IPv6, IPv4 ones mapped.
    pub addr: [u8; 16],
    /// ASCII, lower case, without the root's dot, zeros behind it; with `*.` before it whatever is below.
    pub name: [u8; 256],
}

/// Value of `LEARNED`: s of `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Held {
    /// When it was told last.
    pub told_s: u64,
    /// Until when it is held.
    pub until_s: u64,
}

const _: () = assert!(size_of::<Layout>() == 8);
const _: () = assert!(size_of::<Name>() == 64);
const _: () = assert!(size_of::<Answer>() == 272);
const _: () = assert!(size_of::<Held>() == 16);
