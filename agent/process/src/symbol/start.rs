//! Functions that nothing calls: where threads and processes start.

/// Symbols of those, over the C libraries and run times: glibc, musl, bionic; Go.
const STARTS: [&str; 12] = [
    "_start",
    "_start_c",
    "_dl_start_user",
    "_dlstart",
    "clone",
    "__clone",
    "clone3",
    "__clone3",
    "__clone_internal",
    "runtime.goexit",
    "runtime.mstart",
    "runtime.rt0_go",
];

/// Whether a function is where a thread starts: a walk that ends there is complete, though the file
/// may not say so.
pub fn is_thread_start(name: &str) -> bool {
    // Go marks by a suffix what its assembler wrote.
    let name = name.strip_suffix(".abi0").unwrap_or(name);
    STARTS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_told_from_what_merely_sounds_like_one() {
        for start in ["_start", "clone3", "__clone", "runtime.goexit.abi0"] {
            assert!(is_thread_start(start), "{start}");
        }
        for other in [
            "start",
            "main",
            "clone_tree",
            "_start.part.0",
            "",
            "runtime.goexit1",
        ] {
            assert!(!is_thread_start(other), "{other}");
        }
    }
}
