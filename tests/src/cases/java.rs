//! Locks of Java, and programs of Java at rest.

use super::{Case, Expect, Program};

const fn case(
    name: &'static str,
    about: &'static str,
    mode: &'static str,
    expect: Expect,
    arguments: &'static [&'static str],
) -> Case {
    Case {
        name,
        about,
        program: Program::Java("SickLocks.java", mode),
        expect,
        after_s: match expect {
            Expect::Healthy => 3,
            // The threshold of a lock that is not handed over; what is due sooner is looked at sooner.
            _ => 11,
        },
        arguments,
    }
}

const fn sick(kind: &'static str, thread: &'static str, says: &'static [&'static str]) -> Expect {
    Expect::Sick { kind, thread, says }
}

pub(super) const CASES: &[Case] = &[
    case(
        "deadlock-locks-java",
        "two threads take two ReentrantLocks in different orders",
        "locks",
        sick(
            "deadlock",
            "one",
            &["2 threads", "ReentrantLock", "held by two-", "certain"],
        ),
        &[],
    ),
    case(
        "deadlock-monitors-java",
        "two threads take two monitors in different orders",
        "monitors",
        sick(
            "deadlock",
            "one",
            &["2 threads", "monitor of Object", "certain"],
        ),
        &[],
    ),
    case(
        "deadlock-mixed-java",
        "one has a ReentrantLock and wants a monitor, the other the other way round",
        "mixed",
        sick(
            "deadlock",
            "one",
            &["ReentrantLock", "monitor of Object", "certain"],
        ),
        &[],
    ),
    case(
        "lock-kept-java",
        "a thread keeps a ReentrantLock and sleeps, another one wants it",
        "kept",
        sick(
            "lock_stuck",
            "waiter",
            &["ReentrantLock", "held by keeper-", "certain"],
        ),
        &[],
    ),
    case(
        "monitor-kept-java",
        "a thread keeps a monitor and sleeps, another one wants it",
        "kept-monitor",
        sick(
            "lock_stuck",
            "waiter",
            &["monitor of Object", "held by keeper-"],
        ),
        &["--duration", "11s"],
    ),
    case(
        "lock-read-java",
        "a read lock that nobody gives back, and a writer",
        "readers",
        sick(
            "lock_stuck",
            "waiter",
            &["ReentrantReadWriteLock", "holder unknown"],
        ),
        &[],
    ),
    case(
        "lock-of-an-exited-java",
        "the thread that holds a ReentrantLock has ended",
        "gone",
        sick(
            "lock_stuck",
            "waiter",
            &["\\\"loader\\\" exited without releasing it"],
        ),
        &[],
    ),
    case(
        "lock-nested-java",
        "one waits to be notified and keeps the lock that who should notify stands at",
        "nested",
        Expect::Unclear {
            kind: "unexplained_wait",
            says: &["ReentrantLock", "held by sleeper-"],
        },
        &[],
    ),
    case(
        "pools-java",
        "executors of every kind, a timer and takers of queues without work; main in a latch",
        "pools",
        Expect::Healthy,
        &[],
    ),
    case(
        "http-java",
        "an HTTP server with a pool, without requests",
        "http",
        Expect::Healthy,
        &[],
    ),
    case(
        "future-java",
        "a main thread that waits for the end of the program in CompletableFuture.join",
        "future",
        Expect::Healthy,
        &[],
    ),
    case(
        "join-java",
        "a main thread that joins a worker without work",
        "join",
        Expect::Healthy,
        &[],
    ),
    case(
        "passed-on-java",
        "a lock and a monitor that three threads want all the time, and that are passed on",
        "passed-on",
        Expect::Healthy,
        &[],
    ),
];
