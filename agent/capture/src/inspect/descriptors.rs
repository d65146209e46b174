//! What the descriptors of the targets are of, from `/proc/PID/fd`: once at the start and once at the end, so
//! that a rise can be told by kind. How many there are at each beat, `memory` counts.

use remora_model::{Census, DescriptorKind, Descriptors};
use remora_process::{escape, proc_fs};
use std::collections::HashMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

/// Processes that are looked at.
const MAX_PROCESSES: usize = 64;
/// Descriptors of one process that are looked at, 1 to 3 µs each.
const MAX_LINKS: usize = 16_384;
/// Time for all processes.
const TIME: Duration = Duration::from_millis(300);
/// Names that are kept of a process, and while they are counted.
const NAMES: usize = 8;
const MAX_NAMES: usize = 4096;
/// 17 lines of 80 characters.
const MAX_LIMITS_BYTES: u64 = 8192;

/// The descriptors of these processes at the start.
pub(crate) fn begin(pids: &[u32]) -> Vec<Descriptors> {
    let deadline = Instant::now() + TIME;
    let looked_at = pids.iter().take(MAX_PROCESSES);
    looked_at
        .filter_map(|pid| {
            let start = census(*pid, deadline)?;
            Some(Descriptors {
                pid: *pid,
                limit: limit(*pid),
                end: start.clone(),
                start,
            })
        })
        .collect()
}

/// And at the end. Of one that has gone, what was there at the start stays.
pub(crate) fn end(all: &mut [Descriptors]) {
    let deadline = Instant::now() + TIME;
    for descriptors in all {
        if let Some(end) = census(descriptors.pid, deadline) {
            descriptors.end = end;
            descriptors.limit = limit(descriptors.pid).or(descriptors.limit);
        }
    }
}

/// `None`: it is gone, or hidden.
fn census(pid: u32, deadline: Instant) -> Option<Census> {
    let mut census = Census::default();
    let mut kinds: HashMap<DescriptorKind, u64> = HashMap::new();
    let mut names: HashMap<Vec<u8>, u64> = HashMap::new();
    for entry in fs::read_dir(format!("/proc/{}/fd", proc_fs::speaker(pid)))
        .ok()?
        .flatten()
    {
        census.open += 1;
        if census.open > MAX_LINKS as u64 || Instant::now() > deadline {
            census.cut = true;
            continue;
        }
        let Ok(link) = fs::read_link(entry.path()) else {
            // Closed meanwhile.
            continue;
        };
        let target = link.as_os_str().as_bytes();
        let kind = kind(target);
        *kinds.entry(kind).or_default() += 1;
        let named = !matches!(kind, DescriptorKind::Socket | DescriptorKind::Pipe);
        if named && (names.len() < MAX_NAMES || names.contains_key(target)) {
            *names.entry(target.to_vec()).or_default() += 1;
        }
    }
    census.kinds = kinds.into_iter().collect();
    census.kinds.sort_unstable();
    let mut names: Vec<_> = names.into_iter().collect();
    names.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    names.truncate(NAMES);
    let names = names.into_iter();
    census.names = names
        .map(|(name, number)| (escape(&name), number))
        .collect();
    Some(census)
}

/// What a link of `/proc/PID/fd` is of.
fn kind(target: &[u8]) -> DescriptorKind {
    let begins = |prefix: &[u8]| target.starts_with(prefix);
    match () {
        () if begins(b"socket:[") => DescriptorKind::Socket,
        () if begins(b"pipe:[") => DescriptorKind::Pipe,
        () if begins(b"anon_inode:") => DescriptorKind::Anonymous,
        () if begins(b"/memfd:") => DescriptorKind::MemoryFile,
        () if begins(b"/dev/") && !begins(b"/dev/shm/") => DescriptorKind::Device,
        () if begins(b"/") => DescriptorKind::File,
        () => DescriptorKind::Other,
    }
}

/// The soft limit on open files.
fn limit(pid: u32) -> Option<u64> {
    soft_limit(
        &proc_fs::read(
            format!("/proc/{}/limits", proc_fs::speaker(pid)),
            MAX_LIMITS_BYTES,
        )
        .ok()?,
    )
}

/// The line `Max open files            1024                 524288               files`.
fn soft_limit(limits: &[u8]) -> Option<u64> {
    let mut lines = limits.split(|byte| *byte == b'\n');
    let line = lines.find_map(|line| line.strip_prefix(b"Max open files"))?;
    let soft = std::str::from_utf8(line)
        .ok()?
        .split_ascii_whitespace()
        .next()?;
    soft.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn links_say_what_they_are_of() {
        for (target, expected) in [
            ("socket:[123]", DescriptorKind::Socket),
            ("pipe:[9]", DescriptorKind::Pipe),
            ("anon_inode:[eventpoll]", DescriptorKind::Anonymous),
            ("/memfd:x (deleted)", DescriptorKind::MemoryFile),
            ("/dev/null", DescriptorKind::Device),
            ("/dev/shm/x", DescriptorKind::File),
            ("/tmp/x (deleted)", DescriptorKind::File),
            ("net:[4026531840]", DescriptorKind::Other),
        ] {
            assert_eq!(kind(target.as_bytes()), expected, "{target}");
        }
    }

    #[test]
    fn our_own_descriptors_are_counted_by_kind() {
        let before = begin(&[std::process::id()]);
        let [own] = &before[..] else {
            panic!("{before:?}");
        };
        assert!(own.limit.is_some_and(|limit| limit > 2), "{own:?}");
        let sum: u64 = own.start.kinds.iter().map(|(_, number)| number).sum();
        assert!(sum >= 3 && sum <= own.start.open, "{own:?}");
        assert_eq!(begin(&[u32::MAX]), []);
    }

    #[test]
    fn the_limit_is_the_soft_one() {
        let text =
            b"Limit                     Soft Limit           Hard Limit           Units     \n\
            Max processes             63204                63204                processes \n\
            Max open files            1024                 524288               files     \n";
        assert_eq!(soft_limit(text), Some(1024));
        let none = b"Max open files            unlimited            unlimited            files\n";
        assert_eq!(soft_limit(none), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (soft_limit(&bytes), kind(&bytes));
        }
    }
}
