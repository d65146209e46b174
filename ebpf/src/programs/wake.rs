//! `sched_waking` knows who wakes, `sched_wakeup` knows that the woken thread is ready.
//!
//! The first runs in the waker's own context, but possibly before the sleeper has left its CPU;
//! the second under the lock of the sleeper's run queue, but possibly in an interrupt of another
//! CPU. So the one notes the waker, and the other ends the wait.

use crate::{
    registers, table,
    task::{self, Task},
};
use aya_ebpf::{helpers::bpf_ktime_get_ns, macros::btf_tracepoint, programs::BtfTracePointContext};
use remora_common::thread::STATE_BLOCKED;

#[btf_tracepoint(function = "sched_waking")]
pub fn sched_waking(context: BtfTracePointContext) -> i32 {
    let sleeper: Task = context.arg(0);
    let Some(slot) = table::find(task::tid(sleeper)) else {
        return 0;
    };
    let waker = task::current();
    let (mut tid, mut tgid) = (task::tid(waker), task::tgid(waker));
    if interrupted_in_user_mode(waker, tid) {
        (tid, tgid) = (0, 0);
    }
    slot.waker_tid = tid;
    slot.waker_tgid = tgid;
    0
}

/// A timer or a device woke it, and whoever was on the CPU has nothing to do with it: certain when
/// that thread was in user mode. In kernel mode the thread counts as the waker.
#[inline(always)]
fn interrupted_in_user_mode(waker: Task, tid: u32) -> bool {
    tid != 0 && registers::of(waker).is_some_and(|registers| registers.interrupted())
}

#[btf_tracepoint(function = "sched_wakeup")]
pub fn sched_wakeup(context: BtfTracePointContext) -> i32 {
    let sleeper: Task = context.arg(0);
    let Some(slot) = table::find(task::tid(sleeper)) else {
        return 0;
    };
    if slot.state != STATE_BLOCKED || !table::recording() {
        return 0;
    }
    // SAFETY: the helper has no preconditions.
    table::wake(slot, unsafe { bpf_ktime_get_ns() });
    0
}
