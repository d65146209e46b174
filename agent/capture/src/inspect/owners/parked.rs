//! Locks of Rust's `parking_lot`: their waiters sleep each in a futex of its own, and what they wait for stands beside.
//!
//! A lock is a byte (`Mutex`, `ReentrantMutex`) or a word (`RwLock`) with bits for *locked* and *somebody waits*. Who waits
//! parks: its `ThreadData` (`parking_lot_core` 0.6 to 0.9, `src/parking_lot.rs`) has the futex and the address of the
//! lock, the *key*. A waiter that a condition variable handed over to its mutex has the mutex there.

use super::words::{READS_A_THREAD, Sort, Unowned};
use remora_common::futex;
use remora_process::memory::Memory;

/// From the start of `ThreadData` to its futex, in bytes: rustc puts the members of one word before those of
/// half a word (1.40 to 1.95). The second is with the feature `deadlock_detection`.
const FUTEX: [u64; 2] = [32, 88];
/// What the futex holds while its thread is parked.
const PARKED: u64 = 1;
/// `RawMutex`: locked, and somebody is parked (`raw_mutex.rs`).
const MUTEX: u8 = 0b11;
/// `RawRwLock` (`raw_rwlock.rs`): somebody is parked; a writer is, and waits for the readers to go; a writer.
const RW_PARKED: u64 = 0b0001;
/// See [`RW_PARKED`].
const RW_WRITER_PARKED: u64 = 0b0010;
/// See [`RW_PARKED`].
const RW_WRITER: u64 = 0b1000;
/// The count of readers stands above these bits.
const RW_COUNT_SHIFT: u32 = 4;
/// What a thread may note of itself as it parks for a lock: nothing; that it reads, reads and may upgrade, writes.
const TOKENS: [u64; 4] = [0, 0b1_0000, 0b1_0100, 0b1000];
/// In `ReentrantMutex` the lock itself comes third, after the owner's mark and the count.
const REENTRANT: u64 = 16;
/// So often is one taken by its owner, at the most.
const MAX_COUNT: u64 = 1 << 20;

/// What a thread waits for that sleeps in its own futex, with the arguments of its call. Its process has `threads`.
pub(super) fn parked(memory: &impl Memory, arguments: &[u64; 6], threads: u32) -> Option<Unowned> {
    let [address, operation, expected, limit, ..] = *arguments;
    if operation & futex::COMMAND != futex::WAIT || expected as u32 != PARKED as u32 {
        return None;
    }
    if memory.u32(address)? != PARKED as u32 {
        return None;
    }
    let timed: [u8; 1] = memory.bytes(address.checked_add(4)?)?;
    // The thread has noted by itself whether it waits with a limit.
    if timed != [u8::from(limit != 0)] {
        return None;
    }
    FUTEX
        .into_iter()
        .find_map(|before| waited_for(memory, address.checked_sub(before)?, threads))
}

/// The lock that a thread's `ThreadData` names, if that is what lies there.
fn waited_for(memory: &impl Memory, data: u64, threads: u32) -> Option<Unowned> {
    let word = |at: u64| {
        let bytes: [u8; 8] = memory.bytes(data.checked_add(at)?)?;
        Some(u64::from_ne_bytes(bytes))
    };
    let (key, next, handed, token) = (word(0)?, word(8)?, word(16)?, word(24)?);
    // Whoever unparks it says whether it hands the lock over.
    if next % 8 != 0 || handed > 1 || !TOKENS.contains(&token) {
        return None;
    }
    lock(memory, key, threads)
}

/// The lock that lies at the address by which threads park, if one is that somebody has.
fn lock(memory: &impl Memory, key: u64, threads: u32) -> Option<Unowned> {
    let word = |at: u64| memory.bytes(at).map(u64::from_ne_bytes);
    let most = u64::from(READS_A_THREAD.saturating_mul(threads));
    let of_words = |at: u64, bits: u64| {
        let state = word(at).filter(|state| state & bits == bits)?;
        let readers = state >> RW_COUNT_SHIFT;
        let has = readers > 0 || state & RW_WRITER != 0;
        (has && readers <= most).then_some(Unowned {
            address: key & !7,
            whole: None,
            readers: u32::try_from(readers).ok()?,
            sort: Sort::ParkingRwLock,
        })
    };
    match key % 8 {
        // A writer that waits for readers to go parks behind the lock.
        1 => of_words(key - 1, RW_WRITER | RW_WRITER_PARKED).filter(|lock| lock.readers > 0),
        0 => of_words(key, RW_PARKED),
        _ => None,
    }
    .or_else(|| {
        let byte: [u8; 1] = memory.bytes(key)?;
        (byte == [MUTEX]).then(|| Unowned {
            address: key,
            whole: reentrant(memory, key),
            readers: 0,
            sort: Sort::ParkingMutex,
        })
    })
}

