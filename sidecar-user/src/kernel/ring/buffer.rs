//! A BPF ring buffer, as its one reader has it mapped.
//!
//! The kernel lays the data pages out twice, one after the other, so that a record that crosses the end lies in one
//! piece (`bpf_ringbuf_area_alloc` in kernel/bpf/ringbuf.c). Every page that is mapped counts as resident: mapped here is
//! the first round, and of the second no more than the longest record may reach into.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    ptr::{self, NonNull},
    slice,
    sync::atomic::{AtomicU32, AtomicU64, Ordering, fence},
};

use aya::maps::MapData;
use rustix::{
    mm::{self, MapFlags, ProtFlags},
    param::page_size,
};
use sidecar_ebpf::abi::record::{Head, Peers, ROOMS};

/// `BPF_RINGBUF_HDR_SZ`: length and flags, then where the ring's pages begin.
const HEADER: usize = 8;
/// `BPF_RINGBUF_BUSY_BIT`: it is still being written.
const BUSY: u32 = 1 << 31;
/// `BPF_RINGBUF_DISCARD_BIT`: its writer thought better of it.
const DISCARDED: u32 = 1 << 30;
/// The longest record.
const LONGEST: usize = HEADER + size_of::<Head>() + size_of::<Peers>() + ROOMS[ROOMS.len() - 1];
/// The programs are told of the room that was made each time that so much of the ring was read.
const PUBLISH: u64 = 64;

/// The mapped ring.
pub(super) struct Buffer {
    map: MapData,
    /// The reader's page: its position.
    consumer: Mapping,
    /// The writers' page, and the data.
    producer: Mapping,
    size: u64,
    /// What was read, and up to where there is something: bytes since the ring was made.
    read: u64,
    written: u64,
}

/// Pages that are mapped until it is dropped.
struct Mapping {
    at: NonNull<u8>,
    len: usize,
}

#[expect(unsafe_code, reason = "memory that is shared with the kernel")]
// SAFETY: the pages belong to the process, not to a thread, and nothing else points to them.
unsafe impl Send for Mapping {}

impl Buffer {
    /// Maps a ring of `size` bytes.
    pub(super) fn open(map: MapData, size: usize) -> io::Result<Self> {
        let page = page_size();
        let beyond = LONGEST.next_multiple_of(page).min(size);
        let consumer = Mapping::new(map.fd().as_fd(), 0, page, ProtFlags::READ | ProtFlags::WRITE)?;
        let producer = Mapping::new(map.fd().as_fd(), page, page + size + beyond, ProtFlags::READ)?;
        let read = consumer.position().load(Ordering::Relaxed);
        Ok(Buffer { map, consumer, producer, size: size as u64, read, written: read })
    }

    /// Gives records to `each`, at most `limit`: how many there were, and how many bytes of the ring they took.
    pub(super) fn read(&mut self, limit: usize, mut each: impl FnMut(&[u8])) -> (usize, usize) {
        let begun = self.read;
        let mut published = begun;
        let mut n = 0;
        while n < limit && self.has_more(&mut published) {
            let header = self.header();
            if header & BUSY != 0 {
                break;
            }
            let len = header & !DISCARDED;
            if header & DISCARDED == 0 {
                let Some(record) = self.record(len as usize) else { break };
                each(record);
                n += 1;
            }
            self.read += (HEADER as u64 + u64::from(len)).next_multiple_of(8);
            if self.read - published > self.size / PUBLISH {
                self.publish(&mut published);
            }
        }
        self.publish(&mut published);
        (n, (self.read - begun) as usize)
    }

    fn has_more(&mut self, published: &mut u64) -> bool {
        if self.read == self.written {
            self.publish(published);
            // A writer either sees this position, or is seen here: it may look at the first to tell whether to wake.
            fence(Ordering::SeqCst);
            self.written = self.producer.position().load(Ordering::Acquire);
        }
        self.read != self.written
    }

    fn publish(&self, published: &mut u64) {
        if *published != self.read {
            // After all reads of what is given back: the kernel's load of it acquires (`__bpf_ringbuf_reserve`).
            self.consumer.position().store(self.read, Ordering::Release);
            *published = self.read;
        }
    }

    /// Where the next record lies behind the writers' page.
    fn offset(&self) -> usize {
        page_size() + (self.read & (self.size - 1)) as usize
    }

    #[expect(unsafe_code, reason = "memory that is shared with the kernel")]
    fn header(&self) -> u32 {
        // SAFETY: below the mapping's end by `LONGEST`, as `offset` is within the first round.
        let at = unsafe { self.producer.at.add(self.offset()) };
        // SAFETY: mapped, and aligned: records begin at multiples of 8. Writers are in the kernel, and atomic.
        let header = unsafe { AtomicU32::from_ptr(at.as_ptr().cast()) };
        // Pairs with the writer's exchange (`bpf_ringbuf_commit`): what it wrote before is seen.
        header.load(Ordering::Acquire)
    }

    /// `None` where a header says more than a record can have.
    #[expect(unsafe_code, reason = "memory that is shared with the kernel")]
    fn record(&self, len: usize) -> Option<&[u8]> {
        let offset = self.offset() + HEADER;
        if offset + len > self.producer.len {
            return None;
        }
        // SAFETY: within the mapping, by the check.
        let at = unsafe { self.producer.at.add(offset) };
        // SAFETY: mapped as long as `self` lives. The record was committed, and nobody writes to it before its place is
        // given back, which takes `&mut self`.
        Some(unsafe { slice::from_raw_parts(at.as_ptr(), len) })
    }
}

impl AsFd for Buffer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.fd().as_fd()
    }
}

impl Mapping {
    #[expect(unsafe_code, reason = "mapping memory")]
    fn new(fd: BorrowedFd<'_>, offset: usize, len: usize, prot: ProtFlags) -> io::Result<Self> {
        // SAFETY: a new mapping, wherever the kernel finds room, is in nobody's way.
        let at = unsafe { mm::mmap(ptr::null_mut(), len, prot, MapFlags::SHARED, fd, offset as u64) }?;
        let at = NonNull::new(at.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Mapping { at, len })
    }

    /// `consumer_pos` or `producer_pos` (`struct bpf_ringbuf`): the first word of its page.
    #[expect(unsafe_code, reason = "memory that is shared with the kernel")]
    fn position(&self) -> &AtomicU64 {
        // SAFETY: the page is mapped as long as `self` lives, and aligned; the kernel's accesses are atomic.
        unsafe { AtomicU64::from_ptr(self.at.as_ptr().cast()) }
    }
}

impl Drop for Mapping {
    #[expect(unsafe_code, reason = "mapping memory")]
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and every borrow of it is over.
        let _ = unsafe { mm::munmap(self.at.as_ptr().cast(), self.len) };
    }
}
