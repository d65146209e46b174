//! Why a task goes to sleep. The rules, in their order:
//!
//! 1. stopped or traced: the task's state says so;
//! 2. a 32-bit task: its system calls are another table, not interpreted;
//! 3. not in a system call: a page fault that has to wait;
//! 4. the class of the system call, from the agent's table; `read` and `write` look at the kind of
//!    their descriptor, `poll` and `select` without descriptors are sleeps; `restart_syscall` is the call with a
//!    time limit that a stop interrupted, whose arguments are still in the registers: the task's restart
//!    block says which;
//! 5. an uninterruptible sleep in a call that is not itself such a wait is storage when the
//!    scheduler counts it as I/O wait, else "uninterruptible".

use crate::{
    config, loss,
    maps::SYSCALLS,
    registers::{self, Registers},
    task::{self, Task},
};
use remora_common::{
    loss::Loss,
    reason::{NO_SYSCALL, REASONS, Reason, SyscallClass},
    thread::ThreadSlot,
};

/// `S_IFMT` and the kinds in it: `include/uapi/linux/stat.h`.
const S_IFMT: u32 = 0o170000;
const S_IFIFO: u32 = 0o010000;
const S_IFCHR: u32 = 0o020000;
const S_IFSOCK: u32 = 0o140000;

/// Writes reason, system call and arguments of a task that goes (or is) asleep into its slot.
#[inline(always)]
pub fn note(slot: &mut ThreadSlot, task: Task, state: u32) {
    slot.syscall = NO_SYSCALL as u32;
    let reason = match registers::of(task) {
        _ if state & task::TASK_STOPPED_OR_TRACED != 0 => Reason::Stopped,
        None => {
            loss::count(Loss::RegistersUnreadable);
            Reason::Unknown
        }
        Some(registers) if registers.is_compat() => {
            loss::count(Loss::Compat32Waits);
            Reason::Compat32
        }
        Some(registers) => in_call(slot, task, state, registers),
    };
    slot.reason = reason as u32;
}

#[inline(always)]
fn in_call(slot: &mut ThreadSlot, task: Task, state: u32, registers: Registers) -> Reason {
    let number = registers.syscall();
    if number < 0 {
        return Reason::PageFault;
    }
    slot.syscall = number as u32 & 0xffff;
    slot.args = [
        registers.arg::<0>(),
        registers.arg::<1>(),
        registers.arg::<2>(),
        registers.arg::<3>(),
        registers.arg::<4>(),
        registers.arg::<5>(),
    ];
    let mut class = SYSCALLS.get(number as u32).copied().unwrap_or(0);
    if class == SyscallClass::Restart as u8 {
        class = restarted(slot, task);
    }
    let reason = by_class(slot, task, class);
    if state & task::TASK_UNINTERRUPTIBLE != 0 {
        uninterruptible(task, reason)
    } else {
        reason
    }
}

/// The class of the call that goes on by `restart_syscall`, with its number in the slot.
#[inline(always)]
fn restarted(slot: &mut ThreadSlot, task: Task) -> u8 {
    let function = task::restart(task);
    let (call, class) = if function == 0 {
        return SyscallClass::Other as u8;
    } else if function == config::restart::<0>() {
        (config::restart_call::<0>(), SyscallClass::Futex)
    } else if function == config::restart::<1>() {
        (config::restart_call::<1>(), SyscallClass::Sleep)
    } else if function == config::restart::<2>() {
        (config::restart_call::<2>(), SyscallClass::Poll)
    } else {
        return SyscallClass::Other as u8;
    };
    slot.syscall = call;
    class as u8
}

#[inline(always)]
fn by_class(slot: &ThreadSlot, task: Task, class: u8) -> Reason {
    const POLL: u8 = SyscallClass::Poll as u8;
    const SELECT: u8 = SyscallClass::Select as u8;
    const READ: u8 = SyscallClass::Read as u8;
    const WRITE: u8 = SyscallClass::Write as u8;
    match class {
        0 => Reason::Syscall,
        READ | WRITE => by_descriptor(task, slot.args[0], class == WRITE),
        POLL if slot.args[1] == 0 => Reason::Sleep,
        SELECT if slot.args[0] == 0 => Reason::Sleep,
        POLL | SELECT => Reason::Poll,
        // SAFETY: the agent writes reasons' numbers, or those above.
        class if (class as usize) < REASONS => unsafe { core::mem::transmute::<u8, Reason>(class) },
        _ => Reason::Syscall,
    }
}

/// `read` and `write` wait for what their descriptor is.
#[inline(always)]
fn by_descriptor(task: Task, fd: u64, write: bool) -> Reason {
    let Some(mode) = task::descriptor_mode(task, fd) else {
        loss::count(Loss::DescriptorUnreadable);
        return Reason::Syscall;
    };
    match (mode & S_IFMT, write) {
        (S_IFSOCK, false) => Reason::SocketReceive,
        (S_IFSOCK, true) => Reason::SocketSend,
        (S_IFIFO, false) => Reason::PipeRead,
        (S_IFIFO, true) => Reason::PipeWrite,
        (S_IFCHR, false) => Reason::DeviceRead,
        (S_IFCHR, true) => Reason::DeviceWrite,
        // Anonymous inodes (eventfd, timerfd, signalfd, inotify) have no kind.
        (0, false) => Reason::EventRead,
        (0, true) => Reason::EventWrite,
        (_, false) => Reason::FileRead,
        (_, true) => Reason::FileWrite,
    }
}

/// An uninterruptible sleep: storage, or something inside the kernel.
#[inline(always)]
fn uninterruptible(task: Task, reason: Reason) -> Reason {
    match reason {
        // These sleep uninterruptibly by themselves: vfork waits for its child so.
        Reason::WaitChild | Reason::IoUring | Reason::Disk => reason,
        Reason::FileRead | Reason::FileWrite => Reason::Disk,
        _ if task::in_iowait(task) => Reason::Disk,
        _ => Reason::Uninterruptible,
    }
}
