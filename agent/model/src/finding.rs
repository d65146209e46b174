//! What the analyzers found: a sentence with evidence, and how sentences belong together.

use super::{MemoryTrend, Topic};
use std::time::Duration;
use strum::{IntoStaticStr, VariantArray};

/// What is wrong. In the order of rank: what stands further up explains what stands below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Kind {
    /// The process does not run because somebody stopped it.
    Stopped,
    /// A cycle in the wait-for graph that stays.
    Deadlock,
    /// A lock is not handed over.
    LockStuck,
    /// Every slot of a pool is taken by what does not move.
    PoolExhausted,
    /// An event loop has not come back to its wait.
    LoopBlocked,
    /// Bytes lie unread in a receive queue.
    NotConsuming,
    /// A peer does not take what was sent.
    PeerNotConsuming,
    /// A wait that is neither lock, loop nor socket.
    BlockedSyscall,
    /// A peer was asked, or shakes hands, and says nothing.
    NoAnswer,
    /// A thread, socket or cycle that was declared was silent for too long.
    HeartbeatMissed,
    /// Ready, and without a CPU.
    Starved,
    /// A CPU burnt without progress.
    BusySpin,
    /// Time lost in waits for one lock.
    LockContention,
    /// Iterations longer than their target.
    CycleOverrun,
    /// A connection that is normally chatty is silent.
    FeedGap,
    /// Growth that does not come back.
    MemoryLeak,
    /// Descriptors that rise without coming back.
    FdLeak,
    /// Threads that rise without coming back.
    ThreadLeak,
    /// The peer closed, this side did not.
    CloseWait,
}

impl Kind {
    /// Every kind, by rank.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Severity {
    /// Something makes no progress.
    Critical,
    /// Something makes too little, or will stop.
    Warning,
}

impl Severity {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// How a finding is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Confidence {
    /// All of it was read.
    Certain,
    /// A part of it was concluded; the evidence says which.
    Inferred,
}

impl Confidence {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// A line of evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What it is about.
    pub what: Topic,
    /// What was seen, with values and units; safe to print.
    pub value: String,
}

/// What a finding is about, or because of: findings that share one belong to one incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A process, by its id.
    Process(u32),
    /// A thread, by its id.
    Thread(u32),
    /// A lock, by a process that maps it and its address there.
    Lock(u32, u64),
    /// A socket, by its inode.
    Socket(u64),
    /// A pipe, by its inode.
    Pipe(u64),
    /// An asyncio task, by its process and address.
    Task(u32, u64),
    /// The memory of a process.
    Memory(u32),
    /// The open files of a process.
    Files(u32),
    /// The threads of a process.
    Threads(u32),
    /// A heartbeat, by its place among those that were set.
    Heartbeat(u32),
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub kind: Kind,
    /// How bad.
    pub severity: Severity,
    /// How it is known.
    pub confidence: Confidence,
    /// Process in which it is.
    pub pid: u32,
    /// Thread that it is about, where it is about one.
    pub tid: Option<u32>,
    /// Its name; that of the process where there is none.
    pub thread: String,
    /// For how long it has been so.
    pub since: Option<Duration>,
    /// `since` is a lower bound.
    pub since_at_least: bool,
    /// The sentence: who does what, in which process, for how long.
    pub summary: String,
    /// What was seen.
    pub evidence: Vec<Fact>,
    /// What to look at or do next.
    pub next: String,
    /// What it is about.
    pub about: Vec<Subject>,
    /// What it is because of: a finding about one of these is its cause.
    pub because_of: Vec<Subject>,
}

impl Finding {
    /// Adds a line of evidence.
    #[must_use]
    pub fn fact(mut self, what: Topic, value: impl Into<String>) -> Self {
        self.evidence.push(Fact {
            what,
            value: value.into(),
        });
        self
    }
}

/// Findings that have one cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incident {
    /// What explains the others.
    pub cause: Finding,
    /// What follows from it, by rank.
    pub consequences: Vec<Finding>,
}

impl Incident {
    /// All its findings, the cause first.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        std::iter::once(&self.cause).chain(&self.consequences)
    }
}

/// Something that may be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum NoticeKind {
    /// A wait of which it is not known who could end it.
    UnexplainedWait,
    /// A loop of which it is not known whether it comes back to its wait.
    UnconfirmedLoop,
    /// Memory that grows, and has not done so for long enough to be told a leak.
    YoungGrowth,
}

