//! The kernel side, from user space: loading, attaching, maps and the ring. The only module that knows aya.

mod caps;
pub(crate) mod clock;
mod load;
mod maps;
mod programs;
mod ring;
pub(crate) mod slice;

pub(crate) use caps::{Later, drop_effective, keep_bpf, missing, raised, take_effect};
pub(crate) use load::{Attached, Error, Kernel, Options, Refusal};
pub(crate) use maps::{Counts, Verdicts};
pub(crate) use programs::{ALL as PROGRAMS, Program, READS};
pub(crate) use ring::{Ring, Waker};
