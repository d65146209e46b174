//! Read-write locks of glibc: what their memory says of who has locked them.

use crate::target::memory::Memory;
use remora_common::futex;

/// What the memory of a glibc read-write lock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadWriteLock {
    /// The thread that has locked it for writing, as its own PID namespace has it; 0: none has.
    pub writer: u32,
    /// How many have locked it for reading.
    pub readers: u32,
}

/// `pthread_rwlock_t` of 64-bit glibc since 2.25 (`sysdeps/nptl/bits/struct_rwlock.h`), by its words: its
/// futexes are `__wrphase_futex` (2) and `__writers_futex` (3).
const RWLOCK_WORDS: usize = 13;
/// `__readers`: `PTHREAD_RWLOCK_WRPHASE` and `PTHREAD_RWLOCK_WRLOCKED`, then the number of readers
/// (`nptl/pthread_rwlock_common.c`).
const WRITE_PHASE: u32 = 1;
/// See [`WRITE_PHASE`].
const WRITE_LOCKED: u32 = 2;
/// See [`WRITE_PHASE`].
const READER_SHIFT: u32 = 3;

/// The read-write lock one of whose futexes lies at an address.
pub fn rwlock(memory: &impl Memory, address: u64) -> Option<ReadWriteLock> {
    [2, 3].into_iter().find_map(|futex: u64| {
        let bytes: [u8; 4 * RWLOCK_WORDS] = memory.bytes(address.checked_sub(4 * futex)?)?;
        let mut words = [0; RWLOCK_WORDS];
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(4)) {
            *word = u32::from_ne_bytes(bytes.try_into().ok()?);
        }
        taken(&words)
    })
}

/// What such words say, if they are those of a lock that is taken.
fn taken(words: &[u32; RWLOCK_WORDS]) -> Option<ReadWriteLock> {
    let [
        state,
        _,
        phase,
        futex,
        _,
        _,
        writer,
        shared,
        _,
        _,
        _,
        _,
        flags,
    ] = *words;
    let readers = state >> READER_SHIFT;
    let plausible = phase <= 3 && futex <= 3 && matches!(shared, 0 | 1 | 128) && flags <= 2;
    let writing = state & WRITE_PHASE != 0 && state & WRITE_LOCKED != 0;
    let by_writer = writing && writer != 0 && writer & !futex::TID_MASK == 0;
    let by_readers = state & WRITE_PHASE == 0 && writer == 0 && (1..1 << 22).contains(&readers);
    let waited_for = phase | futex >= 2;
    (plausible && waited_for && (by_writer || by_readers)).then_some(ReadWriteLock {
        writer,
        readers: if by_writer { 0 } else { readers },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words of a lock: state, phase, futex, writer.
    fn words(state: u32, phase: u32, futex: u32, writer: u32) -> [u32; RWLOCK_WORDS] {
        [state, 0, phase, futex, 0, 0, writer, 0, 0, 0, 0, 0, 0]
    }

    #[test]
    fn who_has_a_read_write_lock_is_told_from_its_words() {
        let read = |state, phase, futex, writer| taken(&words(state, phase, futex, writer));
        let by_writer = ReadWriteLock {
            writer: 4711,
            readers: 0,
        };
        assert_eq!(read(3, 1, 3, 4711), Some(by_writer), "a writer waits");
        assert_eq!(read(0b1011, 3, 1, 4711), Some(by_writer), "a reader waits");
        let by_readers = ReadWriteLock {
            writer: 0,
            readers: 2,
        };
        assert_eq!(read(0b1_0010, 2, 1, 0), Some(by_readers));
        for (state, phase, futex, writer) in [
            (0, 0, 0, 0),
            (3, 1, 3, 0x8000_0001),
            (3, 1, 1, 4711),
            (1, 1, 3, 4711),
            (3, 77, 3, 4711),
        ] {
            assert_eq!(
                read(state, phase, futex, writer),
                None,
                "{state} {phase} {futex}"
            );
        }
    }
}
