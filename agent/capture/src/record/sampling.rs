//! On which CPUs samples are taken: where threads of the targets may run, and nowhere else.
//!
//! An event on a CPU is an interrupt there, a hundred times a second, whoever has it. So a CPU that no target may use gets
//! none; nor does one that is kept free of timers (`nohz_full`) for somebody, unless that is asked for: the quiet of it is what
//! it was set apart for. What is therefore not known is said.
//!
//! Where threads may run changes, and CPUs come and go: each beat looks again, at a bounded number of threads.

use remora_kernel::cpus::{self, Topology};
use remora_model::{CpuSampling, Cpus, HookState, Signal, SignalId, Unsampled};
use remora_probe::Probe;
use remora_process::Target;
use rustix::io::Errno;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// Threads that are asked at the start, and at a beat: half a microsecond each.
const ASKED_AT_START: usize = 16_384;
const ASKED_AT_BEAT: usize = 256;

/// Which CPUs the user wants sampled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuChoice {
    /// These and no others, wherever the targets may run; `None`: where they may run.
    pub only: Option<Cpus>,
    /// Those that are kept free of timers too.
    pub isolated: bool,
}

impl CpuChoice {
    /// That one of the chosen CPUs can be sampled.
    ///
    /// # Errors
    /// What is wrong, in a line.
    pub fn check(&self, online: &Cpus) -> Result<(), String> {
        match &self.only {
            Some(only) if !online.is_empty() && only.and(online).is_empty() => Err(format!(
                "--cpus {only}: none of these CPUs is online, {online} are"
            )),
            _ => Ok(()),
        }
    }
}

/// The CPUs of one capture.
#[derive(Debug)]
pub(super) struct Sampling {
    /// Below it lies the host's sysfs.
    root: PathBuf,
    choice: CpuChoice,
    topology: Topology,
    /// Where threads of the targets may run, as far as it was seen.
    reach: Cpus,
    /// CPUs with an event, and which life of the CPU it belongs to.
    open: BTreeMap<u32, Option<u64>>,
    /// CPUs that ever had one.
    sampled: BTreeSet<u32>,
    /// CPUs whose event the kernel refused; tried again when they come back.
    refused: BTreeSet<u32>,
    /// The thread that the next beat begins with.
    next: usize,
    /// Events that were opened again, for their CPU was offline in between.
    reopened: u64,
}

impl Sampling {
    /// Finds out where the targets may run. `root`: `/` but for tests.
    pub(super) fn begin(root: &Path, choice: &CpuChoice, targets: &[Target]) -> Self {
        let mut sampling = Self::new(root, choice);
        let threads = targets.iter().flat_map(|target| &target.threads);
        let threads: Vec<u32> = threads.copied().take(ASKED_AT_START).collect();
        sampling.ask(&threads);
        sampling
    }

    fn new(root: &Path, choice: &CpuChoice) -> Self {
        Self {
            root: root.to_owned(),
            choice: choice.clone(),
            topology: Topology::read(root),
            reach: Cpus::default(),
            open: BTreeMap::new(),
            sampled: BTreeSet::new(),
            refused: BTreeSet::new(),
            next: 0,
            reopened: 0,
        }
    }

    /// CPUs that are to be sampled now.
    pub(super) fn wanted(&self) -> Cpus {
        match &self.choice.only {
            Some(only) => only.and(&self.topology.online),
            None if self.choice.isolated => self.reach.and(&self.topology.online),
            None => {
                let reach = self.reach.and(&self.topology.online);
                reach.without(&self.topology.nohz_full)
            }
        }
    }

    /// CPUs that are kept for somebody.
    pub(super) fn kept(&self) -> Cpus {
        self.topology.kept()
    }

    /// The events of these CPUs are open, of those that were wanted.
    pub(super) fn opened(&mut self, sampled: &Cpus) {
        for cpu in self.wanted().iter() {
            match sampled.has(cpu) {
                true => self.is_open(cpu, cpus::generation(&self.root, cpu)),
                false => drop(self.refused.insert(cpu)),
            }
        }
    }

