//! What was there and could not be judged: loud, with its share, whatever the verdict.

use super::Scene;
use remora_model::display::text::{clean, counted, percent};
use remora_model::places::Meaning;
use remora_model::{FrameKind, JudgeLimit, LimitOf, Process, Reason, Stack, State, Thread};
use std::time::Duration;

/// Children that are named.
const SHOWN: usize = 3;
/// Threads that have slept for less will be seen elsewhere in a moment.
const LONG: Duration = Duration::from_secs(1);
/// Fewer CPU samples say nothing.
const ENOUGH_SAMPLES: u64 = 30;
/// Share of CPU samples without a word from which on they are told.
const MUCH: f64 = 0.2;
/// Minor versions of CPython 3 whose lock objects are read.
const READ: std::ops::RangeInclusive<u32> = 11..=13;

/// Those of a capture.
pub(crate) fn of(scene: &Scene<'_>) -> Vec<JudgeLimit> {
    let targets = scene.capture.processes.iter().filter(|it| it.is_target());
    let mut limits = Vec::new();
    for process in targets.filter(|process| !process.exited) {
        limits.extend(children(scene, process));
        let own = scene.living().map(|(_, thread)| thread);
        let own: Vec<&Thread> = own.filter(|it| it.pid == process.pid).collect();
        let all = own.len();
        let mut add = |of: LimitOf, number: usize, what: &str| {
            if number > 0 {
                let name = scene.process_name(process.pid);
                let why = format!(
                    "{} of {all} in {name}: {what}",
                    counted(number as u64, "thread")
                );
                let share = Some(number as f64 / all as f64);
                limits.push(JudgeLimit { of, why, share });
            }
        };
        let compat = own
            .iter()
            .filter(|it| it.now.reason == Some(Reason::Compat32));
        add(
            LimitOf::Compat32,
            compat.count(),
            "32-bit code, waits not interpreted",
        );
        let cut = own.iter().filter(|it| is_cut(scene, it));
        add(LimitOf::Stacks, cut.count(), "stack of the wait incomplete");
        let unread = own.iter().filter(|it| is_unread(scene, process, it));
        add(
            LimitOf::PythonLocks,
            unread.count(),
            "lock objects of this CPython not read, holders unknown",
        );
        let switched = own.iter().filter(|it| has_greenlets(scene, it));
        add(
            LimitOf::Greenlets,
            switched.count(),
            "greenlets that are switched out not seen",
        );
        for runtime in [Runtime::Go, Runtime::Erlang] {
            let at_rest = own.iter().filter(|it| rests_in(scene, it, runtime));
            add(LimitOf::UserThreads, at_rest.count(), runtime.words());
        }
        let java = own.iter().filter(|it| is_java(scene, it));
        let (of, what) = match refused(scene, process) {
            Some(why) => (
                LimitOf::JavaLocks,
                format!("parked in Java, idle or waiting for a lock; {why}"),
            ),
            None => (
                LimitOf::JavaFrames,
                "parked in Java code without names, idle or waiting for a lock".to_owned(),
            ),
        };
        add(of, java.count(), &what);
        limits.extend(tokio(scene, process, &own));
    }
    limits.extend(samples(scene));
    limits
}

/// CPU samples of targets whose stacks do not say where they are: not whole, or in code without names.
fn samples(scene: &Scene<'_>) -> Option<JudgeLimit> {
    let is_target = |thread: usize| {
        let thread = scene.capture.threads.get(thread);
        let process = thread.and_then(|thread| scene.process(thread.pid));
        process.is_some_and(Process::is_target)
    };
    let own = scene.capture.samples.iter();
    let (mut all, mut mute) = (0_u64, 0_u64);
    for sample in own.filter(|sample| is_target(sample.thread)) {
        let stack = scene.capture.stacks.get(sample.stack);
        all = all.saturating_add(sample.count);
        if stack.is_none_or(is_mute) {
            mute = mute.saturating_add(sample.count);
        }
    }
    let share = mute as f64 / all.max(1) as f64;
    (all >= ENOUGH_SAMPLES && share >= MUCH).then(|| JudgeLimit {
        of: LimitOf::CpuStacks,
        why: format!(
            "{} of {}: stack incomplete or code without names",
            percent(mute as f64, all as f64),
            counted(all, "CPU sample")
        ),
        share: Some(share),
    })
}

/// No function of the program itself is known: what is in the kernel alone has no other.
fn is_mute(stack: &Stack) -> bool {
    let user = || {
        let frames = stack.frames.iter();
        frames.filter(|frame| frame.kind != FrameKind::Kernel)
    };
    match user().count() {
        0 => stack.truncated,
        all => user().filter(|frame| frame.named).count() * 2 < all,
    }
}

