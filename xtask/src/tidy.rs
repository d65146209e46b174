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

/// Modules of the agent, and those that each must not know.
const UPWARD: [(&str, &[&str]); 9] = [
    (
        "model",
        &[
            "analyze", "cli", "probe", "python", "report", "stack", "target", "unwind",
        ],
    ),
    (
        "analyze",
        &[
            "capture", "cli", "probe", "python", "report", "stack", "target", "unwind",
        ],
    ),
    (
        "display",
        &["analyze", "capture", "cli", "probe", "report", "target"],
    ),
    ("unwind", &["cli", "capture", "probe", "python", "report"]),
    ("python", &["cli", "capture", "probe", "report"]),
    ("report", &["cli", "probe", "target"]),
    ("stack", &["cli", "probe", "report"]),
    ("probe", &["cli", "report"]),
    ("target", &["cli", "report"]),
];

/// What would make the model depend on the machine: the loader, files, clocks.
const MACHINE: [&str; 5] = ["aya", "fs", "Instant", "SystemTime", "UNIX_EPOCH"];

/// Checks every source file of the workspace.
///
/// # Errors
/// Names each file that is not tidy, and why.
pub fn tidy() -> anyhow::Result<()> {
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
    let Some(module) = path.strip_prefix("agent/src/") else {
        return faults;
    };
    let module = module.split(['/', '.']).next().unwrap_or_default();
    let code = code(text);
    let upward = UPWARD
        .iter()
        .find(|(name, _)| *name == module)
        .map_or(&[][..], |(_, up)| up);
    let seen = known_modules(&code);
    for name in upward.iter().filter(|name| seen.contains(name)) {
        faults.push(format!("`{module}` must not know `crate::{name}`"));
    }
    if matches!(module, "model" | "analyze") {
        let words: Vec<_> = code
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .collect();
        for name in MACHINE.iter().filter(|name| words.contains(name)) {
            faults.push(format!("the model is plain data and must not use `{name}`"));
        }
    }
    faults
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
    fn the_model_touches_no_machine() {
        let faults = |code: &str| check("agent/src/model/a.rs", &format!("//! Why.\n{code}"));
        assert!(faults("use std::time::Duration; // not std::fs\nlet offset = fsize;").is_empty());
        assert_eq!(faults("use std::{fs, io};").len(), 1);
        assert_eq!(faults("let now = std::time::Instant::now();").len(), 1);
        assert_eq!(faults("use aya::Pod;").len(), 1);
    }

    #[test]
    fn nothing_looks_back_up() {
        let faults = |path: &str, code: &str| check(path, &format!("//! Why.\n{code}"));
        let both = "use crate::{\n    model::{probe, Frame},\n    probe::Drain,\n};";
        assert!(faults("agent/src/cli/record.rs", both).is_empty());
        assert_eq!(faults("agent/src/report/svg.rs", both).len(), 1);
        assert_eq!(faults("agent/src/model.rs", "use crate::stack;").len(), 1);
        assert_eq!(
            faults(
                "agent/src/stack/a.rs",
                "pub(crate) fn f(x: crate::probe::X) {}"
            )
            .len(),
            1
        );
        assert!(faults("agent/src/stack/a.rs", "use crate::model::probe;").is_empty());
        assert!(
            faults(
                "agent/src/stack/a.rs",
                "use crate::{model}; enum E { A, probe }"
            )
            .is_empty()
        );
    }
}
