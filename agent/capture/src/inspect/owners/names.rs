//! What a function does to a lock, by its name.

use super::path::{Act, Names};
use remora_common::unwind::EXACT;
use remora_model::FrameKind;
use remora_process::maps::Snapshot;
use remora_process::symbol::{Limits, RawStack, Symbolizer};
use std::collections::HashMap;

/// Functions that are named at the most.
const MAX_NAMED: usize = 256;

/// Names of functions, each looked up once.
pub(super) struct Functions<'a> {
    space: &'a Snapshot,
    symbolizer: Symbolizer,
    known: HashMap<u64, Act>,
    /// Looks at a function that was one too many to be named.
    pub unnamed: u64,
}

impl<'a> Functions<'a> {
    /// Those of an address space.
    pub(super) fn new(space: &'a Snapshot) -> Self {
        Self {
            space,
            symbolizer: Symbolizer::new(Limits::default()),
            known: HashMap::new(),
            unnamed: 0,
        }
    }
}

impl Names for Functions<'_> {
    fn act(&mut self, address: u64) -> Act {
        if let Some(act) = self.known.get(&address) {
            return *act;
        }
        if self.known.len() >= MAX_NAMED {
            self.unnamed += 1;
            // It may take what it is given; who holds that is then not said, rather than wrongly.
            return Act::Takes;
        }
        let stack = self.symbolizer.symbolize(RawStack {
            space: Some(self.space),
            user: &[address | EXACT],
            kernel: &[],
            stand_ins: &[],
            truncated: false,
        });
        // The function itself comes before what is inlined into it.
        let first = stack
            .frames
            .iter()
            .find(|frame| frame.kind != FrameKind::Kernel);
        let act = first.map_or(Act::Other, |frame| by_name(&frame.name));
        self.known.insert(address, act);
        act
    }
}

/// What a function of this name does to a lock that it is given: those of the C library, of the C++ library, of
/// Rust's.
fn by_name(name: &str) -> Act {
    let name = name.to_lowercase();
    let function = last_part(&name);
    let destroys = [
        "~lock_guard",
        "~unique_lock",
        "~scoped_lock",
        "~shared_lock",
    ];
    if name.contains("condvar") && function.starts_with("wait") {
        return Act::Waits;
    }
    if function.starts_with("unlock") && function.ends_with("_slow") {
        // parking_lot's, for what is left to do: the way that leads here has tried to free it already.
        return Act::Other;
    }
    if function.contains("unlock") || destroys.contains(&&*function) {
        return Act::Frees;
    }
    if matches!(&*function, "drop" | "drop_in_place") {
        // The dropping of a mere reference does nothing, and nobody writes it.
        return match () {
            () if name.contains("guard<") || name.contains("mem::drop") => Act::Drops,
            () if function == "drop_in_place" => Act::DropsParts,
            () => Act::Other,
        };
    }
    let of_rwlock = name.contains("rwlock") && matches!(&*function, "read" | "write");
    match of_rwlock || function.contains("lock") {
        true => Act::Takes,
        false => Act::Other,
    }
}

/// The function itself: without its module, arguments and type parameters.
fn last_part(name: &str) -> String {
    let mut depth = 0_u32;
    let mut part = String::new();
    // What follows a space is the name itself, behind the type that it returns; or nothing, or a remark.
    let mut gap = false;
    for c in name.chars() {
        match c {
            '<' | '(' | '[' | '{' => depth += 1,
            '>' | ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ if depth > 0 => {}
            ':' => part.clear(),
            ' ' => gap = true,
            _ => {
                if std::mem::take(&mut gap) {
                    part.clear();
                }
                part.push(c);
            }
        }
    }
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_of_locks_are_told_by_their_names() {
        for name in [
            "pthread_rwlock_unlock",
            "std::lock_guard<std::mutex>::~lock_guard()",
            "std::shared_lock<std::shared_mutex>::~shared_lock()",
            "std::shared_mutex::unlock_shared()",
            "<parking_lot::raw_mutex::RawMutex as lock_api::mutex::RawMutex>::unlock",
            "void sync::unlock<int>(sync::Lock&) [clone .cold]",
        ] {
            assert_eq!(by_name(name), Act::Frees, "{name}");
        }
        for name in [
            "core::ptr::drop_in_place<std::sync::poison::mutex::MutexGuard<u64>>",
            "<std::sync::poison::rwlock::RwLockReadGuard<T> as core::ops::drop::Drop>::drop",
            "core::mem::drop",
            "<lock_api::mutex::MutexGuard<R,T> as core::ops::drop::Drop>::drop",
            "core::ptr::drop_in_place<lock_api::rwlock::RwLockReadGuard<parking_lot::raw_rwlock::RawRwLock,u64>>",
        ] {
            assert_eq!(by_name(name), Act::Drops, "{name}");
        }
        for name in [
            "std::sync::poison::mutex::Mutex<T>::lock",
            "pthread_rwlock_wrlock",
            "std::lock_guard<std::mutex>::lock_guard(std::mutex&)",
            "std::sys::sync::mutex::futex::Mutex::lock_contended",
            "parking_lot::raw_mutex::RawMutex::lock_slow",
        ] {
            assert_eq!(by_name(name), Act::Takes, "{name}");
        }
        for name in [
            "parking_lot::condvar::Condvar::wait_until_internal",
            "std::sync::poison::condvar::Condvar::wait",
        ] {
            assert_eq!(by_name(name), Act::Waits, "{name}");
        }
        let parts = "core::ptr::drop_in_place<std::sync::poison::mutex::Mutex<u64>>";
        assert_eq!(by_name(parts), Act::DropsParts);
        for name in [
            "memcpy",
            "",
            "sick_locks::take",
            "clocks::now(Lock&)",
            "parking_lot::raw_mutex::RawMutex::unlock_slow",
            "parking_lot::raw_rwlock::RawRwLock::unlock_shared_slow",
        ] {
            assert_eq!(by_name(name), Act::Other, "{name}");
        }
    }
}
