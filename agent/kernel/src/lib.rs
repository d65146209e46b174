//! What the agent must know of the running kernel before it loads anything into it.
//!
//! One object serves all kernels: structure offsets and features are not compiled in but read
//! here, and passed to the programs as read-only globals.
//!
//! | module | what |
//! | --- | --- |
//! | [`btf`] | the kernel's description of its own types |
//! | [`offsets`](mod@offsets) | where the structure members are that the kernel side reads |
//! | [`syscalls`] | system calls: names, and what each waits for |
//! | [`arch`] | what differs between x86-64 and arm64 |
//! | [`kallsyms`] | its symbols |
//! | [`clocks`] | the scheduler's clock |
//! | [`cpus`] | which CPUs there are, and which are kept for somebody |

pub mod arch;
pub mod btf;
pub mod clocks;
pub mod cpus;
pub mod kallsyms;
pub mod offsets;
pub mod syscalls;

pub use arch::Arch;
pub use kallsyms::{finish_task_switch_symbol, restart_functions, scheduler_text};
pub use offsets::Absent;

use btf::{Btf, BtfError};
use remora_common::{config::Offsets, socket::SocketOffsets};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Where the kernel shows its BTF.
const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
/// A file longer than this is not read to its end; kernels have 4 to 20 MB.
const LIMIT_BYTES: u64 = 1 << 28;
/// The first kernel whose BPF takes the address of a function (a loop's body); compare-and-swap came
/// before, with 5.12. BTF does not show instructions, so here a version has to do.
const OLDEST: (u32, u32) = (5, 13);

/// Why the kernel cannot be read, or not be observed.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// There is no BTF.
    #[error(
        "{} is missing: this kernel was built without CONFIG_DEBUG_INFO_BTF (or /sys is not \
         mounted here); boot a kernel that has it, as those of the distributions do",
        .path.display()
    )]
    NoBtf {
        /// The file that is not there.
        path: PathBuf,
    },
    /// BTF is there and cannot be read.
    #[error("cannot read {}: {source}; run as root, on the host or with its /sys", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// BTF contradicts itself, or is newer than this program.
    #[error("cannot use {}: {source}; please report this kernel's version", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: BtfError,
    },
    /// A kernel from before BPF had the instructions that the tables need.
    #[error(
        "Linux {release} is too old: remora needs {}.{} for the instructions of its kernel side; \
         boot a newer kernel",
        OLDEST.0, OLDEST.1
    )]
    TooOld {
        /// `uname -r`.
        release: String,
    },
    /// A structure member that nothing works without.
    #[error("this kernel cannot be observed: {member} is missing from its BTF, so {cost}")]
    Unsupported {
        /// The member.
        member: String,
        /// What is lost without it.
        cost: &'static str,
    },
}

/// What this kernel offers, as its BTF says. Whether it then lets a program load is another
/// question, which only trying answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// `sched_switch` passes the state of the thread that leaves, as its fourth argument (5.18).
    pub switch_has_state: bool,
    /// The tracepoint `sched_exit_tp` exists (6.16).
    pub sched_exit_tp: bool,
    /// A function `finish_task_switch` exists, for fentry; its symbol may differ:
    /// [`finish_task_switch_symbol`].
    pub finish_task_switch: bool,
    /// The helper `bpf_task_pt_regs` exists (5.15).
    pub task_pt_regs: bool,
    /// The helper `bpf_loop` exists (5.17).
    pub bpf_loop: bool,
}

/// The running kernel, as far as remora depends on it.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Its architecture.
    pub arch: Arch,
    /// Offsets of structure members.
    pub offsets: Offsets,
    /// The same of what is read of sockets.
    pub socket_offsets: SocketOffsets,
    /// Members that are not there.
    pub absent: Vec<Absent>,
    /// What else it has.
    pub features: Features,
    /// Bytes from `task_struct.stack` to the saved user registers, for kernels without
    /// `bpf_task_pt_regs`; `None` when the size of `pt_regs` is unknown.
    ///
    /// `task_pt_regs` of `arch/x86/include/asm/processor.h` and
    /// `arch/arm64/include/asm/processor.h`: they end where the kernel stack ends. Kernels with
    /// KASAN have longer stacks, and x86-64 kernels with FRED leave room above; the former are
    /// for debugging, the latter all have the helper.
    pub regs_from_stack: Option<u32>,
}

impl Kernel {
    /// Reads the running kernel's BTF.
    ///
    /// # Errors
    /// When there is none, or it cannot be read. Missing members are no error: see
    /// [`absent`](Self::absent) and [`require`](Self::require).
    pub fn read() -> Result<Self, KernelError> {
        let release = rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned();
        if version(&release).is_some_and(|version| version < OLDEST) {
            return Err(KernelError::TooOld { release });
        }
        let path = Path::new(VMLINUX);
        let data = read_limited(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => KernelError::NoBtf { path: path.into() },
            _ => KernelError::Unreadable {
                path: path.into(),
                source,
            },
        })?;
        let btf = Btf::parse(&data).map_err(|source| KernelError::Malformed {
            path: path.into(),
            source,
        })?;
        Ok(Self::from_btf(&btf, Arch::current()))
    }

    /// Takes from BTF what is needed of a kernel for `arch`.
    pub fn from_btf(btf: &Btf<'_>, arch: Arch) -> Self {
        let (offsets, mut absent) = offsets::offsets(btf, arch);
        let socket_offsets = offsets::sockets::offsets(btf, &mut absent);
        let features = Features {
            switch_has_state: btf
                .tracepoint_args("sched_switch")
                .is_some_and(|args| args >= 4),
            sched_exit_tp: btf.tracepoint_args("sched_exit_tp").is_some(),
            finish_task_switch: btf.has_function("finish_task_switch"),
            task_pt_regs: btf
                .enum_value("bpf_func_id", "BPF_FUNC_task_pt_regs")
                .is_some(),
            bpf_loop: btf.enum_value("bpf_func_id", "BPF_FUNC_loop").is_some(),
        };
        let page_size = u32::try_from(rustix::param::page_size()).unwrap_or(u32::MAX);
        let regs_from_stack = btf
            .size_of("pt_regs")
            .ok()
            .and_then(|registers| arch.thread_size(page_size).checked_sub(registers));
        Self {
            arch,
            offsets,
            socket_offsets,
            absent,
            features,
            regs_from_stack,
        }
    }

    /// That everything is there without which nothing can be observed.
    ///
    /// # Errors
    /// Names the first fatal absence.
    pub fn require(&self) -> Result<(), KernelError> {
        match self.absent.iter().find(|absent| absent.fatal) {
            None => Ok(()),
            Some(Absent { member, cost, .. }) => Err(KernelError::Unsupported {
                member: member.clone(),
                cost,
            }),
        }
    }
}

/// Major and minor version of a kernel release; `None` for one that does not begin with them.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn read_limited(path: &Path) -> io::Result<Vec<u8>> {
    let mut data = Vec::new();
    File::open(path)?.take(LIMIT_BYTES).read_to_end(&mut data)?;
    Ok(data)
}

#[cfg(test)]
mod tests;
