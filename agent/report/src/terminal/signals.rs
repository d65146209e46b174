//! Event loops and locks, a line each.

use super::Page;
use crate::label;
use crate::text::{clean, count, counted, duration, seconds};
use anstyle::Style;
use remora_model::{Capture, Lock, LockKind, OwnerFrom, ThreadLoop};
use std::cmp::Reverse;
use std::time::Duration;

/// Loops and locks that are named.
const NAMED: usize = 5;

/// Share of the capture that threads must have lost for a lock before it is worth a line.
const LOST: f64 = 0.001;

pub(super) fn loops(page: &mut Page, capture: &Capture) {
    let mut loops: Vec<&ThreadLoop> = capture
        .loops
        .iter()
        .filter(|event_loop| event_loop.iterations > 0)
        .collect();
    if loops.is_empty() {
        return;
    }
    loops.sort_by_key(|event_loop| (Reverse(event_loop.late), Reverse(event_loop.longest)));
    let late_from = duration(loops[0].late_from);
    let watched = seconds(capture.duration);
    page.heading(&format!(
        "Event loops, iterations in the {watched} watched (late: ≥ {late_from})"
    ));
    for event_loop in loops.iter().take(NAMED) {
        page.hanging(Style::new(), "  ", &loop_line(capture, event_loop));
    }
    let more = loops.len().saturating_sub(NAMED);
    if more > 0 {
        page.plain(&format!(
            "  and {more} more, none with more late iterations"
        ));
    }
}

fn loop_line(capture: &Capture, event_loop: &ThreadLoop) -> String {
    let name = capture
        .threads
        .get(event_loop.thread)
        .map(label::thread_name)
        .unwrap_or_default();
    let most = if event_loop.exact { "" } else { "≤ " };
    let late = match event_loop.late {
        0 => "none late".to_owned(),
        late => format!("{} late (epoll.svg)", count(late)),
    };
    let lengths = event_loop
        .lengths
        .quantiles(event_loop.longest)
        .map_or_else(String::new, |lengths| {
            format!(
                "p50 {}, p95 {}, p99 {}, ",
                duration(lengths.p50),
                duration(lengths.p95),
                duration(lengths.p99)
            )
        });
    let now = event_loop
        .busy_now
        .filter(|busy| *busy >= event_loop.late_from);
    let now = now.map_or_else(String::new, |busy| {
        format!("; late now, for {}", duration(busy))
    });
    format!(
        "{}: {most}{lengths}max {}, {}; {late}{now}",
        clean(&name),
        duration(event_loop.longest),
        counted(event_loop.iterations, "iteration"),
    )
}

pub(super) fn locks(page: &mut Page, capture: &Capture) {
    let worth = capture.duration.mul_f64(LOST);
    let locks = capture.locks.iter().filter(|lock| {
        !matches!(lock.kind, LockKind::Event | LockKind::Futex) && lock.total >= worth
    });
    let mut locks: Vec<&Lock> = locks.collect();
    if locks.is_empty() {
        return;
    }
    locks.sort_by_key(|lock| Reverse(lock.total));
    page.heading("Locks, by blocked time");
    for lock in locks.iter().take(NAMED) {
        page.hanging(Style::new(), "  ", &lock_line(lock));
    }
}

fn lock_line(lock: &Lock) -> String {
    let held = match (&lock.owner, lock.holders.first()) {
        (Some(owner), _) => {
            let guess = match owner.from {
                OwnerFrom::Code => " (inferred from its code)",
                OwnerFrom::LastWaker => " (inferred: last to wake a waiter)",
                OwnerFrom::Word | OwnerFrom::Memory => "",
            };
            format!(", held by {}-{}{guess}", clean(&owner.comm), owner.tid)
        }
        (None, Some(holder)) => {
            let share = share(holder.total, lock.total);
            format!(
                "; {share} of it behind {}-{}",
                clean(&holder.comm),
                holder.tid
            )
        }
        (None, None) => String::new(),
    };
    format!(
        "{} {:#x} in {}: {} in {} of {}, max {}{held}",
        lock.kind.label(),
        lock.address,
        clean(&lock.place),
        duration(lock.total),
        counted(lock.waits, "wait"),
        counted(lock.waiters.len() as u64, "thread"),
        duration(lock.longest),
    )
}

fn share(part: Duration, whole: Duration) -> String {
    format!(
        "{:.0} %",
        100.0 * part.as_secs_f64() / whole.as_secs_f64().max(f64::MIN_POSITIVE)
    )
}

#[cfg(test)]
mod tests;