/// Children that nobody looked at, of a process that does next to nothing itself.
fn children(scene: &Scene<'_>, process: &Process) -> Option<JudgeLimit> {
    let mut families = scene.capture.families.iter();
    let kin = families.find(|it| it.pid == process.pid)?;
    let unseen = kin.children.iter();
    let unseen: Vec<_> = unseen
        .filter(|it| scene.process(it.pid).is_none_or(|it| !it.is_target()))
        .collect();
    let all = unseen.len() + kin.children_left_out;
    if all == 0 {
        return None;
    }
    let named = unseen.iter().take(SHOWN);
    let mut names: Vec<String> = named
        .map(|it| format!("{} ({})", clean(&it.comm), it.pid))
        .collect();
    if all > names.len() {
        names.push(format!("{} more", all - names.len()));
    }
    let children = if all == 1 {
        "1 child"
    } else {
        &format!("{all} children")
    };
    let name = scene.process_name(process.pid);
    let why = format!(
        "{children} of {name} not judged: {}. Add --children.",
        names.join(", ")
    );
    Some(JudgeLimit {
        of: LimitOf::Children,
        why,
        share: None,
    })
}

fn is_long(thread: &Thread) -> bool {
    thread.now.state == State::Blocked && thread.now.since >= LONG
}

/// A wait of which only the stack could tell what it is, and the stack does not.
fn is_cut(scene: &Scene<'_>, thread: &Thread) -> bool {
    let asks = thread.now.reason == Some(Reason::Futex);
    let stack = scene.stack_now(thread);
    asks && is_long(thread) && stack.is_none_or(|stack| stack.truncated)
}

fn is_unread(scene: &Scene<'_>, process: &Process, thread: &Thread) -> bool {
    let version = process.python.as_ref().map(|it| it.version.as_str());
    let minor = version.and_then(|it| it.split('.').nth(1)?.parse::<u32>().ok());
    let unread = minor.is_some_and(|minor| !READ.contains(&minor));
    unread && is_long(thread) && scene.reading_now(thread).what == Some(Meaning::Lock)
}

fn has_greenlets(scene: &Scene<'_>, thread: &Thread) -> bool {
    let stack = scene.stack_now(thread);
    stack.is_some_and(|stack| {
        stack.frames.iter().any(|frame| match frame.kind {
            FrameKind::Python => frame
                .file
                .as_deref()
                .is_some_and(|it| it.contains("/gevent/")),
            _ => frame
                .module
                .as_deref()
                .is_some_and(|it| it.contains("greenlet") || it.contains("/gevent/")),
        })
    })
}

/// A runtime that parks in its own tables what waits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Runtime {
    Go,
    Erlang,
}

impl Runtime {
    /// A function of its own, by which its threads are known.
    fn has(self, function: &str) -> bool {
        match self {
            Self::Go => function.starts_with("runtime."),
            Self::Erlang => function.starts_with("erts_") || function.starts_with("ethr_"),
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Go => "goroutines that are parked not seen",
            Self::Erlang => "Erlang processes that are parked not seen",
        }
    }
}

/// It has no work, whoever waits without a thread.
fn rests_in(scene: &Scene<'_>, thread: &Thread, runtime: Runtime) -> bool {
    let stack = scene.stack_now(thread).filter(|_| is_long(thread));
    stack.is_some_and(|stack| {
        let mut native = stack.frames.iter();
        native.any(|frame| frame.kind == FrameKind::Native && runtime.has(&frame.name))
    })
}

/// A runtime of tokio, whose tasks are not read. Its threads are judged as any are: this has no share.
fn tokio(scene: &Scene<'_>, process: &Process, own: &[&Thread]) -> Option<JudgeLimit> {
    let runs = |thread: &&Thread| {
        let stack = scene.stack_now(thread);
        let mut frames = stack.into_iter().flat_map(|stack| &stack.frames);
        frames.any(|frame| frame.name.contains("tokio::runtime::scheduler::"))
    };
    own.iter().any(runs).then(|| JudgeLimit {
        of: LimitOf::TokioTasks,
        why: format!(
            "tasks of tokio in {} not read: one that waits for a tokio Mutex is not seen",
            scene.process_name(process.pid)
        ),
        share: None,
    })
}

/// Why the Java virtual machine of a process was not read.
fn refused(scene: &Scene<'_>, process: &Process) -> Option<String> {
    let mut machines = scene.capture.java.iter();
    let machine = machines.find(|machine| machine.pid == process.pid)?;
    Some(clean(machine.refused.as_deref()?).into_owned())
}

