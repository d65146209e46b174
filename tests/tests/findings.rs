//! `remora triage`: exit codes, the JSON contract, and what is refused.

use remora_tests::gate::privileged;
use remora_tests::remora::Remora;
use remora_tests::specimen::Start;
use serde_json::Value;

#[test]
fn a_process_that_sleeps_is_idle_and_the_contract_is_kept() {
    let Some(_turn) = privileged() else { return };
    // Half a second each: short sleeps are work on a slow machine.
    let specimen = Start::mode("nanosleep").period_us(500_000).start();
    let pid = specimen.pid().to_string();
    let run = Remora::with(&["triage", "--json", "--pid", &pid, "--duration", "1s"]).run();
    run.assert_code(0);
    let said: Value = serde_json::from_str(&run.stdout).expect("one JSON document");
    assert_eq!(
        (&said["schema"], &said["verdict"]),
        (&1.into(), &"idle".into())
    );
    assert_eq!(said["findings"], Value::Array(Vec::new()));
    assert_eq!(said["targets"][0]["pid"], specimen.pid());
    for member in ["signals", "loss"] {
        assert!(
            said[member].as_object().is_some_and(|map| !map.is_empty()),
            "{member}"
        );
    }
    for member in ["bpf_cpu_pct", "agent_cpu_pct", "agent_rss_bytes"] {
        assert!(said["overhead"][member].is_number(), "{member}");
    }
    let words = Remora::with(&["triage", "--pid", &pid, "--duration", "1s"]).run();
    words.assert_code(0);
    assert!(words.stdout.starts_with("IDLE  "), "{}", words.stdout);
    assert!(words.stdout.contains("\n  watched  1."), "{}", words.stdout);
    assert!(!words.stdout.contains('\x1b'), "colours are for terminals");
}

#[test]
fn nonsense_is_refused_in_one_line() {
    let Some(_turn) = privileged() else { return };
    let triage = |arguments: &[&str]| Remora::with(&[&["triage"], arguments].concat()).run();
    triage(&[]).assert_refused(2, &["--pid"]);
    triage(&["--pid", "1", "--threshold", "loop-blokced=1s"])
        .assert_refused(2, &["did you mean loop-blocked"]);
    triage(&["--pid", "1", "--threshold", "loop-blocked=never"]).assert_refused(2, &["never"]);
    triage(&["--pid", "1,2", "--tasks"]).assert_refused(2, &["one process"]);
    triage(&["--pid", "4194300"]).assert_refused(3, &["no process"]);
}
