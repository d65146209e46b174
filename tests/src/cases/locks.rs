//! Deadlocks and lock contention.

use super::{Case, Expect, Program};

/// A program in which something waits for itself; `thread` is that of the finding.
pub(super) const fn dead(
    name: &'static str,
    about: &'static str,
    program: Program,
    thread: &'static str,
    says: &'static [&'static str],
) -> Case {
    Case {
        name,
        about,
        program,
        expect: Expect::Sick {
            kind: "deadlock",
            thread,
            says,
        },
        after_s: 1,
        arguments: &[],
    }
}

/// One in which a thread loses much of its time to a lock.
pub(super) const fn contended(
    name: &'static str,
    about: &'static str,
    program: Program,
    says: &'static [&'static str],
) -> Case {
    Case {
        name,
        about,
        program,
        expect: Expect::Sick {
            kind: "lock_contention",
            thread: "",
            says,
        },
        after_s: 0,
        arguments: &[],
    }
}

/// One in which nothing is wrong.
pub(super) const fn well(name: &'static str, about: &'static str, program: Program) -> Case {
    Case {
        name,
        about,
        program,
        expect: Expect::Healthy,
        after_s: 1,
        arguments: &[],
    }
}

const fn c(mode: &'static str) -> Program {
    Program::C("sick_locks", mode)
}

const fn cpp(mode: &'static str) -> Program {
    Program::Cpp("sick_locks_cpp", mode)
}

const fn rust(mode: &'static str) -> Program {
    Program::Rust("sick_locks_rs", mode)
}

const fn guards(mode: &'static str) -> Program {
    Program::Rust("sick_guards", mode)
}

const fn threads(mode: &'static str) -> Program {
    Program::Python("sick_threads.py", mode)
}

const fn tasks(mode: &'static str) -> Program {
    Program::Python("sick_asyncio_locks.py", mode)
}

