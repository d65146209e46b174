//! Threads and processes come and go: forks are enlisted, an exec begins a new address space, an
//! exit names the thread for the last time.

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
    event::{EVENT_EXEC, EVENT_EXIT, EVENT_FORK, Event},
    loss::Loss,
    thread::{FLAG_EXITING, STATE_WOKEN, ThreadSlot},
};

/// `BPF_RB_NO_WAKEUP`, `BPF_RB_FORCE_WAKEUP`: `include/uapi/linux/bpf.h`.
const NO_WAKEUP: u64 = 1;
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
    if (new_process && config::follow_children() == 0) || !table::recording() {
        return 0;
    }
    // SAFETY: the helper has no preconditions.
    let now = unsafe { bpf_ktime_get_ns() };
    let generation = if new_process { 0 } else { generation };
    let Some(index) = table::enlist(child, generation, STATE_WOKEN, now) else {
        return 0;
    };
    if new_process && let Some(slot) = table::find(task::tid(child)) {
        // The agent must read its mappings while it lives.
        send(EVENT_FORK, slot, index, parent_tgid, now, FORCE_WAKEUP);
    }
    0
}

#[btf_tracepoint(function = "sched_process_exec")]
pub fn process_exec(context: BtfTracePointContext) -> i32 {
    let task: Task = context.arg(0);
    let old_tid: u32 = context.arg(1);
    let tid = task::tid(task);
    // A thread that execs takes its leader's id over.
    let index = table::index_of(old_tid);
    if index == 0 {
        return 0;
    }
    if tid != old_tid {
        table::bind(old_tid, 0);
        table::bind(tid, index);
    }
    let Some(slot) = table::find(tid) else {
        return 0;
    };
    slot.tid = tid;
    slot.generation += 1;
    // SAFETY: the helper has no preconditions.
    let now = unsafe { bpf_ktime_get_ns() };
    send(EVENT_EXEC, slot, index, 0, now, FORCE_WAKEUP);
    0
}

#[btf_tracepoint(function = "sched_process_exit")]
pub fn process_exit(context: BtfTracePointContext) -> i32 {
    let task: Task = context.arg(0);
    let tid = task::tid(task);
    let index = table::index_of(tid);
    if index == 0 {
        return 0;
    }
    let Some(slot) = table::find(tid) else {
        return 0;
    };
    slot.flags |= FLAG_EXITING;
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
    // SAFETY: the helper has no preconditions.
    let now = unsafe { bpf_ktime_get_ns() };
    send(EVENT_EXIT, slot, index, 0, now, NO_WAKEUP);
    0
}

#[inline(always)]
fn send(kind: u32, slot: &ThreadSlot, index: u32, parent_tgid: u32, at_ns: u64, flags: u64) {
    let event = Event {
        kind,
        slot: index,
        tid: slot.tid,
        tgid: slot.tgid,
        serial: slot.serial,
        parent_tgid,
        generation: slot.generation,
        reserved: 0,
        at_ns,
    };
    if EVENTS.output::<Event>(event, flags).is_err() {
        loss::count(Loss::EventRingFull);
    }
}
