//! Why there is no capture.

use remora_kernel::KernelError;
use remora_probe::ProbeError;
use remora_process::TargetError;
use remora_process::deadline::{NoThreads, Step};
use remora_process::python::NotFound;
use std::io;
use thiserror::Error;

/// Why there is no capture.
#[derive(Debug, Error)]
pub enum CaptureError {
    /// No such targets.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A kernel that cannot be read.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A kernel side that cannot be used.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// The runtime failed us.
    #[error("cannot wait for the targets: {0}")]
    Wait(io::Error),
    /// There are no more threads.
    #[error(transparent)]
    NoThreads(NoThreads),
    /// Python frames were asked for, and there are none to be had.
    #[error(
        "process {pid} has no Python frames to show: {why}; leave `--python on` away to record it all the same"
    )]
    Python {
        /// The process.
        pid: u32,
        /// Why not.
        why: NotFound,
    },
    /// Python frames were asked for, and this kernel cannot walk them.
    #[error(
        "this kernel has no bpf_loop (Linux 5.17), so Python frames cannot be walked; leave `--python on` \
         away to record native frames"
    )]
    NoPythonHere,
    /// The programs were not loaded in time.
    #[error(
        "loading the BPF programs did not end in {} s, or was interrupted: nothing was raw; try again, \
         and look for stalls in dmesg",
        Step::Load.limit().as_secs()
    )]
    NoAnswer,
    /// Every target was gone before the recording began.
    #[error("every target ended before the recording began: start it again and use its new pid")]
    Gone,
    /// A target lives, and the kernel shows none of its threads.
    #[error(
        "process {pid} lives, but the kernel's task iterator shows none of its threads, so they cannot be \
         watched: some sandboxes hide their own processes so; choose another process"
    )]
    Unseen {
        /// The process.
        pid: u32,
    },
}

impl From<io::Error> for CaptureError {
    fn from(error: io::Error) -> Self {
        // What `clone` says where the limit of processes is reached.
        match error.kind() {
            io::ErrorKind::WouldBlock => Self::NoThreads(NoThreads),
            _ => Self::Wait(error),
        }
    }
}
