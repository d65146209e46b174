//! Entry to and return from the waits of event loops, whether they sleep or not: iterations exactly.
//! Three kinds of hooks for one idea; the agent loads the best that the kernel has.

use crate::{config, event_loop, maps::SYSCALLS, registers, table, task};
use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns},
    macros::{btf_tracepoint, fentry, fexit, kprobe, kretprobe},
    programs::{BtfTracePointContext, FEntryContext, FExitContext, ProbeContext, RetProbeContext},
};
use remora_common::{
    config::ABSENT,
    event_loop::LOOP_EXACT,
    reason::{Reason, SyscallClass},
    thread::ThreadSlot,
};

const EPOLL: u32 = Reason::Epoll as u32;
const POLL: u32 = Reason::Poll as u32;

/// The tracepoints of all system calls: they make each one of the host take the slow way in and out.
#[btf_tracepoint(function = "sys_enter")]
pub fn loop_sys_enter(context: BtfTracePointContext) -> i32 {
    if let Some(kind) = kind_of(context.arg::<i64>(1)) {
        enter(kind);
    }
    0
}

#[btf_tracepoint(function = "sys_exit")]
pub fn loop_sys_exit(context: BtfTracePointContext) -> i32 {
    let registers: *const u8 = context.arg(0);
    if config::regs_syscall() == ABSENT {
        return 0;
    }
    // SAFETY: the low half of `orig_ax` on x86-64, all of `syscallno` on arm64.
    let number: i32 = unsafe { task::member(registers, config::regs_syscall()) };
    if let Some(kind) = kind_of(number as i64) {
        exit(kind, Some(context.arg(1)));
    }
    0
}

/// What a system call of this number waits for, when it may be for events.
#[inline(always)]
pub(super) fn kind_of(number: i64) -> Option<u32> {
    match *SYSCALLS.get(number as u32)? {
        class if class == SyscallClass::Epoll as u8 => Some(EPOLL),
        class if class == SyscallClass::Poll as u8 || class == SyscallClass::Select as u8 => {
            Some(POLL)
        }
        _ => None,
    }
}

/// Probes on the functions of the system calls.
#[kprobe]
pub fn epoll_kprobe(_context: ProbeContext) -> u32 {
    enter(EPOLL)
}

#[kretprobe]
pub fn epoll_kretprobe(context: RetProbeContext) -> u32 {
    exit(EPOLL, Some(context.ret()))
}

#[kprobe]
pub fn poll_kprobe(_context: ProbeContext) -> u32 {
    enter(POLL)
}

#[kretprobe]
pub fn poll_kretprobe(context: RetProbeContext) -> u32 {
    exit(POLL, Some(context.ret()))
}

/// The same functions, by trampolines. A program has one function, so there is a pair for each.
macro_rules! trampolines {
    ($($kind:ident: $enter:ident, $exit:ident;)*) => {
        $(
            #[fentry]
            pub fn $enter(_context: FEntryContext) -> i32 {
                enter($kind);
                0
            }

            #[fexit]
            pub fn $exit(context: FExitContext) -> i32 {
                // The function has one argument, its caller's registers; what it gives stands behind.
                exit($kind, Some(context.arg(1)));
                0
            }
        )*
    };
}

trampolines! {
    EPOLL: epoll_wait_fentry, epoll_wait_fexit;
    EPOLL: epoll_pwait_fentry, epoll_pwait_fexit;
    EPOLL: epoll_pwait2_fentry, epoll_pwait2_fexit;
    POLL: poll_fentry, poll_fexit;
    POLL: ppoll_fentry, ppoll_fexit;
    POLL: select_fentry, select_fexit;
    POLL: pselect6_fentry, pselect6_fexit;
}

#[inline(always)]
fn enter(kind: u32) -> u32 {
    if let Some(slot) = thread(kind) {
        // SAFETY: the helper has no preconditions.
        event_loop::waits(slot, kind, unsafe { bpf_ktime_get_ns() });
    }
    0
}

#[inline(always)]
fn exit(kind: u32, returned: Option<i64>) -> u32 {
    if let Some(slot) = thread(kind) {
        // SAFETY: the helper has no preconditions.
        event_loop::is_back(slot, kind, unsafe { bpf_ktime_get_ns() }, returned);
    }
    0
}

/// The slot of the thread, when it is a target's and waits for events: a poll of one descriptor is a
/// step of an iteration, not its end.
#[inline(always)]
fn thread(kind: u32) -> Option<&'static mut ThreadSlot> {
    let slot = table::find(bpf_get_current_pid_tgid() as u32)?;
    if event_loop::mode() != LOOP_EXACT || !table::recording() {
        return None;
    }
    if kind == POLL && registers::of(task::current())?.arg::<1>() < 2 {
        return None;
    }
    Some(slot)
}
