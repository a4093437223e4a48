//! What each observed cgroup costs, read when somebody asks.

use std::sync::{Mutex, PoisonError};

use sidecar_core::signal::application::Application;

use crate::discovery::usage::Account;

/// The accounts of what is observed at present.
#[derive(Default)]
pub(super) struct Accounts(Mutex<State>);

#[derive(Default)]
struct State {
    open: Vec<Open>,
}

struct Open {
    name: String,
    account: Account,
}

impl Accounts {
    /// Adds a cgroup. `name` tells it from others, if there are any.
    pub(super) fn open(&self, name: String, account: Account) {
        self.lock().open.push(Open { name, account });
    }

    /// All of them, as they are now. Blocks: a few files each, and three for each process.
    pub(super) fn read(&self) -> Vec<Application> {
        let state = &mut *self.lock();
        let is_several = state.open.len() > 1;
        let read = |one: &mut Open| {
            let mut app = one.account.read();
            app.container = is_several.then(|| one.name.clone());
            app
        };
        state.open.iter_mut().map(read).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
