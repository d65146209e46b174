//! The verdict in words: what is wrong, since when, who, why, the evidence, and what to do next; under each
//! cause its consequences. Then what was looked at, what was lost and what it cost, in one line.

use super::{HEADING, Look, MIN_WIDTH, Page, QUIET, WARNING, sentence};
use crate::model::{Capture, Confidence, Finding, Incident, Judgement, Report, SignalId, Verdict};
use crate::report::shares::Shares;
use crate::report::text::{clean, count, duration};
use crate::report::totals::watched;
use crate::words::{fate::fates, skipped, unanswered};
use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthStr;

const CRITICAL: Style = AnsiColor::Red.on_default().bold();
const WELL: Style = AnsiColor::Green.on_default().bold();

/// Consequences that are shown with their evidence; of the others the sentence stands.
const IN_FULL: usize = 3;

/// The column in which the values of evidence begin.
const VALUES: usize = 11;

/// What `triage` prints.
pub fn verdict(report: &Report, look: Look) -> String {
    let look = Look {
        width: look.width.max(MIN_WIDTH),
        ..look
    };
    let mut page = Page {
        look,
        text: String::new(),
    };
    write(&mut page, report);
    sum(&mut page, report);
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
    if judgement.incidents.is_empty() {
        well(page, &report.capture, judgement);
    }
}

fn well(page: &mut Page, capture: &Capture, judgement: &Judgement) {
    let word = match judgement.verdict {
        Verdict::Idle => "IDLE",
        _ => "HEALTHY",
    };
    match unanswered::note(capture) {
        None => page.line(
            WELL,
            &format!("{word}  nothing is wrong with what was looked at"),
        ),
        Some(missing) => page.paragraph(WARNING, &format!("{word} AS FAR AS SEEN  {missing}")),
    }
    sentence::write(page, capture, &Shares::of_threads(capture));
}

fn show(page: &mut Page, incident: &Incident) {
    headline(page, &incident.cause, "");
    evidence(page, &incident.cause, "  ");
    for (index, finding) in incident.consequences.iter().enumerate() {
        headline(page, finding, "  so ");
        if index < IN_FULL {
            evidence(page, finding, "     ");
        }
    }
}

fn headline(page: &mut Page, finding: &Finding, indent: &str) {
    let style = match finding.severity {
        crate::model::Severity::Critical => CRITICAL,
        crate::model::Severity::Warning => WARNING,
    };
    let kind = finding.kind.name().replace('_', " ").to_uppercase();
    let line = format!("{indent}{kind}  {}", clean(&finding.summary));
    let confidence = match finding.confidence {
        Confidence::Certain => "certain",
        Confidence::Inferred => "inferred",
    };
    let room = page.look.width.saturating_sub(confidence.len() + 2);
    if line.width() <= room {
        let pad = room - line.width() + 2;
        page.uncut(style, &format!("{line}{:pad$}{confidence}", ""));
    } else {
        page.paragraph(style, &format!("{line} ({confidence})"));
    }
}

fn evidence(page: &mut Page, finding: &Finding, indent: &str) {
    let facts = finding
        .evidence
        .iter()
        .map(|fact| (fact.what.key(), fact.value.as_str()));
    let next = (!finding.next.is_empty()).then_some(("next", finding.next.as_str()));
    for (what, value) in facts.chain(next) {
        let style = if what == "next" {
            HEADING
        } else {
            Style::new()
        };
        let head = format!("{indent}{what:<8}");
        let gap = " ".repeat(VALUES.saturating_sub(head.width()).max(1));
        hanging(page, style, &format!("{head}{gap}"), &clean(value));
    }
}

