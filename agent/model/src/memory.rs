//! The memory of a process: what is resident and of which kind, how each mapping grew, and which stacks
//! touched what is there at the end and was not at the start.
//!
//! What is *exact* are the kernel's own figures: [`Resident`], [`Mapping`]. What stacks have is
//! *sampled*: page faults, each with the number of faults that it stands for, scaled to the exact
//! growth of the mapping that they fell into.

use serde::{Deserialize, Serialize};
use std::time::Duration;
use strum::{IntoStaticStr, VariantArray};

/// What is resident, by kind, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Resident {
    /// Anonymous memory, private pages of files that were written to included.
    pub anon_bytes: u64,
    /// Pages of files.
    pub file_bytes: u64,
    /// Shared memory: System V, POSIX, memory files, shared anonymous mappings, tmpfs.
    pub shmem_bytes: u64,
    /// Swapped out.
    pub swap_bytes: u64,
}

impl Resident {
    /// Everything in memory; what is swapped out is not.
    pub const fn total_bytes(&self) -> u64 {
        self.anon_bytes
            .saturating_add(self.file_bytes)
            .saturating_add(self.shmem_bytes)
    }
}

/// What is read of a process at each beat: the kernel's counters, which lag behind by some pages a CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct MemoryReading {
    /// See [`Resident`], as are the next three.
    pub anon_bytes: u64,
    /// Pages of files.
    pub file_bytes: u64,
    /// Shared memory.
    pub shmem_bytes: u64,
    /// Swapped out.
    pub swap_bytes: u64,
    /// Page faults that needed no I/O, since the process began.
    pub minor_faults: u64,
    /// Page faults that did.
    pub major_faults: u64,
    /// Open descriptors; `None` where counting them would be dear (before Linux 6.2).
    pub open_files: Option<u64>,
    /// Threads that live; `None` where it was not read.
    #[serde(default)]
    pub threads: Option<u64>,
}

impl MemoryReading {
    /// What is resident by this reading.
    pub const fn resident(&self) -> Resident {
        Resident {
            anon_bytes: self.anon_bytes,
            file_bytes: self.file_bytes,
            shmem_bytes: self.shmem_bytes,
            swap_bytes: self.swap_bytes,
        }
    }
}

/// What a mapping is for.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Deserialize,
    Serialize,
    IntoStaticStr,
    VariantArray,
)]
#[strum(serialize_all = "snake_case")]
pub enum MappingKind {
    /// The heap that `brk` moves.
    Heap,
    /// An arena of glibc's malloc: inferred from its place and form.
    Arena,
    /// Any other private anonymous mapping: large blocks of malloc, other allocators, `mmap`.
    Anonymous,
    /// The stack of the main thread.
    Stack,
    /// The stack of another thread: inferred from the guard below it.
    ThreadStack,
    /// Shared memory.
    SharedMemory,
    /// A file.
    File,
    /// The kernel's own: `[vdso]` and the like.
    Special,
}

impl MappingKind {
    /// Every kind.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// Its name in `report.json`.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Whether it is backed by a file, of which a fault maps several pages at once.
    pub const fn is_file(self) -> bool {
        matches!(self, Self::File)
    }
}

/// A range of addresses that was mapped at the start or the end: mappings that overlap between the two
/// (one that grew, was split or replaced) are one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Mapping {
    /// Path, the kernel's name for it (`[heap]`), or its first address.
    pub name: String,
    /// What it is for.
    pub kind: MappingKind,
    /// First address.
    pub start: u64,
    /// Address behind the last.
    pub end: u64,
    /// Resident at the start of the capture, in bytes.
    pub start_bytes: u64,
    /// Resident at its end, in bytes.
    pub end_bytes: u64,
    /// Of the latter, in huge pages.
    pub huge_bytes: u64,
}

impl Mapping {
    /// What it grew by, in bytes; 0 where it shrank.
    pub const fn growth_bytes(&self) -> u64 {
        self.end_bytes.saturating_sub(self.start_bytes)
    }
}

