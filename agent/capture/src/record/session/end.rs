//! The end of a recording: everything is read once more, in an order that loses nothing.

use super::{Held, Plan, Progress, Session, min_block_ns};
use crate::{
    inspect::{
        blocked::{self, BlockedStacks},
        dependencies,
        futexes::{self, FutexStates, WaitedWords},
        java::{self, JavaStates},
        objects::{HeapCensus, ObjectWatch},
        owners,
        polls::{PollsSeen, Senses},
        sockets::SocketsSeen,
    },
    record::{meter::Meter, raw::RawCapture, timeline::Recorder},
    store::spaces::SpaceKey,
};
use remora_common::{event_loop::EventLoop, loss::Loss, thread::ThreadSlot};
use remora_kernel::Kernel;
use remora_model::{End, Python, PythonPool, PythonWait, SlotPool, Tasks};
use std::collections::{BTreeMap, HashMap, HashSet};

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
    interpreters: Vec<(u32, Python)>,
    blocked: BlockedStacks,
    python_waits: Vec<PythonWait>,
    python_names: HashMap<u32, String>,
    polls: PollsSeen,
    python_pools: Vec<PythonPool>,
    java: JavaStates,
    slot_pools: Vec<SlotPool>,
    tasks: Vec<(u32, Tasks)>,
    sockets: SocketsSeen,
}

/// What stands still from the end on.
struct Taken {
    /// Threads that are there, as they were at the end.
    living: Vec<ThreadSlot>,
    loops: HashMap<u32, EventLoop>,
    futexes: FutexStates,
    kernel_losses: BTreeMap<Loss, u64>,
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
        if let Some(polls) = &mut self.polls {
            let mut senses = Senses {
                probe: &mut self.probe,
                sockets: &self.sockets,
                interpreters: &self.interpreters,
            };
            polls.catch_up(&mut senses, run.end).await;
        }
        self.sockets.last(&self.probe.threads()).await;
        let mut moment = self.stop(plan, kernel, run.began.start_ns);
        moment.polls.mark(&mut moment.tasks);
        self.probe.settled().await;
        let mut overhead = run.meter.finish(&self.probe);
        (overhead.unwind_bytes, overhead.unwind_tables) = self.tables.memory();
        let taken = self.take_tables(&moment, progress);
        self.see_processes(&taken.living, &moment);
        let owners = owners::inspect(
            &taken.living,
            &moment.blocked,
            &self.spaces,
            kernel.arch.machine(),
            moment.end_ns,
            || self.probe.threads(),
        );
        let dependencies = dependencies::inspect(&taken.living, kernel.arch);
        let mut signals = self.signals();
        moment.polls.tell(&mut signals);
        overhead.polls = moment.polls.cost;
        let (windows, windows_coarsened) = self
            .recorder
            .take()
            .map_or_else(Default::default, Recorder::finish);
        let census = self.census();
        let constraints = self
            .constraints
            .finish(&self.processes, &taken.living, kernel.arch);
        let threads = taken.living.iter().chain(&self.aggregates.ended);
        let memory = self.memory.finish(&self.aggregates, threads);
        let heap = self.heap.take().map(|heap| heap.finish(&self.probe));
        let raw = RawCapture {
            started_unix_s: run.began.unix_s,
            start_ns: run.began.start_ns,
            end_ns: moment.end_ns,
            end: run.end,
            freq_hz: plan.freq_hz,
            sampling: self.sampling.finish(),
            reopened: self.sampling.reopened(),
            min_block: plan.min_block,
            arch: kernel.arch,
            clock: self.probe.scheduler_clock(),
            processes: self.processes,
            living: taken.living,
            aggregates: self.aggregates,
            spaces: self.spaces,
            interpreters: self.interpreters,
            python_waits: moment.python_waits,
            python_names: moment.python_names,
            python_pools: moment.python_pools,
            java: moment.java,
            slot_pools: moment.slot_pools,
            tasks: moment.tasks,
            census,
            sockets: moment.sockets,
            blocked: moment.blocked,
            memory,
            heap,
            constraints,
            kernel_losses: taken.kernel_losses,
            skipped_runs: self.probe.skipped_runs(),
            table_losses: self.tables.losses().to_vec(),
            unread: self.unread,
            signals,
            overhead,
            futexes: taken.futexes,
            owners,
            dependencies,
            loops: taken.loops,
            loops_are_exact: self.probe.loops_are_exact(),
            polls: moment.polls,
            late_from: plan.late,
            window: plan.keep.window,
            windows,
            windows_coarsened,
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
        Moment {
            end_ns,
            locks,
            interpreters,
            polls: polls.unwrap_or_default(),
            blocked,
            python_waits: self.interpreters.waits(&self.probe.threads()),
            python_names: self.interpreters.names(&self.probe.threads()),
            python_pools: self.interpreters.pools(&self.probe.threads()),
            java: java::inspect(&self.spaces, || self.probe.threads()),
            slot_pools: self.interpreters.slots(&self.probe.threads()),
            tasks: self.interpreters.tasks(),
            sockets: self.sockets.finish(start_ns),
        }
    }

    /// Empties the kernel's tables, which stand still by now.
    fn take_tables(&mut self, moment: &Moment, progress: &mut impl FnMut(Progress<'_>)) -> Taken {
        self.take_events();
        let (living, moved) = self.living(moment.end_ns);
        self.close_window(moment.end_ns, &living, progress);
        let with_loops = living.iter();
        let loops = with_loops
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
            loops,
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
