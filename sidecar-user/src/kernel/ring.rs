//! The reader of `EVENTS`: when to look, and when to sleep.
//!
//! While records come it drains every 20 ms and the programs wake nobody. After two empty drains it arms the `WAKE`
//! word, so that the next record wakes it once, and sleeps. A ring that fills faster than the pace wakes it too.

mod buffer;

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    sync::Arc,
    time::Duration,
};

use aya::{
    Ebpf,
    maps::{Array, Map, MapData, MapError},
};
use rustix::event::{EventfdFlags, Timespec, epoll};

use self::buffer::Buffer;
use super::{load::Error, maps::take};

/// Between two drains while records come. Each begins with cold caches, so few long ones are cheaper than many short ones;
/// times are the kernel's own, and whoever asks for something wakes the reader.
const PACE: Duration = Duration::from_millis(20);
/// The longest sleep: housekeeping is due now and then.
const IDLE: Duration = Duration::from_secs(1);
/// Drains without a record before the reader sleeps.
const EMPTY: u32 = 2;
/// Values of `WAKE`, as `emit.rs` of the BPF side has them.
const RUNNING: u32 = 0;
const ARMED: u32 = 1;

/// The ring and what its reader sleeps on.
pub(crate) struct Ring {
    ring: Buffer,
    wake: Array<MapData, u32>,
    epoll: OwnedFd,
    waker: Waker,
    n_empty: u32,
    is_armed: bool,
    /// Size of the ring, and what was read from it since the last wait.
    size: usize,
    n_bytes: usize,
}

/// Wakes the reader from elsewhere.
#[derive(Clone)]
pub(crate) struct Waker(Arc<OwnedFd>);

impl Waker {
    /// Lets [`Ring::wait`] return now.
    pub(crate) fn wake(&self) {
        // A full counter wakes just as well.
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }
}

const FROM_RING: u64 = 0;
const FROM_WAKER: u64 = 1;

impl Ring {
    pub(super) fn open(ebpf: &mut Ebpf, size: usize) -> Result<Self, Error> {
        let wrap = |name| move |source| Error::Map { name, source };
        let Map::RingBuf(ring) = take(ebpf, "EVENTS")? else {
            return Err(wrap("EVENTS")(MapError::InvalidName { name: "EVENTS".into() }));
        };
        let ring = Buffer::open(ring, size).map_err(Error::Reader)?;
        let wake = Array::try_from(take(ebpf, "WAKE")?).map_err(wrap("WAKE"))?;
        let reader = |error: rustix::io::Errno| Error::Reader(io::Error::from(error));
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(reader)?;
        let event =
            rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(reader)?;
        // Edge-triggered: what lies in the ring does not wake, only a program's wake-up does.
        let edge = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, ring.as_fd(), epoll::EventData::new_u64(FROM_RING), edge).map_err(reader)?;
        let level = epoll::EventFlags::IN;
        epoll::add(&epoll, &event, epoll::EventData::new_u64(FROM_WAKER), level).map_err(reader)?;
        let waker = Waker(Arc::new(event));
        Ok(Ring { ring, wake, epoll, waker, n_empty: 0, is_armed: false, size, n_bytes: 0 })
    }

    /// Something to interrupt [`wait`](Self::wait) with.
    pub(crate) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Gives every record to `each`; how many there were. At most `limit`, so that the caller gets its turn.
    pub(crate) fn drain(&mut self, limit: usize, each: impl FnMut(&[u8])) -> usize {
        let (n, n_bytes) = self.ring.read(limit, each);
        self.n_bytes += n_bytes;
        self.n_empty = if n == 0 { self.n_empty.saturating_add(1) } else { 0 };
        n
    }

    /// Sleeps until it is time to drain again.
    ///
    /// # Errors
    /// If epoll fails, which it does not on a descriptor that is open.
    pub(crate) fn wait(&mut self) -> io::Result<()> {
        // It fills faster than the pace: look again at once.
        if std::mem::take(&mut self.n_bytes) > self.size / 8 {
            return Ok(());
        }
        let sleeps = self.n_empty >= EMPTY;
        if sleeps && !self.is_armed {
            self.set_wake(ARMED);
            self.is_armed = true;
            // A record that came before the word was set wakes nobody: look once more.
            self.n_empty = EMPTY - 1;
            return Ok(());
        }
        if !sleeps {
            // While the ring was read a program may have taken the word, and then nobody wakes until it is the reader's
            // again. That program's wake-up does not arrive where all is read by now: epoll asks the ring, which is empty.
            self.set_wake(RUNNING);
            self.is_armed = false;
        }
        let timeout = if sleeps { IDLE } else { PACE };
        let timeout =
            Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: i64::from(timeout.subsec_nanos()) };
        let mut events = Vec::with_capacity(2);
        let woken = loop {
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout)) {
                Err(rustix::io::Errno::INTR) => {}
                result => break result?,
            }
        };
        let from_ring = events.iter().any(|event| event.data.u64() == FROM_RING);
        if woken > 0 && events.iter().any(|event| event.data.u64() == FROM_WAKER) {
            let mut counter = [0u8; 8];
            let _ = rustix::io::read(&*self.waker.0, &mut counter);
        }
        if from_ring {
            // Whichever side set the word, it is the reader's again.
            self.set_wake(RUNNING);
            self.is_armed = false;
            self.n_empty = 0;
        }
        Ok(())
    }

    fn set_wake(&mut self, word: u32) {
        // It cannot fail on an array's only entry; if it did, the next drain is one sleep late.
        let _ = self.wake.set(0, word, 0);
    }
}
