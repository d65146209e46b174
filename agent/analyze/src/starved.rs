//! `starved`: a thread is ready and gets no CPU.
//!
//! What looks similar and is none: a batch with more threads than CPUs, which waits because of itself
//! (its own threads use the CPUs it may use); a thread that was told to give way (nice above 0, SCHED_IDLE, SCHED_BATCH)
//! while nobody waits for it (`needed`); a thread that shares a CPU fairly, whose waits are many and short. So it takes
//! both: a large share of its runnable time, and one long wait, or a cgroup that was throttled (`limit`).

mod limit;
mod needed;

use super::{
    Findings, Scene,
    event_loops::total,
    words::{self, Headline},
};
use limit::throttling;
use needed::Needed;
use remora_model::display::text::{clean, counted, duration, share};
use remora_model::{
    CpuLimit, Finding, FindingKind, Policy, Scheduling, Severity, State, Subject, Thread, Topic,
};
use std::time::Duration;

/// Less time without a CPU than this is nothing.
const LEAST: Duration = Duration::from_millis(250);
/// A process whose own threads use that share of its CPUs starves itself.
const OWN_DOING: f64 = 0.8;
/// Who gets less than this of what it wants makes no progress to speak of.
const HOPELESS: f64 = 0.95;
/// Processes named that run instead.
const SHOWN: usize = 3;

/// A thread without a CPU.
struct Starved<'a> {
    thread: &'a Thread,
    queued: Duration,
    wanted: Duration,
    scheduling: Option<Scheduling>,
    /// It was told to give way, and these wait for it all the same.
    waiting: Vec<String>,
}

/// Comes after those who tell who waits for whom.
pub(crate) fn analyze(scene: &Scene<'_>, findings: &mut Findings) {
    let mut needed = Needed::new(scene);
    for process in &scene.capture.processes {
        let living = scene.living();
        let own = living.filter(|(_, thread)| thread.pid == process.pid);
        let mut starved: Vec<Starved<'_>> = own
            .filter_map(|it| starved(scene, &findings.found, &mut needed, it))
            .collect();
        starved.sort_by_key(|it| (std::cmp::Reverse(it.queued), it.thread.tid));
        if let Some(worst) = starved.first() {
            findings.push(finding(scene, worst, &starved));
        }
    }
}

fn starved<'a>(
    scene: &'a Scene<'a>,
    found: &[Finding],
    needed: &mut Needed<'a>,
    (index, thread): (usize, &'a Thread),
) -> Option<Starved<'a>> {
    let (queued, wanted) = (thread.queued(), thread.wanted());
    let lost = queued.as_secs_f64() / wanted.as_secs_f64().max(1e-9);
    if queued < LEAST || lost < scene.thresholds.starved.min(1.0) {
        return None;
    }
    let condition = scene.capture.conditions.of(thread.pid);
    let scheduling = condition.and_then(|it| it.scheduling.iter().find(|it| it.tid == thread.tid));
    let mut starved = Starved {
        thread,
        queued,
        wanted,
        scheduling: scheduling.copied(),
        waiting: Vec::new(),
    };
    if throttling(scene, thread.pid).is_some() {
        return Some(starved);
    }
    let long = thread.run_queue.longest >= scene.thresholds.starved_stretch;
    if !long || is_own_doing(scene, thread, scheduling) {
        return None;
    }
    if scheduling.is_some_and(gives_way) {
        starved.waiting = needed.by(found, (index, thread))?;
    }
    Some(starved)
}

/// Whether others are to have the CPU first, by choice.
fn gives_way(it: &Scheduling) -> bool {
    it.nice > 0 || matches!(it.policy, Policy::Idle | Policy::Batch)
}

/// Whether the CPUs that a thread may use are used by its own process.
fn is_own_doing(scene: &Scene<'_>, thread: &Thread, scheduling: Option<&Scheduling>) -> bool {
    let others = scene
        .capture
        .threads
        .iter()
        .filter(|other| other.pid == thread.pid);
    let used = total(others.map(|other| other.on_cpu));
    let cpus = match scheduling.map_or(0, |it| it.cpus) {
        0 => scene.capture.conditions.cpus,
        allowed => allowed.min(scene.capture.conditions.cpus.max(1)),
    };
    let available = scene.capture.duration.as_secs_f64() * f64::from(cpus.max(1));
    used.as_secs_f64() >= OWN_DOING * available
}

