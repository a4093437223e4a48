//! What the machine tells of itself: the only module that knows /proc and the cgroup file system.

pub(crate) mod cgroup;
pub(crate) mod executable;
pub(crate) mod host;
pub(crate) mod kin;
mod mountinfo;
pub(crate) mod pod;
pub(crate) mod resolvers;
pub(crate) mod sockets;
pub(crate) mod usage;
