//! Runs the task iterators: one to enlist, one to look at blocked threads.

use super::{Probe, ProbeError, tables::python_of};
use aya::programs::Iter;
use remora_common::event::TaskRecord;
use remora_kernel::clocks::SchedulerClock;
use remora_model::{Outcome, RawStack};
use remora_process::deadline::{self, Step, Subject};
use std::{fs::File, io::Read, time::Duration};

/// A thread that is asleep, seen from outside.
#[derive(Clone, Debug)]
pub struct BlockedThread {
    /// Who, since when, and its user registers.
    pub record: TaskRecord,
    /// Its stacks; the user stack only where the kernel side could read it (`user_walked`).
    pub stack: RawStack,
}

/// The most that one pass may write: 65,536 threads with 500 frames each.
const OUTPUT_LIMIT: u64 = 256 << 20;

/// The agent's thread gives its CPU back for so long before it enlists: getting it again brings that CPU's clock up to
/// date, by which the kernel side says how long others have slept.
const REST: Duration = Duration::from_micros(50);

impl Probe {
    /// Makes the threads of these processes targets, with what they do now. `processes`: process
    /// id and start time in clock ticks since boot (`/proc/PID/stat`, field 22).
    ///
    /// Two passes: a thread that was on its way in or out in the first is settled by the second,
    /// and one born between is found.
    pub fn enlist(&mut self, processes: &[(u32, u64)]) -> Result<(), ProbeError> {
        let map_error = |error: aya::maps::MapError| ProbeError::Map {
            map: "TARGETS",
            why: error.to_string(),
        };
        for (pid, start_ticks) in processes {
            self.targets
                .insert(pid, start_ticks, 0)
                .map_err(map_error)?;
        }
        for _pass in 0..2 {
            self.run_iterator("enlist_tasks", REST)?;
        }
        for (pid, _) in processes {
            self.targets.remove(pid).map_err(map_error)?;
        }
        Ok(())
    }

    /// The clock by which the kernel side says when threads fell asleep, as read while they were enlisted.
    pub fn scheduler_clock(&self) -> SchedulerClock {
        let control = self.control.read(0);
        let read = control.clock_readings > 0;
        SchedulerClock::new(read.then_some(control.clock_ahead_ns.cast_signed()))
    }

    /// All target threads that are asleep now, with registers and kernel stacks.
    pub fn blocked_threads(&mut self) -> Result<Vec<BlockedThread>, ProbeError> {
        Ok(parse(&self.run_iterator(self.snapshot, Duration::ZERO)?))
    }

    /// Runs an iterator, after a rest.
    fn run_iterator(&mut self, name: &'static str, rest: Duration) -> Result<Vec<u8>, ProbeError> {
        let refused = |error: &dyn std::fmt::Display| ProbeError::Iterate(error.to_string());
        let program: &mut Iter = self
            .ebpf
            .program_mut(name)
            .ok_or(ProbeError::Mismatch(name))?
            .try_into()
            .map_err(|error: aya::programs::ProgramError| refused(&error))?;
        let link = program
            .attach()
            .map_err(|error| refused(&super::hooks::refusal(&error)))?;
        let link = program.take_link(link).map_err(|error| refused(&error))?;
        let file: File = link.into_file().map_err(|error| refused(&error))?;
        // It may read pages of a target that are not there.
        let read = deadline::run(Step::SleepingStacks, Subject::Host, move || {
            if !rest.is_zero() {
                std::thread::sleep(rest);
            }
            let mut output = Vec::new();
            file.take(OUTPUT_LIMIT)
                .read_to_end(&mut output)
                .map(|_| output)
        });
        let read = read.ok_or_else(|| refused(&"no answer"))?;
        read.map_err(|error| refused(&error))
    }
}

/// Splits the iterator's output into records; a cut record at the end is dropped.
fn parse(mut output: &[u8]) -> Vec<BlockedThread> {
    let mut threads = Vec::new();
    while let Some((head, rest)) = output.split_at_checked(size_of::<TaskRecord>()) {
        let record: TaskRecord = bytemuck::pod_read_unaligned(head);
        let Some((kernel, rest)) = words(rest, record.kernel_len) else {
            break;
        };
        let Some((user, rest)) = words(rest, record.user_len) else {
            break;
        };
        let Some((python, rest)) = words(rest, record.python_len) else {
            break;
        };
        let stack = RawStack {
            user,
            outcome: (record.user_walked != 0)
                .then(|| Outcome::from_u32(record.user_ending))
                .flatten(),
            python: (record.python_walked != 0).then(|| python_of(&python, record.python_ending)),
            kernel,
        };
        threads.push(BlockedThread { record, stack });
        output = rest;
    }
    threads
}

/// Takes `count` words off the front.
fn words(output: &[u8], count: u32) -> Option<(Vec<u64>, &[u8])> {
    let (words, rest) = output.split_at_checked(8 * count as usize)?;
    let words = words.chunks_exact(8).map(bytemuck::pod_read_unaligned);
    Some((words.collect(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::Zeroable;

    #[test]
    fn records_of_any_length_come_out_and_a_cut_one_does_not() {
        let mut output = Vec::new();
        for frames in [0_u32, 3] {
            let record = TaskRecord {
                tid: 7 + frames,
                kernel_len: frames,
                ..Zeroable::zeroed()
            };
            output.extend_from_slice(bytemuck::bytes_of(&record));
            (0..u64::from(frames)).for_each(|frame| output.extend(frame.to_ne_bytes()));
        }
        let whole = parse(&output);
        assert_eq!(
            whole.iter().map(|t| t.record.tid).collect::<Vec<_>>(),
            [7, 10]
        );
        assert_eq!(whole[1].stack.kernel, [0, 1, 2]);
        assert_eq!(parse(&output[..output.len() - 1]).len(), 1);
    }
}
