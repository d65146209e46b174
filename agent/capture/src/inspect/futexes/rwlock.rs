//! Read-write locks of glibc: what their memory says of who has locked them.

use remora_common::futex;
use remora_process::memory::Memory;

/// `pthread_rwlock_t` of 64-bit glibc since 2.25 (`sysdeps/nptl/bits/struct_rwlock.h`), by its words: its
/// futexes are `__wrphase_futex` (2) and `__writers_futex` (3).
const RWLOCK_WORDS: usize = 13;
/// `__readers`: `PTHREAD_RWLOCK_WRPHASE` and `PTHREAD_RWLOCK_WRLOCKED`
/// (`nptl/pthread_rwlock_common.c`).
const WRITE_PHASE: u32 = 1;
/// See [`WRITE_PHASE`].
const WRITE_LOCKED: u32 = 2;

/// Who has locked the read-write lock one of whose futexes lies at an address for writing, as its own PID
/// namespace has it; `None`: there is none that is locked so.
pub(super) fn writer(memory: &impl Memory, address: u64) -> Option<u32> {
    [2, 3].into_iter().find_map(|futex: u64| {
        let bytes: [u8; 4 * RWLOCK_WORDS] = memory.bytes(address.checked_sub(4 * futex)?)?;
        let mut words = [0; RWLOCK_WORDS];
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(4)) {
            *word = u32::from_ne_bytes(bytes.try_into().ok()?);
        }
        taken(&words)
    })
}

/// The writer that such words name, if they are those of a lock that is taken and waited for.
fn taken(words: &[u32; RWLOCK_WORDS]) -> Option<u32> {
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
    let plausible = phase <= 3 && futex <= 3 && matches!(shared, 0 | 1 | 128) && flags <= 2;
    let writing = state & WRITE_PHASE != 0 && state & WRITE_LOCKED != 0;
    let named = writer != 0 && writer & !futex::TID_MASK == 0;
    let waited_for = phase | futex >= 2;
    (plausible && waited_for && writing && named).then_some(writer)
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
        assert_eq!(read(3, 1, 3, 4711), Some(4711), "a writer waits");
        assert_eq!(read(0b1011, 3, 1, 4711), Some(4711), "a reader waits");
        for (state, phase, futex, writer) in [
            (0, 0, 0, 0),
            (3, 1, 3, 0x8000_0001),
            (3, 1, 1, 4711),
            (1, 1, 3, 4711),
            (3, 77, 3, 4711),
            (0b1_0010, 2, 1, 0),
        ] {
            let found = read(state, phase, futex, writer);
            assert_eq!(found, None, "{state} {phase} {futex}");
        }
    }
}
