//! Which event loop watches which descriptor: the interest sets of epoll, as `/proc/PID/fdinfo` shows
//! them.
//!
//! The kernel holds the lock of an epoll instance while it prints its interests (`ep_show_fdinfo`,
//! fs/eventpoll.c). So they are read once, after the capture.

use remora_common::{
    reason::Reason,
    thread::{STATE_BLOCKED, ThreadSlot},
};
use remora_model::{Socket, Watch};
use remora_process::deadline::{self, Step, Subject};
use remora_process::proc_fs;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fs,
    io::ErrorKind,
    time::{Duration, Instant},
};

/// Pairs of thread and epoll instance that are remembered.
const MAX_WAITS: usize = 16_384;
/// Interests of one instance that are read, in bytes of text: 40,000 of them.
const MAX_TEXT: u64 = 4 << 20;
/// Descriptors that are looked at in search of epoll instances, in all processes.
const MAX_LINKS: usize = 200_000;
/// Time for all that.
const TIME: Duration = Duration::from_millis(500);
/// Event loops that are listed of one socket.
const MAX_WATCHES: usize = 16;

/// What `/proc/PID/fd` shows of an epoll instance.
const EVENTPOLL: &str = "anon_inode:[eventpoll]";

/// One line of an interest set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Interest {
    /// The descriptor when it was added.
    fd: u32,
    events: u32,
    /// Inode number of the file; before Linux 4.13 not shown.
    inode: Option<u64>,
}

/// The epoll instances that threads wait on.
#[derive(Debug, Default)]
pub(super) struct Loops {
    /// Process and descriptor → threads.
    waits: BTreeMap<(u32, u32), BTreeSet<u32>>,
    noted: usize,
}

impl Loops {
    /// Takes in what threads wait for now, or did last.
    pub(super) fn note(&mut self, threads: &[ThreadSlot]) {
        for slot in threads {
            if slot.reason != Reason::Epoll as u32 || slot.state != STATE_BLOCKED {
                continue;
            }
            let Ok(fd) = u32::try_from(slot.args[0]) else {
                continue;
            };
            if self.noted < MAX_WAITS
                && self
                    .waits
                    .entry((slot.tgid, fd))
                    .or_default()
                    .insert(slot.tid)
            {
                self.noted += 1;
            }
        }
    }

    /// Whether a thread was seen waiting where others wait too.
    pub(super) fn takes_turns(&self, thread: &ThreadSlot) -> bool {
        let own = self.waits.range((thread.tgid, 0)..=(thread.tgid, u32::MAX));
        own.into_iter()
            .any(|(_, tids)| tids.len() > 1 && tids.contains(&thread.tid))
    }

    /// Adds to the sockets who watches them; returns how many epoll instances could not be read.
    pub(super) fn join(&mut self, processes: &BTreeSet<u32>, sockets: &mut [Socket]) -> u64 {
        let deadline = Instant::now() + TIME;
        let known: HashSet<(u32, u32)> = sockets
            .iter()
            .filter(|socket| socket.open)
            .map(|socket| (socket.pid, socket.fd))
            .collect();
        let mut unread = 0;
        let mut links = MAX_LINKS;
        for pid in processes {
            match instances(*pid, &known, &mut links, deadline) {
                Some(found) => found.into_iter().for_each(|fd| {
                    self.waits.entry((*pid, fd)).or_default();
                }),
                None => unread += 1,
            }
        }
        let mut places: HashMap<(u32, u64), Vec<usize>> = HashMap::new();
        for (at, socket) in sockets.iter().enumerate().filter(|(_, it)| it.open) {
            places
                .entry((socket.pid, socket.inode))
                .or_default()
                .push(at);
        }
        let speakers: HashMap<u32, u32> = processes
            .iter()
            .map(|pid| (*pid, proc_fs::speaker(*pid)))
            .collect();
        for ((pid, epoll_fd), tids) in &self.waits {
            let Some(speaker) = speakers.get(pid) else {
                continue;
            };
            let path = format!("/proc/{speaker}/fdinfo/{epoll_fd}");
            let text = match Instant::now() < deadline {
                true => {
                    // It waits for whoever changes the set, and that one for a file, perhaps.
                    let about = Subject::Process(*pid);
                    let read = deadline::run(Step::Interests, about, move || {
                        proc_fs::read(path, MAX_TEXT)
                    });
                    read.unwrap_or(Err(ErrorKind::TimedOut.into()))
                }
                false => Err(ErrorKind::TimedOut.into()),
            };
            if text
                .as_ref()
                .is_err_and(|error| error.kind() != ErrorKind::NotFound)
            {
                unread += 1;
            }
            // One that was closed meanwhile watches nothing.
            for interest in interests(&text.unwrap_or_default()) {
                let watch = Watch {
                    pid: *pid,
                    epoll_fd: *epoll_fd,
                    tids: tids.iter().copied().collect(),
                    events: interest.events,
                };
                add(&watch, interest, &places, sockets);
            }
        }
        unread
    }
}

