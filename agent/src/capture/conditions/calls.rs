//! What blocked system calls are about: the file behind their descriptor, the path in their arguments, who
//! holds the file lock.
//!
//! Nothing is opened or looked up in a file system, for the one that a target hangs in would hang us.

use super::{actor, pipes};
use crate::{
    kernel::{Arch, syscalls},
    model::{Actor, Call, Reason},
    probe::now_ns,
    target::{ResidentMemory, escape, memory::Memory, proc_fs},
};
use remora_common::thread::{FLAG_SINCE_INFERRED, STATE_BLOCKED, ThreadSlot};
use std::time::Duration;

/// Calls of a process that are looked at.
const MAX_CALLS: usize = 32;
/// A path that is longer is cut.
const MAX_PATH: usize = 512;
/// Lines of `/proc/locks` that are read, in bytes.
const MAX_LOCKS: u64 = 4 << 20;
/// A wait that has lasted so long is searched for its other end.
const A_WHILE: Duration = Duration::from_secs(2);
/// Holders that are named.
const MAX_HOLDERS: usize = 3;

/// Calls whose first argument is a path.
const PATH_FIRST: [&str; 15] = [
    "open", "creat", "stat", "lstat", "access", "truncate", "unlink", "rename", "mkdir", "rmdir",
    "readlink", "statfs", "chdir", "chmod", "chown",
];
/// Calls whose second argument is one.
const PATH_SECOND: [&str; 12] = [
    "openat",
    "openat2",
    "newfstatat",
    "statx",
    "unlinkat",
    "mkdirat",
    "renameat",
    "renameat2",
    "faccessat",
    "faccessat2",
    "readlinkat",
    "fchmodat",
];
/// Calls without a descriptor that have a number first.
const NO_DESCRIPTOR: [&str; 12] = [
    "mmap",
    "munmap",
    "mprotect",
    "madvise",
    "brk",
    "sync",
    "mremap",
    "process_vm_readv",
    "process_vm_writev",
    "getrandom",
    "futex",
    "msync",
];

/// What the calls are about in which these threads of a process are blocked.
pub fn of(pid: u32, slots: &[&ThreadSlot], arch: Arch, locks: &mut FileLocks) -> Vec<Call> {
    let asleep = slots.iter().filter(|slot| {
        slot.state == STATE_BLOCKED
            && !slot.is_woken()
            && is_of_interest(Reason::from_u8(slot.reason as u8))
    });
    asleep
        .take(MAX_CALLS)
        .filter_map(|slot| call(pid, slot, syscalls::name(arch, slot.syscall)?, locks))
        .collect()
}

/// Whether a wait for this reason may be one that should not last.
fn is_of_interest(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Disk
            | Reason::Uninterruptible
            | Reason::FileRead
            | Reason::FileWrite
            | Reason::PipeWrite
            | Reason::DeviceWrite
            | Reason::Syscall
    )
}

fn call(pid: u32, slot: &ThreadSlot, name: &str, locks: &mut FileLocks) -> Option<Call> {
    let mut call = Call {
        tid: slot.tid,
        ..Call::default()
    };
    if PATH_FIRST.contains(&name) {
        call.path = path(pid, slot.args[0]);
    } else if PATH_SECOND.contains(&name) {
        call.path = path(pid, slot.args[1]);
    } else if !NO_DESCRIPTOR.contains(&name) {
        let fd = u32::try_from(slot.args[0]).ok()?;
        let link = std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok()?;
        call.fd = Some(fd);
        call.path = escape(link.as_os_str().as_encoded_bytes());
        if slot.reason == Reason::PipeWrite as u32 && has_lasted(slot) {
            call.readers = pipes::readers(&call.path);
        }
        if matches!(name, "flock" | "fcntl") {
            call.holders = locks.holders(pid);
        }
    }
    Some(call)
}

/// Whether a wait began before the capture, or a while ago: a search costs.
fn has_lasted(slot: &ThreadSlot) -> bool {
    let ns = now_ns().saturating_sub(slot.since_ns);
    slot.flags & FLAG_SINCE_INFERRED != 0 || u128::from(ns) >= A_WHILE.as_nanos()
}

/// The path at an address of a process's memory, as far as it is there.
fn path(pid: u32, address: u64) -> String {
    let Ok(memory) = ResidentMemory::open(pid) else {
        return String::new();
    };
    let bytes = memory.up_to(address, MAX_PATH);
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    escape(bytes.get(..end).unwrap_or_default())
}

/// The file locks of the host, read when they are first asked for.
#[derive(Debug, Default)]
pub struct FileLocks(Option<String>);

impl FileLocks {
    /// Who holds what a process waits for.
    fn holders(&mut self, pid: u32) -> Vec<Actor> {
        let text = self.0.get_or_insert_with(|| {
            let bytes = proc_fs::read("/proc/locks", MAX_LOCKS).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        });
        let mut holders: Vec<Actor> = holders(text, pid).into_iter().map(actor).collect();
        holders.truncate(MAX_HOLDERS);
        holders
    }
}

/// The processes that hold what one waits for, from lines as `7: FLOCK ADVISORY WRITE 4711 00:2a:99 0 EOF`, each
/// followed by its waiters, as `7: -> FLOCK …`.
fn holders(locks: &str, waiter: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let mut holder = None;
    for line in locks.lines() {
        let mut words = line.split_ascii_whitespace().skip(1).peekable();
        let waits = words.next_if_eq(&"->").is_some();
        let Some(pid) = words.nth(3).and_then(|pid| pid.parse::<u32>().ok()) else {
            continue;
        };
        if !waits {
            holder = Some(pid);
        } else if pid == waiter
            && let Some(holder) = holder
            && !found.contains(&holder)
        {
            found.push(holder);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_holder_of_a_lock_stands_above_its_waiters() {
        let text = "1: FLOCK  ADVISORY  WRITE 100 00:2a:99 0 EOF\n\
            1: -> FLOCK  ADVISORY  WRITE 200 00:2a:99 0 EOF\n\
            2: POSIX  ADVISORY  READ  300 08:01:12 0 EOF\n\
            2: -> POSIX  ADVISORY  WRITE 200 08:01:12 0 9\n\
            3: LEASE  ACTIVE    READ  400 08:01:13 0 EOF\n";
        assert_eq!(holders(text, 200), [100, 300]);
        assert_eq!(holders(text, 100), [0_u32; 0]);
    }

    proptest! {
        #[test]
        fn any_text_is_taken(text in "([0-9]{1,4}|:|->|FLOCK| |\n){0,60}", pid: u32) {
            let _ = holders(&text, pid);
        }
    }
}
