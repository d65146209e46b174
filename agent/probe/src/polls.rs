//! Counts the polls of the targets' threads exactly, for a moment: the entry to every system call of the host is
//! hooked meanwhile, so whoever begins this ends it soon.

use super::{Probe, ProbeError, hooks, link, now_ns};
use aya::{Btf, Ebpf, programs::BtfTracePoint};
use remora_model::ProgramCost;
use remora_process::deadline::{self, Step, Subject};
use std::os::fd::{AsFd, OwnedFd};

/// The program, which is loaded with the others and attached when polls are counted.
pub(super) const PROGRAM: &str = "count_polls";
/// Its tracepoint.
const TRACEPOINT: &str = "sys_enter";

/// Whether polls can be counted, and whether they are.
#[derive(Default)]
pub(super) enum PollCounter {
    /// There is no need: each is seen anyway, or that is not wanted.
    #[default]
    Needless,
    /// The kernel refused the program.
    Refused(String),
    /// It is loaded.
    Ready,
    /// It counts as long as the link is there.
    On(OwnedFd),
}

impl PollCounter {
    /// Loads the program.
    pub(super) fn load(ebpf: &mut Ebpf, btf: &Btf) -> Self {
        match hooks::tracepoint_ready(ebpf, btf, PROGRAM, TRACEPOINT) {
            Ok(()) => Self::Ready,
            Err(error) => Self::Refused(error.to_string()),
        }
    }
}

/// What it is called where it is refused.
fn hook() -> String {
    format!("tp_btf/{TRACEPOINT}")
}

impl Probe {
    /// Whether loops that seem stuck have to be asked, for polls that find something at once are not seen.
    pub fn wants_polls_counted(&self) -> bool {
        !matches!(self.polls, PollCounter::Needless)
    }

    /// Begins to count; returns from when on, in `CLOCK_MONOTONIC` nanoseconds.
    ///
    /// # Errors
    /// The kernel refuses the hook.
    pub fn count_polls(&mut self) -> Result<u64, ProbeError> {
        if let PollCounter::Refused(why) = &self.polls {
            return Err(ProbeError::Hook {
                hook: hook(),
                why: why.clone(),
            });
        }
        let program: &mut BtfTracePoint = hooks::program(&mut self.ebpf, PROGRAM)?;
        let program = hooks::program_fd(program.fd(), &hook())?;
        // It patches code that every CPU runs.
        let link = deadline::run(Step::Polls, Subject::Host, move || {
            link::at_tracepoint(program.as_fd())
        });
        let refused = |why: String| ProbeError::Hook { hook: hook(), why };
        let link = link.ok_or_else(|| refused("no answer".to_owned()))?;
        let link = link.map_err(|error| refused(error.to_string()))?;
        self.polls = PollCounter::On(link);
        let now = now_ns();
        self.set_polls_from(now);
        Ok(now)
    }

    /// Ends it: the hook is gone. What was counted stays in the threads' slots. Returns when.
    pub fn count_no_more_polls(&mut self) -> u64 {
        let now = now_ns();
        self.set_polls_from(0);
        if let PollCounter::On(_) = self.polls
            && let PollCounter::On(link) = std::mem::replace(&mut self.polls, PollCounter::Ready)
        {
            // What does not come out in time counts no more: the moment is over.
            let _gone = deadline::run(Step::Polls, Subject::Host, move || drop(link));
        }
        now
    }

    /// Runs and run time of the counting program so far, as far as statistics were on.
    pub fn poll_costs(&self) -> Option<ProgramCost> {
        self.cost_of(PROGRAM)
    }

    fn set_polls_from(&self, from_ns: u64) {
        // SAFETY: a live, aligned member that only the agent writes.
        unsafe { (&raw mut (*self.control.element(0)).polls_from_ns).write_volatile(from_ns) };
    }
}
