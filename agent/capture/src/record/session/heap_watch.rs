//! The watch on allocators, as a part of a session.

use super::{Plan, Progress, Session};
use crate::record::heap::Watch;
use std::time::Instant;

impl Session {
    /// Begins it, where the plan asks for it.
    pub(super) fn watch_heap(&mut self, plan: &Plan, progress: &mut impl FnMut(Progress<'_>)) {
        self.heap = plan.heap.map(|heap| {
            let say = |text: &str| progress(Progress::Note(text));
            Watch::begin(heap, &mut self.probe, &self.spaces, &self.processes, say)
        });
    }

    /// When it wants to be looked at.
    pub(super) fn heap_due(&self) -> Option<Instant> {
        self.heap.as_ref().and_then(Watch::due)
    }

    /// Looks at its cost and its time.
    pub(super) fn check_heap(&mut self, progress: &mut impl FnMut(Progress<'_>)) {
        if let Some(said) = self
            .heap
            .as_mut()
            .and_then(|heap| heap.check(&mut self.probe))
        {
            progress(Progress::Note(&format!("--heap: {said}")));
        }
    }
}
