//! What holds the targets besides themselves: tracers, freezers, limits of the CPU.
//!
//! | module | what |
//! | --- | --- |
//! | `cgroup` | control groups, version 1 and 2: frozen, throttled |
//! | `calls` | what blocked system calls are about |
//! | `inherited` | event loops that a fork left behind |
//! | `busy` | who uses the CPUs |

mod busy;
mod calls;
mod cgroup;
mod inherited;

use busy::CpuTimes;
use cgroup::{Groups, Usage};
use remora_common::thread::{
    STATE_BLOCKED, STATE_EXITED, STATE_PREEMPTED, STATE_WOKEN, ThreadSlot,
};
use remora_kernel::Arch;
use remora_model::{Actor, Constraint, Constraints, Policy, Process, Scheduling};
use remora_process::deadline::{self, Step, Subject};
use remora_process::{self as process, proc_fs};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// Processes whose limits are read.
const MAX_PROCESSES: usize = 1024;
/// Threads of a process that are asked how they are scheduled.
const MAX_SCHEDULED: usize = 64;
/// Time that the look at the end may take, all together.
const TIME: Duration = Duration::from_millis(300);
/// A thread lacked a CPU when it was ready without one for so long, and for this share of what it wanted.
const LACKED: Duration = Duration::from_millis(100);

/// Follows the conditions of the targets.
pub(crate) struct ConstraintWatch {
    groups: Arc<Groups>,
    /// What stood in the control groups when a process was first seen.
    limits: BTreeMap<u32, Vec<Usage>>,
    /// The kernel did not say it in time: the next is not asked for.
    is_silent: bool,
    times: CpuTimes,
    left_out: u64,
}

impl ConstraintWatch {
    /// Nobody is watched yet.
    pub(crate) fn new() -> Self {
        Self {
            groups: Arc::new(Groups::find()),
            limits: BTreeMap::new(),
            is_silent: false,
            times: CpuTimes::read(),
            left_out: 0,
        }
    }

    /// A process is watched from now on.
    pub(crate) fn began(&mut self, pid: u32) {
        if self.limits.len() >= MAX_PROCESSES || self.is_silent {
            self.left_out += 1;
            return;
        }
        // The kernel says in which group a process is when nobody else moves processes or changes groups.
        let groups = Arc::clone(&self.groups);
        let usage = deadline::run(Step::Constraints, Subject::Process(pid), move || {
            groups.usage(pid)
        });
        self.is_silent = usage.is_none();
        self.limits.insert(pid, usage.unwrap_or_default());
    }

    /// What holds the processes now; and how many were not looked at, for there were too many or they do not answer.
    pub(crate) fn finish(
        mut self,
        processes: &BTreeMap<u32, Process>,
        living: &[ThreadSlot],
        arch: Arch,
    ) -> (Constraints, u64) {
        let all = processes.len();
        let stuck = |pid: &u32| deadline::is_stuck(Subject::Process(*pid));
        let pids: Vec<u32> = processes
            .keys()
            .copied()
            .filter(|pid| !stuck(pid))
            .collect();
        self.left_out += (all - pids.len()) as u64;
        let living = living.to_vec();
        let found = deadline::run(Step::Constraints, Subject::Host, move || {
            self.inspect(&pids, &living, arch)
        });
        found.unwrap_or_else(|| (Constraints::default(), all as u64))
    }

    fn inspect(mut self, pids: &[u32], living: &[ThreadSlot], arch: Arch) -> (Constraints, u64) {
        let deadline = Instant::now() + TIME;
        let mut threads: BTreeMap<u32, Vec<&ThreadSlot>> = BTreeMap::new();
        for slot in living.iter().filter(|slot| slot.state != STATE_EXITED) {
            threads.entry(slot.tgid).or_default().push(slot);
        }
        let mut found = Vec::new();
        let mut lacked = false;
        for pid in pids {
            let Some(slots) = threads.get(pid) else {
                continue;
            };
            if Instant::now() > deadline || found.len() >= MAX_PROCESSES {
                self.left_out += 1;
                continue;
            }
            let scheduling = scheduling(*pid, slots);
            lacked |= !scheduling.is_empty();
            let before = self.limits.get(pid).map(Vec::as_slice).unwrap_or_default();
            found.push(Constraint {
                pid: *pid,
                tracer: tracer(*pid, slots),
                frozen: self.groups.frozen(*pid),
                limit: cgroup::limit(before, self.groups.usage(*pid)),
                scheduling,
                inherited_loops: inherited::loops_are_inherited(*pid),
                calls: calls::of(*pid, slots, arch),
            });
        }
        let conditions = Constraints {
            cpus: online_cpus(),
            load: load(),
            busiest: match lacked {
                true => self.times.busiest(),
                false => Vec::new(),
            },
            processes: found,
        };
        (conditions, self.left_out)
    }
}

