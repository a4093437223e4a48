//! Maps that user space writes or reads.

use aya::{
    Ebpf,
    maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray},
};
use sidecar_core::{model::ConnectionId, signal::kernel::Counted};
use sidecar_ebpf::abi::{
    control::Control,
    count, record,
    verdict::{Endpoint, Verdict},
};

use super::load::Error;

/// A type of the contract, as aya wants it.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Abi<T: Copy>(pub(super) T);

#[expect(unsafe_code, reason = "aya's marker for plain old data")]
// SAFETY: every T used with it is a struct of `sidecar_ebpf::abi`: repr(C), without padding or pointers, which its
// zerocopy derives prove.
unsafe impl<T: Copy + zerocopy::FromBytes + 'static> aya::Pod for Abi<T> {}

/// Takes a map out of the object.
pub(super) fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, Error> {
    let missing = || Error::Map { name, source: MapError::InvalidName { name: name.into() } };
    ebpf.take_map(name).ok_or_else(missing)
}

/// `VERDICTS`, `ENDPOINTS` and `CONTROL`: what user space tells the kernel of connections.
pub(crate) struct Verdicts {
    verdicts: HashMap<MapData, u64, Abi<Verdict>>,
    endpoints: HashMap<MapData, Abi<Endpoint>, Abi<Verdict>>,
    control: Array<MapData, Abi<Control>>,
    current: Control,
    is_dirty: bool,
    n_refused: u64,
}

impl Verdicts {
    pub(super) fn open(ebpf: &mut Ebpf, current: Control) -> Result<Self, Error> {
        let wrap = |name| move |source| Error::Map { name, source };
        Ok(Verdicts {
            verdicts: HashMap::try_from(take(ebpf, "VERDICTS")?).map_err(wrap("VERDICTS"))?,
            endpoints: HashMap::try_from(take(ebpf, "ENDPOINTS")?).map_err(wrap("ENDPOINTS"))?,
            control: Array::try_from(take(ebpf, "CONTROL")?).map_err(wrap("CONTROL"))?,
            current,
            is_dirty: false,
            n_refused: 0,
        })
    }

    /// Judges a connection. Takes effect with the next [`publish`](Self::publish).
    pub(crate) fn set(&mut self, id: ConnectionId, verdict: Verdict) {
        let refused = self.verdicts.insert(id.0, Abi(verdict), 0).is_err();
        self.n_refused += u64::from(refused);
        self.is_dirty |= !refused;
    }

    /// Forgets a connection that is gone.
    pub(crate) fn remove(&mut self, id: ConnectionId) {
        // It may have had none.
        let _ = self.verdicts.remove(&id.0);
    }

    /// Where new connections of a server start.
    pub(crate) fn set_endpoint(&mut self, endpoint: Endpoint, verdict: Verdict) {
        let refused = self.endpoints.insert(Abi(endpoint), Abi(verdict), 0).is_err();
        self.n_refused += u64::from(refused);
    }

    /// Lets the programs see what was set: once for a batch.
    pub(crate) fn publish(&mut self) {
        if std::mem::take(&mut self.is_dirty) {
            self.current.generation = self.current.generation.wrapping_add(1);
            let refused = self.control.set(0, Abi(self.current), 0).is_err();
            self.n_refused += u64::from(refused);
        }
    }

    /// Verdicts that a map had no room for: those connections are copied by their defaults.
    pub(crate) fn n_refused(&self) -> u64 {
        self.n_refused
    }
}

/// `COUNTS` and `TRAFFIC`: what the kernel counted without any record's help.
pub(crate) struct Counts {
    counts: PerCpuArray<MapData, u64>,
    traffic: PerCpuArray<MapData, Abi<count::Traffic>>,
}

impl Counts {
    pub(super) fn open(ebpf: &mut Ebpf) -> Result<Self, Error> {
        let wrap = |name| move |source| Error::Map { name, source };
        Ok(Counts {
            counts: PerCpuArray::try_from(take(ebpf, "COUNTS")?).map_err(wrap("COUNTS"))?,
            traffic: PerCpuArray::try_from(take(ebpf, "TRAFFIC")?).map_err(wrap("TRAFFIC"))?,
        })
    }

    /// May maps be used as we are? Kernels before 5.19 ask for CAP_BPF with every call of bpf(2) where
    /// `kernel.unprivileged_bpf_disabled` is set (`SYSCALL_DEFINE3(bpf)` in kernel/bpf/syscall.c).
    pub(crate) fn is_reachable(&self) -> bool {
        self.counts.get(&count::JOINED, 0).is_ok()
    }

    /// Connections closed, of any role.
    pub(crate) fn n_closed(&self) -> u64 {
        (count::CLOSED..count::CLOSED + record::ROLES).map(|slot| self.slot(slot)).sum()
    }

    /// Connections established, of any role.
    pub(crate) fn n_opened(&self) -> u64 {
        (count::OPENED..count::OPENED + record::ROLES).map(|slot| self.slot(slot)).sum()
    }

    fn slot(&self, slot: u32) -> u64 {
        let cpus = self.counts.get(&slot, 0);
        cpus.map_or(0, |cpus| cpus.iter().fold(0, |sum: u64, n| sum.wrapping_add(*n)))
    }

    /// Everything, summed over the CPUs. An entry that cannot be read is 0.
    pub(crate) fn read(&self) -> Counted {
        let slot = |slot: usize| self.slot(slot as u32);
        let entry = |entry: usize| {
            let mut sum = count::Traffic::default();
            for Abi(cpu) in self.traffic.get(&(entry as u32), 0).iter().flat_map(|cpus| cpus.iter()) {
                sum.bytes[0] = sum.bytes[0].wrapping_add(cpu.bytes[0]);
                sum.bytes[1] = sum.bytes[1].wrapping_add(cpu.bytes[1]);
                sum.retransmits = sum.retransmits.wrapping_add(cpu.retransmits);
            }
            sum
        };
        Counted { slots: std::array::from_fn(slot), traffic: std::array::from_fn(entry) }
    }
}
