//! `starved`: a thread is ready and gets no CPU.
//!
//! What looks similar and is none: a batch with more threads than CPUs, which waits because of itself
//! (its own threads use the CPUs it may use); a thread that was told to give way (nice above 0, SCHED_IDLE, SCHED_BATCH);
//! a thread that shares a CPU fairly, whose waits are many and short. So it takes both: a large
//! share of its runnable time, and one long wait, or a cgroup that was throttled.

use super::{
    Findings, Scene,
    event_loops::total,
    words::{self, Headline},
};
use remora_model::display::text::{clean, count, counted, duration, percent, share};
use remora_model::{
    CpuLimit, Finding, FindingKind, Policy, Scheduling, Severity, State, Subject, Thread, Topic,
};
use std::time::Duration;

/// Less time without a CPU than this is nothing.
const LEAST: Duration = Duration::from_millis(250);
/// A process whose own threads use that share of its CPUs starves itself.
const OWN_DOING: f64 = 0.8;
/// The limit of a cgroup matters when it throttled in that share of its periods, and so many.
const THROTTLED: (f64, u64) = (0.25, 5);
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
}

pub(crate) fn analyze(scene: &Scene<'_>, findings: &mut Findings) {
    for process in &scene.capture.processes {
        let mut starved: Vec<Starved<'_>> = scene
            .living()
            .filter(|(_, thread)| thread.pid == process.pid)
            .filter_map(|(_, thread)| starved(scene, thread))
            .collect();
        starved.sort_by_key(|it| (std::cmp::Reverse(it.queued), it.thread.tid));
        if let Some(worst) = starved.first() {
            findings.push(finding(scene, worst, &starved));
        }
    }
}

/// The limit that throttled a process, if one did.
fn throttling<'a>(scene: &Scene<'a>, pid: u32) -> Option<&'a CpuLimit> {
    let limit = scene.capture.conditions.of(pid)?.limit.as_ref()?;
    let often = limit.throttled as f64 >= THROTTLED.0 * limit.periods as f64;
    (often && limit.throttled >= THROTTLED.1).then_some(limit)
}

