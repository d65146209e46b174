//! Queues of sockets against the specimen that fills them, and against `ss`.

use remora_tests::gate::{privileged, skip};
use remora_tests::remora::{Remora, Run};
use remora_tests::report::Report;
use remora_tests::sockets::{Socket, Specimen, ss};
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

const NO_PYTHON: &str = "no CPython from 3.8 to 3.13";

/// The socket that the specimen calls so.
fn of<'a>(report: &'a Report, truth: &Value) -> &'a Socket {
    let (fd, inode) = (truth["fd"].as_u64(), truth["inode"].as_u64());
    let mut found = report
        .sockets
        .iter()
        .filter(|it| Some(u64::from(it.fd)) == fd && Some(it.inode) == inode);
    found
        .next()
        .unwrap_or_else(|| panic!("not in the report: {truth}"))
}

fn bytes(socket: &Socket) -> u64 {
    let queue = socket.receive_queue;
    queue
        .unwrap_or_else(|| panic!("no queue: {socket:?}"))
        .bytes
}

fn record(pids: &[u32], seconds: u32, hz: &str) -> (Run, Report) {
    let (run, report) = Remora::record(pids, seconds)
        .args(&["--socket-hz", hz])
        .capture();
    assert_eq!(report.signals["sockets"]["state"], "on", "{report:#?}");
    (run, report)
}

#[test]
fn queues_are_what_was_sent_and_not_read_and_what_ss_shows() {
    let Some(_turn) = privileged() else { return };
    let Some(specimen) = Specimen::start(&[], &["queues"]) else {
        return skip(NO_PYTHON);
    };
    let (run, report) = record(&[specimen.pid()], 2, "5");
    let shown = ss(&[]);
    let truth = specimen.said["sockets"].as_object().expect("an object");
    for (role, truth) in truth {
        let socket = of(&report, truth);
        for (name, found) in [
            ("receive", socket.receive_queue.map(|it| it.bytes)),
            ("send", socket.send_queue.map(|it| it.bytes)),
            ("messages", Some(socket.receive_queue_messages)),
            ("backlog", socket.accept_backlog),
            ("limit", socket.accept_backlog_limit),
        ] {
            if let Some(expected) = truth[name].as_u64() {
                assert_eq!(found, Some(expected), "{name} of {role}: {socket:#?}");
            }
        }
        assert!(!socket.receive_queue_is_lower_bound, "{role}: {socket:#?}");
        assert!(socket.open && socket.samples >= 3, "{role}: {socket:#?}");
    }
    match &shown {
        Ok(shown) => agrees(&report, shown),
        Err(why) => skip(why),
    }
    kinds(&report, &specimen);
    ages(&report, &specimen);
    watched(&report, &specimen);
    assert_eq!(report.socket_counts.closed + report.socket_counts.opened, 0);
    assert!(
        run.stdout
            .contains("Sockets with queued data, losses or errors"),
        "{}",
        run.stdout
    );
    report.assert_no_loss();
}

/// Every queue is what `ss` shows.
fn agrees(report: &Report, shown: &std::collections::BTreeMap<u64, (u64, u64)>) {
    let mut compared = 0;
    for socket in report.sockets.iter().filter(|it| it.protocol != "netlink") {
        let Some(queues) = shown.get(&socket.inode) else {
            panic!("ss does not show {socket:#?}");
        };
        let ours = match (socket.receive_queue, socket.send_queue) {
            (Some(receive), Some(send)) => (receive.bytes, send.bytes),
            _ => (
                socket.accept_backlog.expect("it listens"),
                socket.accept_backlog_limit.expect("it listens"),
            ),
        };
        assert_eq!(ours, *queues, "ss says otherwise of {socket:#?}");
        compared += 1;
    }
    assert!(compared >= 25, "{compared} compared");
}

