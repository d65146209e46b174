//! `thread_leak`: threads rise and do not come back, or there is nearly no room for more.
//!
//! Healthy programs start threads, too. What tells them apart:
//!
//! * a pool that fills and levels off, a thread a client that comes and goes: see [`crate::rise`];
//! * a thread a client that stays: threads that rise with connections that were accepted and are established are the
//!   clients' doing; they do not count, and what is left must still be most of the rise.
//!
//! After the fact a leak shows by its end alone: a limit is near, and most of what uses it up is this process. A limit that
//! no growth can have reached is none of those: a daemon that gives up its privileges forbids itself to start anything.

mod code;
#[cfg(test)]
mod tests;

use crate::connections::Servers;
use crate::rise::Rise;
use crate::{Findings, Scene, words::Headline};
use remora_model::display::text::{clean, count, counted, duration};
use remora_model::{
    Confidence, Finding, FindingKind, Process, Severity, SkipReason, Subject, ThreadLimit,
    ThreadLimitKind, Topic,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// Groups of threads that are shown.
const SHOWN: usize = 3;
/// Of a limit that others use up too, the process has at least this share.
const OWN_SHARE: f64 = 0.5;

/// What is known of a process's threads.
struct Threads<'a> {
    process: &'a Process,
    now: u64,
    rise: Option<Rise>,
    /// A limit that is nearly used up, by this process.
    full: Option<ThreadLimit>,
    /// The one with the least left.
    nearest: Option<ThreadLimit>,
}

pub(crate) fn analyze(scene: &Scene<'_>, findings: &mut Findings) {
    let servers = Servers::of(scene.capture);
    let needed = scene.thresholds.thread_leak;
    let mut short = false;
    for process in scene
        .capture
        .processes
        .iter()
        .filter(|it| it.is_target() && !it.exited)
    {
        let Some(threads) = threads(scene, &servers, process) else {
            continue;
        };
        short |= scene.capture.duration < needed;
        if threads.full.is_some() || threads.rise.is_some() {
            findings.push(finding(scene, &threads));
        }
    }
    if short {
        findings.skip(FindingKind::ThreadLeak, SkipReason::NoGrowth { needed });
    }
}

/// What is known of a process's threads; `None` where they were never counted.
fn threads<'a>(scene: &Scene<'a>, servers: &Servers, process: &'a Process) -> Option<Threads<'a>> {
    let mut series = scene.capture.timeline.processes.iter();
    let series = series.find(|series| series.pid == process.pid)?;
    let now = series
        .readings
        .iter()
        .rev()
        .find_map(|reading| reading.threads)?;
    let rise = match scene.capture.duration < scene.thresholds.thread_leak {
        true => None,
        false => Rise::of(scene, process.pid, |reading| reading.threads),
    };
    let clients = servers.new_clients(scene, process.pid);
    let rise = rise.filter(|rise| rise.is_kept_without(clients));
    let mut all = scene.capture.thread_limits.iter();
    let limits = all.find(|limits| limits.pid == process.pid);
    let limits = limits.map_or(&[][..], |limits| &limits.limits);
    let share = scene.thresholds.thread_limit;
    let reachable = || limits.iter().filter(|limit| !is_ban(limit, now));
    let is_full = |limit: &&ThreadLimit| {
        let used = limit.used.unwrap_or(now).max(now) as f64;
        used >= share * limit.limit as f64 && now as f64 >= OWN_SHARE * used
    };
    Some(Threads {
        process,
        now,
        rise,
        full: reachable().find(is_full).copied(),
        nearest: reachable().min_by_key(|limit| limit.left(now)).copied(),
    })
}

/// A limit of the user's that was set below what there was, or at the one thread that a process cannot do without
/// (`imap-login` of dovecot, the sandbox of sshd).
const fn is_ban(limit: &ThreadLimit, now: u64) -> bool {
    matches!(limit.kind, ThreadLimitKind::User) && (limit.limit <= 1 || limit.limit < now)
}

