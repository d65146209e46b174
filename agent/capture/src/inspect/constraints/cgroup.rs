//! Control groups: where a process is, whether that is frozen, and how often it was held back.
//!
//! Version 2 has one tree; version 1 one for each controller, and both may be mounted at once. Limits hold
//! for all below, so the groups above count too.

use remora_model::CpuLimit;
use remora_process::{escape, proc_fs};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// Levels that are looked at, from the group upwards.
const MAX_LEVELS: usize = 16;
/// Such files are a few lines.
const MAX_BYTES: u64 = 1 << 16;

/// A mounted tree.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tree {
    /// Where it is mounted.
    mount: PathBuf,
    /// What of it is mounted there.
    root: String,
}

/// The trees that matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Groups {
    unified: Option<Tree>,
    cpu: Option<Tree>,
    freezer: Option<Tree>,
}

/// CPU time that a group may use in each period.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Quota {
    time: Duration,
    period: Duration,
}

impl Quota {
    fn cpus(self) -> f64 {
        self.time.as_secs_f64() / self.period.as_secs_f64()
    }
}

/// What a group says of its CPU time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Usage {
    path: String,
    quota: Quota,
    periods: u64,
    throttled: u64,
    time: Duration,
}

impl Groups {
    /// Finds where they are mounted.
    pub(super) fn find() -> Self {
        let text = proc_fs::read("/proc/self/mountinfo", 4 << 20).unwrap_or_default();
        Self::parse(&String::from_utf8_lossy(&text))
    }

    fn parse(mounts: &str) -> Self {
        let mut groups = Self::default();
        for line in mounts.lines() {
            let Some((front, back)) = line.split_once(" - ") else {
                continue;
            };
            let mut front = front.split(' ').skip(3);
            let (Some(root), Some(mount)) = (front.next(), front.next()) else {
                continue;
            };
            let tree = || {
                Some(Tree {
                    mount: PathBuf::from(mount),
                    root: root.trim_end_matches('/').to_owned(),
                })
            };
            let mut back = back.split(' ');
            let kind = back.next();
            let options = back.nth(1).unwrap_or_default();
            let has = |controller| options.split(',').any(|option| option == controller);
            match kind {
                Some("cgroup2") if groups.unified.is_none() => groups.unified = tree(),
                Some("cgroup") if has("cpu") && groups.cpu.is_none() => groups.cpu = tree(),
                Some("cgroup") if has("freezer") && groups.freezer.is_none() => {
                    groups.freezer = tree();
                }
                _ => {}
            }
        }
        groups
    }

    /// The frozen group that a process is in.
    pub(super) fn frozen(&self, pid: u32) -> Option<String> {
        let own = Membership::of(pid)?;
        let unified = group(self.unified.as_ref(), own.unified.as_deref());
        if let Some((folder, name)) = unified
            && read(&folder.join("cgroup.events"))
                .lines()
                .any(|line| line == "frozen 1")
        {
            return Some(name);
        }
        let (folder, name) = group(self.freezer.as_ref(), own.freezer.as_deref())?;
        (read(&folder.join("freezer.state")).trim() == "FROZEN").then_some(name)
    }

    /// What the groups of a process that limit its CPU time say, from its own upwards.
    pub(super) fn usage(&self, pid: u32) -> Vec<Usage> {
        let Some(own) = Membership::of(pid) else {
            return Vec::new();
        };
        let groups = [
            group(self.unified.as_ref(), own.unified.as_deref()),
            group(self.cpu.as_ref(), own.cpu.as_deref()),
        ];
        groups
            .into_iter()
            .flatten()
            .flat_map(|(folder, name)| above(folder, name))
            .collect()
    }
}

/// Paths of a process's groups in their trees.
#[derive(Debug, Default, PartialEq, Eq)]
struct Membership {
    unified: Option<String>,
    cpu: Option<String>,
    freezer: Option<String>,
}

impl Membership {
    fn of(pid: u32) -> Option<Self> {
        let text = proc_fs::read(format!("/proc/{pid}/cgroup"), MAX_BYTES).ok()?;
        Some(Self::parse(&String::from_utf8_lossy(&text)))
    }

    /// Lines as `4:cpu,cpuacct:/path` and `0::/path`.
    fn parse(text: &str) -> Self {
        let mut own = Self::default();
        for line in text.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
                continue;
            };
            let has = |name| controllers.split(',').any(|controller| controller == name);
            let place = match controllers {
                "" => &mut own.unified,
                _ if has("cpu") => &mut own.cpu,
                _ if has("freezer") => &mut own.freezer,
                _ => continue,
            };
            *place = Some(path.to_owned());
        }
        own
    }
}

/// Folder and name of a group, as far as its tree shows it.
fn group(tree: Option<&Tree>, path: Option<&str>) -> Option<(PathBuf, String)> {
    let (tree, path) = (tree?, path?);
    let inside = path.strip_prefix(tree.root.as_str())?;
    // Above what this namespace sees: `/../…`.
    if inside.split('/').any(|part| part == "..") {
        return None;
    }
    let folder = tree.mount.join(inside.trim_start_matches('/'));
    Some((folder, escape(path.as_bytes())))
}

