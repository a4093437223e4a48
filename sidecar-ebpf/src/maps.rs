//! The maps. Names are at most 15 characters, so that `bpftool map` shows what the source says.

use core::{ffi::c_void, mem::MaybeUninit, ptr};

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST, bpf_sock},
    btf_maps::Array as BtfArray,
    helpers::generated::{
        bpf_map_delete_elem, bpf_map_lookup_elem, bpf_map_update_elem, bpf_sk_storage_delete,
        bpf_sk_storage_get,
    },
    macros::{btf_map, map},
    maps::{Array, HashMap, LpmTrie, PerCpuArray, RingBuf, SockMap},
};
use sidecar_ebpf::abi::{control::Control, count, dns, executable, pins, steer, verdict, who::Who};

use crate::{conn::Conn, denial::Denials, hooks::Numbering, steer::Use};

/// Records, kernel to user space. User space sets the size.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(2 << 20, 0);
/// Settings; one entry, written by user space only.
#[map]
pub(crate) static CONTROL: Array<Control> = Array::with_max_entries(1, 0);
/// The wake-up word, one entry: see `emit::wake`.
#[map]
pub(crate) static WAKE: Array<u32> = Array::with_max_entries(1, 0);
/// Counters that no record carries.
#[map]
pub(crate) static COUNTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(count::SLOTS, 0);
/// The application's bytes, by role and class.
#[map]
pub(crate) static TRAFFIC: PerCpuArray<count::Traffic> = PerCpuArray::with_max_entries(count::TRAFFIC, 0);
/// What user space decided of a connection, by [`Head::id`](sidecar_ebpf::abi::record::Head). User space bounds it.
#[map]
pub(crate) static VERDICTS: HashMap<u64, verdict::Verdict> =
    HashMap::with_max_entries(65536, BPF_F_NO_PREALLOC);
/// Where new connections to (or of) a server start.
#[map]
pub(crate) static ENDPOINTS: HashMap<verdict::Endpoint, verdict::Verdict> =
    HashMap::with_max_entries(1024, BPF_F_NO_PREALLOC);
/// Who made a socket: inherited by accepted ones.
#[btf_map]
pub(crate) static WHO: SkStorage<Who, { NO_PREALLOC | CLONE }> = SkStorage::new();
/// State of a connection.
#[btf_map]
pub(crate) static CONN: SkStorage<Conn, NO_PREALLOC> = SkStorage::new();

/// How connections are steered; one entry, written by user space only.
#[map]
pub(crate) static STEER: Array<steer::Steer> = Array::with_max_entries(1, 0);
/// Which service a destination is of. What is below has room where traffic is steered: user space bounds it.
#[map]
pub(crate) static RULES: LpmTrie<steer::RuleKey, steer::Rule> = LpmTrie::with_max_entries(1, 0);
/// What is done about a service's connections.
#[map]
pub(crate) static SERVICES: HashMap<steer::ServiceKey, steer::Service> =
    HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);
/// Each service's stretch of it has its targets, as often as their weights want.
#[map]
pub(crate) static TABLE: Array<u32> = Array::with_max_entries(1, 0);
/// Endpoints.
#[map]
pub(crate) static TARGETS: Array<steer::Target> = Array::with_max_entries(1, 0);
/// Connections of each endpoint.
#[map]
pub(crate) static LOADS: Array<u64> = Array::with_max_entries(1, 0);
/// What became of connections to each endpoint.
#[map]
pub(crate) static RESULTS: Array<u64> = Array::with_max_entries(1, 0);
/// Which endpoint the next connection of each service tries. User space sets it, a program takes it.
#[map]
pub(crate) static TRIALS: Array<u32> = Array::with_max_entries(1, 0);
/// What goes on at each service.
#[btf_map]
pub(crate) static USES: BtfArray<Use, 1, 0> = BtfArray::new();
/// Connections by way, verdict and reason.
#[map]
pub(crate) static DECISIONS: PerCpuArray<u64> = PerCpuArray::with_max_entries(steer::DECISIONS, 0);
/// Connections by service and verdict.
#[map]
pub(crate) static SERVED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
/// What services are called. No program reads it: it is for the daemon after this one.
#[map]
pub(crate) static NAMES: Array<pins::Name> = Array::with_max_entries(1, 0);
/// What resolvers told of services' names. No program reads it: the same.
#[map]
pub(crate) static LEARNED: HashMap<pins::Answer, pins::Held> =
    HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);
