//! `lock_contention`: a thread loses much of its time in waits for one lock.
//!
//! Every lock is waited for now and then; what counts is the share of a thread's time that goes there. Similar and
//! healthy: workers that wait for work in a condition variable or semaphore (no lock: those kinds never count, and
//! neither does a wait at a thread's idle place), and workers that queue for a mutex whose holder waits for the next
//! connection in `accept` or `epoll_wait` (leader and followers): where the one that could make progress is idle, or the
//! holders did too little besides to account for what was lost, nobody is held up. A lock of a deadlock is that finding's,
//! and so is one that is not handed over at all.

use super::{
    Findings, Scene,
    graph::{End, Graph, Node, Thing, Wait},
    lock_stuck,
    words::{self, Headline},
};
use remora_model::display::text::{clean, counted, duration, percent};
use remora_model::{
    Confidence, Finding, FindingKind, Idleness, Lock, LockKind, LockStack, OwnerFrom, Reason,
    Severity, Site, State, Subject, Topic, Waiter, takes_lock,
};
use std::collections::HashSet;
use std::time::Duration;

/// Less lost time than this is no share of anything.
const LEAST: Duration = Duration::from_millis(200);
/// Waiters and holders that are shown.
const SHOWN: usize = 3;
/// From this share on a thread does nothing else.
const ALL: f64 = 0.9;

pub(crate) fn analyze(scene: &Scene<'_>, findings: &mut Findings) {
    let graph = Graph::of(scene);
    let cycles = graph.cycles();
    let nodes = cycles
        .iter()
        .flat_map(|cycle| cycle.nodes.iter().chain(&cycle.behind));
    let mut told: HashSet<Subject> = nodes
        .filter_map(|node| graph.wait(*node)?.subject)
        .collect();
    told.extend(lock_stuck::futexes(&graph));
    let idle = idle_places(scene);
    let mut parked: HashSet<(u32, u64)> = HashSet::new();
    for lock in &scene.capture.locks {
        let subject = Subject::Lock(lock.pid, lock.address);
        let is_told = |at: u64| parked.contains(&(lock.pid, at));
        if told.contains(&subject)
            || lock.parked_at.is_some_and(is_told)
            || !counts(scene, &graph, lock)
        {
            continue;
        }
        let mut losers: Vec<Loser<'_>> = lock
            .waiters
            .iter()
            .filter_map(|waiter| loser(scene, lock, waiter, &idle))
            .collect();
        losers.sort_by(|a, b| b.share.total_cmp(&a.share));
        if let Some(worst) = losers.first()
            && worst.share >= scene.thresholds.lock_contention
            && !is_queue_of_idle(scene, &graph, worst)
            && !is_held_at_rest(scene, lock, worst)
        {
            findings.push(finding(scene, &graph, lock, &losers));
            // Its other waiters sleep elsewhere: it is one lock.
            parked.extend(lock.parked_at.map(|at| (lock.pid, at)));
        }
    }
}

/// A thread and what it lost.
struct Loser<'a> {
    waiter: &'a Waiter,
    lost: Duration,
    share: f64,
}

/// Stacks in which threads wait for work.
fn idle_places(scene: &Scene<'_>) -> HashSet<(usize, usize)> {
    let waits = scene.capture.waits.iter();
    let idle = waits.filter(|wait| wait.idle != Idleness::Busy);
    idle.filter_map(|wait| match wait.site {
        Site::Stack(stack) => Some((wait.thread, stack)),
        Site::Short | Site::Lost => None,
    })
    .collect()
}

/// Whether it is a lock, beyond doubt.
fn counts(scene: &Scene<'_>, graph: &Graph<'_>, lock: &Lock) -> bool {
    match lock.kind {
        LockKind::ThreadEnd | LockKind::Futex => false,
        LockKind::Event => is_python_lock(graph, lock),
        // Whatever waits with the value 2: a counter may have it as well.
        _ if lock.kind_inferred => {
            let stacks = lock.waiter_stacks.iter();
            let mut stacks = stacks.filter_map(|it| scene.capture.stacks.get(it.stack));
            stacks.next().is_some_and(takes_lock)
        }
        _ => true,
    }
}

/// A semaphore that is that of a `threading.Lock` whose holder is known.
fn is_python_lock(graph: &Graph<'_>, lock: &Lock) -> bool {
    now_waiting(graph, lock).is_some_and(|(_, wait)| wait.what.is_of_threading())
}

