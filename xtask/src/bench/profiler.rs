//! The profilers that are compared: how each is found, attached, and known to be at work.

use anyhow::{Context, Result, bail, ensure};
use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use strum::{IntoStaticStr, VariantArray};
use tempfile::TempDir;

use super::{child::Process, clock::Clock, workload::Workload};

/// How long a profiler may take to load and attach.
const ATTACH_LIMIT: Duration = Duration::from_secs(40);

/// Between attaching or detaching and the next window: what was started or freed by it.
const SETTLE: Duration = Duration::from_millis(300);

/// A kind of profiler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    /// This project.
    Remora,
    /// The same with one signal alone, or none, of those that can be turned off.
    RemoraWith(Signals),
    /// CPU samples of the kernel's own profiler.
    Perf,
    /// Off-CPU time, libbpf and C.
    LibbpfOffcputime,
    /// Off-CPU time, compiled at run time.
    BccOffcputime,
    /// CPU samples of the kernel's own profiler, with a part of the stack in each, unwound later.
    PerfDwarf,
    /// CPU samples of Python code.
    PySpy,
    /// The same, merged with the native frames.
    PySpyNative,
}

/// Which signals of remora's are on, of those that can be turned off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantArray)]
pub enum Signals {
    /// None of them: CPU samples, waits and futexes, which come with the waits.
    #[strum(to_string = "remora, none of the four signals")]
    Base,
    /// Event loops, by the waits that block.
    #[strum(to_string = "remora --loop blocked alone")]
    Loops,
    /// Event loops, exactly.
    #[strum(to_string = "remora --loop exact alone")]
    ExactLoops,
    /// Socket queues.
    #[strum(to_string = "remora, socket queues alone")]
    Sockets,
    /// Page faults and memory.
    #[strum(to_string = "remora, page faults alone")]
    Memory,
}

impl Signals {
    /// All, in the order of the table.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    fn name(self) -> &'static str {
        self.into()
    }

    /// Options that turn the others off.
    fn options(self) -> [&'static str; 6] {
        let event_loop = match self {
            Self::Loops => "blocked",
            Self::ExactLoops => "exact",
            _ => "off",
        };
        let sockets = if self == Self::Sockets { "2" } else { "0" };
        let faults = if self == Self::Memory { "61" } else { "0" };
        [
            "--loop",
            event_loop,
            "--socket-hz",
            sockets,
            "--fault-period",
            faults,
        ]
    }
}

/// What shows that a profiler is recording.
pub(super) enum Sign {
    /// A line of its output that begins with this, its own name aside.
    Line(&'static str),
    /// An open file of this kind: its hooks are in place.
    OpenFile(&'static str),
}

impl Tool {
    /// All, the project's own first.
    pub(super) const ALL: [Self; 7] = [
        Self::Remora,
        Self::Perf,
        Self::PerfDwarf,
        Self::LibbpfOffcputime,
        Self::BccOffcputime,
        Self::PySpy,
        Self::PySpyNative,
    ];

    /// Its name in tables, with the arguments that matter.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Remora => "remora",
            Self::RemoraWith(signals) => signals.name(),
            Self::Perf => "perf record -F 99 -g",
            Self::LibbpfOffcputime => "offcputime (libbpf-tools)",
            Self::BccOffcputime => "offcputime (bcc)",
            Self::PerfDwarf => "perf record -F 99 --call-graph dwarf",
            Self::PySpy => "py-spy record -r 99",
            Self::PySpyNative => "py-spy record -r 99 --native",
        }
    }

    /// Whether it is the project's own.
    pub(super) fn is_own(self) -> bool {
        matches!(self, Self::Remora | Self::RemoraWith(_))
    }

    /// Whether it can profile `workload` at all.
    pub(super) fn fits(self, workload: Workload) -> bool {
        !self.is_for_python() || workload == Workload::Asyncio
    }

    /// Whether it knows Python alone.
    pub(super) fn is_for_python(self) -> bool {
        matches!(self, Self::PySpy | Self::PySpyNative)
    }

    /// Whether it works with kernel programs.
    pub(super) fn has_programs(self) -> bool {
        matches!(
            self,
            Self::Remora | Self::RemoraWith(_) | Self::LibbpfOffcputime | Self::BccOffcputime
        )
    }

