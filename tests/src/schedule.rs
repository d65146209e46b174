//! The scheduler's account over any window: `schedstat` read again and again beside a capture.
//!
//! A test does not know in advance when exactly the capture begins, so it records the counters all
//! along and looks up the two edges afterwards.

use crate::proc::{Schedstat, schedstat};
use crate::truth::{Window, now_ns};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const BEAT: Duration = Duration::from_millis(20);

type History = BTreeMap<u32, Vec<(u64, Schedstat)>>;

/// A recording in progress.
#[derive(Debug)]
pub struct Recorder {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<History>,
}

impl Recorder {
    /// Records these threads, `(pid, tid)` each.
    pub fn start(threads: Vec<(u32, u32)>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || record(&threads, &stopped));
        Self { stop, thread }
    }

    /// Ends the recording.
    pub fn finish(self) -> Schedule {
        self.stop.store(true, Ordering::Relaxed);
        Schedule {
            history: self.thread.join().expect("the recorder does not panic"),
        }
    }
}

fn record(threads: &[(u32, u32)], stop: &AtomicBool) -> History {
    let mut history = History::new();
    loop {
        let last = stop.load(Ordering::Relaxed);
        for &(pid, tid) in threads {
            if let Some(stat) = schedstat(pid, tid) {
                history.entry(tid).or_default().push((now_ns(), stat));
            }
        }
        if last {
            return history;
        }
        std::thread::sleep(BEAT);
    }
}

/// The counters of some threads over time.
#[derive(Debug)]
pub struct Schedule {
    history: History,
}

impl Schedule {
    /// What the scheduler counted for a thread inside the window.
    ///
    /// # Panics
    /// When the thread was not recorded.
    pub fn inside(&self, tid: u32, window: Window) -> Schedstat {
        let history = self
            .history
            .get(&tid)
            .unwrap_or_else(|| panic!("tid {tid} not recorded"));
        let start = at(history, window.start_ns);
        let end = at(history, window.end_ns);
        Schedstat {
            run: end.run.saturating_sub(start.run),
            queued: end.queued.saturating_sub(start.queued),
        }
    }
}

/// The counters at a moment, on a line between the two readings around it.
fn at(history: &[(u64, Schedstat)], moment_ns: u64) -> Schedstat {
    let after = history.partition_point(|(when, _)| *when < moment_ns);
    let (Some(before), Some(after)) = (after.checked_sub(1), history.get(after)) else {
        let nearest = after.min(history.len() - 1);
        return history[nearest].1;
    };
    let before = history[before];
    let share = (moment_ns - before.0) as f64 / (after.0 - before.0).max(1) as f64;
    let between = |low: Duration, high: Duration| low + (high.saturating_sub(low)).mul_f64(share);
    Schedstat {
        run: between(before.1.run, after.1.run),
        queued: between(before.1.queued, after.1.queued),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_counters_between_two_readings() {
        let stat = |run| Schedstat {
            run: Duration::from_nanos(run),
            queued: Duration::ZERO,
        };
        let history = vec![(100, stat(0)), (200, stat(50)), (300, stat(150))];
        let schedule = Schedule {
            history: [(7, history)].into(),
        };
        let inside = schedule.inside(
            7,
            Window {
                start_ns: 150,
                end_ns: 250,
            },
        );
        assert_eq!(inside.run, Duration::from_nanos(75));
    }
}
