//! Counts what is lost: a per-CPU add, from any context.

use crate::maps::LOSS;
use remora_common::loss::Loss;

#[inline(always)]
pub fn count(loss: Loss) {
    if let Some(counter) = LOSS.get_ptr_mut(loss as u32) {
        // SAFETY: a per-CPU element; a program that interrupts this one can cost one count.
        unsafe { *counter += 1 };
    }
}
