//! `/proc`, read by hand: bounded reads and total parsers of the few fields that we need.
//!
//! The `procfs` crate is not used here because names are chosen by the processes themselves: it
//! reads `status` as UTF-8 lines, so a process with any other name could not be looked at, and it
//! fails on any field that it expects and does not find.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The most threads or processes there can be: `PID_MAX_LIMIT` of `include/linux/threads.h`.
const MAX_IDS: usize = 4 << 20;
/// `status` lists supplementary groups, up to 65,536 of them in up to 11 bytes each.
const MAX_STATUS_BYTES: u64 = 1 << 20;
/// 52 numbers and a name.
const MAX_STAT_BYTES: u64 = 4096;
/// `PF_EXITING` of `include/linux/sched.h`.
const PF_EXITING: u32 = 0x4;
/// `PF_KTHREAD` of `include/linux/sched.h`.
const PF_KTHREAD: u32 = 0x0020_0000;
/// `MAX_PID_NS_LEVEL` of `include/linux/pid_namespace.h`, and the initial one.
const MAX_PID_LEVELS: usize = 33;

/// What is needed of `/proc/PID/stat`, proc_pid_stat(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Name, any bytes but NUL.
    pub comm: Vec<u8>,
    /// State letter: `R`, `S`, `D`, `Z`…
    pub state: u8,
    /// Parent process id.
    pub parent: u32,
    /// Process group, 0 = none of this namespace.
    pub group: u32,
    /// `PF_*` flags of the kernel.
    pub flags: u32,
    /// Time on a CPU since its start, in clock ticks.
    pub cpu_ticks: u64,
    /// Its threads.
    pub threads: u32,
    /// Start after boot, in clock ticks.
    pub start_ticks: u64,
}

impl Stat {
    /// Reads a `stat` line. The name stands in parentheses and may hold any of ` ()`; all that
    /// follows it are letters and numbers, so it ends at the last `)`.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let open = line.iter().position(|byte| *byte == b'(')?;
        let close = line.iter().rposition(|byte| *byte == b')')?;
        let comm = line.get(open + 1..close)?.to_vec();
        let rest = std::str::from_utf8(line.get(close + 1..)?).ok()?;
        // Field 3 of the manual page is the first here.
        let fields: Vec<&str> = rest.split_ascii_whitespace().take(20).collect();
        Some(Self {
            comm,
            state: *fields.first()?.as_bytes().first()?,
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().unwrap_or(0),
            flags: fields.get(6)?.parse().ok()?,
            cpu_ticks: {
                let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
                ticks(11)?.saturating_add(ticks(12)?)
            },
            threads: fields.get(17)?.parse().ok()?,
            start_ticks: fields.get(19)?.parse().ok()?,
        })
    }

    /// Whether it is a thread of the kernel's own.
    pub fn is_kernel_thread(&self) -> bool {
        self.flags & PF_KTHREAD != 0
    }
}

/// The value of a `Key:\tvalue` line of a `status` file. The kernel escapes line ends in the name,
/// so no process can forge a line.
pub fn status_value<'a>(status: &'a [u8], key: &str) -> Option<&'a str> {
    let value = status
        .split(|byte| *byte == b'\n')
        .find_map(|line| line.strip_prefix(key.as_bytes())?.strip_prefix(b":"))?;
    std::str::from_utf8(value).ok().map(str::trim)
}

/// The pid of a process in each PID namespace that it is in, the reader's first.
pub fn namespace_pids(status: &[u8]) -> Vec<u32> {
    status_value(status, "NSpid")
        .unwrap_or_default()
        .split_ascii_whitespace()
        .take(MAX_PID_LEVELS)
        .map_while(|pid| pid.parse().ok())
        .collect()
}

/// Thread ids of a process as its own PID namespace has them, to those here; empty when it is in ours.
pub fn namespace_thread_ids(pid: u32) -> HashMap<u32, u32> {
    let inner = |id: u32| {
        let ids = namespace_pids(&status(id).ok()?);
        (ids.len() > 1).then(|| ids.last().copied()).flatten()
    };
    if inner(pid).is_none() {
        return HashMap::new();
    }
    let threads = threads(pid).into_iter();
    threads.filter_map(|tid| Some((inner(tid)?, tid))).collect()
}

