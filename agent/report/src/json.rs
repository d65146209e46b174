//! `report.json`: the whole report for programs. Fields are added, never renamed; units stand in
//! the names; times inside the capture are in nanoseconds. Order is stable: the same capture gives
//! the same bytes.

mod conditions;
mod dependencies;
mod descriptors;
pub mod findings;
mod heap;
mod java;
mod locks;
mod loops;
mod memory;
mod objects;
mod sockets;
mod subjects;
mod targets;
mod thread;
pub(super) mod timeline;

use super::{ReportError, label, nanos, tasks, top};
use remora_common::loss::Loss;
use remora_model::{
    Capture, End, Fidelity, HookState, Idleness, Report, Site, Stack, Syscall, Unanswered,
};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use std::collections::BTreeMap;

/// Version of the contract.
const SCHEMA: u32 = 1;

/// Stacks listed on and off the CPU.
const TOP: usize = 20;

/// What every document begins with.
#[derive(Serialize)]
struct Head<'a> {
    schema: u32,
    /// `healthy`, `idle`, `unclear`, or the kind of the worst finding.
    verdict: &'static str,
    verdict_note: String,
    capture: About<'a>,
    targets: Vec<targets::Target<'a>>,
    findings: Vec<findings::Entry<'a>>,
    /// What may be wrong, and is not known to be.
    notices: Vec<findings::NoticeEntry<'a>>,
    /// What the threads wait for that have not moved for longest.
    longest_waits: &'a [String],
    not_judged: Vec<findings::NotJudged>,
}

/// What every document ends with.
#[derive(Serialize)]
struct Foot<'a> {
    signals: BTreeMap<&'a str, Signal<'a>>,
    /// Every counter of the kernel side, zero or not, and the agent's that are not zero.
    loss: BTreeMap<&'a str, u64>,
    /// What was asked for and was not there in time.
    unanswered: &'a [Unanswered],
    overhead: Overhead<'a>,
}

/// The whole document.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    threads: Vec<thread::Thread<'a>>,
    top: Top,
    stacks: Stacks,
    /// Asyncio tasks at the end of the capture, of each process that has any.
    asyncio: Vec<Asyncio<'a>>,
    /// Event loops, by thread.
    loops: Vec<loops::Loop<'a>>,
    /// Polls that were counted for a moment, by thread.
    polls: Vec<loops::Polls<'a>>,
    /// Locks and other futexes, those with waiters and the longest waits first.
    locks: Vec<locks::Lock<'a>>,
    /// What each thread did, window by window.
    timeline: Box<RawValue>,
    /// Descriptors of sockets.
    sockets: Vec<sockets::Socket<'a>>,
    socket_counts: sockets::Counts,
    /// What each process has in memory, and what it grew by.
    memory: Vec<memory::Process<'a>>,
    /// Objects of Python interpreters by type, at the start and the end.
    python_objects: Vec<objects::Process<'a>>,
    /// What holds the processes besides themselves.
    conditions: conditions::View<'a>,
    /// Blocks of glibc's malloc by size, at the start and the end.
    heap_sizes: Vec<objects::Heap>,
    /// `null`: allocators were not to be watched.
    heap: Option<heap::Heap<'a>>,
    /// Threads that wait for other processes, and for whom.
    dependencies: Vec<dependencies::Wait<'a>>,
    /// Threads that wait in locks of Python's `threading`.
    python_waits: Vec<dependencies::InPython<'a>>,
    python_pools: Vec<dependencies::Pool<'a>>,
    /// Java virtual machines, and what their threads wait for.
    java: Vec<java::Machine<'a>>,
    java_waits: Vec<java::Wait<'a>>,
    /// Pools that threads of Python wait for a slot of.
    slot_pools: Vec<dependencies::Slots<'a>>,
    #[serde(flatten)]
    foot: Foot<'a>,
}

