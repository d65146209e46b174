//! `busy_spin`: a CPU is used without progress.
//!
//! A worker with honest work uses a CPU as well. So a use of the CPU is never evidence; what is asked for are
//! samples in the calls by which a program asks whether there is something to do (epoll, poll, select, yield), or
//! in a spin lock, and none in the calls that take in or give out anything. A server that never runs dry
//! asks as often, but it reads and writes each time. A Python loop spends most of a turn in its own
//! machinery, and counts when nothing but that is seen. What it goes round in is told from the samples that lie in a
//! callback (`round`).

mod round;

use super::event_loops::{framework, is_in_epoll};
use super::{
    Findings, Scene, tasks,
    words::{self, Headline},
};
use remora_model::display::text::{count, percent, queue_bytes, share};
use remora_model::{
    Confidence, Finding, FindingKind, Frame, FrameKind, Severity, Socket, SocketState, Stack,
    Subject, Thread, Topic,
};
use std::collections::HashMap;
use std::time::Duration;

/// It takes so many samples to say something.
const ENOUGH: u64 = 30;
/// Of them, so many in asking calls or a spin lock.
const ASKS: f64 = 0.5;
/// In those of a Python loop: its machinery, and some in the poll itself.
const MACHINERY: (f64, f64) = (0.6, 0.02);
/// Samples in calls that take in or give out: more is work.
const WORKS: f64 = 0.02;

/// Calls that ask, beside those of epoll: their functions in the kernel begin so behind a prefix, and those of
/// the C library are called so ([`bare`]).
const ASKING: [&str; 5] = ["poll", "ppoll", "select", "pselect", YIELD];
/// The one of them that asks for nothing.
const YIELD: &str = "sched_yield";
/// What stands before the name of a call in the kernel's functions for it: several of them are inlined into
/// each other, by the whim of the compiler.
const PREFIXES: [&str; 10] = [
    "__x64_sys_",
    "__ia32_sys_",
    "__arm64_sys_",
    "__do_sys_",
    "__se_sys_",
    "do_sys_",
    "ksys_",
    "kern_",
    "core_sys_",
    "do_",
];
/// The function that spins on a lock word.
const SPINNING: &str = "pthread_spin_lock";
/// Kernel functions that move bytes or messages.
const WORKING: [&str; 14] = [
    "vfs_read",
    "vfs_write",
    "ksys_read",
    "ksys_write",
    "__sys_recv",
    "___sys_recv",
    "__sys_send",
    "___sys_send",
    "do_readv",
    "do_writev",
    "do_iter_read",
    "do_iter_write",
    "__sys_accept",
    "do_accept",
];
/// Python files of loops' machinery.
const LOOP_FILES: [&str; 6] = [
    "asyncio/base_events.py",
    "asyncio/events.py",
    "asyncio/selector_events.py",
    "asyncio/tasks.py",
    "asyncio/futures.py",
    "selectors.py",
];

/// What samples of a thread lie in.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    all: u64,
    asks: u64,
    yields: u64,
    spins: u64,
    works: u64,
    machinery: u64,
    /// Stack with the most of the asking or spinning.
    stack: Option<(u64, usize)>,
}

/// What it spins in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spin {
    Asks,
    Yields,
    Lock,
    Loop(&'static str),
}

pub(crate) fn analyze(scene: &Scene<'_>, findings: &mut Findings) {
    let mut tallies: HashMap<usize, Tally> = HashMap::new();
    for sample in &scene.capture.samples {
        if let Some(stack) = scene.capture.stacks.get(sample.stack) {
            let tally = tallies.entry(sample.thread).or_default();
            tally.add(stack, sample.stack, sample.count);
        }
    }
    for (index, thread) in scene.living() {
        // Others may have the CPU meanwhile: who spins never sleeps.
        let wants_all = thread.wanted().as_secs_f64()
            >= scene.thresholds.busy_spin.min(1.0) * thread.observed.as_secs_f64();
        if !wants_all || thread.observed < Duration::from_secs(1) {
            continue;
        }
        if let Some(tally) = tallies.get(&index)
            && let Some(spin) = tally.spin(scene)
        {
            findings.push(finding(scene, (index, thread), tally, spin));
        }
    }
}

