//! Threads, aggregates and stacks, out of the maps.

use super::{Mapped, Probe, ProbeError};
use crate::model::RawStack;
use bytemuck::Zeroable;
use remora_common::{
    aggregate::{
        Aggregate, AggregateKey, Control, KIND_WAKE, STACK_FAULT, STACK_LOST, STACK_NONE,
        STACK_SKIPPED, StackEntry,
    },
    thread::{STATE_EXITED, ThreadSlot},
};
use std::{
    collections::HashMap,
    sync::atomic::{Ordering, fence},
    time::Duration,
};

/// How often a reader retries a record that changes under its eyes.
const READ_ATTEMPTS: usize = 64;

/// How long a program that saw the old half may still be writing to it: programs run with
/// preemption off, for microseconds; a virtual CPU may be descheduled for longer.
const SETTLE: Duration = Duration::from_millis(20);

/// One aggregate, its stacks resolved to frames.
#[derive(Clone, Debug)]
pub struct RawAggregate {
    /// What it is about. `user` and `kernel` mean nothing any more, except for a wake-up.
    pub key: AggregateKey,
    /// The stack; `None` for a wake-up, and where it was lost.
    pub stack: Option<RawStack>,
    /// Samples, waits or wake-ups.
    pub count: u64,
    /// Time in them, in nanoseconds.
    pub total_ns: u64,
}

/// What one half of the tables held.
#[derive(Clone, Debug, Default)]
pub struct Drained {
    /// The aggregates.
    pub aggregates: Vec<RawAggregate>,
    /// Stacks that an aggregate names and that could not be read.
    pub stacks_unreadable: u64,
}

impl Mapped<Control> {
    /// How often the halves were changed.
    fn flips(&self) -> u32 {
        self.read(0).flips
    }

    /// Turns the programs to the other half.
    fn flip(&self) {
        let next = self.flips().wrapping_add(1);
        // SAFETY: a live, aligned member that only the agent writes.
        unsafe { (&raw mut (*self.element(0)).flips).write_volatile(next) };
    }
}

impl Probe {
    pub(super) fn set_recording(&self, on: u32) {
        // SAFETY: a live, aligned member that only the agent writes.
        unsafe { (&raw mut (*self.control.element(0)).recording).write_volatile(on) };
        fence(Ordering::SeqCst);
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
    pub fn collect_ended(&mut self) -> Result<Vec<ThreadSlot>, ProbeError> {
        let mut ended = Vec::new();
        for index in 1..self.slots.len() {
            if self.state(index) != STATE_EXITED {
                continue;
            }
            ended.push(self.thread(index));
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

    /// Whether the active half is more than half full of aggregates or stacks.
    pub fn is_filling_up(&self) -> bool {
        let control = self.control.read(0);
        let half = (control.flips & 1) as usize;
        let aggregates_per_half = self.aggregates.len() as u64 / 2;
        control.aggregates_used[half] > aggregates_per_half / 2
            || control.stacks_used[half] > u64::from(self.stacks_per_half) / 2
    }

    /// Turns the programs to the other half and empties the one they left.
    pub async fn swap_and_drain(&mut self) -> Drained {
        let left = self.control.flips() & 1;
        self.control.flip();
        tokio::time::sleep(SETTLE).await;
        let drained = self.read_half(left);
        self.clear_half(left);
        drained
    }

    /// Waits until no program is on its way that began before now.
    pub async fn settled(&self) {
        tokio::time::sleep(SETTLE).await;
    }

    /// Reads both halves: for the end of a capture, when nothing fills them.
    pub fn drain(&self) -> [Drained; 2] {
        [self.read_half(0), self.read_half(1)]
    }

    fn read_half(&self, half: u32) -> Drained {
        let per_half = self.aggregates.len() / 2;
        let first = half as usize * per_half;
        let mut stacks = StackReader {
            table: &self.stacks,
            seen: HashMap::new(),
            unreadable: 0,
        };
        let aggregates = (first..first + per_half)
            .map(|index| self.aggregates.read(index))
            .filter(|aggregate| aggregate.hash != 0)
            .map(|aggregate| resolve(&aggregate, &mut stacks))
            .collect();
        Drained {
            aggregates,
            stacks_unreadable: stacks.unreadable,
        }
    }

    fn clear_half(&mut self, half: u32) {
        let per_half = self.aggregates.len() / 2;
        let first = half as usize * per_half;
        for index in first..first + per_half {
            if self.aggregates.read(index).hash != 0 {
                self.aggregates.put(index, Aggregate::zeroed());
            }
        }
        let first = half * self.stacks_per_half;
        for index in first..first + self.stacks_per_half {
            let occupied = self
                .stacks
                .get(&index, 0)
                .is_ok_and(|entry| entry.hash != 0);
            if occupied {
                // A failure leaves an old stack in place: found again by its hash, never wrong.
                let _kept = self.stacks.set(index, StackEntry::zeroed(), 0);
            }
        }
        let half = half as usize;
        let control = self.control.element(0);
        // SAFETY: live, aligned members; no program fills this half now.
        unsafe {
            (&raw mut (*control).aggregates_used[half]).write_volatile(0);
            (&raw mut (*control).stacks_used[half]).write_volatile(0);
        }
    }
}

fn resolve(aggregate: &Aggregate, stacks: &mut StackReader<'_>) -> RawAggregate {
    let Aggregate {
        hash: _,
        key,
        count,
        total_ns,
    } = *aggregate;
    let stack = if key.kind == KIND_WAKE {
        None
    } else {
        stacks.read(key.user, key.kernel)
    };
    RawAggregate {
        key,
        stack,
        count,
        total_ns,
    }
}

/// Reads each stack once.
struct StackReader<'a> {
    table: &'a aya::maps::Array<aya::maps::MapData, StackEntry>,
    seen: HashMap<u32, Option<Vec<u64>>>,
    unreadable: u64,
}

impl StackReader<'_> {
    /// Both halves of a stack. `None` when neither was taken and one was lost.
    fn read(&mut self, user: u32, kernel: u32) -> Option<RawStack> {
        let lost = |id| matches!(id, STACK_LOST | STACK_FAULT | STACK_SKIPPED);
        let (user_frames, kernel_frames) = (self.frames(user), self.frames(kernel));
        if user_frames.is_empty() && kernel_frames.is_empty() && (lost(user) || lost(kernel)) {
            return None;
        }
        Some(RawStack {
            user: user_frames,
            kernel: kernel_frames,
        })
    }

    fn frames(&mut self, id: u32) -> Vec<u64> {
        if matches!(id, STACK_NONE | STACK_LOST | STACK_FAULT | STACK_SKIPPED) {
            return Vec::new();
        }
        let (table, unreadable) = (self.table, &mut self.unreadable);
        let frames = self
            .seen
            .entry(id)
            .or_insert_with(|| match table.get(&(id - 1), 0) {
                Ok(entry) if entry.hash != 0 => {
                    let len = (entry.len as usize).min(entry.frames.len());
                    Some(entry.frames[..len].to_vec())
                }
                _ => {
                    *unreadable += 1;
                    None
                }
            });
        frames.clone().unwrap_or_default()
    }
}
