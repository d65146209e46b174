//! Who owns a lock that notes no owner: Rust's `Mutex` and `RwLock`, those of `parking_lot`, glibc's read-write
//! lock under readers.
//!
//! Such a lock is looked at only when somebody has waited for it for half a second, and then the threads of that
//! process that sleep as long: who runs or wakes up will free what it has. Each of their frames is followed from its
//! return address on (`path`): what it frees there without taking it first, it holds. A thread that waits for the
//! lock itself will free that one time after it got it, so with it only a second time counts.
//!
//! x86-64 alone has such a look; elsewhere nobody is found. The target is only read.

mod names;
mod parked;
mod path;
mod state;
mod words;

use super::{
    blocked::{BlockedStacks, Rows},
    futexes::{self, FutexKey},
};
use crate::store::{
    aggregates::AggregateStore,
    spaces::{SpaceKey, Spaces},
};
use names::Functions;
use path::{Act, Follower, MAX_LOCKS, Names};
use remora_common::{
    futex,
    reason::Reason,
    thread::{STATE_BLOCKED, ThreadSlot},
    unwind::{EXACT, Machine, Registers},
};
use remora_model::RawStack;
use remora_process::deadline::{self, Step, Subject};
use remora_process::unwind;
use remora_process::{
    self as process, Budget,
    maps::Snapshot,
    memory::{Memory, ProcessMemory},
    pages::Pages,
};
use state::State;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};
use words::{Unowned, unowned};

pub(crate) use words::Sort;

/// A wait of this length asks for the owner.
const LONG_NS: u64 = 500_000_000;
/// Threads of a process that are looked at, those that wait for such locks first.
const MAX_THREADS: usize = 256;
/// Frames of each.
const MAX_FRAMES: usize = 48;
/// Threads named for one lock.
const MAX_OWNERS: usize = 16;
/// Time on a CPU for all processes.
const LONGEST: Duration = Duration::from_secs(1);

/// A thread that will free a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CodeOwner {
    /// Thread id.
    pub tid: u32,
    /// Its serial.
    pub serial: u32,
    /// Generation of its address space.
    pub generation: u32,
    /// Address of the call in whose frame it does.
    pub call: u64,
    /// The same as a stack of what was gathered.
    pub frame: Option<usize>,
}

/// Who has a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CodeOwners {
    /// Where it lies; threads may wait for it elsewhere.
    pub address: u64,
    /// How many read under it, by its word; 0: one has it alone.
    pub readers: u32,
    /// What it is.
    pub sort: Sort,
    /// The threads that will free it.
    pub owners: Vec<CodeOwner>,
}

/// All that was found.
#[derive(Debug, Default)]
pub(crate) struct OwnersByCode {
    /// By the futex that is waited for.
    pub locks: HashMap<FutexKey, CodeOwners>,
    /// Threads, or calls of theirs, that were left out: there were too many, the time was over, or the process could
    /// not be read.
    pub left_out: u64,
}

impl OwnersByCode {
    /// Puts the frames among the stacks that get names.
    pub(crate) fn gather_frames(&mut self, aggregates: &mut AggregateStore) {
        for owner in self.locks.values_mut().flat_map(|lock| &mut lock.owners) {
            owner.frame = aggregates.intern(RawStack {
                user: vec![owner.call],
                ..RawStack::default()
            });
        }
    }
}

/// A thread that sleeps, and where.
#[derive(Clone, Copy)]
struct Sleeper {
    slot: ThreadSlot,
    registers: Registers,
}

