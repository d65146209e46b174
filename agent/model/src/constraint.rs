//! What holds processes besides themselves: tracers, freezers, limits of the CPU, files, and what the
//! blocked calls of their threads are about. Read when a capture ends; figures that grow, at both ends.

use serde::{Deserialize, Serialize};
use std::time::Duration;
use strum::{IntoStaticStr, VariantArray};

/// The machine's side of a capture.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Constraints {
    /// CPUs that are online.
    pub cpus: u32,
    /// Threads that ran or wanted to, over the last minute (`/proc/loadavg`).
    pub load: f64,
    /// Processes that used the most CPU in the capture, targets among them, the busiest first. Collected only
    /// when a target's thread lacked a CPU.
    pub busiest: Vec<Busy>,
    /// By process, in the order of their ids.
    pub processes: Vec<Constraint>,
}

impl Constraints {
    /// Those of a process.
    pub fn of(&self, pid: u32) -> Option<&Constraint> {
        let at = self.processes.binary_search_by_key(&pid, |it| it.pid);
        self.processes.get(at.ok()?)
    }
}

/// A process that uses the CPU.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Busy {
    /// Who.
    pub actor: Actor,
    /// CPUs that it used since the collection began, 1.0 being one of them all the time.
    pub cpus: f64,
}

/// A process by id and name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Actor {
    /// Its id.
    pub pid: u32,
    /// Its name, escaped; empty when it was gone.
    pub comm: String,
}

/// What holds one process.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Constraint {
    /// Which.
    pub pid: u32,
    /// Who traces it, or a thread of it.
    pub tracer: Option<Actor>,
    /// The control group that is frozen, with this process in it.
    pub frozen: Option<String>,
    /// Limit of its CPU time, where there is one.
    pub limit: Option<CpuLimit>,
    /// How the threads that lacked a CPU are scheduled.
    pub scheduling: Vec<Scheduling>,
    /// It was forked without an exec, and has no epoll instance that is not its parent's: frames of an event
    /// loop in its stacks are those of whoever forked it.
    #[serde(default)]
    pub inherited_loops: bool,
    /// What the calls are about in which its threads are blocked.
    pub calls: Vec<Call>,
}

/// The limit of a control group's CPU time, and what came of it in the capture.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct CpuLimit {
    /// Its path.
    pub cgroup: String,
    /// CPUs that it may use; `None` when it could not be read.
    pub quota_cpus: Option<f64>,
    /// CPU time that it may use in each period.
    #[serde(default)]
    pub quota: Option<Duration>,
    /// How long a period is.
    #[serde(default)]
    pub period: Option<Duration>,
    /// Periods that passed with something to run.
    pub periods: u64,
    /// Those in which it was held back.
    pub throttled: u64,
    /// Time that it was held back, summed over CPUs.
    pub time: Duration,
}

/// Rules by which a thread gets its CPU: `SCHED_*` of `include/uapi/linux/sched.h`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, IntoStaticStr, VariantArray,
)]
#[strum(serialize_all = "snake_case")]
pub enum Policy {
    /// The usual one.
    Other,
    /// Real time, first come first served.
    Fifo,
    /// Real time, in turns.
    #[strum(to_string = "rr")]
    RoundRobin,
    /// As the usual one, and gives way.
    Batch,
    /// Only what nobody else wants.
    Idle,
    /// By deadlines.
    Deadline,
    /// By a BPF scheduler.
    Ext,
    /// Newer than this table.
    Unknown,
}

impl Policy {
    /// From the kernel's number.
    pub const fn of(number: u32) -> Self {
        match number {
            0 => Self::Other,
            1 => Self::Fifo,
            2 => Self::RoundRobin,
            3 => Self::Batch,
            5 => Self::Idle,
            6 => Self::Deadline,
            7 => Self::Ext,
            _ => Self::Unknown,
        }
    }

    /// Its name, as `chrt` has it.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// How a thread is scheduled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Scheduling {
    /// Thread id.
    pub tid: u32,
    /// `-20` to `19`.
    pub nice: i32,
    /// By which rules.
    pub policy: Policy,
    /// CPUs that it may run on.
    pub cpus: u32,
}

/// A system call in which a thread is blocked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Call {
    /// Thread id.
    pub tid: u32,
    /// Its descriptor.
    pub fd: Option<u32>,
    /// What that is, or the path in its arguments; escaped; empty when it could not be read.
    pub path: String,
}
