//! One table of sums for all kinds: it has one bound, and its places are as small as they can be. Outside each kind
//! is read with the fields that it has.

use super::AggregateStore;
use remora_probe::{Times, WaitForm, Waker};

/// Where something was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    /// The thread's serial.
    pub(crate) serial: u32,
    /// Generation of its address space.
    pub(crate) generation: u32,
    /// Index in [`AggregateStore::stacks`]; `None`: it was lost, or there is none.
    pub(crate) stack: Option<usize>,
}

/// What a sum is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum What {
    Samples,
    Waits(WaitForm),
    Wakes {
        wait: WaitForm,
        waker: Waker,
        lock_owner: u32,
    },
    Faults {
        region: u64,
    },
    OwnerRan {
        lock: u64,
    },
    OwnerWaited {
        lock: u64,
    },
}

pub(super) type Key = (Place, What);

/// Count and time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    /// Samples, waits or wake-ups.
    pub(super) count: u64,
    /// Time in them, in nanoseconds; of page faults how many they stand for.
    pub(super) total: u64,
    /// The longest of them, in nanoseconds.
    pub(super) max: u64,
    /// Those inside of late iterations of an event loop.
    pub(super) late_count: u64,
    /// Their time, in nanoseconds; of wake-ups, when the last of them was (`CLOCK_MONOTONIC`).
    pub(super) late: u64,
}

impl Sum {
    /// Of what has a time.
    pub(super) fn of(times: Times, late_count: u64, late: u64) -> Self {
        Self {
            count: times.count,
            total: times.total_ns,
            max: times.max_ns,
            late_count,
            late,
        }
    }

    /// Of samples, and what they stand for.
    pub(super) fn of_samples(count: u64, total: u64, late_count: u64) -> Self {
        Self {
            count,
            total,
            late_count,
            ..Self::default()
        }
    }

    /// Adds another of the same kind.
    pub(super) fn merge(&mut self, what: What, more: &Self) {
        self.count += more.count;
        self.total += more.total;
        self.max = self.max.max(more.max);
        self.late_count += more.late_count;
        self.late = match what {
            What::Wakes { .. } => self.late.max(more.late),
            _ => self.late + more.late,
        };
    }

    fn times(&self) -> Times {
        Times {
            count: self.count,
            total_ns: self.total,
            max_ns: self.max,
        }
    }
}

/// CPU samples of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Samples {
    pub(crate) place: Place,
    pub(crate) count: u64,
    /// Those inside of late iterations of an event loop.
    pub(crate) late: u64,
}

/// Long waits of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waits {
    pub(crate) place: Place,
    pub(crate) wait: WaitForm,
    pub(crate) times: Times,
    /// Time of those inside of late iterations of an event loop, in nanoseconds.
    pub(crate) late_ns: u64,
}

/// Wake-ups of a thread; its place has no stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wakes {
    pub(crate) place: Place,
    pub(crate) wait: WaitForm,
    /// Its thread is 0 where it stands in a sum of threads.
    pub(crate) waker: Waker,
    /// The thread that a lock's memory named as its owner, as the process knows it; 0: unknown.
    pub(crate) lock_owner: u32,
    pub(crate) times: Times,
    /// When the last of them was (`CLOCK_MONOTONIC`).
    pub(crate) last_ns: u64,
}

/// Sampled page faults of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Faults {
    pub(crate) place: Place,
    /// 0: not kept.
    pub(crate) region: u64,
    pub(crate) samples: u64,
    /// How many they stand for.
    pub(crate) faults: u64,
}

/// What the owner of a lock did in a place while others waited for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OwnerDid {
    pub(crate) place: Place,
    pub(crate) lock: u64,
    pub(crate) doing: Doing,
}

/// Whether it ran or waited itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    /// So many CPU samples.
    Ran(u64),
    Waited(Times),
}

impl AggregateStore {
    /// The serial of each sum.
    pub(crate) fn serials(&self) -> impl Iterator<Item = u32> {
        self.sums.keys().map(|(place, _)| place.serial)
    }

    pub(crate) fn samples(&self) -> impl Iterator<Item = Samples> {
        self.sums.iter().filter_map(|((place, what), sum)| {
            matches!(what, What::Samples).then_some(Samples {
                place: *place,
                count: sum.count,
                late: sum.late_count,
            })
        })
    }

    pub(crate) fn waits(&self) -> impl Iterator<Item = Waits> {
        self.sums.iter().filter_map(|((place, what), sum)| {
            let What::Waits(wait) = *what else {
                return None;
            };
            Some(Waits {
                place: *place,
                wait,
                times: sum.times(),
                late_ns: sum.late,
            })
        })
    }

    pub(crate) fn wakes(&self) -> impl Iterator<Item = Wakes> {
        self.sums.iter().filter_map(|((place, what), sum)| {
            let What::Wakes {
                wait,
                waker,
                lock_owner,
            } = *what
            else {
                return None;
            };
            Some(Wakes {
                place: *place,
                wait,
                waker,
                lock_owner,
                times: sum.times(),
                last_ns: sum.late,
            })
        })
    }

    pub(crate) fn faults(&self) -> impl Iterator<Item = Faults> {
        self.sums.iter().filter_map(|((place, what), sum)| {
            let What::Faults { region } = *what else {
                return None;
            };
            Some(Faults {
                place: *place,
                region,
                samples: sum.count,
                faults: sum.total,
            })
        })
    }

    pub(crate) fn lock_owners(&self) -> impl Iterator<Item = OwnerDid> {
        self.sums.iter().filter_map(|((place, what), sum)| {
            let (lock, doing) = match *what {
                What::OwnerRan { lock } => (lock, Doing::Ran(sum.count)),
                What::OwnerWaited { lock } => (lock, Doing::Waited(sum.times())),
                _ => return None,
            };
            Some(OwnerDid {
                place: *place,
                lock,
                doing,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_stay_as_small_as_their_bound_counts_on() {
        // 131,072 of them are 12 MiB: `MAX_SUMS`.
        assert_eq!(size_of::<(Key, Sum)>(), 96);
    }
}
