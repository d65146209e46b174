//! What was observed by which means, what was lost, and what it cost.

use super::{
    loss::{AgentLoss, LossId},
    polls::PollCost,
};
use remora_common::loss::Loss;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use strum::{IntoStaticStr, VariantArray};

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

/// What is observed.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Deserialize,
    Serialize,
    IntoStaticStr,
    VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum SignalId {
    /// Stacks of the threads that sleep at the end.
    BlockedStacks,
    /// Iterations of event loops.
    EventLoops,
    /// Programs that targets execute.
    Exec,
    /// Allocations that are not freed.
    Heap,
    /// Waits, by reason.
    OffCpu,
    /// CPU samples.
    OnCpu,
    /// Page faults, by stack.
    PageFaults,
    /// Python frames.
    Python,
    /// Waits for a CPU.
    RunQueue,
    /// Socket queues.
    Sockets,
    /// What each thread does now.
    ThreadStates,
    /// New threads and processes.
    ThreadsBorn,
    /// Threads that exit.
    ThreadsGone,
    /// User stacks without frame pointers.
    UserStacks,
    /// Stacks of waits.
    WaitStacks,
    /// Who wakes whom.
    Wakers,
}

impl SignalId {
    /// Its key in `report.json`.
    pub fn key(self) -> &'static str {
        self.into()
    }
}

/// One signal and the hook that serves it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Signal {
    /// Which.
    #[serde(rename = "name")]
    pub id: SignalId,
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
    /// Agent side.
    pub agent: BTreeMap<AgentLoss, u64>,
}

impl Losses {
    /// Adds to an agent-side counter.
    pub fn add(&mut self, loss: AgentLoss, count: u64) {
        if count > 0 {
            *self.agent.entry(loss).or_default() += count;
        }
    }

    /// All non-zero losses: those of the kernel side first, each side in its order.
    pub fn non_zero(&self) -> impl Iterator<Item = (LossId, u64)> {
        let kernel = self.kernel.iter();
        let kernel = kernel.map(|(loss, count)| (LossId::Kernel(*loss), *count));
        let agent = self.agent.iter();
        let agent = agent.map(|(loss, count)| (LossId::Agent(*loss), *count));
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
    /// Of the polls that were counted for a moment; `None`: none were. It is in no other figure.
    #[serde(default)]
    pub polls: Option<PollCost>,
}
