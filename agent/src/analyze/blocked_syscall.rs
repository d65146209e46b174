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

use super::event_loops::{Places, stuck};
use super::{Findings, Scene, graph::Graph, waiting, words};
use crate::model::{
    Call, Finding, FindingKind, FrameKind, Reason, Severity, Stack, State, Subject, Syscall,
    Thread, Topic,
};
use crate::words::{label, text::clean};

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

pub fn analyze(scene: &Scene<'_>, findings: &mut Findings) {
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
        if stuck(
            scene,
            places,
            (index, thread),
            scene.thresholds.loop_blocked,
        )
        .is_none()
        {
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
    finding.summary = format!(
        "thread {} of {} has been {} for {}",
        words::thread(thread),
        scene.process_name(thread.pid),
        phrase(wait, thread, call),
        words::since(now.since, now.since_inferred),
    );
    finding = finding.fact(Topic::Syscall, arguments(thread));
    finding = waiting::evidence(graph, index, thread, finding);
    let stack = scene.stack_now(thread);
    if let Some(code) = stack.and_then(words::code) {
        finding = finding.fact(Topic::Where, code);
    }
    let kernel: Vec<&str> = kernel_frames(stack).take(FRAMES).collect();
    if !kernel.is_empty() {
        finding = finding.fact(Topic::Kernel, kernel.join(" <- "));
    }
    finding.next = next(wait).into();
    finding
}

fn phrase(wait: Wait, thread: &Thread, call: Option<&Call>) -> String {
    let path = call
        .map(|call| clean(&call.path))
        .filter(|path| !path.is_empty());
    let of = |words: &str| match &path {
        Some(path) => format!("{words} {path}"),
        None => words.to_owned(),
    };
    let name = thread.now.syscall.map_or("a system call", Syscall::name);
    match wait {
        Wait::Storage => of(&format!("waiting for storage in {name}")),
        Wait::Uninterruptible => of(&format!("in uninterruptible sleep in {name}")),
        Wait::FileLock => of("waiting for the lock of the file"),
        Wait::File => of(&format!("blocked in {name}")),
        Wait::Memory => format!("blocked in {name}"),
        Wait::Fault => "waiting for a page of memory that does not come".to_owned(),
        Wait::PipeWrite => of("blocked by a pipe that nobody empties:"),
        Wait::DeviceWrite => of("blocked in writing to"),
        Wait::OpenFifo => of("waiting for a reader of the FIFO"),
        Wait::Exec => "waiting for a new child to exec".to_owned(),
    }
}

/// `flock(5, 0x2)`.
fn arguments(thread: &Thread) -> String {
    let now = &thread.now;
    let Some(name) = now.syscall.map(Syscall::name) else {
        return "none: a page fault".to_owned();
    };
    let number = |arg: &u64| match *arg {
        small if small < 4096 => small.to_string(),
        other => match other as i32 {
            // AT_FDCWD, and what else is small below zero.
            below @ -4096..0 => below.to_string(),
            _ => format!("{other:#x}"),
        },
    };
    let args: Vec<String> = now.args.iter().take(arity(name)).map(number).collect();
    let reason = label::reason(now.reason.unwrap_or(Reason::Unknown), None);
    format!("{name}({}), {reason}", args.join(", "))
}

/// Arguments that are worth showing.
fn arity(name: &str) -> usize {
    match name {
        "close" | "fsync" | "fdatasync" | "unlink" | "rmdir" | "brk" => 1,
        "flock" | "open" | "munmap" | "stat" | "mkdir" => 2,
        _ => 3,
    }
}

const fn next(wait: Wait) -> &'static str {
    match wait {
        Wait::Storage | Wait::Uninterruptible => {
            "look at the device or file server (dmesg, iostat, mount); no signal ends this wait"
        }
        Wait::FileLock => {
            "look at what the holder of the lock does, or whether it should still have it"
        }
        Wait::File => {
            "look at the file system of that file: a server (NFS, FUSE) that does not answer"
        }
        Wait::Memory => {
            "look at the other threads: one keeps the address space busy (a fault, a fork, a large unmap)"
        }
        Wait::Fault => {
            "look at what should bring the page: userfaultfd's owner, a file server, swap"
        }
        Wait::PipeWrite => "find the process at the pipe's other end: it does not read",
        Wait::DeviceWrite => "look at the terminal or device: output may be held (^S)",
        Wait::OpenFifo => "start the reader, or open it with O_NONBLOCK",
        Wait::Exec => "look at the new child: it hangs before its exec",
    }
}

#[cfg(test)]
mod tests;
