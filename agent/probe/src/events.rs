//! Programs on events of single CPUs: the CPU sampler, and the count of page faults where there are no tracepoints.
//!
//! An event of a CPU is an interrupt there, a hundred times a second. So each is opened on its own, on those CPUs that are asked
//! for and no other, and can be opened and closed while a capture runs. Never one a thread: those are switched in and out
//! with their threads.

use super::{
    Probe, ProbeError,
    hooks::{program, program_fd, refused},
    perf::{self, Software},
};
use aya::{Ebpf, programs::PerfEvent};
use remora_kernel::cpus;
use remora_model::Cpus;
use remora_process::deadline::{self, Step, Subject};
use std::{
    collections::BTreeMap,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

/// Where page faults are seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FaultHook {
    /// The best that the kernel has.
    #[default]
    Auto,
    /// The kernel's software event, on each CPU.
    Counter,
}

/// Page faults to a sample of a thread that takes many; what it was chosen by stands in
/// `docs/memory.md`.
pub const DEFAULT_FAULT_PERIOD: u32 = 61;

/// What the kernel counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counts {
    /// Time, so many times a second.
    Clock { freq_hz: u32 },
    /// Page faults, one in so many.
    Faults { period: u32 },
}

impl Counts {
    const fn program(self) -> &'static str {
        match self {
            Self::Clock { .. } => "cpu_sample",
            Self::Faults { .. } => "fault_sample",
        }
    }

    pub(super) const fn hook(self) -> &'static str {
        match self {
            Self::Clock { .. } => "perf_event/cpu-clock",
            Self::Faults { .. } => "perf_event/page-faults",
        }
    }

    fn event(self) -> Software {
        match self {
            Self::Clock { freq_hz } => Software::CpuClock {
                freq_hz: freq_hz.into(),
            },
            Self::Faults { period } => Software::PageFaults {
                period: period.into(),
            },
        }
    }

    /// Opens its event on a CPU.
    fn on(self, cpu: u32, program: &OwnedFd) -> Result<OwnedFd, ProbeError> {
        perf::on_cpu(self.event(), cpu, program.as_fd()).map_err(|why| ProbeError::Hook {
            hook: format!("{} on CPU {cpu}", self.hook()),
            why,
        })
    }
}

/// One kind of event with its program, on some CPUs.
pub(super) struct CpuEvents {
    counts: Counts,
    program: Arc<OwnedFd>,
    /// Dropping one closes its event.
    events: BTreeMap<u32, OwnedFd>,
}

impl CpuEvents {
    /// Loads the program, and opens its event on each of `cpus` where the kernel lets it.
    ///
    /// # Errors
    /// When the program is refused, or the event on all of them.
    pub(super) fn open(ebpf: &mut Ebpf, counts: Counts, cpus: &Cpus) -> Result<Self, ProbeError> {
        let loaded: &mut PerfEvent = program(ebpf, counts.program())?;
        loaded
            .load()
            .map_err(|error| refused(counts.hook().to_owned(), &error))?;
        let program = Arc::new(program_fd(loaded.fd(), counts.hook())?);
        let (mut events, mut refusal) = (BTreeMap::new(), None);
        for cpu in cpus.iter() {
            match counts.on(cpu, &program) {
                Ok(event) => drop(events.insert(cpu, event)),
                Err(error) => refusal = Some(error),
            }
        }
        match refusal {
            Some(error) if events.is_empty() => Err(error),
            _ => Ok(Self {
                counts,
                program,
                events,
            }),
        }
    }

    /// Whether this works here, on one CPU that this thread may run on; nothing stays open.
    pub(super) fn attempt(ebpf: &mut Ebpf, counts: Counts) -> Result<(), ProbeError> {
        let own = cpus::affinity(None).unwrap_or_default();
        let one = own.iter().take(1).collect();
        Self::open(ebpf, counts, &one).map(drop)
    }
}

impl Probe {
    /// CPUs on which CPU samples are taken.
    pub fn sampled(&self) -> Cpus {
        let mut clocks = self.cpu_events.iter();
        let clock = clocks.find(|events| matches!(events.counts, Counts::Clock { .. }));
        let cpus = clock.into_iter().flat_map(|clock| clock.events.keys());
        cpus.copied().collect()
    }

    /// Closes the events of some CPUs, for the kernel forgets those of a CPU that goes offline and they never come
    /// again; and opens those of others. Which are open then is told by [`Probe::sampled`].
    ///
    /// Both ask the CPU itself, and wait behind one that is just going or coming.
    pub fn sample(&mut self, no_more: &[u32], on: &[u32]) {
        let mut closing = Vec::new();
        let mut opening = Vec::new();
        for events in &mut self.cpu_events {
            closing.extend(no_more.iter().filter_map(|cpu| events.events.remove(cpu)));
            let new = on.iter().filter(|cpu| !events.events.contains_key(cpu));
            opening.push((
                events.counts,
                Arc::clone(&events.program),
                new.copied().collect::<Vec<_>>(),
            ));
        }
        let changed = deadline::run(Step::CpuEvents, Subject::Host, move || {
            drop(closing);
            let open = |(counts, program, cpus): (Counts, Arc<OwnedFd>, Vec<u32>)| {
                let opened = cpus.into_iter();
                opened
                    .filter_map(|cpu| Some((cpu, counts.on(cpu, &program).ok()?)))
                    .collect::<Vec<_>>()
            };
            opening.into_iter().map(open).collect::<Vec<_>>()
        });
        for (events, opened) in self.cpu_events.iter_mut().zip(changed.unwrap_or_default()) {
            events.events.extend(opened);
        }
    }
}
