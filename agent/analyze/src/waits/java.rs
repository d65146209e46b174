//! What a thread of Java's waits for, by what the machine's own memory says: the class of the object that it is parked
//! on, or the monitor that it stands at.
//!
//! A stack without Java's frames says only that it is parked, as idle workers are. The class tells a lock from a
//! queue; which class means what is data (`[java]` in `jvm.places`). What is neither a lock nor a result is left to the
//! stack: a semaphore may count permits that somebody has, or jobs that nobody has sent.

use super::{Kind, Rest, Waiting, Waits};
use crate::Scene;
use crate::graph::{End, Graph, Node};
use remora_model::places::{self, Meaning, Reading};
use remora_model::{JavaAwaited, JavaWait, Thread};
use std::time::Duration;

/// What Java calls the thread that runs `main`: it may wait for ever for whoever ends the program.
const MAIN: &str = "main";

/// What kind of wait it is; `None`: its stack has to tell.
pub(super) fn kind(scene: &Scene<'_>, thread: &Thread, reading: &Reading) -> Option<Kind> {
    let wait = scene.java_wait(thread.tid)?;
    if is_lock(wait) {
        return Some(Kind::Lock);
    }
    let meaning = places::parked_on(&wait.classes).filter(|_| wait.on == JavaAwaited::Park);
    let is_main = thread.java_name.as_deref() == Some(MAIN);
    match meaning? {
        Meaning::Home => Some(Kind::Rest(Rest::Worker)),
        Meaning::Latch if !reading.home => Some(Kind::Latch),
        Meaning::Future if !is_main && !reading.home => Some(Kind::Future),
        _ => None,
    }
}

/// Whether it is a lock: a monitor to be entered, a lock of the library, or a synchronizer that somebody owns.
pub(crate) fn is_lock(wait: &JavaWait) -> bool {
    match wait.on {
        JavaAwaited::Monitor => true,
        JavaAwaited::Notify => false,
        JavaAwaited::Park => {
            wait.holder.is_some()
                || wait.ended_holder.is_some()
                || places::parked_on(&wait.classes) == Some(Meaning::Lock)
        }
    }
}

/// Whether a thread waits for a lock of Java's whose holder seems to be at rest: a worker that fetches work under a
/// lock, in turn with others, or one that waits for what only those behind it could do (nested monitors). From outside
/// both look the same.
pub(crate) fn is_behind_rest(graph: &Graph<'_>, waits: &Waits<'_>, waiting: &Waiting<'_>) -> bool {
    if waiting.kind != Kind::Lock || graph.scene().java_wait(waiting.thread.tid).is_none() {
        return false;
    }
    let last = match graph.chain(waiting.index).end {
        End::Node(Node::Thread(last)) if last != waiting.index => waits.of_thread(last),
        _ => None,
    };
    last.is_some_and(|last| matches!(last.kind, Kind::Rest(_)))
}

/// For how long a thread has stood at a monitor whose waiters wake up by themselves to ask again (HotSpot's do so every
/// second): as long as it was watched, where it did nothing else.
pub(crate) fn asked_again(
    scene: &Scene<'_>,
    (index, thread): (usize, &Thread),
) -> Option<Duration> {
    let wait = scene.java_wait(thread.tid)?;
    let at_monitor = wait.on == JavaAwaited::Monitor;
    (at_monitor && super::always_for_locks(scene, index)).then_some(thread.observed)
}

#[cfg(test)]
mod tests;
