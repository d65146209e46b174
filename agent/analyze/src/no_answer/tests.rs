//! Peers that say nothing.

use crate::waits::tests::sleeps;
use crate::{Thresholds, judge};
use remora_model::fixture::{Builder, socket};
use remora_model::{Address, Capture, Finding, Reason, Socket, SocketState, Tcp};
use std::time::Duration;

const FETCH: [&str; 5] = ["main", "poll_rates", "fetch", "read_reply", "recv"];

fn at(port: u16) -> Option<Address> {
    Some(Address::Inet(([10, 0, 0, 1], port).into()))
}

/// A client's connection on which it spoke so many seconds ago and the peer before that.
fn asked(sent: u64, received: u64) -> Socket {
    Socket {
        local: at(40_000),
        peer: at(443),
        tcp: Some(Tcp {
            bytes_sent: 100,
            bytes_received: 100,
            last_send: Some(Duration::from_secs(sent)),
            last_receive: Some(Duration::from_secs(received)),
            ..Tcp::default()
        }),
        ..socket(1, 5)
    }
}

fn capture(words: &[&str], socket: Socket, seconds: u64) -> Capture {
    let mut builder = Builder::new(1, "client");
    builder.thread(1, 2, "other");
    sleeps(&mut builder, 0, Reason::SocketReceive, words, seconds);
    sleeps(
        &mut builder,
        1,
        Reason::Sleep,
        &["start_thread", "nanosleep"],
        1,
    );
    builder.0.threads[0].now.args[0] = 5;
    builder.0.sockets.push(socket);
    builder.finish()
}

fn found(capture: &Capture) -> Option<Finding> {
    let judgement = judge(capture, &Thresholds::default());
    let mut all = judgement
        .findings()
        .filter(|it| it.kind.name() == "no_answer");
    all.next().cloned()
}

#[test]
fn a_request_without_an_answer_is_told() {
    let finding = found(&capture(&FETCH, asked(60, 61), 60)).expect("told");
    assert!(
        finding.summary.contains("waits for an answer for 60.0 s"),
        "{}",
        finding.summary
    );
    assert!(finding.next.contains("Set a timeout"), "{}", finding.next);
    assert!(
        found(&capture(&FETCH, asked(20, 21), 20)).is_none(),
        "under the threshold"
    );
}

#[test]
fn a_handshake_that_hangs_is_told_whoever_spoke_last() {
    let words = ["main", "check", "SSL_do_handshake", "BIO_read", "read"];
    let silent = Socket {
        tcp: None,
        ..asked(0, 0)
    };
    let finding = found(&capture(&words, silent, 60)).expect("told");
    assert!(
        finding.summary.contains("a handshake"),
        "{}",
        finding.summary
    );
}

#[test]
fn silence_that_is_normal_is_left_alone() {
    let feed = asked(61, 60);
    assert!(
        found(&capture(&FETCH, feed, 60)).is_none(),
        "the peer spoke last"
    );
    let reader = ["start_thread", "read_loop", "recv"];
    assert!(
        found(&capture(&reader, asked(60, 61), 60)).is_none(),
        "a reader of its own"
    );
    let server = Socket {
        local: at(443),
        peer: at(40_000),
        ..asked(60, 61)
    };
    assert!(
        found(&capture(&FETCH, server, 60)).is_none(),
        "a client has nothing to ask"
    );
    let closing = Socket {
        state: SocketState::CloseWait,
        ..asked(60, 61)
    };
    assert!(
        found(&capture(&FETCH, closing, 60)).is_none(),
        "it is closed"
    );
    let pops = [
        "p:<module>@/srv/w.py:3",
        "p:ListCommands.blpop@/usr/lib/python3/dist-packages/redis/commands/core.py:2561",
        "p:Redis.execute_command@/usr/lib/python3/dist-packages/redis/client.py:1",
        "recv",
    ];
    assert!(
        found(&capture(&pops, asked(60, 61), 60)).is_none(),
        "it waits for work"
    );
}

#[test]
fn a_worker_without_names_is_told_when_a_client_waits_for_it() {
    let worker = |sent, received, threads| {
        let mut builder = Builder::new(1, "php-fpm8.2");
        for tid in 2..=threads {
            builder.thread(1, tid, "other");
        }
        let words = ["main", "?", "?", "recv"];
        sleeps(&mut builder, 0, Reason::SocketReceive, &words, 60);
        for frame in &mut builder.0.stacks[0].frames[1..3] {
            frame.named = false;
        }
        builder.0.threads[0].now.args[0] = 5;
        builder.0.sockets.push(asked(60, 61));
        let mut server = socket(1, 8);
        server.state = SocketState::Listen;
        server.local = at(9000);
        builder.0.sockets.push(server);
        let client = Socket {
            local: at(9000),
            peer: at(41_000),
            fd: 9,
            ..asked(sent, received)
        };
        builder.0.sockets.push(client);
        found(&builder.finish())
    };
    assert!(worker(70, 61, 1).is_some());
    assert!(worker(59, 61, 1).is_none(), "nobody waits for it");
    // Beside others, the client has to be the one that it asked for.
    assert!(worker(70, 61, 2).is_some());
    assert!(worker(200, 150, 1).is_some());
    assert!(worker(200, 150, 2).is_none());
}

#[test]
fn a_connection_that_was_never_agreed_on_has_no_last_send() {
    let mut never = asked(28_000, 28_000);
    if let Some(tcp) = &mut never.tcp {
        (tcp.bytes_sent, tcp.bytes_received) = (0, 0);
    }
    let mut capture = capture(&["main", "connect"], never, 60);
    capture.threads[0].now.reason = Some(Reason::SocketConnect);
    let finding = found(&capture).expect("told");
    let lines = finding.evidence.iter().map(|fact| fact.value.clone());
    let text = lines.collect::<Vec<_>>().join("; ");
    assert!(!text.contains("last send"), "{text}");
}
