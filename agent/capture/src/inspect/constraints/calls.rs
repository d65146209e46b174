//! What blocked system calls are about: the file behind their descriptor, the path in their arguments.
//!
//! Nothing is opened or looked up in a file system, for the one that a target hangs in would hang us.

use remora_common::thread::{STATE_BLOCKED, ThreadSlot};
use remora_kernel::{Arch, syscalls};
use remora_model::{Call, Reason};
use remora_process::{ResidentMemory, escape, memory::Memory, proc_fs};

/// Calls of a process that are looked at.
const MAX_CALLS: usize = 32;
/// A path that is longer is cut.
const MAX_PATH: usize = 512;

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
pub(super) fn of(pid: u32, slots: &[&ThreadSlot], arch: Arch) -> Vec<Call> {
    let asleep = slots.iter().filter(|slot| {
        slot.state == STATE_BLOCKED
            && !slot.is_woken()
            && is_of_interest(Reason::from_u8(slot.reason as u8))
    });
    asleep
        .take(MAX_CALLS)
        .filter_map(|slot| call(pid, slot, syscalls::name(arch, slot.syscall)?))
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

fn call(pid: u32, slot: &ThreadSlot, name: &str) -> Option<Call> {
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
        let link = std::fs::read_link(format!("/proc/{}/fd/{fd}", proc_fs::speaker(pid))).ok()?;
        call.fd = Some(fd);
        call.path = escape(link.as_os_str().as_encoded_bytes());
    }
    Some(call)
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
