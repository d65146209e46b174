//! Whether a futex wait is one for a lock that notes no owner, by the words in its memory.

use remora_common::futex;
use remora_process::memory::Memory;

/// `READERS_WAITING`, `WRITERS_WAITING` and the count in the state of Rust's read-write lock
/// (`std/src/sys/sync/rwlock/futex.rs`); the count is all ones for a writer.
const RUST_READERS_WAIT: u32 = 1 << 30;
/// See [`RUST_READERS_WAIT`].
const RUST_WRITERS_WAIT: u32 = 1 << 31;
/// See [`RUST_READERS_WAIT`].
const RUST_COUNT: u32 = RUST_READERS_WAIT - 1;
/// From `__readers` of glibc's read-write lock to `__wrphase_futex` and `__writers_futex`, in bytes.
const GLIBC_FUTEXES: [u64; 2] = [8, 12];
/// Bits of `__readers` that are no count (`nptl/pthread_rwlock_common.c`).
const GLIBC_COUNT_SHIFT: u32 = 3;
/// A thread reads under a lock so many times at once, at the most.
pub(super) const READS_A_THREAD: u32 = 4;

/// What sort of lock it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    /// Its waiters sleep in its own word: Rust's, and others.
    Word,
    /// A read-write lock of glibc.
    Glibc,
    /// A mutex of `parking_lot`: its waiters sleep elsewhere.
    ParkingMutex,
    /// A read-write lock of `parking_lot`.
    ParkingRwLock,
}

impl Sort {
    /// Whether its waiters sleep each in a word of its own.
    pub(crate) const fn is_parking(self) -> bool {
        matches!(self, Self::ParkingMutex | Self::ParkingRwLock)
    }
}

/// A lock that somebody has, and whose word does not say who.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unowned {
    /// Where its code begins to use it: the word that is counted or exchanged, or the object.
    pub address: u64,
    /// The object that it is the last part of, where guards have that one's address.
    pub whole: Option<u64>,
    /// How many read under it; 0: one has it alone.
    pub readers: u32,
    /// What it is.
    pub sort: Sort,
}

impl Unowned {
    /// The addresses by which code uses it.
    pub(super) fn addresses(&self) -> impl Iterator<Item = u64> {
        std::iter::once(self.address).chain(self.whole)
    }
}

/// What a thread waits for, that sleeps with this operation and value on the futex at `address`. Its process has
/// `threads`: there are no more readers. What stands before a mutex by chance, half of a pointer say, is a larger number.
pub(super) fn unowned(
    memory: &impl Memory,
    address: u64,
    operation: u64,
    expected: u64,
    threads: u32,
) -> Option<Unowned> {
    let operation = operation & futex::COMMAND;
    if !matches!(operation, futex::WAIT | futex::WAIT_BITSET) {
        return None;
    }
    let word = memory.u32(address)?;
    let expected = expected as u32;
    if word != expected {
        // Who waits has been passed by.
        return None;
    }
    if u64::from(word) == futex::CONTENDED {
        let lock = Unowned {
            address,
            whole: None,
            readers: 0,
            sort: Sort::Word,
        };
        return glibc_rwlock(memory, address, threads).or(Some(lock));
    }
    let reader = word & RUST_READERS_WAIT != 0;
    if reader && word & RUST_COUNT != 0 {
        return Some(rust_rwlock(address, word));
    }
    let state = address.checked_sub(4);
    let writer = state.and_then(|at| Some((at, memory.u32(at)?)));
    let writer = writer.filter(|(_, state)| state & RUST_WRITERS_WAIT != 0);
    if let Some((at, state)) = writer.filter(|(_, state)| state & RUST_COUNT != 0) {
        return Some(rust_rwlock(at, state));
    }
    glibc_rwlock(memory, address, threads)
}

fn rust_rwlock(address: u64, state: u32) -> Unowned {
    let count = state & RUST_COUNT;
    Unowned {
        address,
        whole: None,
        readers: if count == RUST_COUNT { 0 } else { count },
        sort: Sort::Word,
    }
}

/// A read-write lock of glibc that readers have.
fn glibc_rwlock(memory: &impl Memory, address: u64, threads: u32) -> Option<Unowned> {
    GLIBC_FUTEXES.into_iter().find_map(|before| {
        let start = address.checked_sub(before)?;
        let bytes: [u8; 52] = memory.bytes(start)?;
        let word = |at: usize| {
            let bytes = bytes.get(4 * at..4 * at + 4)?;
            Some(u32::from_ne_bytes(bytes.try_into().ok()?))
        };
        let readers = word(0)? >> GLIBC_COUNT_SHIFT;
        let futexes = word(2)? <= 3 && word(3)? <= 3 && (word(2)? | word(3)?) >= 2;
        let unused = [4, 5, 6, 8, 9, 10, 11];
        let empty = unused.into_iter().all(|at| word(at) == Some(0));
        let rest = empty && matches!(word(7)?, 0 | 1 | 128) && word(12)? <= 2;
        // A reader's phase, and no writer has it.
        let read =
            word(0)? & 1 == 0 && (1..=READS_A_THREAD.saturating_mul(threads)).contains(&readers);
        (futexes && rest && read).then_some(Unowned {
            address: start,
            whole: None,
            readers,
            sort: Sort::Glibc,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Words(Vec<u32>);

    impl Memory for Words {
        fn read(&self, address: u64, buffer: &mut [u8]) -> Option<()> {
            let at = address.checked_sub(0x1000)? as usize;
            let bytes: Vec<u8> = self.0.iter().flat_map(|word| word.to_ne_bytes()).collect();
            buffer.copy_from_slice(bytes.get(at..at.checked_add(buffer.len())?)?);
            Some(())
        }
    }

    fn find(words: &[u32], at: u64, expected: u32) -> Option<(u64, u32)> {
        let memory = Words(words.to_vec());
        let found = unowned(&memory, 0x1000 + at, futex::WAIT_BITSET, expected.into(), 3)?;
        Some((found.address - 0x1000, found.readers))
    }

    #[test]
    fn locks_of_the_standard_library_are_told_by_their_words() {
        assert_eq!(find(&[2, 0], 0, 2), Some((0, 0)), "a mutex");
        assert_eq!(find(&[0, 0], 0, 2), None, "it is free by now");
        let written = RUST_COUNT | RUST_READERS_WAIT;
        assert_eq!(find(&[written, 0], 0, written), Some((0, 0)));
        let read = 3 | RUST_WRITERS_WAIT;
        assert_eq!(find(&[read, 7], 4, 7), Some((0, 3)));
        assert_eq!(find(&[0, 7], 4, 7), None, "a condition variable");
    }

    #[test]
    fn one_of_glibc_that_readers_have_is_told_by_its_words() {
        let mut words = [0; 13];
        words[0] = 0b1_0010;
        words[2] = 2;
        assert_eq!(find(&words, 8, 2), Some((0, 2)));
        words[12] = 77;
        assert_eq!(
            find(&words, 8, 2),
            Some((8, 0)),
            "a mutex, for all one knows"
        );
        words[12] = 0;
        words[0] = 0x55e8;
        assert_eq!(find(&words, 8, 2), Some((8, 0)), "behind half of a pointer");
        assert_eq!(find(&[], 8, 2), None);
    }
}
