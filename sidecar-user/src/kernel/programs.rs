//! What there is to attach: one row a program.

use aya::{
    Btf,
    programs::{
        BtfTracePoint, CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, CgroupSock, CgroupSockAddr,
        ProgramError, SkLookup, SockOps, cgroup_skb::CgroupSkbLink, cgroup_sock::CgroupSockLink,
        cgroup_sock_addr::CgroupSockAddrLink, sk_lookup::SkLookupLink, sock_ops::SockOpsLink,
        tp_btf::BtfTracePointLink,
    },
};

use std::os::fd::BorrowedFd;

use super::caps::{Capability, with_perfmon};

/// A program of the BPF object and the hook it goes to.
#[derive(Debug)]
pub(crate) struct Program {
    /// Name in the object, as `bpftool prog` shows it.
    pub(crate) name: &'static str,
    /// The kernel's name of the hook.
    pub(crate) hook: &'static str,
    /// Without it there is nothing to see.
    pub(crate) needed: bool,
    /// What is lost without it.
    pub(crate) loses: &'static str,
    /// How to load and attach it.
    pub(super) kind: Kind,
}

/// aya's type for the program.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Skb(CgroupSkbAttachType),
    Sock,
    SockAddr,
    SockOps,
    SkLookup,
    /// By the kernel's name of it.
    Tracepoint(&'static str),
}

/// A program at work, on a cgroup, a network namespace or the whole node. Dropped, it is detached.
#[expect(dead_code, reason = "a link is held, not read")]
pub(super) enum Link {
    Skb(CgroupSkbLink),
    Sock(CgroupSockLink),
    SockAddr(CgroupSockAddrLink),
    SockOps(SockOpsLink),
    SkLookup(SkLookupLink),
    Tracepoint(BtfTracePointLink),
}

/// In the order of attaching: who makes a socket is known before its first packet is seen, and `sk_create` comes
/// first because the daemon learns its own identity through it. An application may be at work meanwhile: `tcp_ops` tells of a
/// connection's beginning only where its packets are seen from there on, and of a request only whose response is.
pub(crate) const ALL: &[Program] = &[
    Program {
        name: "sk_create",
        hook: "cgroup/sock_create",
        needed: false,
        loses: "the process of a socket",
        kind: Kind::Sock,
    },
    Program {
        name: "sk_bind4",
        hook: "cgroup/post_bind4",
        needed: false,
        loses: "the process of sockets older than the start",
        kind: Kind::Sock,
    },
    Program {
        name: "sk_bind6",
        hook: "cgroup/post_bind6",
        needed: false,
        loses: "the process of IPv6 sockets older than the start",
        kind: Kind::Sock,
    },
    Program {
        name: "sk_release",
        hook: "cgroup/sock_release",
        needed: false,
        loses: "telling cancelled connection attempts from unreachable peers",
        kind: Kind::Sock,
    },
    Program {
        name: "sk_connect4",
        hook: "cgroup/connect4",
        needed: false,
        loses: "the process of IPv4 clients older than the start",
        kind: Kind::SockAddr,
    },
    Program {
        name: "sk_connect6",
        hook: "cgroup/connect6",
        needed: false,
        loses: "the process of IPv6 clients older than the start",
        kind: Kind::SockAddr,
    },
    Program {
        name: "skb_out",
        hook: "cgroup_skb/egress",
        needed: true,
        loses: "everything that goes out",
        kind: Kind::Skb(CgroupSkbAttachType::Egress),
    },
    Program {
        name: "skb_in",
        hook: "cgroup_skb/ingress",
        needed: true,
        loses: "everything that comes in",
        kind: Kind::Skb(CgroupSkbAttachType::Ingress),
    },
    Program {
        name: "tcp_ops",
        hook: "sock_ops",
        needed: false,
        loses: "connections opened, closed and failed; requests on deferred-accept listeners",
        kind: Kind::SockOps,
    },
];

