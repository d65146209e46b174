//! What is looked up of futexes at the end of the recording, while their processes are there: where they
//! lie, and what stands in their memory.

mod rwlock;

use crate::store::aggregates::{AggregateStore, Wakes};
use remora_common::{
    futex::Mutex,
    reason::Reason,
    thread::{STATE_BLOCKED, ThreadSlot},
};
use remora_process::deadline::{self, Step, Subject};
use remora_process::{self as process, Place, ResidentMemory, memory::Memory};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
};

/// Futexes of all targets that are looked at, those with the longest waits first.
const MAX_FUTEXES: usize = 4096;

/// A futex in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct FutexKey {
    /// Process id.
    pub(crate) tgid: u32,
    /// Address.
    pub(crate) address: u64,
}

/// Where a futex lies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Whereabouts {
    /// It was not looked up, or its process was gone.
    #[default]
    Unknown,
    /// Nothing is mapped there any more.
    Unmapped,
    /// There.
    At(Place),
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub(crate) struct FutexState {
    /// Where it lies.
    pub(crate) place: Whereabouts,
    /// The words of a mutex that may lie there; `None` when they could not be read without fetching.
    pub(crate) words: Option<Mutex>,
    /// The same words while a thread waited, right after all counting stopped: who owned it then. `None`
    /// when nobody waited.
    pub(crate) while_waited: Option<Mutex>,
    /// Of a read-write lock that may lie there: the thread that has locked it for writing, as its own PID
    /// namespace has it.
    pub(crate) rwlock: Option<u32>,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct FutexStates {
    /// By futex.
    pub(crate) states: HashMap<FutexKey, FutexState>,
    /// Thread ids as a process in a PID namespace of its own has them, to those of the host; no entry for
    /// a process that has none.
    pub(crate) namespaces: HashMap<u32, HashMap<u32, u32>>,
    /// Futexes that were not looked at: there were too many.
    pub(crate) left_out: u64,
    /// Threads that slept at the end and were woken after it, by serial: what was read of a lock meanwhile may
    /// be theirs.
    pub(crate) moved: HashSet<u32>,
}

impl FutexStates {
    /// The id here of a thread that its process knows by another.
    pub(crate) fn host_tid(&self, tgid: u32, tid: u32) -> u32 {
        let ids = self.namespaces.get(&tgid);
        ids.and_then(|ids| ids.get(&tid)).copied().unwrap_or(tid)
    }
}

/// The words of futexes that threads waited for while they were read.
pub(crate) type WaitedWords = HashMap<FutexKey, Mutex>;

/// The futex in which a thread sleeps, or from which it has not come back.
fn sleeps_in(slot: &ThreadSlot) -> Option<FutexKey> {
    let sleeps = slot.state == STATE_BLOCKED && slot.reason == Reason::Futex as u32;
    sleeps.then(|| FutexKey {
        tgid: slot.tgid,
        address: slot.args[0],
    })
}

/// The futex that a thread sleeps in, as long as nobody has woken it.
fn waits_for(slot: &ThreadSlot) -> Option<FutexKey> {
    sleeps_in(slot).filter(|_| !slot.is_woken())
}

/// Reads the words of every lock that a thread waits for now: an owner changes within microseconds, so
/// this is for the moment at which counting stops. `waiting` are the threads before it, `still` gives
/// them after it: words that are read while nobody is known to wait tell of another time.
pub(crate) fn read_waited(
    waiting: &[ThreadSlot],
    still: impl FnOnce() -> Vec<ThreadSlot>,
) -> WaitedWords {
    let wanted: BTreeSet<FutexKey> = waiting.iter().filter_map(waits_for).collect();
    let mut by_process: BTreeMap<u32, Vec<FutexKey>> = BTreeMap::new();
    for futex in wanted.into_iter().take(MAX_FUTEXES) {
        by_process.entry(futex.tgid).or_default().push(futex);
    }
    let mut words = WaitedWords::new();
    for (tgid, futexes) in by_process {
        let read = deadline::run(Step::LockWords, Subject::Process(tgid), move || {
            let memory = ResidentMemory::open(tgid).ok()?;
            let read = |futex: FutexKey| Some((futex, mutex(&memory, futex.address)?));
            Some(futexes.into_iter().filter_map(read).collect::<Vec<_>>())
        });
        words.extend(read.flatten().unwrap_or_default());
    }
    keep_waited(&mut words, waiting, &still());
    words
}

/// Keeps the words of those futexes that some thread waited for before and after, in one and the same wait.
fn keep_waited(words: &mut WaitedWords, before: &[ThreadSlot], after: &[ThreadSlot]) {
    let wait = |slot: &ThreadSlot| Some((waits_for(slot)?, slot.serial, slot.since_ns));
    let before: HashSet<_> = before.iter().filter_map(wait).collect();
    let both = after.iter().filter_map(wait);
    let lasting: HashSet<FutexKey> = both
        .filter(|wait| before.contains(wait))
        .map(|(futex, _, _)| futex)
        .collect();
    words.retain(|futex, _| lasting.contains(futex));
}

/// Looks at every futex that somebody waited or waits for. `waited` is what was read of those at the end.
pub(crate) fn inspect(
    aggregates: &AggregateStore,
    living: &[ThreadSlot],
    waited: &WaitedWords,
) -> FutexStates {
    let (order, left_out) = wanted(aggregates, living);
    let mut by_process: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for futex in order {
        by_process
            .entry(futex.tgid)
            .or_default()
            .push(futex.address);
    }
    let mut found = FutexStates {
        left_out,
        ..FutexStates::default()
    };
    for (tgid, addresses) in by_process {
        inspect_process(tgid, addresses, waited, &mut found);
    }
    found
}

/// The futexes that are worth a look, and how many are left out.
fn wanted(aggregates: &AggregateStore, living: &[ThreadSlot]) -> (Vec<FutexKey>, u64) {
    let mut waited: HashMap<FutexKey, u64> = HashMap::new();
    // Threads end, and the locks that they waited for stay.
    let process_of: HashMap<u32, u32> = living
        .iter()
        .chain(&aggregates.ended)
        .map(|slot| (slot.serial, slot.tgid))
        .collect();
    for Wakes {
        place, wait, times, ..
    } in aggregates.wakes()
    {
        let is_futex = wait.reason == Reason::Futex;
        if let (true, Some(tgid)) = (is_futex, process_of.get(&place.serial)) {
            let futex = FutexKey {
                tgid: *tgid,
                address: wait.futex,
            };
            *waited.entry(futex).or_default() += times.total_ns;
        }
    }
    for futex in living.iter().filter_map(sleeps_in) {
        // Who waits now comes first.
        waited.insert(futex, u64::MAX);
    }
    let mut order: Vec<(FutexKey, u64)> = waited.into_iter().collect();
    order.sort_by_key(|(futex, ns)| (Reverse(*ns), *futex));
    let left_out = order.len().saturating_sub(MAX_FUTEXES) as u64;
    order.truncate(MAX_FUTEXES);
    let order = order.into_iter().map(|(futex, _)| futex).collect();
    (order, left_out)
}

fn inspect_process(tgid: u32, addresses: Vec<u64>, waited: &WaitedWords, into: &mut FutexStates) {
    let wanted = addresses.clone();
    let read = deadline::run(Step::LockWords, Subject::Process(tgid), move || {
        let memory = ResidentMemory::open(tgid).ok();
        let places = process::places(tgid, &wanted);
        let read = |(at, address): (usize, &u64)| {
            let place = places.as_ref().and_then(|places| places.get(at));
            FutexState {
                place: match place {
                    None => Whereabouts::Unknown,
                    Some(None) => Whereabouts::Unmapped,
                    Some(Some(place)) => Whereabouts::At(place.clone()),
                },
                words: memory.as_ref().and_then(|memory| mutex(memory, *address)),
                while_waited: None,
                rwlock: memory
                    .as_ref()
                    .and_then(|memory| rwlock::writer(memory, *address)),
            }
        };
        let found: Vec<FutexState> = wanted.iter().enumerate().map(read).collect();
        (found, process::namespace_thread_ids(tgid))
    });
    let (found, ids) = read.unwrap_or_default();
    let found = found.into_iter().map(Some).chain(std::iter::repeat(None));
    for (address, state) in addresses.into_iter().zip(found) {
        let key = FutexKey { tgid, address };
        let while_waited = waited.get(&key).copied();
        let state = state.unwrap_or_default();
        let words = while_waited.or(state.words);
        into.states.insert(
            key,
            FutexState {
                words,
                while_waited,
                ..state
            },
        );
    }
    if !ids.is_empty() {
        into.namespaces.insert(tgid, ids);
    }
}

/// The words of a mutex that may lie at an address.
pub(super) fn mutex(memory: &impl Memory, address: u64) -> Option<Mutex> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::Zeroable;
    use remora_common::{reason::NO_SYSCALL, thread::STATE_EXITED};
    use remora_probe::{Drained, Tally, ThreadTally, Times, WaitForm, Waker};

    fn waiter(serial: u32, address: u64) -> ThreadSlot {
        ThreadSlot {
            serial,
            tid: 100 + serial,
            tgid: std::process::id(),
            state: STATE_BLOCKED,
            reason: Reason::Futex as u32,
            since_ns: 1_000,
            args: [address, 0, 2, 0, 0, 0],
            ..Zeroable::zeroed()
        }
    }

    fn futex(address: u64) -> FutexKey {
        FutexKey {
            tgid: std::process::id(),
            address,
        }
    }

    #[test]
    fn words_are_those_of_the_time_in_which_somebody_waits() {
        let lock: [u32; 5] = [2, 0, 4711, 1, 0];
        let address = &raw const lock as u64;
        let asleep = waiter(1, address);
        let read = |after: ThreadSlot| read_waited(&[asleep], || vec![after]);
        let words = read(asleep);
        assert_eq!(words[&futex(address)].owner, 4711);
        let woken = ThreadSlot {
            woken_ns: 2_000,
            ..asleep
        };
        assert!(read(woken).is_empty(), "it may hold the lock itself");
        let another_wait = ThreadSlot {
            since_ns: 3_000,
            ..asleep
        };
        assert!(read(another_wait).is_empty());
        assert!(read_waited(&[woken], || vec![woken]).is_empty());
        let nowhere = waiter(1, 8);
        assert!(read_waited(&[nowhere], || vec![nowhere]).is_empty());
    }

    #[test]
    fn a_lock_that_only_ended_threads_waited_for_is_looked_up() {
        let lock: [u32; 5] = [2, 0, 4711, 1, 0];
        let address = &raw const lock as u64;
        let mut aggregates = AggregateStore::default();
        let wakes = |futex: u64| ThreadTally {
            serial: 7,
            generation: 0,
            tally: Tally::Wakes {
                wait: WaitForm {
                    reason: Reason::Futex,
                    syscall: NO_SYSCALL,
                    detail: 0,
                    futex,
                },
                waker: Waker { tid: 1, pid: 1 },
                lock_owner: 0,
                times: Times::default(),
                last_ns: 0,
            },
        };
        let drained = Drained {
            tallies: vec![wakes(address), wakes(0)],
            ..Drained::default()
        };
        aggregates.add(drained, None);
        aggregates.ended.push(ThreadSlot {
            state: STATE_EXITED,
            ..waiter(7, address)
        });
        let found = inspect(&aggregates, &[], &WaitedWords::new());
        let state = &found.states[&futex(address)];
        assert!(matches!(state.place, Whereabouts::At(_)), "{state:?}");
        assert_eq!(state.words.map(|words| words.owner), Some(4711));
        assert!(state.while_waited.is_none(), "nobody waits");
        assert_eq!(found.states[&futex(0)].place, Whereabouts::Unmapped);
    }

    #[test]
    fn a_process_that_is_gone_leaves_places_unknown() {
        let gone = ThreadSlot {
            tgid: u32::MAX,
            ..waiter(1, 0x1000)
        };
        let found = inspect(&AggregateStore::default(), &[gone], &WaitedWords::new());
        let state = found.states.values().next().expect("it was looked for");
        assert_eq!(state.place, Whereabouts::Unknown);
    }
}
