//! Whether what a thread does at the end of the capture is its normal idle.

use super::{Capture, Idleness, Reason, Site, State, is_event_loop, user_sites};
use std::collections::HashSet;

/// Where workers were seen to wait for work, to tell whether a present wait is idle.
pub struct IdlePlaces<'a> {
    capture: &'a Capture,
    sites: Vec<Option<usize>>,
    workers: HashSet<(usize, Reason, usize)>,
}

impl<'a> IdlePlaces<'a> {
    /// Collects the places of a capture.
    pub fn new(capture: &'a Capture) -> Self {
        let mut places = Self {
            capture,
            sites: user_sites(&capture.stacks),
            workers: HashSet::new(),
        };
        for wait in capture
            .waits
            .iter()
            .filter(|wait| wait.idle == Idleness::Worker)
        {
            if let Site::Stack(stack) = wait.site
                && let Some(site) = places.site(stack)
            {
                places.workers.insert((wait.thread, wait.reason, site));
            }
        }
        places
    }

    fn site(&self, stack: usize) -> Option<usize> {
        self.sites.get(stack).copied().flatten()
    }

    /// Whether what a thread does now is its normal idle.
    pub fn now_is_idle(&self, thread: usize) -> bool {
        let Some(now) = self.capture.threads.get(thread).map(|thread| &thread.now) else {
            return false;
        };
        let Some(reason) = now.reason.filter(|_| now.state == State::Blocked) else {
            return false;
        };
        let site = now.stack.and_then(|stack| self.site(stack));
        is_event_loop(reason)
            || site.is_some_and(|site| self.workers.contains(&(thread, reason, site)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Builder, ms};

    #[test]
    fn a_wedged_thread_is_not_idle_now() {
        let mut builder = Builder::new(1, "target");
        builder.wait(0, Reason::Futex, &["main", "pthread_cond_wait"], ms(20_000));
        builder.last_wait().event_form = true;
        let home = builder.stack(&["main", "pthread_cond_wait", "k:schedule"]);
        let wedge = builder.stack(&["main", "pthread_mutex_lock"]);
        let mut capture = builder.finish();
        capture.threads[0].now.state = State::Blocked;
        capture.threads[0].now.reason = Some(Reason::Futex);
        for (stack, idle) in [(Some(home), true), (Some(wedge), false), (None, false)] {
            capture.threads[0].now.stack = stack;
            assert_eq!(
                IdlePlaces::new(&capture).now_is_idle(0),
                idle,
                "stack {stack:?}"
            );
        }
    }
}
