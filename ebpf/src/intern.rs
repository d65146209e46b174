//! Puts the words of a walk into the stack table, once: in blocks, from the root to the leaf, each
//! naming the one before. A short stack takes one block, a deep one as many as it needs, and stacks
//! that are equal are found again by their hash.

use crate::{
    atomic,
    bank::Bank,
    config, loss,
    maps::{STACKS, WALKS},
};
use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use remora_common::{
    aggregate::{
        BLOCK_WORDS, PROBES, STACK_CONTINUED, STACK_FAULT, STACK_LOST, STACK_WORDS, StackEntry,
    },
    loss::Loss,
};

/// Blocks of the longest stack.
const BLOCKS: u32 = (STACK_WORDS / BLOCK_WORDS) as u32;

/// Words hashed between two looks at the length: a loop that can end in 8 places is verified in a
/// fraction of the time of one that can end in 64.
const HASHED: usize = 8;

const K: u64 = 0xff51_afd7_ed55_8ccd;

/// Interns the words in the scratch element of `taker`; returns the id of the leaf's block.
#[inline(always)]
pub fn words(taker: u32, bank: Bank, kind: u16) -> u32 {
    let Some(walk) = WALKS.get_ptr_mut(taker) else {
        return STACK_FAULT;
    };
    // SAFETY: a live element.
    let (len, ending) = unsafe { ((*walk).len, (*walk).ending) };
    zero_behind(taker, len);
    let first = bank.first(config::stacks_per_bank());
    let mut block = (len.wrapping_add(BLOCK_WORDS as u32 - 1) / BLOCK_WORDS as u32).max(1);
    let mut next = 0;
    for _ in 0..BLOCKS {
        block = block.wrapping_sub(1);
        let heading = if block == 0 {
            kind as u32 | ending << 16
        } else {
            STACK_CONTINUED as u32
        };
        next = intern_block(taker, first, len << 16 | block, next, heading);
        if block == 0 || next == STACK_LOST {
            break;
        }
    }
    if next == STACK_LOST {
        loss::count(Loss::StackTableFull);
    }
    next
}

/// Whole groups of words are hashed: what lies behind the last must be the same each time.
#[inline(always)]
fn zero_behind(taker: u32, len: u32) {
    let Some(walk) = WALKS.get_ptr_mut(taker) else {
        return;
    };
    for i in 0..HASHED {
        let at = (len as usize).wrapping_add(i) & (2 * STACK_WORDS - 1);
        if at < STACK_WORDS + HASHED {
            // SAFETY: inside the scratch element.
            unsafe { (*walk).words.as_mut_ptr().add(at).write(0) };
        }
    }
}

/// Finds one block in the bank of the table that begins at `first`, or puts it there.
///
/// A global function: the verifier looks at it once, whoever calls it. `place`: the length of the
/// stack in words (high half) and the number of the block (low half).
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn intern_block(taker: u32, first: u32, place: u32, next: u32, heading: u32) -> u32 {
    let Some(walk) = WALKS.get_ptr_mut(taker) else {
        return STACK_LOST;
    };
    let block = (place as usize & 0xffff) & (STACK_WORDS / BLOCK_WORDS - 1);
    let behind = (place >> 16) as usize;
    let begin = block * BLOCK_WORDS;
    let mut len = behind.wrapping_sub(begin);
    if len > BLOCK_WORDS {
        len = BLOCK_WORDS;
    }
    // SAFETY: the block lies inside the scratch element.
    let words = unsafe { (*walk).words.as_ptr().add(begin) };
    let hash = hash(words, len as u32, next, heading);
    if hash == 0 {
        return STACK_LOST;
    }
    let mask = config::stacks_per_bank() - 1;
    for probe in 0..PROBES {
        let index = first.wrapping_add(((hash >> 8) as u32).wrapping_add(probe) & mask);
        let Some(entry) = STACKS.get_ptr_mut(index) else {
            break;
        };
        // SAFETY: aligned members of live elements; the claimer alone fills the entry.
        unsafe {
            let mut found = (&raw const (*entry).hash).read_volatile();
            if found == 0 {
                found = atomic::compare_exchange(&raw mut (*entry).hash, 0, hash);
                if found == 0 {
                    fill(entry, words, len as u32, next, heading);
                    if let Some(bank) = Bank::that_begins_at(first) {
                        bank.count_stack();
                    }
                    found = hash;
                }
            }
            if found == hash {
                return index.wrapping_add(1);
            }
        }
    }
    STACK_LOST
}

#[inline(always)]
fn hash(words: *const u64, len: u32, next: u32, heading: u32) -> u64 {
    let seed = (next as u64) << 32 | heading as u64;
    let mut hash = (seed ^ (len as u64) << 24).wrapping_add(0x9e37_79b9_7f4a_7c15);
    hash = hash.wrapping_mul(K);
    for group in 0..BLOCK_WORDS / HASHED {
        if (group * HASHED) as u32 >= len {
            break;
        }
        for i in 0..HASHED {
            // SAFETY: the block lies inside the scratch element.
            let word = unsafe { *words.add(group * HASHED + i) };
            hash = (hash ^ word).wrapping_mul(K);
            hash ^= hash >> 32;
        }
    }
    hash | 1
}

/// # Safety
/// The caller has claimed the entry; `words` holds a block.
#[inline(always)]
unsafe fn fill(entry: *mut StackEntry, words: *const u64, len: u32, next: u32, heading: u32) {
    // SAFETY: the caller's promise; a block is copied whole.
    unsafe {
        (*entry).len = len;
        (*entry).next = next;
        (*entry).kind = heading as u16;
        (*entry).ending = (heading >> 16) as u16;
        bpf_probe_read_kernel(
            (&raw mut (*entry).words).cast(),
            (BLOCK_WORDS * 8) as u32,
            words.cast(),
        );
    }
}
