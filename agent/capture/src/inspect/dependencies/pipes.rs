//! Pipes: what a descriptor is, and which processes hold the other end.

use remora_model::{Awaited, Dependency};
use remora_process::{self as process, escape, proc_fs};
use std::{collections::HashMap, fs, os::unix::ffi::OsStrExt, path::PathBuf, time::Instant};

/// Processes named for one end.
const MAX_HOLDERS: usize = 16;
/// Bits of `open(2)`'s flags that say what for, and `O_WRONLY` and `O_RDWR` of them.
const ACCESS: u32 = 3;
/// See [`ACCESS`].
const WRITE_ONLY: u32 = 1;
/// See [`ACCESS`].
const BOTH: u32 = 2;

fn link(pid: u32, fd: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{}/fd/{fd}", proc_fs::speaker(pid))).ok()
}

/// Whether a descriptor is a socket.
pub(super) fn is_socket(pid: u32, fd: u32) -> bool {
    link(pid, fd).is_some_and(|link| link.as_os_str().as_bytes().starts_with(b"socket:["))
}

/// The pipe or FIFO behind a descriptor.
pub(super) fn pipe(pid: u32, fd: u32, reads: bool) -> Option<Awaited> {
    let link = link(pid, fd)?;
    let bytes = link.as_os_str().as_bytes();
    let inode = bytes.strip_prefix(b"pipe:[").and_then(|rest| {
        std::str::from_utf8(rest.strip_suffix(b"]")?)
            .ok()?
            .parse()
            .ok()
    });
    let is_fifo = || {
        use std::os::unix::fs::FileTypeExt;
        // The link itself: what it leads to need not answer.
        bytes.starts_with(b"/")
            && fs::symlink_metadata(&link).is_ok_and(|file| file.file_type().is_fifo())
    };
    (inode.is_some() || is_fifo()).then(|| Awaited::Pipe {
        fd,
        inode: inode.unwrap_or(0),
        name: escape(bytes),
        reads,
    })
}

/// What a process opened a descriptor for: to read, to write.
fn access(pid: u32, fd: &str) -> Option<(bool, bool)> {
    let info = proc_fs::read(format!("/proc/{}/fdinfo/{fd}", proc_fs::speaker(pid)), 4096).ok()?;
    let flags = proc_fs::status_value(&info, "flags")?;
    let access = u32::from_str_radix(flags, 8).ok()? & ACCESS;
    Some((access != WRITE_ONLY, access == WRITE_ONLY || access == BOTH))
}

/// Adds to each wait for a pipe the processes that hold its other end: one pass over the descriptors of all.
pub(super) fn find_other_ends(found: &mut [Dependency], deadline: Instant) {
    let mut wanted: HashMap<String, Vec<usize>> = HashMap::new();
    for (at, dependency) in found.iter().enumerate() {
        if let Awaited::Pipe { name, .. } = &dependency.on {
            wanted.entry(name.clone()).or_default().push(at);
        }
    }
    if wanted.is_empty() {
        return;
    }
    let mut whole = true;
    for pid in proc_fs::processes().unwrap_or_default() {
        if Instant::now() > deadline {
            whole = false;
            break;
        }
        let Ok(entries) = fs::read_dir(format!("/proc/{}/fd", proc_fs::speaker(pid))) else {
            // It has ended, or hides its descriptors, which root sees all the same.
            continue;
        };
        for entry in entries.map_while(Result::ok) {
            let Ok(link) = fs::read_link(entry.path()) else {
                continue;
            };
            let bytes = link.as_os_str().as_bytes();
            if !bytes.starts_with(b"pipe:[") && !bytes.starts_with(b"/") {
                continue;
            }
            let Some(waits) = wanted.get(&escape(bytes)) else {
                continue;
            };
            let fd = entry.file_name();
            let Some((reads, writes)) = fd.to_str().and_then(|fd| access(pid, fd)) else {
                continue;
            };
            for at in waits {
                if let Some(dependency) = found.get_mut(*at) {
                    add(dependency, pid, reads, writes);
                }
            }
        }
    }
    for dependency in found {
        dependency.cut |= !whole && matches!(dependency.on, Awaited::Pipe { .. });
    }
}

fn add(dependency: &mut Dependency, pid: u32, reads: bool, writes: bool) {
    let Awaited::Pipe {
        reads: waits_to_read,
        ..
    } = dependency.on
    else {
        return;
    };
    let helps = if waits_to_read { writes } else { reads };
    let known = dependency.parties.iter().any(|(party, _)| *party == pid);
    if !helps || known {
        return;
    }
    if dependency.parties.len() >= MAX_HOLDERS {
        dependency.cut = true;
        return;
    }
    let name = process::name(pid).unwrap_or_default();
    dependency.parties.push((pid, name));
}
