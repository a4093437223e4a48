//! xtask stub

fn main() {}
