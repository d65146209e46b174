//! What holds most of the time, over all threads, in groups that a reader can tell apart.
//!
//! Stacks may differ in what a list does not show: the address inside a function, a frame far from
//! the leaf. A list says what it shows of an entry, and what looks the same becomes one.

use remora_model::{Capture, HeapSite, Idleness, Memory, Reason, Site, Stack, Syscall};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// Samples on the CPU that look the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OnCpu<T> {
    /// What is shown of them.
    pub shown: T,
    /// Their number.
    pub samples: u64,
}

/// What waits have in common, before it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    /// Why.
    pub reason: Reason,
    /// The system call, where the reason alone does not say it.
    pub syscall: Option<Syscall>,
    /// Where.
    pub site: Site,
    /// A normal idle, or not.
    pub idle: Idleness,
}

/// Waits off the CPU that look the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OffCpu<T> {
    /// What is shown of them.
    pub shown: T,
    /// Time of the waits.
    pub total: Duration,
    /// Their number.
    pub count: u64,
}

/// Memory growth that looks the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grown<T> {
    /// What is shown of its stacks.
    pub shown: T,
    /// Bytes.
    pub bytes: u64,
    /// Sampled faults.
    pub samples: u64,
    /// Faults that they stand for.
    pub faults: u64,
}

/// At most `limit` entries of a process's growth, the largest first; those that grew by nothing are
/// left out.
pub(crate) fn growth<T: Eq + Hash + Ord>(
    capture: &Capture,
    memory: &Memory,
    limit: usize,
    show: impl Fn(Option<&Stack>) -> T,
) -> Vec<Grown<T>> {
    let mut groups: HashMap<T, (u64, u64, u64)> = HashMap::new();
    for growth in memory.stacks.iter().filter(|growth| growth.bytes > 0) {
        let shown = show(capture.stacks.get(growth.stack));
        let sum = groups.entry(shown).or_default();
        sum.0 = sum.0.saturating_add(growth.bytes);
        sum.1 = sum.1.saturating_add(growth.samples);
        sum.2 = sum.2.saturating_add(growth.faults);
    }
    let groups = groups.into_iter();
    let mut top: Vec<_> = groups
        .map(|(shown, (bytes, samples, faults))| Grown {
            shown,
            bytes,
            samples,
            faults,
        })
        .collect();
    top.sort_by(|a, b| (Reverse(a.bytes), &a.shown).cmp(&(Reverse(b.bytes), &b.shown)));
    top.truncate(limit);
    top
}

/// At most `limit` entries of what is outstanding of watched allocators, the largest first, by process.
pub(crate) fn heap<T: Eq + Hash + Ord>(
    capture: &Capture,
    limit: usize,
    show: impl Fn(Option<&Stack>) -> T,
) -> Vec<(T, HeapSite)> {
    let mut groups: HashMap<(u32, T), HeapSite> = HashMap::new();
    let watch = capture.heap_watch.iter();
    // The largest first: the age in the middle is that of the largest.
    for site in watch.flat_map(|watch| &watch.sites) {
        let shown = show(capture.stacks.get(site.stack));
        groups
            .entry((site.pid, shown))
            .and_modify(|sum| {
                sum.bytes = sum.bytes.saturating_add(site.bytes);
                sum.blocks = sum.blocks.saturating_add(site.blocks);
                sum.samples = sum.samples.saturating_add(site.samples);
                sum.oldest = sum.oldest.max(site.oldest);
                sum.youngest = sum.youngest.min(site.youngest);
            })
            .or_insert_with(|| site.clone());
    }
    let groups = groups.into_iter();
    let mut top: Vec<_> = groups.map(|((_, shown), site)| (shown, site)).collect();
    top.sort_by(|(a, one), (b, other)| {
        (Reverse(one.bytes), one.pid, a).cmp(&(Reverse(other.bytes), other.pid, b))
    });
    top.truncate(limit);
    top
}

/// At most `limit` entries by samples, most first. `show` gives what is shown of a stack, which is
/// `None` where a sample has none.
pub(crate) fn on_cpu<T: Eq + Hash + Ord>(
    capture: &Capture,
    limit: usize,
    show: impl Fn(Option<&Stack>) -> T,
) -> Vec<OnCpu<T>> {
    let mut stacks: HashMap<usize, u64> = HashMap::new();
    for sample in &capture.samples {
        let sum = stacks.entry(sample.stack).or_default();
        *sum = sum.saturating_add(sample.count);
    }
    let mut groups: HashMap<T, u64> = HashMap::new();
    for (stack, samples) in stacks {
        let sum = groups.entry(show(capture.stacks.get(stack))).or_default();
        *sum = sum.saturating_add(samples);
    }
    let groups = groups.into_iter();
    let mut top: Vec<_> = groups
        .map(|(shown, samples)| OnCpu { shown, samples })
        .collect();
    top.sort_by(|a, b| (Reverse(a.samples), &a.shown).cmp(&(Reverse(b.samples), &b.shown)));
    top.truncate(limit);
    top
}

