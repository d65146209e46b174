//! The locks that a task stands in the `async with` of.
//!
//! An `asyncio.Lock` does not note who holds it. But a coroutine that is suspended in the body of
//! `async with lock:` keeps the lock's `__aexit__` on its frame's value stack, for the interpreter to call it at
//! the end of the body. It stands there from before `__aenter__` on: of a task that still awaits the lock, that
//! one is left out.

use super::Reader;
use super::coroutine::Link;
use crate::memory::Memory;
use remora_model::{Await, TaskFrame};

/// Slots of a frame that are looked at.
const MAX_SLOTS: usize = 64;
/// Locks of a task that are told.
const MAX_HELD: usize = 16;
/// `im_func` and `im_self` of a bound method.
const FUNCTION: u64 = 16;
/// See [`FUNCTION`].
const SELF: u64 = 24;

impl<M: Memory> Reader<'_, M> {
    /// Addresses of the locks whose `async with` the coroutines of a suspended task stand in.
    pub(super) fn holds(
        &self,
        links: &[Link],
        frames: &[TaskFrame],
        awaits: Option<&Await>,
    ) -> Vec<u64> {
        let slots = links.iter().flat_map(|link| self.value_stack(link));
        let mut held: Vec<u64> = slots.filter_map(|slot| self.exits(slot)).collect();
        // The innermost `async with` is still being entered.
        let enters = frames
            .iter()
            .any(|frame| frame.function.ends_with(".__aenter__"));
        let wanted = awaits.map(|awaits| awaits.object).filter(|_| enters);
        if let Some(at) = held.iter().rposition(|lock| Some(*lock) == wanted) {
            held.remove(at);
        }
        held.truncate(MAX_HELD);
        held
    }

    /// The value stack of a suspended frame, local variables in front of it.
    fn value_stack(&self, link: &Link) -> Vec<u64> {
        let memory = self.objects.memory();
        let offsets = &self.layout.frame;
        let Some(begin) = link.frame.checked_add(offsets.locals.into()) else {
            return Vec::new();
        };
        let Some(end) = self.stack_end(link.frame) else {
            return Vec::new();
        };
        let slots = (end.saturating_sub(begin) / 8) as usize;
        let first = slots.saturating_sub(MAX_SLOTS);
        let bytes = memory.up_to(
            begin.wrapping_add(8 * first as u64),
            8 * (slots - first).min(MAX_SLOTS),
        );
        let words = bytes.chunks_exact(8);
        words
            .filter_map(|word| Some(u64::from_ne_bytes(word.try_into().ok()?)))
            .collect()
    }

    /// The lock whose `__aexit__` a slot holds; of a condition its lock.
    fn exits(&self, slot: u64) -> Option<u64> {
        if self.objects.type_of(slot)?.name != "method" {
            return None;
        }
        let memory = self.objects.memory();
        let function = memory.u64(slot.checked_add(FUNCTION)?)?;
        let name = memory.u64(function.checked_add(self.task.function_name)?)?;
        if !self.objects.text(name)?.ends_with(".__aexit__") {
            return None;
        }
        let object = memory.u64(slot.checked_add(SELF)?)?;
        match self.objects.type_of(object)? {
            kind if kind.is_a("Lock") => Some(object),
            kind if kind.is_a("Condition") => self.objects.attribute(object, "_lock"),
            _ => None,
        }
    }
}
