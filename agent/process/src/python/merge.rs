//! Puts Python frames in the place of the native frames that run them.
//!
//! CPython runs Python code in one C function, the evaluation loop. A call from Python to Python
//! (from 3.11 on) stays in the loop; a call from C begins another. So each native frame of the
//! loop stands for one or more Python frames: those up to and with the next that is marked as the
//! first of its loop. Frames of a generator or coroutine are frames like others: they hang below
//! whoever resumed them.
//!
//! The two stacks may not fit together: one was cut, the chain of Python frames was read while it
//! changed, or the loop is just being entered and has no frame yet. No frame gets lost then, and
//! [`Merged`] says how many did not fit.

use remora_common::python::{ENTRY_FRAME, MAX_PYTHON_FRAMES, PythonFrame};

/// A frame of a merged stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergedFrame {
    /// A native one, by its address as it was given.
    Native(u64),
    /// A Python one.
    Python(PythonFrame),
}

/// A merged stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// Leaf first.
    pub frames: Vec<MergedFrame>,
    /// Frames of the loop for which no Python frame was left; they stand as they are.
    pub without_python: usize,
    /// Python frames for which no frame of the loop was left; they stand at the end, the root side.
    pub without_native: usize,
}

impl Merged {
    /// Whether the two stacks did not fit together.
    pub fn is_partial(&self) -> bool {
        self.without_python > 0 || self.without_native > 0
    }
}

/// Merges a native and a Python stack, both leaf first.
///
/// `is_evaluation` says of a native frame whether the evaluation loop is running in it; see
/// [`super::Python::evaluates`] for return addresses.
pub fn merge(
    native: &[u64],
    is_evaluation: impl Fn(u64) -> bool,
    python: &[PythonFrame],
) -> Merged {
    let mut merged = Merged::default();
    let mut loops = python.split_inclusive(|frame| frame.code & ENTRY_FRAME != 0);
    let mut skip = innermost_is_bare(native, &is_evaluation, python);
    for &frame in native {
        if !is_evaluation(frame) {
            merged.frames.push(MergedFrame::Native(frame));
            continue;
        }
        if skip {
            skip = false;
            merged.frames.push(MergedFrame::Native(frame));
            continue;
        }
        match loops.next() {
            Some(python) => merged.extend(python),
            None => {
                merged.frames.push(MergedFrame::Native(frame));
                merged.without_python += 1;
            }
        }
    }
    for python in loops {
        merged.extend(python);
        merged.without_native += python.len();
    }
    merged
}

impl Merged {
    fn extend(&mut self, python: &[PythonFrame]) {
        let frames = python.iter().copied().map(MergedFrame::Python);
        self.frames.extend(frames);
    }
}

