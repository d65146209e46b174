//! What kind of wait it is, case by case.

use super::*;
use crate::Thresholds;
use crate::graph::tests::lock;
use remora_model::fixture::Builder;
use remora_model::{Capture, PythonWait, Syscall};

/// A thread sleeps for this reason in this stack for so many seconds.
pub(crate) fn sleeps(
    builder: &mut Builder,
    thread: usize,
    reason: Reason,
    words: &[&str],
    seconds: u64,
) {
    let stack = builder.stack(words);
    let now = &mut builder.0.threads[thread].now;
    now.state = State::Blocked;
    now.reason = Some(reason);
    now.stack = Some(stack);
    now.since = Duration::from_secs(seconds);
    now.args[0] = 0x1000 + thread as u64;
    if reason == Reason::Futex {
        now.syscall = Some(Syscall::named("futex"));
    }
}

fn kinds(capture: &Capture) -> Vec<Kind> {
    let thresholds = Thresholds::default();
    let scene = Scene::new(capture, &thresholds);
    let graph = Graph::of(&scene);
    let waits = Waits::of(&graph);
    waits.all.iter().map(|it| it.kind).collect()
}

/// The kind of one thread's wait.
fn kind_of(reason: Reason, words: &[&str]) -> Kind {
    let mut builder = Builder::new(1, "target");
    sleeps(&mut builder, 0, reason, words, 60);
    kinds(&builder.finish())[0]
}

#[test]
fn each_reason_has_a_kind_and_the_stack_refines_it() {
    use Reason as R;
    let deep = ["main", "a", "b", "c", "d", "e", "pthread_cond_wait"];
    let cases: [(Reason, &[&str], Kind); 14] = [
        (
            R::Epoll,
            &["main", "epoll_wait"],
            Kind::Rest(Rest::EventLoop),
        ),
        (
            R::SocketAccept,
            &["main", "accept"],
            Kind::Rest(Rest::Arrival),
        ),
        (R::Sleep, &["main", "nanosleep"], Kind::Timer),
        (R::WaitChild, &["main", "wait4"], Kind::Child),
        (R::Disk, &["main", "fsync"], Kind::Kernel),
        (R::SocketReceive, &["main", "fetch", "recv"], Kind::Data),
        (
            R::SocketReceive,
            &["main", "fetch", "SSL_connect", "BIO_read", "read"],
            Kind::Handshake,
        ),
        (
            R::Poll,
            &["main", "query", "PQexec", "pqWait", "poll"],
            Kind::Answer,
        ),
        (
            R::Futex,
            &["start_thread", "run", "pthread_cond_wait"],
            Kind::Rest(Rest::Bottom),
        ),
        (R::Futex, &deep, Kind::Condition),
        (R::Futex, &["main", "take", "__lll_lock_wait"], Kind::Lock),
        (
            R::Futex,
            &["main", "Spin::lock", "syscall"],
            Kind::Unexplained,
        ),
        (
            R::Futex,
            &["main", "pthread_join", "futex_wait"],
            Kind::Join,
        ),
        (
            R::Futex,
            &["main", "std::future<int>::get()", "futex_wait"],
            Kind::Future,
        ),
    ];
    for (reason, words, kind) in cases {
        assert_eq!(kind_of(reason, words), kind, "{reason:?} {words:?}");
    }
}

#[test]
fn a_lock_that_memory_knows_is_one_whatever_the_stack_says() {
    let mut builder = Builder::new(1, "target");
    sleeps(
        &mut builder,
        0,
        Reason::Futex,
        &["main", "pthread_cond_wait"],
        60,
    );
    let mut capture = builder.finish();
    let mutex = lock(&capture, 0x1000, 0, &[0]);
    capture.locks.push(mutex);
    assert_eq!(kinds(&capture), [Kind::Lock]);
    capture.locks[0].kind = LockKind::PythonGil;
    assert_eq!(kinds(&capture), [Kind::Gil]);
    capture.locks[0].kind = LockKind::Event;
    assert_eq!(kinds(&capture), [Kind::Rest(Rest::Bottom)]);
    // A value of 2 is a lock's in many libraries, and a counter's in others.
    capture.locks[0].kind = LockKind::FutexLock;
    assert_eq!(kinds(&capture), [Kind::Rest(Rest::Bottom)]);
}

#[test]
fn a_function_of_python_that_waits_in_the_interpreter_waits_for_a_lock_where_memory_has_it() {
    let words = [
        "p:<module>@/srv/a.py:9",
        "p:move@/srv/a.py:3",
        "PyThread_acquire_lock_timed",
    ];
    let mut builder = Builder::new(1, "python3");
    sleeps(&mut builder, 0, Reason::Futex, &words, 60);
    let mut capture = builder.finish();
    assert_eq!(
        kinds(&capture),
        [Kind::Lock],
        "of an interpreter whose locks are not read"
    );
    capture.processes[0].python = Some(remora_model::Python {
        version: "3.11.2".into(),
        free_threaded: false,
        threads: 1,
        gil_holder_tid: None,
        torn: false,
    });
    assert_eq!(kinds(&capture), [Kind::Unexplained]);
    capture.python_waits.push(PythonWait {
        tid: 1,
        what: PythonAwaited::Lock,
        object: 0x7000,
        holders: Vec::new(),
    });
    assert_eq!(kinds(&capture), [Kind::Lock]);
}

#[test]
fn who_queues_behind_one_at_rest_waits_for_its_turn() {
    let mut builder = Builder::new(1, "server");
    builder.thread(1, 2, "follower");
    let leader = ["start_thread", "serve", "accept"];
    let follower = [
        "start_thread",
        "serve",
        "pthread_mutex_lock",
        "__lll_lock_wait",
    ];
    sleeps(&mut builder, 0, Reason::SocketAccept, &leader, 60);
    sleeps(&mut builder, 1, Reason::Futex, &follower, 60);
    let rest = [Kind::Rest(Rest::Arrival), Kind::Rest(Rest::Turn)];
    assert_eq!(kinds(&builder.0), rest, "both serve");
    let other = builder.stack(&["start_thread", "other", "accept"]);
    builder.0.threads[0].now.stack = Some(other);
    assert_eq!(
        kinds(&builder.0)[1],
        Kind::Lock,
        "the one at rest does something else"
    );
}
