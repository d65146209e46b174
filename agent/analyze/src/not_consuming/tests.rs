//! Findings on sockets made by hand: each reason, and what is left alone.

mod among_loops;

use crate::{Thresholds, judge};
use remora_model::fixture::{Builder, ms, socket};
use remora_model::{
    Address, Backlog, Capture, Confidence, Depth, Finding, FindingKind, PeerProcess, Reason,
    Socket, SocketState, State, Subject, Unread, Watch,
};

const IN: u32 = 1;
const ONE_SHOT: u32 = 1 << 30;
const EDGE: u32 = 1 << 31;

/// A loop's thread, asleep in its wait on epoll descriptor 3 for so long.
fn idle_loop(seconds: u64) -> Builder {
    let mut builder = Builder::new(1, "feedd");
    builder.0.duration = ms(3000);
    waiting(&mut builder, 0, Reason::Epoll, 3, seconds);
    builder
}

fn waiting(builder: &mut Builder, thread: usize, reason: Reason, fd: u64, seconds: u64) {
    let now = &mut builder.0.threads[thread].now;
    now.state = State::Blocked;
    now.reason = Some(reason);
    now.args[0] = fd;
    now.since = ms(1000 * seconds);
}

/// 5,000 bytes from another process of the host, unread in the whole look, the oldest for so long.
fn unread(seconds: u64) -> Socket {
    let mut stuck = socket(1, 9);
    stuck.receive = Depth {
        first: 5000,
        last: 5000,
        min: 5000,
        max: 5000,
        mean: 5000.0,
    };
    stuck.samples = 7;
    stuck.not_read_for = ms(3000);
    stuck.oldest_unread = Some(Unread {
        min: ms(1000 * seconds),
        max: None,
        inferred: false,
    });
    stuck.peer_process = Some(peer(4690));
    stuck
}

fn peer(pid: u32) -> PeerProcess {
    PeerProcess {
        pid,
        comm: "piker\u{1b}[31md".into(),
        fd: 5,
        inode: 77,
        holders: 1,
        held_by: Vec::new(),
        accepted: true,
        inferred: false,
        unread: 0,
        reads: None,
    }
}

fn watched(mut socket: Socket, events: u32) -> Socket {
    socket.watched_by.push(Watch {
        pid: 1,
        epoll_fd: 3,
        tids: vec![1],
        events,
    });
    socket
}

fn found(capture: &Capture) -> Vec<Finding> {
    let judgement = judge(capture, &Thresholds::default());
    let found = judgement.findings();
    found
        .filter(|finding| finding.kind == FindingKind::NotConsuming)
        .cloned()
        .collect()
}

fn with(mut builder: Builder, socket: Socket) -> Vec<Finding> {
    builder.0.sockets.push(socket);
    found(&builder.finish())
}

fn text(finding: &Finding) -> String {
    let facts = finding.evidence.iter();
    facts
        .map(|fact| format!("{}: {}\n", fact.what.key(), fact.value))
        .collect()
}

#[test]
fn a_socket_that_is_not_watched_while_the_loop_is_idle() {
    let found = with(idle_loop(32), unread(32));
    let [finding] = &found[..] else {
        panic!("{found:#?}")
    };
    assert_eq!(finding.confidence, Confidence::Certain);
    assert_eq!((finding.tid, finding.since), (Some(1), Some(ms(32_000))));
    assert!(
        finding
            .summary
            .starts_with("feedd (1) has read nothing from fd 9 for ≥ 32.0 s: sent by piker")
    );
    assert!(!finding.summary.contains('\u{1b}'), "{}", finding.summary);
    let text = text(finding);
    for words in [
        "fd 9 is in no epoll set",
        "idle in epoll on fd 3",
        "(4690), fd 5, this host",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn each_way_of_being_watched_in_vain_is_told() {
    for (events, words) in [
        (ONE_SHOT, "EPOLLONESHOT not re-armed"),
        (IN | EDGE, "EPOLLET"),
        (4, "not registered for EPOLLIN, only OUT"),
        (IN, "SO_RCVLOWAT"),
    ] {
        let found = with(idle_loop(32), watched(unread(32), events));
        let [finding] = &found[..] else {
            panic!("{words}: {found:#?}")
        };
        assert!(text(finding).contains(words), "{words}: {finding:#?}");
    }
}

#[test]
fn a_loop_that_is_elsewhere_is_the_cause() {
    let mut builder = idle_loop(32);
    waiting(&mut builder, 0, Reason::Futex, 0, 32);
    let found = with(builder, watched(unread(32), IN));
    let [finding] = &found[..] else {
        panic!("{found:#?}")
    };
    assert_eq!(finding.because_of, [Subject::Thread(1)]);
    assert!(
        text(finding).contains("instead of epoll_wait on fd 3 for ≥ 32.0 s"),
        "{finding:#?}"
    );
}

#[test]
fn what_the_look_does_not_cover_is_inferred_or_not_said() {
    // A heart-beat every now and then: the loop's wait is young. The connection itself knows its age.
    let found = with(idle_loop(0), unread(32));
    let [finding] = &found[..] else {
        panic!("{found:#?}")
    };
    assert_eq!(finding.confidence, Confidence::Inferred);
    assert!(
        finding
            .summary
            .contains("has unread data on fd 9 for ≥ 32.0 s"),
        "{}",
        finding.summary
    );
    // Nobody knows.
    assert_eq!(with(idle_loop(0), unread(3)), []);
    // A unix socket has no age, but nobody ran.
    let found = with(idle_loop(32), unread(3));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].since, Some(ms(32_000)));
}