fn kinds(report: &Report, specimen: &Specimen) {
    let truth = &specimen.said["sockets"];
    for (role, expected) in [
        ("tcp4", ("tcp", "inet", "stream", "established")),
        ("tcp6", ("tcp", "inet6", "stream", "established")),
        ("mapped", ("tcp", "inet6", "stream", "established")),
        ("listener", ("tcp", "inet", "stream", "listen")),
        ("udp", ("udp", "inet", "dgram", "unconnected")),
        ("udp-sender", ("udp", "inet", "dgram", "established")),
        ("stream", ("unix", "unix", "stream", "established")),
        ("seqpacket", ("unix", "unix", "seqpacket", "established")),
        ("unix-listener", ("unix", "unix", "stream", "listen")),
        ("netlink", ("netlink", "netlink", "raw", "closed")),
        ("left", ("tcp", "inet", "stream", "close_wait")),
    ] {
        let it = of(report, &truth[role]);
        let found = (
            it.protocol.as_str(),
            it.family.as_str(),
            it.kind.as_str(),
            it.state.as_str(),
        );
        assert_eq!(found, expected, "{role}");
    }
    let mapped = of(report, &truth["mapped"]);
    assert!(
        mapped
            .peer
            .as_ref()
            .is_some_and(|peer| peer.starts_with("127.0.0.1:")),
        "IPv4 is shown as IPv4: {mapped:#?}"
    );
    let path = truth["unix-listener"]["path"].as_str();
    assert_eq!(of(report, &truth["unix-listener"]).local.as_deref(), path);
    let hidden = format!("@remora-{}", specimen.pid());
    assert_eq!(of(report, &truth["abstract"]).local, Some(hidden));
    let full = of(report, &truth["full-sender"]);
    assert!(full.tcp.is_some_and(|tcp| tcp.zero_window), "{full:#?}");
    let dropped = of(report, &truth["udp-full"]);
    assert!(dropped.drops > 0, "{dropped:#?}");
    assert_eq!(
        dropped.drops + dropped.receive_queue_messages,
        100,
        "what is not there was dropped: {dropped:#?}"
    );
    let namespace = own_namespace();
    assert!(report.sockets.iter().all(|it| it.netns_inode == namespace));
    // Who is at the other end.
    let child = specimen.number("child");
    for (role, pid, accepted) in [
        ("tcp4", specimen.pid(), true),
        ("waiting", specimen.pid(), false),
        ("unix-waiting", specimen.pid(), false),
        ("udp-sender", specimen.pid(), true),
        ("served", child, true),
        ("unix-served", child, true),
    ] {
        let socket = of(report, &truth[role]);
        let peer = socket.peer_process.as_ref();
        let peer = peer.unwrap_or_else(|| panic!("{role} has no peer: {socket:#?}"));
        assert_eq!(
            (peer.pid, peer.accepted),
            (pid, accepted),
            "{role}: {socket:#?}"
        );
        assert!(peer.comm.starts_with("python"), "{peer:?}");
    }
    let waiting = of(report, &truth["waiting"]).peer_process.clone();
    let listener = truth["listener"]["inode"].as_u64();
    assert_eq!(waiting.map(|peer| peer.inode), listener);
}

/// Inode number of this process's network namespace.
fn own_namespace() -> u64 {
    let namespace = std::fs::metadata("/proc/self/ns/net").expect("a namespace");
    std::os::unix::fs::MetadataExt::ino(&namespace)
}

/// What was there before the capture: as old as the capture at least, and nobody knows how old at most.
fn ages(report: &Report, specimen: &Specimen) {
    for role in [
        "tcp4",
        "mapped",
        "left",
        "udp",
        "stream",
        "dgram",
        "seqpacket",
        "listener",
    ] {
        let socket = of(report, &specimen.said["sockets"][role]);
        let least = socket.oldest_unread_min_s;
        let watched = socket.last_seen_s - socket.first_seen_s;
        assert!(
            least.is_some_and(|age| age >= watched - 1e-6),
            "{role}: {socket:#?}"
        );
        assert_eq!(socket.oldest_unread_max_s, None, "{role}: {socket:#?}");
        // A connection in a backlog knows when it was made.
        let inferred = socket.tcp.is_none() && role != "listener";
        assert_eq!(
            socket.oldest_unread_inferred, inferred,
            "{role}: {socket:#?}"
        );
    }
    let client = of(report, &specimen.said["sockets"]["tcp4-client"]);
    assert_eq!(client.oldest_unread_min_s, None, "{client:#?}");
}

fn watched(report: &Report, specimen: &Specimen) {
    let epoll = specimen.number("epoll");
    for (role, events, armed) in [
        ("tcp4", vec!["IN", "ERR", "HUP", "ET"], true),
        ("tcp6", vec!["OUT", "ERR", "HUP"], true),
        ("udp", vec!["ONESHOT"], false),
    ] {
        let socket = of(report, &specimen.said["sockets"][role]);
        let [watch] = socket.watched_by.as_slice() else {
            panic!("{role} is watched once: {socket:#?}");
        };
        assert_eq!(
            (watch.pid, watch.epoll_fd),
            (specimen.pid(), epoll),
            "{role}"
        );
        assert_eq!(
            (&watch.events, watch.armed),
            (&events.iter().map(ToString::to_string).collect(), armed),
            "{role}"
        );
    }
    let served = of(report, &specimen.said["sockets"]["served"]);
    assert!(served.watched_by.is_empty(), "{served:#?}");
}

