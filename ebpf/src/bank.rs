//! The bank of the tables that is being filled. A program asks once for each event: a stack and the
//! sum that names it must be in the same bank.

use crate::{atomic, maps::CONTROL};
use remora_common::aggregate::Control;

#[derive(Clone, Copy)]
pub struct Bank {
    control: *mut Control,
    epoch: u32,
}

impl Bank {
    #[inline(always)]
    pub fn active() -> Option<Self> {
        let control = CONTROL.get_ptr_mut(0)?;
        // SAFETY: a live element; the agent writes the member whole.
        let epoch = unsafe { (&raw const (*control).epoch).read_volatile() };
        Some(Self { control, epoch })
    }

    /// The bank whose first entry in a table has this index.
    #[inline(always)]
    pub fn that_begins_at(first: u32) -> Option<Self> {
        let control = CONTROL.get_ptr_mut(0)?;
        Some(Self {
            control,
            epoch: (first != 0) as u32,
        })
    }

    /// How often the banks were changed before: odd and even epochs fill different ones.
    #[inline(always)]
    pub fn epoch(self) -> u32 {
        self.epoch
    }

    /// First entry of this bank in a table of `per_bank` entries each.
    #[inline(always)]
    pub fn first(self, per_bank: u32) -> u32 {
        (self.epoch & 1) * per_bank
    }

    /// Aggregates in this bank.
    #[inline(always)]
    pub fn aggregates(self) -> u64 {
        // SAFETY: a live pair; the index is 0 or 1.
        unsafe {
            let used = &raw const (*self.control).aggregates_used;
            used.cast::<u64>()
                .add((self.epoch & 1) as usize)
                .read_volatile()
        }
    }

    #[inline(always)]
    pub fn count_aggregate(self) {
        // SAFETY: a live pair; the index is 0 or 1.
        unsafe {
            let used = &raw mut (*self.control).aggregates_used;
            atomic::add(atomic::element(used, self.epoch & 1), 1);
        }
    }

    #[inline(always)]
    pub fn count_stack(self) {
        // SAFETY: a live pair; the index is 0 or 1.
        unsafe {
            let used = &raw mut (*self.control).stacks_used;
            atomic::add(atomic::element(used, self.epoch & 1), 1);
        }
    }
}
