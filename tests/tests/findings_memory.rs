//! Leaks are found and named, and what only looks like one is not.

use remora_tests::cases::{self, Program};
use remora_tests::gate::privileged;

/// Cases that run at a time: they sleep most of their time.
const AT_ONCE: usize = 6;

#[test]
fn leaks_are_found_and_healthy_growth_is_not() {
    let Some(_turn) = privileged() else { return };
    let mut all = cases::all();
    all.retain(|case| {
        matches!(
            case.program,
            Program::C("sick_memory", _) | Program::Python("sick_memory.py", _)
        )
    });
    cases::check_all(all, AT_ONCE);
}