#[test]
fn the_age_of_the_oldest_unread_byte_has_bounds_that_hold() {
    let Some(_turn) = privileged() else { return };
    let Some(mut specimen) = Specimen::start(&[], &["queues"]) else {
        return skip(NO_PYTHON);
    };
    let mut running = Remora::record(&[specimen.pid()], 4)
        .args(&["--socket-hz", "10"])
        .start();
    running.until_recording();
    std::thread::sleep(Duration::from_secs(1));
    specimen.ask();
    std::thread::sleep(Duration::from_millis(500));
    let sent_ns = specimen.ask()["at_ns"].as_u64().expect("a time");
    let run = running.finish();
    run.assert_code(0);
    let report = run.report();
    let start_ns = report.window().start_ns;
    for role in ["tcp4", "stream"] {
        let socket = of(&report, &specimen.said["sockets"][role]);
        assert_eq!(bytes(socket), 88, "{role}: {socket:#?}");
        // From the send, which is over in microseconds, to the last sample. The report's times are
        // joined with ours through the clock of the day.
        let seen_ns = start_ns as f64 + socket.last_seen_s * 1e9;
        let age = (seen_ns - sent_ns as f64) / 1e9;
        let slack = 0.02;
        let (least, most) = (socket.oldest_unread_min_s, socket.oldest_unread_max_s);
        let least = least.unwrap_or_else(|| panic!("{role}: {socket:#?}"));
        let most = most.unwrap_or_else(|| panic!("{role}: {socket:#?}"));
        assert!(
            least <= age + slack && most >= age - slack,
            "{role}: {age} s old: {socket:#?}"
        );
        assert!(
            least > 1.0 && most - least < 1.5,
            "{role}: of use: {socket:#?}"
        );
    }
    let tcp = of(&report, &specimen.said["sockets"]["tcp4"])
        .tcp
        .expect("TCP");
    assert_eq!(tcp.received_in_capture_bytes, 88);
    assert_eq!(tcp.bytes_received, 5088);
}

#[test]
fn a_number_that_is_used_again_is_another_socket() {
    let Some(_turn) = privileged() else { return };
    let Some(mut specimen) = Specimen::start(&[], &["reuse", "20"]) else {
        return skip(NO_PYTHON);
    };
    let mut running = Remora::record(&[specimen.pid()], 3)
        .args(&["--socket-hz", "10"])
        .start();
    running.until_recording();
    std::thread::sleep(Duration::from_millis(700));
    specimen.ask();
    let run = running.finish();
    run.assert_code(0);
    let report = run.report();
    let counts = report.socket_counts;
    assert_eq!(
        (counts.at_start, counts.opened, counts.closed, counts.reused),
        (41, 20, 20, 20),
        "{counts:?}"
    );
    for fd in specimen.said["fds"].as_array().expect("numbers") {
        let both: Vec<_> = report
            .sockets
            .iter()
            .filter(|it| Some(u64::from(it.fd)) == fd.as_u64())
            .collect();
        let [before, after] = both.as_slice() else {
            panic!("{both:#?}");
        };
        assert_eq!((before.protocol.as_str(), before.open), ("tcp", false));
        assert_eq!((after.protocol.as_str(), after.open), ("udp", true));
        assert!(before.last_seen_s < after.first_seen_s && before.inode != after.inode);
    }
    // What is left of the connections has lost its peer, and says so.
    let left = report.sockets.iter().filter(|it| it.state == "close_wait");
    assert_eq!(left.count(), 20);
    report.assert_no_loss();
}

#[test]
fn a_socket_in_another_network_namespace_has_its_queue_and_its_peer() {
    let Some(_turn) = privileged() else { return };
    let Some(namespace) = Namespace::new() else {
        return skip("ip netns add does not work here");
    };
    let enter = namespace.enter();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("listening");
    let path = path.to_str().expect("a path that can be printed");
    let place = format!("{}:7012", namespace.inside);
    // Over a pair of links from here, by a unix socket from here, and by the loopback inside.
    for (place, prefix) in [
        (place.as_str(), &[][..]),
        (path, &[][..]),
        ("127.0.0.1:7013", &enter),
    ] {
        let Some(mut server) = Specimen::start(&enter, &["serve", place]) else {
            return skip(NO_PYTHON);
        };
        let client = Specimen::start(prefix, &["call", place]).expect("there is an interpreter");
        let served = server.listen();
        let (_, report) = record(&[server.pid()], 1, "5");
        let socket = of(&report, &served);
        assert_eq!(bytes(socket), 4321, "{socket:#?}");
        // An accepted unix socket is made in the namespace of the one that connects.
        let called_here = socket.protocol == "unix" && prefix.is_empty();
        let expected = if called_here {
            own_namespace()
        } else {
            namespace.inode
        };
        assert_eq!(socket.netns_inode, expected, "{socket:#?}");
        let peer = socket.peer_process.as_ref();
        let peer = peer.unwrap_or_else(|| panic!("no peer: {socket:#?}"));
        let expected = (
            client.pid(),
            client.number("fd"),
            client.said["inode"].as_u64(),
        );
        assert_eq!((peer.pid, peer.fd, Some(peer.inode)), expected);
        match ss(if called_here { prefix } else { &enter }) {
            Ok(shown) => assert_eq!(shown.get(&socket.inode), Some(&(4321, 0))),
            Err(why) => skip(&why),
        }
        report.assert_no_loss();
    }
}

