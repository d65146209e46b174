//! `blocked_syscall`: a wait that is neither lock, loop nor socket, and that should not last.
//!
//! Most waits may last for ever, for they wait for work: a sleep, a signal, a child, a pipe that is read, a
//! terminal, a timer, an eventfd, completions. So the waits that count are listed, not those that do not:
//! storage and other uninterruptible sleep, file locks, calls about files that do not answer, room in
//! a pipe or terminal that nobody empties, a page that does not come, a `vfork` whose child does not exec.
//!
//! What looks similar and is none: threads of the kernel's own in a process (io_uring's workers, vhost);
//! `read` of `/proc/kmsg` or a trace pipe, which wait for work like a pipe's; a reader that
//! waits for the other end of a FIFO to be opened.

mod arguments;

use super::event_loops::{Places, stuck};
use super::{
    Findings, Scene,
    graph::{Graph, Node},
    waiting,
    words::{self, Headline},
};
use remora_model::display::text::clean;
use remora_model::{
    Finding, FindingKind, FrameKind, Reason, Severity, Stack, State, Subject, Syscall, Thread,
    Topic,
};

/// Calls that change or ask about files: where they wait, a file system does not answer.
const FILES: [&str; 42] = [
    "open",
    "openat",
    "openat2",
    "creat",
    "close",
    "stat",
    "lstat",
    "fstat",
    "newfstatat",
    "statx",
    "access",
    "faccessat",
    "faccessat2",
    "truncate",
    "ftruncate",
    "fallocate",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
    "rmdir",
    "link",
    "linkat",
    "symlink",
    "readlink",
    "readlinkat",
    "chmod",
    "fchmodat",
    "chown",
    "fchownat",
    "utimensat",
    "getxattr",
    "setxattr",
    "statfs",
    "fstatfs",
    "execve",
    "copy_file_range",
    "mount",
    "umount2",
];

/// Calls that wait for a lock on a file.
const FILE_LOCKS: [&str; 2] = ["flock", "fcntl"];

/// Calls about memory, which wait for the lock of the address space or for pages.
const MEMORY: [&str; 8] = [
    "mmap",
    "munmap",
    "mprotect",
    "madvise",
    "brk",
    "mremap",
    "process_vm_readv",
    "process_vm_writev",
];

/// Threads of the kernel in a process idle where no program does: their names begin so.
const KERNEL_THREADS: [&str; 3] = ["iou-wrk-", "iou-sqp-", "vhost-"];

/// Files of the kernel that are read to wait for what comes next.
const FEEDS: [&str; 3] = ["/proc/", "/sys/", "/dev/"];

/// Kernel functions of a page fault have this in their name.
const FAULT: &str = "fault";

/// Kernel frames that are shown.
const FRAMES: usize = 4;

/// What kind of wait it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    Storage,
    Uninterruptible,
    FileLock,
    File,
    Memory,
    Fault,
    PipeWrite,
    DeviceWrite,
    OpenFifo,
    Exec,
}

pub(crate) fn analyze(scene: &Scene<'_>, findings: &mut Findings) {
    let mut made = None;
    for (index, thread) in scene.living() {
        let now = &thread.now;
        if now.state != State::Blocked || now.since < scene.thresholds.blocked_syscall {
            continue;
        }
        let Some(wait) = classify(scene, thread) else {
            continue;
        };
        let (places, graph) = made.get_or_insert_with(|| (Places::new(scene), Graph::of(scene)));
        // Of a loop that is said already, with this wait.
        let threshold = scene.thresholds.loop_blocked;
        let told = stuck(scene, places, (index, thread), threshold);
        if !told.is_some_and(|it| it.is_proven()) {
            findings.push(finding(graph, (index, thread), wait));
        }
    }
}

fn classify(scene: &Scene<'_>, thread: &Thread) -> Option<Wait> {
    if KERNEL_THREADS
        .iter()
        .any(|prefix| thread.comm.starts_with(prefix))
    {
        return None;
    }
    let stack = scene.stack_now(thread);
    let path = waiting::call_of(scene, thread).map_or("", |call| call.path.as_str());
    let is_feed = path.is_empty() || FEEDS.iter().any(|prefix| path.starts_with(prefix));
    let call = thread.now.syscall.map_or("", Syscall::name);
    match thread.now.reason? {
        Reason::Disk => Some(Wait::Storage),
        Reason::Uninterruptible => Some(Wait::Uninterruptible),
        Reason::FileRead | Reason::FileWrite => (!is_feed).then_some(Wait::File),
        Reason::PageFault => in_kernel(stack, FAULT).then_some(Wait::Fault),
        Reason::PipeWrite => Some(Wait::PipeWrite),
        Reason::DeviceWrite => Some(Wait::DeviceWrite),
        Reason::WaitChild => matches!(call, "vfork" | "clone" | "clone3").then_some(Wait::Exec),
        Reason::Syscall if FILE_LOCKS.contains(&call) => Some(Wait::FileLock),
        Reason::Syscall if MEMORY.contains(&call) => Some(Wait::Memory),
        Reason::Syscall if FILES.contains(&call) => match is_fifo_open(stack) {
            true => opens_to_write(thread).then_some(Wait::OpenFifo),
            false => Some(Wait::File),
        },
        _ => None,
    }
}

fn in_kernel(stack: Option<&Stack>, part: &str) -> bool {
    let mut kernel = kernel_frames(stack);
    kernel.any(|name| name.contains(part))
}

/// Functions of the kernel in a stack, leaf first.
fn kernel_frames(stack: Option<&Stack>) -> impl Iterator<Item = &str> {
    let frames = stack
        .map(|stack| stack.frames.as_slice())
        .unwrap_or_default();
    let kernel = frames
        .iter()
        .rev()
        .filter(|frame| frame.kind == FrameKind::Kernel);
    kernel.map(|frame| &*frame.name)
}

