//! Whoever else steers what is observed: looked for at the start, and again as long as there is somebody.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::{Duration, Instant},
};

use tracing::{info, warn};

use crate::{
    discovery::host,
    kernel::{self, Who},
};

/// The kernel lets go of a daemon's programs somewhat later than that ends.
const SETTLED: Duration = Duration::from_millis(500);

/// Programs of others.
#[derive(Default)]
pub(super) struct Others {
    /// By their ids.
    seen: BTreeMap<u32, Seen>,
    /// Of these it is told already why they are not ours.
    refused: BTreeSet<u32>,
    told: String,
}

struct Seen {
    since: Instant,
    who: Who,
    is_settled: bool,
}

/// What is to be known of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// In words.
    pub(super) text: String,
    /// It is a policy that nobody is left to look after.
    pub(super) is_left: bool,
}

impl Others {
    /// All but those that are pinned in a folder which was not taken.
    pub(super) fn but_of(refused: Option<PathBuf>) -> Others {
        let refused = refused.map(|folder| kernel::pinned_programs(&[folder]).into_keys().collect());
        Others { refused: refused.unwrap_or_default(), ..Others::default() }
    }

    /// Whether there is somebody.
    pub(super) fn is_any(&self) -> bool {
        self.seen.values().any(|seen| !seen.is_settled || seen.who != Who::Other)
    }

    /// Takes in which programs there are now, and logs what is new.
    pub(super) fn look(&mut self, ids: &BTreeSet<u32>, now: Instant) -> Option<Told> {
        self.seen.retain(|id, _| ids.contains(id));
        for id in ids.difference(&self.refused) {
            let new = Seen { since: now, who: Who::Unknown, is_settled: false };
            self.seen.entry(*id).or_insert(new);
        }
        let unsettled = self.seen.iter().filter(|(_, seen)| !seen.is_settled);
        let unsettled: Vec<_> = unsettled.map(|(id, _)| *id).collect();
        if !unsettled.is_empty() {
            let who = kernel::who(&unsettled, &host::bpf_mounts());
            for (id, who) in unsettled.into_iter().zip(who) {
                let Some(seen) = self.seen.get_mut(&id) else { continue };
                seen.is_settled = now.saturating_duration_since(seen.since) >= SETTLED;
                // Names are shown at the start only, before capabilities were dropped.
                if who != Who::Unknown {
                    seen.who = who;
                }
            }
        }
        let folders: BTreeSet<_> = self
            .seen
            .values()
            .filter_map(|seen| if let Who::Pinned(folder) = &seen.who { Some(folder) } else { None })
            .collect();
        let is_left = folders.iter().any(|folder| kernel::is_left(folder));
        let pinned = folders.iter().map(|folder| {
            let folder = folder.display();
            format!("what is pinned at {folder}: `sidecar unpin {folder}` ends it, where no daemon is at work with it")
        });
        let running =
            self.seen.iter().filter(|(_, seen)| seen.is_settled).filter_map(|(id, seen)| match seen.who {
                Who::Sidecar => Some(format!("another sidecar that runs (program {id})")),
                Who::Unknown => Some(format!("program {id}: whose it is is not known, a sidecar's perhaps")),
                Who::Pinned(_) | Who::Other => None,
            });
        let text = pinned.chain(running).collect::<Vec<_>>().join("; ");
        if text != self.told {
            match text.as_str() {
                "" => info!("nobody else steers what is observed any more"),
                text => warn!(
                    others = text,
                    "others send connections of what is observed elsewhere, too: each goes by what both say"
                ),
            }
            self.told.clone_from(&text);
        }
        (!text.is_empty()).then_some(Told { text, is_left })
    }
}
