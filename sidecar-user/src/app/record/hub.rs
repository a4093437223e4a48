//! The recording that goes on, on the capture thread, which waits for nobody: a reader that does not keep up loses packets, and
//! they are counted.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use sidecar_core::{
    flow::Flows,
    record::{LeftOut, Recorder, Wish},
    signal::{Store, catalogue, reason::RecordLeftOut},
};
use tokio::sync::mpsc::{Receiver, Sender, channel, error::TrySendError};

use crate::kernel::clock;

/// Bytes that are passed on at once, between two records.
const CHUNK: usize = 64 << 10;
/// Chunks that wait for a reader.
const QUEUE: usize = 64;

/// The one that goes on, and what was left out of all.
#[derive(Default)]
pub(crate) struct Recordings {
    open: Option<Open>,
    /// Of those that are over, by [`RecordLeftOut`].
    left_out: [u64; 3],
}

struct Open {
    chunks: Sender<Bytes>,
    left_out: Arc<Counts>,
    /// Packets that found no room in the queue.
    n_slow: u64,
}

/// What a reader does not get, by [`RecordLeftOut`].
#[derive(Debug, Default)]
pub(crate) struct Counts([AtomicU64; 3]);

/// What a reader gets.
pub(crate) struct Recording {
    pub(crate) chunks: Receiver<Bytes>,
    pub(crate) left_out: Arc<Counts>,
}

impl Counts {
    /// So far.
    pub(crate) fn read(&self) -> [u64; 3] {
        self.0.each_ref().map(|n| n.load(Ordering::Relaxed))
    }
}

impl Recordings {
    /// Begins one, unless another goes on.
    pub(crate) fn open(&mut self, wish: Wish, flows: &mut Flows) -> Option<Recording> {
        self.pass_on(flows);
        if self.open.is_some() {
            return None;
        }
        let (sender, chunks) = channel(QUEUE);
        let left_out = Arc::<Counts>::default();
        self.open = Some(Open { chunks: sender, left_out: Arc::clone(&left_out), n_slow: 0 });
        flows.record(Recorder::new(wish, clock::unix_offset()));
        Some(Recording { chunks, left_out })
    }

    /// Passes on what there is, where it is much.
    pub(crate) fn relieve(&mut self, flows: &mut Flows) {
        if flows.recorder().is_some_and(|recorder| recorder.len() >= CHUNK) {
            self.pass_on(flows);
        }
    }

    /// Passes on what there is; ends the recording where nobody reads it any more, or it may have no more.
    pub(crate) fn pass_on(&mut self, flows: &mut Flows) {
        let (Some(open), Some(recorder)) = (&mut self.open, flows.recorder()) else { return };
        let is_over = open.pass_on(recorder) || recorder.is_full();
        if is_over && let Some(mut recorder) = flows.end_record() {
            open.pass_on(&mut recorder);
            let sums = open.left_out.read();
            self.left_out.iter_mut().zip(sums).for_each(|(sum, n)| *sum += n);
            self.open = None;
        }
    }

    /// Brings what was left out into the store.
    pub(crate) fn record(&self, store: &mut Store) {
        let open = self.open.as_ref().map_or([0; 3], |open| open.left_out.read());
        for ((reason, n), more) in RecordLeftOut::WORDS.iter().zip(self.left_out).zip(open) {
            store.set(&catalogue::RECORD_LEFT_OUT, &[reason], n + more);
        }
    }
}

impl Open {
    /// Says whether nobody reads it any more.
    fn pass_on(&mut self, recorder: &mut Recorder) -> bool {
        let mut is_closed = self.chunks.is_closed();
        if !recorder.is_empty() {
            let (chunk, n_packets) = recorder.take();
            match self.chunks.try_send(chunk.into()) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => self.n_slow += n_packets,
                Err(TrySendError::Closed(_)) => is_closed = true,
            }
        }
        let LeftOut { full, waiting } = recorder.left_out();
        for (count, n) in self.left_out.0.iter().zip([full, self.n_slow, waiting]) {
            count.store(n, Ordering::Relaxed);
        }
        is_closed
    }
}
