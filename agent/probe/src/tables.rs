//! Threads, aggregates and stacks, out of the maps.

use super::{
    Mapped, Probe, ProbeError,
    aggregate::{ThreadTally, decode},
};
use bytemuck::Zeroable;
use remora_common::{
    aggregate::{
        Aggregate, AggregateKey, BLOCK_WORDS, Control, STACK_FAULT, STACK_KERNEL, STACK_LOST,
        STACK_NONE, STACK_SKIPPED, STACK_USER, STACK_WORDS, StackEntry, UNFOLLOWED,
    },
    event_loop::EventLoop,
    python::unpack_ending,
    thread::{STATE_EXITED, ThreadSlot},
};
use remora_model::{Ending, Outcome, PythonFrame, RawPython, RawStack};
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{Ordering, fence},
    },
    time::Duration,
};

/// How often a reader retries a record that changes under its eyes.
const READ_ATTEMPTS: usize = 64;

/// How long a program that saw the old bank may still be writing to it: programs run with
/// preemption off, for microseconds; a virtual CPU may be descheduled for longer.
const SETTLE: Duration = Duration::from_millis(20);

/// Python stacks that are read in one beat at the most.
const NEW_STACKS: usize = 4096;

/// What one bank of the tables held.
#[derive(Clone, Debug, Default)]
pub struct Drained {
    /// The aggregates.
    pub tallies: Vec<ThreadTally>,
    /// Aggregates of a kind that is unknown here.
    pub unknown_kinds: u64,
    /// Stacks that an aggregate names and that could not be read.
    pub stacks_unreadable: u64,
}

impl Mapped<Control> {
    /// How often the banks were changed.
    fn epoch(&self) -> u32 {
        self.read(0).epoch
    }

    /// Turns the programs to the other bank.
    fn change(&self) {
        let next = self.epoch().wrapping_add(1);
        // SAFETY: a live, aligned member that only the agent writes.
        unsafe { (&raw mut (*self.element(0)).epoch).write_volatile(next) };
    }
}

impl Probe {
    pub(super) fn set_recording(&self, on: u32) {
        // SAFETY: a live, aligned member that only the agent writes.
        unsafe { (&raw mut (*self.control.element(0)).recording).write_volatile(on) };
        fence(Ordering::SeqCst);
    }

    /// The children that a process makes from now on are not followed; the first [`UNFOLLOWED`] of these count.
    pub fn do_not_follow(&mut self, at: usize, pid: u32) {
        if at < UNFOLLOWED {
            // SAFETY: a live, aligned element of an array that only the agent writes; the index is below its length.
            unsafe { (&raw mut (*self.control.element(0)).unfollowed[at]).write_volatile(pid) };
        }
    }

    /// All threads that have a slot, each as a consistent copy.
    ///
    /// A slot that changed during every attempt is returned as it was last seen.
    pub fn threads(&self) -> Vec<ThreadSlot> {
        (1..self.slots.len())
            .filter(|index| self.tid(*index) != 0)
            .map(|index| self.thread(index))
            .collect()
    }

    /// Ids of the threads that have a slot.
    pub fn thread_ids(&self) -> Vec<u32> {
        let ids = (1..self.slots.len()).map(|index| self.tid(index));
        ids.filter(|tid| *tid != 0).collect()
    }

    /// Whether a thread is left that has not exited.
    pub fn anyone_left(&self) -> bool {
        (1..self.slots.len()).any(|index| self.tid(index) != 0 && self.state(index) != STATE_EXITED)
    }

    fn state(&self, index: usize) -> u32 {
        // SAFETY: a live, aligned member.
        unsafe { (&raw const (*self.slots.element(index)).state).read_volatile() }
    }

    fn tid(&self, index: usize) -> u32 {
        // SAFETY: a live, aligned member.
        unsafe { (&raw const (*self.slots.element(index)).tid).read_volatile() }
    }

    fn sequence(&self, index: usize) -> u64 {
        // SAFETY: a live, aligned member.
        let sequence =
            unsafe { (&raw const (*self.slots.element(index)).sequence).read_volatile() };
        fence(Ordering::SeqCst);
        sequence
    }

    fn thread(&self, index: usize) -> ThreadSlot {
        for _ in 0..READ_ATTEMPTS {
            let before = self.sequence(index);
            let slot = self.slots.read(index);
            fence(Ordering::SeqCst);
            if before.is_multiple_of(2) && before == self.sequence(index) {
                return slot;
            }
        }
        self.slots.read(index)
    }