/// Which build's these maps are; one entry. No program reads it either.
#[map]
pub(crate) static LAYOUT: Array<pins::Layout> = Array::with_max_entries(1, 0);
/// What the relay is told of connections that it has not accepted yet.
#[map]
pub(crate) static HANDOVER: HashMap<steer::Pair, steer::Handed> =
    HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);
/// What was decided of a client's socket.
#[btf_map]
pub(crate) static STEERED: SkStorage<steer::Steered, NO_PREALLOC> = SkStorage::new();
/// What the relay is told of a socket that it accepts.
#[btf_map]
pub(crate) static HANDED: SkStorage<steer::Handed, NO_PREALLOC> = SkStorage::new();
/// How many refused connections were told of lately; one entry.
#[map]
pub(crate) static DENIALS: PerCpuArray<Denials> = PerCpuArray::with_max_entries(1, 0);
/// On the relay's listeners; user space puts it there.
#[btf_map]
pub(crate) static LISTENER: SkStorage<u32, NO_PREALLOC> = SkStorage::new();

/// Where the kernel has the file that a process executes; one entry, written by user space only.
#[map]
pub(crate) static PLACES: Array<executable::Places> = Array::with_max_entries(1, 0);

/// How questions of the DNS are caught; one entry, written by user space only.
#[map]
pub(crate) static DNS: Array<dns::Dns> = Array::with_max_entries(1, 0);
/// How many resolvers have a number; one entry.
#[btf_map]
pub(crate) static NUMBERING: BtfArray<Numbering, 1, 0> = BtfArray::new();
/// Who was asked, by number. What was written stays.
#[map]
pub(crate) static RESOLVERS: Array<[u64; 2]> = Array::with_max_entries(dns::RESOLVERS as u32, 0);
/// Numbers of resolvers by their addresses.
#[map]
pub(crate) static RESOLVER: HashMap<[u64; 2], u64> =
    HashMap::with_max_entries(dns::RESOLVERS as u32, BPF_F_NO_PREALLOC);
/// Numbers of resolvers by our ports (`dns::answerer`).
#[map]
pub(crate) static ANSWERERS: HashMap<u64, u64> =
    HashMap::with_max_entries(2 * dns::RESOLVERS as u32, BPF_F_NO_PREALLOC);
/// The relay's listeners for what comes in: of IPv4, of IPv6.
#[map]
pub(crate) static INBOUND: SockMap = SockMap::with_max_entries(2, 0);
/// Addresses of the daemon's network namespace, IPv4 ones mapped; user space keeps them.
#[map]
pub(crate) static OWN: HashMap<[u64; 2], u32> =
    HashMap::with_max_entries(steer::OWN_ADDRESSES, BPF_F_NO_PREALLOC);
/// Who comes in, at the relay's socket to the application; user space puts it there.
#[btf_map]
pub(crate) static CLIENT: SkStorage<steer::Client, NO_PREALLOC> = SkStorage::new();
/// The same of connections that the application has not got yet.
#[map]
pub(crate) static ARRIVALS: HashMap<steer::Pair, steer::Client> =
    HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);
/// The same at the application's socket.
#[btf_map]
pub(crate) static ARRIVED: SkStorage<steer::Client, NO_PREALLOC> = SkStorage::new();

/// An entry of a map by its number, which stands on the stack in a word of eight bytes: kernels before 6.18 refuse a smaller
/// write where a pointer was kept before ("attempt to corrupt spilled pointer on stack").
#[inline(always)]
pub(crate) fn numbered<T, M>(map: &'static M, number: u32) -> Option<*mut T> {
    let mut key = MaybeUninit::<u64>::uninit();
    // SAFETY: plain memory.
    unsafe { key.as_mut_ptr().write_volatile(number.into()) };
    entry(map, &key)
}

/// A key in words of eight bytes.
#[inline(always)]
pub(crate) fn words<const N: usize>(words: [u64; N]) -> MaybeUninit<[u64; N]> {
    let mut key = MaybeUninit::<[u64; N]>::uninit();
    for (at, word) in words.into_iter().enumerate() {
        // SAFETY: within the array.
        unsafe { key.as_mut_ptr().cast::<u64>().add(at).write_volatile(word) };
    }
    key
}

