//! Load of which each request has a number of its own in its path, and its sender's account of each.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Instant,
};

use crate::{client::Client, nginx::Nginx, otlp::Span};

/// A request that was answered with 200, as its sender knows it.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Its own.
    pub number: u64,
    /// The client's port.
    pub port: u16,
    /// Its connection was kept for the next one.
    pub keeps: bool,
    /// Before its first byte was sent.
    pub began: Instant,
    /// After the last byte of its response was read.
    pub ended: Instant,
}

/// Requests, one after the other on each of several threads, until it is stopped. Whatever fails fails the test.
#[derive(Debug)]
pub struct Numbered {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<(Vec<Sent>, Option<Client>)>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    next: AtomicU64,
    n_answered: AtomicU64,
}

/// Bytes of a response, in turn: one packet each.
pub const SMALL: [usize; 2] = [100, 1_000];
/// Bytes of a response, in turn: one packet, and several.
pub const MIXED: [usize; 4] = [100, 1_000, 60_000, 100];

impl Numbered {
    /// Starts `kept` threads that keep their connection, and `each` that make one for each request. They ask for these sizes
    /// of [`crate::nginx::SIZES`].
    #[must_use]
    pub fn start(nginx: &Nginx, sizes: &'static [usize], kept: usize, each: usize) -> Numbered {
        let shared = Arc::new(Shared::default());
        // All are connected before the first asks.
        let clients: Vec<_> = (0..kept + each).map(|n| (n < kept).then(|| Client::connect(nginx))).collect();
        let thread = |client: Option<Client>| {
            let (nginx, shared) = (nginx.clone(), Arc::clone(&shared));
            thread::spawn(move || shared.send(&nginx, sizes, client))
        };
        let threads = clients.into_iter().map(thread).collect();
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

    /// Finishes what is under way. Every request that was sent; the connections that were kept are closed.
    #[must_use]
    pub fn stop(self) -> Vec<Sent> {
        self.rest().0
    }

    /// The same, and the connections that were kept, open.
    #[must_use]
    pub fn rest(self) -> (Vec<Sent>, Vec<Client>) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let ended = self.threads.into_iter().map(|thread| thread.join().expect("a client failed"));
        let (sent, clients): (Vec<_>, Vec<_>) = ended.unzip();
        (sent.concat(), clients.into_iter().flatten().collect())
    }
}

impl Shared {
    /// On this connection, or where there is none on one for each request.
    fn send(&self, nginx: &Nginx, sizes: &[usize], kept: Option<Client>) -> (Vec<Sent>, Option<Client>) {
        let (mut sent, keeps, mut client) = (Vec::new(), kept.is_some(), kept);
        while !self.stop.load(Ordering::Relaxed) {
            let mut open = client.take().unwrap_or_else(|| Client::connect(nginx));
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let (port, began) = (open.port(), Instant::now());
            let size = sizes[number as usize % sizes.len()];
            assert_eq!(open.get(&format!("numbered/{size}/{number}")), 200, "request {number}");
            sent.push(Sent { number, port, keeps, began, ended: Instant::now() });
            self.n_answered.fetch_add(1, Ordering::Relaxed);
            client = keeps.then_some(open);
        }
        (sent, client)
    }
}

/// The requests that became spans, by number: for each span the name that its daemon gives the application. Panics on a span
/// of anything else.
#[must_use]
pub fn told(spans: &[Span]) -> BTreeMap<u64, Vec<String>> {
    let number =
        |path: &str| -> Option<u64> { path.strip_prefix("/numbered/")?.split_once('/')?.1.parse().ok() };
    let mut told: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for span in spans {
        let path = &span.attributes["url.path"];
        let number = number(path).unwrap_or_else(|| panic!("{path} was not asked for"));
        told.entry(number).or_default().push(span.resource["service.name"].clone());
    }
    told
}
