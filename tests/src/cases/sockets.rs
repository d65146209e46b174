//! Queues, peers and descriptors of sockets.

use super::{Case, Expect, Program};

const C: &str = "sick_sockets";
const PYTHON: &str = "sick_sockets.py";

const fn sick(kind: &'static str, thread: &'static str, says: &'static [&'static str]) -> Expect {
    Expect::Sick { kind, thread, says }
}

const fn case(name: &'static str, about: &'static str, program: Program, expect: Expect) -> Case {
    Case {
        name,
        about,
        program,
        expect,
        after_s: 6,
        arguments: &[],
    }
}

const fn healthy(name: &'static str, about: &'static str, program: Program) -> Case {
    Case {
        after_s: 2,
        ..case(name, about, program, Expect::Healthy)
    }
}

const UNREAD: &str = "not_consuming";
const BLOCKED: &str = "loop_blocked";
const UNTAKEN: &str = "peer_not_consuming";
const SILENT: &str = "feed_gap";
const LEAK: &str = "fd_leak";

/// A rise takes a while to show; ten windows are the least.
const LONG: &[&str] = &["--duration", "10s", "--threshold", "fd-leak=8s"];
/// A feed of ten seconds, and its silence.
const WATCHED: &[&str] = &["--duration", "18s"];
/// What fed for so long is a feed.
const FEED: &[&str] = &["--threshold", "feed-life=1s"];

/// A closed connection is left alone for longer than a test should last.
const CLOSED: &[&str] = &["--threshold", "close-wait=5s"];

