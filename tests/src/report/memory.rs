//! Memory, as a reader sees it.

use serde::Deserialize;

/// The memory of a process.
#[derive(Clone, Debug, Deserialize)]
pub struct Memory {
    /// Process id.
    pub pid: u32,
    /// `mappings` or `counters`.
    pub source: String,
    /// At the start.
    pub start: Resident,
    /// At the end.
    pub end: Resident,
    /// What it grew by.
    pub growth_bytes: i64,
    /// Page faults; none where they were not watched.
    pub faults: Option<u64>,
    /// Of them sampled.
    pub samples: u64,
    /// Faults to a sample, in the mean.
    pub sampled_one_in: Option<f64>,
    /// In huge pages.
    pub huge_page_bytes: Option<u64>,
    /// Its mappings.
    pub mappings: Vec<Mapping>,
    /// What it grew by, by stack.
    pub stacks: Vec<GrowthStack>,
    /// Growth without a stack.
    pub unattributed_bytes: u64,
    /// Touched and gone.
    pub returned_bytes: u64,
}

/// What is resident, by kind.
#[derive(Clone, Debug, Deserialize)]
pub struct Resident {
    /// Anonymous.
    pub anon_bytes: u64,
    /// Of files.
    pub file_bytes: u64,
    /// Shared.
    pub shmem_bytes: u64,
    /// Swapped out.
    pub swap_bytes: u64,
}

/// A mapping.
#[derive(Clone, Debug, Deserialize)]
pub struct Mapping {
    /// Path or name.
    pub name: String,
    /// What it is for.
    pub kind: String,
    /// Resident at the start.
    pub start_bytes: u64,
    /// Resident at the end.
    pub end_bytes: u64,
}

/// Growth in one stack.
#[derive(Clone, Debug, Deserialize)]
pub struct GrowthStack {
    /// Bytes.
    pub bytes: u64,
    /// Samples.
    pub count: u64,
    /// Faults that they stand for.
    pub faults: u64,
    /// Leaf first.
    pub stack: Vec<String>,
}

impl Memory {
    /// What the mappings of a kind grew by, in bytes.
    pub fn growth_of(&self, kind: &str) -> u64 {
        let of_kind = self.mappings.iter().filter(|mapping| mapping.kind == kind);
        of_kind
            .map(|mapping| mapping.end_bytes.saturating_sub(mapping.start_bytes))
            .sum()
    }
}
