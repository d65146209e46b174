//! The end of a recording: everything is read once more, in an order that loses nothing.

use super::{Held, Plan, Progress, Session, min_block_ns};
use crate::{
    inspect::{
        blocked::{self, BlockedStacks},
        dependencies,
        futexes::{self, FutexStates, WaitedWords},
        java::{self, JavaStates},
        objects::{HeapCensus, ObjectWatch},
        owners::{self, OwnersByCode},
        polls::{PollsSeen, Senses},
        sockets::SocketsSeen,
    },
    record::{
        meter::Meter,
        raw::{LoopsSeen, PythonSeen, RawCapture, RawLosses, RawTimeline, RunFacts},
        timeline::Recorder,
    },
    store::spaces::SpaceKey,
};
use remora_common::{loss::Loss, thread::ThreadSlot};
use remora_kernel::{Arch, Kernel};
use remora_model::{Dependency, End, Overhead, Python as PythonState};
use std::collections::{BTreeMap, HashSet};

/// When a recording began.
pub(super) struct Began {
    /// Seconds since the Unix epoch.
    pub(super) unix_s: f64,
    /// By the clock of the kernel side.
    pub(super) start_ns: u64,
}

/// How a recording ran, and what measured its cost.
pub(super) struct Run {
    pub(super) began: Began,
    pub(super) end: End,
    pub(super) meter: Meter,
}

/// What is read in the first moments after the end.
struct Moment {
    /// When counting stopped.
    end_ns: u64,
    locks: WaitedWords,
    interpreters: Vec<(u32, PythonState)>,
    blocked: BlockedStacks,
    python: PythonSeen,
    java: JavaStates,
    polls: PollsSeen,
    sockets: SocketsSeen,
}

/// What stands still from the end on.
struct Taken {
    /// Threads that are there, as they were at the end.
    living: Vec<ThreadSlot>,
    loops: LoopsSeen,
    futexes: FutexStates,
    kernel_losses: BTreeMap<Loss, u64>,
}

