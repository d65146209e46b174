//! What was observed by which means, what was lost, and what it cost.

use remora_common::loss::Loss;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Whether a signal is on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum HookState {
    /// Through this hook.
    On,
    /// Through a fallback: less precise, and how.
    Degraded(String),
    /// Off, and why (the kernel's own words where it refused).
    Off(String),
}

/// One signal and the hook that serves it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Signal {
    /// Key in `report.json`: `on_cpu`, `off_cpu`, `wait_stacks`, `wakers`…
    pub name: &'static str,
    /// The hook it took: `tp_btf/sched_switch`, `perf_event/cpu-clock`…
    pub hook: String,
    /// How it went.
    pub state: HookState,
}

/// Something that was not there in time: the kernel, a file system or a process did not answer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Unanswered {
    /// What is missing, in words: `memory map`, `function names`.
    pub missing: String,
    /// Of what: `process 4711`, `file system /mnt/feed`.
    pub of: String,
    /// How often it was asked for.
    pub count: u64,
}

/// Counted losses. A key that is missing was never lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Losses {
    /// Kernel side.
    pub kernel: BTreeMap<Loss, u64>,
    /// Agent side, by name in `report.json` (`unsymbolised_frames`, `maps_unreadable`…).
    #[serde(borrow)]
    pub agent: BTreeMap<&'static str, u64>,
}

impl Losses {
    /// Adds to an agent-side counter.
    pub fn add(&mut self, name: &'static str, count: u64) {
        if count > 0 {
            *self.agent.entry(name).or_default() += count;
        }
    }

    /// All non-zero losses, by name.
    pub fn non_zero(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let kernel = self.kernel.iter().map(|(loss, count)| (loss.key(), *count));
        let agent = self.agent.iter().map(|(name, count)| (*name, *count));
        kernel.chain(agent).filter(|(_, count)| *count > 0)
    }
}

/// Run time of one kernel program, from BPF run-time statistics.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ProgramCost {
    /// Program name.
    pub name: String,
    /// Runs while statistics were on.
    pub runs: u64,
    /// Time in them, in nanoseconds (without the cost of the probe's dispatch).
    pub run_ns: u64,
}

/// What the capture cost the host.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Overhead {
    /// Kernel programs' share of one CPU, in percent, while statistics were on.
    pub bpf_cpu_pct: f64,
    /// How long BPF run-time statistics were on, in seconds: they are sampled, for they cost
    /// themselves.
    pub bpf_measured_s: f64,
    /// By program.
    pub programs: Vec<ProgramCost>,
    /// The agent's own share of one CPU during the capture, in percent.
    pub agent_cpu_pct: f64,
    /// The agent's largest resident set, in bytes.
    pub agent_rss_bytes: u64,
    /// Kernel memory of the maps, unwind tables among them, in bytes.
    pub bpf_map_bytes: u64,
    /// Kernel memory that unwind tables take of that, in bytes.
    pub unwind_bytes: u64,
    /// Files that have an unwind table.
    pub unwind_tables: u64,
}
