//! Counts of threads made by hand: leaks, pools that fill, threads that come and go, a thread a client.

use crate::{Thresholds, judge};
use remora_model::fixture::{Builder, ms, socket};
use remora_model::timeline::ProcessSeries;
use remora_model::{
    Address, Finding, FindingKind, MemoryReading, Severity, SocketState, ThreadLimit,
    ThreadLimitKind, ThreadLimits,
};

/// A capture of 60 s in which a process has so many threads, second by second, and a limit of 1,000 in its cgroup.
fn counts(count: impl Fn(u64) -> u64) -> Builder {
    let mut builder = Builder::new(1, "leaky");
    builder.0.duration = ms(60_000);
    let readings = (0..60).map(|second| MemoryReading {
        threads: Some(count(second)),
        ..MemoryReading::default()
    });
    builder.0.timeline.processes.push(ProcessSeries {
        pid: 1,
        first: 0,
        readings: readings.collect(),
    });
    limited(&mut builder, ThreadLimitKind::Cgroup, 1000, Some(count(59)));
    builder
}

fn limited(builder: &mut Builder, kind: ThreadLimitKind, limit: u64, used: Option<u64>) {
    let limits = vec![ThreadLimit { kind, limit, used }];
    builder.0.thread_limits = vec![ThreadLimits { pid: 1, limits }];
}

fn found(builder: Builder) -> Vec<Finding> {
    let judgement = judge(&builder.finish(), &Thresholds::default());
    let found = judgement.findings();
    found
        .filter(|finding| finding.kind == FindingKind::ThreadLeak)
        .cloned()
        .collect()
}

fn text(finding: &Finding) -> String {
    let lines = finding.evidence.iter();
    lines.map(|it| it.value.clone() + "\n").collect()
}

#[test]
fn a_steady_rise_is_a_leak_with_its_rate_limit_names_and_code() {
    let mut builder = counts(|second| 10 + 2 * second);
    for tid in 2..40 {
        builder.thread(1, tid, &format!("order-{tid}"));
    }
    builder.samples(
        0,
        &["main", "on_message@feed.c:7", "pthread_create", "clone3"],
        3,
    );
    let found = found(builder);
    let [finding] = &found[..] else {
        panic!("{found:#?}")
    };
    let text = text(finding);
    for words in [
        "2.0/s, limit in",
        "pids.max 1,000: 128 used, 128 of them here",
        "38 × order",
        "starts threads: on_message (feed.c:7)",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(
        finding.summary.contains("leaks threads: +"),
        "{}",
        finding.summary
    );
    assert!(finding.next.contains("on_message"), "{}", finding.next);
}

#[test]
fn pools_that_fill_and_threads_that_come_and_go_are_none() {
    assert_eq!(found(counts(|second| 10 + 4 * second.min(16))), []);
    assert_eq!(found(counts(|second| 10 + 4 * (second % 17))), []);
    assert_eq!(found(counts(|second| if second < 30 { 4 } else { 68 })), []);
    assert_eq!(found(counts(|second| 10 + second / 4)), []);
    assert_eq!(found(counts(|second| 100 - second)), []);
}

#[test]
fn a_thread_a_client_is_the_clients_doing() {
    let clients = |number: u64| {
        let mut builder = counts(|second| 10 + 2 * second);
        let address: std::net::SocketAddr = "127.0.0.1:80".parse().expect("one");
        let mut server = socket(1, 3);
        server.state = SocketState::Listen;
        server.local = Some(Address::Inet(address));
        builder.0.sockets.push(server);
        for fd in 0..number {
            let mut client = socket(1, 10 + fd as u32);
            client.state = SocketState::Established;
            client.local = Some(Address::Inet(address));
            client.first_seen = ms(2000);
            builder.0.sockets.push(client);
        }
        found(builder)
    };
    assert_eq!(clients(110), []);
    assert_eq!(clients(20).len(), 1);
}

#[test]
fn a_limit_that_is_near_is_told_in_a_short_look_when_it_is_this_process_that_uses_it_up() {
    let short = |kind, limit, used| {
        let mut builder = counts(|_| 950);
        builder.0.duration = ms(3000);
        limited(&mut builder, kind, limit, used);
        found(builder)
    };
    let found = short(ThreadLimitKind::Cgroup, 1000, Some(960));
    assert!(
        found[0].summary.contains("pids.max"),
        "{}",
        found[0].summary
    );
    assert_eq!(found[0].severity, Severity::Warning);
    assert_eq!(
        short(ThreadLimitKind::Cgroup, 960, Some(960))[0].severity,
        Severity::Critical
    );
    assert_eq!(short(ThreadLimitKind::User, 1000, None).len(), 1);
    assert_eq!(short(ThreadLimitKind::Cgroup, 2000, Some(960)), []);
    // The limit is near, and others use it up.
    assert_eq!(short(ThreadLimitKind::Host, 32_000, Some(31_000)), []);
}

#[test]
fn a_daemon_that_forbids_itself_to_start_anything_leaks_nothing() {
    for (threads, limit) in [(1, 0), (1, 1), (7, 1), (7, 6)] {
        let mut builder = counts(|_| threads);
        limited(&mut builder, ThreadLimitKind::User, limit, None);
        assert_eq!(found(builder), [], "{threads} of {limit}");
    }
    // Full by growth, or nearly.
    let mut builder = counts(|_| 200);
    limited(&mut builder, ThreadLimitKind::User, 200, None);
    assert_eq!(found(builder).len(), 1);
}
