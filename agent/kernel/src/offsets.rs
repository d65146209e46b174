//! Where the kernel side finds what it reads: offsets of kernel structure members, looked up in
//! the running kernel's BTF. What is not there is named, with what that costs.

use super::Arch;
use super::btf::{Btf, BtfError, Member};
use remora_common::config::Offsets;

pub mod sockets;

/// A member that this kernel does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absent {
    /// Its name, `struct.member`.
    pub member: String,
    /// What is lost without it, in words that complete a report.
    pub cost: &'static str,
    /// Without it nothing can be observed at all.
    pub fatal: bool,
    /// What BTF answered.
    pub why: BtfError,
}

/// Where in [`Offsets`] one offset goes.
type Slot = fn(&mut Offsets) -> &mut u32;

/// One member that the kernel side reads.
struct Wanted {
    owner: &'static str,
    /// The member's names, newest first: kernels rename.
    paths: &'static [&'static str],
    /// Where its offset goes, plus so many bytes (elements of an array).
    slots: &'static [(Slot, u32)],
    fatal: bool,
    cost: &'static str,
}

const COST_STATE: &str = "a thread that sleeps cannot be told from one that lost its CPU";
const COST_FILE: &str = "reads and writes do not say what kind of file they wait for";
const COST_RECYCLED: &str = "a process id that is used again cannot be told from the target";
const COST_SYSCALL: &str = "waits have no reason: the system call of a sleeping thread is unknown";
const COST_ARGS: &str = "waits are not told apart by descriptor, lock address or time-out";
const COST_USER_STACK: &str = "threads still asleep at the end of the capture have no user stack";
const COST_MODE: &str = "32-bit tasks are not recognised: their system calls get wrong names";
const COST_TLS: &str = "threads of a Python interpreter are not recognised: no Python frames";
const COST_SLEPT: &str = "how long threads had slept when the capture began is unknown";
const COST_MOVED: &str = "a sleep that began before the capture may look longer than it is, where the kernel moved the \
     sleeper to another CPU";
const COST_FAULTS: &str = "careful reads of absent memory count as page faults";
const COST_RESTART: &str = "waits with a time limit have no reason after a stop";
const COST_IOWAIT: &str = "disk waits are told from the system call only";

/// Without it nothing can be observed.
const MUST: bool = true;
/// Without it something is missing.
const MAY: bool = false;

macro_rules! table {
    ($($fatal:ident $owner:literal $($path:literal)|+ => $($field:ident$([$at:literal])? $(+ $plus:literal)?),+; $cost:expr;)*) => {
        &[$(Wanted {
            owner: $owner,
            paths: &[$($path),+],
            slots: &[$((|offsets| &mut offsets.$field$([$at])?, 0 $(+ $plus)?)),+],
            fatal: $fatal,
            cost: $cost,
        },)*]
    };
}

const COMMON: &[Wanted] = table! {
    MUST "task_struct" "pid" => task_pid; "threads have no identity";
    MUST "task_struct" "tgid" => task_tgid; "targets are not recognised";
    // Renamed in 5.14, so that nothing would read it as a plain `long` any more.
    MUST "task_struct" "__state" | "state" => task_state; COST_STATE;
    MAY "task_struct" "comm" => task_comm; "threads that end during the capture may have no name";
    MAY "task_struct" "files" => task_files; COST_FILE;
    MAY "files_struct" "fdt" => files_fdt; COST_FILE;
    MAY "fdtable" "fd" => fdtable_fd; COST_FILE;
    MAY "fdtable" "max_fds" => fdtable_max_fds; COST_FILE;
    MAY "file" "f_inode" => file_inode; COST_FILE;
    MAY "inode" "i_mode" => inode_mode; COST_FILE;
    MAY "task_struct" "stack" => task_stack; "kernels without the helper bpf_task_pt_regs give waits no reason";
    MAY "task_struct" "on_cpu" => task_on_cpu; "what a thread does at the start of the capture is known from its next switch on";
    MAY "task_struct" "se.exec_start" => task_exec_start; COST_SLEPT;
    MAY "task_struct" "se.nr_migrations" => task_migrations; "how often threads moved between CPUs is unknown";
    MAY "task_struct" "se.cfs_rq" => task_cfs_rq; COST_SLEPT;
    MAY "cfs_rq" "rq" => cfs_rq_rq; COST_SLEPT;
    MAY "rq" "clock" => rq_clock; COST_SLEPT;
    MAY "rq" "clock_task" => rq_clock_task; COST_SLEPT;
    MAY "task_struct" "sched_info.last_arrival" => task_last_arrival; COST_MOVED;
    MAY "task_struct" "se.sum_exec_runtime" => task_run_time; COST_MOVED;
    MAY "task_struct" "se.prev_sum_exec_runtime" => task_run_time_before; COST_MOVED;
    MAY "task_struct" "prio" => task_prio; COST_MOVED;
    MAY "task_struct" "group_leader" => task_group_leader; COST_RECYCLED;
    MAY "task_struct" "start_boottime" => task_start_boottime; COST_RECYCLED;
    MAY "task_struct" "pagefault_disabled" => task_pagefault_disabled; COST_FAULTS;
    MAY "task_struct" "restart_block.fn" => task_restart; COST_RESTART;
};

