//! The blame chain: from a node that waits to the one that could make progress.

use super::{Clue, Graph, Node, Party, Role, thing};
use crate::words;
use remora_model::display::text::{clean, counted};
use remora_model::{Fact, State, Subject, Syscall, Topic};

/// Steps that are followed at the most.
const MAX_STEPS: usize = 32;
/// Steps that are said.
const SHOWN: usize = 6;

/// A step: a node, and what it waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Who waits.
    pub node: Node,
    /// In words: `worker-12 waits for glibc mutex 0x…, held by writer-13`.
    pub words: String,
    /// From what it was concluded, where it was.
    pub clue: Option<Clue>,
    /// What it waits for.
    pub subject: Option<Subject>,
    /// It was read, not concluded.
    pub certain: bool,
}

/// Where a chain ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// At a node that waits for nobody that is known: it could make progress.
    Node(Node),
    /// It comes back to the node of this step: a deadlock.
    Cycle(usize),
    /// At a process as a whole.
    Process(u32),
    /// At somebody who is not watched: id and name.
    Stranger(u32, String),
}

/// From one that waits to the one that could make progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The first is that of the node that was asked for; empty when it waits for nobody.
    pub steps: Vec<Step>,
    /// Where it ends.
    pub end: End,
}

impl Chain {
    /// Whether every step was read.
    pub fn is_certain(&self) -> bool {
        self.steps.iter().all(|step| step.certain)
    }

    /// What explains the first node's wait: locks, pipes and sockets on the way, and those who wait there or
    /// hold the last of them; not the first node itself.
    pub fn because_of(&self, graph: &Graph<'_>) -> Vec<Subject> {
        let waited = self.steps.iter().filter_map(|step| step.subject);
        let nodes = self.steps.iter().skip(1).map(|step| step.node);
        let last = match self.end {
            End::Node(node) if !self.steps.is_empty() => Some(graph.subject(node)),
            End::Process(pid) => Some(Subject::Process(pid)),
            _ => None,
        };
        let nodes = nodes.map(|node| graph.subject(node));
        waited.chain(nodes).chain(last).collect()
    }

    /// Lines of evidence: each step, then what the last one does and where.
    pub fn facts(&self, graph: &Graph<'_>) -> Vec<Fact> {
        let mut facts: Vec<Fact> = self
            .steps
            .iter()
            .take(SHOWN)
            .map(|step| fact(Topic::Waits, step.words.clone()))
            .collect();
        if self.steps.len() > SHOWN {
            let more = self.steps.len() - SHOWN;
            facts.push(fact(
                Topic::Waits,
                format!("and {}", counted(more as u64, "more step")),
            ));
        }
        if self.steps.is_empty() {
            return facts;
        }
        facts.extend(clues(self.steps.iter().filter_map(|step| step.clue)));
        match &self.end {
            End::Node(node) => {
                facts.push(fact(Topic::Blocker, graph.does(*node)));
                let name = graph.name(*node);
                let code = graph.code(*node);
                facts.extend(code.map(|code| fact(Topic::Where, format!("{name}: {code}"))));
            }
            End::Cycle(at) => {
                if let Some(step) = self.steps.get(*at) {
                    let words = format!("{}, which is deadlocked", graph.name(step.node));
                    facts.push(fact(Topic::Blocker, words));
                }
            }
            End::Process(pid) => facts.push(fact(Topic::Blocker, self.possibly(graph, *pid))),
            End::Stranger(id, name) => {
                let name = clean(name);
                facts.push(fact(Topic::Blocker, format!("{name} ({id}), not watched")));
            }
        }
        facts
    }
}

