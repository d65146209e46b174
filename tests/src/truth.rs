//! A specimen's own account of its time, read from the memory that it shares with the test.

use rustix::fs::MemfdFlags;
use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileExt;
use std::time::Duration;

// The layout of specimens/log.c.
const FUNCTIONS: usize = 32;
const NAME_BYTES: usize = 64;
const NAMES_AT: usize = 16;
const ENTRIES_AT: usize = NAMES_AT + FUNCTIONS * NAME_BYTES;
const ENTRY_BYTES: usize = 32;

/// A stretch of `CLOCK_MONOTONIC`, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its first nanosecond.
    pub start_ns: u64,
    /// The first one behind it.
    pub end_ns: u64,
}

impl Window {
    /// Its length.
    pub const fn length(self) -> Duration {
        Duration::from_nanos(self.end_ns.saturating_sub(self.start_ns))
    }

    /// How much of `start..end` lies inside, in nanoseconds.
    fn overlap_ns(self, start_ns: u64, end_ns: u64) -> u64 {
        end_ns
            .min(self.end_ns)
            .saturating_sub(start_ns.max(self.start_ns))
    }
}

/// `CLOCK_MONOTONIC` now, in nanoseconds.
pub fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Time that a specimen spent in a function, by its own clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Wall clock.
    pub wall: Duration,
    /// Of it, on a CPU. Unknown and counted as zero for an interval that is still open.
    pub cpu: Duration,
    /// Intervals, those at the edges of the window included.
    pub count: u64,
}

impl Spent {
    /// Off the CPU: blocked, or waiting for a CPU.
    pub fn off_cpu(self) -> Duration {
        self.wall.saturating_sub(self.cpu)
    }
}

#[derive(Debug)]
struct Interval {
    function: u32,
    tid: u32,
    start_ns: u64,
    end_ns: u64,
    cpu_ns: u64,
}

impl Interval {
    fn read(bytes: &[u8]) -> Self {
        Self {
            function: u32_at(bytes, 0),
            tid: u32_at(bytes, 4),
            start_ns: u64_at(bytes, 8),
            end_ns: u64_at(bytes, 16),
            cpu_ns: u64_at(bytes, 24),
        }
    }

    fn spent(&self, window: Window) -> Spent {
        let open = self.end_ns == 0;
        let end_ns = if open { u64::MAX } else { self.end_ns };
        let inside = window.overlap_ns(self.start_ns, end_ns);
        if inside == 0 || self.start_ns == 0 {
            return Spent::default();
        }
        let share = inside as f64 / (end_ns - self.start_ns) as f64;
        let cpu_ns = if open {
            0.0
        } else {
            self.cpu_ns as f64 * share
        };
        Spent {
            wall: Duration::from_nanos(inside),
            cpu: Duration::from_nanos(cpu_ns as u64),
            count: 1,
        }
    }
}

/// The log of one specimen and of what it forks and executes.
#[derive(Debug)]
pub struct Log {
    memory: File,
}

impl Log {
    /// An empty one, which a child process inherits.
    pub fn create() -> Self {
        let memory = rustix::fs::memfd_create("specimen-log", MemfdFlags::empty())
            .expect("the kernel has memory files");
        Self {
            memory: memory.into(),
        }
    }

    /// The descriptor that the child finds it under.
    pub fn descriptor(&self) -> RawFd {
        self.memory.as_raw_fd()
    }

    /// Time spent in `function` inside `window`, by one thread or by all.
    ///
    /// # Panics
    /// When the specimen never named such a function: the test would compare with nothing.
    pub fn spent(&self, function: &str, tid: Option<u32>, window: Window) -> Spent {
        let functions = self.functions();
        let index = functions.iter().position(|name| name == function);
        let index = index.unwrap_or_else(|| panic!("no {function} in the log: {functions:?}"));
        self.intervals()
            .iter()
            .filter(|entry| entry.function as usize == index)
            .filter(|entry| tid.is_none_or(|tid| tid == entry.tid))
            .map(|entry| entry.spent(window))
            .fold(Spent::default(), |sum, spent| Spent {
                wall: sum.wall + spent.wall,
                cpu: sum.cpu + spent.cpu,
                count: sum.count + spent.count,
            })
    }

    /// Lengths of the intervals in `function` that began and ended inside `window`.
    pub fn lengths(&self, function: &str, window: Window) -> Vec<Duration> {
        let index = self.functions().iter().position(|name| name == function);
        let inside = |entry: &Interval| {
            entry.start_ns >= window.start_ns
                && entry.end_ns > entry.start_ns
                && entry.end_ns <= window.end_ns
        };
        let intervals = self.intervals().into_iter();
        intervals
            .filter(|entry| Some(entry.function as usize) == index && inside(entry))
            .map(|entry| Duration::from_nanos(entry.end_ns - entry.start_ns))
            .collect()
    }

    /// Thread ids that spent time in `function`.
    pub fn tids(&self, function: &str) -> Vec<u32> {
        let index = self.functions().iter().position(|name| name == function);
        let mut tids: Vec<u32> = self
            .intervals()
            .iter()
            .filter(|entry| Some(entry.function as usize) == index)
            .map(|entry| entry.tid)
            .collect();
        tids.sort_unstable();
        tids.dedup();
        tids
    }

    fn functions(&self) -> Vec<String> {
        let header = self.read(0, ENTRIES_AT);
        let count = u64_at(&header, 8) as usize;
        header[NAMES_AT..]
            .chunks_exact(NAME_BYTES)
            .take(count)
            .map(|name| {
                String::from_utf8_lossy(name)
                    .trim_end_matches('\0')
                    .to_owned()
            })
            .collect()
    }

    fn intervals(&self) -> Vec<Interval> {
        let count = u64_at(&self.read(0, ENTRIES_AT), 0) as usize;
        let bytes = self.read(ENTRIES_AT, count * ENTRY_BYTES);
        bytes
            .chunks_exact(ENTRY_BYTES)
            .map(Interval::read)
            .collect()
    }

    fn read(&self, at: usize, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.memory
            .read_exact_at(&mut bytes, at as u64)
            .expect("the specimen made its log");
        bytes
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window {
        start_ns: 100,
        end_ns: 200,
    };

    fn interval(start_ns: u64, end_ns: u64, cpu_ns: u64) -> Interval {
        Interval {
            function: 0,
            tid: 1,
            start_ns,
            end_ns,
            cpu_ns,
        }
    }

    #[test]
    fn cuts_an_interval_to_the_window_and_its_cpu_time_with_it() {
        let spent = interval(50, 150, 40).spent(WINDOW);
        assert_eq!(spent.wall, Duration::from_nanos(50));
        assert_eq!(spent.cpu, Duration::from_nanos(20));
        assert_eq!(spent.off_cpu(), Duration::from_nanos(30));
    }

    #[test]
    fn an_open_interval_lasts_to_the_end_of_the_window() {
        let spent = interval(120, 0, 7777).spent(WINDOW);
        assert_eq!(spent.wall, Duration::from_nanos(80));
        assert_eq!(spent.cpu, Duration::ZERO);
    }

    #[test]
    fn an_interval_outside_counts_nothing() {
        assert_eq!(interval(10, 100, 5).spent(WINDOW), Spent::default());
        assert_eq!(interval(200, 300, 5).spent(WINDOW), Spent::default());
    }
}
