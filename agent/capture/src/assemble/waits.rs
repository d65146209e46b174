//! Waits: those that ended, those that last beyond the end, the short ones, and the books balanced
//! against the exact totals of each thread and reason.

use super::{StackIndex, Threads, syscall};
use crate::{
    record::raw::RawCapture,
    store::aggregates::{self, Sum},
};
use remora_common::{
    aggregate::{AggregateKey, KIND_WAIT},
    thread::ThreadSlot,
};
use remora_model::{HookState, Idleness, Reason, SignalId, Site, Syscall, Wait};
use std::{collections::HashMap, time::Duration};

/// `FUTEX_WAIT_BITSET`, and the bits of the operation that are the command
/// (`include/uapi/linux/futex.h`).
const FUTEX_WAIT_BITSET: u32 = 9;
const FUTEX_COMMAND: u32 = 0x7f;
/// The value that a contended lock has while it is waited for: glibc (`nptl/lowlevellock.h`) and
/// Rust's standard library alike.
const LOCK_CONTENDED: u32 = 2;

/// A long wait that lasts beyond the end.
pub struct OpenWait {
    pub key: AggregateKey,
    pub lasted_ns: u64,
    /// Index in what was gathered.
    pub stack: Option<usize>,
}

/// Ends what still goes on, at the end of the capture.
pub fn close_all(raw: &mut RawCapture) -> Vec<OpenWait> {
    let min_block_ns = u64::try_from(raw.min_block.as_nanos()).unwrap_or(u64::MAX);
    let mut open = Vec::new();
    for slot in &mut raw.living {
        let Some(lasted_ns) = aggregates::close(slot, raw.end_ns, min_block_ns) else {
            continue;
        };
        let unnamed = raw.blocked.by_wait.remove(&(slot.serial, slot.since_ns));
        let stack = unnamed.and_then(|stack| raw.aggregates.intern(stack));
        open.push(OpenWait {
            key: key(slot),
            lasted_ns,
            stack,
        });
    }
    open
}

fn key(slot: &ThreadSlot) -> AggregateKey {
    AggregateKey {
        serial: slot.serial,
        kind: KIND_WAIT,
        reason: slot.reason as u8,
        syscall: slot.syscall as u16,
        user: 0,
        kernel: 0,
        generation: slot.generation,
        detail: slot.wait_form(),
        python: 0,
        owner: 0,
        object: slot.wait_object(),
    }
}

/// The long waits that ended inside the capture.
pub fn finished(raw: &RawCapture, threads: &Threads, stacks: &mut StackIndex) -> Vec<Wait> {
    let sums = raw
        .aggregates
        .sums
        .iter()
        .filter(|((key, _), _)| key.kind == KIND_WAIT);
    sums.filter_map(|((key, stack), sum)| wait(raw, threads, stacks, key, *stack, *sum))
        .collect()
}

/// Adds the waits that last beyond the end; returns the stack of each thread that is in one.
pub fn lasting(
    raw: &RawCapture,
    threads: &Threads,
    stacks: &mut StackIndex,
    open: &[OpenWait],
    waits: &mut Vec<Wait>,
) -> HashMap<usize, usize> {
    let mut now = HashMap::new();
    for OpenWait {
        key,
        lasted_ns,
        stack,
    } in open
    {
        let sum = Sum {
            count: 1,
            total_ns: *lasted_ns,
            max_ns: *lasted_ns,
            ..Sum::default()
        };
        let Some(wait) = wait(raw, threads, stacks, key, *stack, sum) else {
            continue;
        };
        if let Site::Stack(stack) = wait.site {
            now.insert(wait.thread, stack);
        }
        waits.push(wait);
    }
    now
}

fn wait(
    raw: &RawCapture,
    threads: &Threads,
    stacks: &mut StackIndex,
    key: &AggregateKey,
    stack: Option<usize>,
    sum: Sum,
) -> Option<Wait> {
    let (thread, slot) = threads.find(key.serial)?;
    let site = match stack {
        Some(_) => Site::Stack(stacks.of(slot.tgid, key.generation, stack)),
        None => Site::Lost,
    };
    let syscall = syscall(raw.arch, key.syscall);
    Some(Wait {
        thread,
        reason: Reason::from_u8(key.reason),
        syscall,
        site,
        count: sum.count,
        total: Duration::from_nanos(sum.total_ns),
        late: Duration::from_nanos(sum.late_ns),
        event_form: is_event_form(syscall, key.detail),
        idle: Idleness::Busy,
    })
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
pub fn add_short(threads: &Threads, waits: &mut Vec<Wait>) {
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

/// Makes the finished long waits of each thread and reason add up to its exact total: what has no
/// stack stands as lost; where stacks were sampled at switch-out, those that there are stand for
/// all. The waits that last are exact as they are, and come later.
pub fn balance(raw: &RawCapture, threads: &Threads, open: &[OpenWait], waits: &mut Vec<Wait>) {
    let sampled = raw.signals.iter().any(|signal| {
        signal.id == SignalId::WaitStacks && matches!(signal.state, HookState::Degraded(_))
    });
    let booked = booked(waits);
    let mut scales: HashMap<(usize, Reason), (f64, f64)> = HashMap::new();
    for (place, exact) in finished_totals(threads, open) {
        let have = booked.get(&place).copied().unwrap_or_default();
        let missing_ns = exact.total_ns.saturating_sub(have.total_ns);
        if missing_ns == 0 {
            continue;
        }
        if sampled && have.total_ns > 0 {
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

/// Long waits that stand without a stack.
pub fn lost_count(waits: &[Wait]) -> u64 {
    let lost = waits.iter().filter(|wait| wait.site == Site::Lost);
    lost.map(|wait| wait.count).sum()
}

/// What the waits add up to, by thread and reason.
fn booked(waits: &[Wait]) -> HashMap<(usize, Reason), Sum> {
    let mut booked: HashMap<(usize, Reason), Sum> = HashMap::new();
    for wait in waits {
        let sum = booked.entry((wait.thread, wait.reason)).or_default();
        sum.count += wait.count;
        sum.total_ns += wait.total.as_nanos() as u64;
    }
    booked
}

/// What the kernel counted of long waits that ended, by thread and reason.
fn finished_totals(threads: &Threads, open: &[OpenWait]) -> HashMap<(usize, Reason), Sum> {
    let mut totals: HashMap<(usize, Reason), Sum> = HashMap::new();
    for (thread, slot) in threads.slots.iter().enumerate() {
        for (reason, waits) in Reason::ALL.iter().zip(&slot.waits) {
            let sum = Sum {
                count: waits.long_count.into(),
                total_ns: waits.long_ns,
                ..Sum::default()
            };
            totals.insert((thread, *reason), sum);
        }
    }
    for wait in open {
        let Some((thread, _)) = threads.find(wait.key.serial) else {
            continue;
        };
        let place = (thread, Reason::from_u8(wait.key.reason));
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
