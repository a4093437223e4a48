//! Which exchanges become spans: the samplers of OpenTelemetry's tracing SDK specification ("Sampling"), and none
//! besides. Pure: the decision depends on the trace id and on what the request's sender decided.

use crate::model::TraceParent;

/// W3C Trace Context, "sampled" flag.
pub(super) const SAMPLED: u8 = 1;

/// What decides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// A request that belongs to a trace follows its sender's decision; `root` decides of the others only.
    pub is_parent_based: bool,
    /// Decides of traces that begin here; where `is_parent_based` is not set, of all.
    pub root: Root,
}

/// A decision without regard to a parent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Root {
    /// All.
    AlwaysOn,
    /// None.
    AlwaysOff,
    /// This share of all trace ids, 0 to 1. The same ids everywhere: see [`Sampler::samples`].
    Ratio(f64),
}

impl Default for Sampler {
    /// `parentbased_always_on`, the specification's default.
    fn default() -> Self {
        Sampler { is_parent_based: true, root: Root::AlwaysOn }
    }
}

impl Sampler {
    /// Whether a request of this trace becomes a span.
    ///
    /// By ratio, the lower 63 of the random bits that W3C Trace Context wants at a trace id's end are compared with the
    /// ratio. OpenTelemetry's SDKs for Rust and Go do the same, so that all of them sample the same traces.
    #[must_use]
    pub fn samples(&self, trace: [u8; 16], parent: Option<&TraceParent>) -> bool {
        match (parent, self.root) {
            (Some(parent), _) if self.is_parent_based => parent.flags & SAMPLED != 0,
            (_, Root::AlwaysOn) => true,
            (_, Root::AlwaysOff) => false,
            (_, Root::Ratio(ratio)) if ratio >= 1.0 => true,
            (_, Root::Ratio(ratio)) => {
                let low = u128::from_be_bytes(trace) as u64;
                low >> 1 < (ratio.max(0.0) * (1u64 << 63) as f64) as u64
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(low: u64) -> [u8; 16] {
        (u128::from(7u64) << 64 | u128::from(low)).to_be_bytes()
    }

    #[test]
    fn decisions() {
        let parent = |flags| Some(TraceParent { trace: trace(9), span: [1; 8], flags });
        let (first, last) = (trace(2), trace(u64::MAX));
        for (is_parent_based, root, id, parent, expected) in [
            (true, Root::AlwaysOn, last, None, true),
            (true, Root::AlwaysOn, last, parent(1), true),
            (true, Root::AlwaysOn, last, parent(0), false),
            (true, Root::AlwaysOn, last, parent(0xfe), false),
            (true, Root::AlwaysOff, first, None, false),
            (true, Root::AlwaysOff, first, parent(1), true),
            (true, Root::Ratio(0.0), first, parent(3), true),
            (true, Root::Ratio(1.0), first, parent(2), false),
            (true, Root::Ratio(0.5), first, None, true),
            (true, Root::Ratio(0.5), last, None, false),
            (false, Root::AlwaysOn, last, parent(0), true),
            (false, Root::AlwaysOff, first, parent(1), false),
            (false, Root::Ratio(0.5), first, parent(0), true),
            (false, Root::Ratio(0.5), last, parent(1), false),
            (false, Root::Ratio(1.0), last, None, true),
            (false, Root::Ratio(0.0), trace(0), None, false),
        ] {
            let sampler = Sampler { is_parent_based, root };
            assert_eq!(sampler.samples(id, parent.as_ref()), expected, "{sampler:?} {parent:?}");
        }
    }
}
