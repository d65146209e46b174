//! Counts each poll for events of the targets' threads, whether it sleeps or not: for a fraction of a second, where it
//! has to be known whether a loop comes back to its wait.

use super::event_wait::kind_of;
use crate::{config, maps::CONTROL, registers, table, task};
use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use remora_common::{
    reason::Reason,
    thread::{POLLS_EPOLL, POLLS_POLL, PollTotals},
};

const EPOLL: u32 = Reason::Epoll as u32;

/// The entry to every system call of the host: attached for as short as can be.
#[btf_tracepoint(function = "sys_enter")]
pub fn count_polls(context: BtfTracePointContext) -> i32 {
    if let Some(kind) = kind_of(context.arg::<i64>(1)) {
        count(kind);
    }
    0
}

#[inline(always)]
fn count(kind: u32) -> Option<()> {
    // SAFETY: a live element; the agent writes the member whole.
    let from = unsafe { (*CONTROL.get_ptr(0)?).polls_from_ns };
    if from == 0 {
        return None;
    }
    let slot = table::find(bpf_get_current_pid_tgid() as u32)?;
    // A poll of one descriptor is a step of an iteration, not its end.
    if kind != EPOLL && registers::of(task::current())?.arg::<1>() < 2 {
        return None;
    }
    // SAFETY: the helper has no preconditions.
    let now = unsafe { bpf_ktime_get_ns() };
    let came_back = slot.busy_since_ns;
    if kind == EPOLL {
        add(&mut slot.polls[POLLS_EPOLL], from.max(came_back), from, now);
    } else {
        add(&mut slot.polls[POLLS_POLL], from.max(came_back), from, now);
    }
    Some(())
}

/// One more poll; the thread was busy since `busy` at the earliest.
#[inline(always)]
fn add(polls: &mut PollTotals, busy: u64, from: u64, now: u64) {
    if polls.last_ns < from {
        // Of an earlier count.
        *polls = PollTotals {
            count: 0,
            last_ns: from,
            longest_ns: 0,
            late_ns: 0,
        };
    }
    let took = now.saturating_sub(busy.max(polls.last_ns));
    polls.count += 1;
    polls.last_ns = now;
    if took > polls.longest_ns {
        polls.longest_ns = took;
    }
    if took >= config::late_ns() {
        polls.late_ns += took;
    }
}