/// Adds an interest to the socket that it is about: of several descriptors of one socket to the one that
/// was added, if it is still there.
fn add(
    watch: &Watch,
    interest: Interest,
    places: &HashMap<(u32, u64), Vec<usize>>,
    sockets: &mut [Socket],
) {
    let Some(inode) = interest.inode else {
        let by_number = |it: &&mut Socket| it.open && (it.pid, it.fd) == (watch.pid, interest.fd);
        if let Some(socket) = sockets.iter_mut().find(by_number) {
            socket.watched_by.push(watch.clone());
        }
        return;
    };
    let candidates = places.get(&(watch.pid, inode));
    let candidates = candidates.map(Vec::as_slice).unwrap_or_default();
    let fd_of = |at: &&usize| sockets.get(**at).is_some_and(|it| it.fd == interest.fd);
    let chosen = candidates.iter().find(fd_of).or(candidates.first());
    if let Some(socket) = chosen.and_then(|at| sockets.get_mut(*at))
        && socket.watched_by.len() < MAX_WATCHES
    {
        socket.watched_by.push(watch.clone());
    }
}

/// How many epoll instances a process has; `None` where that takes too long to tell.
pub(crate) fn count_instances(pid: u32, deadline: Instant) -> Option<usize> {
    let mut links = MAX_LINKS;
    let found = instances(pid, &HashSet::new(), &mut links, deadline)?;
    Some(found.len())
}

/// The epoll instances of a process, `known` descriptors apart; `None`: it cannot be read, or there are too
/// many descriptors.
fn instances(
    pid: u32,
    known: &HashSet<(u32, u32)>,
    links: &mut usize,
    deadline: Instant,
) -> Option<Vec<u32>> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(format!("/proc/{}/fd", proc_fs::speaker(pid))) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Some(found),
        entries => entries.ok()?,
    };
    for entry in entries.flatten() {
        let Some(fd) = entry.file_name().to_str().and_then(|fd| fd.parse().ok()) else {
            continue;
        };
        if known.contains(&(pid, fd)) {
            continue;
        }
        *links = links.checked_sub(1)?;
        if Instant::now() > deadline {
            return None;
        }
        if fs::read_link(entry.path()).is_ok_and(|link| link.as_os_str() == EVENTPOLL) {
            found.push(fd);
        }
    }
    Some(found)
}

/// The lines `tfd: 5 events: 19 data: 5 pos:0 ino:c5a sdev:8` (inode numbers in hexadecimal, as events).
fn interests(text: &[u8]) -> impl Iterator<Item = Interest> {
    text.split(|byte| *byte == b'\n').filter_map(|line| {
        let line = std::str::from_utf8(line).ok()?;
        let rest = line.strip_prefix("tfd:")?;
        let (fd, rest) = rest.split_once("events:")?;
        let (events, rest) = rest.split_once("data:")?;
        let inode = rest.split_once("ino:").and_then(|(_, rest)| {
            let number = rest.split_ascii_whitespace().next()?;
            u64::from_str_radix(number, 16).ok()
        });
        Some(Interest {
            fd: fd.trim().parse().ok()?,
            events: u32::from_str_radix(events.trim(), 16).ok()?,
            inode,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_kernels_lines_are_understood() {
        let text = b"pos:\t0\nflags:\t02000002\nmnt_id:\t15\nino:\t1057\n\
            tfd:        5 events:       19 data:                5  pos:0 ino:c5a sdev:8\n\
            tfd:       12 events: 80002019 data: ffff88810000000c  pos:0 ino:2f sdev:8\n\
            tfd:        7 events: 40000000 data:                7\n";
        let found: Vec<_> = interests(text)
            .map(|it| (it.fd, it.events, it.inode))
            .collect();
        assert_eq!(
            found,
            [
                (5, 0x19, Some(0xc5a)),
                (12, 0x8000_2019, Some(0x2f)),
                (7, 0x4000_0000, None)
            ]
        );
    }

    #[test]
    fn events_have_names_and_a_spent_one_shot_is_not_armed() {
        let watch = |events| Watch {
            pid: 1,
            epoll_fd: 3,
            tids: vec![],
            events,
        };
        assert_eq!(
            watch(0x8000_2019).event_names(),
            ["IN", "ERR", "HUP", "RDHUP", "ET"]
        );
        assert!(watch(0x8000_2019).reads() && !watch(0x1c).reads());
        let spent = watch(0x4000_0000);
        assert!(!spent.armed() && !spent.reads());
        assert_eq!(spent.event_names(), ["ONESHOT"]);
        assert!(watch(0x4000_0019).armed());
    }

    proptest! {
        #[test]
        fn any_text_is_taken(text in "(tfd:|events:|data:|ino:|[0-9a-f \n:-]){0,60}") {
            prop_assert!(interests(text.as_bytes()).count() <= text.len());
        }

        #[test]
        fn any_bytes_are_taken(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = interests(&bytes).count();
        }
    }
}
