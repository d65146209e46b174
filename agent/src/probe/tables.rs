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
use std::{collections::HashMap, sync::atomic::Ordering, time::Duration};

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
    fn field<T>(&self, select: impl Fn(*mut Control) -> *mut T) -> *mut T {
        select(self.element(0))
    }

    fn active_half(&self) -> u32 {
        // SAFETY: a live, aligned member.
        self.field(|c| unsafe { &raw mut (*c).active_half }.cast::<u32>())
            .read_now()
            & 1
    }
}

trait ReadNow<T> {
    fn read_now(self) -> T;
}

impl ReadNow<u32> for *mut u32 {
    fn read_now(self) -> u32 {
        // SAFETY: callers pass an aligned member of a mapped record.
        unsafe { self.read_volatile() }
    }
}

impl Probe {
    pub(super) fn set_recording(&self, on: u32) {
        // SAFETY: a live, aligned member that only the agent writes.
        unsafe { (&raw mut (*self.control.element(0)).recording).write_volatile(on) };
        std::sync::atomic::fence(Ordering::SeqCst);
    }

    /// Highest slot in use plus one is unknown to the agent: all occupied slots, consistent copies.
    ///
    /// A slot that changed during every attempt is returned as it was last seen.
    pub fn threads(&self) -> Vec<(u32, ThreadSlot)> {
        (1..self.slots.len())
            .map(|index| (index as u32, self.thread(index)))
            .filter(|(_, slot)| slot.tid != 0)
            .collect()
    }

    fn thread(&self, index: usize) -> ThreadSlot {
        let mut slot = self.slots.read(index);
        for _ in 0..READ_ATTEMPTS {
            let again = self.slots.read(index);
            if slot.sequence.is_multiple_of(2) && slot.sequence == again.sequence {
                break;
            }
            slot = again;
        }
        slot
    }

    /// Takes the record of a thread that is gone, and gives its slot back. `None` while it is still
    /// on its last way out, or when the slot is somebody else's by now.
    pub fn collect_thread(
        &mut self,
        index: u32,
        serial: u32,
    ) -> Result<Option<ThreadSlot>, ProbeError> {
        if index as usize >= self.slots.len() {
            return Ok(None);
        }
        let slot = self.thread(index as usize);
        if slot.serial != serial || slot.state != STATE_EXITED {
            return Ok(None);
        }
        self.slots.put(index as usize, ThreadSlot::zeroed());
        self.free_slots
            .push(index, 0)
            .map_err(|error| ProbeError::Map {
                map: "FREE_SLOTS",
                why: error.to_string(),
            })?;
        Ok(Some(slot))
    }

    /// Whether the active half is more than half full of aggregates or stacks.
    pub fn is_filling_up(&self) -> bool {
        let control = self.control.read(0);
        let half = (control.active_half & 1) as usize;
        let aggregates_per_half = self.aggregates.len() as u64 / 2;
        control.aggregates_used[half] > aggregates_per_half / 2
            || control.stacks_used[half] > u64::from(self.stacks_per_half) / 2
    }

    /// Turns the programs to the other half and empties the one they left.
    pub async fn swap_and_drain(&mut self) -> Drained {
        let left = self.control.active_half();
        // SAFETY: a live, aligned member that only the agent writes.
        unsafe {
            (&raw mut (*self.control.element(0)).active_half).write_volatile(1 - left);
        }
        tokio::time::sleep(SETTLE).await;
        let drained = self.read_half(left);
        self.clear_half(left);
        drained
    }

    /// Reads the half that is being filled: for the end of a capture, when nothing fills it.
    pub fn drain_active(&self) -> Drained {
        self.read_half(self.control.active_half())
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
