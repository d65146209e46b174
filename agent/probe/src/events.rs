//! Programs on events of single CPUs: the CPU sampler, and the count of page faults where there are no tracepoints.
//!
//! An event of a CPU is an interrupt there, a hundred times a second. So each is opened on its own, on those CPUs that are asked
//! for and no other, and can be opened and closed while a capture runs. Never one a thread: those are switched in and out
//! with their threads.

use super::{
    Probe, ProbeError,
    hooks::{program, refused},
};
use aya::{
    Ebpf,
    programs::{
        PerfEvent,
        perf_event::{PerfEventConfig, PerfEventLink, PerfEventScope, SamplePolicy, SoftwareEvent},
    },
};
use remora_kernel::cpus;
use remora_model::Cpus;
use std::collections::BTreeMap;

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

    fn event(self) -> (PerfEventConfig, SamplePolicy) {
        let (event, policy) = match self {
            Self::Clock { freq_hz } => (
                SoftwareEvent::CpuClock,
                SamplePolicy::Frequency(freq_hz.into()),
            ),
            Self::Faults { period } => (
                SoftwareEvent::PageFaults,
                SamplePolicy::Period(period.into()),
            ),
        };
        (PerfEventConfig::Software(event), policy)
    }
}

/// One kind of event with its program, on some CPUs.
pub(super) struct CpuEvents {
    counts: Counts,
    /// Dropping one closes its event.
    links: BTreeMap<u32, PerfEventLink>,
}

impl CpuEvents {
    /// Loads the program, and opens its event on each of `cpus` where the kernel lets it.
    ///
    /// # Errors
    /// When the program is refused, or the event on all of them.
    pub(super) fn open(ebpf: &mut Ebpf, counts: Counts, cpus: &Cpus) -> Result<Self, ProbeError> {
        let program: &mut PerfEvent = program(ebpf, counts.program())?;
        program
            .load()
            .map_err(|error| refused(counts.hook().to_owned(), &error))?;
        let links = BTreeMap::new();
        let mut events = Self { counts, links };
        let mut refusal = None;
        for cpu in cpus.iter() {
            refusal = events.on(ebpf, cpu).err().or(refusal);
        }
        match refusal {
            Some(error) if events.links.is_empty() => Err(error),
            _ => Ok(events),
        }
    }

    /// Whether this works here, on one CPU that this thread may run on; nothing stays open.
    pub(super) fn attempt(ebpf: &mut Ebpf, counts: Counts) -> Result<(), ProbeError> {
        let own = cpus::affinity(None).unwrap_or_default();
        let one = own.iter().take(1).collect();
        Self::open(ebpf, counts, &one).map(drop)
    }

    fn on(&mut self, ebpf: &mut Ebpf, cpu: u32) -> Result<(), ProbeError> {
        if self.links.contains_key(&cpu) {
            return Ok(());
        }
        let program: &mut PerfEvent = program(ebpf, self.counts.program())?;
        let (event, policy) = self.counts.event();
        let scope = PerfEventScope::AllProcessesOneCpu { cpu };
        let link = program
            .attach(event, scope, policy, false)
            .and_then(|link| program.take_link(link))
            .map_err(|error| refused(format!("{} on CPU {cpu}", self.counts.hook()), &error))?;
        self.links.insert(cpu, link);
        Ok(())
    }
}

impl Probe {
    /// CPUs on which CPU samples are taken.
    pub fn sampled(&self) -> Cpus {
        let mut clocks = self.cpu_events.iter();
        let clock = clocks.find(|events| matches!(events.counts, Counts::Clock { .. }));
        let cpus = clock.into_iter().flat_map(|clock| clock.links.keys());
        cpus.copied().collect()
    }

    /// Opens this CPU's events.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn sample_on(&mut self, cpu: u32) -> Result<(), ProbeError> {
        for events in &mut self.cpu_events {
            events.on(&mut self.ebpf, cpu)?;
        }
        Ok(())
    }

    /// Closes this CPU's events. The kernel forgets those of a CPU that goes offline: they never come again.
    pub fn sample_no_more(&mut self, cpu: u32) {
        for events in &mut self.cpu_events {
            drop(events.links.remove(&cpu));
        }
    }
}