/// `struct pt_regs` of `arch/x86/include/asm/ptrace.h`; arguments in the order of
/// `syscall_get_arguments` (`arch/x86/include/asm/syscall.h`).
const X86_64: &[Wanted] = table! {
    MAY "pt_regs" "orig_ax" => regs_syscall; COST_SYSCALL;
    MAY "pt_regs" "di" => regs_args[0]; COST_ARGS;
    MAY "pt_regs" "si" => regs_args[1]; COST_ARGS;
    MAY "pt_regs" "dx" => regs_args[2]; COST_ARGS;
    MAY "pt_regs" "r10" => regs_args[3]; COST_ARGS;
    MAY "pt_regs" "r8" => regs_args[4]; COST_ARGS;
    MAY "pt_regs" "r9" => regs_args[5]; COST_ARGS;
    MAY "pt_regs" "ip" => regs_ip; COST_USER_STACK;
    MAY "pt_regs" "sp" => regs_sp; COST_USER_STACK;
    MAY "pt_regs" "bp" => regs_fp; COST_USER_STACK;
    MAY "pt_regs" "cs" => regs_mode; COST_MODE;
    MAY "task_struct" "thread.fsbase" => task_tls; COST_TLS;
};

/// `struct pt_regs` of `arch/arm64/include/asm/ptrace.h`. `regs` is an array of 64-bit registers:
/// x0 to x5 are the arguments, x29 is the frame pointer.
const AARCH64: &[Wanted] = table! {
    MAY "pt_regs" "syscallno" => regs_syscall; COST_SYSCALL;
    MAY "pt_regs" "regs" => regs_args[0], regs_args[1] + 8, regs_args[2] + 16, regs_args[3] + 24, regs_args[4] + 32, regs_args[5] + 40, regs_fp + 232, regs_lr + 240; COST_ARGS;
    MAY "pt_regs" "pc" => regs_ip; COST_USER_STACK;
    MAY "pt_regs" "sp" => regs_sp; COST_USER_STACK;
    MAY "pt_regs" "pstate" => regs_mode; COST_MODE;
    MAY "task_struct" "thread.uw.tp_value" => task_tls; COST_TLS;
};

/// Looks up every member that the kernel side reads, and lists those that are not there; their
/// offsets are [`remora_common::config::ABSENT`].
///
/// `regs_syscall` is 8 bytes wide on x86-64 and 4 on arm64; its low 4 bytes, signed, are the
/// number on both.
pub fn offsets(btf: &Btf<'_>, arch: Arch) -> (Offsets, Vec<Absent>) {
    let mut offsets = Offsets::ALL_ABSENT;
    let mut absent = Vec::new();
    let registers = match arch {
        Arch::X86_64 => X86_64,
        Arch::Aarch64 => AARCH64,
    };
    for wanted in COMMON.iter().chain(registers) {
        match place(btf, wanted.owner, wanted.paths) {
            Ok(byte) => {
                for (slot, plus) in wanted.slots {
                    *slot(&mut offsets) = byte.saturating_add(*plus);
                }
            }
            Err(why) => absent.push(Absent {
                member: format!("{}.{}", wanted.owner, wanted.paths[0]),
                cost: wanted.cost,
                fatal: wanted.fatal,
                why,
            }),
        }
    }
    match btf.member("task_struct", "in_iowait").and_then(byte_mask) {
        Ok((byte, mask)) => (offsets.task_in_iowait, offsets.task_in_iowait_mask) = (byte, mask),
        Err(why) => absent.push(Absent {
            member: "task_struct.in_iowait".into(),
            cost: COST_IOWAIT,
            fatal: false,
            why,
        }),
    }
    (offsets, absent)
}

/// Byte offset of a member under the first of its names that exists.
fn place(btf: &Btf<'_>, owner: &str, paths: &[&str]) -> Result<u32, BtfError> {
    let mut first_error = None;
    for path in paths {
        match btf.member(owner, path) {
            Ok(member) => return Ok(member.byte_offset),
            Err(why) => first_error = first_error.or(Some(why)),
        }
    }
    Err(first_error.unwrap_or(BtfError::NoStruct { name: owner.into() }))
}

/// The byte of a flag and its bits in that byte (little endian); all of it for a plain member.
fn byte_mask(flag: Member) -> Result<(u32, u32), BtfError> {
    match u32::from(flag.bit_offset) + u32::from(flag.bits) {
        0 => Ok((flag.byte_offset, 0xff)),
        1..=8 => Ok((flag.byte_offset, ((1 << flag.bits) - 1) << flag.bit_offset)),
        _ => Err(BtfError::OffsetOutOfRange {
            member: "in_iowait".into(),
        }),
    }
}

#[cfg(test)]
mod tests;
