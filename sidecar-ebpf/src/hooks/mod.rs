//! One file a hook. `cgroup/…` programs return 1, which lets the traffic pass; the result of others is ignored.

mod cgroup_skb;
mod datagram;
mod dns;
mod hand_over;
mod inbound;
mod sock;
mod sock_addr;
mod sock_ops;
mod steer;
mod tracepoint;

pub(crate) use dns::Numbering;

/// The verdict of every `cgroup/…` program here.
const PASS: i32 = 1;
