//! Python's locks, held in the ways that real code holds them.

use super::{Case, Expect, Program};

const fn python(mode: &'static str) -> Program {
    Program::Python("sick_lock_idioms.py", mode)
}

/// Two threads that wait for each other; the lock and the program's function are named.
const fn dead(
    name: &'static str,
    about: &'static str,
    mode: &'static str,
    says: &'static [&'static str],
) -> Case {
    Case {
        name,
        about,
        program: python(mode),
        expect: Expect::Sick {
            kind: "deadlock",
            thread: "one",
            says,
        },
        after_s: 1,
        arguments: &[],
    }
}

pub(super) const CASES: &[Case] = &[
    dead(
        "deadlock-acquire-python",
        "two threads take two threading.Lock by acquire, try, finally in different orders",
        "acquire",
        &["2 threads", "threading.Lock", "acquire (", "inferred"],
    ),
    dead(
        "deadlock-attribute-python",
        "the same with locks in attributes",
        "attribute",
        &["2 threads", "threading.Lock", "transfer", "inferred"],
    ),
    dead(
        "deadlock-element-python",
        "the same with locks in a dict and a list",
        "element",
        &["2 threads", "threading.Lock", "element", "inferred"],
    ),
    dead(
        "deadlock-elsewhere-python",
        "the same with locks that another function releases",
        "elsewhere",
        &["2 threads", "threading.Lock", "elsewhere", "inferred"],
    ),
    dead(
        "deadlock-manager-python",
        "the same behind contextlib.contextmanager",
        "manager",
        &["2 threads", "threading.Lock", "manager", "inferred"],
    ),
    dead(
        "deadlock-guard-python",
        "the same behind a class with __enter__ and __exit__",
        "guard",
        &["2 threads", "threading.Lock", "guard", "inferred"],
    ),
    dead(
        "deadlock-exit-stack-python",
        "the same in contextlib.ExitStack",
        "stack",
        &["2 threads", "threading.Lock", "stack", "inferred"],
    ),
    dead(
        "deadlock-semaphores-python",
        "the same with threading.Semaphore(1)",
        "semaphore",
        &["2 threads", "threading.Semaphore", "semaphore", "inferred"],
    ),
    Case {
        name: "in-order-idioms-python",
        about: "threads take two locks in one order, in all of these ways",
        program: python("in_order"),
        expect: Expect::Healthy,
        after_s: 1,
        arguments: &[],
    },
];