/// How it was captured.
#[derive(Serialize)]
struct About<'a> {
    started_unix_s: f64,
    duration_s: f64,
    /// `elapsed`, `interrupted` or `targets_exited`.
    end: &'static str,
    freq_hz: u32,
    /// As the kernel lists CPUs: `0-3,8`.
    cpus_sampled: String,
    /// CPUs that threads of targets may use and that were not sampled.
    cpus_not_sampled: Vec<NotSampled>,
    min_block_ns: u64,
    /// Kernel release.
    kernel: &'a str,
    agent_version: &'static str,
}

/// CPUs without samples.
#[derive(Serialize)]
struct NotSampled {
    cpus: String,
    /// `nohz_full`, `not_chosen`, `offline` or `refused`.
    why: &'static str,
}

/// The stacks that hold most of the time.
#[derive(Serialize)]
struct Top {
    samples: u64,
    on_cpu: Vec<TopOnCpu>,
    off_cpu: Vec<TopOffCpu>,
}

/// A stack on the CPU.
#[derive(Serialize)]
struct TopOnCpu {
    samples: u64,
    /// Leaf first.
    stack: Vec<String>,
}

/// A place off the CPU.
#[derive(Serialize)]
struct TopOffCpu {
    reason: &'static str,
    syscall: Option<&'static str>,
    total_ns: u64,
    count: u64,
    idle: &'static str,
    /// `stack`, `short_waits` (no stack by design) or `stack_lost`.
    site: &'static str,
    /// Leaf first.
    stack: Vec<String>,
}

/// The asyncio tasks of a process.
#[derive(Serialize)]
struct Asyncio<'a> {
    pid: u32,
    #[serde(flatten)]
    view: tasks::View<'a>,
}

/// Which share of the stacks is whole.
#[derive(Serialize)]
struct Stacks {
    /// Stacks of samples and long waits.
    taken: u64,
    complete: u64,
    /// `null` when none was taken.
    complete_pct: Option<f64>,
    /// The others, by cause.
    incomplete: BTreeMap<&'static str, u64>,
}

/// How a signal is observed.
#[derive(Serialize)]
struct Signal<'a> {
    hook: &'a str,
    /// `on`, `degraded` or `off`.
    state: &'static str,
    why: Option<&'a str>,
}

/// What the capture cost the host.
#[derive(Serialize)]
struct Overhead<'a> {
    bpf_cpu_pct: f64,
    agent_cpu_pct: f64,
    agent_rss_bytes: u64,
    bpf_measured_s: f64,
    bpf_map_bytes: u64,
    /// The part of it that unwind tables take.
    unwind_table_bytes: u64,
    /// Files that have one.
    unwind_tables: u64,
    poll_count: Option<PollCost>,
    programs: Vec<Program<'a>>,
}

/// Of the polls that were counted for a moment; in none of the other figures.
#[derive(Serialize)]
struct PollCost {
    duration_s: f64,
    /// System calls of the host meanwhile.
    runs: u64,
    run_ns: u64,
}

/// A kernel program's cost.
#[derive(Serialize)]
struct Program<'a> {
    name: &'a str,
    runs: u64,
    run_ns: u64,
}

/// What `triage --json` prints: the verdict and its evidence, without the tables.
#[derive(Serialize)]
struct Short<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    #[serde(flatten)]
    foot: Foot<'a>,
}

/// The verdict and its evidence as indented JSON.
pub fn verdict(report: &Report) -> Result<Vec<u8>, ReportError> {
    indented(&Short {
        head: head(report),
        foot: foot(&report.capture),
    })
}

/// The document as indented JSON.
pub fn render(report: &Report) -> Result<Vec<u8>, ReportError> {
    indented(&document(report).map_err(ReportError::Json)?)
}

