//! Records of threads, as they stand at a time.

use remora_common::thread::{
    STATE_BLOCKED, STATE_EXITED, STATE_PREEMPTED, STATE_RUNNING, STATE_WOKEN, ThreadSlot,
};

/// Adds what is still going on at the end of the capture, as far as it lies inside. Returns the
/// length of the wait that the thread has not come back from, if it is a long one.
pub(crate) fn close(slot: &mut ThreadSlot, end_ns: u64, min_block_ns: u64) -> Option<u64> {
    let from = slot.since_ns.max(slot.enlisted_ns);
    let lasted = end_ns.saturating_sub(from);
    match slot.state {
        STATE_RUNNING => slot.on_cpu_ns += lasted,
        STATE_WOKEN => queue(slot, lasted, |slot| &mut slot.woken_wait_ns),
        STATE_PREEMPTED => queue(slot, lasted, |slot| &mut slot.preempted_wait_ns),
        STATE_BLOCKED if slot.is_woken() => {
            let ready = end_ns.saturating_sub(slot.woken_ns);
            let waited = lasted.saturating_sub(ready);
            queue(slot, ready, |slot| &mut slot.woken_wait_ns);
            return wait(slot, waited, min_block_ns).then_some(waited);
        }
        STATE_BLOCKED => return wait(slot, lasted, min_block_ns).then_some(lasted),
        _ => {}
    }
    None
}

fn queue(slot: &mut ThreadSlot, ns: u64, sum: impl Fn(&mut ThreadSlot) -> &mut u64) {
    *sum(slot) += ns;
    slot.longest_run_queue_ns = slot.longest_run_queue_ns.max(ns);
}

/// Adds a wait to its reason; returns whether it is a long one.
fn wait(slot: &mut ThreadSlot, ns: u64, min_block_ns: u64) -> bool {
    let Some(totals) = slot.waits.get_mut(slot.reason as usize) else {
        return false;
    };
    let long = ns >= min_block_ns;
    if long {
        totals.long_ns += ns;
        totals.long_count += 1;
    } else {
        totals.short_ns += ns;
        totals.short_count += 1;
    }
    long
}

/// How long a thread was watched, in nanoseconds.
pub(crate) fn observed_ns(slot: &ThreadSlot, end_ns: u64) -> u64 {
    let until = if slot.state == STATE_EXITED {
        slot.since_ns
    } else {
        end_ns
    };
    until.saturating_sub(slot.enlisted_ns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::Zeroable;
    use remora_common::reason::Reason;

    fn slot(state: u32, since_ns: u64, enlisted_ns: u64) -> ThreadSlot {
        let reason = Reason::Futex as u32;
        ThreadSlot {
            state,
            since_ns,
            enlisted_ns,
            reason,
            ..Zeroable::zeroed()
        }
    }

    #[test]
    fn a_wait_that_spans_the_whole_capture_counts_with_the_part_inside() {
        let mut asleep = slot(STATE_BLOCKED, 100, 1_000);
        assert_eq!(close(&mut asleep, 5_000, 10), Some(4_000));
        let futex = asleep.waits[Reason::Futex as usize];
        assert_eq!((futex.long_ns, futex.long_count), (4_000, 1));
    }

    #[test]
    fn a_wait_below_the_threshold_at_the_end_is_short() {
        let mut asleep = slot(STATE_BLOCKED, 4_995, 1_000);
        assert_eq!(close(&mut asleep, 5_000, 10), None);
        let futex = asleep.waits[Reason::Futex as usize];
        assert_eq!(
            (futex.short_ns, futex.short_count, futex.long_count),
            (5, 1, 0)
        );
    }

    #[test]
    fn a_woken_thread_waited_until_then_and_queues_since() {
        let mut woken = ThreadSlot {
            woken_ns: 4_000,
            ..slot(STATE_BLOCKED, 2_000, 1_000)
        };
        assert_eq!(close(&mut woken, 5_000, 10), Some(2_000));
        assert_eq!(woken.waits[Reason::Futex as usize].long_ns, 2_000);
        assert_eq!(
            (woken.woken_wait_ns, woken.longest_run_queue_ns),
            (1_000, 1_000)
        );
    }

    #[test]
    fn every_state_adds_to_its_own_time_only() {
        let mut running = slot(STATE_RUNNING, 2_000, 1_000);
        let mut woken = slot(STATE_WOKEN, 2_000, 1_000);
        let mut preempted = slot(STATE_PREEMPTED, 2_000, 1_000);
        for slot in [&mut running, &mut woken, &mut preempted] {
            assert_eq!(close(slot, 5_000, 10), None);
        }
        let times = |s: &ThreadSlot| (s.on_cpu_ns, s.woken_wait_ns, s.preempted_wait_ns);
        assert_eq!(times(&running), (3_000, 0, 0));
        assert_eq!(times(&woken), (0, 3_000, 0));
        assert_eq!(times(&preempted), (0, 0, 3_000));
    }

    #[test]
    fn a_reason_that_nobody_defined_is_no_panic() {
        let mut odd = ThreadSlot {
            reason: 999,
            ..slot(STATE_BLOCKED, 0, 0)
        };
        assert_eq!(close(&mut odd, 5_000, 10), None);
    }

    #[test]
    fn an_ended_thread_was_watched_until_its_end() {
        assert_eq!(observed_ns(&slot(STATE_EXITED, 3_000, 1_000), 9_000), 2_000);
        assert_eq!(
            observed_ns(&slot(STATE_BLOCKED, 3_000, 1_000), 9_000),
            8_000
        );
    }
}
