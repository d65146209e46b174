//! Pools of connections without a free slot, and pools that are only in use.

use super::{Case, Expect, Program};

/// One that needs SQLAlchemy.
const fn sqlalchemy(mode: &'static str) -> Program {
    Program::PythonWith("sqlalchemy", "sick_pools.py", mode)
}

const fn python(mode: &'static str) -> Program {
    Program::Python("sick_pools.py", mode)
}

/// One that is found when its threshold, which is set lower than the default, is over.
const fn sick(
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
            kind: "pool_exhausted",
            thread: "",
            says,
        },
        after_s: 6,
        arguments: &["--threshold", "lock-stuck=4s"],
    }
}

/// One that says nothing, also where a doubt is enough.
const fn well(name: &'static str, about: &'static str, program: Program) -> Case {
    Case {
        name,
        about,
        program,
        expect: Expect::Healthy,
        after_s: 6,
        arguments: &[
            "--strict",
            "--threshold",
            "lock-stuck=4s",
            "--threshold",
            "unclear=4s",
        ],
    }
}

pub(super) const CASES: &[Case] = &[
    sick(
        "pool-nested-sqlalchemy",
        "two jobs have both connections of a pool and want a second one each",
        sqlalchemy("nested"),
        &[
            "3 threads",
            "2 of 2 taken",
            "SQLAlchemy QueuePool",
            "holds 1, waits for another",
            "audit (sick_pools.py:",
            "each holder waits for a second slot",
        ],
    ),
    sick(
        "pool-session-sqlalchemy",
        "a session has the one connection of a pool, and its job wants another",
        sqlalchemy("session"),
        &["1 of 1 taken", "holds 1, waits for another"],
    ),
    sick(
        "pool-kept-sqlalchemy",
        "a job has the one connection and waits for what nobody sets",
        sqlalchemy("kept"),
        &["1 of 1 taken", "holds 1", "keeper", "not given back"],
    ),
    sick(
        "pool-by-hand-python",
        "two jobs have both elements of a pool that somebody wrote and want a second one each",
        python("by-hand"),
        &["2 threads", "2 of 2 taken", "Home", "copy (sick_pools.py:"],
    ),
    well(
        "pool-busy-sqlalchemy",
        "four jobs share two connections, each for some milliseconds",
        sqlalchemy("busy"),
    ),
    well(
        "pool-idle-sqlalchemy",
        "all connections are free, and workers at rest",
        sqlalchemy("idle"),
    ),
    well(
        "pool-by-hand-busy-python",
        "a pool that somebody wrote, used for some milliseconds at a time",
        python("by-hand-busy"),
    ),
    well(
        "pool-feed-python",
        "a worker acquires samples from a queue: no pool",
        python("feed"),
    ),
];
