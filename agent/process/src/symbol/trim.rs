//! Takes the machinery of going to sleep, and of looking at it, off the leaf of a wait's stack.

use std::ops::Range;

/// Ends a wait's kernel stack (leaf first) where it called the scheduler, whichever hook took it:
/// a stack taken on return then equals the one that the kernel shows of a sleeping task, which
/// leaves out the functions in `text` (see `remora_kernel::scheduler_text`).
pub fn scheduler(kernel: &mut Vec<u64>, text: &Range<u64>) {
    let Some(first) = kernel.iter().position(|frame| text.contains(frame)) else {
        return;
    };
    let inside = kernel[first..]
        .iter()
        .take_while(|frame| text.contains(frame))
        .count();
    kernel.drain(..first + inside);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trimmed(frames: &[u64]) -> Vec<u64> {
        let mut frames = frames.to_vec();
        scheduler(&mut frames, &(100..200));
        frames
    }

    #[test]
    fn hook_and_scheduler_go_and_the_caller_stays() {
        assert_eq!(trimmed(&[7, 8, 150, 160, 30, 40]), [30, 40]);
    }

    #[test]
    fn only_the_innermost_run_of_the_scheduler_goes() {
        assert_eq!(trimmed(&[150, 30, 160, 40]), [30, 160, 40]);
    }

    #[test]
    fn a_stack_without_the_scheduler_stays_whole() {
        assert_eq!(trimmed(&[7, 8, 30]), [7, 8, 30]);
        assert_eq!(trimmed(&[]), [0; 0]);
        assert_eq!(trimmed(&[150]), [0; 0]);
    }
}
