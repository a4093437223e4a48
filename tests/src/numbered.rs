//! Load of which each request has a number of its own in its path, and its sender's account of each.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Instant,
};

use crate::{client::Client, nginx::Nginx};

/// A request that was answered with 200, as its sender knows it.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Its own.
    pub number: u64,
    /// The client's port.
    pub port: u16,
    /// Before its first byte was sent.
    pub began: Instant,
    /// After the last byte of its response was read.
    pub ended: Instant,
}

/// Requests, one after the other on each of several threads, until it is stopped. Whatever fails fails the test.
#[derive(Debug)]
pub struct Numbered {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Vec<Sent>>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    next: AtomicU64,
    n_answered: AtomicU64,
}

/// Bytes of a response, in turn: one packet, and several.
const SIZES: [usize; 4] = [100, 1_000, 60_000, 100];

impl Numbered {
    /// Starts `kept` threads that keep their connection, and `each` that make one for each request.
    #[must_use]
    pub fn start(nginx: &Nginx, kept: usize, each: usize) -> Numbered {
        let shared = Arc::new(Shared::default());
        let thread = |keeps: bool| {
            let (nginx, shared) = (nginx.clone(), Arc::clone(&shared));
            thread::spawn(move || shared.send(&nginx, keeps))
        };
        let threads = (0..kept + each).map(|n| thread(n < kept)).collect();
        Numbered { shared, threads }
    }

    /// Responses so far.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.shared.n_answered.load(Ordering::Relaxed)
    }

    /// Waits for `n` more.
    pub fn go_on(&self, n: u64) {
        let until = self.answered() + n;
        crate::eventually("more requests to be answered", || {
            assert!(!self.threads.iter().any(JoinHandle::is_finished), "a client failed");
            (self.answered() >= until).then_some(())
        });
    }

    /// Finishes what is under way. Every request that was sent.
    #[must_use]
    pub fn stop(self) -> Vec<Sent> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().flat_map(|thread| thread.join().expect("a client failed")).collect()
    }
}

impl Shared {
    fn send(&self, nginx: &Nginx, keeps: bool) -> Vec<Sent> {
        let (mut sent, mut client) = (Vec::new(), None);
        while !self.stop.load(Ordering::Relaxed) {
            let mut open = client.take().unwrap_or_else(|| Client::connect(nginx));
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let (port, began) = (open.port(), Instant::now());
            assert_eq!(open.get(&path(number)), 200, "request {number}");
            sent.push(Sent { number, port, began, ended: Instant::now() });
            self.n_answered.fetch_add(1, Ordering::Relaxed);
            client = keeps.then_some(open);
        }
        sent
    }
}

fn path(number: u64) -> String {
    format!("numbered/{}/{number}", SIZES[number as usize % SIZES.len()])
}

/// The number in a path (`url.path`) of such a request.
#[must_use]
pub fn number(path: &str) -> Option<u64> {
    path.strip_prefix("/numbered/")?.split_once('/')?.1.parse().ok()
}