/// Reads at most `limit` bytes of a file.
pub fn read(path: impl AsRef<Path>, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// `/proc/PID/stat`; `None`: it is gone, or hidden.
pub fn stat(pid: u32) -> Option<Stat> {
    Stat::parse(&read(format!("/proc/{pid}/stat"), MAX_STAT_BYTES).ok()?)
}

/// `/proc/WHO/status`, `who` being a pid or `self`.
pub fn status(who: impl std::fmt::Display) -> io::Result<Vec<u8>> {
    read(format!("/proc/{who}/status"), MAX_STATUS_BYTES)
}

/// The process that the thread or process `tid` belongs to.
pub fn process_of(tid: u32) -> Option<u32> {
    status_value(&status(tid).ok()?, "Tgid")?.parse().ok()
}

/// What a process has in swap, in bytes; 0 on a host without swap.
pub fn vm_swap_bytes(pid: u32) -> Option<u64> {
    let status = status(speaker(pid)).ok()?;
    let swap = status_value(&status, "VmSwap").unwrap_or("0 kB");
    let kib: u64 = swap.strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// All processes that `/proc` shows.
pub fn processes() -> io::Result<Vec<u32>> {
    ids("/proc")
}

/// Threads of a process, ascending; none when it is gone.
pub fn threads(pid: u32) -> Vec<u32> {
    let mut threads = ids(format!("/proc/{pid}/task")).unwrap_or_default();
    threads.sort_unstable();
    threads
}

/// The thread whose files under `/proc` speak for a process: its first one, or another where that has ended before
/// the others (`pthread_exit` in `main`). The first one's `maps`, `mem` and `fd` are empty from then on, its `status`
/// knows no memory; each thread has the same ones under `/proc/TID`.
pub fn speaker(pid: u32) -> u32 {
    // What exits loses its memory before it is a zombie.
    let is_exiting = |stat: &Stat| stat.flags & PF_EXITING != 0;
    let has_ended =
        |id| stat(id).is_none_or(|stat| matches!(stat.state, b'Z' | b'X') || is_exiting(&stat));
    if !has_ended(pid) {
        return pid;
    }
    let mut threads = threads(pid).into_iter().filter(|tid| *tid != pid);
    threads.find(|tid| !has_ended(*tid)).unwrap_or(pid)
}

/// Entries of a folder that are numbers.
fn ids(folder: impl AsRef<Path>) -> io::Result<Vec<u32>> {
    let names = std::fs::read_dir(folder)?
        .map_while(Result::ok)
        .take(MAX_IDS);
    Ok(names
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_process_speaks_for_itself_while_its_first_thread_lives() {
        assert_eq!(speaker(std::process::id()), std::process::id());
        // Nobody else speaks for one that is gone.
        assert_eq!(speaker(u32::MAX), u32::MAX);
    }

    fn line(comm: &[u8], parent: u32, flags: u32, start: u64) -> Vec<u8> {
        let mut line = b"4711 (".to_vec();
        line.extend_from_slice(comm);
        let rest = format!(
            ") S {parent} 1 1 0 -1 {flags} 9 9 9 9 9 9 9 9 20 0 1 0 {start} 8192 100 184467 0\n"
        );
        line.extend_from_slice(rest.as_bytes());
        line
    }

    #[test]
    fn a_name_cannot_forge_fields() {
        let hostile = b"a) R 1 (b".as_slice();
        let stat = Stat::parse(&line(hostile, 77, PF_KTHREAD, 123_456)).unwrap();
        assert_eq!(stat.comm, hostile);
        assert_eq!(
            (stat.state, stat.parent, stat.start_ticks),
            (b'S', 77, 123_456)
        );
        assert!(stat.is_kernel_thread());
    }

    #[test]
    fn a_short_line_is_refused() {
        let whole = line(b"x", 1, 0, 5);
        let cut = whole.iter().rposition(|byte| *byte == b'5').unwrap();
        assert!(Stat::parse(&whole[..=cut]).is_some());
        assert!(Stat::parse(&whole[..cut]).is_none());
        assert!(Stat::parse(b"1 )x( S 1").is_none());
    }

    #[test]
    fn our_own_files_are_understood() {
        let own = std::process::id();
        let stat = stat(own).unwrap();
        assert!(stat.start_ticks > 0 && !stat.is_kernel_thread());
        assert_eq!(stat.parent, std::os::unix::process::parent_id());
        assert_eq!(process_of(own), Some(own));
        assert_eq!(namespace_pids(&status("self").unwrap()).first(), Some(&own));
        assert!(processes().unwrap().contains(&own));
        assert!(threads(own).contains(&own));
    }

    #[test]
    fn status_lines_are_found_by_their_whole_key() {
        let status = b"Name:\t\xff\\nTgid:\t9\nNStgid:\t8\nTgid:\t7\nNSpid:\t7\t3\t1\n";
        assert_eq!(status_value(status, "Tgid"), Some("7"));
        assert_eq!(status_value(status, "Name"), None, "not UTF-8");
        assert_eq!(status_value(status, "CapEff"), None);
        assert_eq!(namespace_pids(status), [7, 3, 1]);
    }

    #[test]
    fn reads_are_bounded() {
        assert_eq!(read("/dev/zero", 100).unwrap().len(), 100);
    }

    proptest! {
        #[test]
        fn any_name_survives(
            comm in prop::collection::vec(1_u8.., 0..16),
            parent: u32, flags: u32, start: u64,
        ) {
            let stat = Stat::parse(&line(&comm, parent, flags, start)).unwrap();
            let expected = Stat {
                comm, state: b'S', parent, group: 1, flags, cpu_ticks: 18, threads: 1, start_ticks: start,
            };
            prop_assert_eq!(stat, expected);
        }

        #[test]
        fn any_bytes_are_taken(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Stat::parse(&bytes);
            let _ = status_value(&bytes, "NSpid");
        }

        #[test]
        fn any_line_of_pids_is_bounded(value in "[0-9 \t-]{0,400}") {
            let status = format!("NSpid:\t{value}\n");
            prop_assert!(namespace_pids(status.as_bytes()).len() <= MAX_PID_LEVELS);
        }
    }
}