/// What is read of the targets once nothing is in a hurry.
struct Inspected {
    owners: OwnersByCode,
    dependencies: Vec<Dependency>,
    census: HeapCensus,
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
    ) -> (RawCapture, Held) {
        self.before_the_end(run.end).await;
        let mut moment = self.stop(plan, kernel, run.began.start_ns);
        moment.polls.mark(&mut moment.python.tasks);
        self.probe.settled().await;
        let mut overhead = run.meter.finish(&self.probe);
        (overhead.unwind_bytes, overhead.unwind_tables) = self.tables.memory();
        overhead.polls = moment.polls.cost;
        let taken = self.take_tables(plan, &moment, progress);
        self.see_processes(&taken.living, &moment);
        let inspected = self.inspect(kernel.arch, &taken.living, &moment);
        let run = RunFacts {
            started_unix_s: run.began.unix_s,
            start_ns: run.began.start_ns,
            end_ns: moment.end_ns,
            end: run.end,
            freq_hz: plan.freq_hz,
            min_block: plan.min_block,
            arch: kernel.arch,
            clock: self.probe.scheduler_clock(),
        };
        self.leave(plan, (run, overhead), moment, taken, inspected)
    }

    /// The last questions while everything counts.
    async fn before_the_end(&mut self, end: End) {
        if let Some(polls) = &mut self.polls {
            let mut senses = Senses {
                probe: &mut self.probe,
                sockets: &self.sockets,
                interpreters: &self.interpreters,
            };
            polls.catch_up(&mut senses, end).await;
        }
        self.sockets.last(&self.probe.threads()).await;
    }

    /// What the targets are asked when nothing counts any more.
    fn inspect(&mut self, arch: Arch, living: &[ThreadSlot], moment: &Moment) -> Inspected {
        let owners = owners::inspect(
            living,
            &moment.blocked,
            &self.spaces,
            arch.machine(),
            moment.end_ns,
            || self.probe.threads(),
        );
        Inspected {
            owners,
            dependencies: dependencies::inspect(living, arch),
            census: self.census(),
        }
    }

    /// All that is left, and the programs.
    fn leave(
        mut self,
        plan: &Plan,
        (run, overhead): (RunFacts, Overhead),
        moment: Moment,
        taken: Taken,
        inspected: Inspected,
    ) -> (RawCapture, Held) {
        let mut signals = self.signals();
        moment.polls.tell(&mut signals);
        let recorder = self.recorder.take();
        let (windows, coarsened) = recorder.map_or_else(Default::default, Recorder::finish);
        let living = &taken.living;
        let constraints = self.constraints.finish(&self.processes, living, run.arch);
        let threads = living.iter().chain(&self.aggregates.ended);
        let memory = self.memory.finish(&self.aggregates, threads);
        let heap = self.heap.take().map(|heap| heap.finish(&self.probe));
        let raw = RawCapture {
            run,
            sampling: self.sampling.finish(),
            processes: self.processes,
            living: taken.living,
            aggregates: self.aggregates,
            spaces: self.spaces,
            interpreters: self.interpreters,
            python: moment.python,
            java: moment.java,
            census: inspected.census,
            sockets: moment.sockets,
            blocked: moment.blocked,
            memory,
            heap,
            constraints,
            signals,
            overhead,
            futexes: taken.futexes,
            owners: inspected.owners,
            dependencies: inspected.dependencies,
            loops: taken.loops,
            polls: moment.polls,
            timeline: RawTimeline {
                window: plan.keep.window,
                windows,
                coarsened,
            },
            lost: RawLosses {
                kernel: taken.kernel_losses,
                skipped_runs: self.probe.skipped_runs(),
                tables: self.tables.losses().to_vec(),
                unread: self.unread,
                reopened: self.sampling.reopened(),
            },
        };
        (raw, self.probe)
    }

    /// The objects of interpreters and the blocks of malloc at the start and the end.
    fn census(&mut self) -> HeapCensus {
        match self.objects.take().map(ObjectWatch::finish) {
            Some(None) => {
                self.unread += 1;
                HeapCensus::default()
            }
            found => found.flatten().unwrap_or_default(),
        }
    }

    /// Stops all counting, and reads what changes from one moment to the next: what changes soonest first.
    fn stop(&mut self, plan: &Plan, kernel: &Kernel, start_ns: u64) -> Moment {
        let polls = self.polls.as_mut();
        let polls = polls.map(|polls| {
            polls.finish(&mut Senses {
                probe: &mut self.probe,
                sockets: &self.sockets,
                interpreters: &self.interpreters,
            })
        });
        let asleep = self.probe.blocked_threads().unwrap_or_else(|_| {
            self.unread += 1;
            Vec::new()
        });
        let end_ns = self.probe.stop();
        if let Some(heap) = &mut self.heap {
            heap.end(&mut self.probe);
        }
        let locks = futexes::read_waited(&self.probe.threads(), || self.probe.threads());
        self.memory.ending();
        if let Some(objects) = &self.objects {
            objects.ending();
        }
        let interpreters = self.interpreters.inspect(&self.probe.threads());
        self.learn_python();
        let blocked = blocked::walk(
            &mut self.probe,
            &mut self.spaces,
            kernel.arch.machine(),
            asleep,
            (end_ns, min_block_ns(plan)),
        )
        .unwrap_or_else(|_| {
            self.unread += 1;
            BlockedStacks::default()
        });
        // Once for all: each reading may meet a slot that is being written.
        let threads = self.probe.threads();
        Moment {
            end_ns,
            locks,
            interpreters,
            polls: polls.unwrap_or_default(),
            blocked,
            python: PythonSeen {
                waits: self.interpreters.waits(&threads),
                names: self.interpreters.names(&threads),
                pools: self.interpreters.pools(&threads),
                tasks: self.interpreters.tasks(),
                slots: self.interpreters.slots(&threads),
            },
            java: java::inspect(&self.spaces, &threads, || self.probe.threads()),
            sockets: self.sockets.finish(start_ns),
        }
    }

    /// Empties the kernel's tables, which stand still by now.
    fn take_tables(
        &mut self,
        plan: &Plan,
        moment: &Moment,
        progress: &mut impl FnMut(Progress<'_>),
    ) -> Taken {
        self.take_events();
        let (living, moved) = self.living(moment.end_ns);
        self.close_window(moment.end_ns, &living, progress);
        let with_loops = living.iter();
        let by_serial = with_loops
            .filter_map(|slot| Some((slot.serial, self.probe.event_loop(slot.event_loop)?)))
            .collect();
        for drained in self.probe.drain() {
            self.gather(drained);
        }
        let kernel_losses = self.probe.losses().unwrap_or_else(|_| {
            self.unread += 1;
            BTreeMap::new()
        });
        Taken {
            loops: LoopsSeen {
                by_serial,
                exact: self.probe.loops_are_exact(),
                late_from: plan.late,
            },
            futexes: FutexStates {
                moved,
                ..futexes::inspect(&self.aggregates, &living, &moment.locks)
            },
            kernel_losses,
            living,
        }
    }

    /// The threads that are there, as they were at the end, and the serials of those that were woken since.
    fn living(&self, end_ns: u64) -> (Vec<ThreadSlot>, HashSet<u32>) {
        let mut living = self.probe.threads();
        let mut moved = HashSet::new();
        for slot in living.iter_mut().filter(|slot| slot.woken_ns > end_ns) {
            // Wake-ups are noted without a look at the end: this one came after it.
            slot.woken_ns = 0;
            moved.insert(slot.serial);
        }
        (living, moved)
    }

    /// Mappings again, for libraries that were loaded since they were read; and the interpreters.
    fn see_processes(&mut self, living: &[ThreadSlot], moment: &Moment) {
        for thread in living {
            let key = SpaceKey {
                tgid: thread.tgid,
                generation: thread.generation,
            };
            self.spaces.refresh(key, moment.end_ns);
        }
        for (pid, python) in &moment.interpreters {
            if let Some(process) = self.processes.get_mut(pid) {
                process.python = Some(python.clone());
            }
        }
    }
}
