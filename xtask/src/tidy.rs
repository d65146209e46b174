//! What the compiler does not check: that each file says why it is there and stays small, and
//! that data flows one way through the agent.

use std::path::{Path, PathBuf};
use std::{fs, iter};

use anyhow::{Context as _, bail};

use crate::process::say;

/// A longer file is asked what two things it does.
const MOST_LINES: usize = 500;

/// The folders of the crates.
const CRATES: [&str; 5] = ["agent", "common", "ebpf", "tests", "xtask"];

/// Modules of a crate, and those that each must not know: what Cargo cannot say, for they are in one crate.
const UPWARD: [(&str, &str, &[&str]); 8] = [
    ("model", "places", &["display"]),
    (
        "process",
        "deadline",
        &["glibc", "maps", "memory", "python", "symbol", "unwind"],
    ),
    ("process", "unwind", &["glibc", "python", "symbol"]),
    ("process", "glibc", &["python", "symbol", "unwind"]),
    (
        "capture",
        "store",
        &["inspect", "record", "assemble", "capture"],
    ),
    ("capture", "inspect", &["record", "assemble", "capture"]),
    ("capture", "record", &["assemble", "capture"]),
    ("capture", "assemble", &["capture"]),
];

/// The crates that are pure functions of the model: `xtask/src/lint/floors.rs` says what they may be built with.
pub(crate) const PURE: [&str; 3] = ["model", "analyze", "report"];

/// What would make a pure crate depend on the machine: the loader, files, clocks. Its tests may use them.
const MACHINE: [&str; 5] = ["aya", "fs", "Instant", "SystemTime", "UNIX_EPOCH"];

/// Checks every source file of the workspace.
///
/// # Errors
/// Names each file that is not tidy, and why.
pub(crate) fn tidy() -> anyhow::Result<()> {
    say("tidiness");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut faults = Vec::new();
    for file in CRATES
        .iter()
        .map(|name| sources(&root.join(name)))
        .collect::<Result<Vec<_>, _>>()?
        .concat()
    {
        let text =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let path = file.strip_prefix(&root)?.to_string_lossy();
        faults.extend(
            check(&path, &text)
                .into_iter()
                .map(|fault| format!("{path}: {fault}")),
        );
    }
    if !faults.is_empty() {
        bail!("not tidy:\n  {}", faults.join("\n  "));
    }
    Ok(())
}

/// The Rust files below a folder.
fn sources(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(found)
}

/// The faults of one file; `path` is relative to the workspace.
fn check(path: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if !text.starts_with("//!") {
        faults.push("does not open with `//!`: say why it is there".to_owned());
    }
    let lines = text.lines().count();
    if lines > MOST_LINES {
        faults.push(format!(
            "{lines} lines, {MOST_LINES} at most: which two things does it do?"
        ));
    }
    if prints_a_skip(text) {
        let how = "say that a test is skipped by `skip`, so that it is counted";
        faults.push(how.to_owned());
    }
    let Some((crate_name, module)) = place(path) else {
        return faults;
    };
    let code = code(text);
    let upward = UPWARD
        .iter()
        .find(|(of, name, _)| *of == crate_name && *name == module)
        .map_or(&[][..], |(_, _, up)| up);
    let seen = known_modules(&code);
    for name in upward.iter().filter(|name| seen.contains(name)) {
        faults.push(format!(
            "`{crate_name}::{module}` must not know `crate::{name}`"
        ));
    }
    if PURE.contains(&crate_name) && !path.contains("/tests") {
        let words: Vec<_> = code
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .collect();
        for name in MACHINE.iter().filter(|name| words.contains(name)) {
            faults.push(format!("`{crate_name}` is pure and must not use `{name}`"));
        }
    }
    faults
}

/// The crate of the agent and the module in it that a file belongs to: `process`, `unwind` of
/// `agent/process/src/unwind/table.rs`.
fn place(path: &str) -> Option<(&str, &str)> {
    let (crate_name, file) = path.strip_prefix("agent/")?.split_once("/src/")?;
    Some((
        crate_name,
        file.split(['/', '.']).next().unwrap_or_default(),
    ))
}

