//! The first thing that one reads: a sentence for each process.

use super::{HEADING, Page, QUIET};
use crate::model::{Capture, Process};
use crate::report::label::RUN_QUEUE;
use crate::report::shares::{Shares, longest_first};
use crate::report::text::{clean, seconds, share};
use std::time::Duration;

/// Processes that get a sentence; the busiest first.
const PROCESSES: usize = 8;

/// Shares named in a sentence.
const SHARES: usize = 5;

pub(super) fn write(page: &mut Page, capture: &Capture, shares: &[Shares]) {
    let mut processes: Vec<_> = capture
        .processes
        .iter()
        .map(|process| {
            let threads = capture.threads.iter().zip(shares);
            let own: Vec<_> = threads
                .filter(|(thread, _)| thread.pid == process.pid)
                .map(|(_, s)| s)
                .collect();
            (process, own.len(), Shares::sum(own))
        })
        .collect();
    processes.sort_by_key(|(process, _, sum)| (std::cmp::Reverse(sum.on_cpu), process.pid));
    for (process, threads, sum) in processes.iter().take(PROCESSES) {
        page.paragraph(HEADING, &sentence(process, *threads, sum, capture.duration));
    }
    if processes.is_empty() {
        page.line(HEADING, "no target process was seen");
    }
    if let Some(rest) = processes.get(PROCESSES..).filter(|rest| !rest.is_empty()) {
        let sum = Shares::sum(rest.iter().map(|(_, _, sum)| sum));
        let line = format!("and {} more processes: {}", rest.len(), parts(&sum));
        page.paragraph(QUIET, &line);
    }
}

/// `redis-server (4711): 98.2 % idle in epoll, 1.3 % on CPU, 0.5 % run queue over 30.0 s`.
fn sentence(process: &Process, threads: usize, sum: &Shares, length: Duration) -> String {
    let name = format!("{} ({})", clean(&process.comm), process.pid);
    let exited = if process.exited { "; it ended" } else { "" };
    let length = seconds(length);
    match threads {
        0 => format!("{name}: no thread was seen over {length}{exited}"),
        1 => format!("{name}: {} over {length}{exited}", parts(sum)),
        _ => {
            let cpu = seconds(sum.on_cpu);
            format!(
                "{name}: {cpu} of CPU in {threads} threads over {length}, whose time was {}{exited}",
                parts(sum)
            )
        }
    }
}

/// Shares of the time that was watched, the largest first, none that rounds to nothing.
fn parts(sum: &Shares) -> String {
    let mut parts = vec![
        (sum.on_cpu, "on CPU".to_owned()),
        (sum.run_queue, RUN_QUEUE.to_owned()),
    ];
    let idle = longest_first(&sum.idle);
    if let Some((first, _)) = idle.first() {
        let more = if idle.len() > 1 { " and others" } else { "" };
        let inferred = if sum.inferred {
            " (partly inferred)"
        } else {
            ""
        };
        parts.push((
            sum.idle_total(),
            format!("idle in {}{more}{inferred}", first.label()),
        ));
    }
    let blocked = longest_first(&sum.blocked);
    parts.extend(
        blocked
            .into_iter()
            .map(|(reason, time)| (time, reason.label().to_owned())),
    );
    parts.push((sum.unaccounted(), "not accounted for".to_owned()));
    parts.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
    let visible = |time: &Duration| time.as_secs_f64() >= sum.observed.as_secs_f64() * 0.0005;
    let words: Vec<_> = parts
        .iter()
        .filter(|(time, _)| !time.is_zero() && visible(time))
        .take(SHARES)
        .map(|(time, what)| format!("{} {what}", share(*time, sum.observed)))
        .collect();
    if words.is_empty() {
        "no time was observed".to_owned()
    } else {
        words.join(", ")
    }
}