fn starved<'a>(scene: &Scene<'_>, thread: &'a Thread) -> Option<Starved<'a>> {
    let (queued, wanted) = (thread.queued(), thread.wanted());
    let lost = queued.as_secs_f64() / wanted.as_secs_f64().max(1e-9);
    if queued < LEAST || lost < scene.thresholds.starved.min(1.0) {
        return None;
    }
    let condition = scene.capture.conditions.of(thread.pid);
    let scheduling = condition.and_then(|it| it.scheduling.iter().find(|it| it.tid == thread.tid));
    let found = Starved {
        thread,
        queued,
        wanted,
        scheduling: scheduling.copied(),
    };
    if throttling(scene, thread.pid).is_some() {
        return Some(found);
    }
    let gives_way = scheduling
        .is_some_and(|it| it.nice > 0 || matches!(it.policy, Policy::Idle | Policy::Batch));
    let long = thread.run_queue.longest >= scene.thresholds.starved_stretch;
    (long && !gives_way && !is_own_doing(scene, thread, scheduling)).then_some(found)
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
    let why = match limit {
        Some(limit) => format!(
            "throttled in {} of {} periods",
            count(limit.throttled),
            count(limit.periods)
        ),
        None => format!("longest wait {}", duration(thread.run_queue.longest)),
    };
    finding.summary = Headline {
        who: &words::thread(thread),
        of: &scene.process_name(thread.pid),
        what: &format!(
            "waited for a CPU {} of its runnable time",
            share(worst.queued, worst.wanted)
        ),
        detail: &why,
    }
    .fitted();
    finding = finding.fact(Topic::RunQueue, queue(thread, worst));
    if all.len() > 1 {
        let more = counted(all.len() as u64 - 1, "more thread");
        finding = finding.fact(
            Topic::Threads,
            format!("{more} of this process waited as long"),
        );
    }
    if let Some(limit) = limit {
        finding = finding.fact(Topic::Limit, limit_words(limit));
    }
    finding = finding.fact(Topic::Cpu, cpus(scene, worst));
    finding = who_runs(scene, thread, limit, finding);
    finding.next = match limit {
        Some(limit) => format!(
            "Raise cpu.max of {}, or reduce the load.",
            clean(&limit.cgroup)
        ),
        None => match competitor(scene, thread) {
            Some(name) => format!("Give it its own CPUs (cpuset), or move {name}."),
            None => "Give it its own CPUs (cpuset), or reduce the load.".to_owned(),
        },
    };
    finding
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

fn limit_words(limit: &CpuLimit) -> String {
    let quota = limit.quota_cpus.map_or_else(
        || "unknown quota".to_owned(),
        |cpus| format!("quota {cpus:.2} CPUs"),
    );
    format!(
        "cgroup {}, {quota}, throttled {} in total ({} of periods)",
        clean(&limit.cgroup),
        duration(limit.time),
        percent(limit.throttled as f64, limit.periods as f64),
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
mod tests {
    use super::*;
    use crate::{Thresholds, judge};
    use remora_model::{
        Capture, Constraint, RunQueue,
        fixture::{Builder, ms},
    };

    /// 30 s; the thread wanted a CPU for 20 s.
    fn capture(queued: Duration, longest: Duration, nice: i32) -> Capture {
        let mut capture = Builder::new(7, "router").finish();
        let thread = &mut capture.threads[0];
        thread.on_cpu = ms(20_000).saturating_sub(queued);
        thread.run_queue = RunQueue {
            preempted: queued,
            preemptions: 9,
            longest,
            ..RunQueue::default()
        };
        capture.conditions.cpus = 2;
        capture.conditions.processes = vec![Constraint {
            pid: 7,
            scheduling: vec![Scheduling {
                tid: 7,
                nice,
                policy: Policy::Other,
                cpus: 2,
            }],
            ..Constraint::default()
        }];
        capture
    }

    fn found(capture: &Capture) -> Vec<FindingKind> {
        let judgement = judge(capture, &Thresholds::default());
        judgement.findings().map(|finding| finding.kind).collect()
    }

    #[test]
    fn it_takes_a_large_share_and_a_long_stretch() {
        assert_eq!(
            found(&capture(ms(15_000), ms(900), 0)),
            [FindingKind::Starved]
        );
        assert!(
            found(&capture(ms(15_000), ms(40), 0)).is_empty(),
            "short waits: a fair share"
        );
        assert!(
            found(&capture(ms(5_000), ms(900), 0)).is_empty(),
            "a small share"
        );
        assert!(
            found(&capture(ms(15_000), ms(900), 10)).is_empty(),
            "it gives way"
        );
    }

    #[test]
    fn a_batch_that_fills_its_own_cpus_is_nothing() {
        let mut capture = capture(ms(15_000), ms(900), 0);
        capture.threads[0].on_cpu = ms(25_000);
        capture.threads[0].run_queue.preempted = ms(26_000);
        let mut second = capture.threads[0].clone();
        second.tid = 8;
        capture.threads.push(second);
        assert!(found(&capture).is_empty());
    }

    #[test]
    fn a_limit_that_holds_back_is_named() {
        let mut capture = capture(ms(15_000), ms(80), 0);
        capture.conditions.processes[0].limit = Some(CpuLimit {
            cgroup: "/box".into(),
            quota_cpus: Some(0.2),
            periods: 300,
            throttled: 290,
            time: ms(15_000),
        });
        let judgement = judge(&capture, &Thresholds::default());
        let finding = judgement.findings().next().expect("one");
        assert!(
            finding.summary.contains("throttled in 290 of 300 periods"),
            "{}",
            finding.summary
        );
    }
}
