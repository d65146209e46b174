//! Aggregates out of the kernel's words. What a word means depends on the kind: here each kind becomes a variant
//! with the fields that it has, and nobody above needs to know the words.

use remora_common::aggregate::{
    Aggregate, AggregateKey, KIND_CPU, KIND_FAULT, KIND_HEAP, KIND_HOLD, KIND_WAIT, KIND_WAKE,
};
use remora_model::{RawStack, Reason};

/// What was counted of one thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadTally {
    /// The thread's serial.
    pub serial: u32,
    /// Generation of its address space.
    pub generation: u32,
    /// What it is.
    pub tally: Tally,
}

/// Count and time of one kind. A stack is `None` where it was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tally {
    /// CPU samples.
    Samples {
        /// Where they were taken.
        stack: Option<RawStack>,
        /// How many.
        count: u64,
        /// Those of them inside of late iterations of an event loop.
        late: u64,
    },
    /// Long waits that ended, by where the thread waited.
    Waits {
        /// How it waited.
        wait: WaitForm,
        /// Where.
        stack: Option<RawStack>,
        /// How often and how long.
        times: Times,
        /// Those of them inside of late iterations of an event loop.
        late_count: u64,
        /// Their time, in nanoseconds.
        late_ns: u64,
    },
    /// Long waits that ended, by who ended them.
    Wakes {
        /// How the thread waited.
        wait: WaitForm,
        /// Who woke it.
        waker: Waker,
        /// The thread that a lock's memory named as its owner when the wait began, as the process knows it; 0: unknown.
        lock_owner: u32,
        /// How often, and how long it had waited.
        times: Times,
        /// When the last of them was (`CLOCK_MONOTONIC`).
        last_ns: u64,
    },
    /// Sampled page faults.
    Faults {
        /// The address without its [`remora_common::aggregate::FAULT_REGION_BITS`] lowest bits, 0: not kept.
        region: u64,
        /// Where they were.
        stack: Option<RawStack>,
        /// How many were sampled.
        samples: u64,
        /// How many they stand for.
        faults: u64,
    },
    /// CPU samples of the owner of a lock while others waited for it.
    OwnerRan {
        /// Address of the lock.
        lock: u64,
        /// Where they were taken.
        stack: Option<RawStack>,
        /// How many.
        samples: u64,
    },
    /// Long waits of the owner of a lock while others waited for it.
    OwnerWaited {
        /// Address of the lock.
        lock: u64,
        /// What the owner waited for.
        reason: Reason,
        /// Where.
        stack: Option<RawStack>,
        /// How often and how long.
        times: Times,
    },
    /// Sampled allocations, for their stack.
    Allocations {
        /// By what blocks name the stack.
        site: u64,
        /// Where they were made.
        stack: Option<RawStack>,
    },
}

/// How a thread waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WaitForm {
    /// What it waits for.
    pub reason: Reason,
    /// System call number, [`remora_common::reason::NO_SYSCALL`] for none.
    pub syscall: u16,
    /// What tells waiting for work from being held up: [`AggregateKey::detail`].
    pub detail: u32,
    /// Address of the futex; otherwise 0.
    pub futex: u64,
}

/// Who woke a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Waker {
    /// Thread id, 0 for an interrupt.
    pub tid: u32,
    /// Process id, 0 for an interrupt.
    pub pid: u32,
}

/// How often something lasted for how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// How often.
    pub count: u64,
    /// For how long together, in nanoseconds.
    pub total_ns: u64,
    /// The longest of them, in nanoseconds.
    pub max_ns: u64,
}

/// What an aggregate says, its stack resolved by `read`; `None`: its kind is unknown here.
pub(super) fn decode(
    aggregate: &Aggregate,
    read: impl FnOnce(&AggregateKey) -> Option<RawStack>,
) -> Option<ThreadTally> {
    let Aggregate {
        hash: _,
        key,
        count,
        total_ns,
        max_ns,
        late_count,
        late_ns,
    } = *aggregate;
    let times = Times {
        count,
        total_ns,
        max_ns,
    };
    let tally = match key.kind {
        KIND_CPU => Tally::Samples {
            stack: read(&key),
            count,
            late: late_count,
        },
        KIND_WAIT => Tally::Waits {
            wait: wait_form(&key),
            stack: read(&key),
            times,
            late_count,
            late_ns,
        },
        // In place of its stacks it has the waker.
        KIND_WAKE => Tally::Wakes {
            wait: wait_form(&key),
            waker: Waker {
                tid: key.user,
                pid: key.kernel,
            },
            lock_owner: key.owner,
            times,
            last_ns: late_ns,
        },
        KIND_FAULT => Tally::Faults {
            region: key.object,
            stack: read(&key),
            samples: count,
            faults: total_ns,
        },
        // Samples have neither reason nor time.
        KIND_HOLD if key.reason == Reason::Unknown as u8 && total_ns == 0 => Tally::OwnerRan {
            lock: key.object,
            stack: read(&key),
            samples: count,
        },
        KIND_HOLD => Tally::OwnerWaited {
            lock: key.object,
            reason: Reason::from_u8(key.reason),
            stack: read(&key),
            times,
        },
        KIND_HEAP => Tally::Allocations {
            site: key.object,
            stack: read(&key),
        },
        _ => return None,
    };
    Some(ThreadTally {
        serial: key.serial,
        generation: key.generation,
        tally,
    })
}

