//! The verdict: the kind of the worst finding, one sentence, why and where, what to do; under it what follows
//! from it. Then who was watched, for how long, what was lost and what it cost.
//!
//! Each line has a label in a column of its own; a label that repeats the one above it is left out.

use super::{HEADING, MIN_WIDTH, Page, QUIET, RenderOptions, WARNING, sentence};
use crate::text::{clean, counted, duration, seconds};
use crate::totals::{overhead, watched};
use anstyle::{AnsiColor, Style};
use remora_model::display::{exit_note, label, skipped, unanswered};
use remora_model::{
    Capture, Finding, HookState, Incident, JudgeLimit, Judgement, LimitOf, Notice, Report,
    Severity, SignalId, SocketState, Topic, Verdict,
};
use unicode_width::UnicodeWidthStr;

const CRITICAL: Style = AnsiColor::Red.on_default().bold();
const WELL: Style = AnsiColor::Green.on_default().bold();

/// Effects that get a line.
const EFFECTS: usize = 5;

/// Queues that are shown of an effect.
const QUEUES: usize = 3;

/// Columns of a label with what stands before it.
const LABEL: usize = 11;

/// What `triage` prints.
pub fn verdict(report: &Report, options: RenderOptions) -> String {
    let options = RenderOptions {
        width: options.width.max(MIN_WIDTH),
        ..options
    };
    let mut page = Page {
        options,
        text: String::new(),
    };
    write(&mut page, report);
    closing(&mut page, report);
    page.text
}

/// The findings, or that there are none.
pub(super) fn write(page: &mut Page, report: &Report) {
    let Some(judgement) = &report.judgement else {
        return;
    };
    for (index, incident) in judgement.incidents.iter().enumerate() {
        if index > 0 {
            page.plain("");
        }
        show(page, incident);
    }
    if judgement.incidents.is_empty() && judgement.notices.is_empty() {
        well(page, &report.capture, judgement);
    }
    for (index, notice) in judgement.notices.iter().enumerate() {
        if index > 0 || !judgement.incidents.is_empty() {
            page.plain("");
        }
        unclear(
            page,
            notice,
            judgement.verdict == Verdict::Unclear && index == 0,
        );
    }
}

fn well(page: &mut Page, capture: &Capture, judgement: &Judgement) {
    let large = judgement.largest_limit();
    let large = large.map(|limit| format!("not judged: {}", limit.why));
    match unanswered::note(capture).or(large) {
        None => {
            let mut text = label::no_problem(capture, judgement.verdict);
            let children = |limit: &JudgeLimit| limit.of == LimitOf::Children;
            if judgement.limits.iter().any(children) {
                text.push_str("; its children were not judged");
                text.push_str(&try_these(capture));
            }
            page.hanging(WELL, "", &text);
        }
        Some(missing) => {
            let word = judgement.verdict.name().to_uppercase();
            page.hanging(WARNING, "", &format!("{word} AS FAR AS SEEN  {missing}"));
        }
    }
    sentence::load(page, capture);
    sentence::loops(page, capture);
    if judgement.verdict == Verdict::Idle {
        let mut lines = Lines::default();
        for wait in &judgement.longest {
            lines.row(page, Style::new(), "longest", wait);
        }
    }
}

/// `: --pid 7,8,9`, children that were not judged.
fn try_these(capture: &Capture) -> String {
    let is_target = |pid: u32| {
        let mut all = capture.processes.iter();
        all.any(|process| process.pid == pid && process.is_target())
    };
    let children = capture.families.iter().flat_map(|family| &family.children);
    let unseen = children.filter(|child| !is_target(child.pid));
    let pids: Vec<String> = unseen
        .take(CHILDREN)
        .map(|child| child.pid.to_string())
        .collect();
    match pids.is_empty() {
        true => String::new(),
        false => format!(": --pid {}", pids.join(",")),
    }
}

/// `judged with it: 3 processes started by sh (7), which has no work of its own`.
fn followed(capture: &Capture) -> Vec<String> {
    let mut parents: Vec<(u32, u64)> = Vec::new();
    for parent in capture.processes.iter().filter_map(|it| it.followed) {
        match parents.iter_mut().find(|(pid, _)| *pid == parent) {
            Some((_, number)) => *number += 1,
            None => parents.push((parent, 1)),
        }
    }
    let line = |(pid, number): &(u32, u64)| {
        let parent = capture.processes.iter().find(|it| it.pid == *pid);
        let name = parent.map_or("", |it| it.comm.as_str());
        let children = if *number == 1 { "child" } else { "children" };
        format!(
            "{} ({pid}) has no work of its own: its {number} {children} judged too",
            clean(name)
        )
    };
    parents.iter().take(TREES).map(line).collect()
}

