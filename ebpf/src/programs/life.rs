//! Threads and processes come and go: forks are enlisted, an exec begins a new address space, an
//! exit names the thread for the last time (its last switch-out ends its slot).

use crate::{
    config, loss,
    maps::EVENTS,
    table,
    task::{self, Task},
};
use aya_ebpf::{
    helpers::{bpf_ktime_get_ns, generated::bpf_probe_read_kernel},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use remora_common::{
    config::ABSENT,
    event::{BIRTHS, EVENT_BIRTHS, EVENT_EXEC, EVENT_FORK, Event},
    loss::Loss,
    thread::{STATE_EXITED, STATE_WOKEN, ThreadSlot},
};

/// `BPF_RB_FORCE_WAKEUP`: `include/uapi/linux/bpf.h`.
const FORCE_WAKEUP: u64 = 2;

#[btf_tracepoint(function = "sched_process_fork")]
pub fn process_fork(context: BtfTracePointContext) -> i32 {
    let parent: Task = context.arg(0);
    let child: Task = context.arg(1);
    let Some(slot) = table::find(task::tid(parent)) else {
        return 0;
    };
    let (parent_tgid, generation) = (slot.tgid, slot.generation);
    let new_process = task::tgid(child) != parent_tgid;
    let unfollowed = || config::follow_children() == 0 || table::is_unfollowed(parent_tgid);
    if !table::recording() || (new_process && unfollowed()) {
        return 0;
    }
    // SAFETY: the helper has no preconditions.
    let now = unsafe { bpf_ktime_get_ns() };
    let generation = if new_process { 0 } else { generation };
    let Some(index) = table::enlist(child, generation, STATE_WOKEN, now) else {
        return 0;
    };
    let Some(slot) = table::find(task::tid(child)) else {
        return 0;
    };
    if new_process {
        // The agent must read its mappings while it lives.
        send(&context, event(EVENT_FORK, slot, index, parent_tgid, now));
    } else if slot.serial % BIRTHS == 0 {
        send(&context, event(EVENT_BIRTHS, slot, index, 0, now));
    }
    0
}

#[btf_tracepoint(function = "sched_process_exec")]
pub fn process_exec(context: BtfTracePointContext) -> i32 {
    let task: Task = context.arg(0);
    let old_tid: u32 = context.arg(1);
    if !table::recording() {
        return 0;
    }
    // SAFETY: the helper has no preconditions.
    let now = unsafe { bpf_ktime_get_ns() };
    let tid = task::tid(task);
    if tid != old_tid {
        take_over(tid, old_tid, now);
    }
    let index = table::index_of(tid);
    let Some(slot) = table::find(tid) else {
        return 0;
    };
    slot.generation += 1;
    send(&context, event(EVENT_EXEC, slot, index, 0, now));
    0
}

/// A thread that execs takes its leader's id over, and the leader's own slot ends here. Where the
/// leader's last switch-out came under the thread's old id, and ended the thread's slot instead,
/// the leader's goes on as the thread's.
#[inline(always)]
fn take_over(tid: u32, old_tid: u32, now: u64) {
    let index = table::index_of(old_tid);
    if index == 0 {
        return;
    }
    if let Some(leader) = table::find(tid) {
        leader.since_ns = now;
        leader.state = STATE_EXITED;
    }
    table::bind(old_tid, 0);
    table::bind(tid, index);
    if let Some(slot) = table::find(tid) {
        slot.tid = tid;
    }
}

#[btf_tracepoint(function = "sched_process_exit")]
pub fn process_exit(context: BtfTracePointContext) -> i32 {
    let task: Task = context.arg(0);
    let Some(slot) = table::find(task::tid(task)) else {
        return 0;
    };
    slot.migrations_last = task::migrations(task);
    if config::task_comm() != ABSENT {
        // SAFETY: both sides are 16 bytes; the source is a member of task_struct.
        unsafe {
            bpf_probe_read_kernel(
                (&raw mut slot.comm).cast(),
                16,
                task.add(config::task_comm() as usize).cast(),
            );
        }
    }
    0
}

#[inline(always)]
fn event(kind: u32, slot: &ThreadSlot, index: u32, parent_tgid: u32, at_ns: u64) -> Event {
    Event {
        kind,
        slot: index,
        tid: slot.tid,
        tgid: slot.tgid,
        serial: slot.serial,
        parent_tgid,
        generation: slot.generation,
        reserved: 0,
        at_ns,
    }
}

#[inline(always)]
fn send(context: &BtfTracePointContext, event: Event) {
    log(context, &event);
    if EVENTS.output::<Event>(event, FORCE_WAKEUP).is_err() {
        loss::count(Loss::EventRingFull);
    }
}

#[cfg(feature = "debug-log")]
#[inline(always)]
fn log(context: &BtfTracePointContext, event: &Event) {
    aya_log_ebpf::info!(context, "event {} of thread {}", event.kind, event.tid);
}

#[cfg(not(feature = "debug-log"))]
#[inline(always)]
fn log(_context: &BtfTracePointContext, _event: &Event) {}
