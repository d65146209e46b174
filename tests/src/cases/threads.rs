//! Loops, CPUs, system calls and stops.

use super::{Case, Expect, Program};

/// A mode of `sick_threads.c` in which something is wrong.
const fn sick(
    name: &'static str,
    about: &'static str,
    mode: &'static str,
    kind: &'static str,
    says: &'static [&'static str],
) -> Case {
    Case {
        name,
        about,
        program: Program::C("sick_threads", mode),
        expect: Expect::Sick {
            kind,
            thread: "main",
            says,
        },
        after_s: 1,
        arguments: &[],
    }
}

/// One in which nothing is.
const fn well(name: &'static str, about: &'static str, mode: &'static str) -> Case {
    Case {
        name,
        about,
        program: Program::C("sick_threads", mode),
        expect: Expect::Healthy,
        after_s: 1,
        arguments: &[],
    }
}

/// A whole process that is stopped: no thread of it is named.
const fn halted(
    name: &'static str,
    about: &'static str,
    mode: &'static str,
    says: &'static [&'static str],
) -> Case {
    Case {
        expect: Expect::Sick {
            kind: "stopped",
            thread: "",
            says,
        },
        ..sick(name, about, mode, "stopped", says)
    }
}

/// A wait that counts from five seconds on.
const fn hangs(
    name: &'static str,
    about: &'static str,
    mode: &'static str,
    says: &'static [&'static str],
) -> Case {
    Case {
        after_s: 3,
        ..sick(name, about, mode, "blocked_syscall", says)
    }
}

/// A mode of `sick_loops.py` in which a loop is stuck, or anything else.
const fn python(
    name: &'static str,
    about: &'static str,
    mode: &'static str,
    expect: Expect,
) -> Case {
    Case {
        name,
        about,
        program: Program::Python("sick_loops.py", mode),
        expect,
        after_s: 1,
        arguments: &[],
    }
}

