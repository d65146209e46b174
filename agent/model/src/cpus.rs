//! Sets of CPUs, as the kernel writes them (`0-3,8`), and which of them a capture sampled.

use super::{Sample, Thread};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt, str::FromStr, time::Duration};
use strum::{IntoStaticStr, VariantArray};

/// More CPUs than any kernel is built for: `CONFIG_NR_CPUS` is at most 8,192.
const MAX_CPUS: u32 = 8192;

/// Samples that a thread's time on a CPU must be worth before it is said that some are missing.
const MIN_SAMPLES: u32 = 10;

/// A set of CPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Cpus(BTreeSet<u32>);

impl Cpus {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// In a sentence: `CPU 3`, `CPUs 0-2`.
    pub fn named(&self) -> String {
        let noun = if self.len() == 1 { "CPU" } else { "CPUs" };
        format!("{noun} {self}")
    }

    /// Whether this one is among them.
    pub fn has(&self, cpu: u32) -> bool {
        self.0.contains(&cpu)
    }

    /// All of them, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.iter().copied()
    }

    /// Those that are in both.
    pub fn and(&self, other: &Self) -> Self {
        Self(&self.0 & &other.0)
    }

    /// Those that are not in `other`.
    pub fn without(&self, other: &Self) -> Self {
        Self(&self.0 - &other.0)
    }

    /// Adds all of `other`.
    pub fn add(&mut self, other: &Self) {
        self.0.extend(&other.0);
    }
}

impl FromIterator<u32> for Cpus {
    fn from_iter<I: IntoIterator<Item = u32>>(cpus: I) -> Self {
        Self(cpus.into_iter().collect())
    }
}

/// As the kernel lists them; nothing where there are none.
impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.iter().peekable();
        let mut comma = "";
        while let Some(first) = left.next() {
            let mut last = first;
            while let Some(next) = left.next_if_eq(&(last + 1)) {
                last = next;
            }
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                1 => write!(f, "{comma}{first},{last}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
            comma = ",";
        }
        Ok(())
    }
}

/// The kernel's list format (cpuset(7)) without its steps: numbers and ranges, by commas; nothing: none.
impl FromStr for Cpus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut cpus = BTreeSet::new();
        let parts = text.trim().split(',').map(str::trim);
        for part in parts.filter(|_| !text.trim().is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| text.trim().parse::<u32>().ok().filter(|n| *n < MAX_CPUS);
            match (number(first), number(last)) {
                (Some(first), Some(last)) if first <= last => cpus.extend(first..=last),
                _ => return Err(format!("{part:?} is no CPU and no range of CPUs")),
            }
        }
        Ok(Self(cpus))
    }
}

/// Why no CPU samples were taken on a CPU.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Deserialize,
    Serialize,
    IntoStaticStr,
    VariantArray,
)]
#[strum(serialize_all = "snake_case")]
pub enum Unsampled {
    /// It is kept free of timers (`nohz_full`), and nobody asked for samples there.
    NohzFull,
    /// `--cpus` leaves it out.
    NotChosen,
    /// It was not online when the capture ended.
    Offline,
    /// The kernel gave no event on it.
    Refused,
}

impl Unsampled {
    /// Its name in `report.json`.
    pub fn key(self) -> &'static str {
        self.into()
    }

    /// For a report, behind the CPUs.
    pub const fn words(self) -> &'static str {
        match self {
            Self::NohzFull => "nohz_full, where a timer would end the quiet (--sample-isolated)",
            Self::NotChosen => "not in --cpus",
            Self::Offline => "offline",
            Self::Refused => "the kernel refused the event",
        }
    }
}

/// Where CPU samples were taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct CpuSampling {
    /// CPUs that were sampled.
    pub sampled: Cpus,
    /// CPUs on which threads of the targets may run and that were not, by the reason.
    pub not_sampled: Vec<(Unsampled, Cpus)>,
}

impl CpuSampling {
    /// All that were not sampled.
    pub fn missing(&self) -> Cpus {
        self.not_sampled
            .iter()
            .flat_map(|(_, cpus)| cpus.iter())
            .collect()
    }

