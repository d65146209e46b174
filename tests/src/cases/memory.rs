//! Growth that is a leak, and growth that is none. Thresholds are shortened: by the defaults each case would
//! take a minute.

use super::Program::{C, Python};
use super::{Case, Expect};

/// A look of twelve seconds, of which ten have to be steady.
const SHORT: &[&str] = &["--duration", "12s", "--threshold", "memory-leak=10s"];

/// The same, which is enough to be sure.
const SURE: &[&str] = &[
    "--duration",
    "12s",
    "--threshold",
    "memory-leak=10s",
    "--threshold",
    "memory-leak-confirmed=10s",
];

/// A look that is too short to judge by.
const TOO_SHORT: &[&str] = &["--duration", "10s", "--threshold", "memory-leak=12s"];

/// Every process is older than the threshold when it is looked at.
const GROWN_UP: u32 = 10;

/// A growth that is named.
const fn leak(says: &'static [&'static str]) -> Expect {
    Expect::Sick {
        kind: "memory_leak",
        thread: "",
        says,
    }
}

pub(super) const CASES: &[Case] = &[
    Case {
        name: "leak-malloc-c",
        about: "blocks of malloc that nobody frees",
        program: C("sick_memory", "leak"),
        expect: leak(&["suspected", "take_block", "[heap]", "reached in"]),
        after_s: GROWN_UP,
        arguments: SHORT,
    },
    Case {
        name: "leak-arena-c",
        about: "the same in another thread, long enough to be sure",
        program: C("sick_memory", "leak-arena"),
        expect: leak(&["confirmed", "take_block", "forget_blocks"]),
        after_s: GROWN_UP,
        arguments: SURE,
    },
    Case {
        name: "leak-list-python",
        about: "orders in a list that nobody empties",
        program: Python("sick_memory.py", "leak"),
        expect: leak(&["__main__.Order +", "keep_orders"]),
        after_s: GROWN_UP,
        arguments: SHORT,
    },
    Case {
        name: "leak-cache-python",
        about: "a dict of results without a bound",
        program: Python("sick_memory.py", "cache"),
        expect: leak(&["__main__.Result +", "remember_results"]),
        after_s: GROWN_UP,
        arguments: SHORT,
    },
    Case {
        name: "leak-bytes-python",
        about: "bytes, which Python's collector does not track",
        program: Python("sick_memory.py", "bytes"),
        expect: leak(&["no type tracked by Python's collector grows", "keep_bytes"]),
        after_s: GROWN_UP,
        arguments: SHORT,
    },
    Case {
        name: "fragmented-heap-c",
        about: "a heap that grows by free blocks between those in use",
        program: C("sick_memory", "fragments"),
        expect: leak(&["grows by free blocks", "free blocks; now", "malloc_trim"]),
        after_s: GROWN_UP,
        arguments: SHORT,
    },
    Case {
        name: "young-growth-c",
        about: "a leak on its way to a limit, in a look that is too short to judge it",
        program: C("sick_memory", "leak-limited"),
        expect: Expect::Unclear {
            kind: "young_growth",
            says: &["too early to call it a leak", "limit in", "RLIMIT_AS"],
        },
        after_s: 2,
        arguments: TOO_SHORT,
    },
    Case {
        name: "young-cache-c",
        about: "a cache that is loaded at the same pace, and then is there",
        program: C("sick_memory", "load"),
        expect: Expect::Healthy,
        after_s: 0,
        arguments: TOO_SHORT,
    },
    Case {
        name: "young-imports-python",
        about: "a start that takes seconds",
        program: Python("sick_memory.py", "imports"),
        expect: Expect::Healthy,
        after_s: 0,
        arguments: TOO_SHORT,
    },
    healthy(
        "warm-up-c",
        "a cache that is filled ever more slowly",
        "warm-up",
    ),
    healthy("teeth-c", "takes much and frees it all, in rounds", "teeth"),
    healthy("step-c", "one large block", "step"),
    healthy("pool-c", "a pool that fills, and stays full", "pool"),
    healthy("page-cache-c", "reads through a mapped file", "page-cache"),
    healthy("churn-c", "takes and frees all the time", "churn"),
    healthy_python("lru-python", "a dict of results with a bound", "lru"),
    healthy_python(
        "garbage-python",
        "cycles that the collector frees",
        "garbage",
    ),
    healthy_python("steady-python", "takes and drops all the time", "steady"),
    Case {
        name: "leak-triage-c",
        about: "a leak in a look of three seconds, which is no trend",
        program: C("sick_memory", "leak"),
        expect: Expect::Unseen,
        after_s: 1,
        arguments: &["--duration", "3s"],
    },
];

const fn healthy(name: &'static str, about: &'static str, mode: &'static str) -> Case {
    Case {
        name,
        about,
        program: C("sick_memory", mode),
        expect: Expect::Healthy,
        after_s: GROWN_UP,
        arguments: SHORT,
    }
}

const fn healthy_python(name: &'static str, about: &'static str, mode: &'static str) -> Case {
    Case {
        program: Python("sick_memory.py", mode),
        ..healthy(name, about, mode)
    }
}