    /// Takes the records of the threads that are gone, and gives their slots back.
    pub fn collect_ended(&mut self) -> Result<Vec<(ThreadSlot, Option<EventLoop>)>, ProbeError> {
        let mut ended = Vec::new();
        for index in 1..self.slots.len() {
            if self.state(index) != STATE_EXITED {
                continue;
            }
            let thread = self.thread(index);
            ended.push((thread, self.event_loop(thread.event_loop)));
            self.free_loop(thread.event_loop)?;
            self.slots.put(index, ThreadSlot::zeroed());
            self.free_slots
                .push(index as u32, 0)
                .map_err(|error| ProbeError::Map {
                    map: "FREE_SLOTS",
                    why: error.to_string(),
                })?;
        }
        Ok(ended)
    }

    /// Whether the active bank is more than half full of aggregates or stacks.
    pub fn is_filling_up(&self) -> bool {
        let control = self.control.read(0);
        let bank = (control.epoch & 1) as usize;
        let aggregates_per_bank = self.aggregates.len() as u64 / 2;
        control.aggregates_used[bank] > aggregates_per_bank / 2
            || control.stacks_used[bank] > u64::from(self.stacks_per_bank) / 2
    }

    /// Turns the programs to the other bank and empties the one they left.
    pub async fn swap_and_drain(&mut self) -> Drained {
        let left = self.control.epoch() & 1;
        self.control.change();
        tokio::time::sleep(SETTLE).await;
        let drained = self.read_bank(left);
        self.clear_bank(left);
        drained
    }

    /// Waits until no program is on its way that began before now.
    pub async fn settled(&self) {
        tokio::time::sleep(SETTLE).await;
    }

    /// Reads both banks: for the end of a capture, when nothing fills them.
    pub fn drain(&self) -> [Drained; 2] {
        [self.read_bank(0), self.read_bank(1)]
    }

    /// Python stacks that came since this was asked last, each with its process and the generation of
    /// its address space. A bounded number at a time; the rest comes the next time.
    pub fn new_python_stacks(&mut self) -> Vec<(u32, u32, Vec<PythonFrame>)> {
        let epoch = self.control.epoch();
        if self.python_seen.0 != epoch {
            self.python_seen = (epoch, HashSet::new());
        }
        let per_bank = self.aggregates.len() / 2;
        let first = (epoch & 1) as usize * per_bank;
        let mut news: Vec<AggregateKey> = Vec::new();
        for index in first..first + per_bank {
            // SAFETY: a live, aligned member, which its claimer writes once.
            let python = unsafe {
                (&raw const (*self.aggregates.element(index)).key.python).read_volatile()
            };
            if python != STACK_NONE && news.len() < NEW_STACKS && self.python_seen.1.insert(python)
            {
                news.push(self.aggregates.read(index).key);
            }
        }
        if news.is_empty() {
            return Vec::new();
        }
        let processes: HashMap<u32, u32> = self
            .threads()
            .iter()
            .map(|slot| (slot.serial, slot.tgid))
            .collect();
        let mut stacks = StackReader::new(&self.stacks);
        let known = news.iter().filter_map(|key| {
            let tgid = *processes.get(&key.serial)?;
            let python = stacks.words(key.python)?;
            if python.words.is_empty() {
                // Just being filled, perhaps: it is looked at again.
                self.python_seen.1.remove(&key.python);
            }
            Some((tgid, key.generation, python_of(&python.words, 0).frames))
        });
        known.collect()
    }

    fn read_bank(&self, bank: u32) -> Drained {
        let per_bank = self.aggregates.len() / 2;
        let first = bank as usize * per_bank;
        let mut stacks = StackReader::new(&self.stacks);
        let mut drained = Drained::default();
        for index in first..first + per_bank {
            let aggregate = self.aggregates.read(index);
            if aggregate.hash == 0 {
                continue;
            }
            match decode(&aggregate, |key| stacks.read(key)) {
                Some(tally) => drained.tallies.push(tally),
                None => drained.unknown_kinds += 1,
            }
        }
        drained.stacks_unreadable = stacks.unreadable;
        drained
    }

