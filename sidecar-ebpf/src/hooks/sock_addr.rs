//! `connect()`.

use aya_ebpf::{EbpfContext, macros::cgroup_sock_addr, programs::SockAddrContext};
use sidecar_ebpf::abi::record::ROLE_CLIENT;

use super::PASS;
use crate::who;

#[cgroup_sock_addr(connect4)]
pub(crate) fn sk_connect4(ctx: SockAddrContext) -> i32 {
    client(&ctx);
    PASS
}

#[cgroup_sock_addr(connect6)]
pub(crate) fn sk_connect6(ctx: SockAddrContext) -> i32 {
    client(&ctx);
    PASS
}

#[inline(always)]
fn client(ctx: &SockAddrContext) {
    // SAFETY: `sk` may be read in every program of this type.
    let sk = unsafe { (*ctx.sock_addr).__bindgen_anon_1.sk };
    if !sk.is_null() {
        who::note(ctx.as_ptr(), sk, u32::from(ROLE_CLIENT));
    }
}
