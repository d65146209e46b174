//! A look at a large process: 1,000 threads, 10,000 sockets. What it costs is measured by `cargo xtask bench --triage`.

use remora_tests::compile::build_with;
use remora_tests::gate::{privileged, skip};
use remora_tests::remora::Remora;
use remora_tests::specimen::{Specimen, Start};
use remora_tests::tolerance::LARGE_LOOK;
use serde_json::Value;
use std::time::{Duration, Instant};

const THREADS: u64 = 1000;

/// How long the look is.
const LOOK: Duration = Duration::from_secs(3);

fn crowd() -> Result<Specimen, String> {
    let flags = ["-O1", "-g", "-std=gnu17", "-Wall", "-Wextra", "-pthread"];
    let program = build_with("gcc", "crowd", &[&flags[..], &["crowd.c"]].concat())?;
    Start::program(&program).spawn()
}

#[test]
fn a_thousand_threads_and_ten_thousand_sockets_are_judged_soon_and_whole() {
    let Some(_turn) = privileged() else { return };
    let specimen = match crowd() {
        Ok(specimen) => specimen,
        Err(why) => return skip(&why),
    };
    let pid = specimen.pid().to_string();
    let began = Instant::now();
    let run = Remora::with(&["triage", "--json", "--pid", &pid]).run();
    let elapsed = began.elapsed();
    eprintln!("it took {elapsed:?}");
    run.assert_code(0);
    let said: Value = serde_json::from_str(&run.stdout).expect("one JSON document");
    assert_eq!(said["findings"], Value::Array(Vec::new()), "{said:#}");
    assert_eq!(said["verdict"], "healthy");
    assert_eq!(said["targets"][0]["threads"].as_u64(), Some(THREADS));
    // Nothing but what a busy scheduler makes anybody lose.
    let losses = said["loss"].as_object().expect("an object");
    for (name, number) in losses {
        let number = number.as_u64().unwrap_or(u64::MAX);
        let few = ["state_torn", "wait_stacks_lost", "states_unread"].contains(&name.as_str());
        assert!(
            number == 0 || few && number < THREADS,
            "{name} {number}: {losses:#?}"
        );
    }
    let looked = said["capture"]["duration_s"].as_f64().expect("a number");
    assert!(
        (looked - LOOK.as_secs_f64()).abs() < 1.0,
        "it looked for {looked} s"
    );
    assert!(elapsed < LOOK * LARGE_LOOK, "it took {elapsed:?}");
    let words = Remora::with(&["triage", "--duration", "1s", "--pid", &pid]).run();
    words.assert_code(0);
    for figure in ["1,000 threads", "10,000 sockets"] {
        assert!(words.stdout.contains(figure), "{}", words.stdout);
    }
}
