//! What each observed cgroup costs, read when somebody asks.

use std::sync::{Mutex, PoisonError};

use sidecar_core::signal::application::{Application, Cpu};
use tracing::debug;

use crate::discovery::{pod::Found, usage::Account};

/// The accounts of what is observed at present.
#[derive(Default)]
pub(super) struct Accounts(Mutex<State>);

#[derive(Default)]
struct State {
    open: Vec<Open>,
    /// There were several at a time: from then on they are told apart.
    is_told_apart: bool,
    /// Processor time of those that were closed: an application that starts again goes on from where it was.
    departed: Cpu,
}

struct Open {
    id: u64,
    name: String,
    account: Account,
}

impl Accounts {
    /// Adds a cgroup.
    pub(super) fn open(&self, found: &Found) {
        match found.folder.try_clone() {
            Ok(folder) => {
                let (id, name) = (found.id, found.name.clone());
                let state = &mut *self.lock();
                state.open.push(Open { id, name, account: Account::of(folder) });
                state.is_told_apart |= state.open.len() > 1;
            }
            Err(error) => debug!(%error, "the cgroup's figures cannot be read"),
        }
    }

    /// Takes one away that is gone.
    pub(super) fn close(&self, id: u64) {
        let state = &mut *self.lock();
        for gone in state.open.extract_if(.., |one| one.id == id) {
            state.departed = plus(state.departed, gone.account.last_cpu());
        }
    }

    /// All of them, as they are now. Blocks: a few files each, and three for each process.
    pub(super) fn read(&self) -> Vec<Application> {
        let state = &mut *self.lock();
        let is_told_apart = state.is_told_apart;
        let read = |one: &mut Open| {
            let mut app = one.account.read();
            app.container = is_told_apart.then(|| one.name.clone());
            if let (Some((_, cpu)), false) = (&mut app.cpu, is_told_apart) {
                *cpu = plus(*cpu, state.departed);
            }
            app
        };
        state.open.iter_mut().map(read).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn plus(a: Cpu, b: Cpu) -> Cpu {
    Cpu { user_s: a.user_s + b.user_s, system_s: a.system_s + b.system_s }
}
