//! The graph on captures made by hand.

use super::*;
use crate::{Thresholds, judge};
use remora_model::{
    Awaited, Capture, Dependency, FutexOperation, Keeper, Lock, LockKind, Owner, OwnerFrom,
    PeerProcess, Reason, State, Syscall, Topic, Verdict, Waiter,
    fixture::{Builder, ms},
};

/// A lock that one thread holds and others wait for.
pub(crate) fn lock(capture: &Capture, address: u64, owner: usize, waiters: &[usize]) -> Lock {
    let thread = &capture.threads[owner];
    Lock {
        keepers: Vec::new(),
        readers: 0,
        parked_at: None,
        pid: thread.pid,
        address,
        place: "heap".into(),
        shared: false,
        kind: LockKind::Mutex,
        kind_inferred: false,
        operations: vec![FutexOperation::Wait],
        waits: waiters.len() as u64,
        total: ms(3000),
        longest: ms(3000),
        waiters: waiters
            .iter()
            .map(|thread| Waiter {
                thread: *thread,
                waits: 1,
                total: ms(3000),
                now: true,
            })
            .collect(),
        owner: Some(Owner {
            tid: thread.tid,
            comm: thread.comm.clone(),
            from: OwnerFrom::Memory,
        }),
        wakers: Vec::new(),
        holders: Vec::new(),
        waiter_stacks: Vec::new(),
        holder_stacks: Vec::new(),
    }
}

/// A thread sleeps for a lock.
pub(crate) fn blocks(capture: &mut Capture, thread: usize, address: u64, since: u64) {
    let now = &mut capture.threads[thread].now;
    now.state = State::Blocked;
    now.reason = Some(Reason::Futex);
    now.syscall = Some(Syscall::named("futex"));
    now.args = [address, 0x80, 2, 0, 0, 0];
    now.since = ms(since);
}

/// Threads that each hold a lock (0x1000 by the first) and wait for that of the next.
fn ring(size: usize, since: u64) -> Capture {
    let mut builder = Builder::new(1, "ring");
    for tid in 2..=size as u32 {
        builder.thread(1, tid, "worker");
    }
    let mut capture = builder.0;
    for thread in 0..size {
        let wanted = (thread + 1) % size;
        let address = 0x1000 * (wanted as u64 + 1);
        blocks(&mut capture, thread, address, since);
        let lock = lock(&capture, address, wanted, &[thread]);
        capture.locks.push(lock);
    }
    capture
}

fn verdict(capture: &Capture) -> Verdict {
    judge(capture, &Thresholds::default()).verdict
}

#[test]
fn a_ring_of_any_size_is_one_deadlock_with_all_its_members() {
    for size in 1..=5 {
        let capture = ring(size, 3000);
        let judgement = judge(&capture, &Thresholds::default());
        let findings: Vec<_> = judgement.findings().collect();
        assert_eq!(findings.len(), 1, "{size}: {findings:?}");
        assert_eq!(findings[0].kind.name(), "deadlock");
        assert_eq!(findings[0].about.len(), 2 * size);
        assert_eq!(findings[0].since, Some(ms(3000)));
        assert_eq!(findings[0].tid, Some(1), "the first of them");
        assert_eq!(findings[0].confidence, remora_model::Confidence::Certain);
        let facts = findings[0].evidence.iter();
        let name = |tid| match tid {
            1 => "ring-1".to_owned(),
            tid => format!("worker-{tid}"),
        };
        let summary = match size {
            1 => "ring-1 of ring (1) deadlocked on itself for 3.0 s".to_owned(),
            size => format!("{size} threads of ring (1) deadlocked for 3.0 s"),
        };
        assert_eq!(findings[0].summary, summary);
        assert!(findings[0].next.starts_with("Restart ring (1)"));
        let waits: Vec<_> = facts.filter(|fact| fact.what == Topic::Waits).collect();
        assert_eq!(waits.len(), size);
        for (at, fact) in waits.iter().enumerate() {
            let (waiter, holder) = (at + 1, (at + 1) % size + 1);
            let words = &fact.value;
            assert!(words.contains(&format!("-{waiter} waits for")), "{words}");
            assert!(
                words.ends_with(&format!("held by {}", name(holder))),
                "{words}"
            );
        }
    }
}

