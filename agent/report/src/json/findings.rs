//! `verdict` and `findings`: what the analyzers say.

use super::subjects::{self, About};
use crate::totals::watched;
use remora_model::display::{exit_note, label, skipped, unanswered};
use remora_model::{Fact, Finding, Incident, Judgement, Notice, Report, Verdict};
use serde::Serialize;

/// A finding.
#[derive(Serialize)]
pub struct Entry<'a> {
    kind: &'static str,
    severity: &'static str,
    confidence: &'static str,
    pid: u32,
    tid: Option<u32>,
    thread: &'a str,
    since_s: Option<f64>,
    /// `since_s` is a lower bound.
    since_is_lower_bound: bool,
    summary: &'a str,
    evidence: Vec<Line<'a>>,
    next: &'a str,
    /// What it is about.
    about: Vec<About>,
    /// What it is because of.
    because_of: Vec<About>,
    /// Number of its incident, from 0, the worst first.
    incident: usize,
    /// `cause`, or `consequence` of the incident's first finding.
    role: &'static str,
}

/// A line of evidence.
#[derive(Serialize)]
struct Line<'a> {
    what: &'static str,
    /// What people read in place of `what`.
    label: &'static str,
    value: &'a str,
}

/// Something that may be wrong.
#[derive(Serialize)]
pub struct NoticeEntry<'a> {
    kind: &'static str,
    /// `notice`.
    severity: &'static str,
    pid: u32,
    tid: Option<u32>,
    thread: &'a str,
    since_s: Option<f64>,
    /// `since_s` is a lower bound.
    since_is_lower_bound: bool,
    summary: &'a str,
    evidence: Vec<Line<'a>>,
    next: &'a str,
}

/// What could not be judged.
#[derive(Serialize)]
pub struct NotJudged {
    kind: &'static str,
    why: String,
    /// Share that was not judged of what there was; left out where that is no figure.
    #[serde(skip_serializing_if = "Option::is_none")]
    share_pct: Option<f64>,
}

/// The verdict in a word; `unjudged` before anybody looked.
pub fn verdict(report: &Report) -> &'static str {
    report
        .judgement
        .as_ref()
        .map_or("unjudged", |judgement| judgement.verdict.name())
}

/// The verdict in a sentence, with what was not there in time.
pub fn note(report: &Report) -> String {
    let note = of_judgement(report);
    let judgement = report.judgement.as_ref();
    let large = judgement.and_then(Judgement::largest_limit);
    let large = large.map(|limit| format!("not judged: {}", limit.why));
    let missing = unanswered::note(&report.capture);
    let parts = [Some(note), missing, large];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn of_judgement(report: &Report) -> String {
    match &report.judgement {
        None => "no analyzer looked at this capture".to_owned(),
        Some(Judgement {
            verdict: Verdict::Sick(_),
            incidents,
            ..
        }) => incidents
            .first()
            .map(|worst| worst.cause.summary.clone())
            .unwrap_or_default(),
        Some(judgement) if judgement.verdict == Verdict::Unclear => {
            let first = judgement.notices.first();
            first
                .map(|notice| notice.summary.clone())
                .unwrap_or_default()
        }
        Some(judgement) => {
            let capture = &report.capture;
            let notes = exit_note::notes(capture).into_iter();
            let notes = notes.map(|note| format!("; {note}"));
            let said = label::no_problem(capture, judgement.verdict);
            let (_, said) = said.split_once("  ").unwrap_or(("", &said));
            format!(
                "{said}; watched {}{}",
                watched(capture),
                notes.collect::<String>()
            )
        }
    }
}

/// The findings, incident by incident.
pub fn findings(report: &Report) -> Vec<Entry<'_>> {
    let incidents = report
        .judgement
        .iter()
        .flat_map(|judgement| &judgement.incidents);
    incidents
        .enumerate()
        .flat_map(|(number, incident)| entries(number, incident))
        .collect()
}

fn entries(number: usize, incident: &Incident) -> impl Iterator<Item = Entry<'_>> {
    let all = incident.findings().enumerate();
    all.map(move |(index, finding)| entry(finding, number, index == 0))
}

fn entry(finding: &Finding, incident: usize, is_cause: bool) -> Entry<'_> {
    Entry {
        kind: finding.kind.name(),
        severity: finding.severity.name(),
        confidence: finding.confidence.name(),
        pid: finding.pid,
        tid: finding.tid,
        thread: &finding.thread,
        since_s: finding.since.map(|since| since.as_secs_f64()),
        since_is_lower_bound: finding.since_at_least,
        summary: &finding.summary,
        evidence: finding.evidence.iter().map(line).collect(),
        next: &finding.next,
        about: subjects::list(&finding.about),
        because_of: subjects::list(&finding.because_of),
        incident,
        role: if is_cause { "cause" } else { "consequence" },
    }
}

fn line(fact: &Fact) -> Line<'_> {
    Line {
        what: fact.what.key(),
        label: fact.what.label(),
        value: &fact.value,
    }
}

/// What may be wrong.
pub fn notices(report: &Report) -> Vec<NoticeEntry<'_>> {
    let notices = report.judgement.iter().flat_map(|it| &it.notices);
    notices.map(notice).collect()
}

fn notice(notice: &Notice) -> NoticeEntry<'_> {
    NoticeEntry {
        kind: notice.kind.name(),
        severity: "notice",
        pid: notice.pid,
        tid: notice.tid,
        thread: &notice.thread,
        since_s: notice.since.map(|since| since.as_secs_f64()),
        since_is_lower_bound: notice.since_at_least,
        summary: &notice.summary,
        evidence: notice.evidence.iter().map(line).collect(),
        next: &notice.next,
    }
}

/// What the threads wait for that have not moved for longest.
pub fn longest_waits(report: &Report) -> &[String] {
    report.judgement.as_ref().map_or(&[], |it| &it.longest)
}

/// What could not be judged, and why.
pub fn not_judged(report: &Report) -> Vec<NotJudged> {
    let judgement = report.judgement.iter();
    let missing = judgement.clone().flat_map(|judgement| &judgement.skipped);
    let missing = missing.map(|skipped| NotJudged {
        kind: skipped.kind.name(),
        why: skipped::why(&skipped.why),
        share_pct: None,
    });
    let limits = judgement.flat_map(|judgement| &judgement.limits);
    let limits = limits.map(|limit| NotJudged {
        kind: limit.of.name(),
        why: limit.why.clone(),
        share_pct: limit.share.map(|share| share * 100.0),
    });
    missing.chain(limits).collect()
}