/// Whether the innermost loop is just being entered or left, and so has no Python frame: there is one
/// loop more than the Python frames tell of, and nothing was cut from these. It stands as it is, and
/// nothing is missing.
fn innermost_is_bare(
    native: &[u64],
    is_evaluation: impl Fn(u64) -> bool,
    python: &[PythonFrame],
) -> bool {
    let is_first = |frame: &PythonFrame| frame.code & ENTRY_FRAME != 0;
    let cut = python.len() >= MAX_PYTHON_FRAMES || !python.last().is_none_or(is_first);
    let loops = native.iter().filter(|frame| is_evaluation(**frame)).count();
    !cut && !python.is_empty() && loops == python.iter().filter(|frame| is_first(frame)).count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Merges pictures: of the native frames, `E` is the loop; of the Python frames, a capital is
    /// the first of its loop. The result ends in `-n` for n loops without Python frames and `+n` for
    /// n Python frames without a loop.
    fn picture(native: &str, python: &str) -> String {
        let native: Vec<u64> = native.bytes().map(u64::from).collect();
        let python: Vec<PythonFrame> = python.bytes().map(frame).collect();
        let merged = merge(&native, |address| address == u64::from(b'E'), &python);
        let mut text: String = merged.frames.iter().map(letter).collect();
        for (sign, count) in [('-', merged.without_python), ('+', merged.without_native)] {
            if count > 0 {
                text.push(sign);
                text.push_str(&count.to_string());
            }
        }
        assert_eq!(merged.is_partial(), text.contains(['-', '+']));
        text
    }

    fn frame(letter: u8) -> PythonFrame {
        PythonFrame {
            code: u64::from(letter) << 4 | u64::from(letter.is_ascii_uppercase()),
            instruction: 0,
            fingerprint: 0,
        }
    }

    fn letter(frame: &MergedFrame) -> char {
        let byte = match frame {
            MergedFrame::Native(address) => *address,
            MergedFrame::Python(frame) => frame.code >> 4,
        };
        char::from(u8::try_from(byte).unwrap())
    }

    #[test]
    fn stacks_that_fit() {
        for (native, python, merged) in [
            ("", "", ""),
            ("nm", "", "nm"),
            ("E", "A", "A"),
            ("nEm", "A", "nAm"),
            // Python calls Python in one loop.
            ("nEm", "abC", "nabCm"),
            // A callback from C: sorted(key=…).
            ("nEksEm", "aBcD", "naBkscDm"),
            // 3.10: each frame has a loop of its own.
            ("nEvEvEm", "ABC", "nAvBvCm"),
            // The loop calls itself without a frame between.
            ("EEm", "aBC", "aBCm"),
        ] {
            assert_eq!(picture(native, python), merged, "{native} {python}");
        }
    }

    #[test]
    fn stacks_that_do_not_fit() {
        for (native, python, merged) in [
            // The native stack was cut at the root, in the loop or between.
            ("nEk", "aBcD", "naBkcD+2"),
            ("n", "aB", "naB+2"),
            ("", "aBC", "aBC+3"),
            // The Python stack was cut at the root, within a loop or between.
            ("nEkEm", "aBc", "naBkcm"),
            ("nEkEm", "a", "nakEm-1"),
            ("nEm", "", "nEm-1"),
            // A loop is just being entered: its frame is not in the chain yet.
            ("EvEm", "A", "EvAm"),
            ("EvEvEm", "aBC", "EvaBvCm"),
            // It is left, and clears its frame.
            ("nEvEm", "A", "nEvAm"),
            // No frames at all is no loop that is being entered.
            ("vEm", "", "vEm-1"),
            // What is missing in a chain that was cut is missing at the root.
            ("EvEm", "a", "avEm-1"),
            ("EvEvEm", "A", "AvEvEm-2"),
        ] {
            assert_eq!(picture(native, python), merged, "{native} {python}");
        }
    }

    #[test]
    fn a_chain_of_the_greatest_length_was_cut() {
        let python = vec![frame(b'A'); MAX_PYTHON_FRAMES];
        let native = vec![7; MAX_PYTHON_FRAMES + 1];
        let merged = merge(&native, |_| true, &python);
        assert_eq!(merged.frames[0], MergedFrame::Python(python[0]));
        assert_eq!(merged.frames.last(), Some(&MergedFrame::Native(7)));
    }

    /// All stacks of up to six native and six Python frames.
    #[test]
    fn no_frame_is_lost_and_order_is_kept() {
        let stacks = |letters: [char; 2]| {
            let mut all = vec![String::new()];
            let mut first = 0;
            for _ in 0..6 {
                let last = all.len();
                for at in first..last {
                    all.extend(letters.map(|letter| format!("{}{letter}", all[at])));
                }
                first = last;
            }
            all
        };
        let mut cases = 0;
        for native in stacks(['E', 'n']) {
            for python in stacks(['A', 'p']) {
                let merged = picture(&native, &python);
                let (frames, rest) =
                    merged.split_at(merged.find(['-', '+']).unwrap_or(merged.len()));
                let of =
                    |letters: [char; 2]| frames.replace(|letter| !letters.contains(&letter), "");
                assert_eq!(of(['A', 'p']), python);
                assert_eq!(of(['n', 'n']), native.replace('E', ""));
                // One loop more than first frames: it is being entered, and nothing is missing.
                let loops = native.matches('E').count();
                let bare = python.ends_with('A') && loops == python.matches('A').count() + 1;
                let missing = frames.matches('E').count() - usize::from(bare);
                assert_eq!(rest.contains(&format!("-{missing}")), missing > 0);
                cases += 1;
            }
        }
        assert_eq!(cases, 127 * 127);
    }
}
