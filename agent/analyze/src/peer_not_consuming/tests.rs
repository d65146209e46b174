//! Senders made by hand: who waits, and what is left alone.

use crate::{Thresholds, judge};
use remora_model::fixture::{Builder, ms, socket};
use remora_model::{
    Address, Await, AwaitKind, Depth, Finding, FindingKind, PeerProcess, Reason, Socket,
    SocketState, State, Subject, Task, TaskFrame, TaskState, Tasks, Tcp, Topic,
};

fn sender(asleep_s: u64, reason: Reason) -> Builder {
    let mut builder = Builder::new(1, "router");
    builder.0.duration = ms(3000);
    let now = &mut builder.0.threads[0].now;
    now.state = State::Blocked;
    (now.reason, now.args[0]) = (Some(reason), 9);
    now.since = ms(1000 * asleep_s);
    builder
}

/// A full send queue that stood still in the whole look; the window closed so long ago.
fn full(seconds: u64) -> Socket {
    let mut full = socket(1, 9);
    full.send = Depth {
        first: 500_000,
        last: 500_000,
        min: 500_000,
        max: 500_000,
        mean: 5e5,
    };
    full.samples = 7;
    full.not_taken_for = ms(3000);
    full.local = Some(Address::Inet("10.0.0.1:5000".parse().expect("an address")));
    full.peer = Some(Address::Inet("10.0.0.2:443".parse().expect("an address")));
    full.tcp = Some(Tcp {
        zero_window: true,
        last_send: Some(ms(1000 * seconds)),
        last_ack: Some(ms(100)),
        ..Tcp::default()
    });
    full
}

fn with_peer(mut socket: Socket, reads: Option<bool>) -> Socket {
    socket.peer_process = Some(PeerProcess {
        pid: 77,
        comm: "peer".into(),
        fd: 4,
        inode: 5000,
        holders: 1,
        held_by: Vec::new(),
        accepted: true,
        inferred: false,
        unread: 128_000,
        reads,
    });
    socket
}

fn found(mut builder: Builder, socket: Socket) -> Vec<Finding> {
    builder.0.sockets.push(socket);
    let judgement = judge(&builder.finish(), &Thresholds::default());
    let found = judgement.findings();
    found
        .filter(|finding| finding.kind == FindingKind::PeerNotConsuming)
        .cloned()
        .collect()
}

#[test]
fn a_thread_blocked_in_send_to_a_local_peer_that_does_not_read() {
    let found = found(
        sender(40, Reason::SocketSend),
        with_peer(full(40), Some(false)),
    );
    let [finding] = &found[..] else {
        panic!("{found:#?}")
    };
    assert_eq!((finding.tid, finding.since), (Some(1), Some(ms(40_000))));
    let because = [Subject::Socket(5000), Subject::Process(77)];
    assert_eq!(finding.because_of, because);
    assert!(
        finding
            .summary
            .starts_with("send queue of router (1) to peer (77) (fd 9) not drained for ≥ 40.0 s")
    );
}

#[test]
fn a_peer_that_reads_however_little_is_left_alone() {
    assert_eq!(
        found(
            sender(40, Reason::SocketSend),
            with_peer(full(40), Some(true))
        ),
        []
    );
}

#[test]
fn a_queue_that_moves_or_is_young_is_left_alone() {
    let mut moves = full(40);
    moves.not_taken_for = ms(500);
    assert_eq!(found(sender(40, Reason::SocketSend), moves), []);
    assert_eq!(found(sender(2, Reason::Epoll), full(2)), []);
    let mut empty = full(40);
    empty.send.min = 0;
    assert_eq!(found(sender(40, Reason::SocketSend), empty), []);
}

#[test]
fn a_connection_of_its_own_making_counts_without_a_thread_that_waits() {
    assert_eq!(found(sender(0, Reason::Epoll), full(40)).len(), 1);
}

#[test]
fn a_client_of_a_server_that_vanished_is_left_alone() {
    let mut builder = sender(0, Reason::Epoll);
    let mut server = socket(1, 4);
    (server.state, server.local) = (SocketState::Listen, full(40).local);
    builder.0.sockets.push(server.clone());
    assert_eq!(found(builder, full(40)), []);
    // Its only thread waits for that one client.
    let mut builder = sender(40, Reason::SocketSend);
    builder.0.sockets.push(server.clone());
    assert_eq!(found(builder, full(40)).len(), 1);
    // One of many workers does.
    let mut builder = sender(40, Reason::SocketSend);
    builder.0.sockets.push(server);
    builder.thread(1, 2, "worker");
    builder.thread(1, 3, "worker");
    assert_eq!(found(builder, full(40)), []);
}

#[test]
fn a_little_that_a_unix_peer_does_not_look_at_is_left_alone() {
    let mut little = with_peer(full(40), Some(false));
    (little.tcp, little.send_limit) = (None, 212_992);
    little.send.last = 700;
    assert_eq!(found(sender(40, Reason::Epoll), little.clone()), []);
    little.send.last = 200_000;
    assert_eq!(found(sender(40, Reason::Epoll), little).len(), 1);
}

/// A task that waits in a function of asyncio, called by one of the program.
fn task(id: u64, call: &str, function: &str) -> Task {
    Task {
        id,
        name: format!("Task-{id}"),
        class: "Task".into(),
        loop_id: 1,
        state: TaskState::Waiting,
        cancelling: false,
        frames: vec![TaskFrame {
            function: function.into(),
            file: "/srv/feed.py".into(),
            line: Some(41),
        }],
        frames_cut: false,
        awaits: Some(Await {
            kind: AwaitKind::Stream,
            call: call.into(),
            class: "Future".into(),
            object: 1,
            tasks: Vec::new(),
            left_s: None,
        }),
        holds: Vec::new(),
        same_for: None,
        torn: false,
    }
}

#[test]
fn a_task_waits_for_the_peer_by_what_it_awaits_and_not_by_its_name() {
    let mut builder = sender(0, Reason::Epoll);
    let tasks = vec![
        task(1, "StreamReader.read", "send_when_drained"),
        task(2, "FlowControlMixin._drain_helper", "pump"),
    ];
    builder.0.tasks.push((
        1,
        Tasks {
            tasks,
            ..Tasks::default()
        },
    ));
    let found = found(builder, full(40));
    let waits: Vec<&str> = found[0]
        .evidence
        .iter()
        .filter(|fact| fact.what == Topic::Waits)
        .map(|fact| fact.value.as_str())
        .collect();
    assert_eq!(waits.len(), 1, "{waits:?}");
    assert!(waits[0].contains("pump (feed.py:41)"), "{waits:?}");
}

#[test]
fn the_next_step_is_no_triage_of_a_process_that_is_watched() {
    let next = |builder: Builder| {
        let found = found(builder, with_peer(full(40), Some(false)));
        found[0].next.clone()
    };
    assert!(next(sender(40, Reason::SocketSend)).contains("remora triage --pid 77"));
    let mut watched = sender(40, Reason::SocketSend);
    watched.process(77, "peer");
    let next = next(watched);
    assert!(!next.contains("triage") && next.contains("fd 4"), "{next}");
}
