//! Cycles that stay.
//!
//! A node is stuck when nobody can end its wait but nodes that are stuck themselves. The set of these is found
//! from above: every node that has waited for long enough, less, again and again, each that somebody outside of
//! the set can help. What is left holds at least one cycle; nobody in it will ever move again by itself.
//!
//! A process helps with each of its threads. One that only waits for another thread of its own process
//! (a worker without work, in a condition variable) helps nobody as long as all others are stuck; but a main
//! thread that does that may as well wait for a signal: it counts as somebody who can help.

use super::{Graph, Needs, Node, Party, Wait};
use remora_model::{Reason, State};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// A cycle, and who waits for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// Each waits for the next one, the last for the first.
    pub nodes: Vec<Node>,
    /// Stuck nodes outside of the cycle that wait for it, directly or not.
    pub behind: Vec<Node>,
}

/// All cycles that have stood for `threshold`, those with the lowest nodes first; each node is in one at the
/// most.
pub(super) fn cycles(graph: &Graph<'_>, threshold: Duration) -> Vec<Cycle> {
    let stuck = stuck(graph, threshold);
    let edges: BTreeMap<Node, BTreeSet<Node>> = stuck
        .iter()
        .map(|node| (*node, next(graph, &stuck, *node)))
        .collect();
    let mut cycles: Vec<Cycle> = Vec::new();
    let mut seen: BTreeSet<Node> = BTreeSet::new();
    for node in &stuck {
        if seen.contains(node) {
            continue;
        }
        let Some(nodes) = shortest(&edges, *node, &seen) else {
            continue;
        };
        seen.extend(&nodes);
        cycles.push(Cycle {
            nodes,
            behind: Vec::new(),
        });
    }
    let mut placed = seen;
    for cycle in &mut cycles {
        cycle.behind = behind(&edges, &cycle.nodes, &mut placed);
    }
    cycles
}

/// Nodes that none outside of the set can help.
fn stuck(graph: &Graph<'_>, threshold: Duration) -> BTreeSet<Node> {
    let waits_long = |node: &Node| {
        let wait = graph.wait(*node);
        wait.is_some_and(|wait| wait.since >= threshold)
    };
    let mut stuck: BTreeSet<Node> = graph.nodes().filter(waits_long).collect();
    loop {
        let free: Vec<Node> = stuck
            .iter()
            .filter(|node| {
                graph
                    .wait(**node)
                    .is_none_or(|it| is_helped(graph, &stuck, it))
            })
            .copied()
            .collect();
        if free.is_empty() {
            return stuck;
        }
        for node in free {
            stuck.remove(&node);
        }
    }
}

/// Whether somebody outside of the set can end a wait.
fn is_helped(graph: &Graph<'_>, stuck: &BTreeSet<Node>, wait: &Wait) -> bool {
    let mut helpers = wait.parties.iter().map(|party| match party {
        Party::Node(node) => !stuck.contains(node),
        Party::Process(pid) => !is_shut(graph, stuck, *pid),
        Party::Stranger(..) => true,
    });
    match wait.needs {
        Needs::Any => helpers.any(|helps| helps),
        Needs::All => helpers.all(|helps| helps),
    }
}

/// Whether no thread of a process can do anything.
fn is_shut(graph: &Graph<'_>, stuck: &BTreeSet<Node>, pid: u32) -> bool {
    let mut own = graph
        .scene
        .living()
        .filter(|(_, it)| it.pid == pid)
        .peekable();
    let is_there = own.peek().is_some();
    is_there
        && own.all(|(index, thread)| {
            let now = &thread.now;
            let waits_within = now.state == State::Blocked && now.reason == Some(Reason::Futex);
            stuck.contains(&Node::Thread(index))
                || (waits_within
                    && thread.tid != pid
                    && graph.wait(Node::Thread(index)).is_none()
                    && graph.scene.is_idle_now(index))
        })
}

/// The stuck nodes that could end a node's wait, were they not stuck.
fn next(graph: &Graph<'_>, stuck: &BTreeSet<Node>, node: Node) -> BTreeSet<Node> {
    let parties = graph.wait(node).into_iter().flat_map(|wait| &wait.parties);
    let nodes = parties.flat_map(|party| match party {
        Party::Node(node) => vec![*node],
        Party::Process(pid) => graph.threads_of(*pid).collect(),
        Party::Stranger(..) => Vec::new(),
    });
    nodes.filter(|node| stuck.contains(node)).collect()
}

/// The shortest way from a node back to it, around what is taken.
fn shortest(
    edges: &BTreeMap<Node, BTreeSet<Node>>,
    start: Node,
    taken: &BTreeSet<Node>,
) -> Option<Vec<Node>> {
    let mut from: BTreeMap<Node, Node> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(node) = queue.pop_front() {
        for next in edges.get(&node).into_iter().flatten() {
            if *next == start {
                let mut nodes = vec![node];
                let mut at = node;
                while let Some(before) = from.get(&at).copied() {
                    nodes.push(before);
                    at = before;
                }
                nodes.reverse();
                return Some(nodes);
            }
            if !taken.contains(next) && !from.contains_key(next) {
                from.insert(*next, node);
                queue.push_back(*next);
            }
        }
    }
    None
}

/// Nodes that wait for those of a cycle and are in none themselves.
fn behind(
    edges: &BTreeMap<Node, BTreeSet<Node>>,
    cycle: &[Node],
    placed: &mut BTreeSet<Node>,
) -> Vec<Node> {
    let mut waiters: BTreeMap<Node, Vec<Node>> = BTreeMap::new();
    for (node, nexts) in edges {
        for next in nexts {
            waiters.entry(*next).or_default().push(*node);
        }
    }
    let mut found = Vec::new();
    let mut queue: VecDeque<Node> = cycle.iter().copied().collect();
    while let Some(node) = queue.pop_front() {
        for waiter in waiters.get(&node).into_iter().flatten() {
            if placed.insert(*waiter) {
                found.push(*waiter);
                queue.push_back(*waiter);
            }
        }
    }
    found
}