/// Growth by one thread in one stack.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Growth {
    /// Index in [`super::Capture::threads`].
    pub thread: usize,
    /// Index in [`super::Capture::stacks`].
    pub stack: usize,
    /// Memory that it touched first and that is there at the end, in bytes: sampled.
    pub bytes: u64,
    /// Faults that were sampled.
    pub samples: u64,
    /// Faults that these stand for.
    pub faults: u64,
}

/// How a process's growth is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Source {
    /// Every mapping was read at the start and at the end: exact.
    Mappings,
    /// The process's counters, read at the start (or at its fork) and when it was seen last: they lag
    /// behind by some pages a CPU.
    Counters,
}

/// What ends the growth of a process.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, IntoStaticStr, VariantArray,
)]
#[strum(serialize_all = "snake_case")]
pub enum LimitKind {
    /// `memory.max` of its cgroup or of one above it (`memory.limit_in_bytes` of version 1): the kernel
    /// kills.
    Cgroup,
    /// `RLIMIT_AS`: its requests for memory are refused.
    AddressSpace,
    /// `RLIMIT_DATA`: the same.
    Data,
    /// What the host has: the kernel kills, or swaps.
    Host,
}

impl LimitKind {
    /// Its name in `report.json`.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// A limit, and how near it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct MemoryLimit {
    /// Which.
    pub kind: LimitKind,
    /// The limit, in bytes.
    pub limit_bytes: u64,
    /// What counts towards it at the end of the capture, in bytes: page cache that can be given up does
    /// not.
    pub used_bytes: u64,
}

impl MemoryLimit {
    /// What is left, in bytes.
    pub const fn left_bytes(&self) -> u64 {
        self.limit_bytes.saturating_sub(self.used_bytes)
    }
}

/// What a capture saw of the memory of one process.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Memory {
    /// The process.
    pub pid: u32,
    /// How [`Memory::start`] and [`Memory::end`] are known.
    pub source: Source,
    /// At the start, at its fork, or nothing at its exec.
    pub start: Resident,
    /// At the end, or when it was seen last.
    pub end: Resident,
    /// Page faults of its threads; `None` where they are not watched.
    pub faults: Option<u64>,
    /// Those that were sampled.
    pub samples: u64,
    /// Resident in huge pages at the end, in bytes; `None` where mappings were not read.
    pub huge_page_bytes: Option<u64>,
    /// Its mappings, those that changed most first.
    pub mappings: Vec<Mapping>,
    /// Growth by thread and stack, the largest first.
    pub stacks: Vec<Growth>,
    /// Growth that no sampled fault explains, in bytes: populated without a fault, or too small to be
    /// sampled.
    pub unattributed_bytes: u64,
    /// Touched during the capture and gone, or replaced, by its end, in bytes: sampled.
    pub returned_bytes: u64,
    /// Of mappings that shrank: there at the start and gone by the end, in bytes; `None` where mappings
    /// were not read.
    pub released_bytes: Option<u64>,
    /// What ends its growth, the nearest first; none where none could be read.
    #[serde(default)]
    pub limits: Vec<MemoryLimit>,
    /// How old it was at the end, or would be had it not ended; `None` where that could not be read.
    #[serde(default)]
    pub age: Option<Duration>,
}

impl Memory {
    /// What is resident at the end more than at the start, in bytes; negative when it shrank.
    pub fn growth_bytes(&self) -> i64 {
        let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        signed(self.end.total_bytes()).saturating_sub(signed(self.start.total_bytes()))
    }

    /// Growth of the mappings that grew, in bytes: what stacks and `unattributed_bytes` add up to.
    pub fn grown_bytes(&self) -> u64 {
        let attributed: u64 = self.stacks.iter().map(|growth| growth.bytes).sum();
        attributed.saturating_add(self.unattributed_bytes)
    }
}
