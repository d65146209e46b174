//! `remora doctor`: what works here, hook by hook, and why something does not.

use remora_tests::gate::{privileged, remora_binary};
use remora_tests::remora::Remora;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

#[test]
fn it_says_what_a_capture_needs_in_words_and_in_json() {
    let Some(_turn) = privileged() else { return };
    let words = Remora::with(&["doctor"]).run();
    words.assert_code(0);
    for hook in ["sched_switch", "perf_event", "BTF"] {
        assert!(
            words.stdout.contains(hook),
            "{hook} is not in {}",
            words.stdout
        );
    }
    let json = Remora::with(&["doctor", "--json"]).run();
    json.assert_code(0);
    let document: serde_json::Value =
        serde_json::from_str(&json.stdout).unwrap_or_else(|error| panic!("{error}: {json:#?}"));
    assert!(document.is_object(), "{document}");
}

#[test]
fn without_privileges_it_names_what_is_missing() {
    let Some(_turn) = privileged() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open.clone()).expect("own folder");
    let binary = folder.path().join("remora");
    std::fs::copy(remora_binary(), &binary).expect("a copy");
    std::fs::set_permissions(&binary, open).expect("own file");
    let output = Command::new("setpriv")
        .args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--bounding-set=-all",
        ])
        .arg(&binary)
        .arg("doctor")
        .current_dir("/tmp")
        .output()
        .expect("setpriv of util-linux");
    let words = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{words}");
    assert!(words.contains("CAP_BPF"), "{words}");
}
