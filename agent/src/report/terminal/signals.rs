//! Event loops and locks, a line each.

use super::Page;
use crate::model::{Capture, Lock, LockKind, OwnerFrom, ThreadLoop};
use crate::report::label;
use crate::report::text::{clean, count, duration};
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
    page.heading(&format!(
        "Event loops, iterations; late from {late_from} on"
    ));
    for event_loop in loops.iter().take(NAMED) {
        page.plain(&loop_line(capture, event_loop));
    }
    let more = loops.len().saturating_sub(NAMED);
    if more > 0 {
        page.plain(&format!("  and {more} more, none later than these"));
    }
}

fn loop_line(capture: &Capture, event_loop: &ThreadLoop) -> String {
    let name = capture
        .threads
        .get(event_loop.thread)
        .map(label::thread_name)
        .unwrap_or_default();
    let most = if event_loop.exact { "" } else { "at most " };
    let late = match event_loop.late {
        0 => "none late".to_owned(),
        late => format!("{} late: see epoll.svg", count(late)),
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
        format!("; late NOW, for {}", duration(busy))
    });
    format!(
        "  {}: {most}{lengths}longest {} of {}; {late}{now}",
        clean(&name),
        duration(event_loop.longest),
        count(event_loop.iterations),
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
    page.heading("Locks, by the time that was lost in waits for them");
    for lock in locks.iter().take(NAMED) {
        page.plain(&lock_line(lock));
    }
}

fn lock_line(lock: &Lock) -> String {
    let held = match (&lock.owner, lock.holders.first()) {
        (Some(owner), _) => {
            let guess = match owner.from {
                OwnerFrom::Code => " (inferred: its code frees it later)",
                OwnerFrom::LastWaker => " (inferred: it woke a waiter last)",
                OwnerFrom::Word | OwnerFrom::Memory => "",
            };
            format!(", held NOW by {}-{}{guess}", clean(&owner.comm), owner.tid)
        }
        (None, Some(holder)) => {
            let share = share(holder.total, lock.total);
            format!(
                "; {share} of it held by {}-{}",
                clean(&holder.comm),
                holder.tid
            )
        }
        (None, None) => String::new(),
    };
    format!(
        "  {} in {} waits of {} threads, longest {}{held}: {} {:#x} in {}",
        duration(lock.total),
        count(lock.waits),
        lock.waiters.len(),
        duration(lock.longest),
        lock.kind.label(),
        lock.address,
        clean(&lock.place),
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
