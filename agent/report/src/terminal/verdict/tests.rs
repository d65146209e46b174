//! The verdict's lines, on captures and findings made by hand.

use super::*;
use remora_model::fixture::{Builder, ms};
use remora_model::{
    AgentLoss, Confidence, FindingKind, Process, ProcessTree, Relative, SkipReason, Skipped,
};

fn finding(kind: FindingKind, summary: &str) -> Finding {
    Finding {
        kind,
        severity: Severity::Critical,
        confidence: Confidence::Certain,
        pid: 1,
        tid: None,
        thread: "feedd".into(),
        since: None,
        since_at_least: false,
        summary: summary.into(),
        evidence: Vec::new(),
        next: String::new(),
        about: Vec::new(),
        because_of: Vec::new(),
    }
}

fn judgement(incidents: Vec<Incident>) -> Judgement {
    let needed = ms(30_000);
    let captured = ms(3_000);
    Judgement {
        notices: Vec::new(),
        longest: Vec::new(),
        limits: Vec::new(),
        verdict: match incidents.first() {
            Some(worst) => Verdict::Sick(worst.cause.kind),
            None => Verdict::Healthy,
        },
        incidents,
        skipped: vec![Skipped {
            kind: FindingKind::MemoryLeak,
            why: SkipReason::TooShort { captured, needed },
        }],
        memory_trends: Vec::new(),
    }
}

fn page(capture: Capture, incidents: Vec<Incident>) -> String {
    let report = Report::new(capture, judgement(incidents));
    let options = RenderOptions {
        width: 80,
        ..RenderOptions::default()
    };
    verdict(&report, options)
}

fn related() -> Capture {
    let mut builder = Builder::new(1, "feedd");
    builder.0.families.push(ProcessTree {
        pid: 1,
        age: ms(10_000),
        ancestors: vec![Relative {
            pid: 7,
            comm: "systemd".into(),
            age: ms(90_000),
        }],
        children: Vec::new(),
        children_left_out: 0,
    });
    builder.finish()
}

#[test]
fn why_and_where_stand_before_the_next_step_and_a_label_is_not_repeated() {
    let mut cause = finding(FindingKind::Deadlock, "2 threads deadlocked");
    cause.next = "Restart it.".into();
    cause = cause
        .fact(Topic::Where, "one: lock_b (x.c:1)")
        .fact(Topic::Threads, "2 of 9")
        .fact(Topic::Waits, "one waits for b")
        .fact(Topic::Waits, "two waits for a");
    let incident = Incident {
        cause,
        consequences: Vec::new(),
    };
    let page = page(Builder::new(1, "feedd").finish(), vec![incident]);
    let expected = "DEADLOCK (critical, certain)\n  2 threads deadlocked\n  why      one waits for b\n           \
                    two waits for a\n  where    one: lock_b (x.c:1)\n  next     Restart it.\n  \
                    threads  2 of 9\n";
    assert!(page.starts_with(expected), "{page}");
    assert!(!page.contains("skipped"), "{page}");
}

#[test]
fn an_effect_is_a_line_with_its_queues_and_without_its_next_step() {
    let mut effect = finding(
        FindingKind::NotConsuming,
        "no read on 5 sockets for ≥ 19.9 s",
    );
    effect.next = "Unblock the loop.".into();
    for fd in 5..10 {
        effect = effect.fact(Topic::Queue, format!("fd {fd}: 1 byte"));
    }
    let incident = Incident {
        cause: finding(FindingKind::LoopBlocked, "loop blocked"),
        consequences: vec![effect; 7],
    };
    let page = page(Builder::new(1, "feedd").finish(), vec![incident]);
    let head = "  effect   NOT CONSUMING (critical, certain): no read on 5 sockets for ≥ 19.9 s\n";
    assert!(page.contains(head), "{page}");
    assert!(page.contains("\n             fd 7: 1 byte\n"), "{page}");
    assert!(
        !page.contains("fd 8") && !page.contains("Unblock"),
        "{page}"
    );
    assert!(page.contains("and 2 more"), "{page}");
}

#[test]
fn the_age_of_a_process_is_that_at_the_end_and_others_than_targets_have_no_line() {
    let mut capture = related();
    let incident = || Incident {
        cause: finding(FindingKind::LoopBlocked, "loop blocked"),
        consequences: Vec::new(),
    };
    // 10 s at the start of a capture of 30 s.
    let with = page(capture.clone(), vec![incident()]);
    assert!(
        with.contains("  process  systemd (7) > feedd (1), age 40.0 s\n"),
        "{with}"
    );
    assert!(!page(capture.clone(), Vec::new()).contains("process"));
    let process: &mut Process = &mut capture.processes[0];
    process.related = Some("it is waited for".into());
    assert!(!page(capture, vec![incident()]).contains("process"));
}

