//! The rule of idleness, case by case and by its invariants.

use super::*;
use crate::Capture;
use crate::fixture::{Builder, ms, stack};
use proptest::prelude::*;

const CONDVAR: &[&str] = &[
    "start",
    "worker",
    "Queue::pop",
    "pthread_cond_wait",
    "k:futex_wait",
];
const MUTEX: &[&str] = &["start", "worker", "pthread_mutex_lock", "__lll_lock_wait"];

/// Idleness of the waits of one thread, in the order given: reason, event form, stack, time.
fn idleness(waits: &[(Reason, bool, &[&str], u64)]) -> Vec<Idleness> {
    let mut builder = Builder::new(1, "target");
    for &(reason, event_form, words, time) in waits {
        builder.wait(0, reason, words, ms(time));
        builder.last_wait().event_form = event_form;
    }
    builder
        .finish()
        .waits
        .iter()
        .map(|wait| wait.idle)
        .collect()
}

#[test]
fn event_loops_are_idle_wherever_they_wait() {
    let mut builder = Builder::new(1, "target");
    builder.wait(0, Reason::Epoll, &["main", "epoll_wait"], ms(1));
    builder.wait_at(0, Reason::Epoll, Site::Short, 9, ms(5));
    builder.wait_at(0, Reason::Epoll, Site::Lost, 1, ms(5));
    builder.wait(0, Reason::Disk, &["main", "fsync"], ms(20_000));
    let idle: Vec<_> = builder
        .finish()
        .waits
        .iter()
        .map(|wait| wait.idle)
        .collect();
    let event_loop = Idleness::EventLoop;
    assert_eq!(idle, [event_loop, event_loop, event_loop, Idleness::Busy]);
}

#[test]
fn a_poll_of_one_descriptor_holds_its_thread_up_and_one_of_several_may_be_a_loop() {
    let client: &[&str] = &["main", "PQgetResult", "poll"];
    let idle = |several| idleness(&[(Reason::Poll, several, client, 5_000)]);
    assert_eq!(idle(false), [Idleness::Busy]);
    assert_eq!(idle(true), [Idleness::Worker]);
}

#[test]
fn a_worker_is_at_home_where_it_waits_half_of_its_blocked_time() {
    let disk: &[&str] = &["start", "fsync"];
    let cases = [
        (5_000, 5_000, Idleness::Worker),
        (4_999, 5_001, Idleness::Busy),
    ];
    for (home, away, expected) in cases {
        let idle = idleness(&[
            (Reason::Futex, true, CONDVAR, home),
            (Reason::Disk, false, disk, away),
        ]);
        assert_eq!(idle, [expected, Idleness::Busy], "{home} ms of condvar");
    }
}

#[test]
fn a_mutex_is_never_idle_however_dominant() {
    assert_eq!(
        idleness(&[(Reason::Futex, false, MUTEX, 30_000)]),
        [Idleness::Busy]
    );
}

#[test]
fn a_lock_that_waits_in_the_form_of_a_condition_variable_is_not_idle() {
    let locks: [&[&str]; 4] = [
        &[
            "main",
            "std::sys::sync::mutex::futex::Mutex::lock_contended",
            "syscall",
        ],
        &[
            "main",
            "<T as lock_api::RawMutex>::lock::<[u8; 8]>",
            "futex_wait",
        ],
        &[
            "main",
            "pthread_rwlock_rdlock",
            "__pthread_rwlock_rdlock_full64",
            "futex",
            "k:schedule",
        ],
        &[
            "main",
            "(anonymous namespace)::Spin<int>::lock(long) const",
            "i:wait",
        ],
    ];
    for words in locks {
        assert_eq!(
            idleness(&[(Reason::Futex, true, words, 30_000)]),
            [Idleness::Busy],
            "{words:?}"
        );
    }
}

#[test]
fn names_that_only_resemble_a_lock_stay_idle() {
    let workers: [&[&str]; 3] = [
        &[
            "tokio::runtime::block_on",
            "clock_wait",
            "unblock",
            "std::condvar::Condvar::wait",
        ],
        &[
            "lock::Worker::run",
            "Condvar::wait_while::<Mutex<lock>>",
            "futex_wait",
        ],
        &["pthread_mutex_lock", "a", "b", "c", "pthread_cond_wait"],
    ];
    for words in workers {
        let idle = idleness(&[(Reason::Futex, true, words, 30_000)]);
        assert_eq!(idle, [Idleness::Worker], "{words:?}");
    }
}

#[test]
fn time_without_a_stack_counts_against_a_home() {
    let mut builder = Builder::new(1, "target");
    builder.wait(0, Reason::SocketAccept, &["main", "accept"], ms(100));
    // The table of stacks was full: the totals know of more than the waits.
    builder.0.threads[0].waits[0].total = ms(201);
    assert_eq!(builder.finish().waits[0].idle, Idleness::Busy);
}