/// At most `limit` entries by time, most first; idle waits only when told. `show` gives what is
/// shown of a place.
pub(crate) fn off_cpu<T: Eq + Hash + Ord>(
    capture: &Capture,
    limit: usize,
    idle: bool,
    show: impl Fn(&Place) -> T,
) -> Vec<OffCpu<T>> {
    let mut places: HashMap<Place, (Duration, u64)> = HashMap::new();
    for wait in capture
        .waits
        .iter()
        .filter(|wait| idle || wait.idle == Idleness::Busy)
    {
        let place = Place {
            reason: wait.reason,
            syscall: wait.syscall,
            site: wait.site,
            idle: wait.idle,
        };
        add(&mut places, place, (wait.total, wait.count));
    }
    let mut groups: HashMap<T, (Duration, u64)> = HashMap::new();
    for (place, sums) in places {
        add(&mut groups, show(&place), sums);
    }
    let groups = groups.into_iter();
    let mut top: Vec<_> = groups
        .map(|(shown, (total, count))| OffCpu {
            shown,
            total,
            count,
        })
        .collect();
    top.sort_by(|a, b| (Reverse(a.total), &a.shown).cmp(&(Reverse(b.total), &b.shown)));
    top.truncate(limit);
    top
}

fn add<K: Eq + Hash>(sums: &mut HashMap<K, (Duration, u64)>, key: K, more: (Duration, u64)) {
    let (total, count) = sums.entry(key).or_default();
    *total = total.saturating_add(more.0);
    *count = count.saturating_add(more.1);
}

/// Samples of all stacks.
pub(crate) fn samples(capture: &Capture) -> u64 {
    capture
        .samples
        .iter()
        .fold(0, |sum, sample| sum.saturating_add(sample.count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_model::fixture::{Builder, ms};

    /// The leaf alone.
    fn leaf(stack: Option<&Stack>) -> String {
        let leaf = stack.and_then(|stack| stack.frames.last());
        leaf.map_or_else(String::new, |frame| frame.name.to_string())
    }

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
        let first = OnCpu {
            shown: "b".to_owned(),
            samples: 4,
        };
        assert_eq!(on_cpu(&capture, 1, leaf), [first]);
        let top = |idle| off_cpu(&capture, 2, idle, |place| place.reason).into_iter();
        let busy: Vec<_> = top(false).map(|top| (top.shown, top.total)).collect();
        assert_eq!(busy, [(Reason::Disk, ms(6)), (Reason::Sleep, ms(5))]);
        assert_eq!(top(true).next().map(|top| top.shown), Some(Reason::Epoll));
    }

    #[test]
    fn what_looks_the_same_is_one_entry() {
        let mut builder = Builder::new(1, "target");
        builder.samples(0, &["main", "find"], 3);
        builder.samples(0, &["other", "find"], 2);
        builder.samples(0, &["main", "copy"], 4);
        builder.wait(0, Reason::Disk, &["main", "close"], ms(3));
        builder.wait(0, Reason::Disk, &["other", "close"], ms(4));
        builder.wait(0, Reason::PageFault, &["main", "close"], ms(5));
        let capture = builder.finish();
        let on_cpu = on_cpu(&capture, 20, leaf).into_iter();
        let on_cpu: Vec<_> = on_cpu.map(|top| (top.shown, top.samples)).collect();
        assert_eq!(on_cpu, [("find".to_owned(), 5), ("copy".to_owned(), 4)]);
        let show = |place: &Place| match place.site {
            Site::Stack(stack) => (place.reason, leaf(capture.stacks.get(stack))),
            _ => panic!("every wait has a stack"),
        };
        let off_cpu: Vec<_> = off_cpu(&capture, 20, false, show)
            .into_iter()
            .map(|top| (top.shown.0, top.total, top.count))
            .collect();
        let expected = [(Reason::Disk, ms(7), 2), (Reason::PageFault, ms(5), 1)];
        assert_eq!(off_cpu, expected);
    }
}
