//! Folded stacks: `frame;frame;… value` lines, the text form of a flamegraph.

/// One stack and its value: nanoseconds off the CPU, samples on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Root first; off the CPU the first is the reason, the second the thread.
    pub frames: Vec<String>,
    /// Its weight.
    pub value: u64,
}

impl Line {
    /// Whether a frame has exactly this name.
    pub fn has(&self, frame: &str) -> bool {
        self.frames.iter().any(|name| name == frame)
    }

    /// Why the thread was off the CPU, whether that is its normal idle or not.
    pub fn reason(&self) -> &str {
        let first = self.frames.first().map_or("", String::as_str);
        first.strip_prefix("[idle] ").unwrap_or(first)
    }

    /// Whether it is marked as normal idle.
    pub fn is_idle(&self) -> bool {
        self.frames
            .first()
            .is_some_and(|first| first.starts_with("[idle] "))
    }

    /// Whether it belongs to this thread, as the owner frame `comm-tid` says.
    pub fn is_of(&self, tid: u32) -> bool {
        let suffix = format!("-{tid}");
        self.frames
            .iter()
            .take(4)
            .any(|frame| frame.ends_with(&suffix))
    }

    /// Whether these frames stand in it in this order, next to each other.
    pub fn has_chain(&self, chain: &[&str]) -> bool {
        self.frames.windows(chain.len()).any(|part| part == chain)
    }
}

/// All stacks of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folded(pub Vec<Line>);

impl Folded {
    /// Reads the text form.
    ///
    /// # Panics
    /// On a line that is not of that form.
    pub fn parse(text: &str) -> Self {
        let line = |line: &str| {
            let (frames, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?}"));
            Line {
                frames: frames.split(';').map(str::to_owned).collect(),
                value: value
                    .parse()
                    .unwrap_or_else(|error| panic!("{error}: {line:?}")),
            }
        };
        Self(text.lines().map(line).collect())
    }

    /// Sum of the values of the stacks that a test picks.
    pub fn sum(&self, pick: impl Fn(&Line) -> bool) -> u64 {
        self.0
            .iter()
            .filter(|line| pick(line))
            .map(|line| line.value)
            .sum()
    }

    /// Of the stacks that have `whole`, the share that also satisfies `part`; 0 when there are none.
    pub fn share(&self, whole: impl Fn(&Line) -> bool, part: impl Fn(&Line) -> bool) -> f64 {
        let total = self.sum(&whole);
        if total == 0 {
            0.0
        } else {
            self.sum(|line| whole(line) && part(line)) as f64 / total as f64
        }
    }

    /// The heaviest stacks that a test picks, for its message.
    pub fn top(&self, pick: impl Fn(&Line) -> bool) -> String {
        let mut lines: Vec<&Line> = self.0.iter().filter(|line| pick(line)).collect();
        lines.sort_by_key(|line| std::cmp::Reverse(line.value));
        let shown = lines.iter().take(12);
        shown
            .map(|line| format!("\n  {} {}", line.value, line.frames.join(";")))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_frames_with_blanks_and_finds_chains() {
        let folded = Folded::parse("pipe read;main;a b;c 12\nfutex;main;c;a b 8\n");
        assert_eq!(folded.sum(|line| line.has("c")), 20);
        assert_eq!(folded.sum(|line| line.has_chain(&["a b", "c"])), 12);
        assert_eq!(
            folded.share(|line| line.has("main"), |line| line.has("futex")),
            0.4
        );
    }
}
