//! Locks: who holds the one that a thread goes to sleep for, as the lock's own memory says, and what that
//! thread does meanwhile.

use crate::{
    aggregate,
    bank::Bank,
    table,
    unwind::{Current, Memory},
};
use remora_common::{
    aggregate::{AggregateKey, KIND_HOLD},
    futex::*,
    reason::Reason,
    thread::ThreadSlot,
};

/// A thread that is on its CPU still goes to sleep for a futex: notes the owner.
#[inline(always)]
pub fn note_owner(slot: &mut ThreadSlot) {
    (slot.lock_owner, slot.lock_owner_from) = (0, OWNER_UNKNOWN);
    if slot.reason != Reason::Futex as u32 {
        return;
    }
    let (address, command, expected) = (slot.args[0], slot.args[1] & COMMAND, slot.args[2]);
    let (owner, from) = match command {
        LOCK_PI | LOCK_PI2 => match Current.read::<u32>(address) {
            Some(word) if word & TID_MASK != 0 => (word & TID_MASK, OWNER_IN_WORD),
            _ => return,
        },
        WAIT if expected >= CONTENDED => match Current.read::<Mutex>(address) {
            Some(mutex) => owner_of_mutex(&mutex, expected),
            None => return,
        },
        _ => return,
    };
    (slot.lock_owner, slot.lock_owner_from) = (owner, from);
    if let Some(holder) = holder(slot) {
        holder.held_lock = address;
    }
}

/// The thread is back from its wait: the owner that it waited for no longer holds it up.
#[inline(always)]
pub fn is_back(slot: &mut ThreadSlot) {
    if slot.lock_owner == 0 {
        return;
    }
    let address = slot.args[0];
    if let Some(holder) = holder(slot)
        && holder.held_lock == address
    {
        holder.held_lock = 0;
    }
}

/// The owner's slot, when it is a thread of the same process: a process in a PID namespace of its own
/// writes other numbers there.
#[inline(always)]
fn holder(slot: &ThreadSlot) -> Option<&'static mut ThreadSlot> {
    if slot.lock_owner == 0 || slot.lock_owner == slot.tid {
        return None;
    }
    let holder = table::find(slot.lock_owner)?;
    if holder.tgid == slot.tgid {
        Some(holder)
    } else {
        None
    }
}

/// A sample (`ns` 0) or a wait of a thread that holds what another waits for: it counts for the lock, too.
#[inline(always)]
pub fn did(slot: &ThreadSlot, bank: Bank, key: &AggregateKey, ns: u64) {
    if slot.held_lock == 0 {
        return;
    }
    let key = AggregateKey {
        kind: KIND_HOLD,
        object: slot.held_lock,
        ..*key
    };
    aggregate::add(bank, &key, ns);
}
