//! The end of a recording: everything is read once more, in an order that loses nothing.

use super::{Plan, Progress, Session, min_block_ns};
use crate::{
    capture::{
        assemble::Recorded,
        blocked::{self, BlockedStacks},
        locks,
        meter::Meter,
        spaces::SpaceKey,
        timeline::Recorder,
    },
    kernel::{Kernel, clocks::CpuClocks},
    model::End,
    probe::Probe,
};
use std::collections::BTreeMap;

/// When a recording began, how it ended, and what measured its cost.
pub(super) struct Run {
    pub(super) started_unix_s: f64,
    pub(super) start_ns: u64,
    pub(super) end: End,
    pub(super) meter: Meter,
    pub(super) clocks: CpuClocks,
}

impl Session {
    /// Ends the recording: a look at who is asleep, then all counting stops at once; the stacks of the
    /// sleepers come after, so that no wait begins between the look and the stop. What cannot be read any
    /// more is counted; it never costs the report.
    pub(super) async fn finish(
        mut self,
        plan: &Plan,
        kernel: &Kernel,
        run: Run,
        progress: &mut impl FnMut(Progress<'_>),
    ) -> (Recorded, Probe) {
        self.sockets.last(&self.probe.threads()).await;
        let min_block_ns = min_block_ns(plan);
        let asleep = self.probe.blocked_threads().unwrap_or_else(|_| {
            self.unread += 1;
            Vec::new()
        });
        let end_ns = self.probe.stop();
        self.memory.ending();
        let interpreters = self.pythons.look_at(&self.probe.threads());
        self.learn_python();
        let blocked = blocked::walk(
            &mut self.probe,
            &mut self.spaces,
            kernel.arch.machine(),
            asleep,
            (end_ns, min_block_ns),
        )
        .unwrap_or_else(|_| {
            self.unread += 1;
            BlockedStacks::default()
        });
        let tasks = self.pythons.tasks();
        let sockets = self.sockets.finish(run.start_ns);
        self.probe.settled().await;
        let mut overhead = run.meter.finish(&self.probe);
        (overhead.unwind_bytes, overhead.unwind_tables) = self.tables.memory();
        self.take_events();
        let mut living = self.probe.threads();
        for slot in living.iter_mut().filter(|slot| slot.woken_ns > end_ns) {
            // Wake-ups are noted without a look at the end: this one came after it.
            slot.woken_ns = 0;
        }
        self.close_window(end_ns, &living, progress);
        let loops = living
            .iter()
            .filter_map(|slot| Some((slot.serial, self.probe.event_loop(slot.event_loop)?)))
            .collect();
        for drained in self.probe.drain() {
            self.gather(drained);
        }
        let futexes = locks::look(&self.gathered, &living);
        for thread in &living {
            let key = SpaceKey {
                tgid: thread.tgid,
                generation: thread.generation,
            };
            self.spaces.refresh(key, end_ns);
        }
        for (pid, python) in interpreters {
            if let Some(process) = self.processes.get_mut(&pid) {
                process.python = Some(python);
            }
        }
        let kernel_losses = self.probe.losses().unwrap_or_else(|_| {
            self.unread += 1;
            BTreeMap::new()
        });
        let signals = self.signals();
        let (windows, windows_coarsened) = self
            .recorder
            .take()
            .map_or_else(Default::default, Recorder::finish);
        let threads = living.iter().chain(&self.gathered.ended);
        let memory = self.memory.finish(&self.gathered, threads);
        let recorded = Recorded {
            started_unix_s: run.started_unix_s,
            start_ns: run.start_ns,
            end_ns,
            end: run.end,
            freq_hz: plan.freq_hz,
            min_block: plan.min_block,
            arch: kernel.arch,
            clocks: run.clocks,
            processes: self.processes,
            living,
            gathered: self.gathered,
            spaces: self.spaces,
            pythons: self.pythons,
            tasks,
            sockets,
            blocked,
            memory,
            kernel_losses,
            skipped_runs: self.probe.skipped_runs(),
            table_losses: self.tables.losses().to_vec(),
            unread: self.unread,
            signals,
            overhead,
            futexes,
            loops,
            loops_are_exact: self.probe.loops_are_exact(),
            late_from: plan.late,
            window: plan.keep.window,
            windows,
            windows_coarsened,
        };
        (recorded, self.probe)
    }
}
