//! The live tests on other kernels: boots Debian's cloud kernels in an emulated machine, runs the
//! tests of a list there, and compares with the list what ran.
//!
//! Emulation in software is 3 to 14 times slower than the machine: it shows what is right, never what
//! something costs. So the list holds tests of what is seen, and none of what that costs.

mod apt;
mod expect;
mod fetch;
mod guest;
mod image;
mod judge;
mod table;
mod tools;
mod transcript;

use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};

use crate::build::build;
use crate::process::say;
use expect::{HOOKS, KERNELS, Kernel, LEFT_OUT, TESTS, Test};
use fetch::Image;
use guest::{Accelerator, Guest};
use judge::{Verdict, Verdicts};
use transcript::{Mark, Transcript};

/// A test that takes longer is killed, by the guest.
const TEST_LIMIT: Duration = Duration::from_secs(150);
/// A guest with all tests takes 4 minutes here, where others have the machine too.
const GUEST_LIMIT: Duration = Duration::from_secs(20 * 60);
/// The CPUs that one guest keeps busy.
const CPUS_A_GUEST: usize = 2;

/// Runs the tests whose name holds one of the filters; all without a filter. A filter that is the
/// name of a kernel (`6.1`) chooses that kernel.
///
/// # Errors
/// A kernel cannot be had or does not come up, or something on it is not as the list says.
pub(crate) fn test(filters: &[String]) -> anyhow::Result<()> {
    let cache = cache();
    if let Err(why) = tools::ensure(&cache) {
        say(format!("skipped the other kernels: no emulator: {why:#}"));
        return Ok(());
    }
    let (kernels, tests) = chosen(filters)?;
    let images = fetch::images(&cache, &kernels)?;
    let agent = build(false)?;
    let suites = image::build_tests()?;
    compare_lists(&image::names(&suites)?)?;
    let folder = target().join("kernels");
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let disk = folder.join("disk.img");
    let payload = image::Payload {
        agent: &agent,
        suites: &suites,
        tests: &tests.iter().map(|test| test.name).collect::<Vec<_>>(),
        limit_s: TEST_LIMIT.as_secs(),
    };
    let root = folder.join("root");
    image::make(&payload, &root, &disk)?;
    fs::remove_dir_all(&root)?;
    let accelerator = images.first().map_or(Accelerator::Software, |image| {
        Accelerator::find(&image.path)
    });
    say(match accelerator {
        Accelerator::Kvm => "the guests run on this machine's CPUs",
        Accelerator::Software => "the guests are emulated in software: KVM does not work here",
    });
    let work = Work {
        accelerator,
        tests: &tests,
        disk: &disk,
        folder: &folder,
    };
    let pairs: Vec<(Kernel, Image)> = kernels.into_iter().zip(images).collect();
    let judged = work.boot_all(&pairs);
    finish(&pairs, judged)
}

/// Kernels and tests that the filters ask for.
fn chosen(filters: &[String]) -> anyhow::Result<(Vec<Kernel>, Vec<&'static Test>)> {
    let is_kernel = |filter: &&String| KERNELS.iter().any(|kernel| kernel.name == **filter);
    let (names, words): (Vec<_>, Vec<_>) = filters.iter().partition(is_kernel);
    let wanted =
        |kernel: &&Kernel| names.is_empty() || names.iter().any(|name| *name == kernel.name);
    let holds =
        |test: &&Test| words.is_empty() || words.iter().any(|word| test.name.contains(*word));
    let tests: Vec<_> = TESTS.iter().filter(holds).collect();
    if tests.is_empty() {
        bail!("no test of xtask/src/kernels/expect.rs is named so");
    }
    Ok((KERNELS.iter().filter(wanted).copied().collect(), tests))
}

/// Fails when a test of the list is gone, or one that there is stands in no list.
fn compare_lists(there: &[String]) -> anyhow::Result<()> {
    let is_there = |test: &&Test| there.iter().any(|name| name == test.name);
    let listed = |name: &&String| TESTS.iter().any(|test| test.name == **name);
    let left_out = |name: &&String| LEFT_OUT.iter().any(|(part, _)| name.starts_with(part));
    let gone = TESTS.iter().filter(|test| !is_there(test));
    let gone: Vec<_> = gone.map(|test| test.name).collect();
    let new = there.iter().filter(|name| !listed(name) && !left_out(name));
    let new: Vec<_> = new.map(String::as_str).collect();
    for (what, names) in [("no test of this name", gone), ("in no list", new)] {
        if !names.is_empty() {
            let names = names.join(", ");
            bail!("xtask/src/kernels/expect.rs: {what}: {names}");
        }
    }
    Ok(())
}

