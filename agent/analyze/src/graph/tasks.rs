//! What asyncio tasks wait for: other tasks, and locks that other tasks hold.

use super::{Clue, Needs, Node, Party, Role, Thing, Wait};
use crate::Scene;
use remora_model::{AwaitKind, Subject, Task, TaskState};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// The tasks of all processes.
pub(super) struct Tasks<'a> {
    pub by_id: BTreeMap<(u32, u64), &'a Task>,
    pub waits: BTreeMap<(u32, u64), Wait>,
}

impl<'a> Tasks<'a> {
    pub(super) fn new(scene: &Scene<'a>) -> Self {
        let all = scene.capture.tasks.iter();
        let by_id: BTreeMap<(u32, u64), &Task> = all
            .flat_map(|(pid, tasks)| tasks.tasks.iter().map(|task| ((*pid, task.id), task)))
            .collect();
        let mut holders: HashMap<(u32, u64), Vec<u64>> = HashMap::new();
        for ((pid, id), task) in &by_id {
            for lock in &task.holds {
                holders.entry((*pid, *lock)).or_default().push(*id);
            }
        }
        let waits = by_id.iter().filter_map(|((pid, id), task)| {
            let wait = wait(*pid, task, &by_id, &holders)?;
            Some(((*pid, *id), wait))
        });
        Self {
            waits: waits.collect(),
            by_id,
        }
    }
}

fn wait(
    pid: u32,
    task: &Task,
    by_id: &BTreeMap<(u32, u64), &Task>,
    holders: &HashMap<(u32, u64), Vec<u64>>,
) -> Option<Wait> {
    let awaits = task.awaits.as_ref()?;
    if task.torn || task.state != TaskState::Waiting || task.cancelling {
        return None;
    }
    let nodes = |tasks: &[u64]| -> Vec<Party> {
        let there = tasks.iter().filter(|id| by_id.contains_key(&(pid, **id)));
        there.map(|id| Party::Node(Node::Task(pid, *id))).collect()
    };
    let is_lock = matches!(awaits.kind, AwaitKind::Lock | AwaitKind::Condition);
    let (what, parties, needs) = match awaits.kind {
        _ if is_lock => {
            let holders = holders.get(&(pid, awaits.object))?;
            // Two at once: one was just passing it on.
            let [_] = holders.as_slice() else { return None };
            let what = Thing::AsyncioLock(awaits.object);
            (what, nodes(holders), Needs::Any)
        }
        AwaitKind::Task => (Thing::Task, nodes(&awaits.tasks), Needs::All),
        AwaitKind::Gather | AwaitKind::TaskGroup => {
            (Thing::Tasks, nodes(&awaits.tasks), Needs::All)
        }
        AwaitKind::Wait => (Thing::Tasks, nodes(&awaits.tasks), Needs::Any),
        _ => return None,
    };
    let timed = |name: &str| name == "wait_for";
    Some(Wait {
        what,
        role: if is_lock { Role::Holds } else { Role::Exits },
        subject: is_lock.then_some(Subject::Lock(pid, awaits.object)),
        other_end: None,
        needs,
        certain: !is_lock,
        how: is_lock.then_some(Clue::AsyncWithBlock),
        since: task.same_for.unwrap_or(Duration::ZERO),
        at_least: true,
        timed: task.frames.iter().any(|frame| timed(&frame.function)),
        parties,
    })
    .filter(|wait| !wait.parties.is_empty())
}