/// What may be wrong; the first of them is the verdict where nothing is known to be.
fn unclear(page: &mut Page, notice: &Notice, is_verdict: bool) {
    let kind = match is_verdict {
        true => "UNCLEAR".to_owned(),
        false => format!(
            "{} (notice)",
            notice.kind.name().replace('_', " ").to_uppercase()
        ),
    };
    page.line(WARNING, &kind);
    page.hanging(HEADING, "  ", &clean(&notice.summary));
    let mut lines = Lines::default();
    for fact in &notice.evidence {
        lines.row(page, Style::new(), fact.what.label(), &fact.value);
    }
    if !notice.next.is_empty() {
        lines.row(page, Style::new(), "next", &notice.next);
    }
}

/// `LOOP BLOCKED (critical, certain)`.
fn kind(finding: &Finding) -> String {
    format!(
        "{} ({}, {})",
        finding.kind.name().replace('_', " ").to_uppercase(),
        finding.severity.name(),
        finding.confidence.name()
    )
}

const fn style(finding: &Finding) -> Style {
    match finding.severity {
        Severity::Critical => CRITICAL,
        Severity::Warning => WARNING,
    }
}

fn show(page: &mut Page, incident: &Incident) {
    let cause = &incident.cause;
    page.line(style(cause), &kind(cause));
    page.hanging(HEADING, "  ", &clean(&cause.summary));
    let mut lines = Lines::default();
    for fact in order(cause) {
        lines.row(page, Style::new(), fact.0, fact.1);
    }
    for finding in incident.consequences.iter().take(EFFECTS) {
        effect(page, &mut lines, finding);
    }
    let more = incident.consequences.len().saturating_sub(EFFECTS);
    if more > 0 {
        let text = format!("and {more} more");
        lines.row(page, Style::new(), "effect", &text);
    }
}

/// What a finding says below its sentence: why, where, what to do, then the details.
fn order(finding: &Finding) -> Vec<(&str, &str)> {
    let of = |wanted: fn(Topic) -> bool| {
        let facts = finding.evidence.iter();
        let facts = facts.filter(move |fact| wanted(fact.what));
        facts.map(|fact| (fact.what.label(), fact.value.as_str()))
    };
    let why = of(|topic| matches!(topic, Topic::Waits | Topic::Reason));
    let place = of(|topic| topic == Topic::Where);
    let rest = of(|topic| !matches!(topic, Topic::Waits | Topic::Reason | Topic::Where));
    let next = (!finding.next.is_empty()).then_some(("next", finding.next.as_str()));
    why.chain(place).chain(next).chain(rest).collect()
}

/// A consequence: its sentence, and the queues that it is about. What holds it up, and what to do, is the
/// cause's.
fn effect(page: &mut Page, lines: &mut Lines, finding: &Finding) {
    let text = format!("{}: {}", kind(finding), finding.summary);
    lines.again();
    lines.row(page, style(finding), "effect", &text);
    let queues = finding.evidence.iter();
    let queues = queues.filter(|fact| fact.what == Topic::Queue);
    for queue in queues.take(QUEUES) {
        let head = " ".repeat(LABEL + 2);
        page.hanging(Style::new(), &head, &clean(&queue.value));
    }
}

/// Labelled lines.
#[derive(Default)]
pub(super) struct Lines {
    last: String,
}

impl Lines {
    /// A line behind its label, broken at blanks; later lines stand under the first word.
    pub(super) fn row(&mut self, page: &mut Page, style: Style, label: &str, text: &str) {
        let shown = if self.last == label { "" } else { label };
        let style = if label == "next" { HEADING } else { style };
        let gap = LABEL.saturating_sub(2 + shown.width()).max(1);
        let head = format!("  {shown}{:gap$}", "");
        page.hanging(style, &head, &clean(text));
        label.clone_into(&mut self.last);
    }

    /// The next label is shown in any case.
    fn again(&mut self) {
        self.last.clear();
    }
}