    /// Looks again: events of CPUs that went are closed, those of CPUs that came, or that targets may use now, opened.
    pub(super) fn beat(&mut self, probe: &mut Probe) {
        let threads = probe.thread_ids();
        let turn = self.turn(&threads);
        self.ask(&turn);
        self.topology.online = cpus::online(&self.root);
        let gone = self.gone();
        for cpu in &gone {
            self.open.remove(cpu);
            self.refused.remove(cpu);
        }
        let wanted = self.wanted();
        let new = wanted.iter().filter(|cpu| !self.open.contains_key(cpu));
        let new: Vec<u32> = new.filter(|cpu| !self.refused.contains(cpu)).collect();
        if gone.is_empty() && new.is_empty() {
            return;
        }
        // Read first: a CPU that goes in between has another one at the next beat.
        let generations = new.iter().map(|cpu| cpus::generation(&self.root, *cpu));
        let generations: Vec<_> = generations.collect();
        probe.sample(&gone, &new);
        let sampled = probe.sampled();
        for (cpu, generation) in new.into_iter().zip(generations) {
            match sampled.has(cpu) {
                true => self.is_open(cpu, generation),
                false => drop(self.refused.insert(cpu)),
            }
        }
    }

    /// CPUs that were sampled, and those within the targets' reach that were not.
    pub(super) fn finish(&self) -> CpuSampling {
        let sampled: Cpus = self.sampled.iter().copied().collect();
        let mut missing: BTreeMap<Unsampled, BTreeSet<u32>> = BTreeMap::new();
        for cpu in self.reach.without(&sampled).iter() {
            missing.entry(self.why(cpu)).or_default().insert(cpu);
        }
        let missing = missing.into_iter();
        CpuSampling {
            sampled,
            not_sampled: missing
                .map(|(why, cpus)| (why, cpus.into_iter().collect()))
                .collect(),
        }
    }

    /// How often a CPU came back and had no event until then.
    pub(super) const fn reopened(&self) -> u64 {
        self.reopened
    }

    /// Says in the signals what is not sampled.
    pub(super) fn tell(&self, signals: &mut [Signal]) {
        let sampling = self.finish();
        let Some(why) = sampling.why() else { return };
        for signal in signals {
            match &mut signal.state {
                state @ HookState::On if signal.id == SignalId::OnCpu => {
                    *state = match sampling.sampled.is_empty() {
                        true => HookState::Off(why.clone()),
                        false => HookState::Degraded(format!(
                            "{why}. What threads ran there is not known, only for how long"
                        )),
                    };
                }
                HookState::Degraded(text) if signal.hook == "perf_event/page-faults" => {
                    *text = format!("{text}; {why}");
                }
                _ => {}
            }
        }
    }

    fn why(&self, cpu: u32) -> Unsampled {
        let left_out = self.choice.only.as_ref().is_some_and(|only| !only.has(cpu));
        let kept = self.topology.nohz_full.has(cpu) && !self.choice.isolated;
        if left_out {
            Unsampled::NotChosen
        } else if !self.topology.online.has(cpu) {
            Unsampled::Offline
        } else if self.choice.only.is_none() && kept {
            Unsampled::NohzFull
        } else {
            Unsampled::Refused
        }
    }

    fn is_open(&mut self, cpu: u32, generation: Option<u64>) {
        self.open.insert(cpu, generation);
        if !self.sampled.insert(cpu) {
            self.reopened += 1;
        }
    }

    /// CPUs whose events the kernel has forgotten: they are offline, or were.
    fn gone(&self) -> Vec<u32> {
        let online = |cpu: u32| self.topology.online.is_empty() || self.topology.online.has(cpu);
        let events = self.open.iter();
        let events = events.filter(|(cpu, generation)| {
            !online(**cpu) || cpus::generation(&self.root, **cpu) != **generation
        });
        let events = events.map(|(cpu, _)| *cpu);
        let refused = self.refused.iter().copied().filter(|cpu| !online(*cpu));
        events.chain(refused).collect()
    }

    /// The threads that this beat asks: all of them in turn.
    fn turn(&mut self, threads: &[u32]) -> Vec<u32> {
        let first = if self.next < threads.len() {
            self.next
        } else {
            0
        };
        let turn: Vec<u32> = threads
            .iter()
            .skip(first)
            .take(ASKED_AT_BEAT)
            .copied()
            .collect();
        self.next = first + turn.len();
        turn
    }

    fn ask(&mut self, threads: &[u32]) {
        for tid in threads {
            match cpus::affinity(Some(*tid)) {
                Ok(cpus) => self.reach.add(&cpus),
                // It has ended.
                Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => {}
                // More CPUs than the call has room for: it may run on any.
                Err(_) => self.reach.add(&self.topology.online),
            }
        }
    }
}

#[cfg(test)]
mod tests;
