//! Waits that nobody will end, and waits that only look so.

use super::{Case, Expect, Program};

const fn python(mode: &'static str) -> Program {
    Program::Python("sick_waits.py", mode)
}

/// One that is found when its threshold, which is set lower than the default, is over.
const fn sick(
    name: &'static str,
    about: &'static str,
    mode: &'static str,
    kind: &'static str,
    thread: &'static str,
    says: &'static [&'static str],
) -> Case {
    Case {
        name,
        about,
        program: python(mode),
        expect: Expect::Sick { kind, thread, says },
        after_s: 6,
        arguments: &[
            "--threshold",
            "lock-stuck=4s",
            "--threshold",
            "no-answer=4s",
        ],
    }
}

/// One that says nothing, also where a doubt is enough.
const fn well(name: &'static str, about: &'static str, mode: &'static str) -> Case {
    Case {
        name,
        about,
        program: python(mode),
        expect: Expect::Healthy,
        after_s: 6,
        arguments: &[
            "--strict",
            "--threshold",
            "lock-stuck=4s",
            "--threshold",
            "no-answer=4s",
            "--threshold",
            "unclear=4s",
        ],
    }
}

pub(super) const CASES: &[Case] = &[
    sick(
        "waits-nested-jobs-python",
        "jobs of a pool wait for jobs of the same pool",
        "nested",
        "deadlock",
        "",
        &["all 5 threads", "nobody is left", "whole (sick_waits.py:"],
    ),
    sick(
        "waits-lock-taken-before-python",
        "two locks in two orders, taken by functions that have returned: nobody knows the holders",
        "taken-before",
        "lock_stuck",
        "",
        &[
            "waits for a lock",
            "holder is unknown",
            "take (sick_waits.py:",
        ],
    ),
    sick(
        "waits-executor-python",
        "jobs queued at asyncio's default executor, all of whose threads wait for events that nobody sets",
        "executor",
        "pool_exhausted",
        "",
        &[
            "all 4 executor threads",
            "2 jobs",
            "size 4",
            "wait_for (sick_waits.py:",
        ],
    ),
    sick(
        "waits-killed-holder-python",
        "a process was killed with a lock that others wait for",
        "killed-holder",
        "lock_stuck",
        "worker",
        &["shared between processes", "work (sick_waits.py:"],
    ),
    sick(
        "waits-handshake-python",
        "a server takes a TLS connection and says nothing",
        "handshake",
        "no_answer",
        "checker",
        &["a handshake", "check (sick_waits.py:", "Set a timeout"],
    ),
    Case {
        name: "waits-stopped-deadlock-c",
        about: "two mutexes in two orders with a time limit, in a process that was stopped and continued",
        program: Program::C("sick_waits", "sick"),
        expect: Expect::Sick {
            kind: "deadlock",
            thread: "one",
            says: &["held by two", "take_second (sick_waits.c:", "timeout"],
        },
        after_s: 1,
        arguments: &[],
    },
    Case {
        name: "waits-stopped-well-c",
        about: "the same at rest",
        program: Program::C("sick_waits", "well"),
        expect: Expect::Healthy,
        after_s: 1,
        arguments: &["--strict"],
    },
    well(
        "waits-nested-jobs-well-python",
        "jobs wait for jobs of the same pool, which has workers left",
        "nested-well",
    ),
    well(
        "waits-pool-at-rest-python",
        "a pool without work, and a main thread that waits for its end",
        "pool-at-rest",
    ),
    well(
        "waits-one-order-python",
        "locks in one order, held in four ways",
        "one-order",
    ),
    well(
        "waits-limited-python",
        "jobs queue at a semaphore behind one that waits for a peer",
        "limited",
    ),
    well(
        "waits-executor-busy-python",
        "jobs queued at an executor whose jobs wait a second each",
        "executor-busy",
    ),
    well("waits-farm-python", "processes pass a lock on", "farm-well"),
    well(
        "waits-mp-pool-at-rest-python",
        "workers of multiprocessing in line at their queue's lock",
        "mp-pool-at-rest",
    ),
    well(
        "waits-handshake-well-python",
        "the same with a time limit, and a server that hangs up",
        "handshake-well",
    ),
    well(
        "waits-consumers-python",
        "consumers without work, a few functions deep",
        "consumers-at-rest",
    ),
];