/// An entry of a map by a key that was written in words of eight bytes.
#[inline(always)]
pub(crate) fn entry<T, K, M>(map: &'static M, key: &MaybeUninit<K>) -> Option<*mut T> {
    let map = ptr::from_ref(map).cast_mut().cast::<c_void>();
    // SAFETY: the map's static stands for it; the callers' keys are as long as the map's.
    let entry = unsafe { bpf_map_lookup_elem(map, key.as_ptr().cast()) };
    if entry.is_null() { None } else { Some(entry.cast()) }
}

/// Writes an entry, key and value in words of eight bytes; whether there was room.
#[inline(always)]
pub(crate) fn insert<K, V, M>(map: &'static M, key: &MaybeUninit<K>, value: &MaybeUninit<V>) -> bool {
    update(map, key, value, 0)
}

/// The same, unless there is one.
#[inline(always)]
pub(crate) fn insert_new<K, V, M>(map: &'static M, key: &MaybeUninit<K>, value: &MaybeUninit<V>) -> bool {
    update(map, key, value, BPF_NOEXIST.into())
}

#[inline(always)]
fn update<K, V, M>(map: &'static M, key: &MaybeUninit<K>, value: &MaybeUninit<V>, flags: u64) -> bool {
    let map = ptr::from_ref(map).cast_mut().cast::<c_void>();
    // SAFETY: as in `entry`; the callers' values are as long as the map's.
    unsafe { bpf_map_update_elem(map, key.as_ptr().cast(), value.as_ptr().cast(), flags) == 0 }
}

/// Removes an entry, if it is there.
#[inline(always)]
pub(crate) fn remove<K, M>(map: &'static M, key: &MaybeUninit<K>) {
    let map = ptr::from_ref(map).cast_mut().cast::<c_void>();
    // SAFETY: as in `entry`.
    unsafe { bpf_map_delete_elem(map, key.as_ptr().cast()) };
}

const NO_PREALLOC: usize = 1;
const CLONE: usize = 512;

/// Socket storage with flags of our choice. aya's own fixes them, and reads from `sock_addr` programs only.
#[repr(C)]
pub(crate) struct SkStorage<T, const FLAGS: usize> {
    r#type: *const [i32; 24],
    key: *const i32,
    value: *const T,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; FLAGS],
}

// SAFETY: the pointers only carry types for BTF; the loader replaces the static, nothing dereferences them.
unsafe impl<T, const FLAGS: usize> Sync for SkStorage<T, FLAGS> {}

impl<T, const FLAGS: usize> SkStorage<T, FLAGS> {
    pub(crate) const fn new() -> Self {
        Self {
            r#type: ptr::null(),
            key: ptr::null(),
            value: ptr::null(),
            max_entries: ptr::null(),
            map_flags: ptr::null(),
        }
    }

    /// The socket's value, if it has one.
    #[inline(always)]
    pub(crate) fn get(&'static self, sk: *mut bpf_sock) -> Option<*mut T> {
        let value = self.get_raw(sk);
        if value.is_null() { None } else { Some(value) }
    }

    /// The same, or null: for where it is carried along, as an `Option` whose verdict is asked for later takes two words.
    #[inline(always)]
    pub(crate) fn get_raw(&'static self, sk: *mut bpf_sock) -> *mut T {
        self.call(sk, 0)
    }

    /// The socket's value; all zero if it had none. `None` only where memory ran out.
    #[inline(always)]
    pub(crate) fn get_or_zero(&'static self, sk: *mut bpf_sock) -> Option<*mut T> {
        let value = self.call(sk, 1);
        if value.is_null() { None } else { Some(value) }
    }

    /// The socket has none from now on. Who still has it in hand writes to what is gone.
    #[inline(always)]
    pub(crate) fn remove(&'static self, sk: *mut bpf_sock) {
        let map = ptr::from_ref(self).cast_mut().cast::<c_void>();
        // SAFETY: the verifier proves `sk` a socket; a value lives on until every program that found it is done.
        unsafe { bpf_sk_storage_delete(map, sk.cast()) };
    }

    #[inline(always)]
    fn call(&'static self, sk: *mut bpf_sock, flags: u64) -> *mut T {
        let map = ptr::from_ref(self).cast_mut().cast::<c_void>();
        // SAFETY: the verifier proves `sk` a socket and the result a value of this map or null.
        unsafe { bpf_sk_storage_get(map, sk.cast(), ptr::null_mut(), flags) }.cast()
    }
}
