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

const COMMON: &[Wanted] = &[
    fatal(
        "task_struct",
        &["pid"],
        &[(|o| &mut o.task_pid, 0)],
        "threads have no identity",
    ),
    fatal(
        "task_struct",
        &["tgid"],
        &[(|o| &mut o.task_tgid, 0)],
        "targets are not recognised",
    ),
    // Renamed in 5.14, so that nothing would read it as a plain `long` any more.
    fatal(
        "task_struct",
        &["__state", "state"],
        &[(|o| &mut o.task_state, 0)],
        COST_STATE,
    ),
    wanted(
        "task_struct",
        &["comm"],
        &[(|o| &mut o.task_comm, 0)],
        "threads that end during the capture may have no name",
    ),
    wanted(
        "task_struct",
        &["files"],
        &[(|o| &mut o.task_files, 0)],
        COST_FILE,
    ),
    wanted(
        "files_struct",
        &["fdt"],
        &[(|o| &mut o.files_fdt, 0)],
        COST_FILE,
    ),
    wanted("fdtable", &["fd"], &[(|o| &mut o.fdtable_fd, 0)], COST_FILE),
    wanted(
        "fdtable",
        &["max_fds"],
        &[(|o| &mut o.fdtable_max_fds, 0)],
        COST_FILE,
    ),
    wanted(
        "file",
        &["f_inode"],
        &[(|o| &mut o.file_inode, 0)],
        COST_FILE,
    ),
    wanted(
        "inode",
        &["i_mode"],
        &[(|o| &mut o.inode_mode, 0)],
        COST_FILE,
    ),
    wanted(
        "task_struct",
        &["stack"],
        &[(|o| &mut o.task_stack, 0)],
        "kernels without the helper bpf_task_pt_regs give waits no reason",
    ),
    wanted(
        "task_struct",
        &["on_cpu"],
        &[(|o| &mut o.task_on_cpu, 0)],
        "what a thread does at the start of the capture is known from its next switch on",
    ),
    wanted(
        "task_struct",
        &["se.exec_start"],
        &[(|o| &mut o.task_exec_start, 0)],
        COST_SLEPT,
    ),
    wanted(
        "task_struct",
        &["se.cfs_rq"],
        &[(|o| &mut o.task_cfs_rq, 0)],
        COST_SLEPT,
    ),
    wanted("cfs_rq", &["rq"], &[(|o| &mut o.cfs_rq_rq, 0)], COST_SLEPT),
    wanted("rq", &["clock"], &[(|o| &mut o.rq_clock, 0)], COST_SLEPT),
    wanted(
        "rq",
        &["clock_task"],
        &[(|o| &mut o.rq_clock_task, 0)],
        COST_SLEPT,
    ),
    wanted(
        "task_struct",
        &["sched_info.last_arrival"],
        &[(|o| &mut o.task_last_arrival, 0)],
        COST_MOVED,
    ),
    wanted(
        "task_struct",
        &["se.sum_exec_runtime"],
        &[(|o| &mut o.task_run_time, 0)],
        COST_MOVED,
    ),
    wanted(
        "task_struct",
        &["se.prev_sum_exec_runtime"],
        &[(|o| &mut o.task_run_time_before, 0)],
        COST_MOVED,
    ),
    wanted(
        "task_struct",
        &["prio"],
        &[(|o| &mut o.task_prio, 0)],
        COST_MOVED,
    ),
    wanted(
        "task_struct",
        &["group_leader"],
        &[(|o| &mut o.task_group_leader, 0)],
        COST_RECYCLED,
    ),
    wanted(
        "task_struct",
        &["start_boottime"],
        &[(|o| &mut o.task_start_boottime, 0)],
        COST_RECYCLED,
    ),
    wanted(
        "task_struct",
        &["pagefault_disabled"],
        &[(|o| &mut o.task_pagefault_disabled, 0)],
        COST_FAULTS,
    ),
    wanted(
        "task_struct",
        &["restart_block.fn"],
        &[(|o| &mut o.task_restart, 0)],
        COST_RESTART,
    ),
];

