//! Which share of the stacks that were taken is whole, and what became of the rest.

use super::{Capture, Site};
use std::collections::BTreeMap;

/// The stacks of samples and long waits, counted by how they ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fidelity {
    /// Stacks with user frames: one for each sample and each long wait.
    pub taken: u64,
    /// Those that are whole, from the leaf to the thread's start.
    pub complete: u64,
    /// The rest, by cause.
    pub incomplete: BTreeMap<&'static str, u64>,
}

impl Fidelity {
    /// Counts the stacks of a capture.
    ///
    /// A wait whose stack was lost counts as one that is not whole. Samples and waits without user
    /// frames (there were none to take) do not count.
    pub fn of(capture: &Capture) -> Self {
        let mut fidelity = Self::default();
        for sample in &capture.samples {
            fidelity.add(capture, Some(sample.stack), sample.count);
        }
        for wait in &capture.waits {
            match wait.site {
                Site::Stack(stack) => fidelity.add(capture, Some(stack), wait.count),
                Site::Lost => fidelity.add(capture, None, wait.count),
                Site::Short => {}
            }
        }
        fidelity
    }

    /// Share of the stacks that are whole, in percent; `None` when none was taken.
    pub fn complete_pct(&self) -> Option<f64> {
        (self.taken > 0).then(|| self.complete as f64 / self.taken as f64 * 100.0)
    }

    fn add(&mut self, capture: &Capture, stack: Option<usize>, count: u64) {
        let stack = stack.map(|stack| capture.stacks.get(stack));
        let walk = match stack {
            Some(Some(stack)) if !stack.frames.is_empty() => match stack.walk {
                Some(walk) => walk,
                None => return,
            },
            _ => {
                self.taken += count;
                *self.incomplete.entry("lost").or_default() += count;
                return;
            }
        };
        self.taken += count;
        if walk.is_complete() {
            self.complete += count;
        } else {
            *self.incomplete.entry(walk.cause()).or_default() += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Ending, Gil, Outcome, PythonWalk, Sample, Walk,
        fixture::{Builder, stack},
    };

    fn walk(outcome: Outcome, ending: Ending) -> Option<Walk> {
        Some(Walk {
            outcome,
            python: Some(PythonWalk {
                ending,
                mismatched: 0,
                gil: Gil::Held,
            }),
        })
    }

    #[test]
    fn each_stack_counts_as_often_as_it_was_seen_under_its_cause() {
        let mut builder = Builder::new(1, "target");
        let walks = [
            walk(Outcome::Complete, Ending::Complete),
            walk(Outcome::NoRow, Ending::Torn),
            walk(Outcome::Complete, Ending::Torn),
            None,
        ];
        for (index, walk) in walks.into_iter().enumerate() {
            let mut stack = stack(&["main"]);
            stack.walk = walk;
            builder.0.stacks.push(stack);
            builder.0.samples.push(Sample {
                thread: 0,
                stack: index,
                count: 1 << index,
                late: 0,
            });
        }
        let fidelity = Fidelity::of(&builder.0);
        assert_eq!((fidelity.taken, fidelity.complete), (7, 1));
        let causes: Vec<_> = fidelity.incomplete.into_iter().collect();
        assert_eq!(causes, [("no_unwind_row", 2), ("python_torn", 4)]);
    }

    #[test]
    fn no_stack_has_no_share() {
        let capture = Builder::new(1, "target").finish();
        assert_eq!(Fidelity::of(&capture).complete_pct(), None);
    }
}