impl Tally {
    fn add(&mut self, stack: &Stack, index: usize, count: u64) {
        self.all = self.all.saturating_add(count);
        let leaf = leaf(stack);
        let leaf = leaf.map_or("", |frame| bare(&frame.name));
        let kernel = |names: &[&str]| {
            let frames = stack.frames.iter();
            let mut frames = frames.filter(|frame| frame.kind == FrameKind::Kernel);
            frames.any(|frame| names.iter().any(|name| frame.name.starts_with(name)))
        };
        let asks = is_in_epoll(stack) || is_in(stack, &ASKING) || ASKING.contains(&leaf);
        let spins = leaf == SPINNING;
        if asks {
            self.asks = self.asks.saturating_add(count);
            let yields = is_in(stack, &[YIELD]) || leaf == YIELD;
            self.yields = self.yields.saturating_add(if yields { count } else { 0 });
        }
        self.spins = self.spins.saturating_add(if spins { count } else { 0 });
        self.works = self
            .works
            .saturating_add(if kernel(&WORKING) { count } else { 0 });
        let machinery = is_machinery(stack);
        self.machinery = self
            .machinery
            .saturating_add(if machinery { count } else { 0 });
        if (asks || spins || machinery) && self.stack.is_none_or(|(most, _)| count > most) {
            self.stack = Some((count, index));
        }
    }

    fn spin(&self, scene: &Scene<'_>) -> Option<Spin> {
        let of_all = |part: u64| part as f64 / self.all.max(1) as f64;
        if self.all < ENOUGH || of_all(self.works) > WORKS {
            return None;
        }
        if of_all(self.spins) >= ASKS {
            return Some(Spin::Lock);
        }
        if of_all(self.asks) >= ASKS {
            return Some(if self.yields > self.asks / 2 {
                Spin::Yields
            } else {
                Spin::Asks
            });
        }
        let stack = self
            .stack
            .and_then(|(_, stack)| scene.capture.stacks.get(stack))?;
        let (_, name) = framework(stack)?;
        let turns = of_all(self.machinery) >= MACHINERY.0 && of_all(self.asks) >= MACHINERY.1;
        turns.then_some(Spin::Loop(name))
    }
}

/// The innermost frame of the program.
fn leaf(stack: &Stack) -> Option<&Frame> {
    stack
        .frames
        .iter()
        .rev()
        .find(|frame| frame.kind != FrameKind::Kernel)
}

/// The name of a function of the C library without what marks its aliases: `__GI___poll` is `poll`.
fn bare(name: &str) -> &str {
    name.trim_start_matches("__GI_").trim_start_matches('_')
}

/// Whether a stack is in the kernel's part of one of these calls.
fn is_in(stack: &Stack, calls: &[&str]) -> bool {
    let frames = stack.frames.iter();
    let mut kernel = frames.filter(|frame| frame.kind == FrameKind::Kernel);
    kernel.any(|frame| {
        let call = PREFIXES.iter().find_map(|it| frame.name.strip_prefix(it));
        // A prefix there must be: `select_task_rq_fair` is no select.
        call.is_some_and(|call| calls.iter().any(|name| call.starts_with(name)))
    })
}

/// Whether the innermost Python frame belongs to the loop itself.
fn is_machinery(stack: &Stack) -> bool {
    let mut frames = stack.frames.iter().rev();
    let leaf = frames.find(|frame| frame.kind == FrameKind::Python);
    let file = leaf.and_then(|frame| frame.file.as_deref());
    file.is_some_and(|file| LOOP_FILES.iter().any(|own| file.ends_with(own)))
}

