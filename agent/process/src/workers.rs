//! Where the pid that was named is that of a shell or of a master, the work is done by its children.
//!
//! A process *has no work of its own* when it has one thread, which waits for children, signals, a pipe or some time, and
//! has used less than a hundredth of a CPU in its life. One that waits in epoll or on a socket serves somebody. A child of it does its work when it executes the same program (workers of a prefork server) or is in
//! the same process group (what a service's shell started; an interactive shell gives each job a group of its own).

use super::family::{self, Descent};
use super::{Target, TargetError, is_ourselves, proc_fs, relatives};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Children that are taken up, of all targets together.
const MAX_WORKERS: usize = 32;
/// Part of its life that a process without work of its own has used of a CPU, and what a start may take.
const BUSY: f64 = 0.01;
const START: Duration = Duration::from_secs(1);
/// Kernel functions of such waits have one of these in their names (`/proc/PID/wchan`).
const WAITS: [&str; 8] = [
    "do_wait",
    "pause",
    "sigsuspend",
    "sigtimedwait",
    "nanosleep",
    "select",
    "poll_schedule",
    "pipe_read",
];
/// Bytes of such a name.
const MAX_NAME: u64 = 128;

/// Adds the children that do the work of targets which have none of their own, and of these the same.
pub(super) fn add(targets: &mut BTreeMap<u32, Target>) -> Result<(), TargetError> {
    let now = relatives::since_boot();
    let stats: BTreeMap<u32, proc_fs::Stat> = proc_fs::processes()
        .map_err(TargetError::Proc)?
        .into_iter()
        .filter(|pid| !is_ourselves(*pid))
        .filter_map(|pid| Some((pid, proc_fs::stat(pid)?)))
        .collect();
    let mut queue: VecDeque<u32> = targets.keys().copied().collect();
    let mut added = 0;
    while let Some(parent) = queue.pop_front() {
        let own = stats.get(&parent).filter(|stat| has_no_work(stat, now));
        let Some(own) = own.filter(|_| waits_for_others(&wait_of(parent))) else {
            continue;
        };
        let children = stats.iter().filter(|(_, stat)| stat.parent == parent);
        for (child, stat) in children {
            let is_new = !targets.contains_key(child) && !matches!(stat.state, b'Z' | b'X');
            if added >= MAX_WORKERS || !is_new {
                continue;
            }
            let proposed = Descent {
                child: *child,
                parent,
            };
            match family::add(targets, proposed) {
                Ok(true) => {}
                // Somebody else's process, or a thread of the kernel's: it is not what was asked for.
                Ok(false) | Err(_) => continue,
            }
            let exe = |pid: &u32| Some(targets.get(pid)?.exe.as_ref()?.path.clone());
            let same_program = exe(&parent).is_some_and(|path| exe(child) == Some(path));
            let same_group = own.group != 0 && own.group == stat.group;
            if !same_program && !same_group {
                targets.remove(child);
                continue;
            }
            if let Some(target) = targets.get_mut(child) {
                target.followed = Some(parent);
            }
            added += 1;
            queue.push_back(*child);
        }
    }
    Ok(())
}

/// The kernel function that a process sleeps in; empty where that is not told.
fn wait_of(pid: u32) -> String {
    let name = proc_fs::read(format!("/proc/{pid}/wchan"), MAX_NAME).unwrap_or_default();
    String::from_utf8(name).unwrap_or_default()
}

fn waits_for_others(function: &str) -> bool {
    !function.contains("epoll") && WAITS.iter().any(|part| function.contains(part))
}

fn has_no_work(stat: &proc_fs::Stat, now: Duration) -> bool {
    let ticks_a_second = rustix::param::clock_ticks_per_second().max(1) as f64;
    let used_s = stat.cpu_ticks as f64 / ticks_a_second;
    let may_s = relatives::age(stat, now).as_secs_f64() * BUSY;
    stat.threads == 1 && stat.state == b'S' && used_s <= may_s.max(START.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_waits_for_somebody_else_than_its_children() {
        for master in [
            "do_wait",
            "__do_sys_pause",
            "hrtimer_nanosleep",
            "anon_pipe_read",
        ] {
            assert!(waits_for_others(master), "{master}");
        }
        for server in ["do_epoll_wait", "ep_poll", "inet_csk_accept", "0", ""] {
            assert!(!waits_for_others(server), "{server}");
        }
    }

    #[test]
    fn only_one_thread_that_sleeps_and_always_did_has_no_work() {
        let now = Duration::from_secs(1000);
        let idle = proc_fs::Stat {
            comm: b"sh".to_vec(),
            state: b'S',
            parent: 1,
            group: 1,
            flags: 0,
            cpu_ticks: 100,
            threads: 1,
            start_ticks: 0,
        };
        assert!(has_no_work(&idle, now));
        let changed = |change: fn(&mut proc_fs::Stat)| {
            let mut stat = idle.clone();
            change(&mut stat);
            has_no_work(&stat, now)
        };
        assert!(!changed(|stat| stat.threads = 2));
        assert!(!changed(|stat| stat.state = b'R'));
        assert!(!changed(|stat| stat.state = b'T'));
        assert!(!changed(|stat| stat.cpu_ticks = 5000));
    }
}