#[test]
fn what_is_read_however_little_is_consumed() {
    let mut slow = unread(60);
    slow.not_read_for = ms(900);
    assert_eq!(with(idle_loop(32), slow), []);
    let mut drained = unread(60);
    drained.receive.min = 0;
    assert_eq!(with(idle_loop(32), drained), []);
}

#[test]
fn a_notice_on_an_idle_connection_is_left_alone_unless_somebody_waits() {
    let mut pooled = unread(3600);
    pooled.peer_process = None;
    assert_eq!(with(idle_loop(32), pooled.clone()), []);
    assert_eq!(with(idle_loop(32), watched(pooled.clone(), IN | EDGE)), []);
    let mut feed = pooled.clone();
    feed.receive.first = 100;
    assert_eq!(with(idle_loop(32), feed).len(), 1, "it grows");
    let mut long = pooled.clone();
    long.receive.last = 100_000;
    assert_eq!(with(idle_loop(32), long).len(), 1, "it is long");
    let mut builder = idle_loop(32);
    let address = Some(Address::Inet("10.0.0.1:80".parse().expect("an address")));
    let mut server = socket(1, 4);
    (server.state, server.local) = (SocketState::Listen, address.clone());
    builder.0.sockets.push(server);
    pooled.local = address;
    assert_eq!(with(builder, pooled).len(), 1, "a client waits");
}

#[test]
fn wake_ups_of_a_loop_by_itself_and_closed_connections_are_left_alone() {
    let mut own = unread(60);
    own.peer_process = Some(peer(1));
    own.receive.last = 1;
    assert_eq!(with(idle_loop(32), watched(own, IN)), []);
    let mut left = unread(60);
    left.state = SocketState::CloseWait;
    assert_eq!(with(idle_loop(32), left), []);
}

#[test]
fn a_reader_that_waits_for_a_whole_message_reads() {
    let mut builder = idle_loop(32);
    waiting(&mut builder, 0, Reason::SocketReceive, 9, 32);
    assert_eq!(with(builder, unread(60)), []);
}

#[test]
fn connections_that_nobody_accepts() {
    let mut server = unread(74);
    server.state = SocketState::Listen;
    server.peer_process = None;
    server.backlog = Some(Backlog {
        now: 3,
        max: 3,
        limit: 3,
    });
    let found = with(idle_loop(74), server);
    let [finding] = &found[..] else {
        panic!("{found:#?}")
    };
    assert!(
        finding
            .summary
            .contains("has accepted no connection on fd 9 for ≥ 74.0 s: backlog 3")
    );
    assert!(text(finding).contains("backlog 3 of 3 (full"));
}

#[test]
fn a_master_that_listens_for_its_workers_accepts_nothing_itself() {
    let mut builder = idle_loop(74);
    builder.process(2, "worker");
    let server = |pid| {
        let mut server = unread(74);
        (server.pid, server.state) = (pid, SocketState::Listen);
        server.peer_process = None;
        server.backlog = Some(Backlog {
            now: 3,
            max: 3,
            limit: 3,
        });
        server
    };
    let mut capture = builder.finish();
    capture.sockets = vec![server(1), server(2)];
    let pids = |capture: &Capture| {
        let judgement = judge(capture, &Thresholds::default());
        let all = judgement.findings().map(|finding| finding.pid);
        all.collect::<Vec<_>>()
    };
    assert_eq!(pids(&capture), [1, 2], "two that are no relatives");
    let worker = capture.processes.iter_mut().find(|it| it.pid == 2);
    worker.expect("it was made above").parent = Some(1);
    assert_eq!(pids(&capture), [2]);
}

#[test]
fn sockets_with_one_reason_are_one_finding() {
    let mut builder = idle_loop(32);
    for fd in 20..30 {
        let mut stuck = unread(32);
        (stuck.fd, stuck.inode) = (fd, u64::from(fd));
        builder.0.sockets.push(stuck);
    }
    let found = found(&builder.finish());
    let [finding] = &found[..] else {
        panic!("{found:#?}")
    };
    assert_eq!(finding.about.len(), 10);
    assert!(
        finding.summary.contains("has read nothing from 10 sockets"),
        "{}",
        finding.summary
    );
    assert!(text(finding).contains("7 more sockets"));
}

