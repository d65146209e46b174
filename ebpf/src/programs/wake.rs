//! `sched_waking`: somebody wakes a thread. It runs in the waker's own context, which the later
//! `sched_wakeup` often does not, and it is the only hook on wake-ups: what ends with the wake-up is
//! settled when the thread gets its CPU (`table::switch_in`), so a wake-up costs one program, and
//! for a thread that nobody watches two loads.

use crate::{
    registers, table,
    task::{self, Task},
};
use aya_ebpf::{helpers::bpf_ktime_get_ns, macros::btf_tracepoint, programs::BtfTracePointContext};

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
    // SAFETY: the helper has no preconditions.
    slot.woken_ns = unsafe { bpf_ktime_get_ns() };
    0
}

/// A timer or a device woke it, and whoever was on the CPU has nothing to do with it: certain when
/// that thread was in user mode. In kernel mode the thread counts as the waker.
#[inline(always)]
fn interrupted_in_user_mode(waker: Task, tid: u32) -> bool {
    tid != 0 && registers::of(waker).is_some_and(|registers| registers.interrupted())
}