pub(super) const CASES: &[Case] = &[
    dead(
        "deadlock-of-workers-python",
        "the workers of a master each take a lock twice; the pid is the master's",
        Program::Python("sick_prefork.py", "deadlock"),
        "",
        &["deadlocked on itself", "take_twice", "RLock"],
    ),
    well(
        "workers-python",
        "the same workers at work",
        Program::Python("sick_prefork.py", "work"),
    ),
    dead(
        "deadlock-mutexes-c",
        "two threads take two mutexes in different orders",
        c("abba"),
        "one",
        &[
            "2 threads",
            "glibc mutex",
            "take_second",
            "take_two",
            "certain",
        ],
    ),
    dead(
        "deadlock-three-c",
        "three threads in a circle of mutexes",
        c("three"),
        "one",
        &["3 threads", "take_second", "certain"],
    ),
    dead(
        "deadlock-robust-c",
        "the same with robust mutexes",
        c("robust"),
        "one",
        &["robust", "take_second", "certain"],
    ),
    dead(
        "deadlock-self-c",
        "a thread takes a mutex that it holds",
        c("self"),
        "one",
        &["deadlocked on itself", "take_twice", "certain"],
    ),
    dead(
        "deadlock-rwlock-c",
        "two threads take two read-write locks in different orders",
        c("rwlock"),
        "one",
        &["glibc rwlock", "take_two_rw", "certain"],
    ),
    dead(
        "deadlock-join-c",
        "a thread joins one that wants its mutex",
        c("join"),
        "worker",
        &["the exit of", "joins", "needs_lock", "certain"],
    ),
    dead(
        "deadlock-pipes-full-c",
        "two processes fill each other's pipe, and nobody reads",
        c("pipe-write"),
        "main",
        &["deadlocked", "buffer space in fd", "fill", "answerer"],
    ),
    dead(
        "deadlock-pipes-empty-c",
        "two processes read, and nobody writes",
        c("pipe-read"),
        "main",
        &["data from", "ask", "answerer"],
    ),
    dead(
        "deadlock-unix-sockets-c",
        "two processes wait for each other's answer on a unix connection",
        c("unix"),
        "main",
        &["data from answerer", "sockets (sick_locks.c"],
    ),
    dead(
        "deadlock-flock-c",
        "two processes take two locks on files in different orders",
        c("flock"),
        "main",
        &["the lock on /tmp/sick_locks", "files (sick_locks.c"],
    ),
    dead(
        "deadlock-child-c",
        "a process waits for the end of a child that waits for its word",
        c("child"),
        "main",
        &["the exit of", "waits_for_child"],
    ),
    dead(
        "deadlock-mutexes-cpp",
        "two threads take two std::mutex in different orders",
        cpp("abba"),
        "one",
        &["glibc mutex", "take_both", "certain"],
    ),
    dead(
        "deadlock-shared-mutexes-cpp",
        "the same with std::shared_mutex",
        cpp("shared"),
        "one",
        &["glibc rwlock", "take_both", "certain"],
    ),
    dead(
        "deadlock-shared-readers-cpp",
        "two threads read under one std::shared_mutex and want to write under the other's",
        cpp("shared-read"),
        "one",
        &["read_and_write", "from its code", "inferred"],
    ),
    dead(
        "deadlock-rwlock-readers-c",
        "the same with pthread_rwlock_t",
        c("rwlock-read"),
        "one",
        &[
            "glibc rwlock",
            "read_and_write",
            "from its code",
            "inferred",
        ],
    ),
    dead(
        "deadlock-statics-rust",
        "two threads take two static Mutex in different orders: their memory names nobody",
        rust("abba"),
        "one",
        &["2 threads", "futex lock", "take_both", "inferred"],
    ),
    dead(
        "deadlock-arcs-rust",
        "the same behind Arc",
        guards("arc"),
        "one",
        &["2 threads", "frees it in sick_guards::transfer", "inferred"],
    ),
    dead(
        "deadlock-scoped-rust",
        "the same on the stack of the thread that waits for both",
        guards("scoped"),
        "one",
        &["2 threads", "transfer", "inferred"],
    ),
    dead(
        "deadlock-fields-rust",
        "the same in one structure",
        guards("fields"),
        "one",
        &["2 threads", "match_", "inferred"],
    ),
    dead(
        "deadlock-guard-rust",
        "the same with guards in structures",
        guards("guard"),
        "one",
        &["2 threads", "transact", "inferred"],
    ),
    dead(
        "deadlock-rwlock-rust",
        "two threads read under one RwLock and want to write under the other's",
        guards("rwlock"),
        "one",
        &["2 threads", "refresh", "inferred"],
    ),
    dead(
        "deadlock-upgrade-rust",
        "a thread reads under an RwLock and wants to write under it",
        guards("upgrade"),
        "one",
        &["deadlocked on itself", "upgrade", "inferred"],
    ),
    dead(
        "deadlock-self-rust",
        "a thread takes a Mutex that it holds",
        guards("twice"),
        "one",
        &["deadlocked on itself", "takes_twice", "inferred"],
    ),
    dead(
        "deadlock-join-rust",
        "a thread joins one that wants its Mutex",
        rust("join"),
        "joiner",
        &["the exit of", "join", "inferred"],
    ),
    dead(
        "deadlock-locks-python",
        "two threads take two threading.Lock in different orders",
        threads("abba"),
        "one",
        &["threading.Lock", "take_both", "inferred"],
    ),
    dead(
        "deadlock-rlocks-python",
        "the same with threading.RLock",
        threads("rlocks"),
        "one",
        &["threading.RLock", "take_both", "certain"],
    ),
    dead(
        "deadlock-conditions-python",
        "the same with threading.Condition",
        threads("conditions"),
        "one",
        &["threading.", "take_both"],
    ),
    dead(
        "deadlock-self-python",
        "a thread takes a threading.Lock that it holds",
        threads("itself"),
        "one",
        &["deadlocked on itself", "take_twice"],
    ),
    dead(
        "deadlock-join-python",
        "a thread joins one that wants its lock",
        threads("join"),
        "worker",
        &["the exit of", "joins"],
    ),
    Case {
        after_s: 2,
        ..dead(
            "deadlock-gil-python",
            "a thread holds the GIL and wants a mutex, whose holder wants the GIL",
            threads("gil_mutex"),
            "one",
            &["the Python GIL", "glibc mutex", "wants_mutex"],
        )
    },
    dead(
        "deadlock-locks-asyncio",
        "two tasks take two asyncio.Lock in different orders",
        tasks("abba"),
        "main",
        &["2 tasks", "asyncio.Lock", "take_both", "inferred"],
    ),
    dead(
        "deadlock-conditions-asyncio",
        "the same with asyncio.Condition",
        tasks("conditions"),
        "main",
        &["2 tasks", "take_both"],
    ),
    dead(
        "deadlock-self-asyncio",
        "a task takes an asyncio.Lock that it holds",
        tasks("itself"),
        "main",
        &["deadlocked on itself", "take_twice"],
    ),
    dead(
        "deadlock-circle-asyncio",
        "three tasks await each other",
        tasks("circle"),
        "main",
        &["3 tasks", "awaits_other", "certain"],
    ),
    dead(
        "deadlock-gather-asyncio",
        "a task gathers one that awaits it",
        tasks("gathers"),
        "main",
        &["2 tasks", "awaits_other", "gathers"],
    ),
    contended(
        "contention-mutex-c",
        "a thread computes under a mutex that two others want",
        c("contended"),
        &["glibc mutex", "convoy", "spin_ms"],
    ),
    contended(
        "contention-mutex-rust",
        "a thread sleeps under a std Mutex that two others want",
        rust("contended"),
        &["futex lock", "take"],
    ),
    contended(
        "contention-kept-rust",
        "a thread sleeps under two std Mutex that two others have had and want again: no deadlock",
        guards("kept"),
        &["futex lock", "one_by_one", "held by"],
    ),
    contended(
        "contention-kept-scoped-rust",
        "a thread sleeps under a std Mutex that lies on the stack of the one that joins it: no deadlock",
        guards("kept-scoped"),
        &["futex lock", "one_by_one"],
    ),
    contended(
        "contention-gil-python",
        "four threads compute in Python",
        threads("gil_busy"),
        &["GIL", "run"],
    ),
    well(
        "contention-short-c",
        "three threads take a mutex for a millisecond now and then",
        c("contended-briefly"),
    ),
    well(
        "contention-short-rust",
        "the same in Rust",
        rust("contended-briefly"),
    ),
    well(
        "passed-on-c",
        "threads pass two mutexes on, in one order",
        c("passed-on"),
    ),
    well(
        "pool-c",
        "workers at rest in a condition variable",
        c("pool"),
    ),
    well(
        "unix-rest-c",
        "a child waits for its sleeping parent",
        c("unix-rest"),
    ),
    well(
        "in-order-cpp",
        "threads take two mutexes by std::scoped_lock, named in different orders",
        cpp("in-order"),
    ),
    well(
        "pool-cpp",
        "workers at rest in a condition variable",
        cpp("pool"),
    ),
    well(
        "pool-rust",
        "workers at rest in a condition variable and a channel",
        rust("pool"),
    ),
    well(
        "pool-receivers-rust",
        "one of three workers waits for work under a Mutex, the others for that",
        guards("receivers"),
    ),
    well(
        "readers-rust",
        "readers keep an RwLock for some milliseconds, a writer waits for them",
        guards("readers"),
    ),
    well("pool-python", "workers at rest in a queue", threads("pool")),
    well(
        "passed-on-python",
        "threads pass two locks on, in one order",
        threads("passed_on"),
    ),
    well(
        "in-order-asyncio",
        "tasks take two locks in one order",
        tasks("in_order"),
    ),
    well(
        "held-long-asyncio",
        "tasks wait for a lock whose holder sleeps",
        tasks("held_long"),
    ),
    well(
        "workers-asyncio",
        "workers at rest, gathered by one",
        tasks("workers"),
    ),
];
