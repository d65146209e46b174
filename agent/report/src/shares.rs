//! A thread's time split into the states that a person asks about: on the CPU, waiting for one,
//! idle, and held up by what.

use remora_model::{Capture, Idleness, Reason, Thread, is_event_loop};
use std::collections::BTreeMap;
use std::time::Duration;

/// Time by state. The parts add up to at most `observed`; what is missing was not accounted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shares {
    /// How long it was watched.
    pub observed: Duration,
    /// On a CPU.
    pub on_cpu: Duration,
    /// Ready, waiting for a CPU.
    pub run_queue: Duration,
    /// Blocked in a normal idle, by reason.
    pub idle: BTreeMap<Reason, Duration>,
    /// Part of that is inferred (a worker's).
    pub inferred: bool,
    /// Blocked otherwise, by reason.
    pub blocked: BTreeMap<Reason, Duration>,
}

impl Shares {
    /// The shares of every thread of a capture, in its order.
    pub(crate) fn of_threads(capture: &Capture) -> Vec<Self> {
        let mut workers: BTreeMap<(usize, Reason), Duration> = BTreeMap::new();
        for wait in capture
            .waits
            .iter()
            .filter(|wait| wait.idle == Idleness::Worker)
        {
            let sum = workers.entry((wait.thread, wait.reason)).or_default();
            *sum = sum.saturating_add(wait.total);
        }
        let threads = capture.threads.iter().enumerate();
        threads
            .map(|(index, thread)| {
                let worker = |reason| workers.get(&(index, reason)).copied().unwrap_or_default();
                Self::of_thread(thread, worker)
            })
            .collect()
    }

    fn of_thread(thread: &Thread, worker: impl Fn(Reason) -> Duration) -> Self {
        let queue = &thread.run_queue;
        let mut shares = Self {
            observed: thread.observed,
            on_cpu: thread.on_cpu,
            run_queue: queue.after_wake.saturating_add(queue.preempted),
            ..Self::default()
        };
        for totals in &thread.waits {
            let reason = totals.reason;
            let worker = worker(reason).min(totals.total);
            let idle = if is_event_loop(reason) {
                totals.total
            } else {
                worker
            };
            shares.inferred |= !worker.is_zero();
            add(&mut shares.idle, reason, idle);
            add(
                &mut shares.blocked,
                reason,
                totals.total.saturating_sub(idle),
            );
        }
        shares
    }

    /// The shares of several threads together, in thread time.
    pub(crate) fn sum<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut sum = Self::default();
        for part in parts {
            sum.observed = sum.observed.saturating_add(part.observed);
            sum.on_cpu = sum.on_cpu.saturating_add(part.on_cpu);
            sum.run_queue = sum.run_queue.saturating_add(part.run_queue);
            sum.inferred |= part.inferred;
            part.idle
                .iter()
                .for_each(|(reason, time)| add(&mut sum.idle, *reason, *time));
            part.blocked
                .iter()
                .for_each(|(reason, time)| add(&mut sum.blocked, *reason, *time));
        }
        sum
    }

    /// Idle time.
    pub(crate) fn idle_total(&self) -> Duration {
        total(&self.idle)
    }

    /// Blocked time that is not idle.
    pub(crate) fn blocked_total(&self) -> Duration {
        total(&self.blocked)
    }

    /// Time that no state accounts for.
    pub(crate) fn unaccounted(&self) -> Duration {
        let parts = [
            self.on_cpu,
            self.run_queue,
            self.idle_total(),
            self.blocked_total(),
        ];
        parts
            .into_iter()
            .fold(self.observed, Duration::saturating_sub)
    }
}

/// Reasons with their time, the longest first.
pub(crate) fn longest_first(by_reason: &BTreeMap<Reason, Duration>) -> Vec<(Reason, Duration)> {
    let mut list: Vec<_> = by_reason
        .iter()
        .map(|(reason, time)| (*reason, *time))
        .collect();
    list.sort_by_key(|(reason, time)| (std::cmp::Reverse(*time), *reason));
    list
}

fn add(map: &mut BTreeMap<Reason, Duration>, reason: Reason, time: Duration) {
    if !time.is_zero() {
        let sum = map.entry(reason).or_default();
        *sum = sum.saturating_add(time);
    }
}

fn total(map: &BTreeMap<Reason, Duration>) -> Duration {
    map.values()
        .fold(Duration::ZERO, |sum, time| sum.saturating_add(*time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_model::{
        Site,
        fixture::{Builder, ms},
    };

    #[test]
    fn idle_and_held_up_time_of_one_reason_part() {
        let mut builder = Builder::new(1, "worker");
        builder.wait(0, Reason::Futex, &["main", "pthread_cond_wait"], ms(20_000));
        builder.last_wait().event_form = true;
        builder.wait(0, Reason::Futex, &["main", "pthread_mutex_lock"], ms(4_000));
        builder.wait_at(0, Reason::Epoll, Site::Short, 10, ms(1_000));
        builder.0.threads[0].on_cpu = ms(3_000);
        let shares = Shares::of_threads(&builder.finish()).remove(0);
        assert_eq!(shares.idle[&Reason::Futex], ms(20_000));
        assert_eq!(shares.idle[&Reason::Epoll], ms(1_000));
        assert_eq!(shares.blocked, BTreeMap::from([(Reason::Futex, ms(4_000))]));
        assert!(shares.inferred);
        assert_eq!(shares.unaccounted(), ms(2_000));
        let twice = Shares::sum([&shares, &shares]);
        assert_eq!(
            (twice.observed, twice.idle_total()),
            (ms(60_000), ms(42_000))
        );
    }
}
