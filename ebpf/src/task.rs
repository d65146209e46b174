//! Reading `task_struct` and what hangs off it, at offsets from the running kernel's BTF.
//!
//! A [`Task`] comes from a tracepoint argument or a helper, so the verifier knows its type and lets
//! a member be read by a plain load; what is reached through more than one pointer is read with
//! `bpf_probe_read_kernel`.

use crate::config;
use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_probe_read_kernel};
use core::{mem::MaybeUninit, ptr::read_volatile};
use remora_common::{config::ABSENT, thread::MIGRATIONS_UNKNOWN};

/// A trusted pointer to a `task_struct`.
pub type Task = *const u8;

/// `TASK_UNINTERRUPTIBLE`, `__TASK_STOPPED`, `__TASK_TRACED`, `TASK_DEAD`, `TASK_WAKING`, `TASK_NEW`:
/// `include/linux/sched.h`, the same since 4.14.
pub const TASK_UNINTERRUPTIBLE: u32 = 0x2;
pub const TASK_STOPPED_OR_TRACED: u32 = 0x4 | 0x8;
pub const TASK_DEAD: u32 = 0x80;
pub const TASK_WAKING: u32 = 0x200;
pub const TASK_NEW: u32 = 0x800;

/// Loads a member through a typed pointer.
///
/// # Safety
/// `base` must be a pointer whose type the verifier knows, `offset` a member of type `T` in it.
#[inline(always)]
pub unsafe fn member<T>(base: *const u8, offset: u32) -> T {
    // SAFETY: the caller's promise; the verifier checks it again.
    unsafe { read_volatile(base.add(offset as usize).cast::<T>()) }
}

/// Reads kernel memory that the verifier knows nothing about.
#[inline(always)]
pub fn probe<T: Copy>(base: u64, offset: u32) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the destination is a T; the helper checks the source and zeroes on a fault.
    let failed = unsafe {
        bpf_probe_read_kernel(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            (base + offset as u64) as *const _,
        )
    };
    if failed == 0 {
        // SAFETY: the helper filled it.
        Some(unsafe { value.assume_init() })
    } else {
        None
    }
}

/// The task on this CPU.
#[inline(always)]
pub fn current() -> Task {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_get_current_task_btf() as Task }
}

#[inline(always)]
pub fn tid(task: Task) -> u32 {
    // SAFETY: member of task_struct.
    unsafe { member(task, config::task_pid()) }
}

#[inline(always)]
pub fn tgid(task: Task) -> u32 {
    // SAFETY: member of task_struct.
    unsafe { member(task, config::task_tgid()) }
}

#[inline(always)]
pub fn state(task: Task) -> u32 {
    // SAFETY: member of task_struct; `long` before 5.14, whose low half holds every flag.
    unsafe { member(task, config::task_state()) }
}

/// How often the scheduler moved the task to another CPU in its life, modulo 2^32.
#[inline(always)]
pub fn migrations(task: Task) -> u32 {
    if config::task_migrations() == ABSENT {
        return MIGRATIONS_UNKNOWN;
    }
    // SAFETY: the low half of a member of task_struct.
    unsafe { member(task, config::task_migrations()) }
}

/// Whether the task is on a CPU; `false` when the kernel does not say.
#[inline(always)]
pub fn on_cpu(task: Task) -> bool {
    if config::task_on_cpu() == ABSENT {
        return false;
    }
    // SAFETY: member of task_struct (CONFIG_SMP); an int, from 7.0 on a byte: its first one tells.
    unsafe { member::<u8>(task, config::task_on_cpu()) != 0 }
}

/// When the scheduler accounted the task's run time last, by its CPU's own clock (ns); 0 when absent.
#[inline(always)]
pub fn exec_start(task: Task) -> u64 {
    if config::task_exec_start() == ABSENT {
        return 0;
    }
    // SAFETY: member of task_struct.
    unsafe { member(task, config::task_exec_start()) }
}

/// The function by which an interrupted call of the task goes on; 0 when absent.
#[inline(always)]
pub fn restart(task: Task) -> u64 {
    if config::task_restart() == ABSENT {
        return 0;
    }
    // SAFETY: member of task_struct.
    unsafe { member(task, config::task_restart()) }
}

/// Whether a fault of the task now fails instead of fetching a page: somebody reads with care, as programs
/// like these do.
#[inline(always)]
pub fn faults_fail(task: Task) -> bool {
    if config::task_pagefault_disabled() == ABSENT {
        return false;
    }
    // SAFETY: member of task_struct.
    let depth: u32 = unsafe { member(task, config::task_pagefault_disabled()) };
    depth != 0
}

/// Whether the task sleeps for block I/O.
#[inline(always)]
pub fn in_iowait(task: Task) -> bool {
    if config::task_in_iowait() == ABSENT {
        return false;
    }
    // SAFETY: the byte that holds the bit field.
    let byte: u8 = unsafe { member(task, config::task_in_iowait()) };
    byte as u32 & config::task_in_iowait_mask() != 0
}

/// Start time of the task's process, in ns since boot; 0 when absent.
#[inline(always)]
pub fn process_start_ns(task: Task) -> u64 {
    if config::task_group_leader() == ABSENT || config::task_start_boottime() == ABSENT {
        return 0;
    }
    // SAFETY: members of task_struct; the leader pointer is typed by the verifier.
    unsafe {
        let leader: *const u8 = member(task, config::task_group_leader());
        member(leader, config::task_start_boottime())
    }
}

/// `st_mode` of the file behind a descriptor of the task. A few probes: only for `read`, `write`
/// and their relatives.
#[inline(always)]
pub fn descriptor_mode(task: Task, fd: u64) -> Option<u32> {
    if config::task_files() == ABSENT
        || config::files_fdt() == ABSENT
        || config::fdtable_fd() == ABSENT
        || config::fdtable_max_fds() == ABSENT
        || config::file_inode() == ABSENT
        || config::inode_mode() == ABSENT
    {
        return None;
    }
    // SAFETY: members of task_struct and files_struct, typed by the verifier (null reads as 0).
    let table: u64 = unsafe {
        let files: *const u8 = member(task, config::task_files());
        member(files, config::files_fdt())
    };
    let limit: u32 = probe(table, config::fdtable_max_fds())?;
    let fd = fd as u32;
    if fd >= limit {
        return None;
    }
    let array: u64 = probe(table, config::fdtable_fd())?;
    let file: u64 = probe(array + 8 * fd as u64, 0)?;
    let inode: u64 = probe(file, config::file_inode())?;
    probe::<u16>(inode, config::inode_mode()).map(u32::from)
}
