//! One target thread: where its time went and what it does now.

use super::Syscall;
use remora_common::reason::Reason;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum State {
    /// Not known.
    Unknown,
    /// On a CPU.
    Running,
    /// Ready, waiting for a CPU.
    Runnable,
    /// Asleep.
    Blocked,
    /// Gone.
    Exited,
}

/// What a thread does at the end of the capture.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Now {
    /// The state.
    pub state: State,
    /// For how long it has been in it: may be longer than the capture.
    pub since: Duration,
    /// The beginning was not observed but taken from the scheduler's clock.
    pub since_inferred: bool,
    /// Why it is asleep, when it is.
    pub reason: Option<Reason>,
    /// The system call it is in.
    pub syscall: Option<Syscall>,
    /// Arguments of that call.
    pub args: [u64; 6],
    /// Thread that woke it last, 0 = an interrupt or none seen.
    pub waker_tid: u32,
    /// Its stack, where it was taken: index in [`super::Capture::stacks`].
    pub stack: Option<usize>,
}

/// Time and number of a thread's waits for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ReasonTotals {
    /// The reason.
    pub reason: Reason,
    /// All waits.
    pub total: Duration,
    /// Their number.
    pub count: u64,
    /// Those under the threshold.
    pub short: Duration,
    /// Their number.
    pub short_count: u64,
}

/// Waits for a CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct RunQueue {
    /// From a wake-up to the CPU.
    pub after_wake: Duration,
    /// Number of those.
    pub wakes: u64,
    /// From a preemption or yield back to the CPU.
    pub preempted: Duration,
    /// Number of those.
    pub preemptions: u64,
    /// The longest single one.
    pub longest: Duration,
}

/// One target thread.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Thread {
    /// Thread id in the initial PID namespace.
    pub tid: u32,
    /// Process id.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// What Python's `threading` calls it, where that is another name.
    #[serde(default)]
    pub python_name: Option<String>,
    /// What Java calls it, where that is another name.
    #[serde(default)]
    pub java_name: Option<String>,
    /// Threads that ended whose sum this is, where many did: their id is 0, and each time is the sum of
    /// theirs. 0 for a thread.
    pub summed: u64,
    /// How long it was watched: its life inside the capture.
    pub observed: Duration,
    /// Time on a CPU.
    pub on_cpu: Duration,
    /// Time ready but waiting for a CPU.
    pub run_queue: RunQueue,
    /// How often the scheduler moved it to another CPU; `None` where the kernel does not say.
    #[serde(default)]
    pub migrations: Option<u64>,
    /// Time blocked, by reason; reasons that did not occur are absent.
    pub waits: Vec<ReasonTotals>,
    /// What it does at the end.
    pub now: Now,
}

impl Thread {
    /// Time ready but without a CPU.
    pub fn queued(&self) -> Duration {
        self.run_queue
            .after_wake
            .saturating_add(self.run_queue.preempted)
    }

    /// Time that it wanted a CPU: with one and without.
    pub fn wanted(&self) -> Duration {
        self.on_cpu.saturating_add(self.queued())
    }

    /// How often the scheduler moved it to another CPU, a second.
    pub fn migrations_per_s(&self) -> Option<f64> {
        let observed = self.observed.as_secs_f64();
        let migrations = self.migrations.filter(|_| observed > 0.0)?;
        Some(migrations as f64 / observed)
    }

    /// Time blocked, for any reason.
    pub fn blocked(&self) -> Duration {
        self.waits.iter().map(|wait| wait.total).sum()
    }
}
