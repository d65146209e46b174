//! The time of the recording. It sleeps but for the beat, a fork or exec that wants attention, the
//! end of the targets, and the user.

use super::{
    CaptureError, Plan, Progress, PythonMode,
    heap::{self, Watch},
    meter::Meter,
    raw::RawCapture,
    sampling::Sampling,
    tables::Tables,
    timeline::{Others, Recorder},
};
use crate::{
    inspect::{
        constraints::ConstraintWatch,
        descriptors,
        interpreters::Interpreters,
        memory::MemoryWatch,
        objects::ObjectWatch,
        polls::{PollWatch, Senses},
        sockets::Sockets,
    },
    store::{aggregates::AggregateStore, spaces::Spaces},
};
use end::{Began, Run};
use held::Held;
use related::Related;
use remora_common::{
    event::{EVENT_EXEC, EVENT_FORK, EVENT_MAPPINGS},
    thread::ThreadSlot,
};
use remora_kernel::{self as kernel, Arch, Kernel};
use remora_model::{Cpus, Descriptors, End, Process, ProcessTree, Signal};
use remora_probe::{Drained, Probe, ProbeError, Settings, now_ns};
use remora_process::deadline::{self, Step, Subject};
use remora_process::{self as process, ExitWatch, Target};
use std::{
    collections::BTreeMap,
    future::Future,
    ops::Range,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until},
};

mod end;
mod follow;
mod heap_watch;
mod held;
mod related;

/// The one periodic wake-up.
const BEAT: Duration = Duration::from_secs(1);

/// Events taken in one turn at the most: a target that execs without end must not keep the time
/// from being over.
const EVENTS_A_TURN: usize = 256;

struct Session {
    probe: Held,
    sampling: Sampling,
    spaces: Spaces,
    tables: Tables,
    interpreters: Interpreters,
    sockets: Sockets,
    aggregates: AggregateStore,
    /// Window by window; from the start of the recording on.
    recorder: Option<Recorder>,
    memory: MemoryWatch,
    /// Where it is asked for; from the start of the recording on.
    heap: Option<Watch>,
    constraints: ConstraintWatch,
    /// Asks loops that seem stuck; from the start of the recording on.
    polls: Option<PollWatch>,
    /// Counts the objects of interpreters; from the start of the recording on.
    objects: Option<ObjectWatch>,
    /// Where the scheduler's code lies, once it was looked up.
    scheduler: Option<Option<Range<u64>>>,
    processes: BTreeMap<u32, Process>,
    /// Tables that could not be read at the end, by the number of attempts that failed.
    unread: u64,
}

/// A recording that is over.
pub(crate) struct Recording {
    /// What was seen.
    pub raw: RawCapture,
    /// The targets' descriptors as they were when it began.
    pub descriptors: Vec<Descriptors>,
    /// Parents and children of the targets when it began.
    pub process_trees: Vec<ProcessTree>,
    /// The targets.
    pub pids: Vec<u32>,
    /// Our own programs are frames of kernel stacks too: they have names as long as they are loaded.
    pub programs: Held,
}

