//! Takes the machinery of going to sleep, and of looking at it, off the top of a stack.

use crate::model::{FrameKind, Stack};

/// Where a thread leaves its CPU: what lies above is the hook that took the stack.
const SCHEDULER: &str = "__schedule";

/// Ends a wait's stack at the scheduler, whichever hook took it.
pub fn scheduler(stack: &mut Stack) {
    let kernel = |at: usize| stack.frames[at].kind == FrameKind::Kernel;
    let last = (0..stack.frames.len())
        .rev()
        .take_while(|at| kernel(*at))
        .find(|at| &*stack.frames[*at].name == SCHEDULER);
    if let Some(last) = last {
        stack.frames.truncate(last + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Frame;

    fn stack(frames: &[(&str, FrameKind)]) -> Stack {
        let frame = |&(name, kind): &(&str, FrameKind)| Frame {
            name: name.into(),
            module: None,
            file: None,
            line: None,
            kind,
            named: true,
        };
        Stack {
            frames: frames.iter().map(frame).collect(),
            truncated: false,
        }
    }

    fn names(stack: &Stack) -> Vec<&str> {
        stack.frames.iter().map(|frame| &*frame.name).collect()
    }

    #[test]
    fn the_hook_above_the_scheduler_goes() {
        use FrameKind::{Kernel, Native};
        let mut wait = stack(&[
            ("main", Native),
            ("do_futex", Kernel),
            ("schedule", Kernel),
            ("__schedule", Kernel),
            ("bpf_trace_run1", Kernel),
        ]);
        scheduler(&mut wait);
        assert_eq!(names(&wait), ["main", "do_futex", "schedule", "__schedule"]);
    }

    #[test]
    fn a_user_function_of_that_name_stays() {
        let mut odd = stack(&[
            ("__schedule", FrameKind::Native),
            ("work", FrameKind::Native),
        ]);
        scheduler(&mut odd);
        assert_eq!(names(&odd), ["__schedule", "work"]);
    }
}
