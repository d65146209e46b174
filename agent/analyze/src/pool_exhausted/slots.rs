//! Pools whose size and holders were read from the objects of Python.
//!
//! A thread holds a slot if a connection of the pool is in its frames. One that waits for a slot and holds one as well
//! gives none back: where all holders do so, nobody will.

use super::{SHOWN, place, waits_for_slot};
use crate::graph::{Graph, Node};
use crate::waits::{Kind, Waiting, Waits, line};
use crate::{Scene, words};
use remora_model::display::text::{clean, counted};
use remora_model::{Finding, SlotPool, Subject, Thread, Topic};

/// The pool that a thread waits for a slot of.
pub(crate) fn of<'a>(scene: &Scene<'a>, thread: &Thread) -> Option<&'a SlotPool> {
    let mut pools = scene.capture.slot_pools.iter();
    pools.find(|pool| pool.pid == thread.pid && pool.waiters.contains(&thread.tid))
}

/// `SQLAlchemy QueuePool 0x7f…: size 2, 2 taken`.
fn pool_words(pool: &SlotPool) -> String {
    let size = match pool.size {
        Some(size) => format!("size {size}"),
        None => "size unknown".to_owned(),
    };
    let taken = match pool.taken {
        Some(taken) => format!(", {taken} taken"),
        None => String::new(),
    };
    format!("{} {:#x}: {size}{taken}", clean(&pool.name), pool.object)
}

pub(super) fn finding(
    graph: &Graph<'_>,
    waits: &Waits<'_>,
    pool: &SlotPool,
    waiters: &[&Waiting<'_>],
) -> Option<Finding> {
    let detail = match (pool.size, pool.taken) {
        (Some(size), Some(taken)) => format!("{taken} of {size} taken"),
        (Some(size), None) => format!("size {size}"),
        _ => String::new(),
    };
    let mut finding = waits_for_slot(graph, waiters, &detail)?;
    finding = finding.fact(Topic::Waits, pool_words(pool));
    for (tid, slots) in pool.holders.iter().take(SHOWN) {
        finding = finding.fact(Topic::Holder, holder(graph, waits, pool, (*tid, *slots)));
    }
    let more = pool.holders.len().saturating_sub(SHOWN);
    if more > 0 {
        finding = finding.fact(Topic::Holder, counted(more as u64, "more thread"));
    }
    if pool.holders.is_empty() {
        let words = "which threads hold the slots: no connection of the pool is in their frames";
        finding = finding.fact(Topic::Unknown, words);
    } else {
        let how = "holder known by a connection of the pool in its frames";
        finding = finding.fact(Topic::Inferred, how);
    }
    let at = place(graph, waiters);
    finding.next = match is_closed(pool) {
        true => format!(
            "Restart {} to recover: each holder waits for a second slot. Then pass the first connection on instead of taking another{at}.",
            graph.scene().process_name(pool.pid)
        ),
        false => format!(
            "Find why the slots that are waited for{at} are not given back. A job must not ask for a second slot while it holds one."
        ),
    };
    let holders = pool.holders.iter().map(|(tid, _)| Subject::Thread(*tid));
    finding.because_of = holders.filter(|it| !finding.about.contains(it)).collect();
    Some(finding)
}

/// Whether those who wait hold all slots.
fn is_closed(pool: &SlotPool) -> bool {
    let own = pool.holders.iter();
    let own = own.filter(|(tid, _)| pool.waiters.contains(tid));
    let held = own.fold(0, |sum: u64, (_, slots)| sum.saturating_add(*slots as u64));
    pool.size.is_some_and(|size| held >= size)
}

fn holder(
    graph: &Graph<'_>,
    waits: &Waits<'_>,
    pool: &SlotPool,
    (tid, slots): (u32, usize),
) -> String {
    let Some((index, thread)) = graph.scene().thread(tid) else {
        return format!("thread {tid} holds {slots}");
    };
    if pool.waiters.contains(&tid) {
        let who = words::thread(thread);
        return format!("{who} holds {slots}, waits for another");
    }
    let waiting = waits.of_process(pool.pid).find(|it| it.index == index);
    match waiting {
        // Who has a slot is not at rest, wherever it waits.
        Some(waiting) if !matches!(waiting.kind, Kind::Rest(_)) => {
            format!("{}, holds {slots}", line(waiting))
        }
        _ => format!("{}, holds {slots}", graph.does(Node::Thread(index))),
    }
}
