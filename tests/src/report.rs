//! `report.json` as a reader outside the project sees it: the contract, field by field.
//!
//! Written apart from the agent's own types on purpose: a field that is renamed there must fail here.

mod memory;
mod signals;

pub use memory::{GrowthStack, Mapping, Memory, Resident};
pub use signals::{
    EventLoop, Lock, LockHolder, LockOwner, LockStack, LockWaiter, LockWaker, LoopColumns,
    ThreadColumns, Timeline,
};

use crate::sockets::{Socket, SocketCounts};
use crate::tolerance::{SKIPPED_RUNS, stackless_waits, torn_states};
use crate::truth::{Window, now_ns};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The whole of it.
#[derive(Clone, Debug, Deserialize)]
pub struct Report {
    /// Version of the contract.
    pub schema: u32,
    /// The capture itself.
    pub capture: Capture,
    /// Target processes.
    pub targets: Vec<Target>,
    /// Their threads.
    pub threads: Vec<Thread>,
    /// Event loops.
    pub loops: Vec<EventLoop>,
    /// Locks and other futexes.
    pub locks: Vec<Lock>,
    /// Window by window.
    pub timeline: Timeline,
    /// Which hook each signal took.
    pub signals: Value,
    /// The memory of each process.
    pub memory: Vec<Memory>,
    /// What was lost, by name.
    pub loss: BTreeMap<String, u64>,
    /// Which share of the stacks is whole.
    pub stacks: Stacks,
    /// What it cost.
    pub overhead: Overhead,
    /// Descriptors of sockets.
    pub sockets: Vec<Socket>,
    /// How many came and went.
    pub socket_counts: SocketCounts,
}

/// The outcome of every stack that was taken.
#[derive(Clone, Debug, Deserialize)]
pub struct Stacks {
    /// All of them.
    pub taken: u64,
    /// Those that reach from the leaf to the thread's start.
    pub complete: u64,
    /// That as a share; none when no stack was taken.
    pub complete_pct: Option<f64>,
    /// The others, by what cut them.
    pub incomplete: BTreeMap<String, u64>,
}

/// When and how.
#[derive(Clone, Debug, Deserialize)]
pub struct Capture {
    /// Seconds since the Unix epoch.
    pub started_unix_s: f64,
    /// Its length.
    pub duration_s: f64,
    /// Why it ended.
    pub end: String,
}

/// A target process.
#[derive(Clone, Debug, Deserialize)]
pub struct Target {
    /// Process id.
    pub pid: u32,
    /// Name.
    pub comm: String,
    /// Executable.
    pub exe: String,
    /// Threads seen.
    pub threads: u32,
}

/// A target thread.
#[derive(Clone, Debug, Deserialize)]
pub struct Thread {
    /// Process id.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// Name.
    pub comm: String,
    /// So many threads that ended, together.
    #[serde(default)]
    pub summed_threads: u64,
    /// Its life inside the capture.
    pub observed_ns: u64,
    /// On a CPU.
    pub on_cpu_ns: u64,
    /// Waiting for one.
    pub run_queue: RunQueue,
    /// Moves to another CPU.
    #[serde(default)]
    pub migrations: Option<u64>,
    /// Blocked, by reason.
    pub blocked: Vec<Blocked>,
    /// At the end of the capture.
    pub now: Now,
    /// Its time and the lock of its Python interpreter.
    pub gil: Option<Gil>,
    /// Who woke it.
    pub wakers: Vec<Waker>,
}

/// A thread and the lock of its Python interpreter.
#[derive(Clone, Debug, Deserialize)]
pub struct Gil {
    /// CPU samples in which it held it.
    pub held_samples: u64,
    /// Those in which it did not.
    pub not_held_samples: u64,
    /// Long waits for it.
    pub waits: u64,
    /// Time in them.
    pub waited_ns: u64,
}

/// Time ready but not running.
#[derive(Clone, Debug, Deserialize)]
pub struct RunQueue {
    /// From wake-ups to the CPU.
    pub after_wake_ns: u64,
    /// Number of wake-ups.
    pub wakes: u64,
    /// From preemptions to the CPU.
    pub preempted_ns: u64,
    /// Number of preemptions.
    pub preemptions: u64,
    /// The longest one.
    pub longest_ns: u64,
}

/// Time blocked for one reason.
#[derive(Clone, Debug, Deserialize)]
pub struct Blocked {
    /// Label of the reason.
    pub reason: String,
    /// All of it.
    pub total_ns: u64,
    /// Waits.
    pub count: u64,
    /// In waits under the threshold.
    pub short_ns: u64,
    /// Their number.
    pub short_count: u64,
    /// Of the total, normal idle.
    pub idle_ns: u64,
}

