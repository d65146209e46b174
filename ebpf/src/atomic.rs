//! The atomic instructions of BPF (kernel 5.12) on 64-bit words.
//!
//! The compiler's BPF target promises no compare-and-swap, so `core::sync::atomic` has none; its
//! intrinsics change from release to release. Three instructions of assembly do not.

use core::arch::asm;

/// Adds, without reading.
///
/// # Safety
/// `word` is aligned and inside a map value.
#[inline(always)]
pub unsafe fn add(word: *mut u64, value: u64) {
    // SAFETY: the caller's promise.
    unsafe { asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) word, in(reg) value) };
}

/// Adds; returns the value before.
///
/// # Safety
/// `word` is aligned and inside a map value.
#[inline(always)]
pub unsafe fn fetch_add(word: *mut u64, value: u64) -> u64 {
    let before;
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "{1} = atomic_fetch_add((u64 *)({0} + 0), {1})",
            in(reg) word,
            inout(reg) value => before,
        );
    }
    before
}

/// Stores `new` if the word is `expected`; returns what it was.
///
/// # Safety
/// `word` is aligned and inside a map value.
#[inline(always)]
pub unsafe fn compare_exchange(word: *mut u64, expected: u64, new: u64) -> u64 {
    let found;
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "r0 = cmpxchg_64({0} + 0, r0, {1})",
            in(reg) word,
            in(reg) new,
            inout("r0") expected => found,
        );
    }
    found
}

/// Element 0 or 1 of a pair of words, without a bounds check that could panic.
///
/// # Safety
/// `pair` is a live pair and `index` is 0 or 1.
#[inline(always)]
pub unsafe fn element(pair: *mut [u64; 2], index: u32) -> *mut u64 {
    // SAFETY: the caller's promise.
    unsafe { pair.cast::<u64>().add(index as usize) }
}
