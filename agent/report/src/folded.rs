//! Folded stacks: one line a stack, frames from the root split by `;`, then a space and a number.
//! Every flamegraph tool reads them; the pictures of this report are drawn from the same lines.
//!
//! On the CPU the number is samples, off it nanoseconds, of memory bytes. Frames say what kind of code they are in
//! the suffixes that such tools know: `_[k]` kernel, `_[i]` inlined, `_[j]` made at run time.

mod heap;
mod late;
mod locks;

use super::label::{self, Owners};
use super::stacks::{self, Line, frame_name};
use remora_model::{Capture, FrameKind, Stack};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

/// What a frame stands for: its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Why the thread was off the CPU.
    Reason,
    /// Whose time it is.
    Owner,
    /// Something that is not a function: `[short waits]`, `[unmapped]`.
    Note,
    /// A function.
    Code(FrameKind),
}

/// Folded stacks with what each frame name stands for.
#[derive(Clone, Debug, Default)]
pub struct Folded {
    lines: BTreeMap<String, u64>,
    classes: HashMap<String, Class>,
    total: u64,
}

impl Folded {
    /// Stacks on the CPU, in samples.
    pub fn on_cpu(capture: &Capture) -> Self {
        let mut folded = Self::default();
        let owners = Owners::new(capture);
        for line in stacks::on_cpu(capture) {
            folded.add_line(&owners, line);
        }
        folded
    }

    /// Stacks off the CPU, in nanoseconds: the reason first, then whose wait, then where. Idle
    /// waits only when told, under `[idle] ` and their reason.
    pub fn off_cpu(capture: &Capture, idle: bool) -> Self {
        let mut folded = Self::default();
        let owners = Owners::new(capture);
        for line in stacks::off_cpu(capture, idle) {
            folded.add_line(&owners, line);
        }
        folded
    }

    /// Stacks that memory grew by, in bytes.
    pub fn memory(capture: &Capture) -> Self {
        let mut folded = Self::default();
        let owners = Owners::new(capture);
        for memory in &capture.memory {
            for growth in &memory.stacks {
                let mut line = folded.owner(&owners, growth.thread);
                match capture.stacks.get(growth.stack) {
                    Some(stack) => folded.stack(&mut line, &stack.before_fault()),
                    None => folded.push(&mut line, label::STACK_LOST, Class::Note),
                }
                folded.add(line, growth.bytes);
            }
            let mut line = String::new();
            for owner in owners.process_frames(memory.pid) {
                folded.push(&mut line, &owner, Class::Owner);
            }
            folded.push(&mut line, label::NO_FAULT, Class::Note);
            folded.add(line, memory.unattributed_bytes);
        }
        folded
    }

    fn add_line(&mut self, owners: &Owners<'_>, line: Line<'_>) {
        let mut text = String::new();
        for part in line.why {
            self.push_name(&mut text, part.name, part.class);
        }
        for owner in owners.frames(line.thread) {
            self.push(&mut text, &owner, Class::Owner);
        }
        for part in line.stack {
            self.push_name(&mut text, part.name, part.class);
        }
        self.add(text, line.value);
    }

