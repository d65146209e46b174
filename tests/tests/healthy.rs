//! Healthy programs that nobody here wrote, under real load and at rest: nothing is found.

use remora_tests::gate::{privileged, skip};
use remora_tests::remora::Remora;
use remora_tests::servers::{self, Loaded};
use serde_json::Value;
use std::time::Duration;

type Start = fn() -> Result<Loaded, String>;

const SERVERS: [(&str, Start); 6] = [
    ("redis", servers::redis),
    ("nginx", servers::nginx),
    ("node", servers::node),
    ("aiohttp", servers::aiohttp),
    ("java", servers::java),
    ("postgres", servers::postgres),
];

/// What is wrong with a server and its children, by remora's judgement.
fn findings(pid: u32, seconds: u64) -> (String, Vec<Value>) {
    let (pid, duration) = (pid.to_string(), seconds.to_string());
    let arguments = [
        "triage",
        "--json",
        "--strict",
        "--children",
        "--pid",
        &pid,
        "--duration",
        &duration,
    ];
    let run = Remora::with(&arguments)
        .lasting(Duration::from_secs(seconds))
        .run();
    let said: Value = serde_json::from_str(&run.stdout)
        .unwrap_or_else(|error| panic!("{}: {error}: {}", run.command, run.stderr));
    let verdict = said["verdict"].as_str().expect("a verdict").to_owned();
    let expected = if said["findings"].as_array().is_some_and(Vec::is_empty) {
        0
    } else {
        10
    };
    run.assert_code(expected);
    (
        verdict,
        [&said["findings"], &said["notices"]]
            .into_iter()
            .flat_map(|list| list.as_array().cloned().unwrap_or_default())
            .collect(),
    )
}

fn judge_all(seconds: u64) {
    for (name, start) in SERVERS {
        let mut server = match start() {
            Ok(server) => server,
            Err(why) => {
                skip(&format!("{name}: {why}"));
                continue;
            }
        };
        std::thread::sleep(Duration::from_millis(500));
        let (verdict, found) = findings(server.pid(), seconds);
        assert!(
            found.is_empty(),
            "{name} under load is {verdict}: {found:#?}"
        );
        assert_eq!(verdict, "healthy", "{name} works");
        server.end_load();
        std::thread::sleep(Duration::from_millis(500));
        let (verdict, found) = findings(server.pid(), 3);
        assert!(found.is_empty(), "{name} at rest is {verdict}: {found:#?}");
    }
}

#[test]
fn nothing_is_wrong_with_servers_under_load_and_at_rest() {
    let Some(_turn) = privileged() else { return };
    judge_all(3);
}

#[test]
#[ignore = "ten minutes: cargo test -p remora-tests --test healthy -- --ignored, with REMORA_BIN"]
fn nothing_is_wrong_in_ten_minutes() {
    let Some(_turn) = privileged() else { return };
    judge_all(100);
}
