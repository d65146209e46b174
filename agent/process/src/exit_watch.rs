//! Waiting until no target is left, woken by the kernel and by nothing else.

use super::{Identity, Target, identity};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Handles held before the exited ones are sorted out for the first time.
const FIRST_PRUNE: usize = 64;

/// Waits for the exit of a set of processes, through their pidfds.
///
/// A process counts as exited when its last thread has ended, whether or not it was reaped.
#[derive(Debug)]
pub struct ExitWatch {
    watched: Vec<AsyncFd<OwnedFd>>,
    /// Number of handles at which the exited ones are sorted out: twice what was alive the last
    /// time, so a target that forks without end costs no more handles than it has processes.
    prune_at: usize,
}

impl ExitWatch {
    /// Watches these processes.
    ///
    /// # Errors
    /// When there are no more file handles, or the runtime has no I/O driver left.
    ///
    /// # Panics
    /// Outside of a tokio runtime whose I/O is enabled.
    pub fn new(targets: &[Target]) -> io::Result<Self> {
        let mut watch = Self {
            watched: Vec::with_capacity(targets.len()),
            prune_at: FIRST_PRUNE,
        };
        for target in targets {
            watch.add(&target.identity)?;
        }
        Ok(watch)
    }

    /// Watches one process more: a child that was born later. Adding it twice does no harm.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn add(&mut self, process: &Identity) -> io::Result<()> {
        if self.watched.len() >= self.prune_at {
            self.watched
                .retain(|pidfd| !identity::has_exited(pidfd.get_ref().as_fd()));
            self.prune_at = FIRST_PRUNE.max(2 * self.watched.len());
        }
        let pidfd = process.pidfd().try_clone_to_owned()?;
        // SAFETY: an `OwnedFd` holds its descriptor open and unchanged until it is dropped, and the
        // `AsyncFd` owns it.
        let pidfd = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }?;
        self.watched.push(pidfd);
        Ok(())
    }

    /// Returns once every process has exited; at once when there is none. It can be dropped and
    /// called again: nothing is lost, and processes may be added in between.
    ///
    /// # Errors
    /// When the runtime is shutting down.
    pub async fn all_exited(&mut self) -> io::Result<()> {
        while let Some(last) = self.watched.last() {
            let mut ready = last.readable().await?;
            if identity::has_exited(last.get_ref().as_fd()) {
                drop(ready);
                self.watched.pop();
            } else {
                ready.clear_ready();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::specimen::Running;
    use std::time::Duration;

    const SOON: Duration = Duration::from_millis(50);
    const LATEST: Duration = Duration::from_secs(20);

    fn target(child: &Running) -> Target {
        Target::of(child.pid()).unwrap()
    }

    async fn ends_within(watch: &mut ExitWatch, time: Duration) -> bool {
        tokio::time::timeout(time, watch.all_exited())
            .await
            .is_ok_and(|ended| ended.is_ok())
    }

    #[tokio::test]
    async fn it_waits_for_the_last_one() {
        let mut first = Running::new("sleep", &["300"]);
        let mut second = Running::new("sleep", &["300"]);
        let mut watch = ExitWatch::new(&[target(&first), target(&second)]).unwrap();
        assert!(!ends_within(&mut watch, SOON).await);
        second.kill();
        assert!(!ends_within(&mut watch, SOON).await);
        first.kill();
        assert!(ends_within(&mut watch, LATEST).await, "zombies have exited");
        assert!(ends_within(&mut watch, LATEST).await, "and stay so");
    }

    #[tokio::test]
    async fn one_that_exited_before_counts() {
        let mut child = Running::new("sleep", &["300"]);
        let held = target(&child);
        child.kill();
        child.reap();
        let mut watch = ExitWatch::new(&[held]).unwrap();
        assert!(ends_within(&mut watch, LATEST).await);
    }

    #[tokio::test]
    async fn later_children_are_waited_for() {
        let mut first = Running::new("sleep", &["300"]);
        let mut child = Running::new("sleep", &["300"]);
        let mut watch = ExitWatch::new(&[target(&first)]).unwrap();
        assert!(!ends_within(&mut watch, SOON).await);
        watch.add(&target(&child).identity).unwrap();
        watch.add(&target(&child).identity).unwrap();
        first.kill();
        assert!(!ends_within(&mut watch, SOON).await);
        child.kill();
        assert!(ends_within(&mut watch, LATEST).await);
    }

    #[tokio::test]
    async fn none_at_all_have_exited() {
        let mut watch = ExitWatch::new(&[]).unwrap();
        assert!(ends_within(&mut watch, LATEST).await);
    }

    #[tokio::test]
    async fn a_family_that_forks_without_end_costs_no_handles() {
        let parent = Running::new("sleep", &["300"]);
        let mut watch = ExitWatch::new(&[target(&parent)]).unwrap();
        for _ in 0..3 * FIRST_PRUNE {
            let mut child = Running::new("sleep", &["300"]);
            watch.add(&target(&child).identity).unwrap();
            child.kill();
            child.reap();
        }
        assert!(
            watch.watched.len() <= FIRST_PRUNE,
            "{}",
            watch.watched.len()
        );
        assert!(
            !ends_within(&mut watch, SOON).await,
            "the parent was not sorted out"
        );
    }
}
