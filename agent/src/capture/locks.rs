//! What is looked up of futexes at the end of the recording, while their processes are there: where they
//! lie, and what stands in their memory.

use super::gather::Gathered;
use crate::target::{self, Place, ResidentMemory, memory::Memory};
use remora_common::{
    aggregate::KIND_WAKE,
    futex::Mutex,
    reason::Reason,
    thread::{STATE_BLOCKED, ThreadSlot},
};
use std::collections::{BTreeMap, HashMap};

/// Futexes of all targets that are looked at, those with the longest waits first.
const MAX_FUTEXES: usize = 4096;

/// A futex in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FutexKey {
    /// Process id.
    pub tgid: u32,
    /// Address.
    pub address: u64,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Fact {
    /// Where it lies; `None` when nothing is mapped there any more.
    pub place: Option<Place>,
    /// The words of a mutex that may lie there; `None` when they could not be read without fetching.
    pub words: Option<Mutex>,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Facts {
    /// By futex.
    pub futexes: HashMap<FutexKey, Fact>,
    /// Thread ids as a process in a PID namespace of its own has them, to those of the host; no entry for
    /// a process that has none.
    pub namespaces: HashMap<u32, HashMap<u32, u32>>,
    /// Futexes that were not looked at: there were too many.
    pub left_out: u64,
}

/// Looks at every futex that somebody waited or waits for.
pub fn look(gathered: &Gathered, living: &[ThreadSlot]) -> Facts {
    let mut waited: HashMap<FutexKey, u64> = HashMap::new();
    let process_of: HashMap<u32, u32> =
        living.iter().map(|slot| (slot.serial, slot.tgid)).collect();
    for ((key, _), sum) in &gathered.sums {
        let is_futex = key.kind == KIND_WAKE && key.reason == Reason::Futex as u8;
        if let (true, Some(tgid)) = (is_futex, process_of.get(&key.serial)) {
            let futex = FutexKey {
                tgid: *tgid,
                address: key.object,
            };
            *waited.entry(futex).or_default() += sum.total_ns;
        }
    }
    for slot in living {
        if slot.state == STATE_BLOCKED && slot.reason == Reason::Futex as u32 {
            let futex = FutexKey {
                tgid: slot.tgid,
                address: slot.args[0],
            };
            // Who waits now comes first.
            waited.insert(futex, u64::MAX);
        }
    }
    let mut order: Vec<(FutexKey, u64)> = waited.into_iter().collect();
    order.sort_by_key(|(futex, ns)| (std::cmp::Reverse(*ns), *futex));
    let left_out = order.len().saturating_sub(MAX_FUTEXES) as u64;
    order.truncate(MAX_FUTEXES);
    let mut by_process: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for (futex, _) in order {
        by_process
            .entry(futex.tgid)
            .or_default()
            .push(futex.address);
    }
    let mut facts = Facts {
        left_out,
        ..Facts::default()
    };
    for (tgid, addresses) in by_process {
        look_at(tgid, &addresses, &mut facts);
    }
    facts
}

fn look_at(tgid: u32, addresses: &[u64], facts: &mut Facts) {
    let memory = ResidentMemory::open(tgid).ok();
    let places = target::places(tgid, addresses);
    for (address, place) in addresses.iter().zip(places) {
        let words = memory.as_ref().and_then(|memory| mutex(memory, *address));
        let key = FutexKey {
            tgid,
            address: *address,
        };
        facts.futexes.insert(key, Fact { place, words });
    }
    let ids = target::namespace_thread_ids(tgid);
    if !ids.is_empty() {
        facts.namespaces.insert(tgid, ids);
    }
}

fn mutex(memory: &impl Memory, address: u64) -> Option<Mutex> {
    let bytes: [u8; 20] = memory.bytes(address)?;
    let word = |at: usize| {
        let word = bytes.get(at..at + 4)?;
        Some(u32::from_ne_bytes(word.try_into().ok()?))
    };
    Some(Mutex {
        lock: word(0)?,
        count: word(4)?,
        owner: word(8)?,
        users: word(12)?,
        kind: word(16)?,
    })
}
