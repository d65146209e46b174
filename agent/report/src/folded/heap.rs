//! Stacks that allocated what is outstanding of a watched allocator, in bytes.

use super::{Class, Folded};
use remora_model::Capture;
use remora_model::display::label::{self, Owners};

impl Folded {
    /// Bytes that were allocated during the watch and not freed by its end.
    pub fn heap(capture: &Capture) -> Self {
        let mut folded = Self::default();
        let owners = Owners::new(capture);
        let watch = capture.heap_watch.iter();
        for site in watch.flat_map(|watch| &watch.sites) {
            let mut line = String::new();
            for owner in owners.process_frames(site.pid) {
                folded.push(&mut line, &owner, Class::Owner);
            }
            match capture.stacks.get(site.stack) {
                Some(stack) => folded.stack(&mut line, stack),
                None => folded.push(&mut line, label::STACK_LOST, Class::Note),
            }
            folded.add(line, site.bytes);
        }
        folded
    }
}
