//! Two task iterators: one enlists the threads that are there when the capture begins, with what
//! they do at that moment; the other shows where the blocked ones stand, at any time.

use crate::{
    atomic, clock, config, loss,
    maps::{TARGETS, TASK_RECORD, WALKS},
    python, reason, registers,
    stack::{self, Taker},
    table,
    task::{self, Task},
    unwind::{self, Other},
};
use aya_ebpf::{
    bindings::seq_file,
    helpers::{
        bpf_ktime_get_ns,
        generated::{bpf_get_task_stack, bpf_seq_write},
    },
};
use core::ffi::c_void;
use remora_common::{
    aggregate::{MAX_FRAMES, STACK_WORDS},
    event::TaskRecord,
    loss::Loss,
    thread::*,
};

/// Nanoseconds in a clock tick of `/proc` (`USER_HZ` is 100 on every architecture served).
const TICK_NS: u64 = 10_000_000;

/// `struct bpf_iter__task` and `struct bpf_iter_meta`: `kernel/bpf/task_iter.c`.
#[repr(C)]
pub struct TaskIteration {
    meta: *const IterationMeta,
    task: Task,
}

#[repr(C)]
pub struct IterationMeta {
    seq: *mut seq_file,
}

#[unsafe(link_section = "iter/task")]
#[unsafe(no_mangle)]
pub fn enlist_tasks(context: *const TaskIteration) -> i32 {
    // SAFETY: the kernel passes a valid context; the task is null at the end of the iteration.
    let task = unsafe { (*context).task };
    if task.is_null() {
        return 0;
    }
    // SAFETY: the helper has no preconditions.
    let now = unsafe { bpf_ktime_get_ns() };
    clock::note_distance(now);
    let tgid = task::tgid(task);
    // SAFETY: only the agent writes this map, and not while it runs the iteration.
    let Some(started) = (unsafe { TARGETS.get(tgid) }) else {
        return 0;
    };
    let started_ns = task::process_start_ns(task);
    if started_ns != 0 && *started != started_ns / TICK_NS {
        return 0;
    }
    let index = table::index_of(task::tid(task));
    // A newborn's own fork hook enlists it.
    if task::state(task) & (task::TASK_DEAD | task::TASK_NEW) != 0 {
        return 0;
    }
    if index == 0 && table::enlist(task, 0, STATE_UNKNOWN, now).is_none() {
        return 0;
    }
    if let Some(slot) = table::find(task::tid(task))
        && slot.state == STATE_UNKNOWN
    {
        settle(slot, task);
    }
    0
}

/// Finds out what a just enlisted thread does. Its events count already: what they say wins.
#[inline(always)]
fn settle(slot: &mut ThreadSlot, task: Task) {
    let state = task::state(task);
    let started = task::exec_start(task);
    let on_cpu = task::on_cpu(task);
    if state & task::TASK_WAKING != 0 || (on_cpu && state != 0) {
        // It comes or goes this very moment; its next event tells, or the second pass.
        return;
    }
    let found = if on_cpu {
        STATE_RUNNING
    } else if state == 0 {
        STATE_PREEMPTED
    } else {
        reason::note(slot, task, state);
        STATE_BLOCKED
    };
    let slept_at = match found {
        STATE_BLOCKED => clock::slept_at(task),
        _ => 0,
    };
    let moved = task::state(task) != state || task::exec_start(task) != started;
    if moved {
        return;
    }
    let flags = slot.flags;
    let mut settled = flags;
    if found == STATE_BLOCKED {
        slot.slept_at_ns = slept_at;
        settled |= FLAG_SINCE_INFERRED;
    }
    let word = |state: u32, flags: u32| state as u64 | (flags as u64) << 32;
    let cell = (&raw mut slot.state).cast::<c_void>().cast::<u64>();
    // SAFETY: state and flags are one aligned word. Where an event came first, it wins.
    unsafe { atomic::compare_exchange(cell, word(STATE_UNKNOWN, flags), word(found, settled)) };
}

/// Where the blocked threads stand: registers and kernel stacks.
#[unsafe(link_section = "iter/task")]
#[unsafe(no_mangle)]
pub fn blocked_tasks(context: *const TaskIteration) -> i32 {
    show(context, false)
}

/// The same, with their user and Python stacks: it may sleep, so it can read their memory.
#[unsafe(link_section = "iter.s/task")]
#[unsafe(no_mangle)]
pub fn blocked_stacks(context: *const TaskIteration) -> i32 {
    show(context, true)
}