pub(super) const CASES: &[Case] = &[
    case(
        "unread-unwatched-unix-c",
        "an event loop that no longer watches a unix stream with a request in it",
        Program::C(C, "unwatched-unix"),
        sick(
            UNREAD,
            "main",
            &["is in no epoll set", "event_loop", "peer ("],
        ),
    ),
    case(
        "unread-unwatched-tcp-c",
        "the same over TCP",
        Program::C(C, "unwatched-tcp"),
        sick(UNREAD, "main", &["is in no epoll set", "event_loop"]),
    ),
    case(
        "unread-one-shot-c",
        "a one-shot interest that is not armed again",
        Program::C(C, "one-shot"),
        sick(UNREAD, "main", &["EPOLLONESHOT not re-armed", "event_loop"]),
    ),
    case(
        "unread-edge-c",
        "an edge-triggered socket that was not read to the end",
        Program::C(C, "edge"),
        sick(
            UNREAD,
            "main",
            &["EPOLLET, handler stopped before EAGAIN", "event_loop"],
        ),
    ),
    case(
        "unread-write-only-c",
        "a loop that watches for room to write and not for what there is to read",
        Program::C(C, "write-only"),
        sick(UNREAD, "main", &["not registered for EPOLLIN"]),
    ),
    case(
        "unread-elsewhere-c",
        "a loop whose handler does not come back, with data waiting",
        Program::C(C, "elsewhere"),
        sick(BLOCKED, "main", &["handle_slowly"]),
    ),
    case(
        "unread-blocked-asyncio",
        "the same in asyncio: a callback that sleeps",
        Program::Python(PYTHON, "blocked"),
        sick(BLOCKED, "main", &["handle_forever"]),
    ),
    case(
        "unread-lock-workers-c",
        "a thread for each connection, and all of them wait for a lock",
        Program::C(C, "busy-workers"),
        sick(UNREAD, "", &["3 in futex", "nothing from 3 sockets"]),
    ),
    case(
        "unread-dead-reader-c",
        "the thread that read has ended",
        Program::C(C, "dead-reader"),
        sick(UNREAD, "main", &["no thread reads"]),
    ),
    case(
        "unread-no-accept-c",
        "a listening socket whose backlog is full, and nobody accepts",
        Program::C(C, "no-accept"),
        sick(UNREAD, "main", &["accepted no connection", "full"]),
    ),
    case(
        "unread-paused-asyncio",
        "a transport that paused reading and never resumes, in a loop that is otherwise well",
        Program::Python(PYTHON, "paused"),
        sick(UNREAD, "main", &["is in no epoll set"]),
    ),
    case(
        "untaken-blocked-tcp-c",
        "a thread blocked in send: the peer, a child, reads nothing and is the cause",
        Program::C(C, "blocked-sender-tcp"),
        sick(UNREAD, "", &["no thread reads", "waits on its fd"]),
    ),
    case(
        "untaken-blocked-unix-c",
        "the same over a unix stream",
        Program::C(C, "blocked-sender-unix"),
        sick(UNREAD, "", &["no thread reads", "waits on its fd"]),
    ),
    case(
        "untaken-drain-asyncio",
        "a task that waits in drain() for a peer that reads nothing",
        Program::Python(PYTHON, "drain"),
        sick(UNTAKEN, "", &["not drained", "zero window"]),
    ),
    Case {
        arguments: FEED,
        ..case(
            "silent-feed-asyncio",
            "a feed that fell silent",
            Program::Python(PYTHON, "silent-feed"),
            sick(SILENT, "", &["silent for"]),
        )
    },
    Case {
        after_s: 7,
        ..case(
            "silent-feed-unanswered-asyncio",
            "a feed that fell silent and does not answer to pings",
            Program::Python(PYTHON, "half-open-feed"),
            sick(SILENT, "", &["application silent"]),
        )
    },
    Case {
        after_s: 1,
        arguments: WATCHED,
        ..case(
            "silent-feed-young-asyncio",
            "a feed that falls silent while it is watched, ten seconds old",
            Program::Python(PYTHON, "young-feed"),
            sick(SILENT, "", &["in this capture", "nothing sent since"]),
        )
    },
    Case {
        after_s: 1,
        arguments: LONG,
        ..case(
            "leak-sockets-asyncio",
            "connections that are opened and forgotten",
            Program::Python(PYTHON, "leak-sockets"),
            sick(LEAK, "", &["sockets (+", "/s"]),
        )
    },
    Case {
        after_s: 1,
        ..case(
            "leak-near-limit-python",
            "files that nobody closed, and hardly a descriptor left",
            Program::Python(PYTHON, "near-limit"),
            sick(LEAK, "", &["256", "sick_sockets.py"]),
        )
    },
    Case {
        arguments: CLOSED,
        ..case(
            "left-close-wait-c",
            "the peer closed, and this side did not",
            Program::C(C, "close-wait"),
            sick("close_wait", "", &["in CLOSE-WAIT"]),
        )
    },
    Case {
        after_s: 6,
        arguments: CLOSED,
        ..healthy(
            "healthy-half-closed-c",
            "a peer that closed its own direction, and is still served",
            Program::C(C, "half-closed"),
        )
    },
    healthy(
        "healthy-slow-reader-tcp-c",
        "a queue that is never empty, and read slowly but steadily",
        Program::C(C, "slow-reader-tcp"),
    ),
    healthy(
        "healthy-slow-reader-unix-c",
        "the same over a unix stream",
        Program::C(C, "slow-reader-unix"),
    ),
    Case {
        after_s: 6,
        ..healthy(
            "healthy-slow-peer-tcp-c",
            "a thread blocked in send for long, whose peer reads slowly but steadily",
            Program::C(C, "slow-peer-tcp"),
        )
    },
    Case {
        after_s: 6,
        ..healthy(
            "healthy-slow-peer-unix-c",
            "the same over a unix stream",
            Program::C(C, "slow-peer-unix"),
        )
    },
    healthy(
        "healthy-bounded-queue-c",
        "a queue that fills for a second and is drained then",
        Program::C(C, "bounded-queue"),
    ),
    healthy(
        "healthy-accept-burst-c",
        "connections that come in bursts and wait their turn",
        Program::C(C, "accept-burst"),
    ),
    Case {
        after_s: 6,
        ..healthy(
            "healthy-idle-pool-c",
            "kept connections that have nothing to say",
            Program::C(C, "idle-pool"),
        )
    },
    healthy(
        "healthy-flow-control-asyncio",
        "reads in bursts, twice a second",
        Program::Python(PYTHON, "flow-control"),
    ),
    Case {
        arguments: FEED,
        ..healthy(
            "healthy-feed-asyncio",
            "a feed that goes on",
            Program::Python(PYTHON, "steady-feed"),
        )
    },
    Case {
        after_s: 1,
        arguments: WATCHED,
        ..healthy(
            "healthy-young-download-asyncio",
            "an answer of ten seconds on a young connection that is kept",
            Program::Python(PYTHON, "young-download"),
        )
    },
    Case {
        after_s: 1,
        arguments: WATCHED,
        ..healthy(
            "healthy-young-bursts-asyncio",
            "bursts that come unasked, with pauses",
            Program::Python(PYTHON, "young-bursts"),
        )
    },
    Case {
        after_s: 7,
        arguments: FEED,
        ..healthy(
            "healthy-idle-pool-asyncio",
            "kept connections that had answers of many segments",
            Program::Python(PYTHON, "idle-pool"),
        )
    },
    Case {
        arguments: LONG,
        ..healthy(
            "healthy-saw-tooth-python",
            "files that pile up and are closed together",
            Program::Python(PYTHON, "saw-tooth"),
        )
    },
    Case {
        arguments: LONG,
        ..healthy(
            "healthy-warm-up-python",
            "a pool of connections that fills, slower and slower",
            Program::Python(PYTHON, "warm-up"),
        )
    },
    Case {
        arguments: LONG,
        ..healthy(
            "healthy-more-clients-asyncio",
            "a server that more and more clients come to and stay at",
            Program::Python(PYTHON, "more-clients"),
        )
    },
];
