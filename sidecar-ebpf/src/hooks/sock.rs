//! Sockets as the application makes, binds and lets go of them.

use aya_ebpf::{EbpfContext, macros::cgroup_sock, programs::SockContext};
use sidecar_ebpf::abi::record::ROLE_UNKNOWN;

use super::PASS;
use crate::{
    conn::{Conn, RELEASED},
    maps::CONN,
    who,
};

#[cgroup_sock(sock_create)]
pub(crate) fn sk_create(ctx: SockContext) -> i32 {
    who::note(ctx.as_ptr(), ctx.sock, u32::from(ROLE_UNKNOWN));
    who::made(ctx.sock);
    PASS
}

#[cgroup_sock(post_bind4)]
pub(crate) fn sk_bind4(ctx: SockContext) -> i32 {
    who::note(ctx.as_ptr(), ctx.sock, u32::from(ROLE_UNKNOWN));
    PASS
}

#[cgroup_sock(post_bind6)]
pub(crate) fn sk_bind6(ctx: SockContext) -> i32 {
    who::note(ctx.as_ptr(), ctx.sock, u32::from(ROLE_UNKNOWN));
    PASS
}

/// The application's last descriptor is gone. That ends nothing: data may still be on its way. It only tells a
/// connect() that was given up from one that failed.
#[cgroup_sock(sock_release)]
pub(crate) fn sk_release(ctx: SockContext) -> i32 {
    if let Some(conn) = CONN.get(ctx.sock) {
        Conn::locked(conn, |conn| conn.flags |= RELEASED);
    }
    PASS
}
