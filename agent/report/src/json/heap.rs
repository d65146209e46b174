//! The `heap` of `report.json`: what watched allocators gave out and did not get back, and what the watch cost.

use super::frames;
use crate::top;
use remora_model::{Capture, HeapSite, HeapWatch, WatchEnd};
use serde::Serialize;
use std::time::Duration;

/// Stacks listed.
const STACKS: usize = 50;

/// A watch.
#[derive(Serialize)]
pub(super) struct Heap<'a> {
    attached: bool,
    /// The probes are in the code of the targets while they last.
    patches_text: bool,
    watched_s: f64,
    /// `capture`, `time`, `budget`, `not_attached`.
    ended_by: &'static str,
    /// Why it was not attached, or by how much it was over the budget, in words; `null` for the other ends.
    detached_because: Option<String>,
    /// Until the text was as before.
    detaching_s: f64,
    budget_pct: f64,
    /// What probes took, over what the targets used themselves; `null` where they used nothing.
    slow_down_pct: Option<f64>,
    worst_slow_down_pct: f64,
    cost: Cost,
    processes: Vec<Process<'a>>,
    /// One byte in so many was sampled in the mean; 0 and 1: every allocation was.
    sample_bytes: u64,
    allocations: u64,
    frees: u64,
    allocated_bytes: u64,
    sampled: u64,
    sampled_freed: u64,
    /// Estimated from the samples.
    outstanding_bytes: u64,
    stacks: Vec<Site>,
}

/// What it cost.
#[derive(Serialize)]
struct Cost {
    /// Of a probe, as measured on the agent itself.
    probe_stepped_ns: u64,
    probe_emulated_ns: u64,
    return_ns: u64,
    programs_s: f64,
    total_s: f64,
    /// CPU time of the targets meanwhile, with it.
    targets_cpu_s: f64,
}

/// A process.
#[derive(Serialize)]
struct Process<'a> {
    pid: u32,
    attached: bool,
    /// Why not, or why not all of it.
    why: Option<&'a str>,
    files: Vec<File<'a>>,
}

/// Functions of a file.
#[derive(Serialize)]
struct File<'a> {
    path: &'a str,
    functions: &'a [String],
    /// It has an `operator new` of its own, which is not watched.
    operator_new_unwatched: bool,
}

/// Blocks of one stack.
#[derive(Serialize)]
struct Site {
    pid: u32,
    bytes: u64,
    blocks: u64,
    samples: u64,
    /// Ages at the end of the watch, of the sampled blocks.
    oldest_s: f64,
    median_s: f64,
    youngest_s: f64,
    /// Leaf first.
    stack: Vec<String>,
}

/// The watch; `None` where it was not asked for.
pub(super) fn heap(capture: &Capture) -> Option<Heap<'_>> {
    let watch = capture.heap_watch.as_ref()?;
    let (ended_by, because) = end(watch);
    Some(Heap {
        attached: watch.attached(),
        patches_text: watch.attached(),
        watched_s: watch.watched.as_secs_f64(),
        ended_by,
        detached_because: because,
        detaching_s: watch.detaching.as_secs_f64(),
        budget_pct: percent(watch.budget),
        slow_down_pct: watch.cost.slow_down().map(percent),
        worst_slow_down_pct: percent(watch.cost.worst),
        cost: Cost {
            probe_stepped_ns: nanos(watch.cost.stepped),
            probe_emulated_ns: nanos(watch.cost.emulated),
            return_ns: nanos(watch.cost.back),
            programs_s: watch.cost.programs.as_secs_f64(),
            total_s: watch.cost.total.as_secs_f64(),
            targets_cpu_s: watch.cost.targets.as_secs_f64(),
        },
        processes: processes(watch),
        sample_bytes: watch.sample_bytes,
        allocations: watch.allocations,
        frees: watch.frees,
        allocated_bytes: watch.bytes,
        sampled: watch.sampled,
        sampled_freed: watch.sampled_freed,
        outstanding_bytes: watch.outstanding_bytes(),
        stacks: stacks(capture),
    })
}

fn end(watch: &HeapWatch) -> (&'static str, Option<String>) {
    match &watch.end {
        WatchEnd::Capture => ("capture", None),
        WatchEnd::Time => ("time", None),
        WatchEnd::Budget { slow_down } => {
            let said = format!(
                "measured slow-down {:.1} % over the budget of {:.1} %",
                percent(*slow_down),
                percent(watch.budget)
            );
            ("budget", Some(said))
        }
        WatchEnd::Unmeasured => {
            let said = "what it cost could not be read any more";
            ("unmeasured", Some(said.to_owned()))
        }
        WatchEnd::NotAttached(why) => ("not_attached", Some(why.clone())),
    }
}

fn processes(watch: &HeapWatch) -> Vec<Process<'_>> {
    let all = watch.processes.iter();
    all.map(|process| Process {
        pid: process.pid,
        attached: !process.files.is_empty(),
        why: process.why_not.as_deref(),
        files: process
            .files
            .iter()
            .map(|file| File {
                path: &file.path,
                functions: &file.functions,
                operator_new_unwatched: file.operator_new,
            })
            .collect(),
    })
    .collect()
}

/// Stacks that differ in nothing that is shown are one.
fn stacks(capture: &Capture) -> Vec<Site> {
    let shown = top::heap(capture, STACKS, frames);
    let entry = |(stack, site): (Vec<String>, HeapSite)| Site {
        pid: site.pid,
        bytes: site.bytes,
        blocks: site.blocks,
        samples: site.samples,
        oldest_s: site.oldest.as_secs_f64(),
        median_s: site.median.as_secs_f64(),
        youngest_s: site.youngest.as_secs_f64(),
        stack,
    };
    shown.into_iter().map(entry).collect()
}

fn percent(share: f64) -> f64 {
    (share * 10_000.0).round() / 100.0
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