impl Chain {
    /// A process at the end of a chain: of which of its threads the answer is awaited is not known.
    fn possibly(&self, graph: &Graph<'_>, pid: u32) -> String {
        let name = graph.scene.process_name(pid);
        let last = self.steps.last().and_then(|step| graph.wait(step.node));
        match (last.map(|wait| wait.role), graph.threads_of(pid).count()) {
            (Some(Role::Writes), several @ 2..) => {
                format!("possibly {name}: which of its {several} threads should write is not known")
            }
            (Some(Role::Reads), several @ 2..) => {
                format!("possibly {name}: which of its {several} threads should read is not known")
            }
            _ => name,
        }
    }
}

/// A line for each of the things from which steps were concluded.
pub fn clues(clues: impl Iterator<Item = Clue>) -> Vec<Fact> {
    let mut seen: Vec<Clue> = Vec::new();
    for clue in clues {
        if !seen.contains(&clue) {
            seen.push(clue);
        }
    }
    let lines = seen.into_iter();
    lines
        .map(|clue| fact(Topic::Inferred, clue.words().to_owned()))
        .collect()
}

fn fact(what: Topic, value: String) -> Fact {
    Fact { what, value }
}

pub(super) fn follow(graph: &Graph<'_>, first: Node) -> Chain {
    let mut steps: Vec<Step> = Vec::new();
    let mut node = first;
    // The first step to one thread of several: another one of that process may help too.
    let mut guess: Option<(usize, Node)> = None;
    let end = loop {
        if let Some(at) = steps.iter().position(|step| step.node == node) {
            break End::Cycle(at);
        }
        let Some(wait) = graph.wait(node).filter(|_| steps.len() < MAX_STEPS) else {
            break End::Node(node);
        };
        let owner = graph.owner(wait).filter(|owner| owner.node != node);
        steps.push(Step {
            node,
            words: graph.step_words(node, wait),
            clue: wait.how.or(owner.as_ref().and_then(|owner| owner.clue)),
            subject: wait.subject,
            certain: wait.certain && owner.as_ref().is_none_or(|owner| owner.clue.is_none()),
        });
        node = match (owner, graph.likeliest(wait)) {
            (Some(owner), _) => {
                if graph.threads_of(graph.pid(owner.node)).nth(1).is_some() {
                    guess = guess.or(Some((steps.len(), owner.node)));
                }
                owner.node
            }
            (None, Some(Party::Node(next))) => *next,
            (None, Some(Party::Process(pid))) => match graph.spokesman(*pid, wait.role) {
                Some(next) => next,
                None => break End::Process(*pid),
            },
            (None, Some(Party::Stranger(id, name))) => break End::Stranger(*id, name.clone()),
            (None, None) => break End::Node(node),
        };
    };
    match (&end, guess) {
        // No deadlock by a guess: those that are real are found as cycles.
        (End::Cycle(_), Some((sure, owner))) => {
            steps.truncate(sure);
            let end = End::Node(owner);
            Chain { steps, end }
        }
        _ => Chain { steps, end },
    }
}

