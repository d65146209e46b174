//! What to change so that a deadlock does not come back: it follows from what stands on the cycle. Where nothing does,
//! nothing is said.

use crate::graph::{Graph, Node, Role, Thing, Wait};
use crate::words;
use remora_model::{LockKind, Stack};

/// Places in the code that are named.
const PLACES: usize = 2;

/// Functions to which a signal handler returns.
const SIGNAL_RETURN: [&str; 3] = ["__restore_rt", "__restore", "__kernel_rt_sigreturn"];

/// The advice, with a blank in front; nothing where none follows.
pub(super) fn of(graph: &Graph<'_>, waits: &[(Node, &Wait)]) -> String {
    let words = match waits {
        [(node, wait)] => on_itself(graph, *node, wait),
        several => in_circle(graph, several),
    };
    words.map_or_else(String::new, |words| format!(" {words}"))
}

fn on_itself(graph: &Graph<'_>, node: Node, wait: &Wait) -> Option<String> {
    let at = at(graph, node);
    let stack = match node {
        Node::Thread(_) => graph
            .thread(node)
            .and_then(|it| graph.scene().stack_now(it)),
        Node::Task(..) => None,
    };
    if stack.is_some_and(in_handler) {
        return Some(format!(
            "Then call only async-signal-safe functions in the signal handler{at}: it interrupted code that holds the lock."
        ));
    }
    match (&wait.what, wait.role) {
        (_, Role::HoldsForReading) => Some(format!(
            "Then release the read lock before the write lock is taken{at}."
        )),
        (Thing::PythonLock(_), _) => Some(format!(
            "Then use threading.RLock, or do not lock again{at}."
        )),
        (Thing::Lock { kind, .. }, _) if may_be_recursive(*kind) => Some(format!(
            "Then use a recursive lock, or do not lock again{at}."
        )),
        (Thing::Lock { .. } | Thing::PythonRLock(_) | Thing::AsyncioLock(_), _) => {
            Some(format!("Then do not lock again{at}."))
        }
        (Thing::ThreadExit | Thing::Task | Thing::Tasks, _) => {
            Some(format!("Then do not wait for its own end{at}."))
        }
        _ => None,
    }
}

const fn may_be_recursive(kind: LockKind) -> bool {
    matches!(
        kind,
        LockKind::Mutex
            | LockKind::ErrorCheckMutex
            | LockKind::AdaptiveMutex
            | LockKind::RobustMutex
            | LockKind::PriorityInheriting
    )
}

/// A signal handler stands on the stack.
fn in_handler(stack: &Stack) -> bool {
    let mut frames = stack.frames.iter();
    frames.any(|frame| SIGNAL_RETURN.contains(&&*frame.name))
}

fn in_circle(graph: &Graph<'_>, waits: &[(Node, &Wait)]) -> Option<String> {
    let first = |wanted: fn(&Thing) -> bool| {
        let mut all = waits.iter();
        all.find(|(_, wait)| wanted(&wait.what)).map(|it| it.0)
    };
    let gil = first(|it| matches!(it, Thing::Gil)).is_some();
    let held = if gil { "the GIL" } else { "the lock" };
    let all_locks = waits.iter().all(|(_, wait)| is_lock(&wait.what));
    if let Some(joins) = first(|it| matches!(it, Thing::ThreadExit)) {
        let locked = gil || first(is_lock).is_some();
        return locked.then(|| {
            format!(
                "Then release {held} before the thread is joined{}.",
                at(graph, joins)
            )
        });
    }
    if let Some(locks) = first(is_lock).filter(|_| gil) {
        return Some(format!(
            "Then release the GIL before the lock is taken{}.",
            at(graph, locks)
        ));
    }
    if all_locks {
        return Some(format!(
            "Then take the locks in one order{}.",
            places(graph, waits)
        ));
    }
    if let Some(parent) = first(|it| matches!(it, Thing::ChildExit)) {
        let writes = first(|it| matches!(it, Thing::Space(_))).is_some();
        return writes.then(|| {
            format!(
                "Then read what the child writes to its end before it is waited for{}.",
                at(graph, parent)
            )
        });
    }
    let all = |wanted: fn(&Thing) -> bool| waits.iter().all(|(_, wait)| wanted(&wait.what));
    if all(|it| matches!(it, Thing::Space(_))) {
        return Some(format!(
            "Then let one side read while it has more to write{}.",
            places(graph, waits)
        ));
    }
    if all(|it| matches!(it, Thing::Data(_))) {
        return Some(format!(
            "Then let one side send first, or wait with a timeout{}.",
            places(graph, waits)
        ));
    }
    Some(format!(
        "Then let one side act first, or wait with a timeout{}.",
        places(graph, waits)
    ))
}