fn indented(document: &impl Serialize) -> Result<Vec<u8>, ReportError> {
    let mut bytes = serde_json::to_vec_pretty(document).map_err(ReportError::Json)?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn head(report: &Report) -> Head<'_> {
    let capture = &report.capture;
    Head {
        schema: SCHEMA,
        verdict: findings::verdict(report),
        verdict_note: findings::note(report),
        capture: about(capture),
        targets: targets::targets(capture),
        findings: findings::findings(report),
        notices: findings::notices(report),
        longest_waits: findings::longest_waits(report),
        not_judged: findings::not_judged(report),
    }
}

fn foot(capture: &Capture) -> Foot<'_> {
    Foot {
        signals: signals(capture),
        loss: losses(capture),
        unanswered: &capture.unanswered,
        overhead: overhead(capture),
    }
}

fn document(report: &Report) -> Result<Document<'_>, serde_json::Error> {
    let capture = &report.capture;
    Ok(Document {
        head: head(report),
        threads: thread::threads(capture),
        top: top_stacks(capture),
        stacks: stacks(capture),
        asyncio: asyncio(capture),
        loops: loops::loops(capture),
        polls: loops::polls(capture),
        locks: locks::locks(capture),
        // Not a number a line: there are many.
        timeline: to_raw_value(&timeline::timeline(capture))?,
        sockets: sockets::sockets(capture),
        socket_counts: sockets::counts(capture),
        memory: memory::memory(report),
        python_objects: objects::objects(capture),
        conditions: conditions::view(capture),
        heap_sizes: objects::heaps(capture),
        heap: heap::heap(capture),
        dependencies: dependencies::waits(capture),
        python_waits: dependencies::in_python(capture),
        python_pools: dependencies::pools(capture),
        java: java::machines(capture),
        java_waits: java::waits(capture),
        slot_pools: dependencies::slots(capture),
        foot: foot(capture),
    })
}

fn asyncio(capture: &Capture) -> Vec<Asyncio<'_>> {
    let by_process = capture.tasks.iter();
    by_process
        .map(|(pid, tasks)| Asyncio {
            pid: *pid,
            view: tasks::view(tasks),
        })
        .collect()
}

fn stacks(capture: &Capture) -> Stacks {
    let fidelity = Fidelity::of(capture);
    Stacks {
        complete_pct: fidelity.complete_pct(),
        taken: fidelity.taken,
        complete: fidelity.complete,
        incomplete: fidelity.incomplete,
    }
}

fn about(capture: &Capture) -> About<'_> {
    let not_sampled = capture.sampling.not_sampled.iter();
    let not_sampled = not_sampled.map(|(why, cpus)| NotSampled {
        cpus: cpus.to_string(),
        why: why.key(),
    });
    About {
        started_unix_s: capture.started_unix_s,
        duration_s: capture.duration.as_secs_f64(),
        end: match capture.end {
            End::Elapsed => "elapsed",
            End::Interrupted => "interrupted",
            End::TargetsExited => "targets_exited",
        },
        freq_hz: capture.freq_hz,
        cpus_sampled: capture.sampling.sampled.to_string(),
        cpus_not_sampled: not_sampled.collect(),
        min_block_ns: nanos(capture.min_block),
        kernel: &capture.kernel,
        agent_version: env!("CARGO_PKG_VERSION"),
    }
}

/// Addresses are not shown: stacks that differ in nothing else are one.
fn top_stacks(capture: &Capture) -> Top {
    let on_cpu = top::on_cpu(capture, TOP, frames).into_iter();
    let off_cpu = top::off_cpu(capture, TOP, true, |place| {
        let (site, stack) = match place.site {
            Site::Stack(index) => ("stack", capture.stacks.get(index)),
            Site::Short => ("short_waits", None),
            Site::Lost => ("stack_lost", None),
        };
        let (reason, idle) = (place.reason.label(), idleness(place.idle));
        let syscall = place.syscall.map(Syscall::name);
        (reason, syscall, idle, site, frames(stack))
    });
    Top {
        samples: top::samples(capture),
        on_cpu: on_cpu
            .map(|entry| TopOnCpu {
                samples: entry.samples,
                stack: entry.shown,
            })
            .collect(),
        off_cpu: off_cpu.into_iter().map(top_off_cpu).collect(),
    }
}

