//! Read-only globals, set by the agent before the load.
//!
//! They are frozen then, so the verifier treats each read as a constant: a branch on a feature
//! that is off costs nothing, and a member's offset folds into the load.

use core::ptr::read_volatile;
use remora_common::config::{Offsets, Params};

#[unsafe(no_mangle)]
static OFFSETS: Offsets = Offsets::ALL_ABSENT;

#[unsafe(no_mangle)]
static PARAMS: Params = Params::ZERO;

/// Reads one member of a read-only global; volatile, or the compiler would use its initial value.
macro_rules! global {
    ($global:ident . $($member:tt)+) => {
        // SAFETY: the static is initialised, aligned and never written while programs run.
        unsafe { read_volatile(&raw const $global.$($member)+) }
    };
}

macro_rules! getters {
    ($global:ident: $($name:ident),* $(,)?) => {
        $(#[inline(always)] pub fn $name() -> u32 { global!($global.$name) })*
    };
}

getters!(OFFSETS:
    task_pid, task_tgid, task_state, task_comm, task_files, task_stack, task_on_cpu,
    task_exec_start, task_cpu, task_group_leader, task_start_boottime, task_in_iowait,
    task_in_iowait_mask, files_fdt, fdtable_fd, fdtable_max_fds, file_inode, inode_mode,
    regs_syscall, regs_ip, regs_sp, regs_fp, regs_mode, regs_lr, task_tls,
    task_pagefault_disabled,
);

getters!(PARAMS:
    aggregates_per_half, stacks_per_half, follow_children, switch_has_state, has_task_pt_regs,
    regs_from_stack, switch_out_one_in, compat_mask, compat_value, unwind, is_arm64, python,
    fault_period,
);

#[inline(always)]
pub fn min_block_ns() -> u64 {
    global!(PARAMS.min_block_ns)
}

#[inline(always)]
pub fn late_ns() -> u64 {
    global!(PARAMS.late_ns)
}

#[inline(always)]
pub fn code_mask() -> u64 {
    global!(PARAMS.code_mask)
}

/// Offset of system call argument `N` in the saved registers.
#[inline(always)]
pub fn regs_arg<const N: usize>() -> u32 {
    global!(OFFSETS.regs_args[N])
}
