//! The waits for each futex joined, over threads and processes.

use super::{super::StackIndex, LocksSeen};
use crate::{
    assemble::close::OpenWait,
    inspect::futexes::{FutexKey, Whereabouts},
    store::aggregates::{Doing, OwnerDid, Place, Waits, Wakes},
};
use remora_common::{
    futex,
    thread::{STATE_BLOCKED, ThreadSlot},
};
use remora_kernel::Arch;
use remora_model::{Gil, Reason, Syscall};
use remora_probe::{Times, WaitForm};
use remora_process as process;
use std::collections::{
    BTreeMap, HashMap,
    btree_map::Entry::{Occupied, Vacant},
};

/// A futex by what it really is: the same byte of shared memory has other addresses elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Identity {
    Private(FutexKey),
    /// Device, inode, offset.
    Shared(u64, u64, u64),
}

/// How a futex was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Form {
    /// By `futex`: the operation, and behind its 16 bits the expected value, 3 for anything larger.
    Futex(u32),
    /// By `futex_wait` (6.7).
    Wait,
    /// By `futex_waitv` (5.16): for several at once.
    Waitv,
}

impl Form {
    fn of(arch: Arch, wait: &WaitForm) -> Self {
        match super::super::syscall(arch, wait.syscall).map(Syscall::name) {
            Some("futex_waitv") => Self::Waitv,
            Some("futex_wait") => Self::Wait,
            _ => Self::Futex(wait.detail),
        }
    }

    /// Whether the waiter says that other processes may use the futex.
    fn is_shared(self) -> bool {
        matches!(self, Self::Futex(detail) if u64::from(detail) & futex::PRIVATE == 0)
    }

    /// Operation without its flags, and expected value; `None` of other calls.
    pub(super) fn command(self) -> Option<(u64, u64)> {
        match self {
            Self::Futex(detail) => {
                Some((u64::from(detail) & futex::COMMAND, u64::from(detail >> 16)))
            }
            Self::Wait | Self::Waitv => None,
        }
    }
}

/// A lock in the making.
pub(super) struct LockBuilder {
    pub(crate) at: FutexKey,
    pub(crate) shared: bool,
    /// Operation and expected value, by time.
    pub(crate) forms: BTreeMap<Form, u64>,
    pub(crate) sum: Times,
    pub(crate) waiters: HashMap<usize, Times>,
    pub(crate) waiting_now: Vec<usize>,
    /// Number of wake-ups, and when the last was, by thread.
    pub(crate) wakers: HashMap<u32, (u64, u64)>,
    pub(crate) owners: HashMap<u32, Times>,
    pub(crate) waiter_stacks: HashMap<(usize, usize), Times>,
    pub(crate) holder_stacks: HashMap<(usize, usize), Times>,
    pub(crate) is_gil: bool,
}

impl LockBuilder {
    fn new(at: FutexKey) -> Self {
        Self {
            at,
            shared: false,
            forms: BTreeMap::new(),
            sum: Times::default(),
            waiters: HashMap::new(),
            waiting_now: Vec::new(),
            wakers: HashMap::new(),
            owners: HashMap::new(),
            waiter_stacks: HashMap::new(),
            holder_stacks: HashMap::new(),
            is_gil: false,
        }
    }

    /// A thread waited for it.
    fn waited(&mut self, thread: usize, form: Form, times: &Times) {
        add(&mut self.sum, times);
        add(self.waiters.entry(thread).or_default(), times);
        *self.forms.entry(form).or_default() += times.total_ns + 1;
        self.shared |= form.is_shared();
    }

    fn woke(&mut self, waker: u32, count: u64, last_ns: u64) {
        let known = self.wakers.entry(waker).or_default();
        *known = (known.0 + count, known.1.max(last_ns));
    }

    /// Takes another word of the same lock in.
    fn join(&mut self, other: Self) {
        self.at = self.at.min(other.at);
        self.shared |= other.shared;
        add(&mut self.sum, &other.sum);
        self.waiting_now.extend(other.waiting_now);
        for (form, ns) in other.forms {
            *self.forms.entry(form).or_default() += ns;
        }
        for (waker, (count, last_ns)) in other.wakers {
            self.woke(waker, count, last_ns);
        }
        add_all(&mut self.waiters, other.waiters);
        add_all(&mut self.owners, other.owners);
        add_all(&mut self.waiter_stacks, other.waiter_stacks);
        add_all(&mut self.holder_stacks, other.holder_stacks);
    }
}

fn add_all<K: Eq + std::hash::Hash>(sums: &mut HashMap<K, Times>, more: HashMap<K, Times>) {
    for (key, sum) in more {
        add(sums.entry(key).or_default(), &sum);
    }
}

/// All of them.
pub(super) fn builders(seen: &LocksSeen<'_>, stacks: &mut StackIndex) -> Vec<LockBuilder> {
    let mut builders = Builders {
        seen,
        stacks,
        by_identity: HashMap::new(),
    };
    for wakes in seen.aggregates.wakes() {
        builders.take_wakes(&wakes);
    }
    for waits in seen.aggregates.waits() {
        builders.take_waits(&waits);
    }
    for owner in seen.aggregates.lock_owners() {
        builders.take_owner(owner);
    }
    for open in seen.open {
        builders.take_open(open);
    }
    let all = builders.by_identity.into_values();
    let waited = all.filter(|builder| builder.sum.count > 0);
    join_gils(waited.collect())
}