fn finding(
    scene: &Scene<'_>,
    (index, thread): (usize, &Thread),
    tally: &Tally,
    spin: Spin,
) -> Finding {
    let mut finding = scene.about_thread(FindingKind::BusySpin, Severity::Warning, thread);
    finding.since = Some(thread.observed);
    finding.since_at_least = true;
    finding.confidence = Confidence::Inferred;
    finding.about = vec![Subject::Thread(thread.tid)];
    finding.summary = summary(scene, thread, spin);
    let callbacks = round::callbacks(scene, index);
    if !callbacks.is_empty() {
        let line = format!("goes round in {}", callbacks.join(", "));
        finding = finding.fact(Topic::Reason, line);
    }
    for line in tasks::ready(scene, thread) {
        finding = finding.fact(Topic::Task, line);
    }
    finding = finding.fact(Topic::Samples, cpu(tally, spin));
    if let Some(rate) = rate(scene, index) {
        finding = finding.fact(Topic::Rate, rate);
    }
    for socket in ready(scene, thread) {
        finding.because_of.push(Subject::Socket(socket.inode));
        finding = finding.fact(Topic::Socket, ready_words(scene, socket));
    }
    let stack = tally
        .stack
        .and_then(|(_, stack)| scene.capture.stacks.get(stack));
    if let Some(code) = stack.and_then(words::code) {
        finding = finding.fact(Topic::Where, code);
    }
    finding = finding.fact(Topic::Inferred, "from where its CPU samples lie");
    let at = words::at(stack.and_then(words::place).as_deref());
    let fd = ready(scene, thread).next().map(|socket| socket.fd);
    finding.next = match (spin, fd) {
        (Spin::Lock, _) => format!("Replace the spin{at} with a mutex."),
        (Spin::Yields, _) => {
            format!("Replace sched_yield{at} with a wait (mutex, condition variable).")
        }
        (_, Some(fd)) => {
            format!("Read or close fd {fd}, or remove it from epoll. Use a timeout above 0.")
        }
        (Spin::Loop(_) | Spin::Asks, None) if !callbacks.is_empty() => {
            let callback = round::place(&callbacks);
            format!("Wait for an event or a timer in {callback} instead of going round the loop.")
        }
        (_, None) => {
            format!("Use a timeout above 0 in the poll{at}. Unregister what is always ready.")
        }
    };
    finding
}

fn summary(scene: &Scene<'_>, thread: &Thread, spin: Spin) -> String {
    let what = match spin {
        Spin::Asks => "it polls without work".to_owned(),
        Spin::Yields => "it calls sched_yield in a loop".to_owned(),
        Spin::Lock => "it spins on a lock".to_owned(),
        Spin::Loop(name) => format!("its {name} loop polls without work"),
    };
    let more = match thread.queued() > thread.wanted() / 5 {
        true => " and wants all of it",
        false => "",
    };
    let headline = Headline {
        who: &words::thread(thread),
        of: &scene.process_name(thread.pid),
        what: &format!(
            "uses {} of one CPU{more}",
            share(thread.on_cpu, thread.observed)
        ),
        detail: &what,
    };
    headline.fitted()
}

/// Where its samples lie.
fn cpu(tally: &Tally, spin: Spin) -> String {
    let of_all = |part: u64| percent(part as f64, tally.all as f64);
    let own = match spin {
        Spin::Lock => format!("{} in the spin lock", of_all(tally.spins)),
        Spin::Loop(_) => format!(
            "{} poll calls, {} the loop's own code",
            of_all(tally.asks),
            of_all(tally.machinery)
        ),
        Spin::Yields => format!("{} sched_yield", of_all(tally.yields)),
        Spin::Asks => format!("{} poll calls", of_all(tally.asks)),
    };
    format!(
        "{own}, {} read/write (of {})",
        of_all(tally.works),
        count(tally.all)
    )
}

/// How often it asks, where that is known exactly.
fn rate(scene: &Scene<'_>, index: usize) -> Option<String> {
    let own = scene.event_loop(index).filter(|own| own.exact)?;
    let seconds = scene.capture.duration.as_secs_f64().max(1e-3);
    let a_second = (own.waits as f64 / seconds) as u64;
    let empty = own.timeouts.unwrap_or(0);
    Some(format!(
        "{} polls/s, {} without an event",
        count(a_second),
        percent(empty as f64, own.waits as f64)
    ))
}

