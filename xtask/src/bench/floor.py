"""Attaches an empty program to both cgroup_skb hooks of a cgroup, says so, and keeps it there until it is told to end.

The floor that any observer by these hooks stands on: what the kernel itself takes to call one. Usage: floor.py CGROUP

The layouts are those of `union bpf_attr` in the kernel's include/uapi/linux/bpf.h.
"""

import ctypes
import os
import signal
import struct
import sys

SYSCALL_BPF = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
PROG_LOAD, LINK_CREATE = 5, 28
TYPE_CGROUP_SKB = 8
# r0 = 1; exit: let it pass.
PROGRAM = struct.pack("<BBhi", 0xB7, 0, 0, 1) + struct.pack("<BBhi", 0x95, 0, 0, 0)
LICENSE = b"GPL\0"

libc = ctypes.CDLL(None, use_errno=True)


def bpf(command: int, attributes: bytes) -> int:
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    result = libc.syscall(SYSCALL_BPF, command, buffer, len(attributes))
    if result < 0:
        error = ctypes.get_errno()
        sys.exit(f"bpf({command}): {os.strerror(error)}")
    return result


def load(attach_type: int) -> int:
    program = ctypes.create_string_buffer(PROGRAM, len(PROGRAM))
    license = ctypes.create_string_buffer(LICENSE, len(LICENSE))
    # prog_type, insn_cnt, insns, license, log_level, log_size, log_buf, kern_version, prog_flags, prog_name,
    # prog_ifindex, expected_attach_type
    attributes = struct.pack(
        "<IIQQIIQII16sII",
        *(TYPE_CGROUP_SKB, len(PROGRAM) // 8, ctypes.addressof(program), ctypes.addressof(license)),
        *(0, 0, 0, 0, 0, b"", 0, attach_type),
    )
    return bpf(PROG_LOAD, attributes)


cgroup = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECTORY)
# BPF_CGROUP_INET_INGRESS, BPF_CGROUP_INET_EGRESS. The links end with this process.
links = [bpf(LINK_CREATE, struct.pack("<IIII", load(kind), cgroup, kind, 0)) for kind in (0, 1)]
print("attached", flush=True)
signal.sigwait([signal.SIGTERM, signal.SIGINT])