#[test]
fn losses_have_a_line_of_their_own_and_what_was_skipped_stands_under_a_healthy_verdict() {
    let mut capture = Builder::new(1, "feedd").finish();
    let quiet = page(capture.clone(), Vec::new());
    assert!(
        quiet.starts_with("HEALTHY  no problem found in feedd (1) in 30.0 s\n"),
        "{quiet}"
    );
    assert!(
        quiet.contains("1 thread; no data lost; overhead 0.0 % of one CPU\n"),
        "{quiet}"
    );
    assert!(
        quiet.ends_with("  skipped  memory_leak (needs 30 s)\n"),
        "{quiet}"
    );
    capture.losses.add(AgentLoss::UnsymbolisedFrames, 25);
    capture.losses.add(AgentLoss::LocksLeftOut, 1);
    let lossy = page(capture, Vec::new());
    let line = "  lost     1 lock (locks_left_out), 25 frame names (unsymbolised_frames)\n";
    assert!(
        lossy.contains(line) && !lossy.contains("no data lost"),
        "{lossy}"
    );
}

#[test]
fn an_ascii_locale_reads_signs_in_ascii() {
    let cause = finding(FindingKind::LoopBlocked, "loop blocked for ≥ 5.0 s");
    let incident = Incident {
        cause,
        consequences: Vec::new(),
    };
    let report = Report::new(Builder::new(1, "feedd").finish(), judgement(vec![incident]));
    let options = RenderOptions {
        unicode: false,
        ..RenderOptions::default()
    };
    let page = verdict(&report, options);
    assert!(page.contains("blocked for >= 5.0 s"), "{page}");
    assert!(page.is_ascii(), "{page}");
}

#[test]
fn what_is_not_known_has_a_headline_of_its_own() {
    let notice = Notice {
        kind: remora_model::NoticeKind::UnexplainedWait,
        pid: 1,
        tid: Some(2),
        thread: "loop".into(),
        since: Some(ms(45_000)),
        since_at_least: true,
        summary: "cannot tell whether feedd (1) is healthy: loop-2 blocked for ≥ 45.0 s".into(),
        evidence: vec![remora_model::Fact {
            what: Topic::Unknown,
            value: "who should notify it".into(),
        }],
        next: "Check it.".into(),
    };
    let mut judgement = judgement(Vec::new());
    judgement.verdict = Verdict::Unclear;
    judgement.notices = vec![notice];
    let report = Report::new(related(), judgement);
    let text = verdict(&report, RenderOptions::default());
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "UNCLEAR");
    assert!(
        lines[1].contains("cannot tell whether feedd (1) is healthy"),
        "{text}"
    );
    assert!(lines[2].starts_with("  unknown"), "{text}");
    assert!(lines[3].starts_with("  next"), "{text}");
    assert!(
        !text.contains("HEALTHY") && !text.contains("IDLE"),
        "{text}"
    );
}

#[test]
fn idle_lists_what_has_not_moved_and_children_that_were_not_judged() {
    let mut judgement = judgement(Vec::new());
    judgement.verdict = Verdict::Idle;
    judgement.longest = vec!["feedd-1 waits for a timer for 9.0 s".into()];
    judgement.limits = vec![JudgeLimit {
        of: LimitOf::Children,
        why: "1 child of feedd (1) not judged: worker (7). Add --children.".into(),
        share: None,
    }];
    let report = Report::new(related(), judgement);
    let text = verdict(&report, RenderOptions::default());
    let first = text.lines().next().unwrap_or_default();
    assert!(first.starts_with("IDLE"), "{text}");
    assert!(text.contains("its children were not judged"), "{text}");
    assert!(
        text.contains("longest  feedd-1 waits for a timer"),
        "{text}"
    );
    assert!(text.contains("unchecked 1 child of feedd (1)"), "{text}");
}

#[test]
fn a_large_share_that_was_not_judged_stands_in_the_first_line() {
    let mut judgement = judgement(Vec::new());
    judgement.verdict = Verdict::Healthy;
    judgement.limits = vec![JudgeLimit {
        of: LimitOf::Stacks,
        why: "3 threads of 4 in feedd (1): stack of the wait incomplete".into(),
        share: Some(0.75),
    }];
    let first = |judgement: &Judgement| {
        let report = Report::new(related(), judgement.clone());
        let text = verdict(&report, RenderOptions::default());
        let line = text.lines().next().unwrap_or_default().to_owned();
        (line, crate::json::findings::note(&report))
    };
    let (line, note) = first(&judgement);
    assert!(
        line.starts_with("HEALTHY AS FAR AS SEEN  not judged: 3 threads of 4"),
        "{line}"
    );
    assert!(note.contains("not judged: 3 threads of 4"), "{note}");
    judgement.limits[0].share = Some(0.25);
    let (line, note) = first(&judgement);
    assert!(
        !line.contains("AS FAR AS SEEN") && !note.contains("not judged"),
        "{line}"
    );
}

#[test]
fn children_that_were_followed_are_told() {
    let mut capture = related();
    let mut child = capture.processes[0].clone();
    (child.pid, child.followed) = (77, Some(1));
    capture.processes.push(child);
    let mut judgement = judgement(Vec::new());
    judgement.verdict = Verdict::Idle;
    let report = Report::new(capture, judgement);
    let text = verdict(&report, RenderOptions::default());
    assert!(
        text.contains("feedd (1) has no work of its own: its 1 child judged too"),
        "{text}"
    );
}
