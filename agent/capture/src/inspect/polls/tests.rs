//! What a count of polls says, and whose are counted.

use super::*;
use bytemuck::Zeroable;
use remora_common::thread::STATE_RUNNING;

const FROM: u64 = 5_000_000_000;
const MS: u64 = 1_000_000;

fn slot() -> ThreadSlot {
    ThreadSlot {
        tid: 7,
        tgid: 7,
        serial: 1,
        state: STATE_RUNNING,
        ..ThreadSlot::zeroed()
    }
}

fn totals(count: u64, last_ns: u64, longest_ns: u64) -> PollTotals {
    PollTotals {
        count,
        last_ns,
        longest_ns,
        late_ns: 0,
    }
}

#[test]
fn a_stretch_goes_from_the_last_poll_or_the_return_of_one_that_slept() {
    let to = FROM + 1_200 * MS;
    let open = |slot: &ThreadSlot| count(slot, (FROM, to)).open;
    let mut slot = slot();
    assert_eq!(open(&slot), Duration::from_millis(1_200), "no poll at all");
    slot.polls[POLLS_EPOLL] = totals(3, FROM + 1_000 * MS, 400 * MS);
    assert_eq!(open(&slot), Duration::from_millis(200));
    slot.busy_since_ns = FROM + 1_150 * MS;
    assert_eq!(open(&slot), Duration::from_millis(50), "it slept");
    slot.state = STATE_BLOCKED;
    slot.reason = RawReason::Epoll as u32;
    assert_eq!(open(&slot), Duration::ZERO, "it sleeps");
}

#[test]
fn totals_of_an_earlier_count_are_none() {
    let mut slot = slot();
    slot.polls[POLLS_EPOLL] = totals(90, FROM - 1, MS);
    assert_eq!(count(&slot, (FROM, FROM + MS)).polls, 0);
}

#[test]
fn a_poll_within_an_iteration_of_an_epoll_loop_is_not_its_end() {
    let mut slot = slot();
    slot.polls[POLLS_POLL] = totals(9, FROM + MS, MS);
    assert_eq!(count(&slot, (FROM, FROM + MS)).polls, 9, "a loop of poll");
    slot.waits[RawReason::Epoll as usize].short_count = 1;
    assert_eq!(count(&slot, (FROM, FROM + MS)).polls, 0);
}

#[test]
fn one_poll_does_not_show_that_a_loop_turns() {
    let seen = |polls, longest, open| {
        turns(&PollCount {
            polls,
            longest: Duration::from_millis(longest),
            open: Duration::from_millis(open),
            ..PollCount::default()
        })
    };
    assert!(seen(60, 3, 1));
    assert!(!seen(1, 100, 100), "it came from a second, perhaps");
    assert!(!seen(60, 3, 400), "it stays away");
    assert!(!seen(60, 400, 3), "it did");
    assert!(seen(0, 0, 0), "it sleeps in its wait");
    assert!(!seen(0, 0, 200));
}
