//! The counters of a process: `status` and `stat` of `/proc/PID`. Cheap, whatever the process's size:
//! some 40 µs. The kernel keeps them by CPU and lets them lag behind by some pages each.

use super::smaps::kib;
use remora_model::MemoryReading;
use remora_process::proc_fs::{self, Stat};
use std::{fs, os::unix::fs::MetadataExt};

/// Entries of a descriptor table that are counted one by one, where the kernel does not say how many
/// there are.
const MAX_COUNTED: usize = 256;

/// Bytes of `status` that hold all that is read here: it lists groups and CPUs too.
const MAX_STATUS_BYTES: u64 = 64 << 10;
const MAX_STAT_BYTES: u64 = 4096;

/// A reading, and the process's start in clock ticks since boot: which process it was.
pub(super) fn read(pid: u32) -> Option<(MemoryReading, u64)> {
    let stat = proc_fs::read(format!("/proc/{pid}/stat"), MAX_STAT_BYTES).ok()?;
    let start_ticks = Stat::parse(&stat)?.start_ticks;
    let (minor_faults, major_faults) = faults(&stat)?;
    let pid = proc_fs::speaker(pid);
    let status = proc_fs::read(format!("/proc/{pid}/status"), MAX_STATUS_BYTES).ok()?;
    let mut reading = resident(&status)?;
    (reading.minor_faults, reading.major_faults) = (minor_faults, major_faults);
    reading.open_files = open_files(pid);
    Some((reading, start_ticks))
}

/// What `status` says; `None` for a process that has no memory any more.
fn resident(status: &[u8]) -> Option<MemoryReading> {
    let value = |key| proc_fs::status_value(status, key).map(|value| kib(value.as_bytes()));
    Some(MemoryReading {
        anon_bytes: value("RssAnon")?,
        file_bytes: value("RssFile")?,
        shmem_bytes: value("RssShmem")?,
        swap_bytes: value("VmSwap").unwrap_or(0),
        threads: proc_fs::status_value(status, "Threads")
            .and_then(|value| value.trim().parse().ok()),
        ..MemoryReading::default()
    })
}

/// Fields 10 and 12 of `stat`, proc_pid_stat(5): faults of all its threads, those that ended included.
fn faults(stat: &[u8]) -> Option<(u64, u64)> {
    let close = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(close + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let minor = fields.nth(7)?.parse().ok()?;
    let major = fields.nth(1)?.parse().ok()?;
    Some((minor, major))
}

/// Open descriptors: the size of their folder, since Linux 6.2; before that, a few are counted.
fn open_files(pid: u32) -> Option<u64> {
    let folder = format!("/proc/{pid}/fd");
    let size = fs::metadata(&folder).ok()?.size();
    if size > 0 {
        return Some(size);
    }
    let counted = fs::read_dir(&folder).ok()?.take(MAX_COUNTED).count();
    (counted < MAX_COUNTED).then_some(counted as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn our_own_counters_are_plausible() {
        let (reading, start) = read(std::process::id()).expect("we are alive");
        assert!(reading.anon_bytes > 0 && reading.minor_faults > 0 && start > 0);
        assert!(reading.open_files.is_some_and(|open| open >= 3));
        assert!(reading.threads.is_some_and(|threads| threads >= 1));
    }

    #[test]
    fn fields_are_those_of_the_manual() {
        let line = b"7 (a) b) S 1 7 7 0 -1 4194304 101 202 303 404 0 0 0 0 20 0 1 0 55 0 0\n";
        assert_eq!(faults(line), Some((101, 303)));
        let status =
            b"Name:\tx\nRssAnon:\t  12 kB\nRssFile:\t3 kB\nRssShmem:\t0 kB\nVmSwap:\t1 kB\n";
        let reading = resident(status).expect("a whole one");
        let swap = reading.swap_bytes;
        assert_eq!(
            (reading.anon_bytes, reading.file_bytes, swap),
            (12 << 10, 3 << 10, 1 << 10)
        );
        // A zombie has none of these lines.
        assert_eq!(resident(b"Name:\tx\nState:\tZ (zombie)\n"), None);
    }

    #[test]
    fn nobody_is_no_reading() {
        assert_eq!(read(u32::MAX), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = (faults(&bytes), resident(&bytes), kib(&bytes));
        }
    }
}