const fn stuck(thread: &'static str, says: &'static [&'static str]) -> Expect {
    Expect::Sick {
        kind: "loop_blocked",
        thread,
        says,
    }
}

const fn about(kind: &'static str, says: &'static [&'static str]) -> Expect {
    Expect::Sick {
        kind,
        thread: "main",
        says,
    }
}

/// A rise takes a while to show; ten windows are the least.
const LONG: &[&str] = &["--duration", "10s", "--threshold", "thread-leak=8s"];

/// A mode of `grow_threads.py`.
const fn grows(
    name: &'static str,
    about: &'static str,
    mode: &'static str,
    expect: Expect,
) -> Case {
    Case {
        name,
        about,
        program: Program::Python("grow_threads.py", mode),
        expect,
        after_s: 1,
        arguments: LONG,
    }
}

pub(super) const CASES: &[Case] = &[
    grows(
        "threads-leak-python",
        "a thread for each order, that waits for an answer which nobody sends",
        "leak",
        Expect::Sick {
            kind: "thread_leak",
            thread: "",
            says: &["wait_for_confirmation", "limit in"],
        },
    ),
    grows(
        "threads-pool-python",
        "a pool of threads that fills and levels off",
        "pool",
        Expect::Healthy,
    ),
    grows(
        "threads-come-and-go-python",
        "threads that come in waves and end",
        "come-and-go",
        Expect::Healthy,
    ),
    halted(
        "stopped-signal",
        "a process that SIGSTOP stopped",
        "stopped",
        &["job-control signal", "kill -CONT"],
    ),
    halted(
        "stopped-tracer",
        "a process that its tracer holds",
        "traced-held",
        &["by tracer"],
    ),
    halted(
        "stopped-freezer-v1",
        "a process in a frozen control group, version 1",
        "frozen-v1",
        &["frozen for", "Thaw"],
    ),
    halted(
        "stopped-freezer-v2",
        "a process in a frozen control group, version 2",
        "frozen-v2",
        &["frozen for", "Thaw"],
    ),
    well(
        "traced-running",
        "a process whose tracer lets it run",
        "traced-running",
    ),
    well(
        "stopped-now-and-then",
        "a process that is stopped for moments",
        "stutter",
    ),
    well(
        "group-not-frozen",
        "a process in a control group that could be frozen",
        "thawed",
    ),
    python(
        "loop-receives",
        "an asyncio callback that waits for a socket",
        "recv",
        stuck(
            "main",
            &["blocked_in_recv", "sick_loops.py", "waits for data from"],
        ),
    ),
    python(
        "loop-sleeps",
        "an asyncio callback that sleeps again and again",
        "sleep",
        stuck(
            "main",
            &["blocked_in_sleep", "by a sleep", "asyncio.sleep()"],
        ),
    ),
    python(
        "loop-takes-lock",
        "an asyncio callback that waits for a lock",
        "lock",
        stuck("main", &["blocked_on_lock", "futex"]),
    ),
    python(
        "loop-gets",
        "an asyncio callback that waits for a queue",
        "queue",
        stuck("main", &["blocked_on_queue"]),
    ),
    python(
        "loop-computes",
        "an asyncio callback that never ends",
        "cpu",
        stuck("main", &["blocked_on_cpu", "one callback"]),
    ),
    python(
        "loop-of-a-thread",
        "the same in another thread than the main one",
        "thread-recv",
        stuck("feed", &["blocked_in_recv"]),
    ),
    sick(
        "loop-takes-mutex-c",
        "an epoll loop in C that waits for a mutex while a request waits",
        "loop-lock",
        "loop_blocked",
        &[
            "loop_takes_a_lock",
            "keeps (sick_threads.c",
            "6 bytes unread",
        ],
    ),
    python(
        "loop-idle",
        "an asyncio loop without work",
        "idle",
        Expect::Healthy,
    ),
    python(
        "loop-ticks",
        "one with a little to do",
        "ticking",
        Expect::Healthy,
    ),
    python(
        "loop-saturated",
        "one that never runs dry",
        "saturated",
        Expect::Healthy,
    ),
    Case {
        arguments: &["--children"],
        ..python(
            "loop-process-pool",
            "one with processes that were forked inside of it",
            "process-pool",
            Expect::Healthy,
        )
    },
    python(
        "loop-executor",
        "one whose blocking calls are in a thread",
        "executor",
        Expect::Healthy,
    ),
    well(
        "loop-of-one-client",
        "a server of one client, which waits for it in epoll and works for seconds",
        "one-client",
    ),
    python(
        "cycle-computes",
        "iterations of 0.7 s",
        "batch",
        about("cycle_overrun", &["batch", "p95"]),
    ),
    python(
        "cycle-sleeps",
        "iterations that a blocking call makes late",
        "late-sleeps",
        about("cycle_overrun", &["late_sleeps"]),
    ),
    Case {
        arguments: &["--threshold", "cycle=5s"],
        ..python(
            "cycle-declared",
            "iterations of 0.7 s that are declared",
            "batch",
            Expect::Healthy,
        )
    },
    python(
        "cycle-once",
        "one long iteration among many",
        "rare",
        Expect::Healthy,
    ),
    hangs(
        "file-lock",
        "a wait for a file lock that another process keeps",
        "file-lock",
        &["remora-lock", "held by", "LOCK_EX", "waits_for_a_file_lock"],
    ),
    hangs(
        "pipe-full",
        "a pipe that nobody empties",
        "pipe-full",
        &["pipe:[", "is full", "fills_a_pipe"],
    ),
    hangs(
        "fifo",
        "a FIFO that nobody reads",
        "fifo",
        &["remora-fifo", "has no reader", "O_WRONLY", "opens_a_fifo"],
    ),
    hangs("vfork", "a child that does not exec", "vfork", &["vfork"]),
    Case {
        after_s: 3,
        ..well(
            "pipe-steady",
            "a pipe that is full and moves",
            "pipe-steady",
        )
    },
    Case {
        after_s: 3,
        ..well(
            "threads-at-rest",
            "threads at rest in every way that there is",
            "rest",
        )
    },
    sick(
        "starved-by-real-time",
        "a thread whose CPU a real-time thread takes",
        "starved",
        "starved",
        &["longest", "policy other"],
    ),
    sick(
        "starved-by-limit",
        "a process whose control group may use a tenth of a CPU",
        "throttled",
        "starved",
        &[
            "throttled for",
            "cpu.max 10 ms in each 100 ms",
            "of the time",
        ],
    ),
    Case {
        after_s: 4,
        ..sick(
            "starved-idle-server",
            "a server under SCHED_IDLE gets no CPU while a client waits",
            "idle-server",
            "starved",
            &["16 bytes unread", "policy idle", "chrt -o -p 0"],
        )
    },
    Case {
        expect: Expect::Sick {
            kind: "starved",
            thread: "",
            says: &["waits for a lock that it holds", "policy idle"],
        },
        ..sick(
            "starved-idle-lock",
            "a thread under SCHED_IDLE gets no CPU while it holds a lock that another wants",
            "idle-lock",
            "starved",
            &[],
        )
    },
    well(
        "cpu-idle-policy",
        "a batch under SCHED_IDLE beside busy processes",
        "idle-batch",
    ),
    well("cpu-shared", "a thread that shares a CPU fairly", "sharing"),
    well("cpu-nice", "a thread that gives way", "nice"),
    well("cpu-batch", "more busy threads than CPUs", "batch"),
    well("cpu-limit-unused", "a limit that is not reached", "roomy"),
    sick(
        "spin-epoll",
        "a loop that does not read what is ready",
        "spin-epoll",
        "busy_spin",
        &["spins_in_epoll", "6 bytes unread"],
    ),
    sick(
        "spin-poll",
        "a loop that polls without a wait",
        "spin-poll",
        "busy_spin",
        &["spins_in_poll"],
    ),
    sick(
        "spin-yield",
        "a loop that yields",
        "spin-yield",
        "busy_spin",
        &["spins_in_yield"],
    ),
    sick(
        "spin-lock",
        "a spin lock that nobody frees",
        "spin-lock",
        "busy_spin",
        &["spins_on_a_lock"],
    ),
    python(
        "spin-asyncio",
        "an asyncio task that waits by going around the loop",
        "turning",
        about(
            "busy_spin",
            &["asyncio", "goes round in turning (sick_loops.py"],
        ),
    ),
    python(
        "spin-asyncio-callback",
        "an asyncio callback that asks for itself again, and does nothing",
        "turning-callback",
        about("busy_spin", &["asyncio", "ask_again (sick_loops.py"]),
    ),
    python(
        "spin-reader",
        "an asyncio reader that does not read",
        "unread",
        about("busy_spin", &["64 bytes unread"]),
    ),
    well("cpu-computes", "honest work", "compute"),
    well(
        "cpu-serves",
        "a loop that always finds something, and takes it",
        "serve",
    ),
    python(
        "cpu-computes-python",
        "honest work in Python",
        "compute",
        Expect::Healthy,
    ),
    Case {
        arguments: &["--heartbeat", "thread=sick_threads,every=1s"],
        // They all have one name, and sleep from the same moment on.
        expect: Expect::Sick {
            kind: "heartbeat_missed",
            thread: "",
            says: &["limit 1.0 s", "7 more threads"],
        },
        ..sick(
            "heartbeat-threads",
            "threads that should run every second and sleep",
            "rest",
            "heartbeat_missed",
            &["limit 1.0 s", "7 more threads"],
        )
    },
    Case {
        arguments: &["--heartbeat", "thread=sick_threads,every=1s"],
        ..well("heartbeat-beats", "one that does", "traced-running")
    },
];