/// Only where the programs' own lines are asked for.
const LOG: Program = Program {
    name: "tcp_log",
    hook: "sock_ops",
    needed: false,
    loses: "the programs' own lines (kernels before 6.18 want CAP_PERFMON for them)",
    kind: Kind::SockOps,
};

/// Only where traffic is steered. `steer4` and `steer6` come last: until the others are there, nothing holds a place.
pub(crate) const STEERING: &[Program] = &[
    Program {
        name: "hand_over",
        hook: "sock_ops",
        needed: false,
        loses: "steering: the relay would not know where to",
        kind: Kind::SockOps,
    },
    Program {
        name: "steer_end",
        hook: "cgroup/sock_release",
        needed: false,
        loses: "steering: limits would never let go",
        kind: Kind::Sock,
    },
    Program {
        name: "peer4",
        hook: "cgroup/getpeername4",
        needed: false,
        loses: "steering: applications would see another peer than they asked for",
        kind: Kind::SockAddr,
    },
    Program {
        name: "peer6",
        hook: "cgroup/getpeername6",
        needed: false,
        loses: "steering: applications would see another peer than they asked for",
        kind: Kind::SockAddr,
    },
    Program {
        name: "steer4",
        hook: "cgroup/connect4",
        needed: false,
        loses: "steering of IPv4",
        kind: Kind::SockAddr,
    },
    Program {
        name: "steer6",
        hook: "cgroup/connect6",
        needed: false,
        loses: "steering of IPv6",
        kind: Kind::SockAddr,
    },
];

/// Only where something is denied or names are configured. The answers' side comes first.
pub(crate) const DATAGRAMS: &[Program] = &[
    Program {
        name: "hear4",
        hook: "cgroup/recvmsg4",
        needed: false,
        loses: "names: answers would come from another than was asked",
        kind: Kind::SockAddr,
    },
    Program {
        name: "hear6",
        hook: "cgroup/recvmsg6",
        needed: false,
        loses: "names: answers would come from another than was asked",
        kind: Kind::SockAddr,
    },
    Program {
        name: "say4",
        hook: "cgroup/sendmsg4",
        needed: false,
        loses: "names, and denying datagrams, of IPv4",
        kind: Kind::SockAddr,
    },
    Program {
        name: "say6",
        hook: "cgroup/sendmsg6",
        needed: false,
        loses: "names, and denying datagrams, of IPv6",
        kind: Kind::SockAddr,
    },
];

/// Only where traffic is steered, on the daemon's own cgroup: it sees to sockets that the relay accepts.
pub(crate) const TAKE_OVER: Program =
    Program { name: "take_over", hook: "sock_ops", needed: false, loses: "the relay", kind: Kind::SockOps };

/// Only where connections that come in are steered, on the daemon's network namespace.
pub(crate) const COME_IN: Program = Program {
    name: "come_in",
    hook: "sk_lookup",
    needed: false,
    loses: "steering of connections that come in",
    kind: Kind::SkLookup,
};

/// Only where it is asked for. It goes to the node, not to a cgroup.
pub(crate) const READS: Program = Program {
    name: "tcp_read",
    hook: "tp_btf/tcp_rcv_space_adjust",
    needed: false,
    loses: "telling the wait in the socket from work (capture.socket_wait)",
    kind: Kind::Tracepoint("tcp_rcv_space_adjust"),
};

/// What there is to attach to an application's cgroup, with or without the programs' own lines, steering or not, and
/// datagrams or not.
pub(super) fn wanted(
    with_log: bool,
    steers: bool,
    datagrams: bool,
) -> impl Iterator<Item = &'static Program> + Clone {
    // `hand_over` leaves at a socket who came in: before `tcp_ops` tells of the connection, at the same hook.
    let (first, steering) = STEERING.split_at(1);
    let (first, steering) = if steers { (first, steering) } else { (&[][..], &[][..]) };
    let datagrams = if steers && datagrams { DATAGRAMS } else { &[] };
    first.iter().chain(ALL).chain(with_log.then_some(&LOG)).chain(steering).chain(datagrams)
}