/// Records until the plan's time is over, `interrupt` completes, or no target is left.
pub(crate) async fn record(
    plan: &Plan,
    interrupt: impl Future<Output = ()>,
    progress: &mut impl FnMut(Progress<'_>),
) -> Result<Recording, CaptureError> {
    let targets = process::resolve(&plan.selection)?;
    let pids: Vec<u32> = targets.iter().map(Target::pid).collect();
    let descriptors = descriptors::begin(&pids);
    let (mut session, kernel) = Session::load(plan, &targets)?;
    session.know(&targets).await;
    if plan.python == PythonMode::On {
        session.require_python()?;
    }
    let began = session.begin(plan, &targets)?;
    // Now, and not before the load: their ages are told as of here.
    let process_trees = process::relatives(&pids);
    let meter = session.start_watches(plan, progress);
    let threads = session.probe.threads().len();
    if threads == 0 {
        return Err(no_threads(&targets));
    }
    progress(Progress::Recording {
        processes: session.processes.len(),
        threads,
    });
    let (end, meter) = session
        .watch(
            (plan, kernel.arch, began.start_ns),
            &targets,
            interrupt,
            meter,
            progress,
        )
        .await?;
    progress(Progress::Naming);
    let run = Run { began, end, meter };
    let (raw, programs) = session.finish(plan, &kernel, run, progress).await;
    Ok(Recording {
        raw,
        descriptors,
        process_trees,
        pids,
        programs,
    })
}

/// Why no thread of the targets is known.
fn no_threads(targets: &[Target]) -> CaptureError {
    let living = targets.iter().find(|target| target.is_same());
    living.map_or(CaptureError::Gone, |target| CaptureError::Unseen {
        pid: target.pid(),
    })
}

/// What the kernel side is to do for a plan.
fn settings(plan: &Plan, targets: &[Target], cpus: Cpus) -> Settings {
    let threads = targets.iter().map(|target| target.threads.len() as u32);
    Settings {
        freq_hz: plan.freq_hz,
        cpus,
        min_block: plan.min_block,
        follow_children: plan.selection.children,
        wait_hook: plan.wait_hook,
        python: plan.python != PythonMode::Off,
        loops: plan.loops,
        late: plan.late,
        sockets: plan.socket_period.is_some(),
        fault_period: plan.fault_period,
        fault_hook: plan.fault_hook,
        threads_now: threads.sum(),
        heap_sample: plan.heap.map(|heap| heap.sample_bytes),
    }
}

impl Session {
    /// Loads the kernel side.
    fn load(plan: &Plan, targets: &[Target]) -> Result<(Self, Kernel), CaptureError> {
        let kernel = Kernel::read()?;
        kernel.require()?;
        let sampling = Sampling::begin(Path::new("/"), &plan.cpus, targets);
        let settings = settings(plan, targets, sampling.wanted());
        let loaded = deadline::run(Step::Load, Subject::Host, move || {
            let probe = Probe::load(&kernel, &settings);
            (kernel, probe)
        });
        let (kernel, probe) = loaded.ok_or(CaptureError::NoAnswer)?;
        Ok((Self::new(Held::new(probe?), sampling, plan)?, kernel))
    }

    /// From here on the targets are recorded.
    fn begin(&mut self, plan: &Plan, targets: &[Target]) -> Result<Began, CaptureError> {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH);
        let began = Began {
            unix_s: unix.map_or(0.0, |time| time.as_secs_f64()),
            start_ns: self.probe.start(),
        };
        let min_block_ns = min_block_ns(plan);
        self.recorder = Some(Recorder::new(plan.keep, began.start_ns, min_block_ns));
        self.enlist(targets)?;
        if plan.selection.children
            && let Ok(again) = process::resolve(&plan.selection)
        {
            // What was forked while the hooks were being attached.
            self.enlist(&again)?;
        }
        Ok(began)
    }

    /// Starts what measures the cost, counts objects, and watches allocators.
    fn start_watches(&mut self, plan: &Plan, progress: &mut impl FnMut(Progress<'_>)) -> Meter {
        let meter = Meter::start(&self.probe, &self.sampling.kept());
        let inside = self.processes.keys();
        let inside = inside
            .map(|pid| (*pid, self.interpreters.of(*pid)))
            .collect();
        self.objects = ObjectWatch::start(inside, plan.duration);
        self.watch_heap(plan, progress);
        meter
    }

    fn new(probe: Held, mut sampling: Sampling, plan: &Plan) -> std::io::Result<Self> {
        sampling.opened(&probe.sampled());
        let tables = Tables::new(&probe, plan.unwind_bytes)?;
        let sockets = Sockets::new(probe.sockets(), plan.socket_period);
        Ok(Self {
            probe,
            sampling,
            spaces: Spaces::default(),
            tables,
            interpreters: Interpreters::new(plan.python != PythonMode::Off),
            sockets,
            aggregates: AggregateStore::default(),
            recorder: None,
            memory: MemoryWatch::new()?,
            heap: None,
            constraints: ConstraintWatch::new(),
            polls: None,
            objects: None,
            scheduler: None,
            processes: BTreeMap::new(),
            unread: 0,
        })
    }

    fn enlist(&mut self, targets: &[Target]) -> Result<(), ProbeError> {
        let identities: Vec<(u32, u64)> = targets
            .iter()
            .filter(|target| !self.processes.contains_key(&target.pid()))
            .map(|target| (target.pid(), target.identity.start_ticks()))
            .collect();
        self.probe.enlist(&identities)?;
        for target in targets {
            let pid = target.pid();
            self.sockets.watch(pid);
            self.processes.entry(pid).or_insert_with(|| Process {
                pid,
                comm: target.comm.clone(),
                was: None,
                exe: target
                    .exe
                    .as_ref()
                    .map(|exe| exe.path.display().to_string())
                    .unwrap_or_default(),
                threads: 0,
                exited: false,
                parent: None,
                related: None,
                followed: target.followed,
                python: None,
            });
            self.memory.began(pid);
            self.constraints.began(pid);
            if !self.is_mapped(pid) {
                self.map(pid);
            }
        }
        Ok(())
    }

    async fn watch(
        &mut self,
        (plan, arch, start_ns): (&Plan, Arch, u64),
        targets: &[Target],
        interrupt: impl Future<Output = ()>,
        mut meter: Meter,
        progress: &mut impl FnMut(Progress<'_>),
    ) -> Result<(End, Meter), CaptureError> {
        let began = Instant::now();
        self.polls = Some(PollWatch::new(
            &self.probe,
            &self.sampling.kept(),
            began.into_std(),
            plan.duration,
        ));
        let far = began.into_std();
        let mut exits = ExitWatch::new(targets)?;
        let mut targets_gone = false;
        let events = self.probe.events_fd()?;
        // SAFETY: an owned descriptor, which stays open and the same until it is dropped.
        let events = unsafe { AsyncFd::register_with_interest(events, Interest::READABLE) }
            .map_err(std::io::Error::from)?;
        let mut beat = interval_at(began + BEAT, BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut window = interval_at(began + plan.keep.window, plan.keep.window);
        window.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut related = Related::new(plan.related);
        let over = sleep(plan.duration);
        tokio::pin!(over, interrupt);
        loop {
            let (measured, heap) = (meter.over_at(), self.heap_due());
            let polls = self.polls.as_ref().and_then(PollWatch::due);
            tokio::select! {
                biased;
                () = &mut over => return Ok((End::Elapsed, meter)),
                () = &mut interrupt => return Ok((End::Interrupted, meter)),
                _all = exits.all_exited(), if !targets_gone => {
                    targets_gone = true;
                    self.probe.settled().await;
                }
                () = sleep_until(measured.unwrap_or(far).into()), if measured.is_some() => {
                    meter.off(&self.probe);
                }
                compiled = self.tables.compiled() => {
                    self.tables.settle(&mut self.probe, compiled);
                }
                () = sleep_until(related.due().unwrap_or(far.into())), if related.due().is_some() => {
                    self.follow_waits(&mut related, start_ns, arch);
                }
                () = sleep_until(heap.unwrap_or(far).into()), if heap.is_some() => {
                    self.check_heap(progress);
                }
                () = sleep_until(polls.unwrap_or(far).into()), if polls.is_some() => {
                    self.inspect_polls();
                }
                _ = beat.tick() => {
                    meter.beat(&self.probe);
                    self.beat();
                    progress(Progress::Beat { elapsed: began.elapsed() });
                }
                _ = window.tick() => {
                    self.take_events();
                    let threads = self.probe.threads();
                    self.close_window(now_ns(), &threads, progress);
                }
                passed = self.sockets.passed() => {
                    self.sockets.settle(passed, &self.probe.threads());
                }
                ready = events.readable() => ready?.clear_ready(),
            }
            self.take_events();
            if self.probe.is_filling_up() || self.aggregates.is_crowded() {
                self.learn_python();
                self.empty().await;
            }
            if targets_gone && !(plan.selection.children && self.probe.anyone_left()) {
                return Ok((End::TargetsExited, meter));
            }
        }
    }

    /// Asks loops that seem stuck whether they are.
    fn inspect_polls(&mut self) {
        if let Some(polls) = &mut self.polls {
            polls.inspect(&mut Senses {
                probe: &mut self.probe,
                sockets: &self.sockets,
                interpreters: &self.interpreters,
            });
        }
    }

    /// Empties the tables. Of threads whose end is known nothing is left in them then.
    async fn empty(&mut self) {
        let complete = self.aggregates.ended.len();
        let drained = self.probe.swap_and_drain().await;
        self.gather(drained);
        let summed = self.aggregates.fold(complete);
        if let Some(recorder) = &mut self.recorder {
            recorder.fold(&summed);
        }
    }

    fn gather(&mut self, drained: Drained) {
        // Read when it is needed first: it takes a moment.
        let scheduler = self
            .scheduler
            .get_or_insert_with(|| kernel::scheduler_text().ok().flatten());
        self.aggregates.add(drained, scheduler.as_ref());
    }

    fn take_events(&mut self) {
        #[cfg(feature = "debug-log")]
        self.probe.show_log();
        for _ in 0..EVENTS_A_TURN {
            let Some(event) = self.probe.next_event() else {
                break;
            };
            match event.kind {
                EVENT_FORK => self.forked(&event),
                EVENT_EXEC => self.execed(&event),
                EVENT_MAPPINGS => self.unknown_code(&event),
                // Births only ask for the collection below.
                _ => {}
            }
        }
        match self.probe.collect_ended() {
            Ok(ended) => {
                for (thread, event_loop) in ended {
                    if let Some(recorder) = &mut self.recorder {
                        recorder.end(&thread, event_loop.as_ref());
                    }
                    self.aggregates.end(thread, event_loop);
                }
            }
            Err(_) => self.unread += 1,
        }
    }

    /// Ends a window of the timeline.
    fn close_window(
        &mut self,
        now_ns: u64,
        threads: &[ThreadSlot],
        progress: &mut impl FnMut(Progress<'_>),
    ) {
        let probe = &self.probe;
        let others = Others {
            sockets: self.sockets.window(),
            sockets_gone: self.sockets.gone(),
            processes: self.memory.latest(),
        };
        if let Some(recorder) = &mut self.recorder {
            let event_loop = |slot: &ThreadSlot| probe.event_loop(slot.event_loop);
            progress(Progress::Window(
                recorder.close(now_ns, threads, event_loop, others),
            ));
        }
    }

    /// Which hook serves each signal, the interpreters among them.
    fn signals(&self) -> Vec<Signal> {
        let mut signals = self.probe.signals().to_vec();
        self.sampling.tell(&mut signals);
        signals.extend(self.interpreters.signal());
        signals.push(
            self.heap
                .as_ref()
                .map_or_else(heap::not_asked_for, Watch::signal),
        );
        signals
    }
}

fn min_block_ns(plan: &Plan) -> u64 {
    u64::try_from(plan.min_block.as_nanos()).unwrap_or(u64::MAX)
}
