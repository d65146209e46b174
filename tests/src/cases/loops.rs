//! Loops that never sleep in their wait: saturated ones, which are well, and those that are stuck in a callback.

use super::{Case, Expect, Program};

/// A mode of `sick_loops.js`, with the milliseconds of each callback.
const fn node(
    name: &'static str,
    about: &'static str,
    mode: &'static str,
    ms: &'static str,
) -> Case {
    Case {
        name,
        about,
        program: Program::Node("sick_loops.js", mode, ms),
        expect: Expect::Healthy,
        after_s: 1,
        arguments: &[],
    }
}

const fn sick(kind: &'static str, says: &'static [&'static str], case: Case) -> Case {
    Case {
        expect: Expect::Sick {
            kind,
            thread: "main",
            says,
        },
        ..case
    }
}

pub(super) const CASES: &[Case] = &[
    node(
        "loop-saturated-node",
        "node in callbacks of 3 ms by setImmediate",
        "immediate",
        "3",
    ),
    node(
        "loop-saturated-node-short",
        "the same of 0.1 ms",
        "immediate",
        "0.1",
    ),
    node(
        "loop-saturated-node-long",
        "the same of 250 ms",
        "immediate",
        "250",
    ),
    node(
        "loop-saturated-node-server",
        "a server of node at its limit",
        "server",
        "3",
    ),
    node(
        "loop-idle-node",
        "a server of node without work",
        "idle",
        "0",
    ),
    node(
        "loop-async-child-node",
        "a server of node that runs a child by exec",
        "async",
        "0",
    ),
    sick(
        "loop_blocked",
        &["libuv loop", "waits for a child exit"],
        Case {
            after_s: 8,
            ..node(
                "loop-sync-child-node",
                "a server of node in execSync, which runs a loop inside of the callback",
                "sync",
                "0",
            )
        },
    ),
    sick(
        "not_consuming",
        &["busy on a CPU instead of epoll_wait"],
        Case {
            after_s: 8,
            ..node(
                "loop-computes-unaccepted-node",
                "the same with connections that wait to be accepted: its consequence",
                "unaccepted",
                "0",
            )
        },
    ),
    sick(
        "not_consuming",
        &["in futex instead of epoll_wait"],
        Case {
            after_s: 8,
            ..node(
                "loop-waits-unaccepted-node",
                "connections wait to be accepted: a callback of node waits in Atomics.wait",
                "waits",
                "0",
            )
        },
    ),
    sick(
        "loop_blocked",
        &["libuv loop", "on CPU"],
        node(
            "loop-computes-node",
            "a callback of node that never ends",
            "forever",
            "0",
        ),
    ),
    sick(
        "cycle_overrun",
        &["libuv loop", "iteration"],
        node(
            "cycle-computes-node",
            "callbacks of node of a second each",
            "immediate",
            "1000",
        ),
    ),
];