/// Text behind a head, broken at blanks, later lines under the first word of the text.
fn hanging(page: &mut Page, style: Style, head: &str, text: &str) {
    let indent = " ".repeat(head.width());
    let mut line = head.to_owned();
    let mut is_empty = true;
    for word in text.split(' ') {
        if !is_empty && line.width() + 1 + word.width() > page.look.width {
            page.uncut(style, &line);
            line.clone_from(&indent);
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    page.uncut(style, &line);
}

/// Targets whose place in the process tree is shown.
const TREES: usize = 4;
/// Children that are named.
const CHILDREN: usize = 4;

/// Who started whom: `systemd (1) > pikerd (4690) > feedd (4711), 2 h 3 min old > 2 children: …`.
fn tree(page: &mut Page, capture: &Capture) {
    for kin in capture.families.iter().take(TREES) {
        let Some(process) = capture
            .processes
            .iter()
            .find(|process| process.pid == kin.pid)
        else {
            continue;
        };
        let name = |comm: &str, pid: u32| format!("{} ({pid})", clean(comm));
        let ancestors = kin.ancestors.iter().rev();
        let mut line: Vec<_> = ancestors.map(|one| name(&one.comm, one.pid)).collect();
        let own = name(&process.comm, kin.pid);
        let age =
            |at_start: std::time::Duration| duration(at_start.saturating_add(capture.duration));
        line.push(format!("{own}, {} old", age(kin.age)));
        let all = kin.children.len() + kin.children_left_out;
        if all > 0 {
            let named = kin.children.iter().take(CHILDREN);
            let named: Vec<_> = named
                .map(|one| format!("{}, {} old", name(&one.comm, one.pid), age(one.age)))
                .collect();
            let more = if all > named.len() { "; …" } else { "" };
            let children = if all == 1 { "child" } else { "children" };
            line.push(format!("{all} {children}: {}{more}", named.join("; ")));
        }
        hanging(page, QUIET, "tree       ", &line.join(" > "));
    }
}

/// How many connections to other hosts each target has: with none, no network is to blame.
fn connections(page: &mut Page, capture: &Capture) {
    let seen = capture.signals.iter().any(|signal| {
        signal.id == SignalId::Sockets && !matches!(signal.state, crate::model::HookState::Off(_))
    });
    for process in capture.processes.iter().filter(|_| seen).take(TREES) {
        let own = capture.sockets.iter().filter(|it| it.pid == process.pid);
        let external = own.filter(|socket| socket.is_external());
        let (mut all, mut left) = (0, 0);
        for socket in external {
            all += 1;
            left += u64::from(socket.state == crate::model::SocketState::CloseWait);
        }
        let what = match (all, left) {
            (0, _) => "no external connection at all".to_owned(),
            (1, 0) => "1 external connection".to_owned(),
            (all, 0) => format!("{} external connections", count(all)),
            (all, left) => format!(
                "{} external connection(s), {} of them closed by the peer",
                count(all),
                count(left)
            ),
        };
        let line = format!("{} ({}) has {what}", clean(&process.comm), process.pid);
        hanging(page, QUIET, "network    ", &line);
    }
}

/// What was looked at, lost and spent.
fn sum(page: &mut Page, report: &Report) {
    let capture = &report.capture;
    let lost: u64 = capture.losses.non_zero().map(|(_, lost)| lost).sum();
    let lost = match lost {
        0 => "nothing lost".to_owned(),
        _ => {
            let names: Vec<_> = capture
                .losses
                .non_zero()
                .map(|(loss, lost)| format!("{} {}", loss.key(), count(lost)))
                .collect();
            format!("lost: {}", names.join(", "))
        }
    };
    let cost = capture.overhead.bpf_cpu_pct + capture.overhead.agent_cpu_pct;
    page.plain("");
    tree(page, capture);
    connections(page, capture);
    let line = format!(
        "looked at {}; {lost}; cost {cost:.1} % of a core",
        watched(capture)
    );
    page.paragraph(QUIET, &line);
    if let Some(missing) = unanswered::note(capture) {
        page.paragraph(WARNING, &missing);
    }
    for fate in fates(capture) {
        page.paragraph(QUIET, &fate);
    }
    for skipped in report
        .judgement
        .iter()
        .flat_map(|judgement| &judgement.skipped)
    {
        page.paragraph(
            QUIET,
            &format!(
                "not judged: {}: {}",
                skipped.kind.name(),
                skipped::why(&skipped.why)
            ),
        );
    }
}