const fn is_lock(thing: &Thing) -> bool {
    matches!(
        thing,
        Thing::Lock { .. }
            | Thing::PythonLock(_)
            | Thing::PythonRLock(_)
            | Thing::Java(_)
            | Thing::AsyncioLock(_)
            | Thing::FileLock(_)
    )
}

fn at(graph: &Graph<'_>, node: Node) -> String {
    words::at(graph.place(node).as_deref())
}

/// ` at one (a.c:1) and two (a.c:2)`.
fn places(graph: &Graph<'_>, waits: &[(Node, &Wait)]) -> String {
    let mut places: Vec<String> = Vec::new();
    for (node, _) in waits {
        places.extend(graph.place(*node).filter(|place| !places.contains(place)));
    }
    places.truncate(PLACES);
    match places.is_empty() {
        true => String::new(),
        false => format!(" at {}", places.join(" and ")),
    }
}

#[cfg(test)]
mod tests {
    use crate::graph::tests::{blocks, lock};
    use crate::{Thresholds, judge};
    use remora_model::fixture::Builder;
    use remora_model::{Capture, LockKind};

    /// Two threads in a circle of these.
    fn ring(first: LockKind, second: LockKind) -> Capture {
        let mut builder = Builder::new(1, "ring");
        builder.thread(1, 2, "worker");
        let mut capture = builder.0;
        blocks(&mut capture, 0, 0x1000, 9000);
        blocks(&mut capture, 1, 0x2000, 9000);
        let mut one = lock(&capture, 0x1000, 1, &[0]);
        let mut two = lock(&capture, 0x2000, 0, &[1]);
        (one.kind, two.kind) = (first, second);
        one.waiters[0].total = capture.duration;
        two.waiters[0].total = capture.duration;
        capture.threads[0].observed = capture.duration;
        capture.threads[1].observed = capture.duration;
        capture.locks = vec![one, two];
        capture
    }

    fn advice(capture: &Capture) -> String {
        let judgement = judge(capture, &Thresholds::default());
        let finding = judgement.findings().next().expect("a deadlock");
        assert_eq!(finding.kind.name(), "deadlock");
        let next = finding.next.split_once("recover.");
        next.expect("a restart").1.trim_start().to_owned()
    }

    #[test]
    fn the_advice_follows_from_what_stands_on_the_cycle() {
        use LockKind::{Mutex, PythonGil, ThreadEnd};
        assert_eq!(
            advice(&ring(Mutex, Mutex)),
            "Then take the locks in one order."
        );
        assert_eq!(
            advice(&ring(Mutex, ThreadEnd)),
            "Then release the lock before the thread is joined."
        );
        assert_eq!(
            advice(&ring(PythonGil, ThreadEnd)),
            "Then release the GIL before the thread is joined."
        );
        assert_eq!(
            advice(&ring(PythonGil, Mutex)),
            "Then release the GIL before the lock is taken."
        );
    }

    fn alone(kind: LockKind, stack: &[&str]) -> String {
        let mut builder = Builder::new(1, "alone");
        let stack = builder.stack(stack);
        let mut capture = builder.0;
        blocks(&mut capture, 0, 0x1000, 9000);
        let mut own = lock(&capture, 0x1000, 0, &[0]);
        own.kind = kind;
        capture.threads[0].now.stack = Some(stack);
        capture.locks = vec![own];
        advice(&capture)
    }

    #[test]
    fn a_handler_that_takes_a_lock_is_not_told_to_make_it_recursive() {
        let twice = alone(LockKind::Mutex, &["main", "take@/x/a.c:7"]);
        assert_eq!(
            twice,
            "Then use a recursive lock, or do not lock again at take (a.c:7)."
        );
        let stack = [
            "main",
            "malloc",
            "__restore_rt",
            "handler@/x/a.c:9",
            "malloc",
        ];
        let handler = alone(LockKind::Mutex, &stack);
        assert!(
            handler.starts_with("Then call only async-signal-safe functions"),
            "{handler}"
        );
        let read = alone(LockKind::ReadWrite, &["main"]);
        assert_eq!(read, "Then do not lock again at main.");
    }
}
