//! Values of attributes that come from a fixed set, each with its meaning. Who counts takes the words from here, and so
//! does `docs/metrics.md`.

use crate::model::{self, Outcome};

/// An enum whose variants are such values: each with its word, and its meaning as a sentence without a stop.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($variant:ident $word:literal $meaning:literal)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $(#[doc = $meaning] $variant,)+
        }

        impl $name {
            /// The attribute's values, in the order of the variants' numbers.
            pub const WORDS: [&'static str; [$($word),+].len()] = [$($word),+];
            /// What they mean, in the same order.
            pub(super) const MEANINGS: [&'static str; [$($word),+].len()] = [$($meaning),+];

            /// The attribute's value.
            #[must_use]
            pub const fn word(self) -> &'static str {
                Self::WORDS[self as usize]
            }
        }
    };
}

words! {
    /// `sidecar.outcome`: an [`Outcome`] without what caused it.
    Ended {
        Complete "complete" "the response was seen to its end, or to where its connection properly ended it"
        Truncated "truncated" "the connection ended when the response had begun, before it was whole"
        Unanswered "unanswered" "the connection ended before a response began"
        NotObserved "not_observed" "the response went by in bytes that were not captured"
        Aborted "aborted" "the connection ended before the request was whole, and no response had begun"
    }
}

impl From<Outcome> for Ended {
    fn from(outcome: Outcome) -> Ended {
        match outcome {
            Outcome::Complete => Ended::Complete,
            Outcome::Truncated(_) => Ended::Truncated,
            Outcome::Unanswered(_) => Ended::Unanswered,
            Outcome::NotObserved => Ended::NotObserved,
            Outcome::Aborted(_) => Ended::Aborted,
        }
    }
}

words! {
    /// `sidecar.decision`.
    Decided {
        Sampled "sampled" "it became a span"
        NotSampled "not_sampled" "the sampler left it out"
        Instrumented "instrumented" "the application traces itself"
        Export "export" "it is an export of the application's own telemetry"
    }
}

words! {
    /// `error.type` of an attempt to connect, in the order of [`crate::model::Failure`] and of the kernel's `FAILED_…`.
    ConnectFailed {
        Refused "connection_refused" "the peer answered with RST"
        Timeout "timeout" "nothing answered until the kernel gave up"
        Cancelled "cancelled" "the application closed the socket first"
        Unreachable "host_unreachable" "an ICMP error said that host or network cannot be reached"
    }
}

words! {
    /// `sidecar.reason` of a connection that did not end by FIN both ways, in the order of the kernel's `END_…`, less one.
    CutOff {
        Received "received" "the peer sent RST"
        Sent "sent" "the application's side sent RST"
        Timeout "timeout" "the peer acknowledged nothing until the kernel gave up"
    }
}

words! {
    /// `sidecar.reason` of `sidecar.capture.drops`.
    Drop {
        RingFull "ring_full" "the ring buffer had no room"
        Unreadable "unreadable" "the kernel could not read the packet's payload"
        Headers "headers" "the packet's headers could not be read to their end"
        NoStorage "no_storage" "the kernel had no memory for the connection's state: it is not seen"
        Denials "denials" "a refused connection was not told of by itself, as others were or the ring was crowded: it is counted in `sidecar.traffic.connections`"
        MalformedRecord "malformed_record" "the record is none that this build's programs write"
        UnknownConnection "unknown_connection" "its connection is not followed"
        TableFull "table_full" "as many connections as may be are followed (`capture.connections`)"
        MemoryFull "memory_full" "all connections together held too much (`capture.held_bytes`): this one is read no further"
        ReorderFull "reorder_full" "too much waited behind a hole, which was given up"
        ListenLost "listen_lost" "data on a listening socket found no room to wait for its connection, or waited in vain"
        VerdictFull "verdict_full" "the kernel's map of verdicts had no room: the connection's budget stays the default one"
        IdledOut "idled_out" "the connection was forgotten before its end was seen"
    }
}

words! {
    /// `sidecar.reason` of `sidecar.tap.left_out`.
    TapLeftOut {
        Rate "rate" "more came in a second than was asked for (`sidecar tap --rate`)"
        Slow "slow" "whoever reads it reads too slowly"
    }
}

words! {
    /// `sidecar.reason` of `sidecar.record.left_out`.
    RecordLeftOut {
        Full "full" "the recording has as many bytes as it may (`sidecar record --max-bytes`), and ends"
        Slow "slow" "whoever reads it reads too slowly"
        Waiting "waiting" "too much waited for what would be told of it: the recording says only how long it was"
    }
}

