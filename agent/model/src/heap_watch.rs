//! What a watched allocator gave out and did not get back (`--heap`).

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Why the watch ended.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub enum WatchEnd {
    /// With the capture.
    Capture,
    /// Its time was over.
    Time,
    /// The slow-down that was measured passed the budget.
    Budget {
        /// What it was: what the probes took, in shares of what the targets used themselves.
        slow_down: f64,
    },
    /// What it cost could not be read any more: it cannot be kept within a budget that nobody measures.
    Unmeasured,
    /// It never began.
    NotAttached(String),
}

/// Functions that were watched in one file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct WatchedFile {
    /// The file, as the process sees it.
    pub path: String,
    /// The functions.
    pub functions: Vec<String>,
    /// It has an `operator new` of its own, which was not watched.
    pub operator_new: bool,
}

/// A process whose allocator was watched, or why not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct WatchedProcess {
    /// The process.
    pub pid: u32,
    /// Where.
    pub files: Vec<WatchedFile>,
    /// Why it was not.
    pub why_not: Option<String>,
}

/// What probes cost, as it was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct WatchCost {
    /// A probe at an entry, without its program, at an instruction that the processor steps over.
    pub stepped: Duration,
    /// The same at one that the kernel emulates.
    pub emulated: Duration,
    /// A probe at a return, in addition.
    pub back: Duration,
    /// The programs' own run time, all together.
    pub programs: Duration,
    /// All of it, in CPU time of the targets.
    pub total: Duration,
    /// CPU time of the targets meanwhile, with it.
    pub targets: Duration,
    /// The largest slow-down of those that were judged, as a share.
    pub worst: f64,
}

impl WatchCost {
    /// What the probes took over what the targets used themselves, as a share; `None` where they used nothing.
    pub fn slow_down(&self) -> Option<f64> {
        let own = self.targets.saturating_sub(self.total).as_secs_f64();
        (own > 0.0).then(|| self.total.as_secs_f64() / own)
    }
}

/// Blocks of one stack that were allocated during the watch and not freed by its end.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct HeapSite {
    /// The process.
    pub pid: u32,
    /// Who allocated them: index in [`super::Capture::stacks`].
    pub stack: usize,
    /// Bytes: estimated from the samples.
    pub bytes: u64,
    /// Blocks: estimated.
    pub blocks: u64,
    /// Sampled blocks.
    pub samples: u64,
    /// Age of the oldest sampled one at the end of the watch.
    pub oldest: Duration,
    /// The same of that in the middle.
    pub median: Duration,
    /// The same of the youngest.
    pub youngest: Duration,
}

/// A watch on allocators.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct HeapWatch {
    /// One byte in so many was sampled in the mean; up to 1: all.
    pub sample_bytes: u64,
    /// Slow-down up to which it goes on, as a share.
    pub budget: f64,
    /// How long it lasted.
    pub watched: Duration,
    /// Why it ended.
    pub end: WatchEnd,
    /// How long it took until the targets' text was as before.
    pub detaching: Duration,
    /// The processes.
    pub processes: Vec<WatchedProcess>,
    /// Calls that allocate.
    pub allocations: u64,
    /// Calls that free.
    pub frees: u64,
    /// Bytes that were asked for.
    pub bytes: u64,
    /// Allocations that were sampled.
    pub sampled: u64,
    /// Of those, how many were freed.
    pub sampled_freed: u64,
    /// What it cost.
    pub cost: WatchCost,
    /// What is outstanding, the largest first.
    pub sites: Vec<HeapSite>,
}

impl HeapWatch {
    /// Bytes outstanding, over all stacks.
    pub fn outstanding_bytes(&self) -> u64 {
        let bytes = self.sites.iter().map(|site| site.bytes);
        bytes.fold(0, u64::saturating_add)
    }

    /// Whether a process was watched.
    pub fn attached(&self) -> bool {
        !matches!(self.end, WatchEnd::NotAttached(_))
    }

    /// Functions that were watched, over all processes.
    pub fn functions(&self) -> usize {
        let files = self.processes.iter().flat_map(|process| &process.files);
        files.map(|file| file.functions.len()).sum()
    }
}