/// It parks in the Java virtual machine, none of Java's own functions on its stack has a name, and the machine does not
/// say on what.
fn is_java(scene: &Scene<'_>, thread: &Thread) -> bool {
    let told = scene.java_wait(thread.tid);
    if told.is_some_and(|wait| !wait.classes.is_empty()) {
        return false;
    }
    let reading = scene.reading_now(thread);
    let Some(stack) = scene
        .stack_now(thread)
        .filter(|_| is_long(thread) && !reading.home)
    else {
        return false;
    };
    let by = reading.by.and_then(|at| stack.frames.get(at));
    let in_vm = by
        .and_then(|it| it.module.as_deref())
        .is_some_and(|it| it.ends_with("/libjvm.so"));
    in_vm && reading.gaps && reading.what == Some(Meaning::Condition)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Thresholds;
    use crate::waits::tests::sleeps;
    use remora_model::fixture::Builder;
    use remora_model::{ProcessTree, Relative};

    fn said(builder: &Builder) -> Vec<(LimitOf, String)> {
        let thresholds = Thresholds::default();
        let limits = of(&Scene::new(&builder.0, &thresholds));
        limits.into_iter().map(|it| (it.of, it.why)).collect()
    }

    #[test]
    fn children_that_nobody_watched_are_named() {
        let mut builder = Builder::new(1, "sh");
        let child = |pid| Relative {
            pid,
            comm: "worker".into(),
            age: Duration::ZERO,
        };
        builder.0.families.push(ProcessTree {
            pid: 1,
            age: Duration::ZERO,
            ancestors: Vec::new(),
            children: vec![child(7), child(8)],
            children_left_out: 0,
        });
        let limits = said(&builder);
        assert_eq!(limits[0].0, LimitOf::Children);
        assert!(
            limits[0]
                .1
                .contains("2 children of sh (1) not judged: worker (7), worker (8)"),
            "{}",
            limits[0].1
        );
        builder.process(7, "worker");
        builder.process(8, "worker");
        assert!(said(&builder).is_empty());
    }

    #[test]
    fn tasks_of_tokio_are_not_read_and_leave_the_verdict_as_it_is() {
        let mut builder = Builder::new(1, "server");
        let park = "tokio::runtime::scheduler::multi_thread::worker::Context::park";
        sleeps(
            &mut builder,
            0,
            Reason::Epoll,
            &["start_thread", park, "epoll_wait"],
            60,
        );
        let limits = said(&builder);
        assert_eq!(limits[0].0, LimitOf::TokioTasks);
        assert!(limits[0].1.contains("tokio Mutex"), "{}", limits[0].1);
        let verdict = crate::judge(&builder.0, &Thresholds::default()).verdict;
        assert_eq!(verdict, remora_model::Verdict::Idle);
        sleeps(
            &mut builder,
            0,
            Reason::Epoll,
            &["start_thread", "serve", "epoll_wait"],
            60,
        );
        assert!(said(&builder).is_empty());
    }

    #[test]
    fn a_large_share_that_was_not_judged_is_loud() {
        let mut builder = Builder::new(1, "jit");
        builder.samples(0, &["main", "run"], 60);
        builder.samples(0, &["main", "k:read"], 10);
        assert!(said(&builder).is_empty());
        builder.samples(0, &["main", "j:a", "j:b", "j:c"], 30);
        let mute = builder.0.samples.last().map(|it| it.stack);
        for frame in &mut builder.0.stacks[mute.expect("a sample")].frames[1..] {
            frame.named = false;
        }
        let thresholds = Thresholds::default();
        let limits = |builder: &Builder| of(&Scene::new(&builder.0, &thresholds));
        let few = limits(&builder);
        assert_eq!(few[0].of, LimitOf::CpuStacks);
        assert!(
            few[0].why.starts_with("30.0 % of 100 CPU samples"),
            "{}",
            few[0].why
        );
        assert!(!few[0].is_large());
        builder.0.samples.last_mut().expect("a sample").count = 200;
        assert!(limits(&builder)[0].is_large());
    }

    #[test]
    fn what_a_runtime_parks_without_a_thread_is_not_seen() {
        let mut builder = Builder::new(1, "caddy");
        builder.thread(1, 2, "caddy");
        let parks = ["runtime.mstart", "runtime.findRunnable", "runtime.futex"];
        sleeps(&mut builder, 0, Reason::Futex, &parks, 5);
        sleeps(&mut builder, 1, Reason::Futex, &["main", "wait"], 5);
        let [(of, why)] = &said(&builder)[..] else {
            panic!("{:?}", said(&builder))
        };
        assert_eq!(*of, LimitOf::UserThreads);
        assert_eq!(
            why,
            "1 thread of 2 in caddy (1): goroutines that are parked not seen"
        );
        builder.0.threads[0].now.since = Duration::ZERO;
        assert!(said(&builder).is_empty());
    }

    #[test]
    fn stacks_that_do_not_reach_their_root_are_counted_where_they_would_be_asked() {
        let mut builder = Builder::new(1, "target");
        sleeps(&mut builder, 0, Reason::Futex, &["take", "futex_wait"], 5);
        assert!(said(&builder).is_empty());
        builder.0.stacks[0].truncated = true;
        assert_eq!(said(&builder)[0].0, LimitOf::Stacks);
        builder.0.threads[0].now.reason = Some(Reason::Epoll);
        assert!(said(&builder).is_empty());
        builder.0.threads[0].now.reason = Some(Reason::Compat32);
        assert_eq!(said(&builder)[0].0, LimitOf::Compat32);
    }
}
