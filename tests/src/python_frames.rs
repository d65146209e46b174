//! Frames of Python as a report writes them.

/// A frame of Python: name, file, line.
pub type PythonFrame = (String, String, u32);

/// The frames of Python in a stack of `report.json`, in its order.
pub fn frames_in(stack: &[String]) -> Vec<PythonFrame> {
    stack.iter().filter_map(|frame| parse(frame)).collect()
}

/// Reads `name (file.py:12)`; a file that is none, as `<made>`, too.
fn parse(frame: &str) -> Option<PythonFrame> {
    let (name, place) = frame.strip_suffix(')')?.rsplit_once(" (")?;
    let (file, line) = place.rsplit_once(':')?;
    let is_python = file.ends_with(".py") || (file.starts_with('<') && file.ends_with('>'));
    is_python.then_some((name.to_owned(), file.to_owned(), line.parse().ok()?))
}

/// The frame of Python that a line of folded stacks writes as `name (file.py)_[p]`.
pub fn folded_frame(frame: &str) -> Option<(&str, &str)> {
    frame.strip_suffix(")_[p]")?.rsplit_once(" (")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_frames_of_python_from_others() {
        let stack = [
            "sleep [kernel]",
            "pysleep (/src/timemodule.c:2159)",
            "A.f.<locals>.<lambda> (/a/t.py:6)",
            "made (<made>:3)",
            "python3.11+0x12",
        ]
        .map(str::to_owned);
        let expected = [
            ("A.f.<locals>.<lambda>".to_owned(), "/a/t.py".to_owned(), 6),
            ("made".to_owned(), "<made>".to_owned(), 3),
        ];
        assert_eq!(frames_in(&stack), expected);
        assert_eq!(folded_frame("f (t.py)_[p]"), Some(("f", "t.py")));
        assert_eq!(folded_frame("f_[i]"), None);
    }
}
