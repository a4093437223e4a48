//! One file a hook. `cgroup/…` programs return 1, which lets the traffic pass; `sock_ops` programs' result is ignored.

mod cgroup_skb;
mod sock;
mod sock_addr;
mod sock_ops;

/// The verdict of every `cgroup/…` program here.
const PASS: i32 = 1;
