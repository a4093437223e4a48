//! The process's own limits.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// As many descriptors as everybody may have who asks. The usual 1,024 are for programs that use `select(2)`, which this one does
/// not; the relay takes two for each connection.
pub(super) fn raise_descriptors() {
    let usual = getrlimit(Resource::Nofile);
    if usual.current == usual.maximum {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: usual.maximum, ..usual }) {
        warn!(%error, descriptors = usual.current, "no more file descriptors were given");
    }
}