/// What is shown of waits: reason, system call, idleness, kind of site, stack.
type ShownWaits = (
    &'static str,
    Option<&'static str>,
    &'static str,
    &'static str,
    Vec<String>,
);

fn top_off_cpu(entry: top::OffCpu<ShownWaits>) -> TopOffCpu {
    let (reason, syscall, idle, site, stack) = entry.shown;
    TopOffCpu {
        reason,
        syscall,
        total_ns: nanos(entry.total),
        count: entry.count,
        idle,
        site,
        stack,
    }
}

/// `no`, `certain` (an event loop) or `inferred` (a worker).
const fn idleness(idle: Idleness) -> &'static str {
    match idle {
        Idleness::Busy => "no",
        Idleness::EventLoop => "certain",
        Idleness::Worker => "inferred",
    }
}

fn signals(capture: &Capture) -> BTreeMap<&str, Signal<'_>> {
    let signals = capture.signals.iter().map(|signal| {
        let (state, why) = match &signal.state {
            HookState::On => ("on", None),
            HookState::Degraded(why) => ("degraded", Some(why.as_str())),
            HookState::Off(why) => ("off", Some(why.as_str())),
        };
        (
            signal.id.key(),
            Signal {
                hook: &signal.hook,
                state,
                why,
            },
        )
    });
    signals.collect()
}

fn losses(capture: &Capture) -> BTreeMap<&str, u64> {
    let mut losses: BTreeMap<_, _> = Loss::ALL.iter().map(|loss| (loss.key(), 0)).collect();
    let lost = capture.losses.non_zero();
    losses.extend(lost.map(|(loss, count)| (loss.key(), count)));
    losses
}

fn overhead(capture: &Capture) -> Overhead<'_> {
    let cost = &capture.overhead;
    let programs = cost.programs.iter().map(|program| Program {
        name: &program.name,
        runs: program.runs,
        run_ns: program.run_ns,
    });
    Overhead {
        bpf_cpu_pct: cost.bpf_cpu_pct,
        agent_cpu_pct: cost.agent_cpu_pct,
        agent_rss_bytes: cost.agent_rss_bytes,
        bpf_measured_s: cost.bpf_measured_s,
        bpf_map_bytes: cost.bpf_map_bytes,
        unwind_table_bytes: cost.unwind_bytes,
        unwind_tables: cost.unwind_tables,
        poll_count: cost.polls.map(|polls| PollCost {
            duration_s: polls.length.as_secs_f64(),
            runs: polls.runs,
            run_ns: nanos(polls.run),
        }),
        programs: programs.collect(),
    }
}

/// A stack's frames in full, leaf first; empty where there is none.
fn frames(stack: Option<&Stack>) -> Vec<String> {
    let Some(stack) = stack else {
        return Vec::new();
    };
    let frames = stack.frames.iter().rev().map(label::frame_in_full);
    let cut = stack.truncated.then(|| label::TRUNCATED.to_owned());
    frames.chain(cut).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_model::{AgentLoss, fixture::Builder};

    #[test]
    fn every_kernel_loss_has_a_key_even_at_zero() {
        let mut builder = Builder::new(1, "target");
        builder.0.losses.kernel.insert(Loss::EventRingFull, 7);
        builder.0.losses.add(AgentLoss::MappingsUnreadable, 2);
        let capture = builder.finish();
        let losses = losses(&capture);
        assert_eq!(losses.len(), Loss::ALL.len() + 1);
        assert_eq!(
            (losses["event_ring_full"], losses["mappings_unreadable"]),
            (7, 2)
        );
        assert_eq!(losses["stack_table_full"], 0);
    }
}