/// Targets whose place in the process tree is shown.
const TREES: usize = 4;
/// Children that are named.
const CHILDREN: usize = 4;

/// Who started whom: `systemd (1) > feedd (4711), age 2 h 3 min; no external connection`.
fn processes(page: &mut Page, lines: &mut Lines, capture: &Capture) {
    for tree in capture.families.iter().take(TREES) {
        let process = capture.processes.iter().find(|it| it.pid == tree.pid);
        let Some(process) = process.filter(|process| process.is_target()) else {
            continue;
        };
        let name = |comm: &str, pid: u32| format!("{} ({pid})", clean(comm));
        // Ages were read at the start; everything else on the page is as of the end.
        let age = |start: std::time::Duration| duration(start.saturating_add(capture.duration));
        let ancestors = tree.ancestors.iter().rev();
        let mut line: Vec<_> = ancestors.map(|one| name(&one.comm, one.pid)).collect();
        let own = name(&process.comm, tree.pid);
        line.push(format!("{own}, age {}", age(tree.age)));
        let all = tree.children.len() + tree.children_left_out;
        if all > 0 {
            let named = tree.children.iter().take(CHILDREN);
            let mut named: Vec<_> = named
                .map(|one| format!("{}, age {}", name(&one.comm, one.pid), age(one.age)))
                .collect();
            if all > named.len() {
                named.push(format!("and {} more", all - named.len()));
            }
            let children = if all == 1 { "child" } else { "children" };
            line.push(format!("{all} {children}: {}", named.join("; ")));
        }
        let mut text = line.join(" > ");
        if let Some(external) = external(capture, tree.pid) {
            text.push_str(&format!("; {external}"));
        }
        lines.row(page, QUIET, "process", &text);
    }
}

/// How many connections to other hosts a process has: with none, no network is at fault.
fn external(capture: &Capture, pid: u32) -> Option<String> {
    let is_seen = |signal: &remora_model::Signal| {
        signal.id == SignalId::Sockets && !matches!(signal.state, HookState::Off(_))
    };
    if !capture.signals.iter().any(is_seen) {
        return None;
    }
    let own = capture.sockets.iter().filter(|it| it.pid == pid);
    let (mut all, mut left) = (0, 0);
    for socket in own.filter(|socket| socket.is_external()) {
        all += 1;
        left += u64::from(socket.state == SocketState::CloseWait);
    }
    Some(match (all, left) {
        (0, _) => "no external connection".to_owned(),
        (all, 0) => counted(all, "external connection"),
        (all, left) => format!(
            "{}, {left} in CLOSE-WAIT",
            counted(all, "external connection")
        ),
    })
}

/// Who was watched, what was lost, what it cost, and what was not looked for.
fn closing(page: &mut Page, report: &Report) {
    let capture = &report.capture;
    let mut lines = Lines::default();
    let found = matches!(&report.judgement, Some(it) if matches!(it.verdict, Verdict::Sick(_)));
    if found {
        page.plain("");
        processes(page, &mut lines, capture);
    }
    let lost: Vec<String> = capture.losses.non_zero().map(label::loss).collect();
    let no_loss = if lost.is_empty() {
        "; no data lost"
    } else {
        ""
    };
    let text = format!(
        "{}: {}{no_loss}; overhead {}",
        seconds(capture.duration),
        watched(capture),
        overhead(capture)
    );
    lines.row(page, QUIET, "watched", &text);
    if !lost.is_empty() {
        lines.row(page, WARNING, "lost", &lost.join(", "));
    }
    if let Some(missing) = unanswered::note(capture) {
        lines.row(page, WARNING, "missing", &missing);
    }
    if let Some(why) = capture.sampling.why() {
        lines.row(page, QUIET, "note", &why);
    }
    for note in followed(capture) {
        lines.row(page, QUIET, "note", &note);
    }
    for note in exit_note::notes(capture) {
        lines.row(page, QUIET, "note", &note);
    }
    for limit in report.judgement.iter().flat_map(|it| &it.limits) {
        lines.row(page, WARNING, "unchecked", &limit.why);
    }
    let skipped = report.judgement.iter().flat_map(|it| &it.skipped);
    let skipped: Vec<_> = skipped.map(skipped::short).collect();
    if !found && !skipped.is_empty() {
        lines.row(page, QUIET, "skipped", &skipped.join(", "));
    }
}

#[cfg(test)]
mod tests;
