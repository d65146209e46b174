//! Locks on files: who holds one that somebody waits for, from `/proc/locks` (proc_locks(5)).

use remora_common::thread::ThreadSlot;
use remora_model::{Awaited, Dependency};
use remora_process::{self as process, escape, proc_fs};
use std::{collections::HashMap, fs, os::unix::ffi::OsStrExt};

/// Bytes of `/proc/locks` that are read.
const MAX_BYTES: u64 = 4 << 20;

/// The file behind a descriptor.
pub(super) fn file(pid: u32, fd: u32) -> Option<Awaited> {
    let link = fs::read_link(format!("/proc/{}/fd/{fd}", proc_fs::speaker(pid))).ok()?;
    let name = escape(link.as_os_str().as_bytes());
    name.starts_with('/').then_some(Awaited::File { name })
}

/// Adds to each wait for a lock on a file the process that holds it; where a process waits for several, they
/// cannot be told apart, and none is named.
pub(super) fn find_holders(found: &mut [Dependency], slots: &[ThreadSlot]) {
    let is_file = |it: &Dependency| matches!(it.on, Awaited::File { .. });
    if !found.iter().any(is_file) {
        return;
    }
    let text = proc_fs::read("/proc/locks", MAX_BYTES).unwrap_or_default();
    let waits = waits(&String::from_utf8_lossy(&text));
    for dependency in found.iter_mut().filter(|it| is_file(it)) {
        let own = slots.iter().find(|slot| slot.tid == dependency.tid);
        let holder = own.and_then(|slot| waits.get(&slot.tgid));
        if let Some([holder]) = holder.map(Vec::as_slice) {
            let name = process::name(*holder).unwrap_or_default();
            dependency.parties.push((*holder, name));
        }
    }
}

/// Of each process that waits for locks who holds them: `1: FLOCK ADVISORY WRITE 123 08:01:99 0 EOF`, and behind it
/// `1: -> FLOCK ADVISORY WRITE 124 08:01:99 0 EOF`.
fn waits(locks: &str) -> HashMap<u32, Vec<u32>> {
    let mut holders: HashMap<&str, u32> = HashMap::new();
    let mut waits: HashMap<u32, Vec<u32>> = HashMap::new();
    for line in locks.lines() {
        let mut words = line.split_ascii_whitespace();
        let Some(id) = words.next() else { continue };
        let mut words = words.peekable();
        let waiting = words.peek() == Some(&"->");
        let at = if waiting { 4 } else { 3 };
        // -1: an open file description holds it, no process.
        let Some(pid) = words.nth(at).and_then(|pid| pid.parse::<u32>().ok()) else {
            continue;
        };
        if !waiting {
            holders.insert(id, pid);
        } else if let Some(holder) = holders.get(id) {
            waits.entry(pid).or_default().push(*holder);
        }
    }
    waits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_whom_stands_behind_the_lock() {
        let text = "1: FLOCK  ADVISORY  WRITE 123 08:01:99 0 EOF\n\
            1: -> FLOCK  ADVISORY  WRITE 124 08:01:99 0 EOF\n\
            2: OFDLCK ADVISORY  WRITE -1 08:01:98 0 EOF\n\
            2: -> POSIX  ADVISORY  WRITE 125 08:01:98 0 EOF\n\
            3: LEASE\n\nnonsense -> -> 7\n";
        assert_eq!(waits(text), HashMap::from([(124, vec![123])]));
    }
}
