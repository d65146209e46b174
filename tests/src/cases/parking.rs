//! Deadlocks and contention of locks of `parking_lot`.

use super::locks::{contended, dead, well};
use super::{Case, Program};

const fn parking(mode: &'static str) -> Program {
    Program::Package("sick_parking", mode)
}

pub(super) const CASES: &[Case] = &[
    dead(
        "deadlock-arcs-parking",
        "two threads take two Mutex of parking_lot in different orders: their waiters sleep elsewhere",
        parking("arc"),
        "one",
        &[
            "2 threads",
            "parking_lot mutex",
            "frees it in sick_parking::transfer",
            "inferred",
        ],
    ),
    dead(
        "deadlock-static-parking",
        "the same with locks that lie side by side",
        parking("static"),
        "one",
        &["2 threads", "transfer", "inferred"],
    ),
    dead(
        "deadlock-scoped-parking",
        "the same on the stack of the thread that waits for both",
        parking("scoped"),
        "one",
        &["2 threads", "transfer", "inferred"],
    ),
    dead(
        "deadlock-reentrant-parking",
        "the same with ReentrantMutex, each taken twice",
        parking("reentrant"),
        "one",
        &["2 threads", "reenter", "inferred"],
    ),
    dead(
        "deadlock-fields-parking",
        "the same in one structure, a byte each",
        parking("fields"),
        "one",
        &["2 threads", "match_", "inferred"],
    ),
    dead(
        "deadlock-guard-parking",
        "the same with guards in structures",
        parking("guard"),
        "one",
        &["2 threads", "transact", "inferred"],
    ),
    dead(
        "deadlock-rwlock-parking",
        "two threads read under one RwLock of parking_lot and want to write under the other's",
        parking("rwlock"),
        "one",
        &["2 threads", "parking_lot rwlock", "refresh", "inferred"],
    ),
    dead(
        "deadlock-written-parking",
        "two threads write under one RwLock of parking_lot and want to read under the other's",
        parking("rwlock-written"),
        "one",
        &["2 threads", "rewrite", "inferred"],
    ),
    dead(
        "deadlock-upgrade-parking",
        "a thread reads under an RwLock of parking_lot and wants to write under it",
        parking("upgrade"),
        "one",
        &["deadlocked on itself", "upgrade", "inferred"],
    ),
    dead(
        "deadlock-self-parking",
        "a thread takes a Mutex of parking_lot that it holds",
        parking("twice"),
        "one",
        &["deadlocked on itself", "takes_twice", "inferred"],
    ),
    dead(
        "deadlock-join-parking",
        "a thread joins one that wants its Mutex of parking_lot",
        parking("join"),
        "joiner",
        &["the exit of", "joins", "inferred"],
    ),
    dead(
        "deadlock-handed-over-parking",
        "a waiter of a Condvar was handed over to the queue of a Mutex, whose holder wants what it holds",
        parking("handed-over"),
        "one",
        &["2 threads", "handed_over", "tells", "inferred"],
    ),
    contended(
        "contention-kept-parking",
        "a thread sleeps under two Mutex of parking_lot that two others have had and want again: no deadlock",
        parking("kept"),
        &["parking_lot mutex", "one_by_one", "held by"],
    ),
    contended(
        "contention-kept-scoped-parking",
        "the same on the stack of the one that joins it",
        parking("kept-scoped"),
        &["parking_lot mutex", "one_by_one"],
    ),
    well(
        "pool-parking",
        "workers at rest in a Condvar of parking_lot",
        parking("pool"),
    ),
    well(
        "pool-receivers-parking",
        "one of three workers waits for work under a Mutex of parking_lot, the others for that",
        parking("receivers"),
    ),
    well(
        "readers-parking",
        "readers keep an RwLock of parking_lot for some milliseconds, a writer waits for them",
        parking("readers"),
    ),
    well(
        "in-order-parking",
        "threads take two Mutex of parking_lot in one order",
        parking("in-order"),
    ),
];
