//! Who holds the other end of a pipe that is full: one search through the descriptors of the host.

use super::actor;
use crate::{model::Actor, target::proc_fs};
use std::{
    fs,
    time::{Duration, Instant},
};

/// Descriptors that are looked at.
const MAX_LINKS: usize = 100_000;
/// Time that the search may take.
const TIME: Duration = Duration::from_millis(150);
/// Processes that are named.
const MAX_READERS: usize = 3;
/// `O_ACCMODE`, and the mode in it of a reading end.
const ACCESS: u32 = 3;

/// Processes that can read a pipe, given as its link in `/proc/PID/fd` has it: `pipe:[4711]`.
pub fn readers(link: &str) -> Vec<Actor> {
    let deadline = Instant::now() + TIME;
    let mut links = MAX_LINKS;
    let mut found = Vec::new();
    for pid in proc_fs::processes().unwrap_or_default() {
        if found.len() >= MAX_READERS || links == 0 || Instant::now() > deadline {
            break;
        }
        if reads(pid, link, &mut links) {
            found.push(actor(pid));
        }
    }
    found
}

/// Whether a process has a descriptor that reads that pipe.
fn reads(pid: u32, link: &str, links: &mut usize) -> bool {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    for entry in entries.flatten() {
        let Some(left) = links.checked_sub(1) else {
            return false;
        };
        *links = left;
        if !fs::read_link(entry.path()).is_ok_and(|it| it.as_os_str() == link) {
            continue;
        }
        let fd = entry.file_name();
        let info = format!("/proc/{pid}/fdinfo/{}", fd.to_string_lossy());
        let info = proc_fs::read(info, 4096).unwrap_or_default();
        let flags = proc_fs::status_value(&info, "flags");
        let flags = flags.and_then(|flags| u32::from_str_radix(flags, 8).ok());
        // 1: only writes.
        if flags.is_some_and(|flags| flags & ACCESS != 1) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn the_reading_end_of_a_pipe_is_found_and_the_writing_end_is_none() {
        let (reader, writer) = std::io::pipe().unwrap();
        let own = format!("/proc/self/fd/{}", reader.as_raw_fd());
        let link = fs::read_link(own).unwrap();
        let link = link.to_str().unwrap();
        let pid = std::process::id();
        assert!(reads(pid, link, &mut MAX_LINKS.clone()));
        drop(reader);
        assert!(!reads(pid, link, &mut MAX_LINKS.clone()));
        assert!(!reads(pid, link, &mut 0));
        drop(writer);
    }
}
