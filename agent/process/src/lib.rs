//! Which processes are watched: from what was typed to processes that cannot be mistaken.
//!
//! A pid is a number that the kernel hands out again. So each target is held by a pidfd, opened
//! before anything is read and checked afterwards: what was read belongs to that one process, and
//! [`Target::is_same`] says at any later time whether its pid still means it.
//!
//! Processes vanish while they are looked at. Everything here is total and bounded: what is gone is
//! an absent value or a [`TargetError`], never a panic.

pub mod allocator;
mod budget;
pub mod deadline;
mod describe;
pub mod elf;
mod error;
mod exit_watch;
mod family;
pub mod glibc;
mod identity;
mod image;
pub mod java;
pub mod maps;
pub mod memory;
mod metered;
mod pagemap;
pub mod pages;
mod place;
pub mod proc_fs;
pub mod python;
mod relatives;
mod resident;
mod select;
#[cfg(test)]
mod specimen;
pub mod symbol;
pub mod unwind;
mod workers;

pub use budget::Budget;
pub use describe::{escape, name, thread_name};
pub use error::{Inside, TargetError};
pub use exit_watch::ExitWatch;
pub use identity::Identity;
pub use image::Exe;
pub use pagemap::{PageFlags, Pagemap, Region};
pub use place::{Place, places};
pub use proc_fs::{namespace_thread_ids, process_of, vm_swap_bytes};
pub use relatives::relatives;
pub use resident::ResidentMemory;
pub use select::{Selection, resolve};

use crate::deadline::{Step, Subject};
use std::sync::OnceLock;

/// The process that waits for this one, if there is such a one.
static WAITING: OnceLock<u32> = OnceLock::new();

/// Another process is remora too: the one that waits for this one.
pub fn waits_for_us(pid: u32) {
    let _there_is_one = WAITING.set(pid);
}

/// Whether a process is remora itself.
fn is_ourselves(pid: u32) -> bool {
    pid == std::process::id() || WAITING.get() == Some(&pid)
}

/// One process to watch.
#[derive(Debug)]
pub struct Target {
    /// The process, beyond doubt.
    pub identity: Identity,
    /// Process id of its parent when it was read, 0 = none.
    pub parent: u32,
    /// Name of its main thread, escaped.
    pub comm: String,
    /// What it executes; `None` when that could not be read.
    pub exe: Option<Exe>,
    /// Its arguments, escaped; empty when they could not be read, cut after 4 KiB.
    pub cmdline: Vec<String>,
    /// Its thread ids when it was read, ascending.
    pub threads: Vec<u32>,
    /// It was not asked for: it is a child of this process, which has no work of its own.
    pub followed: Option<u32>,
}

impl Target {
    /// Takes hold of the living process `pid`.
    ///
    /// # Errors
    /// Whatever makes `pid` no target: see [`TargetError`]. A process that is not there comes as
    /// [`TargetError::NoSuchProcess`] without a search of the containers: [`resolve`] adds that.
    pub fn of(pid: u32) -> Result<Self, TargetError> {
        if is_ourselves(pid) {
            return Err(TargetError::Ourselves { pid });
        }
        let (identity, stat) = Identity::open(pid)?;
        let comm = escape(&stat.comm);
        if stat.is_kernel_thread() {
            return Err(TargetError::KernelThread { pid, comm });
        }
        let threads = proc_fs::threads(pid);
        let asked = threads.clone();
        let image = deadline::run(Step::Select, Subject::Process(pid), move || {
            image::read(pid, &asked)
        });
        let image = image.unwrap_or_default();
        if !identity.is_same() {
            return Err(error::ended(pid));
        }
        Ok(Self {
            identity,
            parent: stat.parent,
            comm,
            exe: image.exe,
            cmdline: image.cmdline,
            threads,
            followed: None,
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.identity.pid()
    }

    /// Whether its pid still means this process: `false` from its exit on.
    pub fn is_same(&self) -> bool {
        self.identity.is_same()
    }
}

#[cfg(test)]
mod tests {
    use super::specimen::{self, Running};
    use super::*;

    #[test]
    fn a_living_process_is_described() {
        let child = Running::new("sleep", &["321"]);
        let target = Target::of(child.pid()).unwrap();
        assert_eq!(target.pid(), child.pid());
        assert_eq!(target.parent, std::process::id());
        assert_eq!(target.comm, "sleep");
        assert_eq!(target.cmdline, ["sleep", "321"]);
        assert_eq!(target.threads, [child.pid()]);
        let exe = target.exe.as_ref().unwrap();
        assert_eq!(exe.path.file_name().unwrap(), "sleep");
        assert!(!exe.deleted);
        assert!(target.is_same());
    }

    #[test]
    fn we_are_no_target() {
        let error = Target::of(std::process::id()).unwrap_err();
        assert!(matches!(error, TargetError::Ourselves { .. }), "{error}");
    }

    #[test]
    fn a_kernel_thread_is_no_target() {
        if proc_fs::stat(2).is_none_or(|stat| stat.comm != b"kthreadd") {
            remora_testing::skip("pid 2 is not kthreadd here");
            return;
        }
        assert_eq!(
            Target::of(2).unwrap_err().to_string(),
            "2 (kthreadd) is a kernel thread: it has no user code to watch: \
             choose the pid of a process"
        );
    }

    #[test]
    fn a_zombie_is_no_target() {
        let zombie = Running::new("true", &[]);
        zombie.await_death();
        let error = Target::of(zombie.pid()).unwrap_err();
        let TargetError::Zombie {
            pid, comm, parent, ..
        } = &error
        else {
            panic!("{error}");
        };
        assert_eq!((*pid, comm.as_str()), (zombie.pid(), "true"));
        assert_eq!(*parent, std::process::id());
    }

    #[test]
    fn a_thread_is_no_target_and_its_process_is_named() {
        let error = specimen::with_thread(|tid| Target::of(tid).unwrap_err());
        let TargetError::Thread { tid, pid, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(pid, std::process::id());
        assert_ne!(tid, pid);
    }

    #[test]
    fn no_number_panics() {
        for pid in [0, i32::MAX as u32, i32::MAX as u32 + 1, u32::MAX] {
            let error = Target::of(pid).unwrap_err();
            assert!(
                matches!(error, TargetError::NoSuchProcess { .. }),
                "{error}"
            );
        }
    }

    #[test]
    fn a_process_whose_main_thread_has_ended_is_alive() {
        let Some(child) = specimen::without_main_thread() else {
            remora_testing::skip("no python3 to end a main thread with");
            return;
        };
        let target = Target::of(child.pid()).unwrap();
        assert!(target.threads.iter().any(|tid| *tid != child.pid()));
        assert!(target.exe.is_some(), "read through a living thread");
        assert!(!target.cmdline.is_empty());
    }
}
