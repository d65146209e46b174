//! Locks whose waiters sleep in a futex, and what their memory says of their owner.
//!
//! `FUTEX_*`: `include/uapi/linux/futex.h`. `pthread_mutex_t`: glibc's `struct __pthread_mutex_s`
//! (`sysdeps/nptl/bits/struct_mutex.h`), the same on 64-bit machines from 2.3 to 2.42: `lock` at 0,
//! `owner` at 8, `kind` at 16.

/// Command of an operation, without its flags.
pub const COMMAND: u64 = 0x7f;
/// Flag of an operation: the futex is not shared with other processes.
pub const PRIVATE: u64 = 128;
/// `FUTEX_WAIT`.
pub const WAIT: u64 = 0;
/// `FUTEX_LOCK_PI`.
pub const LOCK_PI: u64 = 6;
/// `FUTEX_WAIT_BITSET`.
pub const WAIT_BITSET: u64 = 9;
/// `FUTEX_WAIT_REQUEUE_PI`.
pub const WAIT_REQUEUE_PI: u64 = 11;
/// `FUTEX_LOCK_PI2`.
pub const LOCK_PI2: u64 = 13;

/// The thread id in the word of a robust or priority-inheriting lock (`FUTEX_TID_MASK`).
pub const TID_MASK: u32 = 0x3fff_ffff;

/// Value of a lock's word while threads wait for it: glibc (`nptl/lowlevellock.h`), Rust, Go's runtime.
pub const CONTENDED: u64 = 2;

/// Bit of a word that names an owner, while threads wait for it (`FUTEX_WAITERS`).
pub const WAITERS: u32 = 0x8000_0000;

/// What musl's normal mutexes hold in place of an owner (`EBUSY`, `src/thread/pthread_mutex_trylock.c`).
const MUSL_NOBODY: u32 = 16;

/// No owner is known.
pub const OWNER_UNKNOWN: u32 = 0;
/// The futex word itself: the kernel relies on it for priority inheritance.
pub const OWNER_IN_WORD: u32 = 1;
/// `owner` of glibc's mutex.
pub const OWNER_IN_MUTEX: u32 = 2;
/// The futex word of glibc's robust mutex, whose `owner` says the same.
pub const OWNER_IN_ROBUST: u32 = 3;

/// The words of a `pthread_mutex_t` that are read.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Mutex {
    /// The futex.
    pub lock: u32,
    /// Depth of a recursive one.
    pub count: u32,
    /// The owner's thread id.
    pub owner: u32,
    /// Number of users.
    pub users: u32,
    /// Kind and flags, see [`is_mutex_kind`].
    pub kind: u32,
}

/// Whether `kind` can be one of glibc's: normal, recursive, error-checking or adaptive (0 to 3), with flags
/// for robust (16), priority inheritance (32), priority protection (64), shared (128), elision (256, 512)
/// and, above, a priority ceiling (`PTHREAD_MUTEX_*_NP` in `nptl/pthreadP.h`).
#[inline(always)]
pub const fn is_mutex_kind(kind: u32) -> bool {
    kind & !0x3f3 == 0
}

/// Bit of a robust mutex in its kind.
pub const KIND_ROBUST: u32 = 16;

/// The owner that a mutex names, for a thread that waits for it with `expected` in its word; and where
/// it stands.
#[inline(always)]
pub const fn owner_of_mutex(mutex: &Mutex, expected: u64) -> (u32, u32) {
    if let Some(owner) = owner_in_word(mutex.lock, expected)
        && mutex.owner != owner
    {
        return (owner, OWNER_IN_WORD);
    }
    if !is_mutex_kind(mutex.kind) || mutex.owner == 0 || mutex.owner & !TID_MASK != 0 {
        return (0, OWNER_UNKNOWN);
    }
    if mutex.kind & KIND_ROBUST != 0 {
        // The word holds the owner's id, and so does the member.
        if expected as u32 & TID_MASK == mutex.owner {
            return (mutex.owner, OWNER_IN_ROBUST);
        }
        return (0, OWNER_UNKNOWN);
    }
    if expected == CONTENDED && mutex.users != 0 {
        (mutex.owner, OWNER_IN_MUTEX)
    } else {
        (0, OWNER_UNKNOWN)
    }
}

/// The owner in a word that is waited for with the owner's id and the bit of waiters: robust, recursive and
/// error-checking mutexes of musl, which hold nothing else about it (and glibc's robust ones).
#[inline(always)]
const fn owner_in_word(word: u32, expected: u64) -> Option<u32> {
    let (owner, awaited) = (word & TID_MASK, expected as u32);
    let is_named = awaited & WAITERS != 0 && awaited & TID_MASK == owner;
    if is_named && owner != 0 && owner != MUSL_NOBODY {
        Some(owner)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutex(owner: u32, kind: u32) -> Mutex {
        Mutex {
            lock: 2,
            count: 0,
            owner,
            users: 1,
            kind,
        }
    }

    #[test]
    fn every_kind_of_glibc_names_its_owner() {
        for kind in [0, 1, 2, 3, 128, 129, 256, 512] {
            let found = owner_of_mutex(&mutex(4711, kind), 2);
            assert_eq!(found, (4711, OWNER_IN_MUTEX), "kind {kind}");
        }
        let robust = Mutex {
            lock: WAITERS | 4711,
            ..mutex(4711, KIND_ROBUST)
        };
        let waiting = u64::from(0x8000_0000_u32 | 4711);
        assert_eq!(owner_of_mutex(&robust, waiting), (4711, OWNER_IN_ROBUST));
    }

    #[test]
    fn a_word_of_musl_names_its_owner() {
        let contended = WAITERS | 4711;
        let of_musl = Mutex {
            lock: contended,
            ..mutex(0, 0)
        };
        let owner = |lock: &Mutex, word: u32| owner_of_mutex(lock, u64::from(word));
        assert_eq!(owner(&of_musl, contended), (4711, OWNER_IN_WORD));
        assert_eq!(owner(&of_musl, WAITERS | 9), (0, OWNER_UNKNOWN));
        assert_eq!(owner(&of_musl, 4711), (0, OWNER_UNKNOWN), "a counter");
        let normal = Mutex {
            lock: WAITERS | MUSL_NOBODY,
            ..of_musl
        };
        assert_eq!(owner(&normal, normal.lock), (0, OWNER_UNKNOWN));
    }

    #[test]
    fn what_is_no_mutex_names_nobody() {
        let nobody = (0, OWNER_UNKNOWN);
        assert_eq!(owner_of_mutex(&mutex(4711, 0x1234_5678), 2), nobody);
        assert_eq!(owner_of_mutex(&mutex(0, 0), 2), nobody);
        assert_eq!(owner_of_mutex(&mutex(0xdead_beef, 0), 2), nobody);
        assert_eq!(
            owner_of_mutex(&mutex(4711, 0), 0),
            nobody,
            "a condition variable"
        );
        assert_eq!(
            owner_of_mutex(&mutex(4711, KIND_ROBUST), 0x8000_0000 | 99),
            nobody
        );
    }
}