    fn get_it(self) -> &'static str {
        match self {
            Self::Remora | Self::RemoraWith(_) => "`cargo xtask build`",
            Self::Perf | Self::PerfDwarf => "Debian package linux-perf",
            Self::LibbpfOffcputime => "Debian package libbpf-tools",
            Self::BccOffcputime => "Debian package bpfcc-tools",
            Self::PySpy | Self::PySpyNative => "`pip install py-spy`",
        }
    }

    /// The first program found under one of its names.
    fn find(self, remora: &Path) -> Option<PathBuf> {
        match self {
            Self::Remora | Self::RemoraWith(_) => remora.is_file().then(|| remora.to_owned()),
            Self::Perf | Self::PerfDwarf => in_path("perf"),
            // Both projects call theirs offcputime: the one is a binary, the other a script.
            Self::LibbpfOffcputime => {
                in_path("bpf-offcputime").or_else(|| in_path("offcputime").filter(|p| is_elf(p)))
            }
            Self::BccOffcputime => in_path("offcputime-bpfcc")
                .or_else(|| in_path("offcputime").filter(|p| !is_elf(p)))
                .or_else(|| Some(PathBuf::from("/usr/share/bcc/tools/offcputime")))
                .filter(|p| p.is_file()),
            Self::PySpy | Self::PySpyNative => in_path("py-spy"),
        }
    }

    fn command(self, program: &Path, pid: u32, folder: &Path) -> Command {
        let mut command = Command::new(program);
        let pid = pid.to_string();
        match self {
            Self::Remora | Self::RemoraWith(_) => command
                .args(["record", "--pid", &pid, "--duration", "1h", "--out"])
                .arg(folder.join("report")),
            Self::Perf => command.args(["record", "-F", "99", "-g", "-p", &pid, "-o", "/dev/null"]),
            Self::PerfDwarf => command
                .args(["record", "-F", "99", "--call-graph", "dwarf", "-p", &pid])
                .args(["-o", "/dev/null"]),
            Self::LibbpfOffcputime | Self::BccOffcputime => command.args(["-p", &pid]),
            Self::PySpy | Self::PySpyNative => command
                .args(["record", "--pid", &pid, "--duration", "3600"])
                .args(["--rate", "99", "--format", "raw", "--output"])
                .arg(folder.join("py-spy.folded")),
        };
        match self {
            Self::PySpyNative => command.arg("--native"),
            Self::RemoraWith(signals) => command.args(signals.options()),
            _ => &mut command,
        };
        command
    }

    fn sign(self) -> Sign {
        match self {
            Self::Remora | Self::RemoraWith(_) => Sign::Line("recording"),
            // bcc hooks a kprobe, which is a perf event.
            Self::Perf | Self::PerfDwarf | Self::BccOffcputime => {
                Sign::OpenFile("anon_inode:[perf_event]")
            }
            Self::LibbpfOffcputime => Sign::OpenFile("anon_inode:bpf_link"),
            Self::PySpy | Self::PySpyNative => Sign::Line("py-spy> Sampling"),
        }
    }
}

/// A profiler that is installed here.
pub(super) struct Profiler {
    /// Its kind.
    pub tool: Tool,
    program: PathBuf,
}

impl Profiler {
    /// Looks for `tool`; `remora` is where the project's own should be.
    ///
    /// # Errors
    /// Not installed, and how to get it.
    pub(super) fn find(tool: Tool, remora: &Path) -> Result<Self> {
        match tool.find(remora) {
            Some(program) => Ok(Self { tool, program }),
            None => bail!("not installed ({})", tool.get_it()),
        }
    }

    /// Attaches it to `pid` and waits until it records. Its output goes to a folder of its own
    /// below `folder`, and away with it.
    ///
    /// # Errors
    /// When it ends instead, with its own words.
    pub(super) fn attach(&self, pid: u32, folder: &Path, clock: &Clock) -> Result<Attached> {
        let output = TempDir::new_in(folder)?;
        let mut command = self.tool.command(&self.program, pid, output.path());
        let mut process = Process::start(command.current_dir(output.path()))?;
        let sign = self.tool.sign();
        clock
            .until(ATTACH_LIMIT, "its sign of recording", || {
                if let Some(status) = process.ended()? {
                    bail!("{} ({status})", process.complaint());
                }
                Ok(shows(&process, &sign))
            })
            .with_context(|| format!("{} does not record", self.program.display()))?;
        clock.sleep(SETTLE)?;
        Ok(Attached {
            process,
            _output: output,
        })
    }
}

/// A profiler at work; ended when dropped.
pub(super) struct Attached {
    process: Process,
    _output: TempDir,
}

impl Attached {
    /// The process that does the profiler's work.
    pub(super) fn pid(&self) -> u32 {
        worker(self.process.pid())
    }

    /// Ends it as a user would and waits until it has written its report.
    ///
    /// # Errors
    /// When it had ended by itself: the window before was not what it seemed.
    pub(super) fn detach(mut self, clock: &Clock) -> Result<()> {
        let early = self.process.ended()?;
        ensure!(
            early.is_none(),
            "it ended while it was measured: {}",
            self.process.complaint()
        );
        self.process.finish(clock)?;
        clock.sleep(SETTLE)
    }
}

/// The process that works, where the one that was started only waits for it: its first child, else itself.
fn worker(started: u32) -> u32 {
    let parent = |pid: u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, fields) = stat.rsplit_once(')')?;
        fields.split_ascii_whitespace().nth(1)?.parse().ok()
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.find(|pid| parent(*pid) == Some(started))
        .unwrap_or(started)
}

/// Whether it has given its sign.
pub(super) fn shows(process: &Process, sign: &Sign) -> bool {
    match sign {
        Sign::Line(start) => process.lines().iter().any(|line| {
            line.strip_prefix("remora: ")
                .unwrap_or(line)
                .starts_with(start)
        }),
        Sign::OpenFile(kind) => {
            let Ok(files) = fs::read_dir(format!("/proc/{}/fd", worker(process.pid()))) else {
                return false;
            };
            let mut targets = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
            targets.any(|target| target.as_os_str() == OsStr::new(kind))
        }
    }
}

/// Looks `name` up in `PATH` and in the system's own folders, which a user's `PATH` may lack.
pub(super) fn in_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin", "/usr/bin"].map(PathBuf::from));
    folders
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

fn is_elf(program: &Path) -> bool {
    let mut magic = [0; 4];
    let read = File::open(program).and_then(|mut file| file.read_exact(&mut magic));
    read.is_ok() && magic == *b"\x7fELF"
}
