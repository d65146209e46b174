//! What a run leaves behind: kernel objects that nobody holds, and processes.

use crate::gate::remora_binary;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use syscalls::{Sysno, syscall};

/// A kind of object of the BPF subsystem, with the command that lists it (`enum bpf_cmd`, linux/bpf.h) and its line in
/// the `fdinfo` of who holds one.
const KINDS: [(&str, usize, &str); 3] = [
    ("program", 11, "prog_id:"),
    ("map", 12, "map_id:"),
    ("link", 31, "link_id:"),
];

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// What was there before a run.
#[derive(Debug)]
pub struct Before {
    objects: BTreeSet<(usize, u32)>,
    agents: BTreeSet<u32>,
}

impl Before {
    /// Now.
    pub fn now() -> Self {
        Self {
            objects: objects(),
            agents: agents(),
        }
    }

    /// What is there more, after some time at the most, each in words.
    pub fn left_after(&self, patience: Duration) -> Vec<String> {
        let end = Instant::now() + patience;
        loop {
            let left = self.left();
            if left.is_empty() || Instant::now() > end {
                return left;
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn left(&self) -> Vec<String> {
        let more = agents()
            .into_iter()
            .filter(|pid| !self.agents.contains(pid));
        let mut left: Vec<String> = more.map(|pid| format!("process {pid}")).collect();
        let now = objects();
        let mut more = now.difference(&self.objects).peekable();
        if more.peek().is_some() {
            // Somebody else's run has objects too, as long as it lasts.
            let held = held();
            let orphans = more.filter(|object| !held.contains(object));
            left.extend(orphans.map(|(kind, id)| format!("{} {id}", KINDS[*kind].0)));
        }
        left
    }
}

/// Every object of the machine, by the index of its kind and its id.
fn objects() -> BTreeSet<(usize, u32)> {
    let kinds = KINDS.iter().enumerate();
    kinds
        .flat_map(|(kind, (_, command, _))| ids(*command).map(move |id| (kind, id)))
        .collect()
}

/// The ids that a command lists: each call gives the one behind the last.
fn ids(command: usize) -> impl Iterator<Item = u32> {
    let mut last = 0_u32;
    std::iter::from_fn(move || {
        // `start_id`, `next_id` and `open_flags` of `union bpf_attr`.
        let mut attributes = [last, 0_u32, 0];
        let at = &raw mut attributes;
        // SAFETY: the command reads and writes the three numbers behind the pointer, whose size it is told.
        unsafe { syscall!(Sysno::bpf, command, at, size_of_val(&attributes)) }.ok()?;
        last = attributes[1];
        Some(last)
    })
}

/// The objects that processes hold.
fn held() -> BTreeSet<(usize, u32)> {
    let mut held = BTreeSet::new();
    for pid in pids() {
        let files = std::fs::read_dir(format!("/proc/{pid}/fdinfo"));
        for file in files.into_iter().flatten().flatten() {
            let text = std::fs::read_to_string(file.path()).unwrap_or_default();
            held.extend(text.lines().filter_map(object_of));
        }
    }
    held
}

/// `prog_id:\t12`
fn object_of(line: &str) -> Option<(usize, u32)> {
    let mut kinds = KINDS.iter().enumerate();
    kinds.find_map(|(kind, (_, _, word))| {
        Some((kind, line.strip_prefix(word)?.trim().parse().ok()?))
    })
}

/// Processes that run the agent under test.
fn agents() -> BTreeSet<u32> {
    let binary = remora_binary()
        .canonicalize()
        .unwrap_or_else(|_| remora_binary());
    let is_agent = |pid: &u32| exe(*pid).is_some_and(|exe| exe == binary);
    pids().filter(is_agent).collect()
}

/// A link of the kernel's own: reading it asks no file system.
fn exe(pid: u32) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/exe")).ok()
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Where each thread of a process is, one a line: what a hang waits for.
pub fn whereabouts(pid: u32) -> String {
    crate::proc::tids(pid)
        .into_iter()
        .map(|tid| {
            let read = |name: &str| {
                let text = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/{name}"));
                text.unwrap_or_default()
            };
            let state = crate::proc::state(pid, tid).unwrap_or('?');
            let stack = read("stack");
            let functions: Vec<&str> = stack
                .lines()
                .filter_map(|line| line.split_once("] ")?.1.split('+').next())
                .take(8)
                .collect();
            let (name, functions) = (read("comm"), functions.join(" < "));
            format!("\n    {state} {}: {functions}", name.trim())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
    use std::ffi::CString;
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
    use std::path::Path;

    #[test]
    fn holders_are_told_by_the_lines_of_their_descriptors() {
        assert_eq!(object_of("prog_id:\t12"), Some((0, 12)));
        assert_eq!(object_of("map_id:\t7"), Some((1, 7)));
        assert_eq!(object_of("link_id:\t3"), Some((2, 3)));
        assert_eq!(object_of("pos:\t0"), None);
        assert_eq!(object_of("link_type:\ttracing"), None);
    }

    /// Makes a map of one number and pins it; nobody holds it when this returns.
    fn pin_a_map(path: &Path) {
        const MAP_CREATE: usize = 0;
        const OBJ_PIN: usize = 6;
        const ARRAY: u32 = 2;
        // `map_type`, `key_size`, `value_size`, `max_entries` of `union bpf_attr`.
        let create = [ARRAY, 4, 4, 1];
        let at = &raw const create;
        // SAFETY: the command reads the four numbers behind the pointer, whose size it is told.
        let map = unsafe { syscall!(Sysno::bpf, MAP_CREATE, at, size_of_val(&create)) };
        // SAFETY: the kernel has just given this descriptor, and nobody else knows it.
        let map = unsafe { OwnedFd::from_raw_fd(map.expect("a map of four bytes") as i32) };
        let path = CString::new(path.to_str().expect("printable")).expect("without NUL");
        // `pathname` and `bpf_fd`.
        let pin = [path.as_ptr() as u64, map.as_raw_fd() as u64];
        let at = &raw const pin;
        // SAFETY: the command reads the two numbers behind the pointer, and the path, which lives until it returns.
        let pinned = unsafe { syscall!(Sysno::bpf, OBJ_PIN, at, size_of_val(&pin)) };
        pinned.expect("a file system for it");
    }

    #[test]
    fn a_map_that_nobody_holds_is_named_until_it_is_gone() {
        let Some(_turn) = crate::gate::privileged() else {
            return;
        };
        let place = tempfile::tempdir().expect("a temporary folder");
        mount("none", place.path(), "bpf", MountFlags::empty(), None).expect("bpffs");
        let before = Before::now();
        let path = place.path().join("map");
        pin_a_map(&path);
        let left = before.left_after(Duration::ZERO);
        std::fs::remove_file(&path).expect("own file");
        unmount(place.path(), UnmountFlags::DETACH).expect("own mount");
        assert_eq!(left.len(), 1, "{left:?}");
        assert!(left[0].starts_with("map "), "{left:?}");
        let left = before.left_after(crate::tolerance::GONE_FROM_THE_KERNEL);
        assert_eq!(left, Vec::<String>::new());
    }

    #[test]
    fn a_thread_is_said_with_its_state_and_where_it_is() {
        let words = whereabouts(std::process::id());
        assert!(words.contains("\n    ") && words.contains(": "), "{words}");
    }
}
