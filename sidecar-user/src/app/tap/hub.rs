//! Who is told of exchanges as they end. On the capture thread, which waits for nobody: a reader that does not keep up loses
//! lines, and they are counted.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use sidecar_core::{
    model::{Connection, Exchange, Ktime},
    signal::{Store, catalogue, reason::TapLeftOut},
    told::Told,
};
use tokio::sync::mpsc::{Receiver, Sender, channel, error::TrySendError};

use super::Wish;
use crate::kernel::clock;

/// Readers at once.
pub(crate) const READERS: usize = 4;
/// Lines that wait for one.
const QUEUE: usize = 512;
const SECOND_NS: u64 = 1_000_000_000;

/// All readers.
#[derive(Default)]
pub(crate) struct Taps {
    readers: Vec<Reader>,
    /// Of those that are gone, too.
    left_out: [u64; 2],
}

struct Reader {
    wish: Wish,
    lines: Sender<Bytes>,
    left_out: Arc<LeftOut>,
    /// The second that is counted, and lines in it.
    second: u64,
    n_in_second: u64,
}

/// What a reader is not told of, by [`TapLeftOut`].
#[derive(Debug, Default)]
pub(crate) struct LeftOut([AtomicU64; 2]);

/// What a reader gets.
pub(crate) struct Tap {
    pub(crate) lines: Receiver<Bytes>,
    pub(crate) left_out: Arc<LeftOut>,
}

impl LeftOut {
    /// So far.
    pub(crate) fn read(&self) -> [u64; 2] {
        self.0.each_ref().map(|n| n.load(Ordering::Relaxed))
    }
}

impl Taps {
    /// Another reader, if there is a place.
    pub(crate) fn open(&mut self, wish: Wish) -> Option<Tap> {
        self.readers.retain(|reader| !reader.lines.is_closed());
        if self.readers.len() >= READERS {
            return None;
        }
        let (sender, lines) = channel(QUEUE);
        let left_out = Arc::<LeftOut>::default();
        let told = Arc::clone(&left_out);
        self.readers.push(Reader { wish, lines: sender, left_out: told, second: 0, n_in_second: 0 });
        Some(Tap { lines, left_out })
    }

    /// Nobody reads.
    pub(crate) fn is_empty(&self) -> bool {
        self.readers.is_empty()
    }

    /// An exchange is over.
    pub(crate) fn tell(&mut self, connection: &Connection, protocol: &'static str, exchange: &Exchange) {
        let told = Told::new(connection, protocol, exchange, Some(clock::unix_offset()));
        let Taps { readers, left_out } = self;
        readers.retain_mut(|reader| match reader.tell(&told, exchange.ended) {
            Ok(()) => true,
            Err(TrySendError::Full(why)) => {
                left_out[why as usize] += 1;
                reader.left_out.0[why as usize].fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(TrySendError::Closed(_)) => false,
        });
    }

    /// Brings what was left out into the store.
    pub(crate) fn record(&self, store: &mut Store) {
        for (reason, n) in TapLeftOut::WORDS.iter().zip(self.left_out) {
            store.set(&catalogue::TAP_LEFT_OUT, &[reason], n);
        }
    }
}

impl Reader {
    /// A line, if it is asked for; `Full`: why it is left out.
    fn tell(&mut self, told: &Told, at: Ktime) -> Result<(), TrySendError<TapLeftOut>> {
        if !self.wish.filter.takes(told) {
            return Ok(());
        }
        let second = at.0 / SECOND_NS;
        if second != self.second {
            (self.second, self.n_in_second) = (second, 0);
        }
        if self.n_in_second >= self.wish.rate {
            return Err(TrySendError::Full(TapLeftOut::Rate));
        }
        self.n_in_second += 1;
        // Nothing is written for whom there is no room.
        match self.lines.try_reserve() {
            Ok(room) => {
                room.send(self.wish.form.line(told));
                Ok(())
            }
            Err(TrySendError::Full(())) => Err(TrySendError::Full(TapLeftOut::Slow)),
            Err(TrySendError::Closed(())) => Err(TrySendError::Closed(TapLeftOut::Slow)),
        }
    }
}
