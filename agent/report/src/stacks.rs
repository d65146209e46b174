//! Where the time of threads went, a stack at a time. The folded stacks and the speedscope profiles are made of the same
//! lines, so their sums agree.

use super::folded::Class;
use super::label;
use super::{nanos, text::clean};
use remora_model::{Capture, Frame, FrameKind, Idleness, Site, Stack, Thread, Wait};

/// Characters of a frame's name that are kept: demangled names reach many thousand, and a file has
/// each as often as its function stands in a stack.
pub(crate) const NAME_LIMIT: usize = 1_000;

/// One frame of a line.
pub(crate) struct Part<'a> {
    /// Its name, which is one frame whatever it holds.
    pub(crate) name: String,
    /// What it stands for.
    pub(crate) class: Class,
    /// Its function, if it is one.
    pub(crate) frame: Option<&'a Frame>,
}

impl Part<'_> {
    /// Something that is not a function.
    fn plain(name: &str, class: Class) -> Self {
        Self {
            name: frame_name(name),
            class,
            frame: None,
        }
    }
}

/// A stack of a thread and what it stands for.
pub(crate) struct Line<'a> {
    /// Index in [`Capture::threads`]; it may lead nowhere.
    pub(crate) thread: usize,
    /// Why the thread was off the CPU; empty on it. Where owners are named, they come next.
    pub(crate) why: Vec<Part<'a>>,
    /// Its frames, outermost first.
    pub(crate) stack: Vec<Part<'a>>,
    /// Samples or nanoseconds.
    pub(crate) value: u64,
}

/// On the CPU, in samples.
pub(crate) fn on_cpu(capture: &Capture) -> impl Iterator<Item = Line<'_>> {
    capture.samples.iter().map(|sample| Line {
        thread: sample.thread,
        why: Vec::new(),
        stack: at(capture, sample.stack),
        value: sample.count,
    })
}

/// Off the CPU, in nanoseconds; normal idle only when told, under `[idle] ` and its reason.
pub(crate) fn off_cpu(capture: &Capture, idle: bool) -> impl Iterator<Item = Line<'_>> {
    let waits = capture.waits.iter();
    let waits = waits.filter(move |wait| idle || wait.idle == Idleness::Busy);
    let queued = capture.threads.iter().enumerate();
    waits
        .map(|wait| waited(capture, wait))
        .chain(queued.flat_map(|(index, thread)| run_queue(index, thread)))
}

fn waited<'a>(capture: &'a Capture, wait: &Wait) -> Line<'a> {
    let reason = label::reason(wait.reason, wait.syscall);
    let why = match wait.idle {
        Idleness::Busy => Part::plain(&reason, Class::Reason),
        _ => Part::plain(&format!("[idle] {reason}"), Class::Reason),
    };
    Line {
        thread: wait.thread,
        why: vec![why],
        stack: match wait.site {
            Site::Short => vec![Part::plain(label::SHORT_WAITS, Class::Note)],
            Site::Lost => vec![Part::plain(label::STACK_LOST, Class::Note)],
            Site::Stack(index) => at(capture, index),
        },
        value: nanos(wait.total),
    }
}

fn run_queue(index: usize, thread: &Thread) -> [Line<'static>; 2] {
    let queue = &thread.run_queue;
    let kinds = [
        ("after wake-up", queue.after_wake),
        ("preempted", queue.preempted),
    ];
    kinds.map(|(kind, time)| Line {
        thread: index,
        why: vec![
            Part::plain(label::RUN_QUEUE, Class::Reason),
            Part::plain(kind, Class::Note),
        ],
        stack: Vec::new(),
        value: nanos(time),
    })
}

/// The frames of a stack, by its index.
fn at(capture: &Capture, index: usize) -> Vec<Part<'_>> {
    match capture.stacks.get(index) {
        Some(stack) => parts(stack),
        None => vec![Part::plain(label::STACK_LOST, Class::Note)],
    }
}

/// The frames of a stack, with what is missing of it.
pub(crate) fn parts(stack: &Stack) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    if stack.truncated {
        parts.push(Part::plain(label::TRUNCATED, Class::Note));
    }
    if stack.frames.is_empty() {
        parts.push(Part::plain(label::STACK_LOST, Class::Note));
    }
    let frames = stack.frames.iter().map(|frame| {
        if !frame.named && label::MARKERS.contains(&&*frame.name) {
            Part::plain(&frame.name, Class::Note)
        } else {
            Part {
                name: code_name(frame),
                class: Class::Code(frame.kind),
                frame: Some(frame),
            }
        }
    });
    parts.extend(frames);
    parts
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
pub(crate) fn frame_name(name: &str) -> String {
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
}