#[test]
fn a_cycle_that_is_young_or_has_a_thread_that_moves_is_none() {
    assert_eq!(verdict(&ring(3, 900)), Verdict::Idle, "under the threshold");
    let mut capture = ring(3, 3000);
    capture.threads[1].now.since = ms(10);
    assert_eq!(verdict(&capture), Verdict::Idle, "one has just begun");
    let mut capture = ring(3, 3000);
    capture.threads[2].now.state = State::Running;
    capture.threads[2].now.reason = None;
    assert_eq!(verdict(&capture), Verdict::Idle, "one runs");
}

#[test]
fn who_waits_for_a_cycle_stands_behind_it() {
    let mut capture = ring(2, 3000);
    let mut late = capture.threads[1].clone();
    late.tid = 77;
    capture.threads.push(late);
    blocks(&mut capture, 2, 0x1000, 2000);
    let judgement = judge(&capture, &Thresholds::default());
    let finding = judgement.findings().next().expect("a deadlock");
    assert!(finding.about.contains(&Subject::Thread(77)));
    let behind = finding
        .evidence
        .iter()
        .find(|fact| fact.what == Topic::Blocked);
    assert_eq!(behind.expect("a fact").value, "1 more: worker-77");
}

#[test]
fn a_chain_ends_at_the_one_that_could_make_progress() {
    let mut capture = ring(3, 3000);
    capture.threads[2].now.state = State::Running;
    capture.threads[2].now.reason = None;
    let thresholds = Thresholds::default();
    let scene = Scene::new(&capture, &thresholds);
    let graph = Graph::of(&scene);
    let chain = graph.chain(0);
    assert_eq!(chain.steps.len(), 2);
    assert_eq!(chain.end, End::Node(Node::Thread(2)));
    let because = chain.because_of(&graph);
    assert!(because.contains(&Subject::Thread(3)) && because.contains(&Subject::Lock(1, 0x2000)));
    assert!(!because.contains(&Subject::Thread(1)));
    assert_eq!(graph.chain(2).steps, []);
    let cycle = ring(2, 5);
    let scene = Scene::new(&cycle, &thresholds);
    assert_eq!(Graph::of(&scene).chain(1).end, End::Cycle(0));
}

#[test]
fn a_chain_through_any_thread_of_a_peer_does_not_end_in_a_deadlock() {
    let reads = |tid, from: u32| Dependency {
        tid,
        on: Awaited::Pipe {
            fd: 3,
            inode: 7,
            name: "pipe:[7]".into(),
            reads: true,
        },
        timed: false,
        parties: vec![(from, "peer".into())],
        cut: false,
    };
    let mut builder = Builder::new(1, "client");
    builder.process(2, "server");
    builder.0.dependencies = vec![reads(1, 2), reads(2, 1)];
    for thread in &mut builder.0.threads {
        thread.now.state = State::Blocked;
        thread.now.reason = Some(Reason::PipeRead);
        thread.now.since = ms(3000);
    }
    let thresholds = Thresholds::default();
    let end = |builder: &Builder| {
        let scene = Scene::new(&builder.0, &thresholds);
        Graph::of(&scene).chain(0).end
    };
    assert_eq!(end(&builder), End::Cycle(0), "nobody else is there");
    builder.thread(2, 9, "other");
    assert_eq!(end(&builder), End::Process(2), "the other one may write");
}

fn peer(pid: u32, comm: &str, fd: u32, inode: u64) -> PeerProcess {
    PeerProcess {
        pid,
        comm: comm.into(),
        fd,
        inode,
        holders: 1,
        held_by: vec![pid],
        accepted: true,
        inferred: false,
        unread: 0,
        reads: None,
    }
}

