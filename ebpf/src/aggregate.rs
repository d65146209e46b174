//! Adds counts and time to a key, in the active half of a flat open-addressed table.

use crate::{
    atomic, config, loss,
    maps::{AGGREGATES, CONTROL},
};
use remora_common::{
    aggregate::{AggregateKey, PROBES},
    loss::Loss,
};

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
    hash ^= hash >> 32;
    hash | 1
}

/// One more sample, wait or wake-up of `key`, lasting `ns`.
#[inline(always)]
pub fn add(key: &AggregateKey, ns: u64) {
    let Some(control) = CONTROL.get_ptr_mut(0) else {
        return;
    };
    let hash = hash(key);
    // SAFETY: a live element.
    let half = unsafe { (*control).active_half } & 1;
    let per_half = config::aggregates_per_half();
    let mask = per_half - 1;
    for probe in 0..PROBES {
        let index = half * per_half + (((hash >> 8) as u32).wrapping_add(probe) & mask);
        let Some(entry) = AGGREGATES.get_ptr_mut(index) else {
            break;
        };
        // SAFETY: aligned members of live elements; the claimer alone writes the key, and the
        // agent reads it after the capture or after a change of halves.
        unsafe {
            let mut found = (&raw const (*entry).hash).read_volatile();
            if found == 0 {
                found = atomic::compare_exchange(&raw mut (*entry).hash, 0, hash);
                if found == 0 {
                    (*entry).key = *key;
                    atomic::add(
                        atomic::element(&raw mut (*control).aggregates_used, half),
                        1,
                    );
                    found = hash;
                }
            }
            if found == hash {
                atomic::add(&raw mut (*entry).count, 1);
                atomic::add(&raw mut (*entry).total_ns, ns);
                return;
            }
        }
    }
    loss::count(Loss::AggregateTableFull);
}
