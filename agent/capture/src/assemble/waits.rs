//! Waits: those that ended, those that last beyond the end, the short ones, and the books balanced
//! against the exact totals of each thread and reason.

use super::{StackIndex, Threads, close::OpenWait, syscall};
use crate::store::aggregates::{AggregateStore, Waits};
use remora_kernel::Arch;
use remora_model::{AgentLoss, Idleness, Losses, Reason, Site, Syscall, Wait};
use remora_probe::Times;
use std::{collections::HashMap, time::Duration};

/// `FUTEX_WAIT_BITSET`, and the bits of the operation that are the command
/// (`include/uapi/linux/futex.h`).
const FUTEX_WAIT_BITSET: u32 = 9;
const FUTEX_COMMAND: u32 = 0x7f;
/// The value that a contended lock has while it is waited for: glibc (`nptl/lowlevellock.h`) and
/// Rust's standard library alike.
const LOCK_CONTENDED: u32 = 2;

/// What was seen of waits.
pub(crate) struct WaitsSeen<'a> {
    pub(crate) arch: Arch,
    pub(crate) aggregates: &'a AggregateStore,
    pub(crate) threads: &'a Threads,
    /// The waits that last.
    pub(crate) open: &'a [OpenWait],
    /// Their stacks were sampled at switch-out.
    pub(crate) sampled: bool,
}

/// The waits of the model.
pub(crate) struct BookedWaits {
    pub(crate) waits: Vec<Wait>,
    /// The stack of each thread that is in a long wait at the end.
    pub(crate) now_stacks: HashMap<usize, usize>,
}

impl WaitsSeen<'_> {
    /// All waits of all threads.
    pub(crate) fn book(&self, stacks: &mut StackIndex, losses: &mut Losses) -> BookedWaits {
        let finished = self.aggregates.waits();
        let finished = finished.filter_map(|waits| self.wait(&waits, stacks));
        let mut waits: Vec<Wait> = finished.collect();
        self.balance(&mut waits);
        let now_stacks = self.add_lasting(&mut waits, stacks);
        losses.add(AgentLoss::WaitStacksLost, lost_count(&waits));
        add_short(self.threads, &mut waits);
        BookedWaits { waits, now_stacks }
    }

    /// Adds the waits that last beyond the end; returns the stack of each thread that is in one.
    fn add_lasting(&self, waits: &mut Vec<Wait>, stacks: &mut StackIndex) -> HashMap<usize, usize> {
        let mut now = HashMap::new();
        for open in self.open {
            let one = Waits {
                place: open.place,
                wait: open.wait,
                times: open.times(),
                late_ns: 0,
            };
            let Some(wait) = self.wait(&one, stacks) else {
                continue;
            };
            if let Site::Stack(stack) = wait.site {
                now.insert(wait.thread, stack);
            }
            waits.push(wait);
        }
        now
    }

    fn wait(&self, waits: &Waits, stacks: &mut StackIndex) -> Option<Wait> {
        let Waits {
            place,
            wait,
            times,
            late_ns,
        } = waits;
        let (thread, slot) = self.threads.find(place.serial)?;
        let site = match place.stack {
            Some(_) => Site::Stack(stacks.of(slot.tgid, place.generation, place.stack)),
            None => Site::Lost,
        };
        let syscall = syscall(self.arch, wait.syscall);
        Some(Wait {
            thread,
            reason: wait.reason,
            syscall,
            site,
            count: times.count,
            total: Duration::from_nanos(times.total_ns),
            late: Duration::from_nanos(*late_ns),
            event_form: is_event_form(syscall, wait.detail),
            idle: Idleness::Busy,
        })
    }

    /// Makes the finished long waits of each thread and reason add up to its exact total: what has no
    /// stack stands as lost; where stacks were sampled at switch-out, those that there are stand for
    /// all. The waits that last are exact as they are, and come later.
    fn balance(&self, waits: &mut Vec<Wait>) {
        let booked = booked(waits);
        let mut scales: HashMap<(usize, Reason), (f64, f64)> = HashMap::new();
        for (place, exact) in finished_totals(self.threads, self.open) {
            let have = booked.get(&place).copied().unwrap_or_default();
            let missing_ns = exact.total_ns.saturating_sub(have.total_ns);
            if missing_ns == 0 {
                continue;
            }
            if self.sampled && have.total_ns > 0 {
                let by_time = exact.total_ns as f64 / have.total_ns as f64;
                let by_count = exact.count as f64 / have.count.max(1) as f64;
                scales.insert(place, (by_time, by_count));
            } else {
                let missing_count = exact.count.saturating_sub(have.count);
                waits.push(lost(place, missing_count, missing_ns));
            }
        }
        for wait in waits.iter_mut() {
            if let Some((by_time, by_count)) = scales.get(&(wait.thread, wait.reason)) {
                wait.total = wait.total.mul_f64(*by_time);
                wait.count = (wait.count as f64 * by_count).round() as u64;
            }
        }
    }
}

