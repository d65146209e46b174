//! Where the perf map of a process is found: `/tmp/perf-PID.map`, a text file that run-time
//! compilers write to name their code (`tools/perf/Documentation/jit-interface.txt` of the kernel).
//!
//! The process writes it in *its* `/tmp`, under the number that *it* has. Anyone may create a file
//! of that name in a shared `/tmp`, so it must belong to the process's user or to root.

use super::files::open_regular_no_link;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// A perf map exists, and belongs to a stranger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the perf map belongs neither to the user of the process nor to root")]
pub struct Stranger;

/// How to find the perf map of one process, now or after its exit.
#[derive(Debug)]
pub struct PerfMapPlace {
    pid: u32,
    inner_pid: u32,
    user: u32,
    start_ticks: u64,
    handle: Option<File>,
}

impl PerfMapPlace {
    /// Reads what must be known while the process lives, and opens its perf map if there is one.
    pub(super) fn read(pid: u32) -> io::Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let (inner_pid, user) = parse_status(&status, pid).ok_or(io::ErrorKind::InvalidData)?;
        let start_ticks = start_ticks(pid)?;
        let mut place = Self {
            pid,
            inner_pid,
            user,
            start_ticks,
            handle: None,
        };
        place.handle = place.open_at(&place.path_inside()).ok().flatten();
        Ok(place)
    }

    /// Opens the perf map: as the process's root shows it while it lives, else the one that was
    /// there at the snapshot, else the host's. `Ok(None)` when there is none.
    pub fn open(&self) -> Result<Option<File>, Stranger> {
        let alive = start_ticks(self.pid).is_ok_and(|ticks| ticks == self.start_ticks);
        if alive && let Some(file) = self.open_at(&self.path_inside())? {
            return Ok(Some(file));
        }
        if let Some(handle) = self.handle.as_ref().and_then(|file| file.try_clone().ok()) {
            return Ok(Some(handle));
        }
        self.open_at(Path::new(&format!("/tmp/perf-{}.map", self.pid)))
    }

    fn path_inside(&self) -> PathBuf {
        format!("/proc/{}/root/tmp/perf-{}.map", self.pid, self.inner_pid).into()
    }

    fn open_at(&self, path: &Path) -> Result<Option<File>, Stranger> {
        let owned = |user: u32| user == self.user || user == 0;
        match open_regular_no_link(path, |stat| owned(stat.st_uid)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(Stranger),
            Err(_) => Ok(None),
        }
    }
}

/// The pid in the innermost namespace and the effective user, from `/proc/PID/status`.
fn parse_status(status: &str, pid: u32) -> Option<(u32, u32)> {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    // Kernels without PID namespaces have no such line.
    let inner_pid = match field("NSpid:") {
        Some(pids) => pids.split_ascii_whitespace().next_back()?.parse().ok()?,
        None => pid,
    };
    let user = field("Uid:")?
        .split_ascii_whitespace()
        .nth(1)?
        .parse()
        .ok()?;
    Some((inner_pid, user))
}

/// When the process began, in clock ticks since boot: tells it from a later one with its pid.
fn start_ticks(pid: u32) -> io::Result<u64> {
    let stat = std::fs::read(format!("/proc/{pid}/stat"))?;
    parse_start_ticks(&stat).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Field 22 of `/proc/PID/stat` (proc_pid_stat(5)); the name before it may hold any byte.
fn parse_start_ticks(stat: &[u8]) -> Option<u64> {
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(&stat[name_end + 1..]).ok()?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inner_pid_and_effective_user() {
        let status = "Name:\tx\nUid:\t1\t2\t3\t4\nNSpid:\t900\t31\t7\n";
        assert_eq!(parse_status(status, 900), Some((7, 2)));
        assert_eq!(parse_status("Uid:\t1\t2\t3\t4\n", 900), Some((900, 2)));
        assert_eq!(parse_status("Name:\tx\n", 900), None);
    }

    #[test]
    fn a_hostile_name_does_not_move_the_start_time() {
        let mut stat = b"7 (a) R 1 2) S".to_vec();
        for number in 4..=30 {
            stat.extend_from_slice(format!(" {number}").as_bytes());
        }
        assert_eq!(parse_start_ticks(&stat), Some(22));
        assert_eq!(parse_start_ticks(b""), None);
    }

    #[test]
    fn a_map_that_appears_after_the_snapshot_is_found() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let place = PerfMapPlace::read(child.id()).unwrap();
        let path = format!("/tmp/perf-{}.map", child.id());
        std::fs::write(&path, "1000 10 late\n").unwrap();
        let found = place.open();
        child.kill().unwrap();
        child.wait().unwrap();
        let after_exit = place.open();
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(after_exit, Ok(Some(_))), "{after_exit:?}");
        assert!(matches!(found, Ok(Some(_))), "{found:?}");
    }

    #[test]
    fn a_symbolic_link_is_no_perf_map() {
        let place = PerfMapPlace::read(std::process::id()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        std::fs::write(&real, "").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        assert!(matches!(place.open_at(&real), Ok(Some(_))));
        assert!(!matches!(place.open_at(&link), Ok(Some(_))));
    }
}
