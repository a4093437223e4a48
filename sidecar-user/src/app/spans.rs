//! What the settings of `spans` mean to the tracer.

use sidecar_core::{
    config,
    signal::{App, IdSource, IfInstrumented, Instrumented, Root, Sampler, Scope, Tracer},
};
use tracing::info;

use crate::{discovery::kin, kernel::clock};

/// Whether spans have somewhere to go.
pub(super) fn are_wanted(settings: &config::Config) -> bool {
    settings.otlp.to_traces().is_some()
}

/// The tracer.
pub(super) fn tracer(settings: &config::Config) -> Tracer {
    let is_on = are_wanted(settings);
    let settings = &settings.spans;
    let scope = if kin::can_be_looked_up() { Scope::Process } else { Scope::Cgroup };
    let ids = IdSource::new(clock::seed());
    Tracer::new(is_on, sampler(settings), ids, Instrumented::new(scope), if_instrumented(settings))
}

/// What is done about an application that traces itself.
pub(super) fn if_instrumented(settings: &config::Spans) -> IfInstrumented {
    match settings.instrumented {
        config::Instrumented::Detect => IfInstrumented::Skip,
        config::Instrumented::Assume => IfInstrumented::Assume,
        config::Instrumented::Ignore => IfInstrumented::Ignore,
    }
}

/// Says that an application was seen to trace itself. A server's sockets may be its parent's, as where workers share
/// one listener: they are the same application.
pub(super) fn tell(app: App, tracer: &mut Tracer) {
    let (mut pid, mut cgroup_id) = (None, None);
    match app {
        App::Process(tgid) => {
            pid = Some(tgid);
            let parents: Vec<_> = kin::parents(tgid).into_iter().map(App::Process).collect();
            tracer.add_kin(app, &parents);
        }
        App::Cgroup(id) => cgroup_id = Some(id),
    }
    info!(pid, cgroup_id, "the application exports traces of its own: see spans.instrumented");
}

/// Who decides which requests become spans.
pub(super) fn sampler(settings: &config::Spans) -> Sampler {
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