/// Finds who owns the locks that threads have long waited for. `living` are the threads at `end_ns`, `still` gives
/// them after the look: who moved meanwhile holds nothing that was seen.
pub(crate) fn inspect(
    living: &[ThreadSlot],
    blocked: &BlockedStacks,
    spaces: &Spaces,
    machine: Machine,
    end_ns: u64,
    still: impl FnOnce() -> Vec<ThreadSlot>,
) -> OwnersByCode {
    let mut owners = OwnersByCode::default();
    if machine.is_arm64 {
        return owners;
    }
    let mut by_process: BTreeMap<u32, Vec<Sleeper>> = BTreeMap::new();
    for slot in living {
        let long = end_ns.saturating_sub(slot.since_ns) >= LONG_NS;
        let sleeps = slot.state == STATE_BLOCKED && !slot.is_woken() && long;
        let at = blocked.registers.get(&(slot.serial, slot.since_ns));
        if let (true, Some(registers)) = (sleeps, at) {
            let (slot, registers) = (*slot, *registers);
            let own = by_process.entry(slot.tgid).or_default();
            own.push(Sleeper { slot, registers });
        }
    }
    let mut time = LONGEST;
    for (tgid, sleepers) in by_process {
        let generation = spaces.latest(tgid);
        let space = spaces.get(SpaceKey { tgid, generation }).cloned();
        let threads = sleepers.len() as u64;
        let inspected = deadline::run(Step::LockOwners, Subject::Process(tgid), move || {
            let mut found = OwnersByCode::default();
            let budget = Budget::of(time);
            inspect_process(
                tgid,
                sleepers,
                (space, generation),
                machine,
                budget,
                &mut found,
            );
            (found, budget.left())
        });
        match inspected {
            Some((found, left)) => {
                time = left;
                owners.locks.extend(found.locks);
                owners.left_out += found.left_out;
            }
            None => owners.left_out += threads,
        }
    }
    if owners.locks.is_empty() {
        return owners;
    }
    let unmoved = still();
    let unmoved: HashMap<u32, (u64, bool)> = unmoved
        .iter()
        .map(|slot| (slot.serial, (slot.since_ns, slot.is_woken())))
        .collect();
    let since: HashMap<u32, u64> = living.iter().map(|it| (it.serial, it.since_ns)).collect();
    for lock in owners.locks.values_mut() {
        lock.owners.retain(|owner| {
            let then = since.get(&owner.serial).copied();
            then.is_some_and(|then| unmoved.get(&owner.serial) == Some(&(then, false)))
        });
    }
    owners
}

/// The locks without an owner that threads of a process wait for.
fn wanted(memory: &impl Memory, sleepers: &[Sleeper], threads: u32) -> Vec<(FutexKey, Unowned)> {
    let mut found: BTreeMap<FutexKey, Unowned> = BTreeMap::new();
    let mut addresses: HashSet<u64> = HashSet::new();
    for Sleeper { slot, .. } in sleepers {
        if slot.reason != Reason::Futex as u32 || addresses.len() >= MAX_LOCKS {
            continue;
        }
        let [address, operation, expected, ..] = slot.args;
        let futex = FutexKey {
            tgid: slot.tgid,
            address,
        };
        let lock = || {
            let lock = unowned(memory, address, operation, expected, threads)?;
            let glibc = lock.sort == Sort::Glibc;
            (glibc || !has_owner(memory, slot.tgid, address, expected)).then_some(lock)
        };
        if !found.contains_key(&futex)
            && let Some(lock) = parked::parked(memory, &slot.args, threads).or_else(lock)
        {
            addresses.extend(lock.addresses());
            found.insert(futex, lock);
        }
    }
    // What looks like the owner of a lock may be another lock beside it.
    let locks: HashSet<u64> = found.values().map(|lock| lock.address).collect();
    for lock in found.values_mut() {
        lock.whole = lock.whole.filter(|whole| !locks.contains(whole));
    }
    found.into_iter().collect()
}

/// Whether a mutex names a thread of its process.
fn has_owner(memory: &impl Memory, tgid: u32, address: u64, expected: u64) -> bool {
    let words = futexes::mutex(memory, address);
    words.is_some_and(|words| {
        let (tid, _) = futex::owner_of_mutex(&words, expected);
        tid != 0 && process::process_of(tid) == Some(tgid)
    })
}

