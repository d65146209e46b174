//! Several specimens under one capture, each compared with its own account of its waits.
//!
//! The checks give the difference in words rather than panic, so that they can be tried themselves:
//! on a report that is made wrong they must find it.

use crate::folded::{Folded, Line};
use crate::gate::skip;
use crate::modes::{WaitMode, wait_mode};
use crate::remora::{Remora, Run};
use crate::report::Report;
use crate::schedule::{Recorder, Schedule};
use crate::specimen::{Specimen, Start};
use crate::tolerance::{SLACK, WAIT_CEILING, WAIT_FLOOR, WRONG_REASON};
use std::time::Duration;

/// Long enough for some hundred waits of the usual 20 ms.
const SECONDS: u32 = 3;

/// What a capture said, and what it watched.
#[derive(Debug)]
pub struct Waits {
    /// The run.
    pub run: Run,
    /// Its report.
    pub report: Report,
    /// Its stacks off the CPU.
    pub offcpu: Folded,
    /// The specimens and what each does.
    pub specimens: Vec<(&'static WaitMode, Specimen)>,
    schedule: Schedule,
}

impl Waits {
    /// Captures one specimen in each of these modes; skips what this machine cannot do.
    pub fn watch(modes: &[&str], arguments: &[&str]) -> Self {
        let mut specimens = Vec::new();
        for mode in modes.iter().map(|name| wait_mode(name)) {
            match Start::mode(mode.mode).spawn() {
                Ok(specimen) => specimens.push((mode, specimen)),
                Err(why) => skip(&why),
            }
        }
        let pids: Vec<u32> = specimens
            .iter()
            .map(|(_, specimen)| specimen.pid())
            .collect();
        let recorder = Recorder::start(pids.iter().map(|pid| (*pid, *pid)).collect());
        let (run, report) = Remora::record(&pids, SECONDS).args(arguments).capture();
        let offcpu = run.folded("offcpu");
        Self {
            run,
            report,
            offcpu,
            schedule: recorder.finish(),
            specimens,
        }
    }

    /// Panics unless reason, time and stacks of each are right, and nothing was lost.
    pub fn assert_right(&self) {
        assert!(!self.specimens.is_empty(), "nothing was watched");
        for (mode, specimen) in &self.specimens {
            let checks = [
                self.check_time(mode, specimen),
                self.check_stacks(mode, specimen),
            ];
            for check in checks {
                check.unwrap_or_else(|wrong| panic!("{}: {wrong}", mode.mode));
            }
        }
        self.report.assert_no_loss();
    }

    /// Whether the time that the main thread was blocked has the right reason and length.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check_time(&self, mode: &WaitMode, specimen: &Specimen) -> Result<(), String> {
        let truth = self.truth(mode, specimen);
        if truth <= SLACK {
            return Err(format!("the specimen hardly waited: {truth:?}"));
        }
        let thread = self.report.thread(specimen.tid("main"));
        let right = thread.blocked_for(mode.reason);
        let wrong = thread.blocked_otherwise(mode.reason);
        let most = truth.mul_f64(WAIT_CEILING).max(truth + SLACK);
        // By its own clock the specimen waits until it runs; the report knows until it is ready.
        let back = right + thread.queued();
        if back < truth.mul_f64(WAIT_FLOOR) || right > most || wrong > truth.mul_f64(WRONG_REASON) {
            return Err(format!(
                "{right:?} as {:?} and {wrong:?} as something else, by its own account {truth:?}: \
                 {:#?}",
                mode.reason, thread.blocked
            ));
        }
        Ok(())
    }

    /// Whether its stacks lead from `main` to the function that waits, for as long.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check_stacks(&self, mode: &WaitMode, specimen: &Specimen) -> Result<(), String> {
        let tid = specimen.tid("main");
        let thread = self.report.thread(tid);
        let short: u64 = thread.blocked.iter().map(|blocked| blocked.short_ns).sum();
        let with_stack = self
            .truth(mode, specimen)
            .saturating_sub(Duration::from_nanos(short))
            .saturating_sub(thread.queued());
        let (outer, first) = (mode.outer(), mode.first_frame());
        let chain = ["main", "run_waits", &outer, mode.function];
        let of_it = |line: &Line| line.is_of(tid) && line.reason() == first;
        let right = self
            .offcpu
            .sum(|line| of_it(line) && line.has_chain(&chain));
        if Duration::from_nanos(right) < with_stack.mul_f64(WAIT_FLOOR) {
            return Err(format!(
                "{right} ns in {first};…;{}, expected {with_stack:?}; its stacks:{}",
                chain.join(";"),
                self.offcpu.top(|line| line.is_of(tid))
            ));
        }
        let strange = |frame: &String| frame.starts_with("wait_in_") && frame != mode.function;
        let wrong = |line: &Line| line.is_of(tid) && line.frames.iter().any(strange);
        if self.offcpu.sum(wrong) > 0 {
            return Err(format!("another's function: {}", self.offcpu.top(wrong)));
        }
        Ok(())
    }

    /// Time that the main thread was blocked: by its own clocks, less the scheduler's account of
    /// its time on the run queue.
    fn truth(&self, mode: &WaitMode, specimen: &Specimen) -> Duration {
        let window = self.report.window();
        let off_cpu = specimen.off_cpu(mode.function, "main", window);
        off_cpu.saturating_sub(self.schedule.inside(specimen.tid("main"), window).queued)
    }
}
