//! Kernel by test, for people.

use super::judge::{Verdict, Verdicts};

/// One kernel: its name, what is said of it above the table, its verdicts.
pub(super) type Column = (&'static str, String, Verdicts);

/// The table, a line for each test.
pub(super) fn lines(columns: &[Column]) -> Vec<String> {
    let mut lines: Vec<String> = columns
        .iter()
        .map(|(name, head, _)| format!("{name}: {head}"))
        .collect();
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in columns.iter().flat_map(|(_, _, verdicts)| verdicts) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let wide = names.iter().map(|name| name.len()).max().unwrap_or(0);
    let row = |first: &str, cells: Vec<&str>| {
        let cells: String = cells.iter().map(|cell| format!("  {cell:8}")).collect();
        format!("{first:wide$}{cells}").trim_end().to_owned()
    };
    lines.push(row("", columns.iter().map(|(name, _, _)| *name).collect()));
    for name in &names {
        let cells = columns.iter().map(|(_, _, verdicts)| cell(name, verdicts));
        lines.push(row(name, cells.collect()));
    }
    lines
}

fn cell(name: &str, verdicts: &Verdicts) -> &'static str {
    let found = verdicts.iter().find(|(one, _)| one == name);
    match found.map(|(_, verdict)| verdict) {
        Some(Verdict::Passed) => "ok",
        Some(Verdict::PassedLater) => "ok, 2nd",
        Some(Verdict::Skipped) => "skipped",
        Some(Verdict::Wrong(_)) => "FAILED",
        None => "-",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_a_kernel_and_a_line_a_test() {
        let verdict = |name: &str, verdict| (name.to_owned(), verdict);
        let columns = [
            (
                "6.1",
                "6.1.0-56 in 9 s".to_owned(),
                vec![verdict("a::b", Verdict::Skipped)],
            ),
            (
                "new",
                "7.3 in 8 s".to_owned(),
                vec![
                    verdict("a::b", Verdict::Passed),
                    verdict("a::long", Verdict::Wrong("x".to_owned())),
                ],
            ),
        ];
        let expected = [
            "6.1: 6.1.0-56 in 9 s",
            "new: 7.3 in 8 s",
            "         6.1       new",
            "a::b     skipped   ok",
            "a::long  -         FAILED",
        ];
        assert_eq!(lines(&columns), expected);
    }
}