fn finding(scene: &Scene<'_>, worst: &Starved<'_>, all: &[Starved<'_>]) -> Finding {
    let thread = worst.thread;
    let lost = worst.queued.as_secs_f64() / worst.wanted.as_secs_f64().max(1e-9);
    let severity = if lost >= HOPELESS {
        Severity::Critical
    } else {
        Severity::Warning
    };
    let mut finding = scene.about_thread(FindingKind::Starved, severity, thread);
    finding.since = Some(thread.observed);
    finding.since_at_least = true;
    finding.about = all
        .iter()
        .map(|it| Subject::Thread(it.thread.tid))
        .collect();
    let limit = throttling(scene, thread.pid);
    let lacked = share(worst.queued, worst.wanted);
    let (what, why) = match limit {
        Some(limit) => (
            format!("throttled for {lacked} of its runnable time"),
            limit::headline(limit),
        ),
        None => (
            format!("waited for a CPU {lacked} of its runnable time"),
            format!("longest wait {}", duration(thread.run_queue.longest)),
        ),
    };
    finding.summary = Headline {
        who: &words::thread(thread),
        of: &scene.process_name(thread.pid),
        what: &what,
        detail: &why,
    }
    .fitted();
    for line in &worst.waiting {
        finding = finding.fact(Topic::Blocked, line.clone());
    }
    finding = finding.fact(Topic::RunQueue, queue(thread, worst));
    if all.len() > 1 {
        let more = counted(all.len() as u64 - 1, "more thread");
        finding = finding.fact(
            Topic::Threads,
            format!("{more} of this process waited as long"),
        );
    }
    if let Some(limit) = limit {
        finding = finding.fact(Topic::Limit, limit::words(scene, limit));
    }
    finding = finding.fact(Topic::Cpu, cpus(scene, worst));
    finding = who_runs(scene, thread, limit, finding);
    finding.next = next(scene, worst, limit);
    finding
}

fn next(scene: &Scene<'_>, worst: &Starved<'_>, limit: Option<&CpuLimit>) -> String {
    let thread = worst.thread;
    if let Some(limit) = limit {
        let group = clean(&limit.cgroup);
        return format!("Raise cpu.max of {group}, or reduce the load.");
    }
    match worst.scheduling.filter(gives_way) {
        Some(it) if it.nice > 0 => {
            return format!(
                "Reset its nice value of {}: renice -n 0 -p {}.",
                it.nice, thread.tid
            );
        }
        Some(it) => {
            let policy = it.policy.name();
            let tid = thread.tid;
            return format!("Give it the usual policy instead of {policy}: chrt -o -p 0 {tid}.");
        }
        None => {}
    }
    match competitor(scene, thread) {
        Some(name) => format!("Give it its own CPUs (cpuset), or move {name}."),
        None => "Give it its own CPUs (cpuset), or reduce the load.".to_owned(),
    }
}

/// The process that used most of the CPUs meanwhile.
fn competitor(scene: &Scene<'_>, thread: &Thread) -> Option<String> {
    let mut busiest = scene.capture.conditions.busiest.iter();
    let busy = busiest.find(|busy| busy.actor.pid != thread.pid)?;
    Some(format!("{} ({})", clean(&busy.actor.comm), busy.actor.pid))
}

/// The processes that run instead.
fn who_runs(
    scene: &Scene<'_>,
    thread: &Thread,
    limit: Option<&CpuLimit>,
    mut finding: Finding,
) -> Finding {
    for busy in scene
        .capture
        .conditions
        .busiest
        .iter()
        .filter(|busy| busy.actor.pid != thread.pid)
        .take(SHOWN)
    {
        let name = format!("{} ({})", clean(&busy.actor.comm), busy.actor.pid);
        finding = finding.fact(
            Topic::Competitor,
            format!("{name} used {:.2} CPUs during the capture", busy.cpus),
        );
        if limit.is_none() {
            finding.because_of.push(Subject::Process(busy.actor.pid));
        }
    }
    finding
}

fn queue(thread: &Thread, worst: &Starved<'_>) -> String {
    let queue = &thread.run_queue;
    let now = match thread.now.state {
        State::Runnable => format!(", waiting now for {}", duration(thread.now.since)),
        _ => String::new(),
    };
    format!(
        "{} of {}, longest {}{now}; {} on a CPU",
        duration(worst.queued),
        duration(thread.observed),
        duration(queue.longest),
        duration(thread.on_cpu),
    )
}

fn cpus(scene: &Scene<'_>, worst: &Starved<'_>) -> String {
    let conditions = &scene.capture.conditions;
    let mut words = format!("load {:.1} on {} CPUs", conditions.load, conditions.cpus);
    if let Some(it) = worst.scheduling {
        words.push_str(&format!(
            "; affinity {} CPUs, nice {}, policy {}",
            it.cpus,
            it.nice,
            it.policy.name()
        ));
    }
    words
}

#[cfg(test)]
mod tests;
