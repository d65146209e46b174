//! Adds counts and time to a key, in the active bank of a flat open-addressed table.

use crate::{atomic, bank::Bank, config, loss, maps::AGGREGATES, stack::Stacks};
use remora_common::{
    aggregate::{AggregateKey, PROBES},
    loss::Loss,
    reason::NO_SYSCALL,
    thread::ThreadSlot,
};

/// The key of what a thread did: no wait, and about no object unless that is put in.
#[inline(always)]
pub fn key(slot: &ThreadSlot, kind: u8, stacks: Stacks) -> AggregateKey {
    AggregateKey {
        serial: slot.serial,
        kind,
        reason: 0,
        syscall: NO_SYSCALL,
        user: stacks.user,
        kernel: stacks.kernel,
        generation: slot.generation,
        detail: 0,
        python: stacks.python,
        owner: 0,
        object: 0,
    }
}

#[inline(always)]
fn hash(key: &AggregateKey) -> u64 {
    const K: u64 = 0xff51_afd7_ed55_8ccd;
    let head = key.serial as u64
        | (key.kind as u64) << 32
        | (key.reason as u64) << 40
        | (key.syscall as u64) << 48;
    let mut hash = (head ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(K);
    hash ^= hash >> 32;
    hash = (hash ^ (key.user as u64 | (key.kernel as u64) << 32)).wrapping_mul(K);
    hash ^= hash >> 29;
    hash = (hash ^ (key.generation as u64 | (key.detail as u64) << 32)).wrapping_mul(K);
    hash ^= hash >> 29;
    hash = (hash ^ (key.python as u64 | (key.owner as u64) << 32)).wrapping_mul(K);
    hash ^= hash >> 29;
    hash = (hash ^ key.object).wrapping_mul(K);
    hash ^= hash >> 32;
    hash | 1
}

/// One more sample, wait or wake-up of `key`, lasting `ns`. Gives the index of its entry, where there
/// was room.
#[inline(always)]
pub fn add(bank: Bank, key: &AggregateKey, ns: u64) -> Option<u32> {
    let hash = hash(key);
    let per_bank = config::aggregates_per_bank();
    let mask = per_bank - 1;
    for probe in 0..PROBES {
        let index = bank.first(per_bank) + (((hash >> 8) as u32).wrapping_add(probe) & mask);
        let Some(entry) = AGGREGATES.get_ptr_mut(index) else {
            break;
        };
        // SAFETY: aligned members of live elements; the claimer alone writes the key, and the
        // agent reads it after the capture or after a change of banks.
        unsafe {
            let mut found = (&raw const (*entry).hash).read_volatile();
            if found == 0 {
                found = atomic::compare_exchange(&raw mut (*entry).hash, 0, hash);
                if found == 0 {
                    (*entry).key = *key;
                    bank.count_aggregate();
                    found = hash;
                }
            }
            if found == hash {
                // Plain adds: a key names one thread and one kind of event, and those come one
                // after the other.
                (*entry).count += 1;
                (*entry).total_ns += ns;
                if ns > (*entry).max_ns {
                    (*entry).max_ns = ns;
                }
                return Some(index);
            }
        }
    }
    loss::count(Loss::AggregateTableFull);
    None
}

/// One of an entry's lay in a late iteration, for `ns`.
#[inline(always)]
pub fn add_late(index: u32, ns: u64) {
    let Some(entry) = AGGREGATES.get_ptr_mut(index) else {
        return;
    };
    // SAFETY: a live element; plain adds as above.
    unsafe {
        (*entry).late_count += 1;
        (*entry).late_ns += ns;
    }
}

/// The last wake-up of an entry's was at `now`: wake-ups are never late, so their entries have room for it.
#[inline(always)]
pub fn stamp(index: u32, now: u64) {
    let Some(entry) = AGGREGATES.get_ptr_mut(index) else {
        return;
    };
    // SAFETY: a live element; one writer as above.
    unsafe { (*entry).late_ns = now };
}
