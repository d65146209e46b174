//! The waits for each futex joined, over threads and processes.

use super::super::{StackIndex, Threads, waits::OpenWait};
use crate::{
    inspect::futexes::{FutexKey, Whereabouts},
    record::raw::RawCapture,
    store::aggregates::{Entry, Sum},
};
use remora_common::{
    aggregate::{AggregateKey, KIND_HOLD, KIND_WAIT, KIND_WAKE},
    futex,
    thread::STATE_BLOCKED,
};
use remora_model::{Gil, Reason, Syscall};
use remora_process::Place;
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
pub enum Form {
    /// By `futex`: the operation, and behind its 16 bits the expected value, 3 for anything larger.
    Futex(u32),
    /// By `futex_wait` (6.7).
    Wait,
    /// By `futex_waitv` (5.16): for several at once.
    Waitv,
}

impl Form {
    fn of(raw: &RawCapture, key: &AggregateKey) -> Self {
        match super::super::syscall(raw.arch, key.syscall).map(Syscall::name) {
            Some("futex_waitv") => Self::Waitv,
            Some("futex_wait") => Self::Wait,
            _ => Self::Futex(key.detail),
        }
    }

    /// Whether the waiter says that other processes may use the futex.
    fn is_shared(self) -> bool {
        matches!(self, Self::Futex(detail) if u64::from(detail) & futex::PRIVATE == 0)
    }

    /// Operation without its flags, and expected value; `None` of other calls.
    pub fn command(self) -> Option<(u64, u64)> {
        match self {
            Self::Futex(detail) => {
                Some((u64::from(detail) & futex::COMMAND, u64::from(detail >> 16)))
            }
            Self::Wait | Self::Waitv => None,
        }
    }
}

/// A lock in the making.
pub struct LockBuilder {
    pub at: FutexKey,
    pub shared: bool,
    /// Operation and expected value, by time.
    pub forms: BTreeMap<Form, u64>,
    pub sum: Sum,
    pub waiters: HashMap<usize, Sum>,
    pub waiting_now: Vec<usize>,
    /// Number of wake-ups, and when the last was, by thread.
    pub wakers: HashMap<u32, (u64, u64)>,
    pub owners: HashMap<u32, Sum>,
    pub waiter_stacks: HashMap<(usize, usize), Sum>,
    pub holder_stacks: HashMap<(usize, usize), Sum>,
    pub is_gil: bool,
}

