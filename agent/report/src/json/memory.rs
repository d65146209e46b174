//! The `memory` of `report.json`: what is resident of each process, by kind and mapping, and the stacks
//! that it grew by.

use super::frames;
use remora_model::{Capture, LeakLevel, Memory, MemoryLimit, MemorySource, Report};
use serde::Serialize;

/// Stacks listed for a process.
const STACKS: usize = 20;

/// Processes that are listed with their mappings and stacks; of the rest the sums.
const DETAILED: usize = 64;

/// A process.
#[derive(Serialize)]
pub(super) struct Process<'a> {
    pid: u32,
    comm: &'a str,
    /// `mappings`: exact; `counters`: the kernel's, which lag behind by some pages a CPU.
    source: &'static str,
    start: Resident,
    end: Resident,
    /// End less start, of what is in memory.
    growth_bytes: i64,
    /// Exact; `null` where page faults were not watched.
    faults: Option<u64>,
    samples: u64,
    /// In the mean; `null` without a sample.
    sampled_one_in: Option<f64>,
    huge_page_bytes: Option<u64>,
    mappings: Vec<Mapping<'a>>,
    /// Sampled, and scaled to the growth of the mappings.
    stacks: Vec<Stack>,
    unattributed_bytes: u64,
    returned_bytes: u64,
    released_bytes: Option<u64>,
    /// What ends its growth, the nearest first.
    limits: Vec<Limit>,
    /// At the end of the capture; `null` where that could not be read.
    age_s: Option<f64>,
    /// Of its anonymous memory, in memory or swapped out; `null` where nothing has looked, or there are too
    /// few readings.
    trend: Option<Trend>,
}

/// What ends growth.
#[derive(Serialize)]
struct Limit {
    kind: &'static str,
    limit_bytes: u64,
    used_bytes: u64,
    left_bytes: u64,
}

/// How it moved.
#[derive(Serialize)]
struct Trend {
    /// `flat`, `steady`, `levels_off`, `comes_back` or `steps`.
    form: &'static str,
    slope_bytes_per_s: f64,
    /// At 95 %.
    interval_bytes_per_s: [f64; 2],
    /// The fitted line at `from_s`.
    start_bytes: u64,
    grown_bytes: u64,
    from_s: f64,
    span_s: f64,
    parts: usize,
    parts_grown: usize,
    by_low_points: bool,
    /// `suspected`, `confirmed`; `null`: no leak.
    level: Option<&'static str>,
    /// `null`: it does not grow, or no limit is known.
    reached: Option<Reached>,
}

/// When which limit is reached.
#[derive(Serialize)]
struct Reached {
    limit: &'static str,
    after_s: f64,
    soonest_s: f64,
    /// `null`: perhaps never.
    latest_s: Option<f64>,
}

/// What is resident, by kind.
#[derive(Serialize)]
struct Resident {
    anon_bytes: u64,
    file_bytes: u64,
    shmem_bytes: u64,
    swap_bytes: u64,
}

/// A mapping, or those of one name.
#[derive(Serialize)]
struct Mapping<'a> {
    name: &'a str,
    kind: &'static str,
    start_bytes: u64,
    end_bytes: u64,
    huge_page_bytes: u64,
}

/// Growth in one stack, over all threads.
#[derive(Serialize)]
struct Stack {
    bytes: u64,
    /// Samples.
    count: u64,
    /// Faults that they stand for.
    faults: u64,
    /// Leaf first.
    stack: Vec<String>,
}

/// The processes, those that grew most with all that is known of them.
pub(super) fn memory(report: &Report) -> Vec<Process<'_>> {
    let capture = &report.capture;
    let mut order: Vec<(usize, i64)> = capture
        .memory
        .iter()
        .map(Memory::growth_bytes)
        .enumerate()
        .collect();
    order.sort_by_key(|(at, growth)| (std::cmp::Reverse(*growth), *at));
    let detailed: std::collections::HashSet<usize> =
        order.iter().take(DETAILED).map(|(at, _)| *at).collect();
    let all = capture.memory.iter().enumerate();
    all.map(|(at, memory)| process(report, memory, detailed.contains(&at)))
        .collect()
}

