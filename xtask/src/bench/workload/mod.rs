//! The programs that are profiled: long-lived processes that count their operations.
//!
//! Windows with and without a profiler alternate on the *same* process, so that its start, its
//! memory layout and its place on the machine are the same in both.

mod counter;
mod echo;
mod native;
mod place;
mod redis;

pub(super) use place::on;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use counter::Counter;
use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use strum::IntoStaticStr;

use super::{child::Process, clock::Clock, snapshot::Snapshot};

/// How long a workload may take until its first operation.
const START_LIMIT: Duration = Duration::from_secs(20);

/// Time for caches, allocators and clients to come to rest before the first window.
const WARM_UP: Duration = Duration::from_secs(1);

/// What is done while the profiler watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Workload {
    /// Two threads on one CPU that hand a turn to and fro: all context switches
    #[strum(to_string = "ping-pong")]
    PingPong,
    /// The same, while the profiler watches another process that sleeps
    #[strum(to_string = "ping-pong, not watched")]
    Bystander,
    /// Maps, touches and unmaps memory
    #[strum(to_string = "page faults")]
    PageFaults,
    /// Computes without system calls
    #[strum(to_string = "CPU-bound")]
    Cpu,
    /// redis-server under redis-benchmark
    Redis,
    /// A CPython asyncio echo server
    #[strum(to_string = "asyncio echo")]
    Asyncio,
    /// A server of 1,000 threads with 10,000 sockets; only when asked for
    #[strum(to_string = "1,000 threads, 10,000 sockets")]
    Crowd,
}

impl Workload {
    /// All that are measured unless told otherwise, in the order of the tables.
    pub const ALL: [Self; 6] = [
        Self::PingPong,
        Self::Bystander,
        Self::PageFaults,
        Self::Cpu,
        Self::Redis,
        Self::Asyncio,
    ];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// What is counted.
    pub fn operation(self) -> &'static str {
        match self {
            Self::PingPong | Self::Bystander => "turn handed over",
            Self::PageFaults => "page touched for the first time",
            Self::Cpu => "1,000 xorshift steps",
            Self::Redis => "GET",
            Self::Asyncio => "echo of 64 bytes",
            Self::Crowd => "request and answer over TCP",
        }
    }

    /// The ratio of throughput, with remora to without, that the project aims at.
    pub fn aim(self) -> Option<f64> {
        match self {
            Self::PingPong => Some(0.90),
            Self::Cpu | Self::Redis | Self::Asyncio => Some(0.99),
            Self::Bystander | Self::PageFaults | Self::Crowd => None,
        }
    }

    /// Starts it and waits until it works at its usual pace. Its files go to `folder`.
    pub fn start(self, folder: &Path, clock: &Clock) -> Result<Running> {
        let mut running = match self {
            Self::PingPong => native::start("ping_pong", folder)?,
            Self::Bystander => native::start("ping_pong", folder)?.while_watching(sleeper()?),
            Self::PageFaults => native::start("page_faults", folder)?,
            Self::Cpu => native::start("cpu", folder)?,
            Self::Redis => redis::start(folder, clock)?,
            Self::Asyncio => echo::start(folder, clock)?,
            Self::Crowd => native::start("crowd", folder)?,
        };
        clock.until(START_LIMIT, "the first operation", || running.is_working())?;
        clock.sleep(WARM_UP)?;
        Ok(running)
    }
}

/// Compiles a program of the bench that is no workload by itself.
pub(super) fn compile(name: &str, folder: &Path) -> Result<PathBuf> {
    native::compile(name, folder)
}

/// The program `deep`, at so many calls below its `main`.
pub(super) fn deep(program: &Path, calls: u32) -> Result<Process> {
    Process::start(place::measured(program)?.arg(calls.to_string()))
}

/// A process that does nothing.
pub(super) fn sleeper() -> Result<Process> {
    Process::start(Command::new("sleep").arg("infinity"))
}

/// A workload at work; its processes end when it is dropped.
pub struct Running {
    /// The process whose operations and CPU time are measured.
    subject: Process,
    /// The process that the profiler watches, where it is another.
    watched: Option<Process>,
    /// Clients.
    helpers: Vec<Process>,
    counter: Counter,
}

impl Running {
    fn new(subject: Process, helpers: Vec<Process>, counter: Counter) -> Self {
        Self {
            subject,
            watched: None,
            helpers,
            counter,
        }
    }

    fn while_watching(self, watched: Process) -> Self {
        Self {
            watched: Some(watched),
            ..self
        }
    }

    /// The process to point the profiler at.
    pub fn target(&self) -> u32 {
        self.watched.as_ref().unwrap_or(&self.subject).pid()
    }

    /// Reads the operations, CPU time and switches so far.
    ///
    /// # Errors
    /// When one of its processes has ended.
    pub fn snapshot(&mut self) -> Result<Snapshot> {
        self.check()?;
        let ops = self
            .counter
            .read()
            .context("cannot read the count of operations")?;
        Snapshot::take(self.subject.pid(), ops)
    }

    fn is_working(&mut self) -> Result<bool> {
        self.check()?;
        Ok(self.counter.read()? > 0)
    }

    fn check(&mut self) -> Result<()> {
        let processes = self
            .helpers
            .iter_mut()
            .chain(&mut self.watched)
            .chain([&mut self.subject]);
        for process in processes {
            if let Some(status) = process.ended()? {
                bail!("the workload ended with {status}: {}", process.complaint());
            }
        }
        Ok(())
    }
}
