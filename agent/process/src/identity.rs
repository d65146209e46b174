//! One process, told from all others that ever had or will have its pid.

use super::error::{self, TargetError};
use super::proc_fs::{self, Stat};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A process by its pid, its start and a handle of the kernel that follows no reuse of the pid.
#[derive(Debug)]
pub struct Identity {
    pid: u32,
    start_ticks: u64,
    pidfd: OwnedFd,
}

impl Identity {
    /// Opens the handle, reads, and asks the handle whether the process lived all the while: as
    /// long as it does its pid is not given away, so what was read is of this process.
    pub(super) fn open(pid: u32) -> Result<(Self, Stat), TargetError> {
        let pidfd = open_pidfd(pid)?;
        let Some(stat) = proc_fs::stat(pid) else {
            let gone = has_exited(pidfd.as_fd());
            return Err(if gone {
                error::ended(pid)
            } else {
                TargetError::Hidden { pid }
            });
        };
        let start_ticks = stat.start_ticks;
        let identity = Self {
            pid,
            start_ticks,
            pidfd,
        };
        if identity.is_same() {
            Ok((identity, stat))
        } else {
            Err(error::ended(pid))
        }
    }

    /// Its process id in the initial PID namespace.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// When it started, in clock ticks after boot (`/proc/PID/stat`, field 22).
    pub fn start_ticks(&self) -> u64 {
        self.start_ticks
    }

    /// The kernel's handle: readable once the whole process has exited.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Whether the process has not exited, and so still owns its pid.
    pub fn is_same(&self) -> bool {
        !has_exited(self.pidfd.as_fd())
    }
}

/// Whether the process of a pidfd has exited, all its threads, reaped or not.
pub(super) fn has_exited(pidfd: BorrowedFd<'_>) -> bool {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let ready = rustix::io::retry_on_intr(|| {
        let mut fds = [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
        rustix::event::poll(&mut fds, Some(&now))
    });
    ready.is_ok_and(|count| count > 0)
}

fn open_pidfd(pid: u32) -> Result<OwnedFd, TargetError> {
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let Some(raw) = raw else {
        return Err(error::no_such_process(pid));
    };
    rustix::process::pidfd_open(raw, PidfdFlags::empty()).map_err(|errno| match errno {
        Errno::SRCH => error::no_such_process(pid),
        // A thread that is not its process's first: EINVAL, ENOENT from 6.15 on.
        Errno::INVAL | Errno::NOENT => match proc_fs::process_of(pid) {
            Some(process) if process != pid => error::thread(pid, process),
            Some(_) => TargetError::Handle { pid, errno },
            None => error::no_such_process(pid),
        },
        errno => TargetError::Handle { pid, errno },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::specimen::Running;
    use std::time::Duration;

    #[test]
    fn it_is_the_same_until_it_exits() {
        let mut child = Running::new("sleep", &["300"]);
        let (identity, stat) = Identity::open(child.pid()).unwrap();
        assert!(identity.is_same());
        assert_eq!(identity.start_ticks(), stat.start_ticks);
        child.kill();
        child.await_death();
        assert!(!identity.is_same(), "a zombie is not watched any more");
        let error = Identity::open(child.pid()).unwrap_err();
        assert!(matches!(error, TargetError::Zombie { .. }), "{error}");
        child.reap();
        assert!(!identity.is_same());
        let error = Identity::open(child.pid()).unwrap_err();
        assert!(
            matches!(error, TargetError::NoSuchProcess { .. }),
            "{error}"
        );
    }

    #[test]
    fn a_recycled_pid_is_not_mistaken() {
        let mut first = Running::new("sleep", &["300"]);
        let (before, _) = Identity::open(first.pid()).unwrap();
        first.kill();
        first.reap();
        // Start times are in ticks of 10 ms.
        std::thread::sleep(Duration::from_millis(30));
        for _ in 0..200 {
            let last = (before.pid() - 1).to_string();
            if std::fs::write("/proc/sys/kernel/ns_last_pid", last).is_err() {
                remora_testing::skip("the next pid cannot be chosen here");
                return;
            }
            let second = Running::new("sleep", &["300"]);
            if second.pid() == before.pid() {
                let (after, _) = Identity::open(second.pid()).unwrap();
                assert!(after.is_same());
                assert!(!before.is_same());
                assert!(after.start_ticks() > before.start_ticks());
                return;
            }
        }
        remora_testing::skip("others took the pid each time");
    }
}
