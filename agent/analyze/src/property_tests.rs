//! Property tests, on captures of any shape: no panic, no finding without evidence, the same every time.

use super::*;
use proptest::prelude::*;
use remora_model::*;
use std::time::Duration;

/// Any time, with the edges.
fn time() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        Just(Duration::MAX),
        (0..100_000_u64).prop_map(Duration::from_millis),
    ]
}

/// An index into something that has a few; now and then far outside.
fn index() -> impl Strategy<Value = usize> {
    prop_oneof![8 => 0..4_usize, 1 => Just(usize::MAX)]
}

/// Ids as long as they get: `pid_max` is 4,194,304.
const FIRST: u32 = 4_194_298;

/// A name as long as the kernel keeps them.
const NAME: &str = "fifteen-letters";

/// A thread or process id of a few.
fn id() -> impl Strategy<Value = u32> {
    prop_oneof![8 => FIRST..FIRST + 5, 1 => Just(0), 1 => Just(u32::MAX)]
}

fn reason() -> impl Strategy<Value = Reason> {
    prop::sample::select(Reason::ALL.to_vec())
}

fn now() -> impl Strategy<Value = Now> {
    let states = [
        State::Unknown,
        State::Running,
        State::Runnable,
        State::Blocked,
        State::Exited,
    ];
    (
        prop::sample::select(states.to_vec()),
        time(),
        prop::option::of(reason()),
        any::<[u64; 6]>(),
        id(),
        prop::option::of(index()),
    )
        .prop_map(|(state, since, reason, mut args, waker_tid, stack)| {
            args[0] %= 8;
            args[2] %= 8;
            Now {
                state,
                since,
                since_inferred: false,
                reason,
                syscall: Some(Syscall::named("futex")),
                args,
                waker_tid,
                stack,
            }
        })
}

fn thread() -> impl Strategy<Value = Thread> {
    (id(), id(), time(), time(), time(), now(), reason()).prop_map(
        |(tid, pid, observed, on_cpu, waited, now, reason)| Thread {
            tid,
            pid,
            comm: "t\u{1b}[31mfeed".into(),
            python_name: Some("p\u{1b}[31mool".into()),
            java_name: Some("p\u{1b}[31mool".into()),
            summed: 0,
            observed,
            on_cpu,
            run_queue: RunQueue {
                after_wake: waited,
                longest: waited,
                ..RunQueue::default()
            },
            migrations: None,
            waits: vec![ReasonTotals {
                reason,
                total: waited,
                count: 3,
                short: Duration::ZERO,
                short_count: 0,
            }],
            now,
        },
    )
}

fn depth() -> impl Strategy<Value = Depth> {
    (any::<u32>(), any::<u32>(), any::<f64>()).prop_map(|(first, last, mean)| Depth {
        first,
        last,
        min: first.min(last),
        max: first.max(last),
        mean,
    })
}

fn socket() -> impl Strategy<Value = Socket> {
    let states = [
        SocketState::Established,
        SocketState::CloseWait,
        SocketState::Listen,
        SocketState::Unconnected,
    ];
    (
        (
            id(),
            0..8_u32,
            0..4_u64,
            prop::sample::select(states.to_vec()),
        ),
        (depth(), depth(), time(), time(), any::<bool>()),
        (prop::option::of(id()), any::<u32>(), any::<u64>(), index()),
    )
        .prop_map(
            |((pid, fd, inode, state), (receive, send, a, b, flag), (peer, events, bytes, _))| {
                let mut socket = fixture::socket(pid, fd);
                (socket.inode, socket.state, socket.receive, socket.send) =
                    (inode, state, receive, send);
                (socket.first_seen, socket.last_seen, socket.open) = (a, b, flag);
                socket.oldest_unread = Some(Unread {
                    min: a,
                    max: flag.then_some(b),
                    inferred: flag,
                });
                socket.tcp = Some(Tcp {
                    bytes_received: bytes,
                    bytes_sent: bytes,
                    silence: a,
                    last_receive: flag.then_some(b),
                    last_send: Some(a),
                    last_ack: flag.then_some(a),
                    segments_in: events,
                    segments_out: fd,
                    segments_in_capture: bytes,
                    zero_window: flag,
                    ..Tcp::default()
                });
                socket.backlog = flag.then_some(Backlog {
                    now: events,
                    max: events,
                    limit: fd,
                });
                socket.watched_by = vec![Watch {
                    pid,
                    epoll_fd: fd,
                    tids: vec![pid],
                    events,
                }];
                socket.peer_process = peer.map(|pid| PeerProcess {
                    pid,
                    comm: NAME.into(),
                    fd,
                    inode,
                    holders: 1,
                    held_by: vec![pid, fd],
                    accepted: flag,
                    inferred: false,
                    unread: events,
                    reads: flag.then_some(false),
                });
                (socket.not_read_for, socket.not_taken_for) = (a, b);
                socket
            },
        )
}

