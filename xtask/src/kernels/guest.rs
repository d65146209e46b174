//! One boot: starts the emulator, follows what the guest says, ends it in time.

use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Signal, set_parent_process_death_signal};

use super::transcript::{Mark, Transcript};

/// Lines of a guest that may wait to be read; then the guest waits.
const LINES_WAITING: usize = 1024;

/// Boots take 4 s here, tests print their end; this much silence is a hang.
const SILENCE: Duration = Duration::from_secs(240);
/// Lines of the console that are shown of a guest that hangs.
const LAST_LINES: usize = 15;
/// Of the guest, in MiB.
const MEMORY: &str = "2048";
/// So that threads run at the same time, and wake each other across CPUs.
const CPUS: &str = "2";
const CMDLINE: &str = "console=ttyS0 loglevel=5 panic=-1 mitigations=off root=/dev/nvme0n1 rw rootwait \
                       init=/init";

/// For so long a kernel without a disk may take to give up.
const GIVES_UP: Duration = Duration::from_secs(30);

/// How the guest's instructions are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accelerator {
    /// By this machine's CPUs.
    Kvm,
    /// By emulation in software.
    Software,
}

impl Accelerator {
    /// The better one that works: a device `/dev/kvm` may be there and fail, inside a virtual machine,
    /// so it is tried, by a boot that ends as it finds no disk.
    pub(super) fn find(kernel: &Path) -> Self {
        let device = fs::File::options().read(true).write(true).open("/dev/kvm");
        if device.is_ok() && boots_by_kvm(kernel).unwrap_or(false) {
            Self::Kvm
        } else {
            Self::Software
        }
    }

    fn arguments(self) -> [&'static str; 2] {
        match self {
            Self::Kvm => ["-accel", "kvm"],
            Self::Software => ["-accel", "tcg,thread=multi"],
        }
    }
}

fn boots_by_kvm(kernel: &Path) -> anyhow::Result<bool> {
    let mut command = machine(Accelerator::Kvm, kernel);
    command.args(["-append", "panic=-1"]).stderr(Stdio::null());
    let mut tried = Machine::start(command)?;
    let end = Instant::now() + GIVES_UP;
    while Instant::now() < end {
        if let Some(status) = tried.child.try_wait()? {
            return Ok(status.success());
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(false)
}

/// What to boot, and on what.
pub(super) struct Guest<'a> {
    /// The kernel's image.
    pub kernel: &'a Path,
    /// The disk; what the guest writes is thrown away.
    pub disk: &'a Path,
    /// How fast it runs.
    pub accelerator: Accelerator,
    /// Where the kernel's own messages go.
    pub console: PathBuf,
    /// The guest is ended after so long.
    pub limit: Duration,
}

impl Guest<'_> {
    /// Boots, and reports each mark of the guest as it comes; ends with the guest.
    ///
    /// # Errors
    /// The emulator cannot be started, the guest hangs or ends before its tests: with the last lines
    /// of its console.
    pub(super) fn run(
        &self,
        mut report: impl FnMut(&Transcript, &Mark),
    ) -> anyhow::Result<Transcript> {
        let mut machine = Machine::start(self.command())?;
        let end = Instant::now() + self.limit;
        let mut transcript = Transcript::default();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match machine.lines.recv_timeout(left.min(SILENCE)) {
                Ok(line) => {
                    if let Some(mark) = transcript.read(&line) {
                        report(&transcript, &mark);
                    }
                }
                Err(RecvTimeoutError::Timeout) => bail!(
                    "the guest {}{}",
                    if left < SILENCE {
                        "took too long"
                    } else {
                        "hangs"
                    },
                    self.last_words(&transcript)
                ),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let status = machine.child.wait()?;
        if !transcript.is_complete() {
            bail!(
                "the guest ended before its tests did (emulator: {status}){}",
                self.last_words(&transcript)
            );
        }
        Ok(transcript)
    }

    fn command(&self) -> Command {
        let disk = self.disk.display();
        let drive = format!("file={disk},format=raw,if=none,id=root,snapshot=on");
        let mut command = machine(self.accelerator, self.kernel);
        command.args(["-drive", &drive, "-device", "nvme,drive=root,serial=root"]);
        command.arg("-serial");
        command.arg(format!("file:{}", self.console.display()));
        command.args(["-serial", "stdio", "-append", CMDLINE]);
        command
    }

    /// Where it was, and what its console and its test said last.
    fn last_words(&self, transcript: &Transcript) -> String {
        let console = fs::read(&self.console).unwrap_or_default();
        let console = String::from_utf8_lossy(&console);
        let last = |text: &str| {
            let lines: Vec<&str> = text.lines().collect();
            let from = lines.len().saturating_sub(LAST_LINES);
            lines.get(from..).unwrap_or_default().join("\n  ")
        };
        let (place, said) = transcript.place();
        format!(
            "; in {place}, which said:\n  {}\n its console ({}):\n  {}",
            last(&said),
            self.console.display(),
            last(&console)
        )
    }
}

/// A running emulator, killed when dropped, and by the kernel should xtask itself be killed.
struct Machine {
    child: Child,
    lines: Receiver<String>,
}

impl Machine {
    fn start(mut command: Command) -> anyhow::Result<Self> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0);
        // SAFETY: between fork and exec the closure makes one system call and touches no memory
        // that another thread could have left locked.
        unsafe {
            command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
        }
        let mut child = command.spawn().context("cannot start the emulator")?;
        let output = child.stdout.take().context("it was piped")?;
        Ok(Self {
            child,
            lines: follow(output),
        })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A machine with this kernel and nothing else.
fn machine(accelerator: Accelerator, kernel: &Path) -> Command {
    let mut command = Command::new("qemu-system-x86_64");
    command.args(accelerator.arguments());
    command.args(["-cpu", "max", "-smp", CPUS, "-m", MEMORY]);
    command.args(["-nodefaults", "-no-user-config", "-no-reboot"]);
    command.args(["-display", "none", "-kernel"]).arg(kernel);
    command
}

/// Reads lines on a thread of its own, so that waiting for one can end.
fn follow(output: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = sync_channel(LINES_WAITING);
    thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        // A guest that breaks may say anything.
        while output
            .read_until(b'\n', &mut line)
            .is_ok_and(|read| read > 0)
        {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            if sender.send(text).is_err() {
                return;
            }
            line.clear();
        }
    });
    lines
}
