//! What the settings of `spans` mean to the tracer.

use sidecar_core::{
    config,
    signal::{IdSource, Root, Sampler, Tracer},
};

use crate::kernel::clock;

/// The tracer; `is_on` where spans have somewhere to go.
pub(super) fn tracer(settings: &config::Spans, is_on: bool) -> Tracer {
    Tracer::new(is_on, sampler(settings), IdSource::new(clock::seed()))
}

fn sampler(settings: &config::Spans) -> Sampler {
    use config::Sampler as Word;
    let by_ratio = Root::Ratio(settings.ratio.get());
    let (is_parent_based, root) = match settings.sampler {
        Word::AlwaysOn => (false, Root::AlwaysOn),
        Word::AlwaysOff => (false, Root::AlwaysOff),
        Word::TraceIdRatio => (false, by_ratio),
        Word::ParentBasedAlwaysOn => (true, Root::AlwaysOn),
        Word::ParentBasedAlwaysOff => (true, Root::AlwaysOff),
        Word::ParentBasedTraceIdRatio => (true, by_ratio),
    };
    Sampler { is_parent_based, root }
}