/// `fs/pipe.c`.
fn is_fifo_open(stack: Option<&Stack>) -> bool {
    in_kernel(stack, "fifo_open") || in_kernel(stack, "wait_for_partner")
}

/// The access mode of an `open` or `openat` is not `O_RDONLY`.
fn opens_to_write(thread: &Thread) -> bool {
    let flags = match thread.now.syscall.map(Syscall::name) {
        Some("open") => thread.now.args[1],
        _ => thread.now.args[2],
    };
    flags & 3 != 0
}

fn finding(graph: &Graph<'_>, (index, thread): (usize, &Thread), wait: Wait) -> Finding {
    let scene = graph.scene();
    let call = waiting::call_of(scene, thread);
    let severity = match wait {
        // Its holder may be at work, and a second instance may stand by.
        Wait::FileLock => Severity::Warning,
        _ => Severity::Critical,
    };
    let mut finding = scene.about_thread(FindingKind::BlockedSyscall, severity, thread);
    let now = &thread.now;
    finding.since = Some(now.since);
    finding.since_at_least = now.since_inferred;
    finding.about = vec![Subject::Thread(thread.tid)];
    let path = call.map_or("", |call| call.path.as_str());
    finding.summary = summary(graph, (index, thread), wait, path);
    let chain = graph.chain(index);
    finding.evidence.extend(chain.facts(graph));
    finding.because_of.extend(chain.because_of(graph));
    let stack = scene.stack_now(thread);
    if let Some(code) = stack.and_then(words::code) {
        finding = finding.fact(Topic::Where, code);
    }
    finding = finding.fact(Topic::Syscall, arguments::of(thread, path));
    let kernel: Vec<&str> = kernel_frames(stack).take(FRAMES).collect();
    if !kernel.is_empty() {
        finding = finding.fact(Topic::Kernel, kernel.join(" <- "));
    }
    let other = graph.wait(Node::Thread(index));
    let other = other.and_then(|wait| graph.stranger(wait));
    finding.next = next(wait, other, path);
    finding
}

/// `fsync()` blocked, on what, and who could end it.
fn summary(graph: &Graph<'_>, (index, thread): (usize, &Thread), wait: Wait, path: &str) -> String {
    let now = &thread.now;
    let time = words::since(now.since, now.since_inferred);
    let what = match now.syscall {
        Some(call) => format!("blocked for {time} in {}()", call.name()),
        None => format!("blocked for {time} in a page fault"),
    };
    let by = graph.wait(Node::Thread(index));
    let by = by.and_then(|wait| graph.parties(wait));
    let detail = match (wait, by) {
        (Wait::Storage, _) if path.is_empty() => "disk I/O".to_owned(),
        (Wait::Storage, _) => format!("{path} (disk I/O)"),
        (Wait::Uninterruptible, _) if path.is_empty() => "uninterruptible sleep".to_owned(),
        (Wait::Uninterruptible, _) => format!("{path} (uninterruptible sleep)"),
        (Wait::FileLock, Some(holder)) => format!("{path}, held by {holder}"),
        (Wait::PipeWrite, Some(reader)) => format!("{path} is full, {reader} does not read"),
        (Wait::PipeWrite, None) => format!("{path} is full, nobody reads"),
        (Wait::OpenFifo, _) => format!("FIFO {path} has no reader"),
        (Wait::Fault, _) => "the page does not arrive".to_owned(),
        (Wait::Memory, _) => "the address space is locked".to_owned(),
        (Wait::Exec, _) => "the new child does not exec".to_owned(),
        (Wait::FileLock | Wait::File | Wait::DeviceWrite, _) => path.to_owned(),
    };
    let headline = Headline {
        who: &words::thread(thread),
        of: &graph.scene().process_name(thread.pid),
        what: &what,
        detail: detail.trim_start(),
    };
    headline.fitted()
}

/// What to do; `other` is the one process that can end the wait and is not watched.
fn next(wait: Wait, other: Option<u32>, path: &str) -> String {
    let path = clean(path);
    match (wait, other) {
        (Wait::Storage | Wait::Uninterruptible, _) => {
            "Check dmesg, iostat -x 1 and the mount; no signal ends this wait.".to_owned()
        }
        (Wait::FileLock, Some(holder)) => {
            format!("Check the holder: remora triage --pid {holder}.")
        }
        (Wait::FileLock, None) => "Check what the holder does (see /proc/locks).".to_owned(),
        (Wait::File, _) if path.is_empty() => {
            "Check the file system: its server (NFS, FUSE) does not answer.".to_owned()
        }
        (Wait::File, _) => {
            format!("Check the mount of {path}: its server (NFS, FUSE) does not answer.")
        }
        (Wait::Memory, _) => {
            "Check the other threads: a page fault, fork or large munmap locks the address space."
                .to_owned()
        }
        (Wait::Fault, _) => {
            "Check what serves the page: a userfaultfd handler, a file server, swap.".to_owned()
        }
        (Wait::PipeWrite, Some(reader)) => {
            format!("Check the reader: remora triage --pid {reader}.")
        }
        (Wait::PipeWrite, None) => {
            "Find the process at the other end of the pipe: it does not read.".to_owned()
        }
        (Wait::DeviceWrite, _) => {
            "Check the terminal or device: output may be stopped (Ctrl-S).".to_owned()
        }
        (Wait::OpenFifo, _) => "Start the FIFO's reader, or open with O_NONBLOCK.".to_owned(),
        (Wait::Exec, _) => "Check the new child: it is blocked before its exec.".to_owned(),
    }
}

#[cfg(test)]
mod tests;
