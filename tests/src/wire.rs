//! A wire between two TUN devices that loses, swaps and doubles packets, always the same ones of a seed.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::OwnedFd,
    io::{Errno, read, write},
};

/// Of 1000 packets.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// So many are lost,
    pub lost: u64,
    /// held back while up to four others pass,
    pub swapped: u64,
    /// sent twice.
    pub doubled: u64,
}

/// What became of the packets of one direction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Packets that were sent.
    pub sent: u64,
    /// Of these were lost,
    pub lost: u64,
    /// arrived after later ones,
    pub swapped: u64,
    /// arrived twice.
    pub doubled: u64,
    /// The other side's queue had no room.
    pub refused: u64,
}

/// A thread that carries packets until it is dropped.
#[derive(Debug)]
pub struct Wire {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<[Tally; 2]>>,
}

impl Wire {
    /// Joins two devices.
    #[must_use]
    pub fn new(ends: [OwnedFd; 2], faults: Faults, seed: u64) -> Wire {
        Wire::carrying(move |told| carry(&ends, faults, seed, told))
    }

    /// Joins two devices by a wire without faults on which each packet is under way for so long.
    #[must_use]
    pub fn slow(ends: [OwnedFd; 2], delay: Duration) -> Wire {
        Wire::carrying(move |told| carry_slowly(&ends, delay, told))
    }

    fn carrying(carry: impl FnOnce(&AtomicBool) -> [Tally; 2] + Send + 'static) -> Wire {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = thread::spawn(move || carry(&told));
        Wire { stop, thread: Some(thread) }
    }

    /// Ends it: the packets of the first end to the second, and back.
    pub fn stop(mut self) -> [Tally; 2] {
        self.end().expect("the wire's tally")
    }

    fn end(&mut self) -> Option<[Tally; 2]> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take()?.join().ok()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// One direction's packets that wait for others to pass: how many still, and the packet.
struct Lane {
    held: Vec<(u64, Vec<u8>)>,
    dice: Dice,
    tally: Tally,
}

fn carry(ends: &[OwnedFd; 2], faults: Faults, seed: u64, stop: &AtomicBool) -> [Tally; 2] {
    let lane = |n| Lane { held: Vec::new(), dice: Dice(seed ^ n), tally: Tally::default() };
    let mut lanes = [lane(1), lane(2 << 32)];
    let mut buffer = vec![0; 65_536];
    while !stop.load(Ordering::Relaxed) {
        let mut fds = [PollFd::new(&ends[0], PollFlags::IN), PollFd::new(&ends[1], PollFlags::IN)];
        let patience = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
        let n = poll(&mut fds, Some(&patience)).unwrap_or(0);
        for (from, lane) in lanes.iter_mut().enumerate() {
            let to = &ends[1 - from];
            // Nothing is held back from a quiet wire.
            while n == 0 && !lane.held.is_empty() {
                let (_, packet) = lane.held.remove(0);
                lane.put(to, &packet);
            }
            while let Ok(len) = read(&ends[from], &mut buffer) {
                lane.pass(to, &buffer[..len], faults);
            }
        }
    }
    lanes.map(|lane| lane.tally)
}

/// Packets keep their order. None arrives before its time.
fn carry_slowly(ends: &[OwnedFd; 2], delay: Duration, stop: &AtomicBool) -> [Tally; 2] {
    let mut lanes = [1, 2].map(|n| Lane { held: Vec::new(), dice: Dice(n), tally: Tally::default() });
    let mut travelling = VecDeque::new();
    let mut buffer = vec![0; 65_536];
    while !stop.load(Ordering::Relaxed) {
        let mut fds = [PollFd::new(&ends[0], PollFlags::IN), PollFd::new(&ends[1], PollFlags::IN)];
        let patience = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
        let _ = poll(&mut fds, Some(&patience));
        for (from, lane) in lanes.iter_mut().enumerate() {
            while let Ok(len) = read(&ends[from], &mut buffer) {
                lane.tally.sent += 1;
                travelling.push_back((Instant::now() + delay, from, buffer[..len].to_vec()));
            }
        }
        while let Some((_, from, packet)) = travelling.pop_front_if(|(due, ..)| *due <= Instant::now()) {
            lanes[from].put(&ends[1 - from], &packet);
        }
    }
    lanes.map(|lane| lane.tally)
}

impl Lane {
    fn pass(&mut self, to: &OwnedFd, packet: &[u8], faults: Faults) {
        self.tally.sent += 1;
        if self.dice.hits(faults.lost) {
            self.tally.lost += 1;
        } else if self.dice.hits(faults.swapped) {
            self.tally.swapped += 1;
            let others = 1 + self.dice.roll() % 4;
            self.held.push((others, packet.to_vec()));
            return;
        } else {
            self.put(to, packet);
            if self.dice.hits(faults.doubled) {
                self.tally.doubled += 1;
                self.put(to, packet);
            }
        }
        let (due, waiting) = self.held.drain(..).partition(|(others, _)| *others <= 1);
        self.held = waiting;
        self.held.iter_mut().for_each(|(others, _)| *others -= 1);
        let due: Vec<(u64, Vec<u8>)> = due;
        for (_, packet) in &due {
            self.put(to, packet);
        }
    }

    fn put(&mut self, to: &OwnedFd, packet: &[u8]) {
        match write(to, packet) {
            Err(Errno::IO) | Ok(_) => {}
            Err(_) => self.tally.refused += 1,
        }
    }
}

/// splitmix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn hits(&mut self, of_thousand: u64) -> bool {
        self.roll() % 1000 < of_thousand
    }
}
