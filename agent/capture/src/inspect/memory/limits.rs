//! What ends the growth of a process: limits of its cgroups, its own, and what the host has left.
//!
//! Page cache counts towards a cgroup's limit and is given up before anything is killed, so what counts
//! here is less it. Sources: `Documentation/admin-guide/cgroup-v2.rst`, `cgroup-v1/memory.rst`, proc_pid_limits(5),
//! proc_meminfo(5).

use super::smaps::kib;
use remora_model::{LimitKind, MemoryLimit};
use remora_process::proc_fs;
use std::{
    path::{Component, Path, PathBuf},
    time::Duration,
};

/// Bytes of the files that are read here.
const MAX_BYTES: u64 = 64 << 10;

/// Cgroups above a process; deeper nests end here.
const MAX_DEPTH: usize = 32;

/// Version 1 has no word for no limit, but the largest number of pages.
const NO_LIMIT: u64 = 1 << 62;

/// Files of one version of cgroups.
struct Version {
    /// Where it is mounted.
    root: &'static str,
    limit: &'static str,
    used: &'static str,
    /// Lines of `memory.stat`: page cache, of the cgroup and those below.
    cache: [&'static str; 2],
}

const V2: Version = Version {
    root: "/sys/fs/cgroup",
    limit: "memory.max",
    used: "memory.current",
    cache: ["active_file", "inactive_file"],
};

const V1: Version = Version {
    root: "/sys/fs/cgroup/memory",
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    cache: ["total_active_file", "total_inactive_file"],
};

/// The limits of a process, the nearest first.
pub(crate) fn read(pid: u32) -> Vec<MemoryLimit> {
    let pid = proc_fs::speaker(pid);
    let own = |name: &str| proc_fs::read(format!("/proc/{pid}/{name}"), MAX_BYTES);
    let mut limits: Vec<MemoryLimit> = Vec::new();
    if let Ok(text) = own("cgroup") {
        limits.extend(cgroup(&text));
    }
    if let (Ok(text), Ok(status)) = (own("limits"), own("status")) {
        limits.extend(rlimits(&text, &status));
    }
    if let Ok(text) = proc_fs::read("/proc/meminfo", MAX_BYTES) {
        limits.extend(host(&text));
    }
    limits.sort_by_key(|limit| (limit.left_bytes(), limit.limit_bytes));
    limits
}

/// How old a process is that started so many clock ticks after boot.
pub(crate) fn age(start_ticks: u64) -> Option<Duration> {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let now = Duration::try_from(now).ok()?;
    let ticks = rustix::param::clock_ticks_per_second();
    let start = Duration::from_secs_f64(start_ticks as f64 / ticks.max(1) as f64);
    Some(now.saturating_sub(start))
}

/// The nearest limit of its cgroup and those above.
fn cgroup(text: &[u8]) -> Option<MemoryLimit> {
    let (version, path) = place(std::str::from_utf8(text).ok()?)?;
    let folders = folders(Path::new(version.root), Path::new(path));
    let limits = folders.iter().filter_map(|folder| one(version, folder));
    limits.min_by_key(MemoryLimit::left_bytes)
}

/// Where it is in the hierarchy that limits memory: that of version 1 where there is one.
fn place(text: &str) -> Option<(&'static Version, &str)> {
    let (first, path) = hierarchy(text, "memory")?;
    Some((if first { &V1 } else { &V2 }, path))
}

/// Where it is in the hierarchy of a controller, and whether that is one of version 1: such a one comes first.
pub(crate) fn hierarchy<'a>(text: &'a str, controller: &str) -> Option<(bool, &'a str)> {
    let mut unified = None;
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        if controllers.split(',').any(|name| name == controller) {
            return Some((true, path));
        }
        if controllers.is_empty() {
            unified = Some((false, path));
        }
    }
    unified
}

/// The folder of a cgroup and those above it; none for one outside of what is mounted here.
pub(crate) fn folders(root: &Path, path: &Path) -> Vec<PathBuf> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return Vec::new(),
        }
    }
    let deepest = names.len().min(MAX_DEPTH);
    (0..=deepest)
        .rev()
        .map(|depth| root.join(names.iter().take(depth).collect::<PathBuf>()))
        .collect()
}

fn one(version: &Version, folder: &Path) -> Option<MemoryLimit> {
    let read = |name: &str| proc_fs::read(folder.join(name), MAX_BYTES).ok();
    let limit_bytes = number(&read(version.limit)?).filter(|limit| *limit < NO_LIMIT)?;
    let used = number(&read(version.used)?)?;
    let stat = read("memory.stat").unwrap_or_default();
    let cache = version.cache.iter().map(|name| stat_line(&stat, name));
    Some(MemoryLimit {
        kind: LimitKind::Cgroup,
        limit_bytes,
        used_bytes: used.saturating_sub(cache.fold(0, u64::saturating_add)),
    })
}

fn number(bytes: &[u8]) -> Option<u64> {
    std::str::from_utf8(bytes).ok()?.trim().parse().ok()
}

