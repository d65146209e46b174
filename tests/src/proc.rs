//! What `/proc` says of a thread: the second witness beside the specimen's own clock.

use std::{
    fs,
    process::Child,
    time::{Duration, Instant},
};

/// How long something that was killed is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Kills it and waits for its end, which what sleeps uninterruptibly comes to only later: then it is left.
pub fn end(child: &mut Child) {
    // It may have ended by itself.
    drop(child.kill());
    let start = Instant::now();
    while matches!(child.try_wait(), Ok(None)) && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The scheduler's account of a thread: `/proc/PID/task/TID/schedstat`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Schedstat {
    /// On a CPU.
    pub run: Duration,
    /// Ready, waiting for one.
    pub queued: Duration,
}

/// Reads it; `None` when the thread is gone.
pub fn schedstat(pid: u32, tid: u32) -> Option<Schedstat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/schedstat")).ok()?;
    let mut fields = text
        .split_ascii_whitespace()
        .map(|field| field.parse().ok());
    let run = Duration::from_nanos(fields.next()??);
    let queued = Duration::from_nanos(fields.next()??);
    Some(Schedstat { run, queued })
}

/// Number of the system call that a thread is blocked in, -1 for none (a page fault); `None` while
/// it runs or is gone.
pub fn blocked_in(pid: u32, tid: u32) -> Option<i64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/syscall")).ok()?;
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// State letter of a thread: `S`, `R`, `D`, `T`, `Z`; `None` when it is gone.
pub fn state(pid: u32, tid: u32) -> Option<char> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/stat")).ok()?;
    // The name may hold anything; the state follows its last parenthesis.
    text.rsplit_once(')')?.1.trim_start().chars().next()
}

/// Number in a line `NAME:  number…` of `/proc/PID/status`.
pub fn status_number(pid: u32, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Bytes in a line `NAME:  N kB` of `/proc/PID/smaps_rollup`: the kernel's exact sum.
///
/// # Panics
/// When the process is gone, or has no such line.
pub fn rollup_bytes(pid: u32, name: &str) -> u64 {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let words = line.map(|line| line.trim().trim_end_matches(" kB"));
    let kib: Option<u64> = words.and_then(|kib| kib.parse().ok());
    1024 * kib.unwrap_or_else(|| panic!("no {name} in {text}"))
}

/// A child of a process, if it has one.
pub fn child_of(pid: u32) -> Option<u32> {
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.into_iter().find(|child: &u32| {
        let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        let fields = stat.rsplit_once(')').map(|(_, fields)| fields);
        let parent = fields.and_then(|fields| fields.split_ascii_whitespace().nth(1)?.parse().ok());
        parent == Some(pid)
    })
}

/// Thread ids of a process.
pub fn tids(pid: u32) -> Vec<u32> {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    tasks
        .filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

/// Where the descriptors of a process lead.
pub fn descriptors(pid: u32) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .map(|link| link.to_string_lossy().into_owned())
        .collect()
}