/// The interpreter lock of a process is one lock, though its waiters sleep in several of its words: those
/// of condition variables and of the mutexes about them.
fn join_gils(builders: Vec<LockBuilder>) -> Vec<LockBuilder> {
    let (gils, mut all): (Vec<LockBuilder>, Vec<LockBuilder>) =
        builders.into_iter().partition(|builder| builder.is_gil);
    let mut by_process: BTreeMap<u32, LockBuilder> = BTreeMap::new();
    for gil in gils {
        match by_process.entry(gil.at.tgid) {
            Occupied(mut whole) => whole.get_mut().join(gil),
            Vacant(none) => {
                none.insert(gil);
            }
        }
    }
    all.extend(by_process.into_values());
    all
}

/// The locks in the making, each once.
struct Builders<'a> {
    seen: &'a LocksSeen<'a>,
    stacks: &'a mut StackIndex,
    by_identity: HashMap<Identity, LockBuilder>,
}

impl<'a> Builders<'a> {
    fn at(&mut self, at: FutexKey) -> &mut LockBuilder {
        let state = self.seen.futexes.states.get(&at);
        let identity = match state.map(|state| &state.place) {
            Some(Whereabouts::At(process::Place {
                shared: Some((device, inode, offset)),
                ..
            })) => Identity::Shared(*device, *inode, *offset),
            _ => Identity::Private(at),
        };
        let builder = self.by_identity.entry(identity);
        builder.or_insert_with(|| LockBuilder::new(at))
    }

    /// The thread, its process and the futex that it waited for; `None` where one of them is not known.
    fn waiter(&self, place: &Place, wait: &WaitForm) -> Option<(usize, &'a ThreadSlot, FutexKey)> {
        let (thread, slot) = self.seen.threads.find(place.serial)?;
        let at = FutexKey {
            tgid: slot.tgid,
            address: wait.futex,
        };
        // Of summed threads there is no address: counted as `futexes_merged`.
        (wait.reason == Reason::Futex && wait.futex != 0).then_some((thread, slot, at))
    }

    /// A thread and the number of its stack, where there is one.
    fn stack(&mut self, thread: usize, slot: &ThreadSlot, place: &Place) -> Option<(usize, usize)> {
        place.stack?;
        let stack = self.stacks.of(slot.tgid, place.generation, place.stack);
        Some((thread, stack))
    }

    fn take_wakes(&mut self, wakes: &Wakes) {
        let Some((thread, _, at)) = self.waiter(&wakes.place, &wakes.wait) else {
            return;
        };
        let form = Form::of(self.seen.arch, &wakes.wait);
        let owner = self.seen.futexes.host_tid(at.tgid, wakes.lock_owner);
        let builder = self.at(at);
        builder.waited(thread, form, &wakes.times);
        builder.woke(wakes.waker.tid, wakes.times.count, wakes.last_ns);
        if wakes.lock_owner != 0 {
            add(builder.owners.entry(owner).or_default(), &wakes.times);
        }
    }

    fn take_waits(&mut self, waits: &Waits) {
        let Some((thread, slot, at)) = self.waiter(&waits.place, &waits.wait) else {
            return;
        };
        let is_gil = self.waits_for_gil(&waits.place);
        let stack = self.stack(thread, slot, &waits.place);
        let builder = self.at(at);
        builder.is_gil |= is_gil;
        if let Some(stack) = stack {
            add(
                builder.waiter_stacks.entry(stack).or_default(),
                &waits.times,
            );
        }
    }

    fn take_owner(&mut self, did: OwnerDid) {
        let Some((thread, slot)) = self.seen.threads.find(did.place.serial) else {
            return;
        };
        let Some(stack) = self.stack(thread, slot, &did.place) else {
            return;
        };
        let at = FutexKey {
            tgid: slot.tgid,
            address: did.lock,
        };
        let times = match did.doing {
            Doing::Waited(times) => times,
            // A sample stands for a share of a second.
            Doing::Ran(samples) => Times {
                count: samples,
                total_ns: samples * 1_000_000_000 / u64::from(self.seen.freq_hz.max(1)),
                max_ns: 0,
            },
        };
        let builder = self.at(at);
        add(builder.holder_stacks.entry(stack).or_default(), &times);
    }

    fn take_open(&mut self, open: &OpenWait) {
        let times = open.times();
        if open.wait.reason != Reason::Futex {
            return;
        }
        let Some((thread, slot)) = self.seen.threads.find(open.place.serial) else {
            return;
        };
        let at = FutexKey {
            tgid: slot.tgid,
            address: open.wait.futex,
        };
        let form = Form::of(self.seen.arch, &open.wait);
        let owner = self.seen.futexes.host_tid(at.tgid, slot.lock_owner);
        let is_gil = self.waits_for_gil(&open.place);
        let stack = self.stack(thread, slot, &open.place);
        let builder = self.at(at);
        builder.waited(thread, form, &times);
        if slot.state == STATE_BLOCKED && !slot.is_woken() {
            builder.waiting_now.push(thread);
        }
        if slot.lock_owner != 0 {
            add(builder.owners.entry(owner).or_default(), &times);
        }
        builder.is_gil |= is_gil;
        if let Some(stack) = stack {
            add(builder.waiter_stacks.entry(stack).or_default(), &times);
        }
    }

    fn waits_for_gil(&self, place: &Place) -> bool {
        let stack = place
            .stack
            .and_then(|at| self.seen.aggregates.stacks.get(at));
        let python = stack.and_then(|stack| stack.python.as_ref());
        python.is_some_and(|python| python.gil == Gil::WaitedFor)
    }
}

fn add(sum: &mut Times, more: &Times) {
    sum.count += more.count;
    sum.total_ns += more.total_ns;
    sum.max_ns = sum.max_ns.max(more.max_ns);
}
