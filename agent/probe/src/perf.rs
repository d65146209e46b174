//! Performance events with a program of ours, by the system calls themselves: opening or closing one may wait in the
//! kernel for a grace period without end, so it happens on threads that nobody joins, and aya attaches only through
//! its own record of the object, which no such thread may keep.
//!
//! Source: `struct perf_event_attr` and `PERF_EVENT_IOC_*` of `include/uapi/linux/perf_event.h`; `BPF_PERF_EVENT` of
//! `include/uapi/linux/bpf.h`; perf_event_open(2).

use super::link;
use std::{
    ffi::CString,
    fs::{self, File},
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};
use syscalls::{Sysno, syscall};

/// `PERF_TYPE_SOFTWARE`, and two of its events.
const SOFTWARE: u32 = 1;
const CPU_CLOCK: u64 = 0;
const PAGE_FAULTS: u64 = 2;
/// `PERF_SAMPLE_RAW`.
const SAMPLE_RAW: u64 = 1 << 10;
/// The bit `freq` of the flags: the period is a frequency.
const BY_FREQUENCY: u64 = 1 << 10;
/// `PERF_FLAG_FD_CLOEXEC`.
const CLOSE_ON_EXEC: usize = 1 << 3;
/// `PERF_EVENT_IOC_SET_BPF`.
const SET_PROGRAM: usize = 0x4004_2408;

/// Where the kernel describes its source of events in user code.
const UPROBES: &str = "/sys/bus/event_source/devices/uprobe";

/// `struct perf_event_attr` as of its second version (Linux 2.6.34): up to the place of a probe.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup: u32,
    breakpoint: u32,
    path: u64,
    offset: u64,
}

const _: () = assert!(size_of::<Attributes>() == 72);

/// An event of one CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Software {
    /// Time, so many times a second.
    CpuClock { freq_hz: u64 },
    /// One page fault in so many.
    PageFaults { period: u64 },
}

/// Opens an event on one CPU, whoever runs there. Closing what is returned ends it.
///
/// # Errors
/// The kernel's, with the call.
pub(super) fn on_cpu(
    event: Software,
    cpu: u32,
    program: BorrowedFd<'_>,
) -> Result<OwnedFd, String> {
    let (config, period, flags) = match event {
        Software::CpuClock { freq_hz } => (CPU_CLOCK, freq_hz, BY_FREQUENCY),
        Software::PageFaults { period } => (PAGE_FAULTS, period, 0),
    };
    let attributes = Attributes {
        kind: SOFTWARE,
        config,
        period,
        flags,
        sample_type: SAMPLE_RAW,
        wakeup: 1,
        ..Attributes::default()
    };
    let opened = open(attributes, -1, cpu.cast_signed())?;
    // SAFETY: no memory is passed, only descriptors that are open.
    let set = unsafe {
        syscall!(
            Sysno::ioctl,
            opened.as_raw_fd(),
            SET_PROGRAM,
            program.as_raw_fd()
        )
    };
    set.map_err(|error| said("PERF_EVENT_IOC_SET_BPF", error))?;
    Ok(opened)
}

/// The kernel's source of events in user code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Uprobes {
    kind: u32,
    /// What `config` is for an event at a function's return.
    at_return: u64,
}

/// A point in the code of a process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point<'a> {
    pub(super) pid: u32,
    pub(super) file: &'a File,
    pub(super) offset: u64,
    pub(super) at_return: bool,
}

impl Uprobes {
    /// Asks the kernel for its numbers.
    ///
    /// # Errors
    /// Where it has none.
    pub(super) fn find() -> Result<Self, String> {
        let read = |name: &str| {
            let path = format!("{UPROBES}/{name}");
            fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))
        };
        let kind = read("type")?;
        let kind = kind.trim().parse().map_err(|_| not_understood(&kind))?;
        let format = read("format/retprobe")?;
        let bit = format.trim().strip_prefix("config:");
        let bit: Option<u32> = bit.and_then(|bit| bit.parse().ok());
        let at_return = bit.and_then(|bit| 1_u64.checked_shl(bit));
        Ok(Self {
            kind,
            at_return: at_return.ok_or_else(|| not_understood(&format))?,
        })
    }

    /// Puts a program at a point. Closing what is returned takes it out.
    ///
    /// # Errors
    /// The kernel's, with the call.
    pub(super) fn attach(
        self,
        program: BorrowedFd<'_>,
        point: Point<'_>,
        cookie: u64,
    ) -> Result<OwnedFd, String> {
        let path = CString::new(format!("/proc/self/fd/{}", point.file.as_raw_fd()))
            .map_err(|error| error.to_string())?;
        let attributes = Attributes {
            kind: self.kind,
            config: if point.at_return { self.at_return } else { 0 },
            path: path.as_ptr().expose_provenance() as u64,
            offset: point.offset,
            ..Attributes::default()
        };
        let event = open(attributes, point.pid.cast_signed(), -1)?;
        link::at_event(program, &event, cookie).map_err(|error| format!("BPF_LINK_CREATE: {error}"))
    }
}

fn not_understood(text: &str) -> String {
    format!("{UPROBES}: not understood: {}", text.trim().escape_debug())
}

fn said(call: &str, error: syscalls::Errno) -> String {
    format!("{call}: {}", io::Error::from_raw_os_error(error.into_raw()))
}

/// perf_event_open(2). What a pointer in `attributes` names has to live.
fn open(mut attributes: Attributes, pid: i32, cpu: i32) -> Result<OwnedFd, String> {
    attributes.size = size_of::<Attributes>() as u32;
    let at = (&raw const attributes).expose_provenance();
    let (no_group, flags) = (-1_isize as usize, CLOSE_ON_EXEC);
    let (pid, cpu) = (pid as isize as usize, cpu as isize as usize);
    // SAFETY: the kernel reads as many bytes of a live record as its size says.
    let fd = unsafe { syscall!(Sysno::perf_event_open, at, pid, cpu, no_group, flags) }
        .map_err(|error| said("perf_event_open", error))?;
    // SAFETY: a descriptor that the kernel has just made for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_where_its_probes_are() {
        match Uprobes::find() {
            Ok(found) => assert!(found.kind > SOFTWARE && found.at_return.is_power_of_two()),
            Err(why) => remora_testing::skip(why),
        }
    }

    #[test]
    fn what_the_kernel_refuses_is_said_with_the_call() {
        let null = File::open("/dev/null").unwrap();
        let event = Software::CpuClock { freq_hz: 99 };
        let refused = on_cpu(event, 1 << 20, std::os::fd::AsFd::as_fd(&null)).unwrap_err();
        assert!(refused.starts_with("perf_event_open: "), "{refused}");
    }
}
