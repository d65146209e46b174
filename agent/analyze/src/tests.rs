//! Findings on captures made by hand: grouping and the verdict.

use super::*;
use remora_model::{
    Confidence, Severity, SocketState, Subject, Tcp,
    fixture::{Builder, ms, socket},
};

fn finding(kind: FindingKind, about: &[Subject], because_of: &[Subject]) -> Finding {
    Finding {
        kind,
        severity: Severity::Critical,
        confidence: Confidence::Certain,
        pid: 1,
        tid: None,
        thread: "t".into(),
        since: None,
        since_at_least: false,
        summary: kind.name().into(),
        evidence: Vec::new(),
        next: String::new(),
        about: about.to_vec(),
        because_of: because_of.to_vec(),
    }
}

#[test]
fn a_deadlock_that_stalls_a_loop_that_lets_a_queue_grow_is_one_incident() {
    let (thread, queue) = (Subject::Thread(7), Subject::Socket(9));
    let incidents = incident::group(vec![
        finding(FindingKind::NotConsuming, &[queue], &[thread]),
        finding(FindingKind::LoopBlocked, &[thread], &[Subject::Lock(1, 64)]),
        finding(FindingKind::Deadlock, &[Subject::Lock(1, 64)], &[]),
        finding(FindingKind::FdLeak, &[Subject::Files(1)], &[]),
    ]);
    let kinds: Vec<Vec<_>> = incidents
        .iter()
        .map(|incident| {
            incident
                .findings()
                .map(|finding| finding.kind.name())
                .collect()
        })
        .collect();
    assert_eq!(
        kinds,
        [
            vec!["deadlock", "loop_blocked", "not_consuming"],
            vec!["fd_leak"]
        ]
    );
}

#[test]
fn findings_that_explain_each_other_stay_one_incident_with_the_graver_first() {
    let (a, b) = (Subject::Thread(1), Subject::Thread(2));
    let incidents = incident::group(vec![
        finding(FindingKind::Starved, &[b], &[a]),
        finding(FindingKind::LoopBlocked, &[a], &[b]),
    ]);
    assert_eq!(incidents.len(), 1);
    assert_eq!(incidents[0].consequences.len(), 1);
}

#[test]
fn what_is_said_twice_is_said_once() {
    let about = [Subject::Socket(3)];
    let twice = vec![finding(FindingKind::CloseWait, &about, &[]); 2];
    assert_eq!(incident::group(twice).len(), 1);
}

#[test]
fn a_capture_without_anything_wrong_is_idle_or_healthy() {
    let mut builder = Builder::new(1, "quiet");
    let thresholds = Thresholds::default();
    assert_eq!(judge(&builder.0, &thresholds).verdict, Verdict::Idle);
    builder.samples(0, &["main", "work"], 990);
    assert_eq!(
        judge(&builder.finish(), &thresholds).verdict,
        Verdict::Healthy
    );
}

#[test]
fn a_connection_that_its_peer_closed_is_left_only_after_a_while() {
    for (silence, found) in [(ms(200), false), (ms(60_000), true)] {
        let mut builder = Builder::new(1, "leaky");
        let mut left = socket(1, 7);
        left.state = SocketState::CloseWait;
        left.tcp = Some(Tcp {
            silence,
            ..Tcp::default()
        });
        builder.0.sockets.push(left);
        let judgement = judge(&builder.finish(), &Thresholds::default());
        let kinds: Vec<_> = judgement.findings().map(|finding| finding.kind).collect();
        assert_eq!(kinds == [FindingKind::CloseWait], found, "{silence:?}");
    }
}

#[test]
fn of_connections_that_a_peer_closed_each_has_its_age_and_a_fin_is_no_unread_byte() {
    let mut builder = Builder::new(1, "leaky");
    for (fd, seconds, queue) in [(7, 60, 1), (8, 20, 11)] {
        let mut left = socket(1, fd);
        left.state = SocketState::CloseWait;
        left.receive.last = queue;
        left.tcp = Some(Tcp {
            silence: ms(1000 * seconds),
            ..Tcp::default()
        });
        builder.0.sockets.push(left);
    }
    let judgement = judge(&builder.finish(), &Thresholds::default());
    let finding = judgement.findings().next().expect("a finding");
    let lines: Vec<&str> = finding
        .evidence
        .iter()
        .map(|it| it.value.as_str())
        .collect();
    assert!(finding.summary.contains("oldest"), "{}", finding.summary);
    assert!(
        lines[0].contains("60.0 s") && !lines[0].contains("unread"),
        "{lines:?}"
    );
    assert!(
        lines[1].contains("20.0 s") && lines[1].contains("10 bytes unread"),
        "{lines:?}"
    );
}