fn inspect_process(
    tgid: u32,
    mut sleepers: Vec<Sleeper>,
    (space, generation): (Option<Snapshot>, u32),
    machine: Machine,
    budget: Budget,
    found: &mut OwnersByCode,
) {
    let Ok(memory) = ProcessMemory::open(tgid) else {
        // It has ended, or cannot be read.
        found.left_out += sleepers.len() as u64;
        return;
    };
    let locks = wanted(
        &memory,
        &sleepers,
        process::proc_fs::threads(tgid).len() as u32,
    );
    if locks.is_empty() {
        return;
    }
    let Some(space) = &space else {
        found.left_out += sleepers.len() as u64;
        return;
    };
    let waits_for = |slot: &ThreadSlot| {
        let waits = slot.reason == Reason::Futex as u32;
        let at = locks.iter().find(|(key, _)| key.address == slot.args[0]);
        at.filter(|_| waits).map(|(_, lock)| *lock)
    };
    let all = locks.iter().flat_map(|(_, lock)| lock.addresses());
    let mut addresses: Vec<u64> = all.collect();
    addresses.sort_unstable();
    addresses.dedup();
    let parking = locks.iter().filter(|(_, lock)| lock.sort.is_parking());
    let parking: HashSet<u64> = parking.flat_map(|(_, lock)| lock.addresses()).collect();
    sleepers.sort_by_key(|it| (waits_for(&it.slot).is_none(), it.slot.tid));
    let left_out = sleepers.len().saturating_sub(MAX_THREADS);
    sleepers.truncate(MAX_THREADS);
    found.left_out += left_out as u64;
    let mut inspection = Inspection {
        machine,
        space,
        memory: &memory,
        pages: Pages::new(&memory),
        rows: Rows::new(),
        functions: Functions::new(space),
        locks: &addresses,
        compared: mask(addresses.iter().map(|at| parking.contains(at))),
    };
    let mut owners: HashMap<u64, Vec<CodeOwner>> = HashMap::new();
    for sleeper in &sleepers {
        if budget.is_spent() {
            found.left_out += 1;
            continue;
        }
        for (lock, call) in inspection.owned_by(sleeper.registers, waits_for(&sleeper.slot)) {
            let own = owners.entry(lock).or_default();
            if own.len() >= MAX_OWNERS {
                found.left_out += 1;
            } else {
                own.push(CodeOwner {
                    tid: sleeper.slot.tid,
                    serial: sleeper.slot.serial,
                    generation,
                    call,
                    frame: None,
                });
            }
        }
    }
    found.left_out += inspection.functions.unnamed;
    let owned = locks
        .into_iter()
        .map(|(key, lock)| (key, owned(lock, &owners)));
    found.locks.extend(owned);
}

/// A lock with the owners of each address that it may have, each thread once.
fn owned(lock: Unowned, owners: &HashMap<u64, Vec<CodeOwner>>) -> CodeOwners {
    let mut own: Vec<CodeOwner> = Vec::new();
    for owner in lock.addresses().filter_map(|at| owners.get(&at)).flatten() {
        if !own.iter().any(|known| known.serial == owner.serial) {
            own.push(*owner);
        }
    }
    CodeOwners {
        address: lock.address,
        readers: lock.readers,
        sort: lock.sort,
        owners: own,
    }
}

/// What is looked at in a process.
struct Inspection<'a> {
    machine: Machine,
    space: &'a Snapshot,
    memory: &'a ProcessMemory,
    pages: Pages<'a, ProcessMemory>,
    rows: Rows,
    functions: Functions<'a>,
    locks: &'a [u64],
    compared: u64,
}

impl Inspection<'_> {
    /// Whether a thread stands in a condition variable, and has given up its lock until it is told.
    fn waits_for_condition(&mut self, frames: &[Registers]) -> bool {
        let mut frames = frames.iter().take(MAX_FRAMES);
        frames.any(|frame| {
            let call = (frame.ip & !EXACT).wrapping_sub(1);
            self.functions.act(call) == Act::Waits
        })
    }
}

/// The bits of those that are so.
fn mask(are: impl Iterator<Item = bool>) -> u64 {
    let bits = are.take(MAX_LOCKS).enumerate();
    bits.fold(0, |mask, (at, is)| mask | u64::from(is) << at)
}

