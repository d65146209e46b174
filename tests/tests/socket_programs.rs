//! The sockets of servers that nobody here wrote, under load: redis, nginx, PostgreSQL.

use remora_tests::background::{Background, free_port};
use remora_tests::gate::{privileged, skip};
use remora_tests::remora::Remora;
use remora_tests::report::Report;
use remora_tests::servers::{self, connect};
use remora_tests::sockets::Socket;
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

/// Connections of the load.
const CLIENTS: usize = 20;

/// The sockets of a process by descriptor: what `/proc` shows.
fn proc_sockets(pid: u32) -> BTreeMap<u32, u64> {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).expect("it lives");
    let sockets = links.flatten().filter_map(|link| {
        let target = fs::read_link(link.path()).ok()?;
        let inode = target.to_str()?.strip_prefix("socket:[")?;
        let fd = link.file_name().to_str()?.parse().ok()?;
        Some((fd, inode.strip_suffix(']')?.parse().ok()?))
    });
    sockets.collect()
}

fn of(report: &Report, pid: u32) -> Vec<&Socket> {
    let open = report.sockets.iter().filter(|it| it.open);
    open.filter(|it| it.pid == pid).collect()
}

/// Every socket of the process is there, none besides; its connections are served.
fn whole(report: &Report, pid: u32) {
    let expected = proc_sockets(pid);
    let found = of(report, pid).iter().map(|it| (it.fd, it.inode)).collect();
    assert_eq!(expected, found, "sockets of {pid}");
}

/// The connections of a server with its load: their peers, bytes in both directions, their loop.
fn serves(report: &Report, server: u32, client: &str, port: u16, clients: usize) {
    let own = format!("127.0.0.1:{port}");
    let sockets = of(report, server);
    let serving = sockets
        .iter()
        .filter(|it| it.local.as_ref() == Some(&own) && it.state == "established");
    let serving: Vec<_> = serving.collect();
    assert!(serving.len() >= clients, "{} connections", serving.len());
    for socket in &serving {
        let peer = socket.peer_process.as_ref();
        let peer = peer.unwrap_or_else(|| panic!("nobody at the other end: {socket:#?}"));
        assert!(
            peer.comm.starts_with(client) && peer.accepted && peer.pid != server,
            "{socket:#?}"
        );
        let tcp = socket.tcp.expect("TCP");
        assert!(
            tcp.received_in_capture_bytes > 0 && tcp.sent_in_capture_bytes > 0,
            "{socket:#?}"
        );
        assert!(
            tcp.received_bytes_per_s.is_some_and(|rate| rate > 1.0),
            "{socket:#?}"
        );
        assert!(!tcp.zero_window, "{socket:#?}");
        let reads = socket
            .watched_by
            .iter()
            .any(|watch| watch.armed && watch.events.iter().any(|event| event == "IN"));
        assert!(reads, "no loop reads {socket:#?}");
    }
    let listening = sockets
        .iter()
        .find(|it| it.state == "listen" && it.local.as_ref() == Some(&own));
    let listening = listening.unwrap_or_else(|| panic!("{sockets:#?}"));
    assert!(
        listening
            .accept_backlog_limit
            .is_some_and(|limit| limit > 0)
    );
    assert!(listening.accept_backlog <= listening.accept_backlog_limit);
}

#[test]
fn redis_under_redis_benchmark() {
    let Some(_turn) = privileged() else { return };
    let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
    let text = port.to_string();
    let mut server = Command::new("redis-server");
    server.args(["--bind", "127.0.0.1", "--port", &text, "--save", ""]);
    let server = match Background::start(server.current_dir(folder.path())) {
        Ok(server) => server,
        Err(why) => return skip(&why),
    };
    drop(connect(port).expect("redis serves"));
    let clients = CLIENTS.to_string();
    let mut load = Command::new("redis-benchmark");
    load.args([
        "-p",
        &text,
        "-c",
        &clients,
        "-t",
        "set,get",
        "-n",
        "100000000",
        "-l",
        "-q",
    ]);
    let _load = match Background::start(&mut load) {
        Ok(load) => load,
        Err(why) => return skip(&why),
    };
    std::thread::sleep(std::time::Duration::from_secs(1));
    let (_, report) = Remora::record(&[server.pid()], 3).capture();
    whole(&report, server.pid());
    serves(&report, server.pid(), "redis-benchmark", port, CLIENTS);
    let waits = report.sockets.iter().flat_map(|it| &it.watched_by);
    assert!(
        waits.into_iter().all(|watch| watch.pid == server.pid()),
        "one process has one loop"
    );
    assert_eq!(report.loss.get("peers_unresolved"), None);
}

#[test]
fn nginx_under_wrk() {
    let Some(_turn) = privileged() else { return };
    let nginx = match servers::nginx() {
        Ok(nginx) => nginx,
        Err(why) => return skip(&why),
    };
    std::thread::sleep(std::time::Duration::from_secs(1));
    let (_, report) = Remora::record(&[nginx.pid()], 3).capture();
    let listening = report.sockets.iter().find(|it| it.state == "listen");
    let kept = listening.map(|it| (it.fd, it.inode));
    let expected = proc_sockets(nginx.pid());
    assert!(
        expected
            .iter()
            .any(|(fd, inode)| Some((*fd, *inode)) == kept)
    );
    let counts = report.socket_counts;
    assert!(
        counts.reused > 0 && counts.reused <= counts.closed,
        "{counts:?}"
    );
    let local = listening
        .and_then(|it| it.local.clone())
        .expect("it listens");
    let port = local.rsplit(':').next().and_then(|port| port.parse().ok());
    // It serves sixteen; wrk opens others when nginx closes one after a thousand requests.
    serves_most(&report, nginx.pid(), port.expect("a port"));
}

/// As [`serves`], for connections that live a second.
fn serves_most(report: &Report, server: u32, port: u16) {
    let own = format!("127.0.0.1:{port}");
    let sockets = of(report, server);
    let serving = sockets
        .iter()
        .filter(|it| it.local.as_ref() == Some(&own) && it.state == "established");
    let peers = serving.filter_map(|it| it.peer_process.as_ref());
    let known = peers.filter(|peer| peer.comm == "wrk").count();
    assert!(known >= 12, "{known} peers of sixteen: {sockets:#?}");
}

#[test]
fn postgres_under_pgbench() {
    let Some(_turn) = privileged() else { return };
    let postgres = match servers::postgres() {
        Ok(postgres) => postgres,
        Err(why) => return skip(&why),
    };
    std::thread::sleep(std::time::Duration::from_secs(1));
    let (_, report) = Remora::record(&[postgres.pid()], 3)
        .args(&["--children"])
        .capture();
    whole(&report, postgres.pid());
    let served = report.sockets.iter().filter(|it| {
        let peer = it.peer_process.as_ref();
        it.open && peer.is_some_and(|peer| peer.comm == "pgbench")
    });
    let served: Vec<_> = served.collect();
    assert_eq!(served.len(), 4, "{served:#?}");
    for socket in served {
        assert!(socket.pid != postgres.pid(), "a child serves: {socket:#?}");
        let tcp = socket.tcp.expect("TCP");
        assert!(tcp.received_in_capture_bytes > 0, "{socket:#?}");
        assert!(
            socket
                .watched_by
                .iter()
                .any(|watch| watch.pid == socket.pid),
            "its own latch set watches it: {socket:#?}"
        );
    }
}
