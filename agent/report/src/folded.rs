//! Folded stacks: one line a stack, frames from the root split by `;`, then a space and a number.
//! Every flamegraph tool reads them; the pictures of this report are drawn from the same lines.
//!
//! On the CPU the number is samples, off it nanoseconds, of memory bytes. Frames say what kind of code they are in
//! the suffixes that such tools know: `_[k]` kernel, `_[i]` inlined, `_[j]` made at run time.

mod heap;
mod late;
mod locks;

use super::label::{self, Owners};
use super::{nanos, text::clean};
use remora_model::{Capture, Frame, FrameKind, Idleness, Site, Stack, Wait};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

/// Characters of a frame's name that are kept: demangled names reach many thousand, and a file has
/// each as often as its function stands in a stack.
const NAME_LIMIT: usize = 1_000;

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
        for sample in &capture.samples {
            let mut line = folded.owner(&owners, sample.thread);
            match capture.stacks.get(sample.stack) {
                Some(stack) => folded.stack(&mut line, stack),
                None => folded.push(&mut line, label::STACK_LOST, Class::Note),
            }
            folded.add(line, sample.count);
        }
        folded
    }

    /// Stacks off the CPU, in nanoseconds: the reason first, then whose wait, then where. Idle
    /// waits only when told, under `[idle] ` and their reason.
    pub fn off_cpu(capture: &Capture, idle: bool) -> Self {
        let mut folded = Self::default();
        let owners = Owners::new(capture);
        for wait in capture
            .waits
            .iter()
            .filter(|wait| idle || wait.idle == Idleness::Busy)
        {
            folded.add_wait(capture, &owners, wait);
        }
        for (index, thread) in capture.threads.iter().enumerate() {
            let queue = &thread.run_queue;
            let kinds = [
                ("after wake-up", queue.after_wake),
                ("preempted", queue.preempted),
            ];
            for (kind, time) in kinds {
                let mut line = String::new();
                folded.push(&mut line, label::RUN_QUEUE, Class::Reason);
                folded.push(&mut line, kind, Class::Note);
                for owner in owners.frames(index) {
                    folded.push(&mut line, &owner, Class::Owner);
                }
                folded.add(line, nanos(time));
            }
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

    fn add_wait(&mut self, capture: &Capture, owners: &Owners<'_>, wait: &Wait) {
        let reason = label::reason(wait.reason, wait.syscall);
        let mut line = String::new();
        match wait.idle {
            Idleness::Busy => self.push(&mut line, &reason, Class::Reason),
            _ => self.push(&mut line, &format!("[idle] {reason}"), Class::Reason),
        }
        for owner in owners.frames(wait.thread) {
            self.push(&mut line, &owner, Class::Owner);
        }
        match wait.site {
            Site::Short => self.push(&mut line, label::SHORT_WAITS, Class::Note),
            Site::Lost => self.push(&mut line, label::STACK_LOST, Class::Note),
            Site::Stack(index) => match capture.stacks.get(index) {
                Some(stack) => self.stack(&mut line, stack),
                None => self.push(&mut line, label::STACK_LOST, Class::Note),
            },
        }
        self.add(line, nanos(wait.total));
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
        if stack.truncated {
            self.push(line, label::TRUNCATED, Class::Note);
        }
        if stack.frames.is_empty() {
            self.push(line, label::STACK_LOST, Class::Note);
        }
        for frame in &stack.frames {
            if !frame.named && label::MARKERS.contains(&&*frame.name) {
                self.push(line, &frame.name, Class::Note);
            } else {
                self.push_name(line, code_name(frame), Class::Code(frame.kind));
            }
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

/// A function's name with the suffix of its kind.
fn code_name(frame: &Frame) -> String {
    let mut name = match (&frame.file, frame.kind) {
        // Names like `run` and `__init__` say little without their file.
        (Some(file), FrameKind::Python) => {
            frame_name(&format!("{} ({})", frame.name, label::base_name(file)))
        }
        _ => frame_name(&frame.name),
    };
    // A function must not pass for a marker or another kind of code by its own name.
    if label::MARKERS.contains(&name.as_str()) {
        name.replace_range(..1, "(");
    }
    if let Some(at) = name.len().checked_sub(4)
        && name.as_bytes()[at..].starts_with(b"_[")
        && name.ends_with(']')
    {
        name.replace_range(at + 1..at + 2, "(");
    }
    name.push_str(match frame.kind {
        FrameKind::Kernel => "_[k]",
        FrameKind::Inlined => "_[i]",
        FrameKind::Jit => "_[j]",
        FrameKind::Python => "_[p]",
        FrameKind::Native => "",
    });
    name
}

/// A name that is one frame whatever it holds: no `;`, no line break, no blank at its ends, no
/// number at its end that would read as the line's value, no `# ` that would read as a comment.
fn frame_name(name: &str) -> String {
    let mut safe = String::new();
    for (index, c) in clean(name).trim().chars().enumerate() {
        if index == NAME_LIMIT {
            safe.push('…');
            break;
        }
        safe.push(match c {
            ';' => ':',
            c if c.is_whitespace() => ' ',
            c => c,
        });
    }
    if safe.is_empty() {
        safe.push_str("[unnamed]");
    }
    if let Some(blank) = safe.rfind(' ')
        && safe[blank + 1..]
            .chars()
            .all(|c| c.is_ascii_digit() || c == '.')
    {
        safe.replace_range(blank..=blank, "_");
    }
    if safe.starts_with("# ") {
        safe.replace_range(1..2, "_");
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_model::Reason;
    use remora_model::fixture::{Builder, ms};
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
    fn names_cannot_pass_for_something_else() {
        let cases = [
            ("a;b", "a:b"),
            ("[u8; 8]", "[u8: 8]"),
            ("line\nbreak", "line\\nbreak"),
            ("worker 12", "worker_12"),
            ("v 1.5", "v_1.5"),
            ("# note", "#_note"),
            ("  padded\u{2003}", "padded"),
            ("", "[unnamed]"),
        ];
        for (name, expected) in cases {
            assert_eq!(frame_name(name), expected);
        }
        let frame = remora_model::fixture::frame(FrameKind::Native, "user_[k]");
        assert_eq!(code_name(&frame), "user_(k]");
        let frame = remora_model::fixture::frame(FrameKind::Native, "[unmapped]");
        assert_eq!(code_name(&frame), "(unmapped]");
        assert!(frame_name(&"x".repeat(9_000)).chars().count() <= NAME_LIMIT + 1);
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