#[inline(always)]
fn show(context: *const TaskIteration, user: bool) -> i32 {
    // SAFETY: the kernel passes a valid context; the task is null at the end of the iteration.
    let (seq, task) = unsafe { ((*(*context).meta).seq, (*context).task) };
    if task.is_null() {
        return 0;
    }
    let tid = task::tid(task);
    let index = table::index_of(tid);
    if index == 0 {
        return 0;
    }
    let Some(slot) = table::find(tid) else {
        return 0;
    };
    // The first pass at the end, while everything counts.
    if table::recording() {
        slot.migrations_last = task::migrations(task);
    }
    if slot.state != STATE_BLOCKED {
        return 0;
    }
    // Half: the agent looks at the whole a moment later.
    // SAFETY: the helper has no preconditions.
    let now = unsafe { bpf_ktime_get_ns() };
    if now.saturating_sub(slot.since_ns) < config::min_block_ns() / 2 {
        return 0;
    }
    let Some(buffer) = TASK_RECORD.get_ptr_mut(0) else {
        return 0;
    };
    let buffer = buffer.cast::<u8>();
    let before = sequence(slot);
    let mut record = record(slot, task, index);
    let kernel_bytes = kernel_stack(task, buffer);
    record.kernel_len = kernel_bytes / 8;
    if user {
        walk_user(slot, task, &mut record);
    }
    record.at_rest = (sequence(slot) == before && task::state(task) == record.task_state) as u32;
    // SAFETY: the scratch elements hold as much.
    unsafe {
        buffer.cast::<TaskRecord>().write(record);
        bpf_seq_write(
            seq,
            buffer.cast(),
            size_of::<TaskRecord>() as u32 + kernel_bytes,
        );
        if user {
            write_walk(seq, Taker::Snapshot, record.user_len);
            write_walk(seq, Taker::SnapshotPython, record.python_len);
        }
    }
    0
}

/// Who a sleeper is, since when it sleeps, and its registers; no stack yet.
#[inline(always)]
fn record(slot: &ThreadSlot, task: Task, index: u32) -> TaskRecord {
    let place = registers::of(task)
        .map(|registers| registers.all())
        .unwrap_or_default();
    TaskRecord {
        tid: slot.tid,
        tgid: slot.tgid,
        slot: index,
        serial: slot.serial,
        task_state: task::state(task),
        kernel_len: 0,
        since_ns: slot.since_ns,
        user_len: 0,
        python_len: 0,
        user_ending: 0,
        python_ending: 0,
        python_walked: 0,
        reserved: 0,
        ip: place.ip,
        at_rest: 0,
        user_walked: 0,
        sp: place.sp,
        fp: place.fp,
        lr: place.lr,
    }
}

/// A sleeper's kernel stack, behind the place for its record in `buffer`; returns its bytes.
#[inline(always)]
fn kernel_stack(task: Task, buffer: *mut u8) -> u32 {
    // SAFETY: the scratch element holds a record and MAX_FRAMES frames.
    let bytes = unsafe {
        let frames = buffer.add(size_of::<TaskRecord>());
        bpf_get_task_stack(task as *mut _, frames.cast(), 8 * MAX_FRAMES as u32, 0)
    };
    if bytes < 0 {
        loss::count(Loss::KernelStackFailed);
        return 0;
    }
    bytes as u32 & 0x3ff
}

/// The slot's version: it changes whenever its thread comes or goes.
#[inline(always)]
fn sequence(slot: &ThreadSlot) -> u64 {
    // SAFETY: an aligned member of a live element.
    unsafe { (&raw const slot.sequence).read_volatile() }
}

/// User and Python stack of a sleeper, each into a scratch element of its own.
#[inline(always)]
fn walk_user(slot: &mut ThreadSlot, task: Task, record: &mut TaskRecord) {
    record.user_walked = 1;
    let space = stack::space_of(slot);
    unwind::user_stack(Taker::Snapshot as u32, task, slot, Other(task), space);
    if let Some(walk) = WALKS.get_ptr(Taker::Snapshot as u32) {
        // SAFETY: a live element.
        (record.user_len, record.user_ending) = unsafe { ((*walk).len, (*walk).ending) };
    }
    if config::python() == 0
        || !python::stack(Taker::SnapshotPython as u32, task, slot, Other(task), space)
    {
        return;
    }
    if let Some(walk) = WALKS.get_ptr(Taker::SnapshotPython as u32) {
        // SAFETY: a live element.
        (record.python_len, record.python_ending) = unsafe { ((*walk).len, (*walk).ending) };
        record.python_walked = 1;
    }
}

/// Writes the words of a walk.
#[inline(always)]
unsafe fn write_walk(seq: *mut seq_file, taker: Taker, len: u32) {
    let Some(walk) = WALKS.get_ptr_mut(taker as u32) else {
        return;
    };
    let bytes = (len << 3) & (16 * STACK_WORDS as u32 - 1);
    if bytes > 8 * STACK_WORDS as u32 {
        return;
    }
    // SAFETY: the scratch element holds STACK_WORDS.
    unsafe { bpf_seq_write(seq, (&raw mut (*walk).words).cast(), bytes) };
}