fn wait_form(key: &AggregateKey) -> WaitForm {
    WaitForm {
        reason: Reason::from_u8(key.reason),
        syscall: key.syscall,
        detail: key.detail,
        futex: key.object,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::Zeroable;

    const SERIAL: u32 = 77;
    const GENERATION: u32 = 3;

    fn stack() -> Option<RawStack> {
        Some(RawStack {
            user: vec![0x1000, 0x2000],
            ..RawStack::default()
        })
    }

    /// As the kernel side writes it.
    fn encoded(tally: &Tally) -> Aggregate {
        let mut aggregate = Aggregate {
            hash: 1,
            key: AggregateKey {
                serial: SERIAL,
                generation: GENERATION,
                ..Zeroable::zeroed()
            },
            ..Zeroable::zeroed()
        };
        let key = &mut aggregate.key;
        let mut wait_words = |wait: &WaitForm, times: &Times| {
            key.reason = wait.reason as u8;
            (key.syscall, key.detail, key.object) = (wait.syscall, wait.detail, wait.futex);
            (aggregate.count, aggregate.total_ns, aggregate.max_ns) =
                (times.count, times.total_ns, times.max_ns);
        };
        match tally {
            Tally::Samples { count, late, .. } => {
                key.kind = KIND_CPU;
                (aggregate.count, aggregate.late_count) = (*count, *late);
            }
            Tally::Waits {
                wait,
                times,
                late_count,
                late_ns,
                ..
            } => {
                wait_words(wait, times);
                key.kind = KIND_WAIT;
                (aggregate.late_count, aggregate.late_ns) = (*late_count, *late_ns);
            }
            Tally::Wakes {
                wait,
                waker,
                lock_owner,
                times,
                last_ns,
            } => {
                wait_words(wait, times);
                key.kind = KIND_WAKE;
                (key.user, key.kernel, key.owner) = (waker.tid, waker.pid, *lock_owner);
                aggregate.late_ns = *last_ns;
            }
            Tally::Faults {
                region,
                samples,
                faults,
                ..
            } => {
                (key.kind, key.object) = (KIND_FAULT, *region);
                (aggregate.count, aggregate.total_ns) = (*samples, *faults);
            }
            Tally::OwnerRan { lock, samples, .. } => {
                (key.kind, key.object) = (KIND_HOLD, *lock);
                aggregate.count = *samples;
            }
            Tally::OwnerWaited {
                lock,
                reason,
                times,
                ..
            } => {
                (key.kind, key.object, key.reason) = (KIND_HOLD, *lock, *reason as u8);
                (aggregate.count, aggregate.total_ns, aggregate.max_ns) =
                    (times.count, times.total_ns, times.max_ns);
            }
            Tally::Allocations { site, .. } => {
                (key.kind, key.object) = (KIND_HEAP, *site);
                // Bytes, of which nobody asks.
                aggregate.total_ns = 4096;
            }
        }
        aggregate
    }

    const TIMES: Times = Times {
        count: 11,
        total_ns: 12,
        max_ns: 13,
    };

    const WAIT: WaitForm = WaitForm {
        reason: Reason::Futex,
        syscall: 202,
        detail: 137,
        futex: 0x7f00,
    };

    #[test]
    fn each_kind_comes_back_as_it_was_written() {
        let tallies = [
            Tally::Samples {
                stack: stack(),
                count: 21,
                late: 22,
            },
            Tally::Waits {
                wait: WAIT,
                stack: stack(),
                times: TIMES,
                late_count: 14,
                late_ns: 15,
            },
            Tally::Wakes {
                wait: WAIT,
                waker: Waker { tid: 31, pid: 32 },
                lock_owner: 33,
                times: TIMES,
                last_ns: 16,
            },
            Tally::Faults {
                region: 0x3f,
                stack: stack(),
                samples: 23,
                faults: 24,
            },
            Tally::OwnerRan {
                lock: 0x7f40,
                stack: stack(),
                samples: 25,
            },
            Tally::OwnerWaited {
                lock: 0x7f40,
                reason: Reason::Sleep,
                stack: stack(),
                times: TIMES,
            },
            // A wait whose reason nobody knows is none the less a wait.
            Tally::OwnerWaited {
                lock: 0x7f40,
                reason: Reason::Unknown,
                stack: stack(),
                times: TIMES,
            },
            Tally::Allocations {
                site: 0x9e37,
                stack: stack(),
            },
        ];
        for tally in tallies {
            let decoded = decode(&encoded(&tally), |_| stack());
            let expected = ThreadTally {
                serial: SERIAL,
                generation: GENERATION,
                tally,
            };
            assert_eq!(decoded, Some(expected));
        }
    }

    #[test]
    fn a_lost_stack_stays_lost() {
        let samples = Tally::Samples {
            stack: None,
            count: 1,
            late: 0,
        };
        let decoded = decode(&encoded(&samples), |_| None);
        assert_eq!(decoded.map(|it| it.tally), Some(samples));
    }

    #[test]
    fn an_unknown_kind_is_none_and_its_stack_is_not_read() {
        for kind in [0, KIND_HEAP + 1, u8::MAX] {
            let aggregate = Aggregate {
                hash: 1,
                key: AggregateKey {
                    kind,
                    user: 5,
                    ..Zeroable::zeroed()
                },
                ..Zeroable::zeroed()
            };
            let read = |_: &AggregateKey| unreachable!("the stack of an unknown kind");
            assert_eq!(decode(&aggregate, read), None);
        }
    }
}
