//! A queue behind one loop of several in a process.

use super::*;
use remora_model::PollCount;

/// Three loops of libuv in one process, as node has them: the main one, whose set (3) holds a listening socket and that
/// was not seen to wait there, and two of helpers, in their waits on sets of their own.
fn node() -> Builder {
    let mut builder = Builder::new(1, "node");
    builder.0.duration = ms(3000);
    builder.0.threads[0].observed = ms(3000);
    for (tid, fd) in [(2, 9), (3, 16)] {
        let helper = builder.thread(1, tid, "node");
        waiting(&mut builder, helper, Reason::Epoll, fd, 90);
        let stack = builder.stack(&["start_thread", "helper", "uv_run", "epoll_pwait"]);
        builder.0.threads[helper].now.stack = Some(stack);
    }
    let mut server = watched(unread(60), IN);
    server.watched_by[0].tids.clear();
    server.state = SocketState::Listen;
    server.backlog = Some(Backlog {
        now: 40,
        max: 40,
        limit: 511,
    });
    builder.0.sockets.push(server);
    builder
}

fn told_of_the_main_loop(capture: &Capture, says: &str) {
    let judgement = judge(capture, &Thresholds::default());
    let [incident] = &judgement.incidents[..] else {
        panic!("one cause: {:#?}", judgement.incidents)
    };
    assert_eq!(incident.cause.kind, FindingKind::LoopBlocked);
    let found = found(capture);
    let [queue] = &found[..] else {
        panic!("{found:#?}")
    };
    assert_eq!(queue.because_of, [Subject::Thread(1)]);
    assert_eq!(queue.confidence, Confidence::Inferred);
    let text = text(queue) + &queue.next;
    assert!(text.contains(says), "{text}");
    for invented in ["SO_RCVLOWAT", "exited", "no thread waits"] {
        assert!(!text.contains(invented), "{text}");
    }
}

#[test]
fn a_backlog_behind_a_blocked_loop_among_others_is_its_consequence() {
    let mut builder = node();
    waiting(&mut builder, 0, Reason::Futex, 0x7f00, 60);
    let stack = builder.stack(&["main", "uv_run", "callback", "Atomics.wait", "futex_wait"]);
    builder.0.threads[0].now.stack = Some(stack);
    told_of_the_main_loop(
        &builder.finish(),
        "node-1 is in futex instead of epoll_wait on fd 3",
    );
}

#[test]
fn a_backlog_behind_a_loop_on_the_cpu_is_its_consequence() {
    let mut builder = node();
    // Only some of its stacks reach the loop: those of code made at run time break off.
    builder.samples(0, &["[jit]"], 200);
    builder.samples(0, &["main", "uv_run", "callback", "compute"], 80);
    builder.0.threads[0].now.state = State::Running;
    let counted = PollCount {
        watched: ms(1200),
        polls: 0,
        open: ms(1200),
        ..PollCount::default()
    };
    builder.0.polls.push((0, counted));
    told_of_the_main_loop(
        &builder.finish(),
        "node-1 is busy on a CPU instead of epoll_wait on fd 3",
    );
}

#[test]
fn a_loop_inside_of_a_callback_is_not_the_loop() {
    let mut builder = node();
    waiting(&mut builder, 0, Reason::Epoll, 24, 60);
    let sync = "node::SyncProcessRunner::Spawn(v8::FunctionCallbackInfo<v8::Value> const&)";
    let stack = builder.stack(&["main", "uv_run", "[jit]", sync, "uv_run", "uv__io_poll"]);
    builder.0.threads[0].now.stack = Some(stack);
    let mut inner = remora_model::fixture::event_loop(0);
    inner.epoll_fd = Some(24);
    builder.0.loops.push(inner);
    let capture = builder.finish();
    told_of_the_main_loop(&capture, "on fd 24 instead of epoll_wait on fd 3");
    let judgement = judge(&capture, &Thresholds::default());
    let cause = &judgement.incidents[0].cause;
    assert!(
        cause.summary.contains("waits for a child exit"),
        "{}",
        cause.summary
    );
    assert!(text(cause).contains("loop inside of a callback"));
}
