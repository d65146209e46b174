//! The wait-for graph: what each thread waits for now, and who can end that.
//!
//! A node is a thread or an asyncio task. What lies between two of them (a lock, a pipe, a connection, a
//! child, the interpreter lock) is the edge: [`Wait`]. A wait ends by the act of one of several parties, or of
//! all of them; a process among the parties stands for each of its threads.
//!
//! Only what was read makes a certain edge; what was concluded says how, in [`Wait::how`]. A wait of which
//! nobody is known who could end it is no edge at all: a condition variable, a timer, the network.

mod chain;
mod channels;
mod cycles;
mod owner;
mod tasks;
mod thing;
mod threads;

pub use chain::{Chain, End, Step, clues};
pub use cycles::Cycle;
pub use thing::{Clue, Role, Thing, in_short};

#[cfg(test)]
pub(super) mod tests;

use super::Scene;
use remora_model::display::text::clean;
use remora_model::{Lock, Subject, Task, Thread};
use std::time::Duration;

/// What waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Node {
    /// A thread: index in [`remora_model::Capture::threads`].
    Thread(usize),
    /// An asyncio task, by its process and address.
    Task(u32, u64),
}

/// Who can end a wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Party {
    /// One of the nodes.
    Node(Node),
    /// Any thread of a process that is watched.
    Process(u32),
    /// A process, or a thread of it, that is not watched: id and name.
    Stranger(u32, String),
}

/// How many of the parties have to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// One is enough.
    Any,
    /// Each of them.
    All,
}

/// What a node waits for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// What it waits for.
    pub what: Thing,
    /// How the parties stand to it.
    pub role: Role,
    /// Its subject, for what findings are about.
    pub subject: Option<Subject>,
    /// Who can end it; never empty.
    pub parties: Vec<Party>,
    /// Of a connection: inode number of the socket at its other end.
    pub other_end: Option<u64>,
    /// How many of them must.
    pub needs: Needs,
    /// The parties were read, not concluded.
    pub certain: bool,
    /// How they are known, where they were concluded.
    pub how: Option<Clue>,
    /// For how long it has lasted.
    pub since: Duration,
    /// That is a lower bound.
    pub at_least: bool,
    /// It ends by itself after some time.
    pub timed: bool,
}

/// The wait-for graph at the end of a capture.
pub struct Graph<'a> {
    scene: &'a Scene<'a>,
    locks: threads::Locks<'a>,
    threads: Vec<Option<Wait>>,
    tasks: tasks::Tasks<'a>,
}

impl<'a> Graph<'a> {
    /// The graph of all threads that sleep.
    pub fn of(scene: &'a Scene<'a>) -> Self {
        let locks = threads::Locks::new(scene);
        Self {
            scene,
            threads: threads::waits(scene, &locks),
            locks,
            tasks: tasks::Tasks::new(scene),
        }
    }

    /// What it was made of.
    pub fn scene(&self) -> &'a Scene<'a> {
        self.scene
    }

    /// What a node waits for, if anybody is known who could end it.
    pub fn wait(&self, node: Node) -> Option<&Wait> {
        match node {
            Node::Thread(index) => self.threads.get(index)?.as_ref(),
            Node::Task(pid, id) => self.tasks.waits.get(&(pid, id)),
        }
    }

    /// The futex that a thread, given by its index, sleeps on.
    pub fn lock(&self, index: usize) -> Option<&'a Lock> {
        let thread = self.scene.capture.threads.get(index)?;
        self.locks.of(index, thread)
    }

    /// Whether the wait of a thread, given by its index, ends by itself.
    pub fn is_timed(&self, index: usize) -> bool {
        let thread = self.scene.capture.threads.get(index);
        thread.is_some_and(threads::is_timed)
    }

    /// The thread that a node is, or that runs the loop of a task.
    pub fn thread(&self, node: Node) -> Option<&'a Thread> {
        match node {
            Node::Thread(index) => self.scene.capture.threads.get(index),
            Node::Task(pid, _) => {
                let loop_id = self.task(node)?.loop_id;
                let mut all = self.scene.capture.tasks.iter();
                let (_, tasks) = all.find(|(of, _)| *of == pid)?;
                let own = tasks.loops.iter().find(|it| it.id == loop_id)?;
                Some(self.scene.thread(own.tid?)?.1)
            }
        }
    }

    /// The task that a node is.
    pub fn task(&self, node: Node) -> Option<&'a Task> {
        match node {
            Node::Thread(_) => None,
            Node::Task(pid, id) => self.tasks.by_id.get(&(pid, id)).copied(),
        }
    }

    /// The process that a node belongs to.
    pub fn pid(&self, node: Node) -> u32 {
        match node {
            Node::Thread(_) => self.thread(node).map_or(0, |thread| thread.pid),
            Node::Task(pid, _) => pid,
        }
    }

    /// Where those that hold a lock, as far as only their code says so, will free it.
    pub fn kept(&self, wait: &Wait) -> Option<String> {
        threads::kept_words(self.scene, wait)
    }

    /// Everything that may wait.
    fn nodes(&self) -> impl Iterator<Item = Node> {
        let tasks = self.tasks.waits.keys();
        let tasks = tasks.map(|(pid, id)| Node::Task(*pid, *id));
        (0..self.threads.len()).map(Node::Thread).chain(tasks)
    }

    /// The living threads of a process.
    fn threads_of(&self, pid: u32) -> impl Iterator<Item = Node> {
        let own = self.scene.living().filter(move |(_, it)| it.pid == pid);
        own.map(|(index, _)| Node::Thread(index))
    }

    /// Cycles that have stood for the threshold.
    pub fn cycles(&self) -> Vec<Cycle> {
        cycles::cycles(self, self.scene.thresholds.deadlock)
    }

    /// From a thread, by its index, to the one that could make progress.
    pub fn chain(&self, thread: usize) -> Chain {
        chain::follow(self, Node::Thread(thread))
    }

    /// The name of a node in words: `worker-4712`, `task "pump"`.
    pub fn name(&self, node: Node) -> String {
        match (self.task(node), self.thread(node)) {
            (Some(task), _) => format!("task \"{}\"", clean(&task.name)),
            (None, Some(thread)) => super::words::thread(thread),
            (None, None) => "an exited thread".to_owned(),
        }
    }
}