/// The first thread that waits for it at the end, and its wait.
fn now_waiting<'g>(graph: &'g Graph<'_>, lock: &Lock) -> Option<(Node, &'g Wait)> {
    let mut now = lock.waiters.iter().filter(|waiter| waiter.now);
    now.find_map(|waiter| {
        let node = Node::Thread(waiter.thread);
        Some((node, graph.wait(node)?))
    })
}

fn loser<'a>(
    scene: &Scene<'_>,
    lock: &Lock,
    waiter: &'a Waiter,
    idle: &HashSet<(usize, usize)>,
) -> Option<Loser<'a>> {
    let thread = scene.capture.threads.get(waiter.thread)?;
    // One wait, which the end of the process or an exec ended: nobody gave it the lock.
    let process = scene.process(thread.pid);
    let is_over = process.is_some_and(|it| it.exited || it.was.is_some());
    if is_over && thread.now.state == State::Exited && waiter.waits <= 1 {
        return None;
    }
    // The GIL is waited for as a condition is.
    let is_gil = lock.kind == LockKind::PythonGil;
    let own = lock
        .waiter_stacks
        .iter()
        .filter(|it| it.thread == waiter.thread && !is_gil);
    let at_rest = own
        .filter(|it| idle.contains(&(it.thread, it.stack)))
        .fold(Duration::ZERO, |sum, it| sum.saturating_add(it.total));
    let lost = waiter.total.saturating_sub(at_rest).min(thread.observed);
    let enough = lost >= LEAST && !thread.observed.is_zero();
    enough.then(|| Loser {
        waiter,
        lost,
        share: lost.as_secs_f64() / thread.observed.as_secs_f64(),
    })
}

/// Whether the one that could make progress waits for work itself.
fn is_queue_of_idle(scene: &Scene<'_>, graph: &Graph<'_>, worst: &Loser<'_>) -> bool {
    let chain = graph.chain(worst.waiter.thread);
    let End::Node(Node::Thread(last)) = chain.end else {
        return false;
    };
    if chain.steps.is_empty() {
        return false;
    }
    let reason = scene.capture.threads.get(last).and_then(|it| it.now.reason);
    scene.is_idle_now(last) || reason.is_some_and(is_arrival)
}

/// Waits for whatever comes.
const fn is_arrival(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Epoll | Reason::SocketAccept | Reason::SignalWait | Reason::IoUring
    )
}

/// Whether those that held it waited for whatever comes meanwhile: all that they did besides, under the lock or not, is
/// less than half of what was lost. So it is with those that take turns in `accept`, at work.
fn is_held_at_rest(scene: &Scene<'_>, lock: &Lock, worst: &Loser<'_>) -> bool {
    let mut holders: HashSet<u32> = lock.holders.iter().map(|holder| holder.tid).collect();
    holders.extend(lock.owner.iter().map(|owner| owner.tid));
    let mut busy = Duration::ZERO;
    let mut known = 0;
    for (index, thread) in scene.capture.threads.iter().enumerate() {
        if !holders.contains(&thread.tid) {
            continue;
        }
        known += 1;
        let waits = scene.capture.waits.iter();
        let waits = waits.filter(|wait| wait.thread == index && is_arrival(wait.reason));
        let turns = lock.waiters.iter().filter(|it| it.thread == index);
        let elsewhere = waits.map(|wait| wait.total).chain(turns.map(|it| it.total));
        let work = elsewhere.fold(thread.observed, Duration::saturating_sub);
        busy = busy.saturating_add(work);
    }
    known > 0 && known >= holders.len() && busy < worst.lost / 2
}

