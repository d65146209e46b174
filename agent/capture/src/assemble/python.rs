//! Python frames: their names, and their place among the native frames.

use crate::inspect::interpreters::Known;
use remora_common::python::ENTRY_FRAME;
use remora_model::{Ending, Frame, FrameKind, Gil, PythonFrame, PythonWalk, RawPython, RawStack};
use remora_process::python::{MergedFrame, merge};
use remora_process::symbol::{StandIn, code_address};
use std::sync::Arc;

/// The Python frames of a stack, each in the place of the evaluation loop's frame that runs it.
#[derive(Debug, Default)]
pub(super) struct Placed {
    /// For the symboliser.
    pub(crate) stand_ins: Vec<StandIn>,
    /// How the frames were found; `None` for a thread that is none of an interpreter's.
    pub(crate) walk: Option<PythonWalk>,
}

/// Names the Python frames of a stack, and places them. `interpreter` is the one of its process.
pub(super) fn place(stack: &RawStack, interpreter: Option<&Known>) -> Placed {
    let (python, known) = match (&stack.python, interpreter) {
        (Some(python), Some(known)) => (python, known),
        (Some(python), None) => {
            return Placed {
                stand_ins: Vec::new(),
                walk: Some(walk(python, python.frames.len())),
            };
        }
        (None, Some(known)) => return without_frames(stack, known),
        (None, None) => return Placed::default(),
    };
    // Positions stand for addresses: what to look up depends on both.
    let positions: Vec<u64> = (0..stack.user.len() as u64).collect();
    let evaluates = |at: u64| {
        let at = at as usize;
        known.python.evaluates(code_address(at, stack.user[at]))
    };
    let merged = merge(&positions, evaluates, &python.frames);
    let mismatched = merged.without_python + merged.without_native;
    let mut placed = Placed {
        stand_ins: stand_ins(merged.frames, |frame| name(known, frame)),
        walk: Some(walk(python, mismatched)),
    };
    // No code object where one should be: the frame was being pushed, or the code is gone.
    let mut frames = placed.stand_ins.iter().flat_map(|run| &run.frames);
    if frames.any(|frame| !frame.named)
        && let Some(walk) = &mut placed.walk
    {
        walk.ending = Ending::Torn;
    }
    placed
}

/// A thread of a Python process without Python frames: right where no evaluation loop runs in it.
fn without_frames(stack: &RawStack, known: &Known) -> Placed {
    let user = stack.user.iter().enumerate();
    let loops = user.filter(|(at, address)| known.python.evaluates(code_address(*at, **address)));
    let loops = loops.count();
    let walk = (loops > 0).then(|| PythonWalk {
        ending: Ending::Torn,
        mismatched: u32::try_from(loops).unwrap_or(u32::MAX),
        gil: Gil::Unknown,
    });
    Placed {
        stand_ins: Vec::new(),
        walk,
    }
}

/// Which native frame each run of Python frames replaces.
fn stand_ins(
    merged: Vec<MergedFrame>,
    mut name: impl FnMut(&PythonFrame) -> Frame,
) -> Vec<StandIn> {
    let mut stand_ins: Vec<StandIn> = Vec::new();
    let mut at = 0;
    for frame in merged {
        match frame {
            MergedFrame::Native(position) => at = position as usize + 1,
            MergedFrame::Python(frame) => {
                match stand_ins.last_mut() {
                    Some(run) if run.at == at => run.frames.push(name(&frame)),
                    _ => stand_ins.push(StandIn {
                        at,
                        frames: vec![name(&frame)],
                    }),
                }
                at += usize::from(frame.code & ENTRY_FRAME != 0);
            }
        }
    }
    stand_ins
}

fn walk(python: &RawPython, mismatched: usize) -> PythonWalk {
    PythonWalk {
        ending: python.ending,
        mismatched: u32::try_from(mismatched).unwrap_or(u32::MAX),
        gil: python.gil,
    }
}

/// The frame's function, file and line; a frame whose code object is gone says so.
fn name(known: &Known, frame: &PythonFrame) -> Frame {
    match known.code(frame) {
        Some(code) => Frame {
            name: Arc::clone(&code.qualname),
            module: Some(Arc::from("[python]")),
            file: Some(Arc::clone(&code.filename)),
            line: code.line(frame.instruction),
            kind: FrameKind::Python,
            named: true,
        },
        None => Frame {
            name: Arc::from("[python code gone]"),
            module: Some(Arc::from("[python]")),
            file: None,
            line: None,
            kind: FrameKind::Python,
            named: false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn python(letter: u64, entry: bool) -> MergedFrame {
        MergedFrame::Python(PythonFrame {
            code: letter << 4 | u64::from(entry),
            instruction: 0,
            fingerprint: 0,
        })
    }

    fn placed(merged: Vec<MergedFrame>) -> Vec<(usize, String)> {
        let name = |frame: &PythonFrame| Frame {
            name: char::from((frame.code >> 4) as u8).to_string().into(),
            module: None,
            file: None,
            line: None,
            kind: FrameKind::Python,
            named: true,
        };
        let text = |run: StandIn| {
            let names = run.frames.iter().map(|frame| frame.name.to_string());
            (run.at, names.collect())
        };
        stand_ins(merged, name).into_iter().map(text).collect()
    }

    #[test]
    fn each_run_takes_the_place_of_its_loop() {
        // n E k s E m: two loops, the first with two frames.
        let merged = vec![
            MergedFrame::Native(0),
            python(97, false),
            python(66, true),
            MergedFrame::Native(2),
            MergedFrame::Native(3),
            python(68, true),
            MergedFrame::Native(5),
        ];
        assert_eq!(placed(merged), [(1, "aB".into()), (4, "D".into())]);
    }

    #[test]
    fn loops_that_touch_keep_their_places_and_the_rest_goes_to_the_root() {
        // E E m, and a frame that found no loop.
        let merged = vec![
            python(65, true),
            python(66, true),
            MergedFrame::Native(2),
            python(67, true),
        ];
        let expected = [(0, "A".into()), (1, "B".into()), (3, "C".into())];
        assert_eq!(placed(merged), expected);
    }
}
