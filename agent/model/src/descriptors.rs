//! The open descriptors of a process, by kind: how many at the start and at the end, and what stands behind
//! most of them.

use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

/// What a descriptor is of.
#[derive(
    Clone,
    Copy,
    Debug,
    Deserialize,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    IntoStaticStr,
    VariantArray,
)]
#[strum(serialize_all = "snake_case")]
pub enum DescriptorKind {
    /// A socket.
    Socket,
    /// A pipe.
    Pipe,
    /// A file or folder, deleted ones included.
    File,
    /// A device.
    Device,
    /// A kernel object without a name: eventfd, epoll, timerfd, inotify, pidfd…
    Anonymous,
    /// A file in memory (`memfd_create`).
    MemoryFile,
    /// Anything else.
    Other,
}

impl DescriptorKind {
    /// Every kind.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The descriptors of a process at one moment.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Census {
    /// How many there are.
    pub open: u64,
    /// How many of each kind, kinds that are not there left out.
    pub kinds: Vec<(DescriptorKind, u64)>,
    /// What most of them are of, sockets and pipes apart: path or the kernel's name, safe to print.
    pub names: Vec<(String, u64)>,
    /// Not all of them were looked at: kinds and names are of some.
    pub cut: bool,
}

impl Census {
    /// How many there are of a kind.
    pub fn of(&self, kind: DescriptorKind) -> u64 {
        let mut kinds = self.kinds.iter();
        kinds
            .find(|(known, _)| *known == kind)
            .map_or(0, |(_, number)| *number)
    }
}

/// The descriptors of a process through a capture.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Descriptors {
    /// The process.
    pub pid: u32,
    /// How many it may have (the soft `RLIMIT_NOFILE`); `None`: no limit, or it could not be read.
    pub limit: Option<u64>,
    /// At the start.
    pub start: Census,
    /// At the end, or when it was seen last.
    pub end: Census,
}
