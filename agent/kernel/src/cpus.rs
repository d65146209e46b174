//! Which CPUs this host has, which of them are kept for somebody, and where a thread may run.

use remora_model::Cpus;
use rustix::{
    process::Pid,
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};
use std::{fs, io, path::Path};

/// The CPUs of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// Those that run; empty when that cannot be read.
    pub online: Cpus,
    /// Those on which the scheduler puts nobody by itself: `isolcpus`, isolated partitions of cpusets.
    pub isolated: Cpus,
    /// Those that have no timer tick while one thread has them: `nohz_full`.
    pub nohz_full: Cpus,
}

impl Topology {
    /// As the tree below `root` says (`/` but for tests): `sys/devices/system/cpu` and the root of the cgroups.
    pub fn read(root: &Path) -> Self {
        let cpus = root.join("sys/devices/system/cpu");
        let mut isolated = list(&cpus.join("isolated"));
        isolated.add(&list(&root.join("sys/fs/cgroup/cpuset.cpus.isolated")));
        Self {
            online: online(root),
            isolated,
            nohz_full: list(&cpus.join("nohz_full")),
        }
    }

    /// Those that are kept for somebody.
    pub fn kept(&self) -> Cpus {
        let mut kept = self.isolated.clone();
        kept.add(&self.nohz_full);
        kept
    }

    /// Where a process that may run on `allowed` disturbs nobody: among them, online, kept for nobody. May be empty.
    pub fn housekeeping(&self, allowed: &Cpus) -> Cpus {
        let allowed = match self.online.is_empty() {
            true => allowed.clone(),
            false => allowed.and(&self.online),
        };
        allowed.without(&self.kept())
    }
}

/// The CPUs that run now; none when that cannot be read.
pub fn online(root: &Path) -> Cpus {
    list(&root.join("sys/devices/system/cpu/online"))
}

/// Whether a CPU was offline in between can be told by this number: with it goes and comes its `topology`, whose node in
/// sysfs is another one then. `None`: it is offline, or there is no such thing.
pub fn generation(root: &Path, cpu: u32) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    let path = root.join(format!("sys/devices/system/cpu/cpu{cpu}/topology"));
    fs::metadata(path).ok().map(|node| node.ino())
}

/// A file that holds a list of CPUs. Kernels without the feature have no such file, or one that says `(null)`.
fn list(path: &Path) -> Cpus {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.parse().unwrap_or_default()
}

/// Where a thread may run, among the CPUs that are online; the calling one for `None`.
///
/// # Errors
/// The kernel's: it is gone, or the host has more than 1,024 CPUs.
pub fn affinity(tid: Option<u32>) -> io::Result<Cpus> {
    let pid = tid.and_then(|tid| Pid::from_raw(i32::try_from(tid).ok()?));
    if tid.is_some() && pid.is_none() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let set = sched_getaffinity(pid)?;
    let cpus = (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu));
    Ok(cpus.filter_map(|cpu| u32::try_from(cpu).ok()).collect())
}

/// Keeps the calling thread, and those that it makes, on these CPUs.
///
/// # Errors
/// The kernel's.
pub fn stay_on(cpus: &Cpus) -> io::Result<()> {
    let mut set = CpuSet::new();
    for cpu in cpus.iter() {
        let cpu = cpu as usize;
        if cpu < CpuSet::MAX_CPU {
            set.set(cpu);
        }
    }
    Ok(sched_setaffinity(None, &set)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn cpus(text: &str) -> Cpus {
        text.parse().unwrap()
    }

    /// A host with these files.
    fn host(files: &[(&str, &str)]) -> TempDir {
        let root = TempDir::new().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn a_host_with_kept_cpus_is_read() {
        let root = host(&[
            ("sys/devices/system/cpu/online", "0-7\n"),
            ("sys/devices/system/cpu/isolated", "4-5\n"),
            ("sys/devices/system/cpu/nohz_full", "5,6\n"),
            ("sys/fs/cgroup/cpuset.cpus.isolated", "7\n"),
        ]);
        let topology = Topology::read(root.path());
        assert_eq!(topology.online, cpus("0-7"));
        assert_eq!(topology.isolated, cpus("4,5,7"));
        assert_eq!(topology.nohz_full, cpus("5,6"));
        assert_eq!(topology.kept(), cpus("4-7"));
        assert_eq!(topology.housekeeping(&cpus("2-6,9")), cpus("2-3"));
        assert_eq!(topology.housekeeping(&cpus("4-7")), Cpus::default());
    }

    #[test]
    fn a_host_that_keeps_none_leaves_all() {
        let root = host(&[
            ("sys/devices/system/cpu/online", "0-1\n"),
            ("sys/devices/system/cpu/isolated", "\n"),
            // What kernels say that were built with it and booted without.
            ("sys/devices/system/cpu/nohz_full", "(null)\n"),
        ]);
        let topology = Topology::read(root.path());
        assert_eq!(topology.kept(), Cpus::default());
        assert_eq!(topology.housekeeping(&cpus("0-1")), cpus("0-1"));
    }

    #[test]
    fn without_sysfs_nothing_is_taken_away() {
        let root = host(&[]);
        let topology = Topology::read(root.path());
        assert_eq!(topology, Topology::default());
        assert_eq!(topology.housekeeping(&cpus("0-3")), cpus("0-3"));
        assert_eq!(generation(root.path(), 0), None);
    }

    #[test]
    fn our_own_affinity_is_among_the_cpus_that_run() {
        let own = affinity(None).unwrap();
        assert!(!own.is_empty());
        assert_eq!(own.without(&online(Path::new("/"))), Cpus::default());
        assert_eq!(affinity(Some(std::process::id())).unwrap(), own);
        assert!(affinity(Some(u32::MAX)).is_err());
    }
}