/// The `ReentrantMutex` that a lock may be a part of: guards have its address. Its owner's mark is the address of a
/// variable of that thread.
fn reentrant(memory: &impl Memory, lock: u64) -> Option<u64> {
    let whole = lock.checked_sub(REENTRANT).filter(|it| it % 8 == 0)?;
    let [owner, count] = [0, 8].map(|at| memory.bytes(whole + at).map(u64::from_ne_bytes));
    let _mark: [u8; 1] = memory.bytes(owner?)?;
    (1..MAX_COUNT).contains(&count?).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Where a thread's data, a lock begin.
    const DATA: u64 = 0x1000;
    const LOCK: u64 = 0x1100;

    struct Bytes(Vec<u8>);

    impl Memory for Bytes {
        fn read(&self, address: u64, buffer: &mut [u8]) -> Option<()> {
            let at = usize::try_from(address.checked_sub(DATA)?).ok()?;
            buffer.copy_from_slice(self.0.get(at..at.checked_add(buffer.len())?)?);
            Some(())
        }
    }

    /// A thread that is parked by `key` with a token, and the words of a lock.
    fn memory(key: u64, token: u64, before: [u64; 2], state: u64) -> Bytes {
        let mut bytes = vec![0; 0x200];
        let mut put = |at: u64, value: u64| {
            let at = (at - DATA) as usize;
            bytes[at..at + 8].copy_from_slice(&value.to_ne_bytes());
        };
        put(DATA, key);
        put(DATA + 24, token);
        put(DATA + FUTEX[0], PARKED);
        put(LOCK - 16, before[0]);
        put(LOCK - 8, before[1]);
        put(LOCK, state);
        Bytes(bytes)
    }

    fn look(memory: &Bytes) -> Option<(u64, Option<u64>, u32, Sort)> {
        let arguments = [DATA + FUTEX[0], 128, PARKED, 0, 0, 0];
        let found = parked(memory, &arguments, 3)?;
        Some((found.address, found.whole, found.readers, found.sort))
    }

    #[test]
    fn a_lock_is_what_its_waiter_is_parked_by() {
        let mutex = Some((LOCK, None, 0, Sort::ParkingMutex));
        // What the mutex protects lies behind its byte.
        assert_eq!(look(&memory(LOCK, 0, [0; 2], 0x5500_0003)), mutex);
        let written = Some((LOCK, None, 0, Sort::ParkingRwLock));
        assert_eq!(look(&memory(LOCK, 16, [0; 2], 0b1001)), written);
        let read = Some((LOCK, None, 2, Sort::ParkingRwLock));
        assert_eq!(look(&memory(LOCK, 8, [0; 2], 0b10_0001)), read);
        // The writer that waits for the last reader.
        let waits = Some((LOCK, None, 1, Sort::ParkingRwLock));
        assert_eq!(look(&memory(LOCK + 1, 0, [0; 2], 0b1_1010)), waits);
        // A mutex at an odd address.
        let odd = Some((LOCK + 1, None, 0, Sort::ParkingMutex));
        assert_eq!(look(&memory(LOCK + 1, 0, [0; 2], 0x0300)), odd);
        let reentrant = Some((LOCK, Some(LOCK - 16), 0, Sort::ParkingMutex));
        assert_eq!(look(&memory(LOCK, 0, [DATA + 0x99, 2], 3)), reentrant);
        // Another mutex beside it, and what that protects.
        assert_eq!(look(&memory(LOCK, 0, [3, 9], 3)), mutex);
    }

    #[test]
    fn what_is_no_lock_that_somebody_has_is_none() {
        for (key, token, state) in [
            // Free, or taken and not waited for.
            (LOCK, 0, 0),
            (LOCK, 0, 1),
            (LOCK, 0, 2),
            // A condition variable has the address of its mutex.
            (LOCK, 0, LOCK + 0x40),
            // More readers than threads.
            (LOCK, 16, 0xffff_0001),
            // No lock's token.
            (LOCK, 7, 3),
            (0, 0, 3),
            (u64::MAX, 0, 3),
        ] {
            let found = look(&memory(key, token, [0; 2], state));
            assert_eq!(found, None, "{key:#x} {token} {state:#x}");
        }
        let memory = memory(LOCK, 0, [0; 2], 3);
        let wait = [DATA + FUTEX[0], 128, PARKED, 0, 0, 0];
        let with = |at: usize, value: u64| {
            let mut arguments = wait;
            arguments[at] = value;
            parked(&memory, &arguments, 3)
        };
        assert!(with(1, 128).is_some());
        assert!(with(0, DATA).is_none(), "another word");
        assert!(with(0, 0).is_none());
        assert!(with(1, futex::WAIT_BITSET).is_none(), "std's parker");
        assert!(with(2, 2).is_none());
        assert!(with(3, 0x7fff_0000).is_none(), "it waits with a limit");
    }

    proptest! {
        #[test]
        fn any_memory_is_read_to_an_end(
            bytes in proptest::collection::vec(any::<u8>(), 0..512),
            (address, operation, expected, limit) in (DATA..DATA + 512, 0_u64..16, 0_u64..4, 0_u64..2),
        ) {
            let arguments = [address, operation, expected, limit, 0, 0];
            let found = parked(&Bytes(bytes), &arguments, 3);
            prop_assert!(found.is_none_or(|lock| lock.readers <= 3 * READS_A_THREAD));
        }
    }
}
