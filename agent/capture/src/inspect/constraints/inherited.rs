//! Event loops that a process has only by inheritance: it was forked from inside of a callback and went on there,
//! as the workers of a `ProcessPoolExecutor` do. The loop's frames stand in its stack for ever, and nobody in
//! this process is to come back to them.

use remora_process::proc_fs;
use std::{collections::BTreeSet, fs, os::unix::ffi::OsStrExt};

/// `PF_FORKNOEXEC` of `include/linux/sched.h`.
const FORKED_WITHOUT_EXEC: u32 = 0x40;
/// Descriptors of a process that are looked at: a loop's is among the first.
const MAX_LINKS: usize = 1024;
/// Epoll instances of a process that are compared.
const MAX_INSTANCES: usize = 8;
/// Bytes of the list of what an instance watches.
const MAX_LIST: u64 = 64 << 10;

/// Whether a process was forked and has no epoll instance of its own: each watches what its parent's of the
/// same number watches, or there is none.
pub(super) fn loops_are_inherited(pid: u32) -> bool {
    let Some(stat) = proc_fs::stat(pid) else {
        return false;
    };
    if stat.flags & FORKED_WITHOUT_EXEC == 0 {
        return false;
    }
    let Some(own) = instances(pid) else {
        return false;
    };
    own.iter().all(|fd| {
        let watched = watched(pid, fd);
        watched.is_some() && watched == self::watched(stat.parent, fd)
    })
}

/// The descriptors of epoll instances; `None` where there are too many to say.
fn instances(pid: u32) -> Option<Vec<String>> {
    let mut found = Vec::new();
    let entries = fs::read_dir(format!("/proc/{}/fd", proc_fs::speaker(pid))).ok()?;
    for (count, entry) in entries.map_while(Result::ok).enumerate() {
        if count >= MAX_LINKS || found.len() > MAX_INSTANCES {
            return None;
        }
        let link = fs::read_link(entry.path());
        if link.is_ok_and(|link| link.as_os_str().as_bytes() == b"anon_inode:[eventpoll]") {
            found.push(entry.file_name().to_str()?.to_owned());
        }
    }
    Some(found)
}

/// What an instance watches, by descriptor and inode: two with the same are one, for a loop has a socket or
/// eventfd of its own in it by which other threads wake it.
fn watched(pid: u32, fd: &str) -> Option<BTreeSet<String>> {
    let file = format!("/proc/{}/fdinfo/{fd}", proc_fs::speaker(pid));
    let info = proc_fs::read(file, MAX_LIST).ok()?;
    let text = String::from_utf8_lossy(&info);
    let lines = text.lines().filter(|line| line.starts_with("tfd:"));
    Some(lines.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::epoll;

    #[test]
    fn what_an_instance_watches_tells_it_from_others() {
        let (reader, _writer) = std::io::pipe().unwrap();
        let instance = |of: &std::io::PipeReader| {
            let instance = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
            let data = epoll::EventData::new_u64(1);
            epoll::add(&instance, of, data, epoll::EventFlags::IN).unwrap();
            instance
        };
        let (other, _kept) = std::io::pipe().unwrap();
        let (one, two) = (instance(&reader), instance(&other));
        let own = std::process::id();
        let list = |fd: &rustix::fd::OwnedFd| {
            use std::os::fd::AsRawFd;
            watched(own, &fd.as_raw_fd().to_string())
        };
        assert_eq!(list(&one).map(|list| list.len()), Some(1));
        assert_ne!(list(&one), list(&two));
        assert!(instances(own).is_some_and(|found| found.len() >= 2));
        assert_eq!(watched(own, "99999"), None);
        assert!(!loops_are_inherited(own), "it was executed");
    }
}
