//! What is done about connections: from what the user asked for ([`Policy`](crate::model::policy::Policy)) to what the kernel
//! is told ([`Plan`]), and what of that is new ([`Change`]). Pure: who writes maps is `sidecar-user`'s `kernel`, who relays its `traffic`.

mod callers;
mod cover;
mod deal;
mod explain;
mod futile;
pub mod health;
mod limit;
pub mod names;
mod plan;
mod rules;
pub mod sources;

pub use callers::Caller;
pub use explain::{Candidate, Decides, Excepted, Explanation, Now, explain};
pub use futile::{Futile, crowded, futile};
pub use limit::{Over, Places};
pub use plan::{Change, Found, Full, Plan, Planner, Room, n_places};
