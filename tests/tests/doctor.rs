//! `remora doctor`: what works here, hook by hook, and why something does not.

use remora_tests::gate::privileged;
use remora_tests::remora::Remora;

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