fn finding(scene: &Scene<'_>, graph: &Graph<'_>, lock: &Lock, losers: &[Loser<'_>]) -> Finding {
    let worst = losers.first();
    let thread = worst.and_then(|it| scene.capture.threads.get(it.waiter.thread));
    let severity = match worst {
        Some(worst) if worst.share >= ALL => Severity::Critical,
        _ => Severity::Warning,
    };
    let mut finding = match thread {
        Some(thread) => scene.about_thread(FindingKind::LockContention, severity, thread),
        None => scene.about_process(FindingKind::LockContention, severity, lock.pid),
    };
    let waiting = worst.filter(|it| it.waiter.now);
    if let Some(thread) = thread.filter(|it| waiting.is_some() && it.now.state == State::Blocked) {
        finding.since = Some(thread.now.since);
        finding.since_at_least = thread.now.since_inferred;
    }
    finding.summary = summary(scene, graph, lock, losers);
    if lock.kind_inferred
        || lock
            .owner
            .as_ref()
            .is_some_and(|owner| matches!(owner.from, OwnerFrom::Code | OwnerFrom::LastWaker))
    {
        finding.confidence = Confidence::Inferred;
    }
    for loser in losers.iter().take(SHOWN) {
        finding = finding.fact(Topic::Waiter, loser_words(scene, loser));
    }
    let more = losers.len().saturating_sub(SHOWN);
    if more > 0 {
        finding = finding.fact(Topic::Waiter, counted(more as u64, "more thread"));
    }
    finding = code(scene, finding, "waiter", &lock.waiter_stacks);
    for holder in lock.holders.iter().take(SHOWN) {
        let words = format!(
            "{}-{}, {}, {} in total, longest {}",
            clean(&holder.comm),
            holder.tid,
            counted(holder.waits, "wait"),
            duration(holder.total),
            duration(holder.longest),
        );
        finding = finding.fact(Topic::Holder, words);
    }
    finding = code(scene, finding, "holder", &lock.holder_stacks);
    if let Some((Node::Thread(index), _)) = now_waiting(graph, lock) {
        let chain = graph.chain(index);
        finding.evidence.extend(chain.facts(graph));
        let of_others = chain.because_of(graph).into_iter();
        finding.because_of = of_others
            .filter(|it| *it != Subject::Lock(lock.pid, lock.address))
            .collect();
    }
    finding.next = next(scene, lock);
    finding.about = vec![Subject::Lock(lock.pid, lock.address)];
    finding
}

/// Which threads contend, for what, and how much of their time goes there.
fn summary(scene: &Scene<'_>, graph: &Graph<'_>, lock: &Lock, losers: &[Loser<'_>]) -> String {
    let worst = losers.first();
    let thread = worst.and_then(|it| scene.capture.threads.get(it.waiter.thread));
    let what = match now_waiting(graph, lock) {
        Some((_, wait)) => wait.what.clone(),
        None => Thing::of(lock),
    };
    let share = percent(worst.map_or(0.0, |it| it.share), 1.0);
    let of = scene.process_name(lock.pid);
    let (who, what) = match losers.len() {
        0 | 1 => (
            thread.map_or_else(String::new, words::thread),
            format!("blocked {share} of the time by {what}"),
        ),
        several => (format!("{several} threads"), format!("contend for {what}")),
    };
    let detail = match losers.len() {
        0 | 1 => String::new(),
        _ => format!("up to {share} of the time blocked"),
    };
    let headline = Headline {
        who: &who,
        of: &of,
        what: &what,
        detail: &detail,
    };
    headline.fitted()
}

fn next(scene: &Scene<'_>, lock: &Lock) -> String {
    let place = lock
        .holder_stacks
        .iter()
        .find_map(|it| words::place(scene.capture.stacks.get(it.stack)?));
    let at = words::at(place.as_deref());
    match lock.kind {
        LockKind::PythonGil => {
            format!("Move CPU work{at} to processes or to code that releases the GIL.")
        }
        _ => format!("Move I/O, sleeps and long loops out of the lock{at}."),
    }
}

fn loser_words(scene: &Scene<'_>, loser: &Loser<'_>) -> String {
    let thread = scene.capture.threads.get(loser.waiter.thread);
    format!(
        "{} blocked {} ({}) in {}",
        thread.map_or_else(String::new, words::thread),
        duration(loser.lost),
        percent(loser.share, 1.0),
        counted(loser.waiter.waits, "wait"),
    )
}

/// Where the waiters wait, or what the holders do: the stack with the most time.
fn code(scene: &Scene<'_>, finding: Finding, who: &str, stacks: &[LockStack]) -> Finding {
    let named = stacks.iter().find_map(|it| {
        let thread = scene.capture.threads.get(it.thread)?;
        let code = words::code(scene.capture.stacks.get(it.stack)?)?;
        Some(format!("{who} {}: {code}", words::thread(thread)))
    });
    match named {
        Some(words) => finding.fact(Topic::Where, words),
        None => finding,
    }
}

#[cfg(test)]
mod tests;
