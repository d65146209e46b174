//! What ends the growth of a process's threads: `pids.max` of its cgroups, `RLIMIT_NPROC` where its user is bound by it, and what the
//! kernel allows the host.
//!
//! Sources: `Documentation/admin-guide/cgroup-v2.rst` (pids), setrlimit(2), proc_sys_kernel(5), proc_loadavg(5).

use super::memory::limits::{folders, hierarchy};
use remora_model::{ThreadLimit, ThreadLimitKind, ThreadLimits};
use remora_process::proc_fs;
use std::path::Path;

/// Bytes of the files that are read here.
const MAX_BYTES: u64 = 64 << 10;
/// Processes that are looked at.
const MAX_PROCESSES: usize = 64;
/// Where cgroups are mounted: of version 2, and the controller of version 1.
const UNIFIED: &str = "/sys/fs/cgroup";
const PIDS: &str = "/sys/fs/cgroup/pids";

/// The limits of these processes; one that has gone has none.
pub(crate) fn read(pids: &[u32]) -> Vec<ThreadLimits> {
    let host = host();
    let all = pids.iter().take(MAX_PROCESSES);
    all.map(|pid| {
        let mut limits: Vec<ThreadLimit> = cgroup(*pid)
            .into_iter()
            .chain(user(*pid))
            .chain(host)
            .collect();
        limits.sort_by_key(|limit| limit.left(0));
        ThreadLimits { pid: *pid, limits }
    })
    .collect()
}

fn text(path: impl AsRef<Path>) -> Option<String> {
    String::from_utf8(proc_fs::read(path, MAX_BYTES).ok()?).ok()
}

fn number(path: impl AsRef<Path>) -> Option<u64> {
    text(path)?.trim().parse().ok()
}

/// The nearest of the cgroups that it is in. The root has no `pids.max`, and `max` is no number: none.
fn cgroup(pid: u32) -> Option<ThreadLimit> {
    let text = text(format!("/proc/{}/cgroup", proc_fs::speaker(pid)))?;
    let (root, path) = place(&text)?;
    let all = folders(Path::new(root), Path::new(path));
    let limits = all.iter().filter_map(|folder| {
        Some(ThreadLimit {
            kind: ThreadLimitKind::Cgroup,
            limit: number(folder.join("pids.max"))?,
            used: number(folder.join("pids.current")),
        })
    });
    limits.min_by_key(|limit| limit.left(0))
}

/// Where it is in the hierarchy that counts tasks.
fn place(text: &str) -> Option<(&'static str, &str)> {
    let (first, path) = hierarchy(text, "pids")?;
    Some((if first { PIDS } else { UNIFIED }, path))
}

/// Its soft limit, unless its user is root, who is not bound by it.
fn user(pid: u32) -> Option<ThreadLimit> {
    let pid = proc_fs::speaker(pid);
    let status = proc_fs::read(format!("/proc/{pid}/status"), MAX_BYTES).ok()?;
    let uid: u32 = proc_fs::status_value(&status, "Uid")?
        .split_ascii_whitespace()
        .next()?
        .parse()
        .ok()?;
    (uid != 0).then_some(())?;
    let limits = text(format!("/proc/{pid}/limits"))?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max processes"))?;
    Some(ThreadLimit {
        kind: ThreadLimitKind::User,
        limit: line.split_ascii_whitespace().next()?.parse().ok()?,
        used: None,
    })
}

/// The lower one of the kernel's two, and the threads that there are.
fn host() -> Option<ThreadLimit> {
    let most = number("/proc/sys/kernel/threads-max");
    let ids = number("/proc/sys/kernel/pid_max");
    let load = text("/proc/loadavg");
    let used = load.and_then(|load| load.split([' ', '/']).nth(4)?.parse().ok());
    Some(ThreadLimit {
        kind: ThreadLimitKind::Host,
        limit: most.into_iter().chain(ids).min()?,
        used,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_has_a_limit_and_is_below_it() {
        let host = host().expect("a kernel");
        assert!(
            host.used.is_some_and(|used| used > 0 && used < host.limit),
            "{host:?}"
        );
        let own = read(&[std::process::id()]);
        assert_eq!(own.len(), 1);
        assert!(own[0].limits.contains(&host), "{own:?}");
        assert_eq!(
            read(&[u32::MAX])[0].limits.len(),
            1,
            "of one that is not there: the host's"
        );
    }

    #[test]
    fn the_controller_of_version_one_comes_first() {
        assert_eq!(place("0::/a/b\n"), Some((UNIFIED, "/a/b")));
        assert_eq!(place("3:cpu,pids:/x\n0::/a\n"), Some((PIDS, "/x")));
        assert_eq!(place("3:pidsx:/x\n\nrubbish"), None);
    }
}
