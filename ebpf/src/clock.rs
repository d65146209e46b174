//! When a sleeper fell asleep, by what the scheduler keeps anyway. Nobody has to run on the sleeper's CPU for it.
//!
//! Each CPU's run queue has two clocks (`update_rq_clock`, kernel/sched/core.c), both brought up to date whenever
//! the scheduler does something there:
//!
//! - `rq->clock` is `sched_clock_cpu`: the same on all CPUs (x86-64 with a stable TSC, arm64), at a fixed distance of
//!   `CLOCK_MONOTONIC` but for what time servers correct;
//! - `rq->clock_task` stands still while the CPU serves interrupts or is stolen by the host. So it falls behind
//!   `rq->clock`, and never catches up.
//!
//! A sleeper's `se.exec_start` is `rq->clock_task` of the moment in which it fell asleep, whatever its scheduling class.
//! How far behind that clock is *now* is at least as far as it was *then*: so `exec_start + (clock - clock_task)` is
//! the moment, or later by what interrupts and the host have taken of that CPU since. A sleep is never said to be
//! longer than it is. A CPU that has been idle since has not touched its clocks: there it is exact.
//!
//! The run queue is found through `se.cfs_rq`, which every task has, in all classes (`set_task_rq`).

use crate::{
    config,
    maps::CONTROL,
    task::{self, Task, member},
};
use remora_common::config::ABSENT;

/// `MAX_RT_PRIO`: below are deadline and real-time tasks, which do not keep `prev_sum_exec_runtime` on all
/// kernels.
const MAX_RT_PRIO: u32 = 100;

/// The clocks of one run queue.
#[derive(Clone, Copy)]
struct Clocks {
    clock: u64,
    clock_task: u64,
}

/// When a sleeping task fell asleep, or later, by `rq->clock`; 0 when that is not known.
#[inline(always)]
pub fn slept_at(task: Task) -> u64 {
    let ran = task::exec_start(task);
    if ran == 0 {
        return 0;
    }
    let Some(clocks) = clocks(task) else { return 0 };
    let by_queue = ran.wrapping_add(clocks.clock.wrapping_sub(clocks.clock_task));
    // Since 6.12 a sleeper may stay on its run queue for a while and be moved to another CPU's, whose clocks say
    // nothing of it. What it did is then known from its last stint.
    let by_stint = stint_end(task);
    if by_stint > by_queue {
        by_stint
    } else {
        by_queue
    }
}

/// When the task's last stint on a CPU was over, by `rq->clock`, or earlier by what interrupts and the host took of
/// it; 0 when that is not known.
#[inline(always)]
fn stint_end(task: Task) -> u64 {
    if config::task_last_arrival() == ABSENT
        || config::task_run_time() == ABSENT
        || config::task_run_time_before() == ABSENT
        || config::task_prio() == ABSENT
    {
        return 0;
    }
    // SAFETY: members of task_struct.
    let (arrived, prio): (u64, u32) = unsafe {
        (
            member(task, config::task_last_arrival()),
            member(task, config::task_prio()),
        )
    };
    if prio < MAX_RT_PRIO {
        return arrived;
    }
    // SAFETY: members of task_struct.
    let (now, before): (u64, u64) = unsafe {
        (
            member(task, config::task_run_time()),
            member(task, config::task_run_time_before()),
        )
    };
    arrived.wrapping_add(now.wrapping_sub(before))
}

/// Notes how far `CLOCK_MONOTONIC`, now `now`, is ahead of `rq->clock`. The current task is the agent's own thread, whose
/// CPU brought its clock up to date when it got it: the smallest of several readings is the best one.
#[inline(always)]
pub fn note_distance(now: u64) {
    let Some(own) = clocks(task::current()) else {
        return;
    };
    let Some(control) = CONTROL.get_ptr_mut(0) else {
        return;
    };
    let ahead = now.wrapping_sub(own.clock);
    // SAFETY: a live element; only the agent's one thread runs the iterator that calls this.
    unsafe {
        if (*control).clock_readings == 0 || (ahead as i64) < (*control).clock_ahead_ns as i64 {
            (*control).clock_ahead_ns = ahead;
        }
        (*control).clock_readings += 1;
    }
}

/// The clocks of the run queue that a task is on or was on last.
#[inline(always)]
fn clocks(task: Task) -> Option<Clocks> {
    if config::task_cfs_rq() == ABSENT
        || config::cfs_rq_rq() == ABSENT
        || config::rq_clock() == ABSENT
        || config::rq_clock_task() == ABSENT
    {
        return None;
    }
    // SAFETY: members, each typed by the verifier (null reads as 0).
    let queue: *const u8 = unsafe {
        let fair: *const u8 = member(task, config::task_cfs_rq());
        member(fair, config::cfs_rq_rq())
    };
    let mut clocks = read(queue);
    if clocks.clock_task != read(queue).clock_task {
        // They were being changed: not twice in a row.
        clocks = read(queue);
    }
    (clocks.clock != 0).then_some(clocks)
}

/// The one that may fall behind first: a change in between makes the distance too long, never too short.
#[inline(always)]
fn read(queue: *const u8) -> Clocks {
    // SAFETY: members of struct rq; volatile, in this order.
    unsafe {
        let clock_task = member(queue, config::rq_clock_task());
        let clock = member(queue, config::rq_clock());
        Clocks { clock, clock_task }
    }
}