fn lock() -> impl Strategy<Value = Lock> {
    let kinds = [
        LockKind::Mutex,
        LockKind::PythonGil,
        LockKind::Event,
        LockKind::FutexLock,
        LockKind::ThreadEnd,
        LockKind::ReadWrite,
        LockKind::ParkingMutex,
    ];
    let owner = (
        id(),
        prop::sample::select(vec![
            OwnerFrom::Word,
            OwnerFrom::Memory,
            OwnerFrom::Code,
            OwnerFrom::LastWaker,
        ]),
    );
    (
        (
            id(),
            0..8_u64,
            prop::sample::select(kinds.to_vec()),
            prop::option::of(owner),
        ),
        prop::collection::vec((index(), any::<u64>(), time(), any::<bool>()), 0..4),
        (any::<u64>(), time(), index()),
        prop::collection::vec((id(), index()), 0..3),
    )
        .prop_map(
            |((pid, address, kind, owner), waiters, (waits, total, stack), keepers)| Lock {
                keepers: keepers
                    .into_iter()
                    .map(|(tid, frame)| Keeper {
                        tid,
                        comm: NAME.into(),
                        frame,
                    })
                    .collect(),
                readers: (waits % 3) as u32,
                parked_at: (waits % 5 == 0).then_some(address ^ waits),
                pid,
                address,
                place: "heap".into(),
                shared: false,
                kind,
                kind_inferred: false,
                operations: vec![FutexOperation::Wait],
                waits,
                total,
                longest: total,
                waiters: waiters
                    .into_iter()
                    .map(|(thread, waits, total, now)| Waiter {
                        thread,
                        waits,
                        total,
                        now,
                    })
                    .collect(),
                owner: owner.map(|(tid, from)| Owner {
                    tid,
                    comm: NAME.into(),
                    from,
                }),
                wakers: vec![(1, "w".into(), waits)],
                holders: Vec::new(),
                waiter_stacks: vec![LockStack {
                    thread: stack,
                    stack,
                    count: waits,
                    total,
                }],
                holder_stacks: Vec::new(),
            },
        )
}

fn event_loop() -> impl Strategy<Value = ThreadLoop> {
    (
        index(),
        any::<bool>(),
        any::<u64>(),
        time(),
        time(),
        prop::option::of(time()),
    )
        .prop_map(
            |(thread, exact, count, blocked, busy, busy_now)| ThreadLoop {
                thread,
                kind: Reason::Epoll,
                epoll_fd: Some(3),
                exact,
                waits: count,
                timeouts: exact.then_some(count),
                events: exact.then_some(count),
                blocked,
                iterations: count,
                busy,
                longest: busy,
                late: count,
                late_time: busy,
                late_queued: blocked,
                late_from: Duration::ZERO,
                lengths: Histogram::default(),
                busy_now,
            },
        )
}

/// Readings of any kind, in windows of any length, of a process with any limit.
fn grow(capture: &mut Capture, readings: Vec<(u64, Duration)>, limit: u64) {
    let spans = readings.iter().map(|(_, length)| timeline::Span {
        start: *length,
        length: *length,
    });
    capture.timeline.spans = spans.collect();
    let readings = readings.iter().map(|(bytes, _)| MemoryReading {
        anon_bytes: *bytes,
        swap_bytes: *bytes,
        ..MemoryReading::default()
    });
    capture.timeline.processes.push(timeline::ProcessSeries {
        pid: FIRST,
        first: 0,
        readings: readings.collect(),
    });
    for memory in &mut capture.memory {
        memory.mappings[0].name = "\u{1b}[31m".into();
        memory.limits = vec![MemoryLimit {
            kind: LimitKind::Host,
            limit_bytes: limit,
            used_bytes: limit / 2,
        }];
    }
}

fn readings() -> impl Strategy<Value = Vec<(u64, Duration)>> {
    let rising = (1..1_u64 << 40).prop_map(|pace| {
        let second = |at: u64| (at.saturating_mul(pace), Duration::from_secs(at));
        (0..60).map(second).collect()
    });
    prop_oneof![prop::collection::vec((any::<u64>(), time()), 0..40), rising]
}

fn capture() -> impl Strategy<Value = Capture> {
    (
        prop::collection::vec(thread(), 0..6),
        prop::collection::vec(socket(), 0..6),
        prop::collection::vec(lock(), 0..4),
        prop::collection::vec(event_loop(), 0..4),
        prop::collection::vec((index(), index(), any::<u64>()), 0..4),
        time(),
        (readings(), any::<u64>()),
    )
        .prop_map(
            |(threads, sockets, locks, loops, samples, duration, (readings, limit))| {
                let mut builder = fixture::Builder::new(FIRST, NAME);
                builder.process(FIRST + 1, NAME);
                builder.stack(&["main", "p:pump@feed.py:41"]);
                builder.stack(&["main", "k:do_epoll_wait"]);
                builder.grown(0, &["main", "grow"], limit / 3, 7);
                let capture = &mut builder.0;
                capture.duration = duration;
                grow(capture, readings, limit);
                capture.threads.extend(threads);
                (capture.sockets, capture.locks, capture.loops) = (sockets, locks, loops);
                capture.samples = samples
                    .into_iter()
                    .map(|(thread, stack, count)| Sample {
                        thread,
                        stack,
                        count,
                        late: count,
                    })
                    .collect();
                builder.finish()
            },
        )
}

proptest! {
    #[test]
    fn nothing_panics_and_each_finding_has_evidence(capture in capture()) {
        let judgement = judge(&capture, &Thresholds::default());
        for finding in judgement.findings() {
            prop_assert!(!finding.evidence.is_empty(), "{finding:#?}");
            prop_assert!(!finding.summary.is_empty() && !finding.next.is_empty(), "{finding:#?}");
            prop_assert!(!finding.about.is_empty(), "{finding:#?}");
            let length = finding.summary.chars().count();
            prop_assert!(length <= 100, "{length}: {}", finding.summary);
            prop_assert!(finding.next.ends_with('.'), "{}", finding.next);
            let asks = finding.next.contains('?') || finding.summary.contains("(s)");
            prop_assert!(!asks, "{finding:#?}");
            let texts = finding.evidence.iter().map(|fact| &fact.value).chain([&finding.summary]);
            for text in texts {
                prop_assert!(!text.contains('\u{1b}'), "a name that steers terminals: {text:?}");
            }
        }
        prop_assert_eq!(judgement, judge(&capture, &Thresholds::default()));
    }
}
