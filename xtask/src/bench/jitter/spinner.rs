//! The thread whose gaps are measured: it reads the clock in a loop, on a CPU of its own, before everybody else.

use anyhow::{Context, Result, bail, ensure};
use rustix::{
    fs::{MemfdFlags, ftruncate, memfd_create},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
    time::{ClockId, clock_gettime},
};
use std::{
    fs::{self, File},
    os::{fd::AsRawFd, unix::fs::FileExt},
    path::Path,
    process::Command,
    time::Duration,
};

use super::{
    gaps::{Gap, Gaps},
    sources::Sources,
};
use crate::bench::{child::Process, clock::Clock, workload};

/// Shorter gaps are not noted: reading the clock takes 30 ns, a cache miss or a correctable page walk a microsecond.
pub(super) const SHORTEST: Duration = Duration::from_micros(5);

/// As `jitter.c` lays it out: a page with the count, then a ring of gaps.
const PAGE: u64 = 4096;
const ROOM: u64 = 1 << 18;
const GAP_BYTES: usize = 16;

/// How long it may take until it spins.
const START_LIMIT: Duration = Duration::from_secs(10);

const THROTTLING: &str = "/proc/sys/kernel/sched_rt_runtime_us";

/// Real-time threads have the whole CPU while this lives; then it is as before.
pub(super) struct Unthrottled {
    before: String,
}

impl Unthrottled {
    /// Switches throttling off.
    ///
    /// # Errors
    /// The kernel or a container refuses.
    pub(super) fn set() -> Result<Self> {
        let before = fs::read_to_string(THROTTLING).context(THROTTLING)?;
        fs::write(THROTTLING, "-1").with_context(|| format!("cannot write {THROTTLING}"))?;
        Ok(Self { before })
    }
}

impl Drop for Unthrottled {
    fn drop(&mut self) {
        if let Err(error) = fs::write(THROTTLING, self.before.trim()) {
            eprintln!(
                "bench: cannot set {THROTTLING} back to {}: {error}",
                self.before.trim()
            );
        }
    }
}

/// Which CPU is the spinner's, and which are everybody's.
pub(super) struct Cpus {
    /// The spinner's.
    pub own: usize,
    /// The others.
    pub others: Vec<usize>,
}

impl Cpus {
    /// The last one for the spinner. The harness leaves it, for what it starts there would wait for ever.
    ///
    /// # Errors
    /// There is one CPU only.
    pub(super) fn divide() -> Result<Self> {
        let allowed = sched_getaffinity(None).context("cannot tell the CPUs")?;
        let mut others: Vec<usize> = (0..CpuSet::MAX_CPU)
            .filter(|&cpu| allowed.is_set(cpu))
            .collect();
        let own = others.pop().context("no CPU is allowed")?;
        ensure!(
            !others.is_empty(),
            "it needs two CPUs: one for the spinner alone"
        );
        let mut rest = CpuSet::new();
        others.iter().for_each(|&cpu| rest.set(cpu));
        sched_setaffinity(None, &rest).context("cannot leave the spinner's CPU")?;
        Ok(Self { own, others })
    }

    /// `program` where the spinner is not.
    pub(super) fn beside(&self, program: &Path) -> Command {
        workload::on(&self.others, program)
    }

    /// `program` where it likes, as if nobody had told it of the spinner.
    pub(super) fn anywhere(&self, program: &Path) -> Command {
        let all: Vec<usize> = self.others.iter().copied().chain([self.own]).collect();
        workload::on(&all, program)
    }
}

/// At work until it is dropped.
pub(super) struct Spinner {
    process: Process,
    memory: File,
    cpu: usize,
}

/// A moment: the clock, and what was counted until then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    at_ns: u64,
    sources: Sources,
}

/// What happened between two moments.
#[derive(Clone, Debug, Default)]
pub(super) struct Span {
    /// The gaps.
    pub gaps: Gaps,
    /// Where they may come from.
    pub sources: Sources,
}

impl Spinner {
    /// Starts it, and waits until it spins.
    ///
    /// # Errors
    /// It cannot be compiled, or may not be what it has to be.
    pub(super) fn start(cpus: &Cpus, folder: &Path, clock: &Clock) -> Result<Self> {
        let program = workload::compile("jitter", folder)?;
        let memory = memfd_create("gaps", MemfdFlags::CLOEXEC).context("memory for gaps")?;
        ftruncate(&memory, PAGE + ROOM * GAP_BYTES as u64)?;
        let path = format!("/proc/{}/fd/{}", std::process::id(), memory.as_raw_fd());
        let mut command = Command::new(program);
        command.arg(cpus.own.to_string()).arg(path);
        let process = Process::start(command.arg(SHORTEST.as_nanos().to_string()))?;
        let mut spinner = Self {
            process,
            memory: File::from(memory),
            cpu: cpus.own,
        };
        // A first tick of the timer is soon there.
        clock.until(START_LIMIT, "the spinner's first gap", || {
            spinner.check()?;
            Ok(spinner.noted()? > 0)
        })?;
        Ok(spinner)
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// This moment.
    ///
    /// # Errors
    /// It has ended.
    pub(super) fn now(&mut self) -> Result<Moment> {
        self.check()?;
        let now = clock_gettime(ClockId::Monotonic);
        Ok(Moment {
            at_ns: now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64,
            sources: Sources::now(self.cpu, self.pid())?,
        })
    }

    /// What happened between two moments.
    ///
    /// # Errors
    /// More gaps than there was room for.
    pub(super) fn between(&self, from: &Moment, to: &Moment) -> Result<Span> {
        let gaps = self.gaps()?;
        let lost = gaps.len() as u64 == ROOM && gaps.iter().all(|gap| gap.end_ns >= from.at_ns);
        ensure!(!lost, "more gaps than there is room for: {ROOM}");
        Ok(Span {
            gaps: Gaps::within(&gaps, from.at_ns, to.at_ns),
            sources: to.sources.since(&from.sources),
        })
    }

    fn noted(&self) -> Result<u64> {
        let mut count = [0; 8];
        self.memory.read_exact_at(&mut count, 0)?;
        Ok(u64::from_ne_bytes(count))
    }

    /// Those that the ring has.
    fn gaps(&self) -> Result<Vec<Gap>> {
        let kept = self.noted()?.min(ROOM) as usize;
        let mut bytes = vec![0; kept * GAP_BYTES];
        self.memory.read_exact_at(&mut bytes, PAGE)?;
        let (words, _) = bytes.as_chunks::<8>();
        let words: Vec<u64> = words.iter().map(|word| u64::from_ne_bytes(*word)).collect();
        let gaps = words.chunks_exact(2).map(|pair| Gap {
            end_ns: pair[0],
            length_ns: pair[1],
        });
        Ok(gaps.collect())
    }

    fn check(&mut self) -> Result<()> {
        if let Some(status) = self.process.ended()? {
            bail!(
                "the spinner ended with {status}: {}",
                self.process.complaint()
            );
        }
        Ok(())
    }
}