/// What a thread does at the end.
#[derive(Clone, Debug, Deserialize)]
pub struct Now {
    /// `running`, `runnable`, `blocked`…
    pub state: String,
    /// For how long.
    pub since_s: f64,
    /// Not observed, but from the scheduler's clock.
    pub since_inferred: bool,
    /// Why it is blocked.
    pub reason: Option<String>,
    /// In which system call.
    pub syscall: Option<String>,
    /// Its stack, the leaf first; empty when there is none.
    pub stack: Vec<String>,
    /// How it stands to the lock of its Python interpreter.
    pub gil: Option<String>,
}

/// A waker.
#[derive(Clone, Debug, Deserialize)]
pub struct Waker {
    /// Thread id, 0 for an interrupt.
    pub tid: u32,
    /// Process id.
    pub pid: u32,
    /// Name.
    pub comm: String,
    /// What the woken thread had waited for.
    pub reason: String,
    /// Wake-ups.
    pub count: u64,
    /// Blocked time that they ended.
    pub blocked_ns: u64,
}

/// Cost of the capture.
#[derive(Clone, Debug, Deserialize)]
pub struct Overhead {
    /// Kernel programs, percent of one CPU.
    pub bpf_cpu_pct: f64,
    /// The agent, percent of one CPU.
    pub agent_cpu_pct: f64,
    /// Its largest resident set.
    pub agent_rss_bytes: u64,
}

impl Report {
    /// The event loop of a thread.
    ///
    /// # Panics
    /// When it has none.
    pub fn event_loop(&self, tid: u32) -> &EventLoop {
        let found = self.loops.iter().find(|event_loop| event_loop.tid == tid);
        found.unwrap_or_else(|| panic!("no loop of {tid} in {:#?}", self.loops))
    }

    /// The stretch of the monotonic clock that the capture covers.
    pub fn window(&self) -> Window {
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970");
        let ago_s = unix.as_secs_f64() - self.capture.started_unix_s;
        let start_ns = now_ns() - Duration::from_secs_f64(ago_s).as_nanos() as u64;
        let length = Duration::from_secs_f64(self.capture.duration_s);
        Window {
            start_ns,
            end_ns: start_ns + length.as_nanos() as u64,
        }
    }

    /// A thread by its id.
    ///
    /// # Panics
    /// When it is not in the report.
    pub fn thread(&self, tid: u32) -> &Thread {
        self.threads
            .iter()
            .find(|thread| thread.tid == tid)
            .unwrap_or_else(|| {
                let seen: Vec<_> = self
                    .threads
                    .iter()
                    .map(|one| (one.tid, &one.comm))
                    .collect();
                panic!("no thread {tid} in the report; it has {seen:?}")
            })
    }

    /// The memory of a process.
    ///
    /// # Panics
    /// When it is not in the report.
    pub fn memory_of(&self, pid: u32) -> &Memory {
        let found = self.memory.iter().find(|memory| memory.pid == pid);
        found.unwrap_or_else(|| panic!("no memory of {pid} in {:#?}", self.memory))
    }

    /// `on`, `degraded` or `off`.
    pub fn signal_state(&self, name: &str) -> &str {
        self.signals[name]["state"].as_str().unwrap_or("absent")
    }

    /// Threads of a process.
    pub fn threads_of(&self, pid: u32) -> impl Iterator<Item = &Thread> {
        self.threads.iter().filter(move |thread| thread.pid == pid)
    }

    /// Panics when anything was lost, apart from the few torn states that [`torn_states`] grants.
    pub fn assert_no_loss(&self) {
        self.assert_lost_only(&[]);
    }

    /// As [`Report::assert_no_loss`], apart from these counters too.
    pub fn assert_lost_only(&self, expected: &[&str]) {
        let torn = torn_states(self.switches());
        let stackless = torn + stackless_waits(self.threads.len());
        let is_granted = |name: &str, count: u64| match name {
            _ if count == 0 || expected.contains(&name) => true,
            // Whole stacks lead through libraries whose inner functions have no names, unless their
            // debug files are installed.
            "unsymbolised_frames" => true,
            "program_runs_skipped" => count <= SKIPPED_RUNS,
            "state_torn" => count <= torn,
            "wait_stacks_lost" => count <= stackless,
            _ => false,
        };
        let lost: Vec<_> = self
            .loss
            .iter()
            .filter(|(name, count)| !is_granted(name, **count))
            .collect();
        assert!(
            lost.is_empty(),
            "losses: {lost:?}; torn states that are granted: {torn}"
        );
    }

