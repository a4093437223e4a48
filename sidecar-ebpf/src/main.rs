//! The BPF programs. Every entry is a shim: it tries, counts, and lets the traffic pass; but for `steer4/6`, `say4/6` and
//! `come_in`, which exist only where somebody asked for them, none can refuse a packet, a socket or a connection.
//!
//! | program        | hook                    | what it adds                                     |
//! |----------------|-------------------------|--------------------------------------------------|
//! | `skb_in/out`   | `cgroup_skb`            | payload, turns, the sockets' own byte counters   |
//! |                |                         | datagrams of the DNS                             |
//! | `sk_create`    | `cgroup/sock_create`    | `WHO`                                            |
//! | `sk_bind4/6`   | `cgroup/post_bind4/6`   | `WHO` of sockets older than the programs         |
//! | `sk_release`   | `cgroup/sock_release`   | that the application let go of a socket          |
//! | `sk_connect4/6`| `cgroup/connect4/6`     | `WHO`, client role                               |
//! | `tcp_ops`      | `sock_ops`              | open, close, failed connect, listener's role     |
//! | `tcp_log`      | `sock_ops`              | lines for the log, where they are asked for      |
//! | `tcp_read`     | `tp_btf`                | when a socket was read, where that is asked for  |
//! | `steer4/6`     | `cgroup/connect4/6`     | where a connection goes, where traffic is steered |
//! | `steer_end`    | `cgroup/sock_release`   | places of connections that came to nothing       |
//! | `say4/6`       | `cgroup/sendmsg4/6`     | where a datagram goes: a question of the DNS, or denied |
//! | `hear4/6`      | `cgroup/recvmsg4/6`     | who was asked, as an answer's source             |
//! | `peer4/6`      | `cgroup/getpeername4/6` | the address that was asked for, or who came in   |
//! | `come_in`      | `sk_lookup`             | who gets a connection that comes in              |
//! | `hand_over`    | `sock_ops`              | what was asked for, to the relay; places         |
//! | `take_over`    | `sock_ops`              | the same, on the relay's side                    |
#![no_std]
#![no_main]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![expect(
    unsafe_code,
    reason = "the kernel's helpers and contexts are raw pointers; each use names its guarantor"
)]
#![expect(clippy::multiple_unsafe_ops_per_block, reason = "reaching a field through a pointer counts as two")]

mod conn;
mod count;
mod denial;
mod emit;
mod ends;
mod executable;
mod hooks;
mod maps;
mod packet;
mod steer;
mod verdict;
mod who;

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier refuses a program from which this can be reached.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
