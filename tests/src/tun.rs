//! Opening TUN devices: the one ioctl that nobody wraps.
#![expect(unsafe_code, reason = "the TUNSETIFF ioctl")]

use std::{fs::OpenOptions, io};

use rustix::{
    fd::OwnedFd,
    fs::{OFlags, fcntl_setfl},
    ioctl::{Setter, ioctl, opcode},
};

const TUNSETIFF: rustix::ioctl::Opcode = opcode::write::<i32>(b'T', 202);
const IFF_TUN: u16 = 1;
const IFF_NO_PI: u16 = 0x1000;

/// `struct ifreq`, as far as TUNSETIFF reads it.
#[repr(C)]
struct Request {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

/// A device of this name in the calling thread's namespace: a packet a read, a packet a write, neither waits.
pub(crate) fn open(name: &str) -> io::Result<OwnedFd> {
    let fd = OwnedFd::from(OpenOptions::new().read(true).write(true).open("/dev/net/tun")?);
    let mut request = Request { name: [0; 16], flags: IFF_TUN | IFF_NO_PI, rest: [0; 22] };
    request.name[..name.len().min(15)].copy_from_slice(&name.as_bytes()[..name.len().min(15)]);
    // SAFETY: TUNSETIFF takes a `struct ifreq`, whose layout and size `Request` has.
    let setter = unsafe { Setter::<TUNSETIFF, Request>::new(request) };
    // SAFETY: as above; the kernel only reads and writes within it.
    unsafe { ioctl(&fd, setter) }?;
    fcntl_setfl(&fd, OFlags::NONBLOCK)?;
    Ok(fd)
}