#[test]
fn one_place_in_two_entries_is_one_home() {
    let accept: &[&str] = &["main", "accept"];
    let idle = idleness(&[
        (Reason::SocketAccept, false, accept, 30),
        (Reason::SocketAccept, false, accept, 30),
        (Reason::Sleep, false, &["main", "nanosleep"], 60),
    ]);
    assert_eq!(idle, [Idleness::Worker, Idleness::Worker, Idleness::Busy]);
}

#[test]
fn kernel_frames_do_not_tell_places_apart_nor_make_one() {
    let sleeping: &[&str] = &["main", "accept", "k:inet_csk_accept", "k:schedule"];
    let returning: &[&str] = &[
        "main",
        "accept",
        "k:inet_csk_accept",
        "k:finish_task_switch",
    ];
    let idle = idleness(&[
        (Reason::SocketAccept, false, sleeping, 30),
        (Reason::SocketAccept, false, returning, 30),
        (Reason::Sleep, false, &["main", "nanosleep"], 60),
    ]);
    assert_eq!(idle, [Idleness::Worker, Idleness::Worker, Idleness::Busy]);
    let unknown = idleness(&[(Reason::SocketAccept, false, &["k:inet_csk_accept"], 30)]);
    assert_eq!(unknown, [Idleness::Busy]);
}

/// Captures with references that may lead nowhere.
fn captures() -> impl Strategy<Value = Capture> {
    let site = prop_oneof![
        4 => (0..6_usize).prop_map(Site::Stack),
        1 => Just(Site::Short),
        1 => Just(Site::Lost),
    ];
    let reason = proptest::sample::select(Reason::ALL);
    let wait = (0..4_usize, reason, site, any::<bool>(), 0..4_u64);
    proptest::collection::vec(wait, 0..24).prop_map(|waits| {
        let mut builder = Builder::new(1, "target");
        builder.thread(1, 2, "worker");
        builder.thread(1, 3, "worker");
        for (thread, reason, site, event_form, time) in waits {
            builder.wait_at(thread.min(2), reason, site, 1, ms(time));
            let wait = builder.last_wait();
            wait.thread = thread;
            wait.event_form = event_form;
        }
        builder.0.stacks = vec![stack(CONDVAR), stack(MUTEX), stack(&[]), stack(&["main"])];
        builder.0
    })
}

proptest! {
    #[test]
    fn only_the_kinds_that_wait_for_work_are_ever_idle(capture in captures()) {
        let mut waits = capture.waits.clone();
        classify(&mut waits, &capture.stacks, &capture.threads);
        for wait in &waits {
            match wait.idle {
                Idleness::EventLoop => prop_assert!(is_event_loop(wait.reason)),
                Idleness::Busy => prop_assert!(!is_event_loop(wait.reason)),
                Idleness::Worker => {
                    let for_work = match wait.reason {
                        Reason::SocketAccept | Reason::SignalWait | Reason::IoUring => true,
                        Reason::Futex | Reason::Poll => wait.event_form,
                        _ => false,
                    };
                    prop_assert!(for_work, "{wait:?}");
                    prop_assert!(matches!(wait.site, Site::Stack(0 | 1 | 3)), "{wait:?}");
                }
            }
        }
    }

    #[test]
    fn idle_workers_hold_half_of_their_threads_blocked_time(capture in captures()) {
        let mut waits = capture.waits.clone();
        classify(&mut waits, &capture.stacks, &capture.threads);
        for wait in waits.iter().filter(|wait| wait.idle == Idleness::Worker) {
            let of_thread = waits.iter().filter(|other| other.thread == wait.thread);
            let at_home = of_thread.clone().filter(|other| {
                (other.reason, other.site, other.idle) == (wait.reason, wait.site, wait.idle)
            });
            let home: Duration = at_home.map(|other| other.total).sum();
            let whole: Duration = of_thread.map(|other| other.total).sum();
            prop_assert!(home * 2 >= whole);
        }
    }

    #[test]
    fn neither_order_nor_an_earlier_verdict_matters(capture in captures()) {
        let mut once = capture.waits.clone();
        classify(&mut once, &capture.stacks, &capture.threads);
        let mut again: Vec<_> = once.iter().rev().cloned().collect();
        classify(&mut again, &capture.stacks, &capture.threads);
        again.reverse();
        let verdicts = |waits: &[Wait]| waits.iter().map(|wait| wait.idle).collect::<Vec<_>>();
        prop_assert_eq!(verdicts(&once), verdicts(&again));
    }
}