    /// The file: lines in the order of their frames, so that equal prefixes stand together.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (line, value) in self.sorted() {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{line} {value}");
        }
        text
    }

    /// Lines by their frames. By their bytes, `f()` would stand between `f` and `f;g` and tear the
    /// frame `f` in two, for `(` is less than `;`.
    fn sorted(&self) -> Vec<(&str, u64)> {
        let mut lines: Vec<_> = self
            .lines
            .iter()
            .map(|(line, value)| (line.as_str(), *value))
            .collect();
        lines.sort_by(|a, b| a.0.split(';').cmp(b.0.split(';')));
        lines
    }

    /// Sum of all values.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Every frame name with what it stands for.
    pub fn classes(&self) -> impl Iterator<Item = (&str, Class)> {
        self.classes
            .iter()
            .map(|(name, class)| (name.as_str(), *class))
    }

    fn owner(&mut self, owners: &Owners<'_>, thread: usize) -> String {
        let mut line = String::new();
        for owner in owners.frames(thread) {
            self.push(&mut line, &owner, Class::Owner);
        }
        line
    }

    fn stack(&mut self, line: &mut String, stack: &Stack) {
        for part in stacks::parts(stack) {
            self.push_name(line, part.name, part.class);
        }
    }

    fn push(&mut self, line: &mut String, name: &str, class: Class) {
        self.push_name(line, frame_name(name), class);
    }

    fn push_name(&mut self, line: &mut String, name: String, class: Class) {
        if !line.is_empty() {
            line.push(';');
        }
        line.push_str(&name);
        self.classes.entry(name).or_insert(class);
    }

    /// Adds to a line; the sum of all stays within 64 bits.
    fn add(&mut self, line: String, value: u64) {
        let value = value.min(u64::MAX - self.total);
        if value > 0 {
            self.total += value;
            *self.lines.entry(line).or_default() += value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_model::fixture::{Builder, ms};
    use remora_model::{Reason, Site};
    use std::time::Duration;

    fn lines(folded: &Folded) -> Vec<String> {
        folded.text().lines().map(str::to_owned).collect()
    }

    #[test]
    fn one_thread_needs_no_frame_of_its_own() {
        let mut builder = Builder::new(7, "solo");
        builder.samples(0, &["main", "i:work", "j:jitted", "k:page_fault"], 3);
        let expected = ["main;work_[i];jitted_[j];page_fault_[k] 3"];
        assert_eq!(lines(&Folded::on_cpu(&builder.finish())), expected);
    }

    #[test]
    fn owners_appear_as_far_as_they_tell_apart() {
        let mut builder = Builder::new(7, "many");
        let worker = builder.thread(7, 8, "worker");
        let other = builder.process(20, "other");
        for thread in [0, worker, other] {
            builder.samples(thread, &["main"], 1);
        }
        let expected = [
            "many (7);many-7;main 1",
            "many (7);worker-8;main 1",
            "other (20);main 1",
        ];
        assert_eq!(lines(&Folded::on_cpu(&builder.finish())), expected);
    }

    #[test]
    fn the_first_frame_off_the_cpu_says_why() {
        let mut builder = Builder::new(7, "solo");
        builder.wait(0, Reason::Disk, &["main", "k:fsync"], ms(5));
        builder.wait_at(0, Reason::Disk, Site::Short, 4, ms(1));
        builder.wait_at(0, Reason::Futex, Site::Lost, 1, ms(2));
        builder.wait(0, Reason::Syscall, &["main"], ms(3));
        builder.last_wait().syscall = Some(remora_model::Syscall::named("flock"));
        builder.wait(0, Reason::Epoll, &["main", "epoll_wait"], ms(90));
        builder.0.threads[0].run_queue.after_wake = ms(6);
        builder.0.threads[0].run_queue.preempted = ms(7);
        let capture = builder.finish();
        let mut expected = vec![
            "disk;[short waits] 1000000",
            "disk;main;fsync_[k] 5000000",
            "futex;[stack lost] 2000000",
            "run queue;after wake-up 6000000",
            "run queue;preempted 7000000",
            "syscall flock;main 3000000",
        ];
        assert_eq!(lines(&Folded::off_cpu(&capture, false)), expected);
        expected.insert(0, "[idle] epoll;main;epoll_wait 90000000");
        assert_eq!(lines(&Folded::off_cpu(&capture, true)), expected);
    }

    #[test]
    fn memory_is_told_by_what_touched_it() {
        let mut builder = Builder::new(7, "many");
        builder.process(20, "other");
        let read = ["main", "read", "k:vfs_read", "k:copy_to_iter"];
        let fault = ["k:asm_exc_page_fault", "k:exc_page_fault"];
        builder.grown(0, &[&read[..], &fault[..]].concat(), 4096, 8192);
        let expected = [
            "many (7);[no sampled fault] 8192",
            "many (7);main;read;vfs_read_[k];copy_to_iter_[k] 4096",
        ];
        assert_eq!(lines(&Folded::memory(&builder.finish())), expected);
    }

    #[test]
    fn a_frame_is_not_torn_by_names_that_begin_like_it() {
        let mut builder = Builder::new(7, "solo");
        builder.samples(0, &["f"], 1);
        builder.samples(0, &["f()"], 1);
        builder.samples(0, &["f", "g"], 1);
        let folded = lines(&Folded::on_cpu(&builder.finish()));
        assert_eq!(folded, ["f 1", "f;g 1", "f() 1"]);
    }

    #[test]
    fn markers_are_no_code() {
        let mut builder = Builder::new(7, "solo");
        builder.samples(0, &["[unmapped]", "dictFind"], 3);
        builder.samples(0, &["j:[jit]", "target+0x10"], 2);
        builder.0.stacks[0].frames[0].named = false;
        builder.0.stacks[1].truncated = true;
        for frame in &mut builder.0.stacks[1].frames {
            frame.named = false;
        }
        builder.wait_at(0, Reason::Disk, Site::Short, 4, ms(1));
        builder.wait_at(0, Reason::Disk, Site::Lost, 1, ms(2));
        builder.grown(0, &["main"], 1, 1);
        let capture = builder.finish();
        let on_cpu = Folded::on_cpu(&capture);
        let expected = [
            "[root cut off];[jit]_[j];target+0x10 2",
            "[unmapped];dictFind 3",
        ];
        assert_eq!(lines(&on_cpu), expected);
        let off_cpu = Folded::off_cpu(&capture, false);
        let memory = Folded::memory(&capture);
        let all = on_cpu.classes().chain(off_cpu.classes());
        let classes: HashMap<_, _> = all.chain(memory.classes()).collect();
        for marker in label::MARKERS {
            assert_eq!(classes[marker], Class::Note, "{marker}");
        }
        assert_eq!(classes["[jit]_[j]"], Class::Code(FrameKind::Jit));
        assert_eq!(classes["target+0x10"], Class::Code(FrameKind::Native));
        assert_eq!(classes["dictFind"], Class::Code(FrameKind::Native));
    }

    #[test]
    fn absurd_times_saturate() {
        let mut builder = Builder::new(7, "solo");
        builder.wait(0, Reason::Disk, &["main"], Duration::MAX);
        builder.wait_at(0, Reason::Sleep, Site::Short, 1, ms(1));
        builder.0.threads[0].waits.clear();
        let folded = Folded::off_cpu(&builder.finish(), false);
        assert_eq!(folded.total(), u64::MAX);
    }
}
