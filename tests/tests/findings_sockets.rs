//! Queues, peers, feeds and descriptors: each sick program is found, each healthy twin is not.

use remora_tests::cases::{self, Case, Expect};
use remora_tests::gate::privileged;
use remora_tests::remora::Remora;
use serde_json::Value;

/// Cases at a time: they mostly wait.
const AT_ONCE: usize = 6;

/// Shorter waits and looks than the default thresholds ask for; `cargo xtask specimens` takes those.
const QUICK: [&str; 8] = [
    "--threshold",
    "not-consuming=2s",
    "--threshold",
    "peer-not-consuming=2s",
    "--threshold",
    "feed-gap=2s",
    "--threshold",
    "close-wait=2s",
];

/// The same case in less time.
fn quick(case: &Case) -> Case {
    let mut arguments = [case.arguments, &QUICK[..]].concat();
    if !arguments.contains(&"--duration") {
        arguments.extend(["--duration", "2s"]);
    }
    Case {
        after_s: case.after_s.min(3),
        // A few hundred bytes of a test.
        arguments: arguments.leak(),
        ..*case
    }
}

fn case(name: &str) -> Case {
    let mut cases = cases::sockets().into_iter();
    let found = cases.find(|case| case.name == name);
    quick(&found.expect("a case of this name"))
}

/// Runs the cases that are wanted.
fn all(wanted: impl Fn(&Case) -> bool) {
    let cases = cases::sockets();
    let cases = cases.iter().filter(|case| wanted(case)).map(quick);
    cases::check_all(cases.collect(), AT_ONCE);
}

/// All findings about a case's program.
fn findings(case: &Case) -> (u32, Vec<Value>) {
    let specimen = cases::start(case.program).expect("a compiler");
    std::thread::sleep(std::time::Duration::from_secs(case.after_s.into()));
    let pid = specimen.ready().pid;
    let run = Remora::with(&["triage", "--json", "--pid", &pid.to_string()])
        .args(case.arguments)
        .run();
    run.assert_code(10);
    let said: Value = serde_json::from_str(&run.stdout).expect("one JSON document");
    (
        pid,
        said["findings"].as_array().cloned().unwrap_or_default(),
    )
}

fn of_kind<'a>(found: &'a [Value], kind: &str) -> &'a Value {
    let mut of_kind = found.iter().filter(|finding| finding["kind"] == kind);
    of_kind
        .next()
        .unwrap_or_else(|| panic!("no {kind}: {found:#?}"))
}

#[test]
fn the_sick_are_found_with_kind_thread_and_stack() {
    let Some(_turn) = privileged() else { return };
    all(|case| matches!(case.expect, Expect::Sick { .. }));
}

#[test]
fn the_healthy_that_look_alike_are_left_alone() {
    let Some(_turn) = privileged() else { return };
    all(|case| matches!(case.expect, Expect::Healthy));
}

#[test]
fn a_blocked_sender_stands_under_its_peer() {
    let Some(_turn) = privileged() else { return };
    let (pid, found) = findings(&case("untaken-blocked-tcp-c"));
    let (cause, sender) = (
        of_kind(&found, "not_consuming"),
        of_kind(&found, "peer_not_consuming"),
    );
    assert_eq!((&sender["pid"], &sender["tid"]), (&pid.into(), &pid.into()));
    assert!(sender.to_string().contains("send_all"), "{sender:#}");
    assert_eq!(sender["incident"], cause["incident"], "{found:#?}");
}

#[test]
fn a_loop_that_is_elsewhere_explains_its_queue() {
    let Some(_turn) = privileged() else { return };
    for name in ["unread-elsewhere-c", "unread-blocked-asyncio"] {
        let (pid, found) = findings(&case(name));
        let (cause, queue) = (
            of_kind(&found, "loop_blocked"),
            of_kind(&found, "not_consuming"),
        );
        assert_eq!((&queue["pid"], &queue["tid"]), (&pid.into(), &pid.into()));
        assert!(
            queue.to_string().contains("instead of epoll_wait"),
            "{queue:#}"
        );
        assert_eq!(queue["incident"], cause["incident"], "{found:#?}");
    }
}