    /// Threads that ran on CPUs which nobody sampled, and for how long, as far as it can be told: where each sample stands for
    /// 1 / `freq_hz` seconds, they have less than half of those that their time on a CPU would give.
    pub fn unsampled(
        &self,
        freq_hz: u32,
        threads: &[Thread],
        samples: &[Sample],
    ) -> Vec<(usize, Duration)> {
        if self.not_sampled.is_empty() || freq_hz == 0 {
            return Vec::new();
        }
        let mut taken = vec![0_u64; threads.len()];
        for sample in samples {
            if let Some(taken) = taken.get_mut(sample.thread) {
                *taken = taken.saturating_add(sample.count);
            }
        }
        let each = Duration::from_secs(1) / freq_hz;
        let missing = |(index, (thread, taken)): (usize, (&Thread, u64))| {
            let seen = each.saturating_mul(u32::try_from(taken).unwrap_or(u32::MAX));
            let enough = thread.on_cpu >= each * MIN_SAMPLES && seen < thread.on_cpu / 2;
            enough.then(|| (index, thread.on_cpu.saturating_sub(seen)))
        };
        let threads = threads.iter().zip(taken);
        threads.enumerate().filter_map(missing).collect()
    }

    /// Which were not and why, in words; `None` where all were.
    pub fn why(&self) -> Option<String> {
        let parts: Vec<String> = self
            .not_sampled
            .iter()
            .map(|(why, cpus)| format!("{} not sampled: {}", cpus.named(), why.words()))
            .collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Builder, ms};
    use proptest::prelude::*;

    fn cpus(text: &str) -> Cpus {
        text.parse().unwrap()
    }

    #[test]
    fn lists_are_read_as_the_kernel_writes_them() {
        assert_eq!(cpus("0-3,8\n"), [0, 1, 2, 3, 8].into_iter().collect());
        assert_eq!(cpus(""), Cpus::default());
        assert_eq!(cpus("\n"), Cpus::default());
        assert_eq!(cpus(" 5 "), [5].into_iter().collect());
        assert_eq!(cpus("2-2"), [2].into_iter().collect());
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in [
            "x",
            "3-1",
            "-1",
            "1-",
            "0,,2",
            "0-9999",
            "99999999999",
            "1;2",
            "0-3:1/2",
            ",",
            "(null)",
        ] {
            assert!(text.parse::<Cpus>().is_err(), "{text}");
        }
    }

    #[test]
    fn neighbours_are_a_range() {
        assert_eq!(cpus("0,1,2,5,7,8").to_string(), "0-2,5,7,8");
        assert_eq!(Cpus::default().to_string(), "");
    }

    #[test]
    fn each_cpu_that_is_missing_says_why() {
        let sampling = CpuSampling {
            sampled: cpus("0"),
            not_sampled: vec![
                (Unsampled::NohzFull, cpus("2,3")),
                (Unsampled::Offline, cpus("5")),
            ],
        };
        assert_eq!(sampling.missing(), cpus("2,3,5"));
        let why = sampling.why().unwrap();
        assert!(why.contains("CPUs 2,3 not sampled: nohz_full"), "{why}");
        assert!(why.contains("CPU 5 not sampled: offline"), "{why}");
        assert_eq!(CpuSampling::default().why(), None);
    }

    #[test]
    fn a_thread_with_far_too_few_samples_ran_where_nobody_samples() {
        let mut builder = Builder::new(1, "spin");
        builder.0.threads[0].on_cpu = ms(2_900);
        builder.samples(0, &["main"], 10);
        let (threads, samples) = (&builder.0.threads, &builder.0.samples);
        let all = CpuSampling::default();
        assert_eq!(all.unsampled(99, threads, samples), []);
        let some = CpuSampling {
            not_sampled: vec![(Unsampled::NohzFull, cpus("1"))],
            ..all
        };
        let found = some.unsampled(99, threads, samples);
        assert_eq!(found.len(), 1);
        assert!(found[0].0 == 0 && found[0].1 > ms(2_790), "{found:?}");
        builder.samples(0, &["main", "more"], 400);
        let (threads, samples) = (&builder.0.threads, &builder.0.samples);
        assert_eq!(some.unsampled(99, threads, samples), [], "most were taken");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(numbers in prop::collection::btree_set(0_u32..200, 1..40)) {
            let set: Cpus = numbers.into_iter().collect();
            prop_assert_eq!(set.to_string().parse::<Cpus>(), Ok(set));
        }

        #[test]
        fn any_text_is_a_list_or_an_error(text in ".{0,40}") {
            let _ = text.parse::<Cpus>();
        }
    }
}
