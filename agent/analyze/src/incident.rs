//! From findings to incidents: the cause first, its consequences under it.
//!
//! A finding names what it is about and what it is because of. Where something that it is because of is
//! what another finding is about, that one is its cause. A deadlock that stalls a loop that lets a queue
//! grow is one incident with three facts, not three alerts.

use remora_model::{Finding, Incident};
use std::collections::{BTreeMap, BTreeSet};

/// Groups findings; incidents come the worst first.
pub(crate) fn group(mut findings: Vec<Finding>) -> Vec<Incident> {
    findings.sort_by_cached_key(rank);
    findings.dedup_by(|later, first| is_same(later, first));
    let causes = causes(&findings);
    let mut members: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for index in 0..findings.len() {
        members.entry(root(index, &causes)).or_default().push(index);
    }
    let mut taken: Vec<Option<Finding>> = findings.into_iter().map(Some).collect();
    let mut take = |index: usize| taken.get_mut(index).and_then(Option::take);
    let mut incidents: Vec<Incident> = members
        .into_iter()
        .filter_map(|(cause, members)| {
            Some(Incident {
                cause: take(cause)?,
                consequences: members.into_iter().filter_map(&mut take).collect(),
            })
        })
        .collect();
    incidents.sort_by_cached_key(|incident| rank(&incident.cause));
    incidents
}

/// Severity, then kind, then the longest, then whatever gives an order that stays.
fn rank(finding: &Finding) -> impl Ord + use<> {
    (
        finding.severity,
        finding.kind,
        std::cmp::Reverse(finding.since),
        finding.pid,
        finding.tid,
        finding.summary.clone(),
    )
}

/// The same thing said twice: a process that is looked at from two sides.
fn is_same(a: &Finding, b: &Finding) -> bool {
    a.kind == b.kind && a.about == b.about && a.pid == b.pid && a.tid == b.tid
}

/// For each finding the best-ranked one that explains it; never in a circle.
fn causes(findings: &[Finding]) -> Vec<Option<usize>> {
    let mut about: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (index, finding) in findings.iter().enumerate() {
        for subject in &finding.about {
            about.entry(*subject).or_default().push(index);
        }
    }
    let mut causes: Vec<Option<usize>> = vec![None; findings.len()];
    for (index, finding) in findings.iter().enumerate() {
        let mut candidates = BTreeSet::new();
        for subject in &finding.because_of {
            candidates.extend(about.get(subject).into_iter().flatten().copied());
        }
        causes[index] = candidates
            .into_iter()
            .find(|cause| root(*cause, &causes) != index);
    }
    causes
}

/// The finding at the end of the chain. There are no circles, so it ends.
fn root(mut index: usize, causes: &[Option<usize>]) -> usize {
    while let Some(cause) = causes.get(index).copied().flatten() {
        index = cause;
    }
    index
}
