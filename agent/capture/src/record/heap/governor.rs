//! Whether a watch on allocators stays within its budget: what its probes took, over what the targets used
//! themselves, in the latest time in which they used enough to tell.

use std::collections::VecDeque;
use std::time::Duration;

/// A slow-down is judged over so long, or longer where the targets used little.
const SPAN: Duration = Duration::from_secs(1);

/// CPU time of the targets that a judgement needs: the kernel's clock ticks and the pieces of time between two
/// readings make less uncertain.
const ENOUGH: Duration = Duration::from_millis(20);

/// Readings that are kept.
const MAX_READINGS: usize = 1024;

/// What was counted until a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reading {
    /// Since the beginning of the watch.
    pub at: Duration,
    /// What the probes took.
    pub cost: Duration,
    /// CPU time of the targets, with it.
    pub targets: Duration,
}

/// Judges readings as they come.
#[derive(Debug)]
pub(super) struct Governor {
    budget: f64,
    readings: VecDeque<Reading>,
    worst: f64,
}

impl Governor {
    /// Lets slow-downs pass up to `budget`, a share. `first` is the reading of the beginning.
    pub(super) fn new(budget: f64, first: Reading) -> Self {
        Self {
            budget,
            readings: VecDeque::from([first]),
            worst: 0.0,
        }
    }

    /// The largest slow-down that was judged.
    pub(super) fn worst(&self) -> f64 {
        self.worst
    }

    /// Takes a reading in; the slow-down where it is over the budget.
    pub(super) fn judge(&mut self, now: Reading) -> Option<f64> {
        let used = |from: &Reading| now.targets.saturating_sub(from.targets);
        let until = now.at.saturating_sub(SPAN);
        // The latest that lies far enough back and has enough behind it.
        while let Some(second) = self.readings.get(1)
            && (second.at <= until && used(second) >= ENOUGH || self.readings.len() >= MAX_READINGS)
        {
            self.readings.pop_front();
        }
        let first = *self.readings.front()?;
        self.readings.push_back(now);
        if used(&first) < ENOUGH {
            return None;
        }
        let cost = now.cost.saturating_sub(first.cost);
        let own = used(&first).saturating_sub(cost);
        // More than all of the time cannot be: what is left is at least a hundredth.
        let own = own.max(used(&first) / 100);
        let slow_down = cost.as_secs_f64() / own.as_secs_f64();
        self.worst = self.worst.max(slow_down);
        (slow_down > self.budget).then_some(slow_down)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(at_ms: u64, cost_us: u64, targets_us: u64) -> Reading {
        Reading {
            at: Duration::from_millis(at_ms),
            cost: Duration::from_micros(cost_us),
            targets: Duration::from_micros(targets_us),
        }
    }

    #[test]
    fn a_slow_down_over_the_budget_is_told_as_soon_as_it_can_be() {
        let mut governor = Governor::new(0.05, Reading::default());
        assert_eq!(
            governor.judge(reading(10, 5_000, 10_000)),
            None,
            "too little to tell"
        );
        let over = governor.judge(reading(20, 10_000, 20_000));
        assert_eq!(over, Some(1.0));
    }

    #[test]
    fn within_the_budget_it_goes_on() {
        let mut governor = Governor::new(0.05, Reading::default());
        for beat in 1..500 {
            let over = governor.judge(reading(20 * beat, 900 * beat, 20_000 * beat));
            assert_eq!(over, None);
        }
        assert!((governor.worst() - 0.9 / 19.1).abs() < 1e-3);
    }

    #[test]
    fn what_was_cheap_for_long_does_not_pay_for_what_is_dear_now() {
        let mut governor = Governor::new(0.05, Reading::default());
        let mut last = Reading::default();
        for beat in 1..100 {
            last = reading(100 * beat, 0, 100_000 * beat);
            assert_eq!(governor.judge(last), None);
        }
        let mut over = None;
        for _ in 0..3 {
            last.at += Duration::from_millis(100);
            last.targets += Duration::from_millis(100);
            last.cost += Duration::from_millis(30);
            over = over.or(governor.judge(last));
        }
        assert!(over.is_some_and(|slow_down| slow_down < 0.2), "{over:?}");
    }

    #[test]
    fn of_an_idle_target_nothing_is_judged_until_it_has_used_enough() {
        let mut governor = Governor::new(0.05, Reading::default());
        for beat in 1..20 {
            assert_eq!(
                governor.judge(reading(1000 * beat, 900 * beat, 1000 * beat)),
                None
            );
        }
        assert!(governor.judge(reading(20_000, 18_000, 20_000)).is_some());
    }

    #[test]
    fn more_cost_than_time_and_clocks_that_go_back_are_no_panic() {
        let mut governor = Governor::new(0.05, reading(50, 1000, 1000));
        assert_eq!(governor.judge(reading(0, 0, 0)), None);
        assert_eq!(
            governor
                .judge(reading(100, 900_000, 50_000))
                .map(f64::round),
            Some(1800.0)
        );
    }
}