impl NoticeKind {
    /// Every kind.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// What was there and could not be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum LimitOf {
    /// Child processes that were not judged.
    Children,
    /// Threads that run 32-bit code.
    Compat32,
    /// Threads whose stack was not taken, or not to its root.
    Stacks,
    /// Threads that wait in an interpreter whose locks are not read.
    PythonLocks,
    /// Stacks that are switched in user space.
    Greenlets,
    /// Threads that wait in Java code without names.
    JavaFrames,
    /// Threads of a Java virtual machine whose locks are not read.
    JavaLocks,
    /// CPU samples whose stacks say nothing.
    CpuStacks,
    /// Tasks of tokio's runtime, which are not read.
    TokioTasks,
    /// Threads at rest in a runtime that parks what waits without a thread.
    UserThreads,
}

impl LimitOf {
    /// Every kind.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// A limit of the judgement, in words.
#[derive(Clone, Debug, PartialEq)]
pub struct JudgeLimit {
    /// Of what.
    pub of: LimitOf,
    /// What was not judged, with its share.
    pub why: String,
    /// Share of what there was of its kind; `None` where that is no figure.
    pub share: Option<f64>,
}

impl JudgeLimit {
    /// Share from which on a verdict that finds nothing says so in its first line.
    const LARGE: f64 = 0.5;

    /// Most of what was there was not judged.
    pub fn is_large(&self) -> bool {
        self.share.is_some_and(|share| share >= Self::LARGE)
    }
}

/// One thing that may be wrong, and why that is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What.
    pub kind: NoticeKind,
    /// Process in which it is.
    pub pid: u32,
    /// Thread that it is about, where it is about one.
    pub tid: Option<u32>,
    /// Its name; that of the process where there is none.
    pub thread: String,
    /// For how long it has been so.
    pub since: Option<Duration>,
    /// `since` is a lower bound.
    pub since_at_least: bool,
    /// The sentence: who, what, for how long.
    pub summary: String,
    /// What was seen, and what is not known.
    pub evidence: Vec<Fact>,
    /// What to look at next.
    pub next: String,
}

/// The verdict in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It works, and nothing is wrong.
    Healthy,
    /// It has nothing to do, and nothing is wrong.
    Idle,
    /// Nothing is known to be wrong, and something may be.
    Unclear,
    /// The kind of the worst finding.
    Sick(Kind),
}

impl Verdict {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Idle => "idle",
            Self::Unclear => "unclear",
            Self::Sick(kind) => kind.name(),
        }
    }
}

/// Why a finding was not looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SkipReason {
    /// The capture is too short for a trend of memory.
    TooShort {
        /// Its length.
        captured: Duration,
        /// What it takes.
        needed: Duration,
    },
    /// The capture is too short for a rise of descriptors; the limit was checked.
    NoGrowth {
        /// What it takes.
        needed: Duration,
    },
    /// A process is starting: its growth says nothing.
    Starting {
        /// Its name, safe to print.
        process: String,
        /// How old it must be.
        needed: Duration,
    },
    /// The kernel does not record when a socket received last.
    NoReceiveTime {
        /// The sockets: `port 80`, `fd 9`.
        sockets: String,
    },
    /// A thread ran where nobody samples.
    NotSampled {
        /// Which, for how long and where, in words.
        thread: String,
    },
}

/// A finding that was not looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Which.
    pub kind: Kind,
    /// Why.
    pub why: SkipReason,
}

/// What the analyzers say of a capture.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// In a word.
    pub verdict: Verdict,
    /// What is wrong, the worst first.
    pub incidents: Vec<Incident>,
    /// What may be wrong, the longest first.
    pub notices: Vec<Notice>,
    /// What the threads of targets wait for that have not moved for longest, whatever it is.
    pub longest: Vec<String>,
    /// What could not be judged, and why.
    pub skipped: Vec<Skipped>,
    /// What was there and could not be judged.
    pub limits: Vec<JudgeLimit>,
    /// How the memory of each process moved, leak or not.
    pub memory_trends: Vec<MemoryTrend>,
}

impl Judgement {
    /// What was not judged, where that is most of what was there and nothing was found: the first line has to say it.
    pub fn largest_limit(&self) -> Option<&JudgeLimit> {
        let finds_nothing = matches!(self.verdict, Verdict::Healthy | Verdict::Idle);
        let large = self.limits.iter().filter(|limit| limit.is_large());
        let share = |limit: &&JudgeLimit| limit.share.unwrap_or(0.0);
        large
            .filter(|_| finds_nothing)
            .max_by(|one, other| share(one).total_cmp(&share(other)))
    }

    /// All findings, cause by cause.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.incidents.iter().flat_map(Incident::findings)
    }
}