/// Whether the wait has the form in which threads wait for work: a condition variable or semaphore
/// instead of a lock, several descriptors instead of one.
fn is_event_form(syscall: Option<Syscall>, detail: u32) -> bool {
    match syscall.map(Syscall::name) {
        Some("futex") => {
            detail & FUTEX_COMMAND == FUTEX_WAIT_BITSET && detail >> 16 != LOCK_CONTENDED
        }
        Some("poll" | "ppoll") => detail > 1,
        _ => false,
    }
}

/// Short waits: counted and timed by thread and reason, without a stack by design.
fn add_short(threads: &Threads, waits: &mut Vec<Wait>) {
    for (thread, slot) in threads.slots.iter().enumerate() {
        let by_reason = Reason::ALL.iter().zip(&slot.waits);
        waits.extend(by_reason.filter(|(_, totals)| totals.short_count > 0).map(
            |(reason, totals)| Wait {
                thread,
                reason: *reason,
                syscall: None,
                site: Site::Short,
                count: totals.short_count.into(),
                total: Duration::from_nanos(totals.short_ns),
                late: Duration::ZERO,
                event_form: false,
                idle: Idleness::Busy,
            },
        ));
    }
}

/// Long waits that stand without a stack.
fn lost_count(waits: &[Wait]) -> u64 {
    let lost = waits.iter().filter(|wait| wait.site == Site::Lost);
    lost.map(|wait| wait.count).sum()
}

/// What the waits add up to, by thread and reason.
fn booked(waits: &[Wait]) -> HashMap<(usize, Reason), Times> {
    let mut booked: HashMap<(usize, Reason), Times> = HashMap::new();
    for wait in waits {
        let sum = booked.entry((wait.thread, wait.reason)).or_default();
        sum.count += wait.count;
        sum.total_ns += wait.total.as_nanos() as u64;
    }
    booked
}

/// What the kernel counted of long waits that ended, by thread and reason.
fn finished_totals(threads: &Threads, open: &[OpenWait]) -> HashMap<(usize, Reason), Times> {
    let mut totals: HashMap<(usize, Reason), Times> = HashMap::new();
    for (thread, slot) in threads.slots.iter().enumerate() {
        for (reason, waits) in Reason::ALL.iter().zip(&slot.waits) {
            let times = Times {
                count: waits.long_count.into(),
                total_ns: waits.long_ns,
                ..Times::default()
            };
            totals.insert((thread, *reason), times);
        }
    }
    for wait in open {
        let Some((thread, _)) = threads.find(wait.place.serial) else {
            continue;
        };
        let place = (thread, wait.wait.reason);
        if let Some(sum) = totals.get_mut(&place) {
            sum.count = sum.count.saturating_sub(1);
            sum.total_ns = sum.total_ns.saturating_sub(wait.lasted_ns);
        }
    }
    totals
}

fn lost((thread, reason): (usize, Reason), count: u64, total_ns: u64) -> Wait {
    Wait {
        thread,
        reason,
        syscall: None,
        site: Site::Lost,
        count,
        total: Duration::from_nanos(total_ns),
        late: Duration::ZERO,
        event_form: false,
        idle: Idleness::Busy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_a_futex_wait_tells_a_lock_from_a_condition() {
        // pthread_cond_wait: FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME, 0.
        assert!(is_event_form(Some(Syscall::named("futex")), 9 | 128 | 256));
        // pthread_mutex_lock: FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 2.
        assert!(!is_event_form(Some(Syscall::named("futex")), 128 | 2 << 16));
        // Rust's Mutex: FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, 2.
        assert!(!is_event_form(
            Some(Syscall::named("futex")),
            9 | 128 | 2 << 16
        ));
    }

    #[test]
    fn one_descriptor_is_a_blocking_read_and_several_are_an_event_loop() {
        assert!(!is_event_form(Some(Syscall::named("poll")), 1));
        assert!(is_event_form(Some(Syscall::named("ppoll")), 2));
        // The argument of select is no count.
        assert!(!is_event_form(Some(Syscall::named("select")), 2));
    }
}
