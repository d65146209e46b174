//! What ends the growth of a process's threads.

use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

/// Which limit it is.
#[derive(
    Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, IntoStaticStr, VariantArray,
)]
pub enum ThreadLimitKind {
    /// `pids.max` of its cgroup or of one above it.
    #[strum(to_string = "pids.max")]
    Cgroup,
    /// `RLIMIT_NPROC`: all threads of its user, on the whole host. Root is not bound by it.
    #[strum(to_string = "RLIMIT_NPROC")]
    User,
    /// `/proc/sys/kernel/threads-max` or `pid_max`, whichever is lower: all threads of the host.
    #[strum(to_string = "threads-max")]
    Host,
}

impl ThreadLimitKind {
    /// What sets it, as its documentation calls it.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// A limit on threads, and how near it is.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct ThreadLimit {
    /// Which.
    pub kind: ThreadLimitKind,
    /// Threads that may be.
    pub limit: u64,
    /// Threads that are, where that is known.
    pub used: Option<u64>,
}

impl ThreadLimit {
    /// How many more there may be; the whole limit less `own` where the others are not known.
    pub fn left(&self, own: u64) -> u64 {
        self.limit.saturating_sub(self.used.unwrap_or(own))
    }
}

/// The limits on the threads of a process, those with the least left first.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct ThreadLimits {
    /// The process.
    pub pid: u32,
    /// Its limits.
    pub limits: Vec<ThreadLimit>,
}