/// `struct pt_regs` of `arch/x86/include/asm/ptrace.h`; arguments in the order of
/// `syscall_get_arguments` (`arch/x86/include/asm/syscall.h`).
const X86_64: &[Wanted] = &[
    wanted(
        "pt_regs",
        &["orig_ax"],
        &[(|o| &mut o.regs_syscall, 0)],
        COST_SYSCALL,
    ),
    wanted(
        "pt_regs",
        &["di"],
        &[(|o| &mut o.regs_args[0], 0)],
        COST_ARGS,
    ),
    wanted(
        "pt_regs",
        &["si"],
        &[(|o| &mut o.regs_args[1], 0)],
        COST_ARGS,
    ),
    wanted(
        "pt_regs",
        &["dx"],
        &[(|o| &mut o.regs_args[2], 0)],
        COST_ARGS,
    ),
    wanted(
        "pt_regs",
        &["r10"],
        &[(|o| &mut o.regs_args[3], 0)],
        COST_ARGS,
    ),
    wanted(
        "pt_regs",
        &["r8"],
        &[(|o| &mut o.regs_args[4], 0)],
        COST_ARGS,
    ),
    wanted(
        "pt_regs",
        &["r9"],
        &[(|o| &mut o.regs_args[5], 0)],
        COST_ARGS,
    ),
    wanted(
        "pt_regs",
        &["ip"],
        &[(|o| &mut o.regs_ip, 0)],
        COST_USER_STACK,
    ),
    wanted(
        "pt_regs",
        &["sp"],
        &[(|o| &mut o.regs_sp, 0)],
        COST_USER_STACK,
    ),
    wanted(
        "pt_regs",
        &["bp"],
        &[(|o| &mut o.regs_fp, 0)],
        COST_USER_STACK,
    ),
    wanted("pt_regs", &["cs"], &[(|o| &mut o.regs_mode, 0)], COST_MODE),
    wanted(
        "task_struct",
        &["thread.fsbase"],
        &[(|o| &mut o.task_tls, 0)],
        COST_TLS,
    ),
];

/// `struct pt_regs` of `arch/arm64/include/asm/ptrace.h`. `regs` is an array of 64-bit registers:
/// x0 to x5 are the arguments, x29 is the frame pointer.
const AARCH64: &[Wanted] = &[
    wanted(
        "pt_regs",
        &["syscallno"],
        &[(|o| &mut o.regs_syscall, 0)],
        COST_SYSCALL,
    ),
    wanted(
        "pt_regs",
        &["regs"],
        &[
            (|o| &mut o.regs_args[0], 0),
            (|o| &mut o.regs_args[1], 8),
            (|o| &mut o.regs_args[2], 16),
            (|o| &mut o.regs_args[3], 24),
            (|o| &mut o.regs_args[4], 32),
            (|o| &mut o.regs_args[5], 40),
            (|o| &mut o.regs_fp, 29 * 8),
            (|o| &mut o.regs_lr, 30 * 8),
        ],
        COST_ARGS,
    ),
    wanted(
        "pt_regs",
        &["pc"],
        &[(|o| &mut o.regs_ip, 0)],
        COST_USER_STACK,
    ),
    wanted(
        "pt_regs",
        &["sp"],
        &[(|o| &mut o.regs_sp, 0)],
        COST_USER_STACK,
    ),
    wanted(
        "pt_regs",
        &["pstate"],
        &[(|o| &mut o.regs_mode, 0)],
        COST_MODE,
    ),
    wanted(
        "task_struct",
        &["thread.uw.tp_value"],
        &[(|o| &mut o.task_tls, 0)],
        COST_TLS,
    ),
];

const fn wanted(
    owner: &'static str,
    paths: &'static [&'static str],
    slots: &'static [(Slot, u32)],
    cost: &'static str,
) -> Wanted {
    Wanted {
        owner,
        paths,
        slots,
        fatal: false,
        cost,
    }
}

const fn fatal(
    owner: &'static str,
    paths: &'static [&'static str],
    slots: &'static [(Slot, u32)],
    cost: &'static str,
) -> Wanted {
    Wanted {
        owner,
        paths,
        slots,
        fatal: true,
        cost,
    }
}

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