/// A network namespace with a way in; removed when dropped.
struct Namespace {
    name: String,
    inside: String,
    inode: u64,
}

impl Namespace {
    fn new() -> Option<Self> {
        let id = std::process::id();
        let mut namespace = Self {
            name: format!("remora-{id}"),
            inside: format!("10.213.{}.2", id % 250),
            inode: 0,
        };
        let (name, inside) = (namespace.name.clone(), namespace.inside.clone());
        let (here, there) = (format!("rm{id}a"), format!("rm{id}b"));
        let outside = format!("10.213.{}.1/30", id % 250);
        let inside = format!("{inside}/30");
        ip(&["netns", "add", &name])?;
        ip(&["-n", &name, "link", "set", "lo", "up"])?;
        ip(&[
            "link", "add", &here, "type", "veth", "peer", "name", &there, "netns", &name,
        ])?;
        ip(&["addr", "add", &outside, "dev", &here])?;
        ip(&["link", "set", &here, "up"])?;
        ip(&["-n", &name, "addr", "add", &inside, "dev", &there])?;
        ip(&["-n", &name, "link", "set", &there, "up"])?;
        let place = std::fs::metadata(format!("/run/netns/{name}")).ok()?;
        namespace.inode = std::os::unix::fs::MetadataExt::ino(&place);
        Some(namespace)
    }

    fn enter(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.name]
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The pair of links goes with it.
        if ip(&["netns", "del", &self.name]).is_none() {
            skip("a network namespace could not be removed");
        }
    }
}

fn ip(arguments: &[&str]) -> Option<()> {
    let output = Command::new("ip").args(arguments).output().ok()?;
    output.status.success().then_some(())
}

#[test]
fn twenty_thousand_sockets_are_a_whole_table_in_bounded_memory() {
    let Some(_turn) = privileged() else { return };
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    // Twice as many processes where one may not have so many.
    let each = if most.is_some_and(|most| most < 20_100) {
        5_000
    } else {
        20_000
    };
    let mut specimens = Vec::new();
    while specimens.len() * each < 20_000 {
        let Some(specimen) = Specimen::start(&[], &["many", &each.to_string()]) else {
            return skip(NO_PYTHON);
        };
        specimens.push(specimen);
    }
    let pids: Vec<u32> = specimens.iter().map(Specimen::pid).collect();
    let (_, short) = record(&pids, 2, "2");
    let (run, report) = record(&pids, 8, "2");
    for specimen in &specimens {
        let expected: BTreeSet<u64> = specimen.said["fds"]
            .as_array()
            .expect("numbers")
            .iter()
            .filter_map(Value::as_u64)
            .collect();
        let own = report.sockets.iter().filter(|it| it.pid == specimen.pid());
        let found: BTreeSet<u64> = own.map(|it| u64::from(it.fd)).collect();
        assert_eq!(found, expected, "a whole table");
    }
    assert_eq!(report.sockets.len(), 20_000);
    let unread = report.sockets.iter().filter(|it| bytes(it) == 9).count();
    assert_eq!(unread, 10_000, "each second one has what the other sent");
    let peers = report.sockets.iter().filter(|it| it.peer_process.is_some());
    assert_eq!(peers.count(), 20_000);
    let counts = report.socket_counts;
    assert_eq!(counts.opened + counts.closed, 0, "{counts:?}");
    // Four times the samples take no more room. Names and report are the same in both.
    let (few, many) = (
        short.overhead.agent_rss_bytes,
        report.overhead.agent_rss_bytes,
    );
    assert!(
        many < few + (8 << 20) && counts.samples > short.socket_counts.samples,
        "{few} bytes after {:?}, {many} after {counts:?}; {}",
        short.socket_counts,
        run.command
    );
    report.assert_lost_only(&["socket_samples_skipped"]);
}

#[test]
fn without_samples_there_are_no_sockets_and_the_report_says_so() {
    let Some(_turn) = privileged() else { return };
    let Some(specimen) = Specimen::start(&[], &["queues"]) else {
        return skip(NO_PYTHON);
    };
    let (_, report) = Remora::record(&[specimen.pid()], 1)
        .args(&["--socket-hz", "0"])
        .capture();
    assert!(report.sockets.is_empty());
    assert_eq!(report.signals["sockets"]["state"], "off");
    report.assert_no_loss();
}