impl Graph<'_> {
    /// The party that a chain goes on with: one that waits itself before one that does not.
    fn likeliest<'w>(&self, wait: &'w super::Wait) -> Option<&'w Party> {
        let waits = |party: &&Party| match party {
            Party::Node(node) => self.wait(*node).is_some(),
            _ => false,
        };
        let first = wait.parties.first();
        wait.parties.iter().find(waits).or(first)
    }

    /// The thread of a process that stands for it: the only one, or the main thread of a process that has to exit.
    /// Of several threads nobody knows which one writes, reads or lets go.
    fn spokesman(&self, pid: u32, role: Role) -> Option<Node> {
        let mut own = self.threads_of(pid);
        let only = match (own.next(), own.next()) {
            (only, None) => only,
            _ => None,
        };
        only.or_else(|| {
            let (index, thread) = self.scene.thread(pid)?;
            (role == Role::Exits && thread.pid == pid).then_some(Node::Thread(index))
        })
    }

    /// What a finding about a node is about.
    pub fn subject(&self, node: Node) -> Subject {
        match node {
            Node::Thread(index) => {
                let thread = self.scene.capture.threads.get(index);
                Subject::Thread(thread.map_or(0, |thread| thread.tid))
            }
            Node::Task(pid, id) => Subject::Task(pid, id),
        }
    }

    /// The code of some threads, each line once, `most` at the most.
    pub fn code_of(&self, threads: impl Iterator<Item = usize>, most: usize) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for index in threads {
            let code = self.code(Node::Thread(index));
            lines.extend(code.filter(|code| !lines.contains(code)));
        }
        lines.truncate(most);
        lines
    }

    /// The innermost functions of a node.
    pub fn code(&self, node: Node) -> Option<String> {
        match node {
            Node::Thread(index) => {
                let thread = self.scene.capture.threads.get(index)?;
                words::code(self.scene.stack_now(thread)?)
            }
            Node::Task(..) => words::task_code(self.task(node)?),
        }
    }

    /// The innermost function of a node.
    pub fn place(&self, node: Node) -> Option<String> {
        match node {
            Node::Thread(index) => {
                let thread = self.scene.capture.threads.get(index)?;
                words::place(self.scene.stack_now(thread)?)
            }
            Node::Task(..) => words::task_place(self.task(node)?),
        }
    }

    /// What a node does now, in words.
    pub fn does(&self, node: Node) -> String {
        if let Some(task) = self.task(node) {
            let doing = match &task.awaits {
                Some(awaits) => format!("{} for {}", task.state.name(), awaits.kind.name()),
                None => task.state.name().to_owned(),
            };
            return format!("{} is {doing}", self.name(node));
        }
        let Some(thread) = self.thread(node) else {
            return self.name(node);
        };
        let now = &thread.now;
        let since = words::since(now.since, now.since_inferred);
        let doing = match (now.state, now.reason) {
            (State::Blocked, Some(reason)) => {
                let call = now.syscall.map_or(reason.label(), Syscall::name);
                format!("is in {call} for {since}")
            }
            (State::Blocked, None) => format!("sleeps for {since}"),
            (State::Running, _) => format!("is on a CPU for {since}"),
            (State::Runnable, _) => format!("is runnable without a CPU for {since}"),
            _ => "is in an unknown state".to_owned(),
        };
        format!("{} {doing}", words::thread(thread))
    }

    /// Who waits for what, and who can end that.
    pub fn step_words(&self, node: Node, wait: &super::Wait) -> String {
        let who = self.name(node);
        let mut parties: Vec<String> = wait.parties.iter().map(|it| self.party(it)).collect();
        let more = parties.len().saturating_sub(3);
        parties.truncate(3);
        if more > 0 {
            parties.push("others".to_owned());
        }
        let what = thing::waits_for(&wait.what, wait.role, &parties.join(", "));
        format!("{who} waits for {what}")
    }

    /// The one party that can end a wait, in short: `a lock held by writer-13`.
    pub fn only_party(&self, wait: &super::Wait) -> Option<String> {
        match wait.parties.as_slice() {
            [party] => Some(thing::in_short(wait.role, &self.party(party))),
            _ => None,
        }
    }

    /// Those that can end a wait, in words; `None` where there are several.
    pub fn parties(&self, wait: &super::Wait) -> Option<String> {
        match wait.parties.as_slice() {
            [party] => Some(self.party(party)),
            _ => None,
        }
    }

    /// The one process that can end a wait and is not watched.
    pub fn stranger(&self, wait: &super::Wait) -> Option<u32> {
        match wait.parties.as_slice() {
            [Party::Stranger(id, _)] if *id > 0 => Some(*id),
            _ => None,
        }
    }

    fn party(&self, party: &Party) -> String {
        match party {
            Party::Node(node) => self.name(*node),
            Party::Process(pid) => self.scene.process_name(*pid),
            // Whoever was left out, without a process of its own.
            Party::Stranger(0, name) => clean(name).into_owned(),
            Party::Stranger(id, name) => format!("{} ({id})", clean(name)),
        }
    }
}
