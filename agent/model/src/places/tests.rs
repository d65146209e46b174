//! Stacks as they were seen, and what they say.

use super::*;
use crate::fixture::stack;

fn reading(words: &[&str]) -> Reading {
    read(&stack(words))
}

/// A Python frame is `p:name@file:line`.
const POOL: [&str; 6] = [
    "clone3",
    "start_thread",
    "p:Thread._bootstrap@/usr/lib/python3.11/threading.py:1002",
    "p:Thread._bootstrap_inner@/usr/lib/python3.11/threading.py:1045",
    "p:Thread.run@/usr/lib/python3.11/threading.py:982",
    "p:_worker@/usr/lib/python3.11/concurrent/futures/thread.py:81",
];

fn pool(inner: &[&'static str]) -> Reading {
    reading(&[&POOL, inner].concat())
}

#[test]
fn a_worker_of_a_pool_rests_in_its_loop_and_waits_in_its_job() {
    let rests = pool(&["PyThread_acquire_lock_timed", "sem_wait", "k:futex_wait"]);
    assert!(rests.home && rests.may_rest() && !rests.job, "{rests:?}");
    let waits = pool(&[
        "p:_WorkItem.run@/usr/lib/python3.11/concurrent/futures/thread.py:58",
        "p:report@/srv/report.py:8",
        "p:Future.result@/usr/lib/python3.11/concurrent/futures/_base.py:451",
        "p:Condition.wait@/usr/lib/python3.11/threading.py:320",
        "PyThread_acquire_lock_timed",
    ]);
    assert_eq!(waits.what, Some(Meaning::Future));
    assert!(waits.job && !waits.home && !waits.may_rest(), "{waits:?}");
}

#[test]
fn before_python_3_11_a_frame_has_the_last_part_of_its_name() {
    let waits = reading(&[
        "p:<module>@/srv/report.py:14",
        "p:result@/usr/lib/python3.8/concurrent/futures/_base.py:434",
        "p:wait@/usr/lib/python3.8/threading.py:302",
    ]);
    assert_eq!(waits.what, Some(Meaning::Future));
    let of_another = reading(&["p:result@/srv/result.py:1"]);
    assert_eq!(of_another.what, None);
}

#[test]
fn inlined_frames_and_wrappers_do_not_use_up_the_search() {
    let mut words = vec!["main", "parking_lot::raw_mutex::RawMutex::lock_slow"];
    words.extend(["i:core::sync::atomic::Atomic::load"; 12]);
    words.extend(["std::sys::x"; 12]);
    words.push("syscall");
    assert!(reading(&words).is_lock());
}

#[test]
fn the_function_nearest_to_the_program_says_what_a_wait_is() {
    let cases: [(&[&str], Option<Meaning>); 7] = [
        (&["main", "take", "__lll_lock_wait"], Some(Meaning::Lock)),
        (
            &[
                "main",
                "take",
                "std::condition_variable::wait(x)",
                "pthread_cond_wait",
            ],
            Some(Meaning::Condition),
        ),
        (
            &[
                "main",
                "f",
                "futures_executor::local_pool::block_on",
                "std::thread::park",
            ],
            Some(Meaning::Runtime),
        ),
        (&["main", "f", "SSL_do_handshake", "libx", "read"], None),
        (
            &["main", "f", "SSL_do_handshake", "BIO_read", "read"],
            Some(Meaning::Handshake),
        ),
        (
            &["main", "pthread_mutex_lock", "own", "pthread_cond_wait"],
            Some(Meaning::Condition),
        ),
        (&["main", "own"], None),
    ];
    for (words, what) in cases {
        assert_eq!(reading(words).what, what, "{words:?}");
    }
}

#[test]
fn a_lock_on_the_way_to_work_is_a_lock() {
    let waits = pool(&["pthread_mutex_lock", "__lll_lock_wait"]);
    assert!(waits.is_lock() && !waits.may_rest(), "{waits:?}");
    // Workers of multiprocessing take turns at their queue by a lock.
    let turns = reading(&[
        "p:worker@/usr/lib/python3.11/multiprocessing/pool.py:114",
        "p:SimpleQueue.get@/usr/lib/python3.11/multiprocessing/queues.py:365",
        "p:SemLock.__enter__@/usr/lib/python3.11/multiprocessing/synchronize.py:95",
        "sem_wait",
    ]);
    assert!(turns.home, "{turns:?}");
}

#[test]
fn a_wait_deep_inside_the_program_is_none_for_work() {
    let shallow = reading(&["start_thread", "run", "next", "pthread_cond_wait"]);
    assert!(shallow.may_rest());
    let deep = ["start_thread", "a", "b", "c", "d", "e", "pthread_cond_wait"];
    assert!(!reading(&deep).may_rest());
    let mut torn = stack(&deep);
    torn.truncated = true;
    assert!(read(&torn).may_rest(), "of half a stack nothing is said");
}

#[test]
fn tokio_workers_rest_where_they_park_and_hold_their_worker_in_block_on() {
    let run = [
        "start_thread",
        "tokio::runtime::scheduler::multi_thread::worker::run",
        "tokio::runtime::scheduler::multi_thread::worker::Context::run",
    ];
    let parks = [
        "tokio::runtime::scheduler::multi_thread::worker::Context::park_internal",
        "parking_lot::condvar::Condvar::wait_until_internal",
        "syscall",
    ];
    assert!(reading(&[&run[..], &parks].concat()).home);
    let blocks = [
        "tokio::runtime::scheduler::multi_thread::worker::Context::run_task",
        "quotes::handler::{{closure}}",
        "quotes::price_sync",
        "futures_executor::local_pool::block_on",
        "std::thread::park",
        "syscall",
    ];
    let blocks = reading(&[&run[..], &blocks].concat());
    assert_eq!(blocks.what, Some(Meaning::Runtime));
    assert!(blocks.job && !blocks.may_rest(), "{blocks:?}");
}

#[test]
fn functions_of_a_library_between_a_loop_and_its_wait_are_part_of_the_loop() {
    let rests = reading(&[
        "p:Thread.run@/usr/lib/python3.11/threading.py:982",
        "p:QueueListener._monitor@/usr/lib/python3.11/logging/handlers.py:1579",
        "p:QueueListener.dequeue@/usr/lib/python3.11/logging/handlers.py:1528",
        "p:Queue.get@/usr/lib/python3.11/queue.py:171",
        "PyThread_acquire_lock_timed",
    ]);
    assert!(rests.home, "{rests:?}");
    let mut collects = stack(&[
        "GangWorker::run",
        "GangWorker::loop",
        "Dispatcher::next",
        "PosixSemaphore::wait()",
    ]);
    for frame in &mut collects.frames {
        frame.module = Some("/usr/lib/jvm/java-17/lib/server/libjvm.so".into());
    }
    assert!(read(&collects).home);
}

#[test]
fn a_rule_that_names_a_module_is_of_that_module() {
    let mut of = stack(&["ProcSleep", "sem_wait"]);
    assert_eq!(read(&of).what, Some(Meaning::Semaphore));
    of.frames[0].module = Some("/usr/lib/postgresql/15/bin/postgres".into());
    assert_eq!(read(&of).what, Some(Meaning::Lock));
}

#[test]
fn a_parked_thread_is_told_by_the_class_of_what_it_is_parked_on() {
    const AQS: &str = "java.util.concurrent.locks.AbstractQueuedSynchronizer";
    let cases: [(&[&str], Option<Meaning>); 8] = [
        (
            &[
                "java.util.concurrent.locks.ReentrantLock$FairSync",
                "java.util.concurrent.locks.ReentrantLock$Sync",
                AQS,
            ],
            Some(Meaning::Lock),
        ),
        (
            &["java.util.concurrent.CountDownLatch$Sync", AQS],
            Some(Meaning::Latch),
        ),
        (
            &["java.util.concurrent.locks.AbstractQueuedSynchronizer$ConditionObject"],
            Some(Meaning::Condition),
        ),
        (
            &[
                "java.util.concurrent.SynchronousQueue$TransferStack",
                "java.util.concurrent.SynchronousQueue$Transferer",
            ],
            Some(Meaning::Queue),
        ),
        (&["java.util.concurrent.ForkJoinPool"], Some(Meaning::Home)),
        (
            &[
                "java.util.concurrent.ScheduledThreadPoolExecutor$ScheduledFutureTask",
                "java.util.concurrent.FutureTask",
            ],
            Some(Meaning::Future),
        ),
        (&["com.acme.Own$Sync", AQS], Some(Meaning::Condition)),
        (&["com.acme.ReentrantLock$Sync", "java.lang.Object"], None),
    ];
    for (classes, meaning) in cases {
        let classes: Vec<String> = classes.iter().map(|it| (*it).to_owned()).collect();
        assert_eq!(parked_on(&classes), meaning, "{classes:?}");
    }
    // A class is no function, and a function no class.
    assert_eq!(
        reading(&["main", "java.util.concurrent.ForkJoinPool"]).what,
        None
    );
    assert_eq!(parked_on(&["pthread_mutex_lock".to_owned()]), None);
}