words! {
    /// `sidecar.reason` of `sidecar.parser.oddities`.
    Oddity {
        OrphanResponse "orphan_response" "a response to no request that is known"
        Malformed "malformed" "a head, or a chunk, that is not well-formed"
        Oversized "oversized" "a head longer than is held, or than what was copied of it"
        OutstandingFull "outstanding_full" "more requests without a response than are held: the connection is read no further"
        Resync "resync" "the place in the bytes was lost, and found again"
        Unresolved "unresolved" "what was told before the connection was met, or in bytes that were lost, was referred to: a header table's field, a prepared statement"
    }
}

words! {
    /// `sidecar.reason` of exchanges and connections that are left out.
    Excluded {
        Port "port" "the server's port is in `exclude.ports`"
        Peer "peer" "the other end is in `exclude.peers`"
        Path "path" "the path is in `exclude.paths`"
    }
}

words! {
    /// Why pushed items were not taken, the last of several tries.
    Failed {
        Connection "connection" "no connection could be made, or it broke before there was an answer"
        Timeout "timeout" "there was no answer in time"
        Unavailable "unavailable" "the receiver said: not now"
        Refused "refused" "the receiver said: never"
        BadAnswer "bad_answer" "the answer was not understood"
        Rejected "rejected" "the receiver said so of these items, and took the others"
        Encoding "encoding" "they could not be made into a request"
    }
}

words! {
    /// Why items were never pushed.
    Dropped {
        QueueFull "queue_full" "the queue was full"
        Shutdown "shutdown" "the end came first: the deadline passed, or the receiver did not answer any more"
        SwitchedOff "switched_off" "new settings name no receiver any more"
    }
}

words! {
    /// `sidecar.verdict`, in the order of the kernel's `VERDICT_…`.
    Verdict {
        Undecided "undecided" "nothing was decided"
        Direct "direct" "one of the service's endpoints was written into the address"
        Proxied "proxied" "it went to the relay"
        Passed "passed" "it went where it asked"
        Denied "denied" "it was refused"
    }
}

impl From<model::Verdict> for Verdict {
    fn from(verdict: model::Verdict) -> Verdict {
        match verdict {
            model::Verdict::Direct => Verdict::Direct,
            model::Verdict::Proxied => Verdict::Proxied,
            model::Verdict::Passed => Verdict::Passed,
            model::Verdict::Denied => Verdict::Denied,
        }
    }
}

words! {
    /// `sidecar.reason` of what became of a connection that was asked for, in the order of the kernel's `REASON_…`.
    Steered {
        Gear "gear" "the service's gear says so"
        NoRule "no_rule" "no service has this destination"
        Exception "exception" "the service excepts this destination, or whoever asks"
        Netns "netns" "no listener of the daemon is in the socket's network namespace"
        Device "device" "the socket is bound to a device, and would not come back from loopback"
        NoEndpoint "no_endpoint" "the service has no endpoint of the socket's address family"
        Daemon "daemon" "the daemon is gone, or shows no sign of life"
        ConnectionLimit "connection_limit" "as many connections as `limits.connections` allows were open"
        RateLimit "rate_limit" "connections came faster than `limits.rate` allows"
        Protocol "protocol" "it is not TCP, and the service does not deny: a UDP socket that is connected; datagrams of others only once something is denied or has a name"
        NoMemory "no_memory" "the kernel had no memory for the socket's state"
        Dns "dns" "it is a question of the DNS: the daemon answers, or asks on"
        Resolvers "resolvers" "more resolvers are asked than are told apart: this one answers itself"
        FirstUse "first_use" "the service begins with its first use, and its endpoints were not known yet"
        Local "local" "it came from an address of the host itself, loopback's among them: `traffic.inbound` leaves that alone"
    }
}

impl From<model::Reason> for Steered {
    fn from(reason: model::Reason) -> Steered {
        match reason {
            model::Reason::Gear => Steered::Gear,
            model::Reason::NoRule => Steered::NoRule,
            model::Reason::Exception => Steered::Exception,
            model::Reason::Netns => Steered::Netns,
            model::Reason::Device => Steered::Device,
            model::Reason::NoEndpoint => Steered::NoEndpoint,
            model::Reason::Daemon => Steered::Daemon,
            model::Reason::ConnectionLimit => Steered::ConnectionLimit,
            model::Reason::RateLimit => Steered::RateLimit,
            model::Reason::Protocol => Steered::Protocol,
            model::Reason::NoMemory => Steered::NoMemory,
            model::Reason::Dns => Steered::Dns,
            model::Reason::Resolvers => Steered::Resolvers,
            model::Reason::FirstUse => Steered::FirstUse,
            model::Reason::Local => Steered::Local,
        }
    }
}