/// What steers an application's cgroup, and so is what may be pinned.
pub(super) fn steering() -> impl Iterator<Item = &'static Program> {
    STEERING.iter().chain(DATAGRAMS)
}

/// Whether a program of that name is one of [`steering`].
pub(super) fn steers(name: &str) -> bool {
    steering().any(|row| row.name == name)
}

/// Programs that tell what a process executes, and those in whose place they are.
const TELLING: [(&str, &str); 4] =
    [("steer4", "steer4_exe"), ("steer6", "steer6_exe"), ("say4", "say4_exe"), ("say6", "say6_exe")];

impl Program {
    /// What does its work where it must be told what a process executes, if that is another.
    pub(super) fn telling(&self) -> Option<&'static str> {
        TELLING.iter().find(|(name, _)| *name == self.name).map(|(_, telling)| *telling)
    }

    /// Whether it is one of [`steering`].
    pub(super) fn steers(&self) -> bool {
        steers(self.name)
    }

    /// Runs the verifier.
    pub(super) fn load(&self, program: &mut aya::programs::Program) -> Result<(), ProgramError> {
        match self.kind {
            Kind::Skb(_) => <&mut CgroupSkb>::try_from(program)?.load(),
            Kind::Sock => <&mut CgroupSock>::try_from(program)?.load(),
            Kind::SockAddr => <&mut CgroupSockAddr>::try_from(program)?.load(),
            Kind::SockOps => <&mut SockOps>::try_from(program)?.load(),
            Kind::SkLookup => <&mut SkLookup>::try_from(program)?.load(),
            Kind::Tracepoint(name) => {
                let kernels = Btf::from_sys_fs()?;
                let program = <&mut BtfTracePoint>::try_from(program)?;
                with_perfmon(|| program.load(name, &kernels))
            }
        }
    }

    /// What must be in effect for it.
    pub(super) fn capabilities(&self) -> &'static [Capability] {
        match self.kind {
            Kind::Tracepoint(_) => &[Capability::Bpf, Capability::Perfmon],
            _ => &Capability::NEEDED,
        }
    }

    /// Makes a link from the cgroup, or where that is the program's place from the network namespace, to the program. It lives no longer than this process. (`Single` is what
    /// `bpf_link_create` calls having no flags: links always add up.)
    pub(super) fn attach(
        &self,
        program: &mut aya::programs::Program,
        place: BorrowedFd<'_>,
    ) -> Result<Link, ProgramError> {
        let mode = CgroupAttachMode::Single;
        Ok(match self.kind {
            Kind::Skb(way) => {
                let program = <&mut CgroupSkb>::try_from(program)?;
                let id = program.attach(place, way, mode)?;
                Link::Skb(program.take_link(id)?)
            }
            Kind::Sock => {
                let program = <&mut CgroupSock>::try_from(program)?;
                let id = program.attach(place, mode)?;
                Link::Sock(program.take_link(id)?)
            }
            Kind::SockAddr => {
                let program = <&mut CgroupSockAddr>::try_from(program)?;
                let id = program.attach(place, mode)?;
                Link::SockAddr(program.take_link(id)?)
            }
            Kind::SockOps => {
                let program = <&mut SockOps>::try_from(program)?;
                let id = program.attach(place, mode)?;
                Link::SockOps(program.take_link(id)?)
            }
            Kind::SkLookup => {
                let program = <&mut SkLookup>::try_from(program)?;
                let id = program.attach(place)?;
                Link::SkLookup(program.take_link(id)?)
            }
            Kind::Tracepoint(_) => self.attach_to_node(program)?,
        })
    }

    /// The same for what knows no cgroup.
    pub(super) fn attach_to_node(&self, program: &mut aya::programs::Program) -> Result<Link, ProgramError> {
        let program = <&mut BtfTracePoint>::try_from(program)?;
        let id = with_perfmon(|| program.attach())?;
        Ok(Link::Tracepoint(program.take_link(id)?))
    }
}