    /// Share of stacks that are whole, in percent, beside those that could not be taken: a thread that
    /// wakes as the capture ends, or that the kernel let run unseen (`state_torn`), has moved on.
    pub fn whole_pct(&self) -> f64 {
        let count = |map: &BTreeMap<String, u64>, name| map.get(name).copied().unwrap_or_default();
        let gone = count(&self.loss, "state_torn") + stackless_waits(self.threads.len());
        let lost = count(&self.stacks.incomplete, "lost").min(gone);
        let taken = self.stacks.taken - lost;
        assert!(taken > 0, "no stack was taken: {:#?}", self.stacks);
        100.0 * self.stacks.complete as f64 / taken as f64
    }

    /// Times that a target thread left its CPU.
    fn switches(&self) -> u64 {
        let waits = |thread: &Thread| thread.blocked.iter().map(|one| one.count).sum::<u64>();
        self.threads
            .iter()
            .map(|thread| waits(thread) + thread.run_queue.preemptions)
            .sum()
    }
}

impl Thread {
    /// Time blocked for this reason.
    pub fn blocked_for(&self, reason: &str) -> Duration {
        let for_reason = self
            .blocked
            .iter()
            .filter(|blocked| blocked.reason == reason);
        Duration::from_nanos(for_reason.map(|blocked| blocked.total_ns).sum())
    }

    /// Time blocked for any other reason.
    pub fn blocked_otherwise(&self, reason: &str) -> Duration {
        let others = self
            .blocked
            .iter()
            .filter(|blocked| blocked.reason != reason);
        Duration::from_nanos(others.map(|blocked| blocked.total_ns).sum())
    }

    /// Time on a CPU.
    pub fn on_cpu(&self) -> Duration {
        Duration::from_nanos(self.on_cpu_ns)
    }

    /// Time ready without a CPU, after wake-ups and preemptions.
    pub fn queued(&self) -> Duration {
        Duration::from_nanos(self.run_queue.after_wake_ns + self.run_queue.preempted_ns)
    }

    /// Everything that is accounted for.
    pub fn accounted(&self) -> Duration {
        let blocked: u64 = self.blocked.iter().map(|blocked| blocked.total_ns).sum();
        self.on_cpu() + self.queued() + Duration::from_nanos(blocked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A report of one thread with so many waits, and these losses.
    fn report(waits: u64, loss: &Value) -> Report {
        let wait = serde_json::json!({"reason": "sleep", "total_ns": 1, "count": waits,
            "short_ns": 0, "short_count": 0, "idle_ns": 0});
        let thread = serde_json::json!({"pid": 1, "tid": 1, "comm": "one", "observed_ns": 1,
            "on_cpu_ns": 0, "blocked": [wait], "wakers": [],
            "run_queue": {"after_wake_ns": 0, "wakes": 0, "preempted_ns": 0, "preemptions": 0,
                "longest_ns": 0},
            "now": {"state": "running", "since_s": 0.0, "since_inferred": false, "stack": []}});
        let report = serde_json::json!({"schema": 1, "targets": [], "threads": [thread],
            "capture": {"started_unix_s": 0.0, "duration_s": 1.0, "end": "elapsed"},
            "signals": {}, "loss": loss, "loops": [], "locks": [], "memory": [], "sockets": [],
            "socket_counts": {"samples": 0, "sampling_s": 0.0, "longest_sample_s": 0.0, "at_start": 0,
                "opened": 0, "closed": 0, "reused": 0},
            "timeline": {"window_s": 1.0, "coarsened_windows": 0, "start_s": [], "length_s": [],
                "threads": []},
            "stacks": {"taken": 0, "complete": 0, "complete_pct": null, "incomplete": {}},
            "overhead": {"bpf_cpu_pct": 0.0, "agent_cpu_pct": 0.0, "agent_rss_bytes": 1}});
        serde_json::from_value(report).expect("it follows the contract")
    }

    #[test]
    fn counters_at_zero_and_a_few_torn_states_are_no_loss() {
        let loss = serde_json::json!({"stack_table_full": 0, "state_torn": 30});
        report(3000, &loss).assert_no_loss();
    }

    #[test]
    #[should_panic(expected = "stack_table_full")]
    fn one_of_anything_else_is_a_loss() {
        report(3000, &serde_json::json!({"stack_table_full": 1})).assert_no_loss();
    }

    #[test]
    #[should_panic(expected = "state_torn")]
    fn many_torn_states_are_a_loss() {
        report(3000, &serde_json::json!({"state_torn": 31})).assert_no_loss();
    }

    #[test]
    #[should_panic(expected = "event_ring_full")]
    fn an_expected_loss_grants_no_other() {
        let loss = serde_json::json!({"unmapped_frames": 9, "event_ring_full": 1});
        report(3000, &loss).assert_lost_only(&["unmapped_frames"]);
    }
}
