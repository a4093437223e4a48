//! The sidecar daemon.

fn main() {}