/// Whether a line "skipped" is printed in another way than the one that `cargo xtask test` reads.
fn prints_a_skip(text: &str) -> bool {
    let text: String = text.split_whitespace().collect();
    // In two pieces, or this file would be found.
    let print = concat!("println!(", "\"");
    let mut printed = text.split(print).skip(1);
    printed.any(|words| {
        let words = words.split('"').next().unwrap_or_default();
        words.starts_with("skipped:") || words.starts_with("halfskipped:")
    })
}

/// The text without its comments.
fn code(text: &str) -> String {
    let lines = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// The modules named right after `crate::`, alone or in braces.
fn known_modules(code: &str) -> Vec<&str> {
    code.split("crate::").skip(1).flat_map(modules_at).collect()
}

/// `a` of `a::b;`, and `a`, `c` of `{a::{b}, c}`.
fn modules_at(path: &str) -> Vec<&str> {
    let Some(group) = path.strip_prefix('{') else {
        return iter::once(identifier(path)).collect();
    };
    let mut depth = 0_usize;
    let mut start = 0;
    let mut modules = Vec::new();
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                modules.push(identifier(&group[start..at]));
                start = at + 1;
            }
            _ => {}
        }
        if letter == '}' && depth == 0 && start == at + 1 {
            break;
        }
    }
    modules
}

/// The identifier that a path begins with.
fn identifier(path: &str) -> &str {
    let path = path.trim_start();
    let end = path
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(path.len());
    &path[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_opens_with_its_reason() {
        assert!(check("common/src/a.rs", "//! Why.\nuse x;").is_empty());
        assert_eq!(check("common/src/a.rs", "use x;").len(), 1);
        assert_eq!(check("common/src/a.rs", "").len(), 1);
    }

    #[test]
    fn a_file_has_500_lines_at_most() {
        let lines = |count: usize| format!("//! Why.\n{}", "x\n".repeat(count - 1));
        assert!(check("ebpf/src/a.rs", &lines(500)).is_empty());
        assert_eq!(check("ebpf/src/a.rs", &lines(501)).len(), 1);
    }

    #[test]
    fn a_skip_is_said_so_that_it_is_counted() {
        let faults = |code: &str| check("agent/kernel/src/a.rs", &format!("//! Why.\n{code}"));
        assert!(faults("remora_testing::skip(\"no gdb\"); println!(\"a\");").is_empty());
        let prints = concat!("println", "!(\n    \"skipped: no gdb\")");
        assert_eq!(faults(prints).len(), 1);
        assert_eq!(faults(&format!("e{prints}")).len(), 1);
    }

    #[test]
    fn a_pure_crate_touches_no_machine() {
        let faults = |code: &str| check("agent/model/src/a.rs", &format!("//! Why.\n{code}"));
        assert!(faults("use std::time::Duration; // not std::fs\nlet offset = fsize;").is_empty());
        assert_eq!(faults("use std::{fs, io};").len(), 1);
        assert_eq!(faults("let now = std::time::Instant::now();").len(), 1);
        assert_eq!(faults("use aya::Pod;").len(), 1);
        assert!(check("agent/process/src/a.rs", "//! Why.\nuse std::fs;").is_empty());
    }

    #[test]
    fn nothing_looks_back_up_inside_a_crate() {
        let faults = |path: &str, code: &str| check(path, &format!("//! Why.\n{code}"));
        let both = "use crate::{\n    maps::{python, Content},\n    python::Python,\n};";
        assert!(faults("agent/process/src/symbol/a.rs", both).is_empty());
        assert_eq!(faults("agent/process/src/unwind/a.rs", both).len(), 1);
        assert_eq!(
            faults("agent/process/src/unwind.rs", "use crate::symbol;").len(),
            1
        );
        let path = "pub(crate) fn f(x: crate::python::X) {}";
        assert_eq!(faults("agent/process/src/unwind/a.rs", path).len(), 1);
        let raw = "use crate::{record::raw::RawCapture, store};";
        assert!(faults("agent/capture/src/assemble/a.rs", raw).is_empty());
        assert_eq!(faults("agent/capture/src/inspect/a.rs", raw).len(), 1);
        let named = "use crate::{maps}; enum E { A, python }";
        assert!(faults("agent/process/src/unwind/a.rs", named).is_empty());
    }
}