/// Who traces a process or, where nobody traces its main thread, another of its threads.
fn tracer(pid: u32, slots: &[&ThreadSlot]) -> Option<Actor> {
    let stopped = remora_common::reason::Reason::Stopped as u32;
    let others = slots.iter().filter(|slot| slot.reason == stopped);
    let mut tids = std::iter::once(pid).chain(others.take(3).map(|slot| slot.tid));
    tids.find_map(|tid| {
        let status = proc_fs::status(format_args!("{pid}/task/{tid}")).ok()?;
        let tracer: u32 = proc_fs::status_value(&status, "TracerPid")?.parse().ok()?;
        (tracer != 0).then(|| actor(tracer))
    })
}

fn actor(pid: u32) -> Actor {
    let comm = process::name(pid).unwrap_or_default();
    Actor { pid, comm }
}

/// How the threads are scheduled that lacked a CPU.
fn scheduling(pid: u32, slots: &[&ThreadSlot]) -> Vec<Scheduling> {
    let now_ns = remora_probe::now_ns();
    let lacking = slots.iter().filter(|slot| {
        let ended = slot.woken_wait_ns.saturating_add(slot.preempted_wait_ns);
        let queued = ended.saturating_add(queued_now_ns(slot, now_ns));
        u128::from(queued) >= LACKED.as_nanos() && queued >= slot.on_cpu_ns / 4
    });
    let ask = |slot: &&ThreadSlot| schedule(pid, slot.tid);
    lacking.take(MAX_SCHEDULED).filter_map(ask).collect()
}

/// For how long a thread has been waiting for a CPU that it has not got yet.
fn queued_now_ns(slot: &ThreadSlot, now_ns: u64) -> u64 {
    let since_ns = match slot.state {
        STATE_WOKEN | STATE_PREEMPTED => slot.since_ns,
        STATE_BLOCKED if slot.is_woken() => slot.woken_ns,
        _ => return 0,
    };
    now_ns.saturating_sub(since_ns)
}

fn schedule(pid: u32, tid: u32) -> Option<Scheduling> {
    let task = format!("{pid}/task/{tid}");
    let stat = proc_fs::read(format!("/proc/{task}/stat"), 4096).ok()?;
    let close = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(close + 1..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // Fields 19 and 41 of proc_pid_stat(5); the third is the first here.
    let nice = fields.get(16)?.parse().ok()?;
    let policy: u32 = fields.get(38)?.parse().ok()?;
    let status = proc_fs::status(task).ok()?;
    let cpus = proc_fs::status_value(&status, "Cpus_allowed").map_or(0, count_bits);
    Some(Scheduling {
        tid,
        nice,
        policy: Policy::of(policy),
        cpus,
    })
}

/// CPUs in a mask as `ff,00000003`.
fn count_bits(mask: &str) -> u32 {
    let digits = mask.chars().filter_map(|digit| digit.to_digit(16));
    digits.map(u32::count_ones).sum()
}

fn online_cpus() -> u32 {
    std::fs::read_to_string("/sys/devices/system/cpu/online")
        .ok()
        .map_or(0, |list| count_list(list.trim()))
}

/// CPUs in a list as `0-3,8`.
fn count_list(list: &str) -> u32 {
    let ranges = list.split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        last.checked_sub(first)?.checked_add(1)
    });
    ranges.fold(0, u32::saturating_add)
}

fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split_ascii_whitespace().next();
    first.and_then(|load| load.parse().ok()).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn masks_and_lists_of_cpus_are_counted() {
        assert_eq!((count_bits("ff,00000003"), count_bits("3")), (10, 2));
        assert_eq!(
            (count_list("0-3,8"), count_list("0"), count_list("")),
            (5, 1, 0)
        );
    }

    #[test]
    fn our_own_schedule_is_read() {
        let own = std::process::id();
        let found = schedule(own, own).expect("we are there");
        assert!(
            found.cpus >= 1 && found.policy == Policy::Other,
            "{found:?}"
        );
        assert!(online_cpus() >= found.cpus);
    }

    #[test]
    fn a_thread_that_never_got_a_cpu_lacks_one() {
        let mut slot: ThreadSlot = bytemuck::Zeroable::zeroed();
        (slot.state, slot.since_ns) = (STATE_PREEMPTED, 1_000);
        assert_eq!(queued_now_ns(&slot, 5_000), 4_000);
        (slot.state, slot.woken_ns) = (STATE_BLOCKED, 3_000);
        assert_eq!(queued_now_ns(&slot, 5_000), 2_000, "woken");
        slot.woken_ns = 500;
        assert_eq!(queued_now_ns(&slot, 5_000), 0, "asleep");
    }

    proptest! {
        #[test]
        fn any_text_is_taken(text in "\\PC{0,40}") {
            let _ = (count_bits(&text), count_list(&text));
        }
    }
}