/// Sockets that its epoll set reports again and again: something is there, and nothing is taken.
fn ready<'a>(scene: &Scene<'a>, thread: &'a Thread) -> impl Iterator<Item = &'a Socket> {
    const EDGE: u32 = 1 << 31;
    let sockets = scene.capture.sockets.iter();
    let sockets = sockets.filter(|it| it.open && it.pid == thread.pid && it.backlog.is_none());
    let stuck = sockets.filter(|socket| {
        let level = socket.watched_by.iter().any(|watch| {
            let own = watch.tids.is_empty() || watch.tids.contains(&thread.tid);
            own && watch.armed() && watch.events & EDGE == 0
        });
        let tcp = socket.tcp.unwrap_or_default();
        let unread = socket.receive.min > 0 && socket.receive.min == socket.receive.max;
        let quiet = tcp.received_in_capture == 0 && tcp.sent_in_capture == 0;
        let over = socket.receive_shut
            || socket.state == SocketState::CloseWait
            || socket.state == SocketState::Closed;
        let writable =
            socket.watched_by.iter().any(|watch| watch.events & 4 != 0) && socket.send.max == 0;
        level && quiet && (unread || over || writable)
    });
    stuck.take(2)
}

fn ready_words(scene: &Scene<'_>, socket: &Socket) -> String {
    let name = words::socket(scene, socket);
    let state = match socket.unread_bytes() {
        0 => socket.state.label().to_owned(),
        unread => format!("{} unread", queue_bytes(unread.into())),
    };
    format!("{name}: {state}, always ready in epoll")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Thresholds, judge};
    use remora_model::fixture::Builder;

    fn kinds(words: &[(&[&str], u64)]) -> Vec<FindingKind> {
        let mut builder = Builder::new(7, "router");
        for (stack, samples) in words {
            builder.samples(0, stack, *samples);
        }
        let judgement = judge(&builder.finish(), &Thresholds::default());
        judgement.findings().map(|finding| finding.kind).collect()
    }

    #[test]
    fn a_thread_that_asks_all_the_time_spins_and_one_that_works_does_not() {
        let asks: (&[&str], u64) = (
            &["main", "epoll_wait", "k:do_syscall_64", "k:do_epoll_wait"],
            2000,
        );
        let handler: (&[&str], u64) = (&["main", "handle"], 800);
        assert_eq!(kinds(&[asks, handler]), [FindingKind::BusySpin]);
        let reads: (&[&str], u64) = (&["main", "read", "k:do_syscall_64", "k:ksys_read"], 100);
        assert!(
            kinds(&[asks, handler, reads]).is_empty(),
            "it takes something in"
        );
        assert!(
            kinds(&[(&["main", "compute"], 2900)]).is_empty(),
            "honest work"
        );
        for spins in [
            &["main", "__pthread_spin_lock"][..],
            &[
                "main",
                "__GI_sched_yield",
                "k:do_syscall_64",
                "k:__do_sys_sched_yield",
                "k:schedule",
            ],
            &["main", "__GI___poll"],
            &["main", "poll", "k:do_sys_poll"],
        ] {
            assert_eq!(
                kinds(&[(spins, 2900)]),
                [FindingKind::BusySpin],
                "{spins:?}"
            );
        }
        let wakes: (&[&str], u64) = (
            &["main", "wake", "k:futex_wake", "k:select_task_rq_fair"],
            2900,
        );
        assert!(kinds(&[wakes]).is_empty(), "no select");
    }

    #[test]
    fn a_python_loop_that_turns_without_work_is_told_by_its_own_machinery() {
        let run_once = "p:BaseEventLoop._run_once@/lib/asyncio/base_events.py:1900";
        let select = "p:EpollSelector.select@/lib/selectors.py:468";
        let own: (&[&str], u64) = (&[run_once, select], 1500);
        let poll: (&[&str], u64) = (&[run_once, select, "epoll_wait"], 200);
        let user: (&[&str], u64) = (&[run_once, "p:wait@feed.py:3"], 900);
        assert_eq!(kinds(&[own, poll, user]), [FindingKind::BusySpin]);
        let much: (&[&str], u64) = (&[run_once, "p:parse@feed.py:9"], 2500);
        assert!(
            kinds(&[(own.0, 300), poll, much]).is_empty(),
            "its callbacks do something"
        );
    }
}
