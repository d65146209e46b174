//! A look into a target that has an end.

use std::time::{Duration, Instant};

/// Until when a look goes on: time on a CPU, which is what it costs, and not for ever where a CPU is hard to
/// get.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    cpu: Duration,
    until: Instant,
}

impl Budget {
    /// Wall-clock time that may pass for each second on a CPU.
    pub const WAITS: u32 = 6;

    /// So much from now on.
    pub fn of(time: Duration) -> Self {
        Self {
            cpu: cpu_time().saturating_add(time),
            until: Instant::now() + time * Self::WAITS,
        }
    }

    /// Time on a CPU that is left, of this thread.
    pub fn left(&self) -> Duration {
        self.cpu.saturating_sub(cpu_time())
    }

    /// Whether it is used up.
    pub fn is_spent(&self) -> bool {
        cpu_time() >= self.cpu || Instant::now() >= self.until
    }
}

/// Time that this thread has had a CPU.
fn cpu_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(now).unwrap_or_default()
}
