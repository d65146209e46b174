//! `deadlock`: a cycle in the wait-for graph that stays.
//!
//! Threads that wait for each other's locks are normal for microseconds, and while a lock is passed on two of
//! them may look as if they did. What tells a deadlock apart: each on the cycle has slept without a break for the
//! threshold, and nobody outside of the cycle can help. Two processes at rest that each wait for a word of the
//! other are told apart by their other threads: see [`graph`](super::graph).

mod advice;

use super::{
    Findings, Scene,
    graph::{self, Cycle, Graph, Node, Wait},
    words::{self, Headline},
};
use remora_model::display::text::count;
use remora_model::{Confidence, Fact, Finding, FindingKind, Process, Severity, Subject, Topic};
use std::time::Duration;

/// Members of a cycle that are shown one by one.
const SHOWN: usize = 8;

pub(crate) fn analyze(scene: &Scene<'_>, findings: &mut Findings) {
    let graph = Graph::of(scene);
    for mut cycle in graph.cycles() {
        // A target stands first, not a process that is only looked at because of one.
        let is_target = |node: &Node| {
            scene
                .process(graph.pid(*node))
                .is_none_or(Process::is_target)
        };
        let first = cycle.nodes.iter().position(is_target);
        cycle.nodes.rotate_left(first.unwrap_or(0));
        let waits: Vec<(Node, &Wait)> = cycle
            .nodes
            .iter()
            .filter_map(|node| Some((*node, graph.wait(*node)?)))
            .collect();
        if let Some(finding) = finding(scene, &graph, &cycle, &waits) {
            findings.push(finding);
        }
    }
}

fn finding(
    scene: &Scene<'_>,
    graph: &Graph<'_>,
    cycle: &Cycle,
    waits: &[(Node, &Wait)],
) -> Option<Finding> {
    let (first, _) = waits.first()?;
    let mut finding = match graph.thread(*first) {
        Some(thread) => scene.about_thread(FindingKind::Deadlock, Severity::Critical, thread),
        None => scene.about_process(FindingKind::Deadlock, Severity::Critical, graph.pid(*first)),
    };
    // The cycle stands since the last of them began to wait.
    let (_, youngest) = waits.iter().min_by_key(|(_, wait)| wait.since)?;
    finding.since = Some(youngest.since);
    finding.since_at_least = youngest.at_least;
    if waits.iter().any(|(_, wait)| !wait.certain) {
        finding.confidence = Confidence::Inferred;
    }
    finding.summary = summary(scene, graph, waits, youngest.since, youngest.at_least);
    for (node, wait) in waits.iter().take(SHOWN) {
        finding.evidence.extend(member(graph, *node, wait));
    }
    if waits.len() > SHOWN {
        let more = count((waits.len() - SHOWN) as u64);
        finding = finding.fact(Topic::Waits, format!("and {more} more"));
    }
    let clues = graph::clues(waits.iter().filter_map(|(_, wait)| wait.how));
    finding.evidence.extend(clues);
    if let Some(limit) = waits.iter().find(|(_, wait)| wait.timed) {
        let who = graph.name(limit.0);
        finding = finding.fact(
            Topic::Timeout,
            format!("{who} waits with a timeout, this may resolve itself"),
        );
    }
    if !cycle.behind.is_empty() {
        let mut names: Vec<String> = cycle.behind.iter().map(|it| graph.name(*it)).collect();
        let number = count(names.len() as u64);
        names.truncate(5);
        let names = names.join(", ");
        finding = finding.fact(Topic::Blocked, format!("{number} more: {names}"));
    }
    let of = names(scene, graph, waits, " or ");
    finding.next = format!("Restart {of} to recover.{}", advice::of(graph, waits));
    finding.about = about(graph, cycle, waits);
    Some(finding)
}

/// Who waits for what of whom, and where.
fn member(graph: &Graph<'_>, node: Node, wait: &Wait) -> Vec<Fact> {
    let mut facts = vec![Fact {
        what: Topic::Waits,
        value: graph.step_words(node, wait),
    }];
    let code = graph
        .code(node)
        .map(|code| format!("{}: {code}", graph.name(node)));
    facts.extend(code.map(|value| Fact {
        what: Topic::Where,
        value,
    }));
    facts.extend(graph.kept(wait).map(|value| Fact {
        what: Topic::Holder,
        value,
    }));
    facts
}

fn summary(
    scene: &Scene<'_>,
    graph: &Graph<'_>,
    waits: &[(Node, &Wait)],
    since: Duration,
    at_least: bool,
) -> String {
    let since = words::since(since, at_least);
    let kind = match waits.first() {
        Some((Node::Thread(_), _)) => "threads",
        _ => "tasks",
    };
    let of = names(scene, graph, waits, " and ");
    let (who, what) = match waits {
        [(node, _)] => (
            graph.name(*node),
            format!("deadlocked on itself for {since}"),
        ),
        _ => (
            format!("{} {kind}", waits.len()),
            format!("deadlocked for {since}"),
        ),
    };
    let headline = Headline {
        who: &who,
        of: &of,
        what: &what,
        ..Headline::default()
    };
    headline.fitted()
}

/// The processes of a cycle: `feedd (4711) and piker (4712)`.
fn names(scene: &Scene<'_>, graph: &Graph<'_>, waits: &[(Node, &Wait)], between: &str) -> String {
    let mut pids: Vec<u32> = waits.iter().map(|(node, _)| graph.pid(*node)).collect();
    pids.sort_unstable();
    pids.dedup();
    let names = pids.iter().map(|pid| scene.process_name(*pid));
    names.collect::<Vec<_>>().join(between)
}

/// Every node and every thing on the cycle, and the nodes that are stuck behind it.
fn about(graph: &Graph<'_>, cycle: &Cycle, waits: &[(Node, &Wait)]) -> Vec<Subject> {
    let nodes = cycle.nodes.iter().chain(&cycle.behind);
    let mut about: Vec<Subject> = nodes.map(|node| graph.subject(*node)).collect();
    about.extend(waits.iter().filter_map(|(_, wait)| wait.subject));
    about
}
