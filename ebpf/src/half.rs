//! The half of the tables that is being filled. A program asks once for each event: a stack and the
//! sum that names it must be in the same half.

use crate::{atomic, maps::CONTROL};
use remora_common::aggregate::Control;

#[derive(Clone, Copy)]
pub struct Half {
    control: *mut Control,
    flips: u32,
}

impl Half {
    #[inline(always)]
    pub fn active() -> Option<Self> {
        let control = CONTROL.get_ptr_mut(0)?;
        // SAFETY: a live element; the agent writes the member whole.
        let flips = unsafe { (&raw const (*control).flips).read_volatile() };
        Some(Self { control, flips })
    }

    /// The half whose first entry in a table has this index.
    #[inline(always)]
    pub fn that_begins_at(first: u32) -> Option<Self> {
        let control = CONTROL.get_ptr_mut(0)?;
        Some(Self {
            control,
            flips: (first != 0) as u32,
        })
    }

    /// How often the halves were changed before.
    #[inline(always)]
    pub fn flips(self) -> u32 {
        self.flips
    }

    /// First entry of this half in a table of `per_half` a half.
    #[inline(always)]
    pub fn first(self, per_half: u32) -> u32 {
        (self.flips & 1) * per_half
    }

    /// Aggregates in this half.
    #[inline(always)]
    pub fn aggregates(self) -> u64 {
        // SAFETY: a live pair; the index is 0 or 1.
        unsafe {
            let used = &raw const (*self.control).aggregates_used;
            used.cast::<u64>()
                .add((self.flips & 1) as usize)
                .read_volatile()
        }
    }

    #[inline(always)]
    pub fn count_aggregate(self) {
        // SAFETY: a live pair; the index is 0 or 1.
        unsafe {
            let used = &raw mut (*self.control).aggregates_used;
            atomic::add(atomic::element(used, self.flips & 1), 1);
        }
    }

    #[inline(always)]
    pub fn count_stack(self) {
        // SAFETY: a live pair; the index is 0 or 1.
        unsafe {
            let used = &raw mut (*self.control).stacks_used;
            atomic::add(atomic::element(used, self.flips & 1), 1);
        }
    }
}