words! {
    /// `sidecar.outcome` of `sidecar.dns.queries`.
    DnsOutcome {
        Answered "answered" "with a virtual address"
        NoData "no_data" "the name is a service's, and has none of what was asked for"
        Refused "refused" "with an error: it was malformed, or of a kind that is not answered"
        Forwarded "forwarded" "the resolver that was asked was asked"
    }
}

words! {
    /// `sidecar.reason` of ejections, in the order of [`crate::model::health::Cause`].
    Ejected {
        Errors "errors" "it answered with a server's error (HTTP 5xx), in a row"
        CutOff "cut_off" "it ended connections before its answer was whole, in a row"
        Slow "slow" "its answers began later than `health.slow` allows, in a row"
        FailureShare "failure_share" "too many of the exchanges with it failed (`health.failure_percent`)"
        Connect "connect" "it could not be connected to, in a row or too often"
        Reset "reset" "it reset connections, or fell silent on them, where requests are not read"
        Probe "probe" "it answered probes badly, in a row"
    }
}

words! {
    /// `sidecar.reason` of `sidecar.dns.failures`.
    DnsFailed {
        Malformed "malformed" "it was no question: nobody answers"
        Stranger "stranger" "nobody had sent it to a resolver: nobody answers"
        Full "full" "too many were under way: nobody answers"
        Timeout "timeout" "the resolver did not answer"
        Unreachable "unreachable" "the resolver could not be asked: the application was told so"
        Mismatched "mismatched" "what came in the resolver's name was not its answer, and was left alone"
        NotSteered "not_steered" "the answer's addresses could not be made the service's: the application was told that there is none"
        Unsent "unsent" "an answer could not be sent to the client"
        Shared "shared" "an address of a service's name is another service's, too, at one port: the first in the file gets its connections"
        NoEndpoints "no_endpoints" "the service's sources did not tell of its endpoints in time: the application was told that there is no answer"
    }
}

words! {
    /// `sidecar.reason` of `sidecar.traffic.source.failures`, in the order of [`crate::model::policy::SourceFailed`].
    SourceFails {
        Timeout "timeout" "no resolver answered in time"
        Unreachable "unreachable" "no resolver could be asked"
        Refused "refused" "a resolver said that it cannot answer, or will not (SERVFAIL, REFUSED)"
        Malformed "malformed" "what came was no answer"
        Unreadable "unreadable" "the file cannot be read"
        Invalid "invalid" "the file is no list of endpoints"
        NotSteered "not_steered" "the kernel did not take what was told"
    }
}

words! {
    /// `sidecar.reason` of `sidecar.traffic.source.left_out`.
    EndpointLeftOut {
        Duplicate "duplicate" "the source told of the address before"
        Unusable "unusable" "nobody can be at the address: it is everybody's, a group's, or of one link"
        TooMany "too_many" "a service has no more than 512"
    }
}

words! {
    /// `sidecar.state` of answers to probes.
    Answered {
        Good "good" "as a healthy one answers"
        Bad "bad" "in any other way, or not in time"
    }
}

words! {
    /// `sidecar.traffic.direction`.
    Direction {
        Outbound "outbound" "the application connects"
        Inbound "inbound" "somebody connects to the application"
    }
}

words! {
    /// `sidecar.reason` of `sidecar.relay.refused`.
    RelayRefused {
        Connections "connection_limit" "it came in while as many as `limits.connections` allows were open"
        Rate "rate_limit" "they came in faster than `limits.rate` allows"
    }
}

words! {
    /// `sidecar.reason` of `sidecar.relay.failures`.
    RelayFailed {
        Stranger "stranger" "nobody had handed the connection over: it was closed"
        Unreachable "unreachable" "the destination could not be reached: the client's connection was reset"
        Broken "broken" "either side broke the connection off: the other one's was reset"
        Accept "accept" "no connection could be accepted, such as for want of descriptors"
        NoPort "no_port" "no local port was left towards the destination (EADDRNOTAVAIL): the client's connection was reset"
        Descriptors "descriptors" "as many as the daemon's file descriptors are enough for were open: it was reset"
        ClientUnknown "client_unknown" "the kernel had no memory for who came in: the connection was carried, and the application took the relay for its client"
    }
}