/// Kernels are the same for all checkouts, and outlive `cargo clean`.
fn cache() -> PathBuf {
    let home = || Some(PathBuf::from(env::var_os("HOME")?).join(".cache"));
    let base = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(home);
    base.unwrap_or_else(target).join("remora/kernels")
}

fn target() -> PathBuf {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    env::var_os("CARGO_TARGET_DIR").map_or_else(beside, PathBuf::from)
}

/// What became of one kernel: how long it took, and its verdicts.
struct Judged {
    took: Duration,
    verdicts: anyhow::Result<Verdicts>,
}

/// What all guests share.
struct Work<'a> {
    accelerator: Accelerator,
    tests: &'a [&'a Test],
    disk: &'a Path,
    folder: &'a Path,
}

impl Work<'_> {
    /// Boots each kernel, as many at a time as there are CPUs for.
    fn boot_all(&self, kernels: &[(Kernel, Image)]) -> Vec<Judged> {
        let cpus = thread::available_parallelism().map_or(1, usize::from);
        let at_a_time = (cpus / CPUS_A_GUEST).max(1);
        let mut judged = Vec::new();
        for some in kernels.chunks(at_a_time) {
            thread::scope(|scope| {
                let boot = |pair| scope.spawn(move || self.boot(pair));
                let guests: Vec<_> = some.iter().map(boot).collect();
                let ended = guests.into_iter().map(|guest| {
                    guest.join().unwrap_or_else(|_| Judged {
                        took: Duration::ZERO,
                        verdicts: Err(anyhow!("what follows the guest broke")),
                    })
                });
                judged.extend(ended);
            });
        }
        judged
    }

    fn boot(&self, (kernel, image): &(Kernel, Image)) -> Judged {
        let started = Instant::now();
        let name = kernel.name;
        say(format!("{name}: booting {}", image.version));
        let guest = Guest {
            kernel: &image.path,
            disk: self.disk,
            accelerator: self.accelerator,
            console: self.folder.join(format!("console-{name}.log")),
            limit: GUEST_LIMIT,
        };
        let log = fs::File::create(self.folder.join(format!("tests-{name}.log")))
            .context("a log of the tests");
        let heard = log.and_then(|mut log| {
            guest.run(|transcript, mark| self.progress(name, transcript, mark, &mut log))
        });
        let console = fs::read(&guest.console).unwrap_or_default();
        let console = String::from_utf8_lossy(&console);
        let judged = |heard| judge::judge(kernel, HOOKS, self.tests, &heard, &console);
        Judged {
            took: started.elapsed(),
            verdicts: heard.map(judged),
        }
    }

    /// Says what ended, and leaves what it printed where a person can read it.
    fn progress(&self, kernel: &str, heard: &Transcript, mark: &Mark, log: &mut impl Write) {
        let Mark::End(name) = mark else { return };
        let Some(ran) = heard.ran.get(name) else {
            return;
        };
        let count = format!("{}/{}", heard.ran.len(), self.tests.len() + judge::BESIDE);
        let how = if ran.code == Some(0) { "" } else { " FAILED" };
        let seconds = ran.seconds;
        say(format!("{kernel}: {count} {name}{how} ({seconds:.1} s)"));
        // Without it the run is as good.
        let _ = writeln!(log, "== {name} ({seconds:.1} s)\n{}", ran.text());
    }
}

/// Prints the table and what is wrong.
fn finish(kernels: &[(Kernel, Image)], judged: Vec<Judged>) -> anyhow::Result<()> {
    let mut faults = Vec::new();
    let mut columns = Vec::new();
    for ((kernel, image), Judged { took, verdicts }) in kernels.iter().zip(judged) {
        let head = format!("{} in {:.0} s", image.version, took.as_secs_f64());
        let verdicts = verdicts.unwrap_or_else(|error| {
            faults.push(format!("{}: {error:#}", kernel.name));
            Vec::new()
        });
        let wrong = verdicts.iter().filter_map(|(name, verdict)| match verdict {
            Verdict::Wrong(why) => Some(format!("{}: {name}: {why}", kernel.name)),
            _ => None,
        });
        faults.extend(wrong);
        columns.push((kernel.name, head, verdicts));
    }
    for line in table::lines(&columns) {
        say(line);
    }
    if faults.is_empty() {
        return Ok(());
    }
    bail!("not as the list says:\n\n{}", faults.join("\n\n"))
}
