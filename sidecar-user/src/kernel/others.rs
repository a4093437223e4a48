//! Who else has programs on a cgroup, whosever they are.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
    path::PathBuf,
};

use aya::programs::loaded_programs;

use super::pins::pinned_programs;

/// Hooks that the sidecar uses, by their numbers (`enum bpf_attach_type` in include/uapi/linux/bpf.h).
const HOOKS: [(&str, u32); 15] = [
    ("cgroup_skb/ingress", 0),
    ("cgroup_skb/egress", 1),
    ("sock_create", 2),
    ("sock_ops", 3),
    ("connect4", 10),
    ("connect6", 11),
    ("post_bind4", 12),
    ("post_bind6", 13),
    ("sendmsg4", 14),
    ("sendmsg6", 15),
    ("recvmsg4", 19),
    ("recvmsg6", 20),
    ("getpeername4", 29),
    ("getpeername6", 30),
    ("sock_release", 34),
];
/// `BPF_CGROUP_INET4_GETPEERNAME`: where only those have a program who send connections elsewhere.
const PEER: u32 = 29;
/// What ours is called there.
pub(super) const PEER_PROGRAM: &str = "peer4";
/// `BPF_PROG_QUERY` of `enum bpf_cmd`.
const PROG_QUERY: libc::c_long = 16;
/// `BPF_F_QUERY_EFFECTIVE`: with those of the cgroups above.
const EFFECTIVE: u32 = 1;
/// Programs of one hook that are listed: the kernel lets 64 be attached to one cgroup.
const MOST: usize = 256;

/// The beginning of `union bpf_attr` for `BPF_PROG_QUERY`.
#[repr(C)]
#[derive(Default)]
struct Query {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    pad: u32,
}

/// A hook that somebody has programs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hook {
    /// Its name.
    pub(crate) name: &'static str,
    /// Ids of the programs that run for the cgroup, in the order in which they do.
    pub(crate) effective: Vec<u32>,
    /// Those of them that are attached to the cgroup itself, and not to one above.
    pub(crate) attached: Vec<u32>,
}

/// Hooks of a cgroup that somebody has programs on.
///
/// # Errors
/// Without CAP_NET_ADMIN.
pub(crate) fn others(cgroup: BorrowedFd<'_>) -> io::Result<Vec<Hook>> {
    let mut all = Vec::new();
    for (name, hook) in HOOKS {
        let effective = match query(cgroup, hook, EFFECTIVE) {
            // A hook that this kernel does not have.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => continue,
            found => found?,
        };
        if !effective.is_empty() {
            all.push(Hook { name, effective, attached: query(cgroup, hook, 0)? });
        }
    }
    Ok(all)
}

/// Whose a program is that sends connections elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// A sidecar's, which is pinned there.
    Pinned(PathBuf),
    /// A sidecar's.
    Sidecar,
    /// No sidecar's.
    Other,
    /// Nobody told.
    Unknown,
}

/// Whose these programs are, by the pins below some folders, and by their names.
pub(crate) fn who(ids: &[u32], folders: &[PathBuf]) -> Vec<Who> {
    let (pinned, names) = (pinned_programs(folders), program_names());
    let who = |id| match (pinned.get(id), names.get(id).map(String::as_str)) {
        (Some(folder), _) => Who::Pinned(folder.clone()),
        (None, Some(PEER_PROGRAM)) => Who::Sidecar,
        (None, Some(_)) => Who::Other,
        (None, None) => Who::Unknown,
    };
    ids.iter().map(who).collect()
}

/// Programs that send a cgroup's connections elsewhere, as it seems: those that run on the hook that shows whom was asked for.
pub(super) fn steering(cgroup: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    query(cgroup, PEER, EFFECTIVE)
}

/// Names of programs of the machine by their ids; none without CAP_SYS_ADMIN. Those have none that were loaded without
/// CAP_PERFMON: aya finds out with a tracepoint's whether the kernel takes names.
pub(crate) fn program_names() -> BTreeMap<u32, String> {
    let programs = loaded_programs().map_while(Result::ok);
    let named = programs.filter_map(|program| Some((program.id(), program.name_as_str()?.to_owned())));
    named.filter(|(_, name)| !name.is_empty()).collect()
}

#[expect(unsafe_code, reason = "a command of bpf(2) without a wrapper")]
fn query(cgroup: BorrowedFd<'_>, attach_type: u32, query_flags: u32) -> io::Result<Vec<u32>> {
    let mut ids = [0_u32; MOST];
    let mut query = Query {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_type,
        query_flags,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: MOST as u32,
        ..Query::default()
    };
    // SAFETY: the kernel reads and writes `query`, which is as long as it is told, and as many ids as that says.
    let got = unsafe { libc::syscall(libc::SYS_bpf, PROG_QUERY, &raw mut query, size_of::<Query>()) };
    if got != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(ids[..MOST.min(query.prog_cnt as usize)].to_vec())
}

const _: () = assert!(size_of::<Query>() == 32);
