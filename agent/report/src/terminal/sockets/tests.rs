//! The lines of sockets, on captures made by hand.

use crate::terminal::{RenderOptions, summary};
use remora_model::fixture::{Builder, ms, socket};
use remora_model::{Address, Backlog, PeerProcess, Socket, SocketState, Tcp, Unread, Watch};

fn page(sockets: Vec<Socket>) -> String {
    let mut builder = Builder::new(4711, "feed");
    builder.0.sockets = sockets;
    summary(&builder.finish().into(), None, RenderOptions::default())
}

fn lines(page: &str) -> Vec<&str> {
    let lines = page.lines().skip_while(|line| !line.starts_with("Sockets"));
    lines.take_while(|line| !line.is_empty()).collect()
}

#[test]
fn a_queue_that_is_not_read_names_its_age_its_loop_and_its_peer() {
    let mut stuck = socket(4711, 12);
    stuck.local = Some(Address::Inet("127.0.0.1:80".parse().unwrap()));
    stuck.peer = Some(Address::Inet("127.0.0.1:5000".parse().unwrap()));
    stuck.receive.last = 5000;
    stuck.oldest_unread = Some(Unread {
        min: ms(3200),
        max: Some(ms(3700)),
        inferred: false,
    });
    stuck.watched_by.push(Watch {
        pid: 4711,
        epoll_fd: 5,
        tids: vec![4711],
        events: 0x8000_0001,
    });
    stuck.peer_process = Some(PeerProcess {
        pid: 77,
        comm: "router".into(),
        fd: 9,
        inode: 1,
        holders: 1,
        held_by: vec![4690],
        accepted: true,
        inferred: false,
        unread: 0,
        reads: None,
    });
    let page = page(vec![stuck, socket(4711, 13)]);
    assert_eq!(
        lines(&page),
        [
            "Sockets with queued data, losses or errors: 1 of 2",
            "  4711/12  tcp ESTABLISHED  127.0.0.1:80 – 127.0.0.1:5000 (router 77)",
            "      receive queue 5,000 bytes, oldest ≥ 3.2 s, ≤ 3.7 s; in epoll set 5 (IN ET)",
        ]
    );
}

#[test]
fn other_troubles_have_words_too() {
    let mut listening = socket(4711, 3);
    listening.state = SocketState::Listen;
    listening.backlog = Some(Backlog {
        now: 128,
        max: 128,
        limit: 128,
    });
    listening.oldest_unread = Some(Unread {
        min: ms(900),
        max: None,
        inferred: true,
    });
    let mut full = socket(4711, 4);
    full.send.last = 3 << 20;
    full.drops_in_capture = 4;
    full.tcp = Some(Tcp {
        zero_window: true,
        retransmits_in_capture: 2,
        ..Tcp::default()
    });
    full.state = SocketState::CloseWait;
    let page = page(vec![listening, full]);
    let lines = lines(&page);
    assert_eq!(
        lines[2],
        "      accept backlog 128 of 128, oldest ≥ ~900 ms; in no epoll set"
    );
    assert_eq!(
        lines[4],
        "      send queue 3.0 MiB; zero window; 2 retransmits; 4 dropped; closed by the peer; in no epoll set"
    );
}

#[test]
fn healthy_sockets_are_no_lines_and_many_sick_ones_are_cut() {
    assert!(lines(&page(vec![socket(4711, 3)])).is_empty());
    let sick = (0..12).map(|fd| {
        let mut sick = socket(4711, fd);
        sick.error = 104;
        sick
    });
    let page = page(sick.collect());
    let lines = lines(&page);
    assert_eq!(lines.len(), 1 + 2 * 10 + 1);
    assert_eq!(lines.last(), Some(&"  and 2 more"));
}