fn stat_line(stat: &[u8], name: &str) -> u64 {
    let mut lines = stat.split(|byte| *byte == b'\n');
    let value = lines.find_map(|line| line.strip_prefix(name.as_bytes())?.strip_prefix(b" "));
    value.and_then(number).unwrap_or(0)
}

/// Its own limits: rows of `limits`, soft limit first, in bytes.
fn rlimits(limits: &[u8], status: &[u8]) -> Vec<MemoryLimit> {
    let soft = |name: &str| {
        let mut lines = limits.split(|byte| *byte == b'\n');
        let rest = lines.find_map(|line| line.strip_prefix(name.as_bytes()))?;
        let rest = std::str::from_utf8(rest).ok()?;
        rest.split_ascii_whitespace().next()?.parse().ok()
    };
    let used = |key| proc_fs::status_value(status, key).map(|value| kib(value.as_bytes()));
    let kinds = [
        (LimitKind::AddressSpace, "Max address space", "VmSize"),
        (LimitKind::Data, "Max data size", "VmData"),
    ];
    let limit = |(kind, name, key)| {
        Some(MemoryLimit {
            kind,
            limit_bytes: soft(name)?,
            used_bytes: used(key)?,
        })
    };
    kinds.into_iter().filter_map(limit).collect()
}

/// What the host has, and what of it cannot be had any more.
fn host(meminfo: &[u8]) -> Option<MemoryLimit> {
    let value = |key| proc_fs::status_value(meminfo, key).map(|value| kib(value.as_bytes()));
    let limit_bytes = value("MemTotal")?.checked_add(value("SwapTotal")?)?;
    let available = value("MemAvailable")?.saturating_add(value("SwapFree")?);
    Some(MemoryLimit {
        kind: LimitKind::Host,
        limit_bytes,
        used_bytes: limit_bytes.saturating_sub(available),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn our_own_limits_are_plausible() {
        let limits = read(std::process::id());
        let host = limits.iter().find(|limit| limit.kind == LimitKind::Host);
        assert!(host.is_some_and(|host| host.left_bytes() > 0 && host.used_bytes > 0));
        assert!(limits.is_sorted_by_key(MemoryLimit::left_bytes));
        assert_eq!(read(u32::MAX).len(), 1, "the host's is everybody's");
        let stat = proc_fs::stat(std::process::id()).expect("we are alive");
        assert!(age(stat.start_ticks).is_some_and(|age| age < Duration::from_secs(86_400)));
    }

    #[test]
    fn a_cgroup_is_found_in_the_hierarchy_that_limits_memory() {
        let of = |text| place(text).map(|(version, path)| (version.root, path));
        assert_eq!(of("0::/a/b\n"), Some(("/sys/fs/cgroup", "/a/b")));
        let both = "9:name=systemd:/\n4:cpu,memory:/c:d\n0::/\n";
        assert_eq!(of(both), Some(("/sys/fs/cgroup/memory", "/c:d")));
        assert_eq!(of("3:cpu:/\n"), None);
    }

    #[test]
    fn every_cgroup_above_counts_and_none_outside() {
        let root = Path::new("/r");
        let all = ["/r/a/b", "/r/a", "/r/"].map(PathBuf::from);
        assert_eq!(folders(root, Path::new("/a/b")), all);
        assert_eq!(folders(root, Path::new("/../x")), Vec::<PathBuf>::new());
        let deep = "/x".repeat(500);
        assert_eq!(folders(root, Path::new(&deep)).len(), MAX_DEPTH + 1);
    }

    #[test]
    fn page_cache_does_not_count_and_no_limit_is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).expect("written");
        };
        write("memory.max", "1000000\n");
        write("memory.current", "900000\n");
        write(
            "memory.stat",
            "anon 5\nactive_file 100000\ninactive_file 200000\n",
        );
        let limit = one(&V2, folder.path()).expect("a limit");
        assert_eq!((limit.used_bytes, limit.left_bytes()), (600_000, 400_000));
        write("memory.max", "max\n");
        assert_eq!(one(&V2, folder.path()), None);
        write("memory.limit_in_bytes", "9223372036854771712\n");
        write("memory.usage_in_bytes", "7\n");
        assert_eq!(one(&V1, folder.path()), None);
    }

    #[test]
    fn soft_limits_are_those_of_the_table() {
        let limits =
            b"Limit                     Soft Limit           Hard Limit           Units     \n\
            Max data size             unlimited            unlimited            bytes     \n\
            Max address space         8192000              unlimited            bytes     \n";
        let status = b"Name:\tx\nVmSize:\t    4000 kB\nVmData:\t 100 kB\n";
        let found = rlimits(limits, status);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].kind, LimitKind::AddressSpace);
        assert_eq!(found[0].left_bytes(), 8_192_000 - 4_096_000);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = (rlimits(&bytes, &bytes), host(&bytes), stat_line(&bytes, "a"));
            let _ = (place(&String::from_utf8_lossy(&bytes)), number(&bytes));
        }
    }
}
