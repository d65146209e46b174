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

const fn case(name: &'static str, about: &'static str, program: Program, expect: Expect) -> Case {
    Case {
        name,
        about,
        program,
        expect,
        after_s: 1,
        arguments: &[],
    }
}

const LOOPS: &str = "sick_loops.py";

/// asyncio of one version of CPython in callbacks of 3 ms, which ask for themselves again.
const fn saturated(name: &'static str, version: &'static str) -> Case {
    let program = Program::PythonOf(version, LOOPS, "busy-3");
    let about = "an asyncio loop in callbacks of 3 ms, which ask for themselves again";
    case(name, about, program, Expect::Healthy)
}

/// The same of a second.
const fn overrun(name: &'static str, version: &'static str) -> Case {
    let program = Program::PythonOf(version, LOOPS, "busy-1000");
    let about = "an asyncio loop in callbacks of a second each";
    case(name, about, program, late(&["asyncio loop", "iteration"]))
}

const fn late(says: &'static [&'static str]) -> Expect {
    Expect::Sick {
        kind: "cycle_overrun",
        thread: "main",
        says,
    }
}

/// uvloop in callbacks of so many milliseconds.
const fn uvloop(
    name: &'static str,
    about: &'static str,
    mode: &'static str,
    expect: Expect,
) -> Case {
    let program = Program::PythonWith("uvloop", LOOPS, mode);
    case(name, about, program, expect)
}

/// The same of libevent.
const fn libevent(
    name: &'static str,
    about: &'static str,
    mode: &'static str,
    expect: Expect,
) -> Case {
    case(name, about, Program::C("sick_libevent", mode), expect)
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
    saturated("loop-saturated-asyncio-3.8", "3.8"),
    saturated("loop-saturated-asyncio-3.9", "3.9"),
    saturated("loop-saturated-asyncio-3.10", "3.10"),
    saturated("loop-saturated-asyncio-3.11", "3.11"),
    saturated("loop-saturated-asyncio-3.12", "3.12"),
    saturated("loop-saturated-asyncio-3.13", "3.13"),
    case(
        "loop-saturated-asyncio-short",
        "asyncio in callbacks of 0.1 ms",
        Program::Python(LOOPS, "busy-0.1"),
        Expect::Healthy,
    ),
    case(
        "loop-saturated-asyncio-long",
        "asyncio in callbacks of 250 ms",
        Program::Python(LOOPS, "busy-250"),
        Expect::Healthy,
    ),
    overrun("cycle-computes-asyncio-3.8", "3.8"),
    overrun("cycle-computes-asyncio-3.9", "3.9"),
    overrun("cycle-computes-asyncio-3.10", "3.10"),
    overrun("cycle-computes-asyncio-3.11", "3.11"),
    overrun("cycle-computes-asyncio-3.12", "3.12"),
    overrun("cycle-computes-asyncio-3.13", "3.13"),
    uvloop(
        "loop-saturated-uvloop",
        "uvloop in callbacks of 3 ms",
        "uvloop-busy-3",
        Expect::Healthy,
    ),
    uvloop(
        "loop-saturated-uvloop-short",
        "uvloop in callbacks of 0.1 ms",
        "uvloop-busy-0.1",
        Expect::Healthy,
    ),
    uvloop(
        "loop-saturated-uvloop-long",
        "uvloop in callbacks of 250 ms",
        "uvloop-busy-250",
        Expect::Healthy,
    ),
    uvloop(
        "cycle-computes-uvloop",
        "uvloop in callbacks of a second each",
        "uvloop-busy-1000",
        late(&["libuv loop", "iteration"]),
    ),
    libevent(
        "loop-saturated-libevent",
        "libevent in callbacks of 3 ms",
        "busy-3",
        Expect::Healthy,
    ),
    libevent(
        "loop-saturated-libevent-short",
        "libevent in callbacks of 0.1 ms",
        "busy-0.1",
        Expect::Healthy,
    ),
    libevent(
        "loop-saturated-libevent-long",
        "libevent in callbacks of 250 ms",
        "busy-250",
        Expect::Healthy,
    ),
    libevent(
        "cycle-computes-libevent",
        "libevent in callbacks of a second each",
        "busy-1000",
        late(&["libevent loop", "iteration"]),
    ),
];