/// A client waits for an answer of a server with two threads: 2 sleeps for a lock that 9 holds. Gives the chain's end
/// and its last lines.
fn answer_of(prepare: impl Fn(&mut Builder)) -> (End, Vec<String>) {
    let mut builder = Builder::new(1, "client");
    builder.process(2, "server");
    builder.thread(2, 9, "poller");
    let mut near = remora_model::fixture::socket(1, 4);
    near.inode = 40;
    near.peer_process = Some(peer(2, "server", 7, 70));
    let mut far = remora_model::fixture::socket(2, 7);
    far.inode = 70;
    builder.0.sockets = vec![near, far];
    blocks(&mut builder.0, 1, 0x5000, 4000);
    let held = lock(&builder.0, 0x5000, 2, &[1]);
    builder.0.locks.push(held);
    let now = &mut builder.0.threads[0].now;
    (now.state, now.reason) = (State::Blocked, Some(Reason::SocketReceive));
    (now.args[0], now.since) = (4, ms(4000));
    prepare(&mut builder);
    let thresholds = Thresholds::default();
    let scene = Scene::new(&builder.0, &thresholds);
    let graph = Graph::of(&scene);
    let chain = graph.chain(0);
    let facts = chain.facts(&graph);
    let said = facts.into_iter().filter(|it| it.what == Topic::Blocker);
    (chain.end, said.map(|it| it.value).collect())
}

#[test]
fn an_answer_is_awaited_of_the_thread_that_has_the_other_end() {
    let watch = |tids: Vec<u32>| remora_model::Watch {
        pid: 2,
        tids,
        epoll_fd: 5,
        events: 1,
    };
    // Nothing connects either thread with the connection: not the one that happens to wait for a lock.
    let (end, said) = answer_of(|_| {});
    assert_eq!(end, End::Process(2));
    assert_eq!(
        said,
        ["possibly server (2): which of its 2 threads should write is not known"]
    );
    // The loop that holds the socket, wherever its thread is now.
    let (end, _) = answer_of(|it| it.0.sockets[1].watched_by = vec![watch(vec![9])]);
    assert_eq!(end, End::Node(Node::Thread(2)));
    let (end, said) = answer_of(|it| it.0.sockets[1].watched_by = vec![watch(vec![2])]);
    assert_eq!(end, End::Node(Node::Thread(2)), "2 waits for 9: {said:?}");
    // The thread that sleeps in a call on it.
    let (end, said) = answer_of(|it| {
        let now = &mut it.0.threads[2].now;
        (now.state, now.reason) = (State::Blocked, Some(Reason::SocketReceive));
        (now.args[0], now.since) = (7, ms(3000));
        it.0.sockets[1].peer_process = Some(peer(1, "client", 4, 40));
        it.thread(1, 3, "other");
    });
    assert_eq!(end, End::Node(Node::Thread(2)), "no deadlock: {said:?}");
}

#[test]
fn owners_that_are_not_there_are_strangers() {
    let mut capture = ring(2, 3000);
    if let Some(owner) = &mut capture.locks[0].owner {
        owner.tid = 999;
    }
    assert_eq!(verdict(&capture), Verdict::Idle);
}

/// Of a ring of two, the second lock has no owner: these threads will free it.
fn kept(by: &[usize], readers: u32) -> Capture {
    let mut capture = ring(2, 3000);
    let mut other = capture.threads[1].clone();
    other.tid = 77;
    other.now.reason = Some(Reason::Sleep);
    other.now.syscall = None;
    capture.threads.push(other);
    let keepers = by.iter().map(|thread| Keeper {
        tid: capture.threads[*thread].tid,
        comm: "worker".into(),
        frame: 0,
    });
    let keepers = keepers.collect();
    let lock = &mut capture.locks[0];
    (lock.owner, lock.keepers, lock.readers) = (None, keepers, readers);
    capture
}

#[test]
fn all_readers_must_go_and_one_of_those_that_may_have_a_mutex() {
    assert_eq!(verdict(&kept(&[], 0)), Verdict::Idle);
    let capture = kept(&[1], 0);
    let judgement = judge(&capture, &Thresholds::default());
    let finding = judgement.findings().next().expect("a deadlock");
    assert_eq!(finding.confidence, remora_model::Confidence::Inferred);
    let holds = finding
        .evidence
        .iter()
        .find(|fact| fact.what == Topic::Holder);
    let holds = &holds.expect("a fact").value;
    assert!(holds.starts_with("worker-2 frees it in"), "{holds}");
    // One of the two sleeps: it may have the mutex, and that the other one reads is enough.
    assert_eq!(verdict(&kept(&[1, 2], 0)), Verdict::Idle);
    assert_ne!(verdict(&kept(&[1, 2], 2)), Verdict::Idle);
    assert_eq!(verdict(&kept(&[2], 1)), Verdict::Idle);
}