fn finding(scene: &Scene<'_>, threads: &Threads<'_>) -> Finding {
    let pid = threads.process.pid;
    let severity = match threads.full {
        Some(limit) if limit.left(threads.now) == 0 => Severity::Critical,
        _ => Severity::Warning,
    };
    let mut finding = scene.about_process(FindingKind::ThreadLeak, severity, pid);
    finding.summary = summary(scene, threads);
    if let Some(rise) = &threads.rise {
        finding.since = Some(rise.over);
        finding.since_at_least = true;
        finding = finding.fact(Topic::Rate, rate(threads, rise));
        if threads.full.is_none() {
            finding.confidence = Confidence::Inferred;
            finding = finding.fact(Topic::Inferred, "the rise so far is taken to go on");
        }
    }
    if let Some(limit) = threads.full.or(threads.nearest) {
        finding = finding.fact(Topic::Limit, limit_line(limit, threads.now));
    }
    for line in groups(scene, pid) {
        finding = finding.fact(Topic::Threads, line);
    }
    let starter = code::starter(scene, pid);
    if let Some(starter) = &starter {
        finding = finding.fact(Topic::Where, format!("starts threads: {starter}"));
    }
    finding.next = next(scene, pid, starter.as_deref());
    finding.about = vec![Subject::Threads(pid)];
    finding
}

fn summary(scene: &Scene<'_>, threads: &Threads<'_>) -> String {
    let what = match (threads.full, &threads.rise) {
        (Some(limit), _) => format!(
            "has {}; {} allows {}",
            counted(threads.now, "thread"),
            limit.kind.name(),
            count(limit.limit)
        ),
        (None, Some(rise)) => format!(
            "leaks threads: +{} in {}, {} now",
            count(rise.growth),
            duration(rise.over),
            count(threads.now)
        ),
        (None, None) => format!("has {}", counted(threads.now, "thread")),
    };
    let headline = Headline {
        who: &scene.process_name(threads.process.pid),
        what: &what,
        ..Headline::default()
    };
    headline.fitted()
}

/// `2.0/s, limit in 8 min`.
fn rate(threads: &Threads<'_>, rise: &Rise) -> String {
    let rate = format!("{:.1}/s", rise.a_second);
    let Some(limit) = threads.nearest else {
        return format!("{rate}, no limit was read");
    };
    let left = limit.left(threads.now) as f64 / rise.a_second.max(1e-9);
    match Duration::try_from_secs_f64(left) {
        Ok(left) => format!("{rate}, limit in {}", duration(left)),
        Err(_) => rate,
    }
}

/// `pids.max 512: 498 used, 490 of them here`.
fn limit_line(limit: ThreadLimit, own: u64) -> String {
    let (name, allowed) = (limit.kind.name(), count(limit.limit));
    match limit.used {
        Some(used) => format!(
            "{name} {allowed}: {} used, {} of them here",
            count(used),
            count(own)
        ),
        None => format!(
            "{name} {allowed}: {} here, others of this user not counted",
            count(own)
        ),
    }
}

/// The most frequent threads that live, the main thread apart, by name, numbers at the end apart, with where they began: `48 × worker (+40), run in pump`.
fn groups(scene: &Scene<'_>, pid: u32) -> Vec<String> {
    let mut groups: BTreeMap<String, (u64, u64, Option<String>)> = BTreeMap::new();
    let early = scene.capture.duration.mul_f64(0.95);
    for (_, thread) in scene
        .living()
        .filter(|(_, thread)| thread.pid == pid && thread.tid != pid)
    {
        let name = thread
            .comm
            .trim_end_matches(|c: char| c.is_ascii_digit() || "-_#:".contains(c));
        let group = groups.entry(clean(name).into_owned()).or_default();
        group.0 += 1;
        group.1 += u64::from(thread.observed < early);
        if group.2.is_none() {
            group.2 = scene.stack_now(thread).and_then(code::start);
        }
    }
    let mut groups: Vec<_> = groups.into_iter().filter(|(_, it)| it.0 > 1).collect();
    groups.sort_by(|a, b| b.1.1.cmp(&a.1.1).then(b.1.0.cmp(&a.1.0)));
    let lines = groups
        .into_iter()
        .take(SHOWN)
        .map(|(name, (number, new, start))| {
            let new = match new {
                0 => String::new(),
                new => format!(" (+{})", count(new)),
            };
            let start = start.map_or_else(String::new, |start| format!(", start in {start}"));
            format!("{} × {name}{new}{start}", count(number))
        });
    lines.collect()
}

/// What would end it follows from what is known of the code.
fn next(scene: &Scene<'_>, pid: u32, starter: Option<&str>) -> String {
    let mut own = scene.living().filter(|(_, thread)| thread.pid == pid);
    let wait = match own.any(|(_, thread)| thread.tid != pid && thread.now.reason.is_some()) {
        true => ", and end those that only wait",
        false => "",
    };
    match starter {
        Some(code) => format!("Bound how many threads {code} may start{wait}."),
        None => format!(
            "Find what starts them (`remora record --pid {pid}`), bound their number{wait}."
        ),
    }
}