impl Inspection<'_> {
    /// The locks that a thread will free, and the call in whose frame; `own`: the lock that it waits for.
    fn owned_by(&mut self, registers: Registers, own: Option<Unowned>) -> Vec<(u64, u64)> {
        let (rows, space) = (&mut self.rows, self.space);
        let row = |address| rows.find(space, address);
        let (frames, _) = unwind::frames(self.machine, registers, self.memory, row);
        // A guard that it has had before the wait is that of the lock which it waits for.
        let mut given_up = None;
        let mut state = State::default();
        let mut freed: HashMap<u64, u8> = HashMap::new();
        let mut owned: Vec<(u64, u64)> = Vec::new();
        let mut done: HashSet<u64> = HashSet::new();
        for (at, frame) in frames.iter().enumerate().take(MAX_FRAMES) {
            let ip = frame.ip & !EXACT;
            state = state.returned(frame.sp, frame.fp);
            let caller_sp = frames.get(at + 1).map(|caller| caller.sp);
            let mut follower = Follower {
                pages: &mut self.pages,
                locks: self.locks,
                compared: self.compared,
                names: &mut self.functions,
                depth: 0,
            };
            let found = follower.follow(ip, state, caller_sp);
            for (lock, times) in self.locks.iter().zip(&found.freed) {
                let sum = freed.entry(*lock).or_default();
                *sum = sum.saturating_add(*times);
                let waits = own.is_some_and(|own| own.addresses().any(|at| at == *lock));
                let enough = if waits { 2 } else { 1 };
                if *times == 0 || *sum < enough || done.contains(lock) {
                    continue;
                }
                if waits && *given_up.get_or_insert_with(|| self.waits_for_condition(&frames)) {
                    continue;
                }
                if done.insert(*lock) {
                    let call = if at == 0 { ip } else { ip.wrapping_sub(1) };
                    owned.push((*lock, call));
                }
            }
            state = found.returned.unwrap_or_default();
        }
        owned
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::Zeroable;

    fn sleeper(tgid: u32, address: u64) -> ThreadSlot {
        ThreadSlot {
            serial: 1,
            tid: tgid,
            tgid,
            state: STATE_BLOCKED,
            reason: Reason::Futex as u32,
            since_ns: 1,
            args: [address, 0, futex::CONTENDED, 0, 0, 0],
            ..Zeroable::zeroed()
        }
    }

    fn find(slot: ThreadSlot, registers: Registers) -> OwnersByCode {
        let mut blocked = BlockedStacks::default();
        blocked.registers.insert((1, slot.since_ns), registers);
        let mut spaces = Spaces::default();
        let generation = 0;
        let tgid = slot.tgid;
        spaces.read(SpaceKey { tgid, generation }, 1);
        let machine = remora_kernel::Arch::current().machine();
        let end_ns = LONG_NS + 1;
        inspect(&[slot], &blocked, &spaces, machine, end_ns, || vec![slot])
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn a_stack_that_cannot_be_read_holds_nothing() {
        let lock = [2_u32; 16];
        let slot = sleeper(std::process::id(), &raw const lock as u64);
        let code = a_stack_that_cannot_be_read_holds_nothing as *const () as u64;
        for (ip, sp) in [(code, 8), (code, u64::MAX - 7), (0, 0), (u64::MAX, 8)] {
            let registers = Registers {
                ip,
                sp,
                fp: sp,
                lr: 0,
            };
            let found = find(slot, registers);
            assert_eq!(found.locks.len(), 1);
            assert!(found.locks.values().all(|lock| lock.owners.is_empty()));
        }
        // For a moment only, it is not looked at.
        let short = ThreadSlot {
            since_ns: 2,
            ..slot
        };
        assert!(find(short, Registers::default()).locks.is_empty());
    }

    #[test]
    fn a_process_that_is_gone_holds_nothing() {
        let slot = sleeper(u32::MAX / 2, 0x1000);
        assert!(find(slot, Registers::default()).locks.is_empty());
    }
}
