//! Python interpreters and their lock.

use super::{Capture, Gil, Site, Stack};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The interpreter of a process, as it was at the end of the capture.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Python {
    /// Version, as `3.11.2`.
    pub version: String,
    /// Built without a global lock.
    pub free_threaded: bool,
    /// Threads that it knows, over all its interpreters.
    pub threads: u32,
    /// Thread that held the lock of the main interpreter; `None`: nobody, or it could not be told.
    pub gil_holder_tid: Option<u32>,
    /// The list of threads changed each time that it was read: the holder may be wrong.
    pub torn: bool,
}

/// How a thread stood to the interpreter lock during the capture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GilUse {
    /// CPU samples while it held it.
    pub held_samples: u64,
    /// CPU samples while it ran without it.
    pub not_held_samples: u64,
    /// Long waits for it.
    pub waits: u64,
    /// Time in them.
    pub waited: Duration,
}

impl GilUse {
    /// Of each thread, in their order; `None` for one that is none of an interpreter's.
    pub fn of_threads(capture: &Capture) -> Vec<Option<Self>> {
        let mut uses: Vec<Option<Self>> = vec![None; capture.threads.len()];
        for sample in &capture.samples {
            let Some(gil) = capture.stacks.get(sample.stack).and_then(Stack::gil) else {
                continue;
            };
            if let Some(slot) = uses.get_mut(sample.thread) {
                let known = slot.get_or_insert_default();
                match gil {
                    Gil::Held => known.held_samples += sample.count,
                    Gil::NotHeld => known.not_held_samples += sample.count,
                    Gil::WaitedFor | Gil::Unknown => {}
                }
            }
        }
        for wait in &capture.waits {
            let Site::Stack(stack) = wait.site else {
                continue;
            };
            let Some(gil) = capture.stacks.get(stack).and_then(Stack::gil) else {
                continue;
            };
            if let Some(slot) = uses.get_mut(wait.thread) {
                let known = slot.get_or_insert_default();
                if gil == Gil::WaitedFor {
                    known.waits += wait.count;
                    known.waited += wait.total;
                }
            }
        }
        uses
    }
}

impl Stack {
    /// How its thread stood to the interpreter lock; `None` outside of Python.
    pub fn gil(&self) -> Option<Gil> {
        self.walk?.python.map(|python| python.gil)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Ending, Idleness, Outcome, PythonWalk, Reason, Sample, Syscall, Wait, Walk,
        fixture::{Builder, ms, stack},
    };

    #[test]
    fn samples_and_waits_are_told_apart_by_how_the_thread_stood() {
        let mut capture = Builder::new(1, "python3").0;
        for gil in [Gil::Held, Gil::NotHeld, Gil::WaitedFor] {
            let mut stack = stack(&["p:run"]);
            stack.walk = Some(Walk {
                outcome: Outcome::Complete,
                python: Some(PythonWalk {
                    ending: Ending::Complete,
                    mismatched: 0,
                    gil,
                }),
            });
            capture.stacks.push(stack);
        }
        for (stack, count) in [(0, 5), (1, 3)] {
            capture.samples.push(Sample {
                thread: 0,
                stack,
                count,
                late: 0,
            });
        }
        capture.waits.push(Wait {
            thread: 0,
            reason: Reason::Futex,
            syscall: Some(Syscall::named("futex")),
            site: Site::Stack(2),
            event_form: true,
            count: 2,
            total: ms(7),
            late: Duration::ZERO,
            idle: Idleness::Busy,
        });
        let expected = GilUse {
            held_samples: 5,
            not_held_samples: 3,
            waits: 2,
            waited: ms(7),
        };
        assert_eq!(GilUse::of_threads(&capture), [Some(expected)]);
    }

    #[test]
    fn a_thread_outside_of_python_has_none() {
        let capture = Builder::new(1, "redis").finish();
        assert_eq!(GilUse::of_threads(&capture), [None]);
    }
}
