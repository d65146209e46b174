//! The process tree around targets, for people: who started whom, and who lives how long.
//!
//! A list of processes is out of date while it is read. What is shown here was there at one moment of it;
//! nothing is decided by it.

use super::{describe::escape, is_ourselves, proc_fs};
use remora_model::{ProcessTree, Relative};
use std::collections::HashMap;
use std::time::Duration;

/// Targets whose relatives are looked up.
const MAX_TARGETS: usize = 64;
/// Generations upwards.
const MAX_ANCESTORS: usize = 16;
/// Children that are listed.
const MAX_CHILDREN: usize = 32;

/// Relatives of these processes, by pid; empty where `/proc` cannot be listed.
pub fn relatives(pids: &[u32]) -> Vec<ProcessTree> {
    let processes = proc_fs::processes().unwrap_or_default().into_iter();
    let stats: HashMap<u32, proc_fs::Stat> = processes
        .filter(|pid| !is_ourselves(*pid))
        .filter_map(|pid| Some((pid, proc_fs::stat(pid)?)))
        .collect();
    let now = since_boot();
    let families = pids.iter().take(MAX_TARGETS);
    families
        .filter_map(|pid| family(*pid, &stats, now))
        .collect()
}

fn family(pid: u32, stats: &HashMap<u32, proc_fs::Stat>, now: Duration) -> Option<ProcessTree> {
    let own = stats.get(&pid)?;
    let relative = |pid: u32, stat: &proc_fs::Stat| Relative {
        pid,
        comm: escape(&stat.comm),
        age: age(stat, now),
    };
    let mut ancestors: Vec<Relative> = Vec::new();
    let mut parent = own.parent;
    // Bounded, for a torn list may form a ring.
    while ancestors.len() < MAX_ANCESTORS
        && let Some(stat) = stats.get(&parent)
    {
        ancestors.push(relative(parent, stat));
        parent = stat.parent;
    }
    let mut children: Vec<Relative> = stats
        .iter()
        .filter(|(_, stat)| stat.parent == pid)
        .map(|(child, stat)| relative(*child, stat))
        .collect();
    children.sort_by_key(|child| (std::cmp::Reverse(child.age), child.pid));
    let children_left_out = children.len().saturating_sub(MAX_CHILDREN);
    children.truncate(MAX_CHILDREN);
    Some(ProcessTree {
        pid,
        age: age(own, now),
        ancestors,
        children,
        children_left_out,
    })
}

/// Time since the host was booted, suspended time included: what `starttime` counts.
pub(super) fn since_boot() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(
        u64::try_from(now.tv_sec).unwrap_or_default(),
        u32::try_from(now.tv_nsec).unwrap_or_default(),
    )
}

pub(super) fn age(stat: &proc_fs::Stat, now: Duration) -> Duration {
    let ticks_a_second = rustix::param::clock_ticks_per_second().max(1);
    let started = stat.start_ticks as f64 / ticks_a_second as f64;
    now.saturating_sub(Duration::try_from_secs_f64(started).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::specimen::Running;

    #[test]
    fn a_child_and_its_parent_know_each_other() {
        let child = Running::new("sleep", &["322"]);
        let parent = std::process::id();
        let families = relatives(&[child.pid()]);
        let [family] = &families[..] else {
            panic!("{families:?}");
        };
        assert!(family.children.is_empty());
        // We ourselves are left out, and so is what is above us.
        assert!(
            family
                .ancestors
                .iter()
                .all(|relative| relative.pid != parent)
        );
        assert!(family.age < Duration::from_secs(60), "{:?}", family.age);
        assert!(relatives(&[u32::MAX]).is_empty());
    }

    #[test]
    fn a_ring_ends() {
        let stat = |parent| proc_fs::Stat {
            comm: b"a\x1b".to_vec(),
            state: b'S',
            parent,
            group: 1,
            flags: 0,
            cpu_ticks: 0,
            threads: 1,
            start_ticks: 0,
        };
        let stats = HashMap::from([(1, stat(2)), (2, stat(1))]);
        let family = family(1, &stats, Duration::ZERO).expect("it is in the list");
        assert_eq!(family.ancestors.len(), MAX_ANCESTORS);
        assert_eq!(family.ancestors[0].comm, r"a\u{1b}");
        assert_eq!(family.children.len(), 1);
    }
}