fn read(path: &Path) -> String {
    let bytes = proc_fs::read(path, MAX_BYTES).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The group and those above it that have a limit.
fn above(mut folder: PathBuf, mut name: String) -> Vec<Usage> {
    let mut found = Vec::new();
    for _ in 0..MAX_LEVELS {
        if let Some(usage) = usage(&folder, &name) {
            found.push(usage);
        }
        let Some((up, _)) = name.rsplit_once('/').filter(|_| name.len() > 1) else {
            break;
        };
        name = if up.is_empty() {
            "/".to_owned()
        } else {
            up.to_owned()
        };
        if !folder.pop() {
            break;
        }
    }
    found
}

/// What a group says of itself; `None` when it has no limit.
fn usage(folder: &Path, name: &str) -> Option<Usage> {
    let quota = quota(folder)?;
    let stat = read(&folder.join("cpu.stat"));
    let value = |key: &str| {
        let line = stat
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))?;
        line.trim().parse::<u64>().ok()
    };
    let time = match (value("throttled_usec"), value("throttled_time")) {
        (Some(micros), _) => Duration::from_micros(micros),
        (None, nanos) => Duration::from_nanos(nanos.unwrap_or(0)),
    };
    Some(Usage {
        path: name.to_owned(),
        quota,
        periods: value("nr_periods")?,
        throttled: value("nr_throttled")?,
        time,
    })
}

/// What a group may use; `None`: all.
fn quota(folder: &Path) -> Option<Quota> {
    let max = read(&folder.join("cpu.max"));
    let (quota, period) = match max.split_once(' ') {
        Some((quota, period)) => (quota.to_owned(), period.to_owned()),
        None => (
            read(&folder.join("cpu.cfs_quota_us")),
            read(&folder.join("cpu.cfs_period_us")),
        ),
    };
    // Microseconds; `max` and -1: no limit.
    let (quota, period): (u64, u64) = (quota.trim().parse().ok()?, period.trim().parse().ok()?);
    (quota > 0 && period > 0).then(|| Quota {
        time: Duration::from_micros(quota),
        period: Duration::from_micros(period),
    })
}

/// The limit that held a process back the most between two readings; without any that did, the tightest.
pub(super) fn limit(before: &[Usage], now: Vec<Usage>) -> Option<CpuLimit> {
    let limits = now.into_iter().map(|now| {
        let was = before.iter().find(|before| before.path == now.path);
        let was = was.cloned().unwrap_or_else(|| now.clone());
        CpuLimit {
            periods: now.periods.saturating_sub(was.periods),
            throttled: now.throttled.saturating_sub(was.throttled),
            time: now.time.saturating_sub(was.time),
            cgroup: now.path,
            quota_cpus: Some(now.quota.cpus()),
            quota: Some(now.quota.time),
            period: Some(now.quota.period),
        }
    });
    let tightest = |limit: &CpuLimit| limit.quota_cpus.unwrap_or(f64::MAX);
    limits.min_by(|a, b| {
        let by_quota = tightest(a).total_cmp(&tightest(b));
        b.throttled.cmp(&a.throttled).then(by_quota)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn trees_are_found_by_their_controllers() {
        let groups = Groups::parse(
            "33 25 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
             34 25 0:30 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n\
             35 25 0:31 /inner /sys/fs/cgroup/unified rw shared:4 - cgroup2 cgroup2 rw\n\
             36 25 0:32 / /proc rw - proc proc rw\n",
        );
        let tree = |mount: &str, root: &str| {
            Some(Tree {
                mount: mount.into(),
                root: root.into(),
            })
        };
        assert_eq!(groups.cpu, tree("/sys/fs/cgroup/cpu", ""));
        assert_eq!(groups.freezer, tree("/sys/fs/cgroup/freezer", ""));
        assert_eq!(groups.unified, tree("/sys/fs/cgroup/unified", "/inner"));
    }

    #[test]
    fn a_process_is_in_a_group_of_each_tree() {
        let own = Membership::parse("6:freezer:/a\n4:cpuacct,cpu:/b:c\n2:cpuset:/x\n0::/d\n");
        assert_eq!(own.freezer.as_deref(), Some("/a"));
        assert_eq!(own.cpu.as_deref(), Some("/b:c"));
        assert_eq!(own.unified.as_deref(), Some("/d"));
        let tree = Tree {
            mount: "/m".into(),
            root: "/d".into(),
        };
        let found = group(Some(&tree), Some("/d/e"));
        assert_eq!(found, Some(("/m/e".into(), "/d/e".to_owned())));
        assert_eq!(group(Some(&tree), Some("/d/../x")), None);
        assert_eq!(group(Some(&tree), Some("/other")), None);
    }

    #[test]
    fn the_limit_that_held_back_is_the_one_that_counts() {
        let usage = |path: &str, throttled, quota| Usage {
            path: path.into(),
            quota: Quota {
                time: Duration::from_millis(quota),
                period: Duration::from_millis(100),
            },
            periods: 100,
            throttled,
            time: Duration::ZERO,
        };
        let before = [usage("/a/b", 5, 50), usage("/a", 5, 400)];
        let found = limit(&before, vec![usage("/a/b", 5, 50), usage("/a", 25, 400)]);
        let found = found.expect("there are two");
        assert_eq!((found.cgroup.as_str(), found.throttled), ("/a", 20));
        assert_eq!(found.quota_cpus, Some(4.0));
        assert_eq!(limit(&before, Vec::new()), None);
    }

    proptest! {
        #[test]
        fn any_text_is_taken(text in "([0-9]{1,3}|:|/|cpu|freezer|,| - |cgroup2?| |\n){0,60}") {
            let _ = (Groups::parse(&text), Membership::parse(&text));
        }
    }
}