impl LockBuilder {
    fn new(at: FutexKey) -> Self {
        Self {
            at,
            shared: false,
            forms: BTreeMap::new(),
            sum: Sum::default(),
            waiters: HashMap::new(),
            waiting_now: Vec::new(),
            wakers: HashMap::new(),
            owners: HashMap::new(),
            waiter_stacks: HashMap::new(),
            holder_stacks: HashMap::new(),
            is_gil: false,
        }
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

fn add_all<K: Eq + std::hash::Hash>(sums: &mut HashMap<K, Sum>, more: HashMap<K, Sum>) {
    for (key, sum) in more {
        add(sums.entry(key).or_default(), &sum);
    }
}

/// All of them.
pub fn builders(
    raw: &RawCapture,
    threads: &Threads,
    open: &[OpenWait],
    stacks: &mut StackIndex,
) -> Vec<LockBuilder> {
    let mut builders: HashMap<Identity, LockBuilder> = HashMap::new();
    for (entry, sum) in &raw.aggregates.sums {
        take(raw, threads, stacks, &mut builders, entry, sum);
    }
    for wait in open {
        if wait.key.reason == Reason::Futex as u8 {
            take_open(raw, threads, stacks, &mut builders, wait);
        }
    }
    let waited = builders
        .into_values()
        .filter(|builder| builder.sum.count > 0);
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

fn identity(raw: &RawCapture, at: FutexKey) -> Identity {
    match raw.futexes.states.get(&at).map(|state| &state.place) {
        Some(Whereabouts::At(Place {
            shared: Some((device, inode, offset)),
            ..
        })) => Identity::Shared(*device, *inode, *offset),
        _ => Identity::Private(at),
    }
}

/// Takes one aggregate in.
fn take(
    raw: &RawCapture,
    threads: &Threads,
    stacks: &mut StackIndex,
    builders: &mut HashMap<Identity, LockBuilder>,
    (key, stack): &Entry,
    sum: &Sum,
) {
    if key.kind != KIND_HOLD && key.reason != Reason::Futex as u8 {
        return;
    }
    if !matches!(key.kind, KIND_HOLD | KIND_WAIT | KIND_WAKE) {
        return;
    }
    let Some((thread, slot)) = threads.find(key.serial) else {
        return;
    };
    if key.object == 0 {
        // Of summed threads: counted as `futexes_merged`.
        return;
    }
    let at = FutexKey {
        tgid: slot.tgid,
        address: key.object,
    };
    let builder = builders
        .entry(identity(raw, at))
        .or_insert_with(|| LockBuilder::new(at));
    let place = stack.map(|stack| (thread, stacks.of(slot.tgid, key.generation, Some(stack))));
    match key.kind {
        KIND_WAKE => {
            add(&mut builder.sum, sum);
            add(builder.waiters.entry(thread).or_default(), sum);
            let form = Form::of(raw, key);
            *builder.forms.entry(form).or_default() += sum.total_ns + 1;
            builder.shared |= form.is_shared();
            builder.woke(key.user, sum.count, sum.late_ns);
            if key.owner != 0 {
                add(
                    builder
                        .owners
                        .entry(host_tid(raw, at.tgid, key.owner))
                        .or_default(),
                    sum,
                );
            }
        }
        KIND_WAIT => {
            builder.is_gil |= stack.is_some_and(|stack| waits_for_gil(raw, stack));
            if let Some(place) = place {
                add(builder.waiter_stacks.entry(place).or_default(), sum);
            }
        }
        _ => {
            // A sample stands for a share of a second.
            let mut sum = *sum;
            if key.reason == Reason::Unknown as u8 && sum.total_ns == 0 {
                sum.total_ns = sum.count * 1_000_000_000 / u64::from(raw.freq_hz.max(1));
            }
            if let Some(place) = place {
                add(builder.holder_stacks.entry(place).or_default(), &sum);
            }
        }
    }
}

fn take_open(
    raw: &RawCapture,
    threads: &Threads,
    stacks: &mut StackIndex,
    builders: &mut HashMap<Identity, LockBuilder>,
    wait: &OpenWait,
) {
    let Some((thread, slot)) = threads.find(wait.key.serial) else {
        return;
    };
    let at = FutexKey {
        tgid: slot.tgid,
        address: wait.key.object,
    };
    let sum = Sum {
        count: 1,
        total_ns: wait.lasted_ns,
        max_ns: wait.lasted_ns,
        ..Sum::default()
    };
    let builder = builders
        .entry(identity(raw, at))
        .or_insert_with(|| LockBuilder::new(at));
    add(&mut builder.sum, &sum);
    add(builder.waiters.entry(thread).or_default(), &sum);
    let form = Form::of(raw, &wait.key);
    *builder.forms.entry(form).or_default() += sum.total_ns + 1;
    builder.shared |= form.is_shared();
    if slot.state == STATE_BLOCKED && !slot.is_woken() {
        builder.waiting_now.push(thread);
    }
    if slot.lock_owner != 0 {
        let owner = host_tid(raw, at.tgid, slot.lock_owner);
        add(builder.owners.entry(owner).or_default(), &sum);
    }
    if let Some(stack) = wait.stack {
        builder.is_gil |= waits_for_gil(raw, stack);
        let index = stacks.of(slot.tgid, wait.key.generation, Some(stack));
        add(
            builder.waiter_stacks.entry((thread, index)).or_default(),
            &sum,
        );
    }
}

fn add(sum: &mut Sum, more: &Sum) {
    sum.count += more.count;
    sum.total_ns += more.total_ns;
    sum.max_ns = sum.max_ns.max(more.max_ns);
}

fn waits_for_gil(raw: &RawCapture, stack: usize) -> bool {
    let raw = raw.aggregates.stacks.get(stack);
    let python = raw.and_then(|raw| raw.python.as_ref());
    python.is_some_and(|python| python.gil == Gil::WaitedFor)
}

/// The id here of a thread that its process knows by another.
pub fn host_tid(raw: &RawCapture, tgid: u32, tid: u32) -> u32 {
    let ids = raw.futexes.namespaces.get(&tgid);
    ids.and_then(|ids| ids.get(&tid)).copied().unwrap_or(tid)
}
