//! What late iterations of event loops did: the flamegraph of the stall.

use super::{Class, Folded, label};
use crate::nanos;
use remora_model::{Capture, Site};

/// The first frame of what ran.
const ON_CPU: &str = "on CPU";

/// Nanoseconds in a second.
const SECOND_NS: u64 = 1_000_000_000;

impl Folded {
    /// Stacks inside late iterations, in nanoseconds: what ran (each sample stands for its share of a
    /// second) under `on CPU`, what waited under its reason, and the time without a CPU.
    pub fn late(capture: &Capture) -> Self {
        let mut folded = Self::default();
        let owners = label::Owners::new(capture);
        let sample_ns = SECOND_NS / u64::from(capture.freq_hz.max(1));
        for sample in capture.samples.iter().filter(|sample| sample.late > 0) {
            let mut line = String::new();
            folded.push(&mut line, ON_CPU, Class::Reason);
            folded.place(
                capture,
                &owners,
                &mut line,
                sample.thread,
                Some(sample.stack),
            );
            folded.add(line, sample.late.saturating_mul(sample_ns));
        }
        for wait in capture.waits.iter().filter(|wait| !wait.late.is_zero()) {
            let mut line = String::new();
            let reason = label::reason(wait.reason, wait.syscall);
            folded.push(&mut line, &reason, Class::Reason);
            let stack = match wait.site {
                Site::Stack(index) => Some(index),
                Site::Short | Site::Lost => None,
            };
            folded.place(capture, &owners, &mut line, wait.thread, stack);
            folded.add(line, nanos(wait.late));
        }
        for event_loop in &capture.loops {
            let mut line = String::new();
            folded.push(&mut line, label::RUN_QUEUE, Class::Reason);
            for owner in owners.frames(event_loop.thread) {
                folded.push(&mut line, &owner, Class::Owner);
            }
            folded.add(line, nanos(event_loop.late_queued));
        }
        folded
    }

    /// Whose it is, and where.
    pub(super) fn place(
        &mut self,
        capture: &Capture,
        owners: &label::Owners<'_>,
        line: &mut String,
        thread: usize,
        stack: Option<usize>,
    ) {
        for owner in owners.frames(thread) {
            self.push(line, &owner, Class::Owner);
        }
        match stack.and_then(|index| capture.stacks.get(index)) {
            Some(stack) => self.stack(line, stack),
            None => self.push(line, label::STACK_LOST, Class::Note),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_model::{
        Reason,
        fixture::{Builder, ms},
    };

    #[test]
    fn only_what_was_late_is_drawn() {
        let mut builder = Builder::new(7, "solo");
        builder.samples(0, &["main", "parse"], 10);
        builder.samples(0, &["main", "fast"], 10);
        builder.0.freq_hz = 100;
        builder.0.samples[0].late = 4;
        builder.wait(0, Reason::Disk, &["main", "fsync"], ms(50));
        builder.last_wait().late = ms(30);
        builder.wait(0, Reason::Futex, &["main", "lock"], ms(50));
        let folded = Folded::late(&builder.finish());
        let expected = "disk;main;fsync 30000000\non CPU;main;parse 40000000\n";
        assert_eq!(folded.text(), expected);
    }
}