    fn clear_bank(&mut self, bank: u32) {
        let per_bank = self.aggregates.len() / 2;
        let first = bank as usize * per_bank;
        for index in first..first + per_bank {
            if self.aggregates.read(index).hash != 0 {
                self.aggregates.put(index, Aggregate::zeroed());
            }
        }
        let first = bank * self.stacks_per_bank;
        for index in first..first + self.stacks_per_bank {
            let occupied = self
                .stacks
                .get(&index, 0)
                .is_ok_and(|entry| entry.hash != 0);
            if occupied {
                // A failure leaves an old stack in place: found again by its hash, never wrong.
                let _kept = self.stacks.set(index, StackEntry::zeroed(), 0);
            }
        }
        let bank = bank as usize;
        let control = self.control.element(0);
        // SAFETY: live, aligned members; no program fills this bank now.
        unsafe {
            (&raw mut (*control).aggregates_used[bank]).write_volatile(0);
            (&raw mut (*control).stacks_used[bank]).write_volatile(0);
        }
    }
}

/// Reads each block once.
struct StackReader<'a> {
    table: &'a aya::maps::Array<aya::maps::MapData, StackEntry>,
    seen: HashMap<u32, Option<Arc<StackEntry>>>,
    unreadable: u64,
}

/// A stack as the table has it.
struct Words {
    kind: u16,
    ending: u32,
    words: Vec<u64>,
}

impl<'a> StackReader<'a> {
    fn new(table: &'a aya::maps::Array<aya::maps::MapData, StackEntry>) -> Self {
        Self {
            table,
            seen: HashMap::new(),
            unreadable: 0,
        }
    }

    /// The stacks of one moment. `None` when none was taken and one was lost.
    fn read(&mut self, key: &AggregateKey) -> Option<RawStack> {
        let (user, kernel) = (self.words(key.user), self.words(key.kernel));
        let lost = |id| matches!(id, STACK_LOST | STACK_FAULT | STACK_SKIPPED);
        if user.is_none() && kernel.is_none() && (lost(key.user) || lost(key.kernel)) {
            return None;
        }
        let python = self.words(key.python);
        // A kernel stack alone does not make it whole.
        let outcome = match &user {
            Some(walk) => Outcome::from_u32(walk.ending),
            None => lost(key.user).then_some(Outcome::Lost),
        };
        let python = match python {
            Some(walk) => Some(python_of(&walk.words, walk.ending)),
            None => lost(key.python).then(|| RawPython {
                ending: Ending::Torn,
                ..RawPython::default()
            }),
        };
        let of_kind = |words: Option<Words>, kind| {
            words
                .filter(|words| words.kind == kind)
                .map(|words| words.words)
        };
        Some(RawStack {
            user: of_kind(user, STACK_USER).unwrap_or_default(),
            outcome,
            python,
            kernel: of_kind(kernel, STACK_KERNEL).unwrap_or_default(),
        })
    }

    /// The words of a stack, joined from its blocks, leaf first.
    fn words(&mut self, id: u32) -> Option<Words> {
        if matches!(id, STACK_NONE | STACK_LOST | STACK_FAULT | STACK_SKIPPED) {
            return None;
        }
        let leaf = self.entry(id)?;
        let mut words = Vec::with_capacity(leaf.len as usize);
        let mut block = leaf.clone();
        // A chain of blocks has a known length: one that is longer was damaged.
        for _ in 0..STACK_WORDS / BLOCK_WORDS {
            let len = (block.len as usize).min(BLOCK_WORDS);
            words.extend_from_slice(&block.words[..len]);
            if block.next == STACK_NONE {
                break;
            }
            block = self.entry(block.next)?;
        }
        Some(Words {
            kind: leaf.kind,
            ending: leaf.ending.into(),
            words,
        })
    }

    fn entry(&mut self, id: u32) -> Option<Arc<StackEntry>> {
        let (table, unreadable) = (self.table, &mut self.unreadable);
        let entry = self.seen.entry(id).or_insert_with(|| {
            let found = id
                .checked_sub(1)
                .and_then(|index| table.get(&index, 0).ok());
            let found = found.filter(|entry| entry.hash != 0).map(Arc::new);
            *unreadable += u64::from(found.is_none());
            found
        });
        entry.clone()
    }
}

/// Python frames from their words.
pub(super) fn python_of(words: &[u64], ending: u32) -> RawPython {
    let (ending, gil) = unpack_ending(ending);
    let frames = words.chunks_exact(2).map(|pair| PythonFrame {
        code: pair[0],
        instruction: pair[1] as u32,
        fingerprint: (pair[1] >> 32) as u32,
    });
    RawPython {
        frames: frames.collect(),
        ending,
        gil,
    }
}