fn process<'a>(report: &'a Report, memory: &'a Memory, detailed: bool) -> Process<'a> {
    let capture = &report.capture;
    let owner = capture.processes.iter().find(|one| one.pid == memory.pid);
    let mappings = memory.mappings.iter().map(|mapping| Mapping {
        name: &mapping.name,
        kind: mapping.kind.name(),
        start_bytes: mapping.start_bytes,
        end_bytes: mapping.end_bytes,
        huge_page_bytes: mapping.huge_bytes,
    });
    Process {
        pid: memory.pid,
        comm: owner.map_or("", |owner| owner.comm.as_str()),
        source: match memory.source {
            MemorySource::Mappings => "mappings",
            MemorySource::Counters => "counters",
        },
        start: resident(memory.start),
        end: resident(memory.end),
        growth_bytes: memory.growth_bytes(),
        faults: memory.faults,
        samples: memory.samples,
        sampled_one_in: sampled_one_in(memory),
        huge_page_bytes: memory.huge_page_bytes,
        mappings: mappings.filter(|_| detailed).collect(),
        stacks: if detailed {
            stacks(capture, memory)
        } else {
            Vec::new()
        },
        unattributed_bytes: memory.unattributed_bytes,
        returned_bytes: memory.returned_bytes,
        released_bytes: memory.released_bytes,
        limits: memory.limits.iter().map(limit).collect(),
        age_s: memory.age.map(|age| tenths(age.as_secs_f64())),
        trend: trend(report, memory.pid),
    }
}

fn limit(limit: &MemoryLimit) -> Limit {
    Limit {
        kind: limit.kind.name(),
        limit_bytes: limit.limit_bytes,
        used_bytes: limit.used_bytes,
        left_bytes: limit.left_bytes(),
    }
}

fn trend(report: &Report, pid: u32) -> Option<Trend> {
    let judgement = report.judgement.as_ref()?;
    let trend = judgement
        .memory_trends
        .iter()
        .find(|trend| trend.pid == pid)?;
    Some(Trend {
        form: trend.form.name(),
        slope_bytes_per_s: tenths(trend.slope),
        interval_bytes_per_s: [tenths(trend.low), tenths(trend.high)],
        start_bytes: trend.start_bytes,
        grown_bytes: trend.grown_bytes,
        from_s: tenths(trend.from.as_secs_f64()),
        span_s: tenths(trend.span.as_secs_f64()),
        parts: trend.parts,
        parts_grown: trend.parts_grown,
        by_low_points: trend.by_low_points,
        level: trend.level.map(LeakLevel::name),
        reached: trend.reached.map(|reached| Reached {
            limit: reached.limit.kind.name(),
            after_s: tenths(reached.after.as_secs_f64()),
            soonest_s: tenths(reached.soonest.as_secs_f64()),
            latest_s: reached.latest.map(|latest| tenths(latest.as_secs_f64())),
        }),
    })
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn sampled_one_in(memory: &Memory) -> Option<f64> {
    let faults: u64 = memory.stacks.iter().map(|stack| stack.faults).sum();
    let one_in = faults as f64 / memory.samples as f64;
    (memory.samples > 0).then(|| (one_in * 10.0).round() / 10.0)
}

/// Addresses are not shown: stacks that differ in nothing else are one.
fn stacks(capture: &Capture, memory: &Memory) -> Vec<Stack> {
    let shown = super::super::top::growth(capture, memory, STACKS, |stack| {
        let touched = stack.map(|stack| stack.before_fault());
        frames(touched.as_ref())
    });
    let entry = |entry: super::super::top::Grown<Vec<String>>| Stack {
        bytes: entry.bytes,
        count: entry.samples,
        faults: entry.faults,
        stack: entry.shown,
    };
    shown.into_iter().map(entry).collect()
}

fn resident(kinds: remora_model::Resident) -> Resident {
    Resident {
        anon_bytes: kinds.anon_bytes,
        file_bytes: kinds.file_bytes,
        shmem_bytes: kinds.shmem_bytes,
        swap_bytes: kinds.swap_bytes,
    }
}
