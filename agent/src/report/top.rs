//! The stacks that hold most of the time, over all threads.

use crate::model::{Capture, Idleness, Reason, Site};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Duration;

/// A stack on the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnCpu {
    /// Index in [`Capture::stacks`].
    pub stack: usize,
    /// Samples in it.
    pub samples: u64,
}

/// A place off the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffCpu {
    /// Why.
    pub reason: Reason,
    /// The system call, where the reason alone does not say it.
    pub syscall: Option<&'static str>,
    /// Where.
    pub site: Site,
    /// A normal idle, or not.
    pub idle: Idleness,
    /// Time of the waits.
    pub total: Duration,
    /// Their number.
    pub count: u64,
}

/// At most `limit` stacks by samples, most first.
pub fn on_cpu(capture: &Capture, limit: usize) -> Vec<OnCpu> {
    let mut stacks: HashMap<usize, u64> = HashMap::new();
    for sample in &capture.samples {
        let sum = stacks.entry(sample.stack).or_default();
        *sum = sum.saturating_add(sample.count);
    }
    let mut top: Vec<_> = stacks
        .into_iter()
        .map(|(stack, samples)| OnCpu { stack, samples })
        .collect();
    top.sort_by_key(|entry| (Reverse(entry.samples), entry.stack));
    top.truncate(limit);
    top
}

/// At most `limit` places by time, most first; idle waits only when told.
pub fn off_cpu(capture: &Capture, limit: usize, idle: bool) -> Vec<OffCpu> {
    type Key = (Reason, Option<&'static str>, Site, Idleness);
    let mut places: HashMap<Key, (Duration, u64)> = HashMap::new();
    for wait in capture
        .waits
        .iter()
        .filter(|wait| idle || wait.idle == Idleness::Busy)
    {
        let key = (wait.reason, wait.syscall, wait.site, wait.idle);
        let (total, count) = places.entry(key).or_default();
        *total = total.saturating_add(wait.total);
        *count = count.saturating_add(wait.count);
    }
    let mut top: Vec<_> = places
        .into_iter()
        .map(|((reason, syscall, site, idle), (total, count))| OffCpu {
            reason,
            syscall,
            site,
            idle,
            total,
            count,
        })
        .collect();
    top.sort_by_key(|entry| {
        (
            Reverse(entry.total),
            entry.reason,
            entry.syscall,
            entry.site,
            entry.idle,
        )
    });
    top.truncate(limit);
    top
}

/// Samples of all stacks.
pub fn samples(capture: &Capture) -> u64 {
    capture
        .samples
        .iter()
        .fold(0, |sum, sample| sum.saturating_add(sample.count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixture::{Builder, ms};

    #[test]
    fn threads_add_up_and_the_longest_comes_first() {
        let mut builder = Builder::new(1, "target");
        let other = builder.thread(1, 2, "other");
        builder.samples(0, &["a"], 3);
        builder.samples(0, &["b"], 2);
        builder.samples(other, &["b"], 2);
        builder.wait(0, Reason::Disk, &["a"], ms(3));
        builder.wait(other, Reason::Disk, &["a"], ms(3));
        builder.wait(0, Reason::Sleep, &["a"], ms(5));
        builder.wait(0, Reason::Epoll, &["a"], ms(50));
        let capture = builder.finish();
        assert_eq!(
            on_cpu(&capture, 1),
            [OnCpu {
                stack: 1,
                samples: 4
            }]
        );
        let top = |idle| {
            off_cpu(&capture, 2, idle)
                .into_iter()
                .map(|top| (top.reason, top.total))
        };
        let busy: Vec<_> = top(false).collect();
        assert_eq!(busy, [(Reason::Disk, ms(6)), (Reason::Sleep, ms(5))]);
        assert_eq!(top(true).next(), Some((Reason::Epoll, ms(50))));
    }
}
