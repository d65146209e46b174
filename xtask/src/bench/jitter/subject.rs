//! What is measured beside the spinner: a tool that watches one process or another, from its start to its end.

use anyhow::{Context, Result, ensure};
use std::{path::Path, process::Command, time::Duration};
use tempfile::TempDir;

use super::spinner::{Cpus, Moment, Spinner};
use crate::bench::{
    child::Process,
    clock::Clock,
    profiler::{Sign, in_path, shows},
};

/// How long a tool may take to load and attach, and to end.
const LIMIT: Duration = Duration::from_secs(60);

/// Between the start or the end of a tool and what is measured next: what it set off or freed.
const SETTLE: Duration = Duration::from_millis(300);

/// What is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    /// `remora triage`.
    Triage,
    /// `remora record`, as it comes.
    Record,
    /// The same with the hooks of all signals.
    RecordAll,
    /// The kernel's own profiler.
    Perf,
}

/// Whom it watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watched {
    /// A process that may not run on the spinner's CPU.
    Other,
    /// The spinner itself.
    Spinner,
}

/// One of them on the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subject {
    /// What is started.
    pub tool: Tool,
    /// Whom it watches.
    pub watched: Watched,
}

/// The moments of a run: started, recording, asked to end, gone.
pub(super) struct Moments(pub [Moment; 4]);

impl Subject {
    /// All, in the order of the table.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        [Watched::Other, Watched::Spinner]
            .into_iter()
            .flat_map(|watched| {
                let tools = [Tool::Triage, Tool::Record, Tool::RecordAll, Tool::Perf];
                tools.map(|tool| Self { tool, watched })
            })
    }

    /// The command, as in the table.
    pub(super) fn name(self) -> &'static str {
        match self.tool {
            Tool::Triage => "remora triage",
            Tool::Record => "remora record",
            Tool::RecordAll => "remora record, all signals",
            Tool::Perf => "perf record -F 99 -g -p",
        }
    }

    /// Runs it, and gives the moments.
    ///
    /// # Errors
    /// It is not there, fails, or hangs.
    pub(super) fn run(
        self,
        remora: &Path,
        (target, window): (u32, Duration),
        (spinner, cpus): (&mut Spinner, &Cpus),
        folder: &Path,
        clock: &Clock,
    ) -> Result<Moments> {
        let output = TempDir::new_in(folder)?;
        let pid = match self.watched {
            Watched::Other => target,
            Watched::Spinner => spinner.pid(),
        };
        let mut command = self.command(remora, cpus, pid, window, output.path())?;
        let started = spinner.now()?;
        let mut process = Process::start(command.current_dir(output.path()))?;
        let sign = self.sign();
        clock.until(LIMIT, "its sign of recording", || {
            let ended = process.ended()?;
            ensure!(ended.is_none(), "it ended: {}", process.complaint());
            Ok(shows(&process, &sign))
        })?;
        clock.sleep(SETTLE)?;
        let recording = spinner.now()?;
        clock.sleep(window)?;
        let early = process.ended()?;
        ensure!(
            early.is_none(),
            "it ended while it was measured: {}",
            process.complaint()
        );
        let asked = spinner.now()?;
        if self.tool == Tool::Triage {
            clock.until(LIMIT, "its verdict", || Ok(process.ended()?.is_some()))?;
        } else {
            process.finish(clock)?;
        }
        clock.sleep(SETTLE)?;
        Ok(Moments([started, recording, asked, spinner.now()?]))
    }

    fn command(
        self,
        remora: &Path,
        cpus: &Cpus,
        pid: u32,
        window: Duration,
        folder: &Path,
    ) -> Result<Command> {
        let pid = pid.to_string();
        if self.tool == Tool::Perf {
            let perf = in_path("perf").context("not installed (Debian package linux-perf)")?;
            let mut command = cpus.anywhere(&perf);
            command.args(["record", "-F", "99", "-g", "-p", &pid, "-o", "/dev/null"]);
            return Ok(command);
        }
        let mut command = cpus.anywhere(remora);
        match self.tool {
            Tool::Triage => {
                // Longer than what is measured of it: it begins before it shows that it has, and ends by itself.
                let length = (window + 4 * SETTLE).as_secs_f64();
                command.args(["triage", "--pid", &pid, "--duration", &format!("{length}s")]);
            }
            _ => {
                command.args(["record", "--pid", &pid, "--duration", "1h", "--out"]);
                command.arg(folder.join("report"));
            }
        }
        if self.tool == Tool::RecordAll {
            let options = "--loop exact --socket-hz 2 --fault-period 61";
            command.args(options.split(' '));
        }
        Ok(command)
    }

    fn sign(self) -> Sign {
        match self.tool {
            Tool::Triage => Sign::OpenFile("anon_inode:bpf_link"),
            Tool::Record | Tool::RecordAll => Sign::Line("recording"),
            Tool::Perf => Sign::OpenFile("anon_inode:[perf_event]"),
        }
    }
}
