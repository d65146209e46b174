//! The scheduler's clock, `rq->clock`: the same on all CPUs, and at a fixed distance of `CLOCK_MONOTONIC` but for
//! what time servers correct.
//!
//! The kernel side says by it when a thread fell asleep, and reads the distance where the agent's own thread runs
//! anyway (`ebpf/src/clock.rs` has the sources). No thread of ours visits a CPU for it.

/// Translates the scheduler's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchedulerClock {
    ahead_ns: Option<i64>,
}

impl SchedulerClock {
    /// From how far `CLOCK_MONOTONIC` is ahead of it, in nanoseconds; `None` where that could not be read.
    pub const fn new(ahead_ns: Option<i64>) -> Self {
        Self { ahead_ns }
    }

    /// What `CLOCK_MONOTONIC` said when it said `at_ns`; `None` where that is not known.
    pub fn monotonic_ns(self, at_ns: u64) -> Option<u64> {
        let ahead = self.ahead_ns?;
        (at_ns != 0).then(|| at_ns.saturating_add_signed(ahead))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_translated_by_its_distance() {
        assert_eq!(SchedulerClock::new(Some(45)).monotonic_ns(100), Some(145));
        assert_eq!(SchedulerClock::new(Some(-5)).monotonic_ns(100), Some(95));
        assert_eq!(SchedulerClock::new(Some(-5)).monotonic_ns(3), Some(0));
        let far = SchedulerClock::new(Some(i64::MAX)).monotonic_ns(u64::MAX);
        assert_eq!(far, Some(u64::MAX));
    }

    #[test]
    fn what_is_not_known_stays_unknown() {
        assert_eq!(SchedulerClock::new(None).monotonic_ns(100), None);
        assert_eq!(SchedulerClock::new(Some(45)).monotonic_ns(0), None);
    }
}
