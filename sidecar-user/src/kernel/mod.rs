//! The kernel side, from user space: loading, attaching, maps and the ring. The only module that knows aya.

mod btf;
mod caps;
pub(crate) mod clock;
mod dns;
mod executable;
mod load;
mod maps;
mod others;
mod pins;
mod programs;
mod ring;
pub(crate) mod slice;
mod steer;

pub(crate) use caps::{Later, drop_effective, keep_bpf, missing, raised, take_effect};
pub(crate) use dns::Resolvers;
pub(crate) use load::{Attached, Error, Kernel, Maps, Options, Own, Refusal};
pub(crate) use maps::{Counts, Verdicts};
pub(crate) use others::{Hook, Who, others, program_names, who};
pub(crate) use pins::{PinError, Pins, is_left, pinned, pinned_programs, unpin};
pub(crate) use programs::{ALL as PROGRAMS, COME_IN, DATAGRAMS, Program, READS, STEERING, TAKE_OVER};
pub(crate) use ring::{Ring, Waker};
pub(crate) use steer::{Handover, SteerError, Steering, bind_no_port, netns_cookie};
