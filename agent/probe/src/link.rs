//! Links by the system calls themselves: of iterators that are bound to one process, for aya 0.14 attaches iterators to
//! the whole host only; and of programs at performance events (`perf`).
//!
//! Source: `union bpf_attr` and `union bpf_iter_link_info` of `include/uapi/linux/bpf.h`. The binding to a
//! process came with Linux 6.1; older kernels refuse it, for they find bytes that they do not know.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};
use syscalls::{Sysno, syscall};

/// `BPF_RAW_TRACEPOINT_OPEN`, too.
const RAW_TRACEPOINT_OPEN: u32 = 17;
/// `BPF_LINK_CREATE` and `BPF_ITER_CREATE` of `enum bpf_cmd`.
const LINK_CREATE: u32 = 28;
const ITER_CREATE: u32 = 33;
/// `BPF_TRACE_ITER` and `BPF_PERF_EVENT` of `enum bpf_attach_type`.
const TRACE_ITER: u32 = 28;
const PERF_EVENT: u32 = 41;

/// The part of `union bpf_attr` that `BPF_LINK_CREATE` reads of an iterator.
#[repr(C)]
struct LinkCreate {
    program: RawFd,
    target: u32,
    attach_type: u32,
    flags: u32,
    info: u64,
    info_len: u32,
    reserved: u32,
}

/// The part that `BPF_RAW_TRACEPOINT_OPEN` reads; a program that was loaded for a tracepoint with types knows its name.
#[repr(C)]
struct TracepointOpen {
    name: u64,
    program: RawFd,
    reserved: u32,
    cookie: u64,
}

/// The part that it reads of a performance event.
#[repr(C)]
struct EventLinkCreate {
    program: RawFd,
    event: RawFd,
    attach_type: u32,
    flags: u32,
    cookie: u64,
}

/// `bpf_iter_link_info.task`.
#[repr(C)]
struct TaskInfo {
    tid: u32,
    pid: u32,
    pidfd: u32,
}

/// The part of `union bpf_attr` that `BPF_ITER_CREATE` reads.
#[repr(C)]
struct IterCreate {
    link: RawFd,
    flags: u32,
}

const _: () = assert!(size_of::<LinkCreate>() == 32 && size_of::<TaskInfo>() == 12);
const _: () = assert!(size_of::<EventLinkCreate>() == 24);

/// Links a program to a performance event, which the link keeps open. The program is told the cookie.
///
/// # Errors
/// The kernel's; before 5.15 there are no such links.
pub(super) fn at_event(
    program: BorrowedFd<'_>,
    event: &OwnedFd,
    cookie: u64,
) -> io::Result<OwnedFd> {
    let attributes = EventLinkCreate {
        program: program.as_raw_fd(),
        event: event.as_raw_fd(),
        attach_type: PERF_EVENT,
        flags: 0,
        cookie,
    };
    bpf(LINK_CREATE, &attributes)
}

/// Links an iterator over tasks or their files to one process, or with `None` to all of them.
///
/// # Errors
/// The kernel's; `E2BIG` or `EINVAL` where it cannot bind to a process.
pub(super) fn create(program: BorrowedFd<'_>, pid: Option<u32>) -> io::Result<OwnedFd> {
    let info = TaskInfo {
        tid: 0,
        pid: pid.unwrap_or(0),
        pidfd: 0,
    };
    let bound = pid.is_some();
    let attributes = LinkCreate {
        program: program.as_raw_fd(),
        target: 0,
        attach_type: TRACE_ITER,
        flags: 0,
        info: if bound {
            (&raw const info).expose_provenance() as u64
        } else {
            0
        },
        info_len: if bound {
            size_of::<TaskInfo>() as u32
        } else {
            0
        },
        reserved: 0,
    };
    bpf(LINK_CREATE, &attributes)
}

/// Begins one pass of a linked iterator: what is returned reads to the end once.
///
/// # Errors
/// The kernel's.
pub(super) fn begin(link: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let attributes = IterCreate {
        link: link.as_raw_fd(),
        flags: 0,
    };
    bpf(ITER_CREATE, &attributes)
}

/// Attaches a program to the tracepoint that it was loaded for; it is there as long as the link.
pub(super) fn at_tracepoint(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let attributes = TracepointOpen {
        name: 0,
        program: program.as_raw_fd(),
        reserved: 0,
        cookie: 0,
    };
    bpf(RAW_TRACEPOINT_OPEN, &attributes)
}

/// One of the commands of `bpf(2)` that return a descriptor.
fn bpf<T>(command: u32, attributes: &T) -> io::Result<OwnedFd> {
    let at = (&raw const *attributes).expose_provenance();
    // SAFETY: the kernel reads that many bytes of a live record, and what its pointers name lives too.
    let fd = unsafe { syscall!(Sysno::bpf, command, at, size_of::<T>()) }
        .map_err(|error| io::Error::from_raw_os_error(error.into_raw()))?;
    // SAFETY: a descriptor that the kernel has just made for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}