#[test]
fn threads_without_a_loop_are_told_by_what_they_do() {
    let mut builder = Builder::new(1, "server");
    builder.0.duration = ms(3000);
    for tid in 2..5 {
        let thread = builder.thread(1, tid, "worker");
        waiting(&mut builder, thread, Reason::Futex, 0, 60);
    }
    waiting(&mut builder, 0, Reason::SignalWait, 0, 60);
    let found = with(builder, unread(60));
    let [finding] = &found[..] else {
        panic!("{found:#?}")
    };
    assert_eq!(finding.tid, None);
    assert!(text(finding).contains("3 in futex"), "{finding:#?}");
    assert!(finding.because_of.contains(&Subject::Thread(3)));
}

#[test]
fn where_threads_are_that_do_not_read_is_shown_with_their_code() {
    let mut builder = Builder::new(1, "server");
    builder.0.duration = ms(3000);
    for tid in 2..5 {
        let thread = builder.thread(1, tid, "worker");
        waiting(&mut builder, thread, Reason::Futex, 0, 60);
        let stack = builder.stack(&["main", "take@/x/a.c:7", "k:futex_wait"]);
        builder.0.threads[thread].now.stack = Some(stack);
    }
    waiting(&mut builder, 0, Reason::Futex, 0, 60);
    let found = with(builder, unread(60));
    let text = text(&found[0]);
    let line = "code: worker-2 and 2 more threads: take (a.c:7) <- main\n";
    assert!(text.contains(line), "{text}");
}

/// Two threads: the main one waits for a condition at rest, `feedd-2` is prepared.
fn two_threads(prepare: impl Fn(&mut Builder)) -> Vec<Finding> {
    let mut builder = idle_loop(32);
    waiting(&mut builder, 0, Reason::SignalWait, 0, 32);
    builder.thread(1, 2, "feedd");
    prepare(&mut builder);
    let mut socket = watched(unread(32), IN);
    socket.watched_by[0].tids.clear();
    with(builder, socket)
}

#[test]
fn a_loop_that_nobody_was_seen_in_may_be_that_of_a_thread_at_work() {
    let found = two_threads(|it| {
        let own = &mut it.0.threads[1];
        own.now.state = State::Running;
        own.on_cpu = ms(2990);
    });
    let [finding] = &found[..] else {
        panic!("{found:#?}")
    };
    assert!(
        text(finding).contains("no thread waits on that set; feedd-2 is busy on a CPU"),
        "{finding:#?}"
    );
    assert!(
        finding.next.starts_with("Check what feedd-2 does"),
        "{}",
        finding.next
    );
    assert_eq!(finding.because_of, [Subject::Thread(2)]);
    // All of them rest: it is gone.
    let found = two_threads(|it| waiting(it, 1, Reason::SocketAccept, 5, 32));
    assert!(found[0].next.contains("exited or never started"));
    assert_eq!(found[0].because_of, []);
}

#[test]
fn a_loop_whose_thread_sits_in_a_poll_of_something_else_is_elsewhere() {
    let mut builder = idle_loop(32);
    waiting(&mut builder, 0, Reason::Poll, 0x7ffd_0000_1000, 32);
    let found = with(builder, watched(unread(32), IN));
    let [finding] = &found[..] else {
        panic!("{found:#?}")
    };
    let text = text(finding);
    assert!(
        text.contains("feedd-1 is in poll instead of epoll_wait on fd 3"),
        "{text}"
    );
    assert!(!text.contains("SO_RCVLOWAT"), "{text}");
    assert_eq!(finding.because_of, [Subject::Thread(1)]);
    // `select` on three descriptors is no wait on descriptor 3.
    let mut builder = idle_loop(32);
    waiting(&mut builder, 0, Reason::Poll, 3, 32);
    let mut socket = watched(unread(32), IN);
    socket.watched_by[0].tids.clear();
    let found = with(builder, socket);
    assert_eq!(found[0].because_of, [Subject::Thread(1)]);
}

#[test]
fn a_loop_that_has_just_begun_to_wait_does_not_sleep_over_what_is_there() {
    let mut builder = idle_loop(32);
    builder.0.threads[0].now.since = ms(2);
    let found = with(builder, watched(unread(32), IN));
    let text = text(&found[0]);
    assert!(text.contains("reported each time and not read"), "{text}");
}

#[test]
fn a_socket_that_a_fork_handed_on_is_told_of_the_process_that_was_named() {
    let server = |pid, fd| {
        let mut server = unread(74);
        (server.pid, server.fd, server.inode) = (pid, fd, 5);
        server.state = SocketState::Listen;
        server.peer_process = None;
        server.backlog = Some(Backlog {
            now: 3,
            max: 3,
            limit: 3,
        });
        server
    };
    let both = |followed| {
        let mut builder = idle_loop(74);
        waiting(&mut builder, 0, Reason::SignalWait, 0, 74);
        let child = builder.process(2, "peer");
        waiting(&mut builder, child, Reason::SignalWait, 0, 75);
        builder.0.processes[1].followed = followed;
        builder.0.sockets = vec![server(1, 4), server(2, 4)];
        let found = found(&builder.finish());
        found.iter().map(|it| it.pid).collect::<Vec<_>>()
    };
    assert_eq!(both(Some(1)), [1]);
    assert_eq!(both(None), [2, 1], "both were named");
}
