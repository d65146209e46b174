//! What a debugger says of the stacks of a process that stands still: the second witness of every
//! frame. It stops the process for that, which only a test may do.

use crate::folded::{Folded, Line};
use crate::python_frames::frames_in;
use crate::remora::Remora;
use crate::report::Report;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::process::Command;

/// A function on a thread's stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// As both witnesses write it.
    pub name: String,
    /// It has no frame of its own: the compiler put it into its caller.
    pub inlined: bool,
}

/// A thread's functions, the leaf first.
pub type Frames = Vec<Frame>;

/// Those that have a frame of their own.
fn on_the_stack(frames: &[Frame]) -> Vec<&str> {
    let own = frames.iter().filter(|frame| !frame.inlined);
    own.map(|frame| frame.name.as_str()).collect()
}

/// Frames and whole stacks that two witnesses saw alike.
#[derive(Clone, Debug, Default)]
pub struct Agreement {
    /// Stacks compared.
    pub stacks: usize,
    /// Of them alike in every frame.
    pub same_stacks: usize,
    /// Frames compared.
    pub frames: usize,
    /// Of them alike, at the same height.
    pub same_frames: usize,
    /// Stacks alike with their inlined functions, which depend on the debug information alone.
    pub same_inlined: usize,
    /// The first stacks that differ, for a message.
    pub differences: Vec<String>,
}

const DIFFERENCES: usize = 3;

impl Agreement {
    /// Compares one stack with that of the other witness, leaf first.
    pub fn add(&mut self, what: &str, found: &[Frame], expected: &[Frame]) {
        self.same_inlined += usize::from(found == expected);
        let (found, expected) = (on_the_stack(found), on_the_stack(expected));
        let most = found.len().max(expected.len());
        let pairs = found.iter().zip(&expected);
        let same = pairs.filter(|(found, expected)| found == expected).count();
        self.stacks += 1;
        self.frames += most;
        self.same_frames += same;
        if same == most {
            self.same_stacks += 1;
        } else if self.differences.len() < DIFFERENCES {
            self.differences.push(format!(
                "{what}\n  here  {}\n  there {}",
                found.join(" < "),
                expected.join(" < ")
            ));
        }
    }

    /// Adds another comparison.
    pub fn merge(&mut self, other: Self) {
        self.stacks += other.stacks;
        self.same_stacks += other.same_stacks;
        self.frames += other.frames;
        self.same_frames += other.same_frames;
        self.same_inlined += other.same_inlined;
        self.differences.extend(other.differences);
    }

    /// Share of frames that are alike, 0 to 1.
    pub fn of_frames(&self) -> f64 {
        self.same_frames as f64 / self.frames.max(1) as f64
    }

    /// Share of stacks that are alike from end to end, 0 to 1.
    pub fn of_stacks(&self) -> f64 {
        self.same_stacks as f64 / self.stacks.max(1) as f64
    }
}

/// Run by gdb: a line `T TID` for each thread, and one `F NAME` for each of its frames, `I NAME`
/// for an inlined one. A frame that gdb concludes from a call that became a jump is on no stack: it is left out.
const SCRIPT: &str = "
import gdb
for thread in gdb.selected_inferior().threads():
    thread.switch()
    print('T', thread.ptid[1] or thread.ptid[0])
    frame = gdb.newest_frame()
    while frame is not None:
        kind = frame.type()
        if kind == gdb.SIGTRAMP_FRAME:
            print('F <signal handler called>')
        elif kind == gdb.INLINE_FRAME:
            print('I', frame.name() or '??')
        elif kind != gdb.TAILCALL_FRAME:
            print('F', frame.name() or '??')
        frame = frame.older()
";

/// The stacks of all threads of a process, by gdb.
///
/// # Errors
/// In words, when gdb is missing or may not.
pub fn gdb(pid: u32) -> Result<BTreeMap<u32, Frames>, String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let script = folder.path().join("stacks.py");
    std::fs::write(&script, SCRIPT).expect("an own folder");
    let mut gdb = Command::new("gdb");
    gdb.args(["-nx", "-batch", "-p", &pid.to_string()]);
    gdb.args(["-ex", "set backtrace past-main on", "-x"]);
    let output = gdb
        .arg(&script)
        .output()
        .map_err(|error| format!("cannot run gdb: {error}"))?;
    let stacks = parse_gdb(&String::from_utf8_lossy(&output.stdout));
    if stacks.is_empty() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(format!("gdb saw no thread: {why}"));
    }
    Ok(stacks)
}

fn parse_gdb(text: &str) -> BTreeMap<u32, Frames> {
    let mut stacks: BTreeMap<u32, Frames> = BTreeMap::new();
    let mut tid = None;
    for line in text.lines() {
        if let Some(number) = line.strip_prefix("T ") {
            tid = number.parse().ok();
        } else if let (Some(tid), Some((kind @ ("F" | "I"), name))) = (tid, line.split_once(' ')) {
            let (name, inlined) = (function(name), kind == "I");
            stacks.entry(tid).or_default().push(Frame { name, inlined });
        }
    }
    stacks
}

/// A blocked thread's own functions, leaf first; none when its stack is not in the file.
fn user_frames(offcpu: &Folded, report: &Report, tid: u32) -> Frames {
    let alone = report.threads.len() == 1;
    let waits = |line: &&Line| line.reason() != "run queue" && (alone || line.is_of(tid));
    let longest = offcpu.0.iter().filter(waits).max_by_key(|line| line.value);
    let Some(line) = longest else {
        return Frames::new();
    };
    // The reason and the thread, which one that is alone has not.
    let owners = if alone { 1 } else { 2 };
    let own = line.frames.iter().skip(owners);
    let user = own.take_while(|frame| !frame.ends_with("_[k]"));
    let mut frames: Frames = user
        .map(|frame| Frame {
            name: function(frame.trim_end_matches("_[i]")),
            inlined: frame.ends_with("_[i]"),
        })
        .collect();
    frames.reverse();
    frames
}

/// A name that both agree on: without parameters, file, module, version, the compiler's marks, and
/// the prefixes by which libc gives one function several names. What has no symbol is `??`.
fn function(frame: &str) -> String {
    if frame.starts_with('<') && frame.ends_with("called>") || frame.starts_with("__restore_rt") {
        return "signal".into();
    }
    let name = frame.split(" (").next().unwrap_or(frame);
    let name = name.split(" [").next().unwrap_or(name);
    let name = name.split('@').next().unwrap_or(name).trim();
    let name = [".cold", ".part.0", ".constprop.0", ".isra.0"]
        .iter()
        .fold(name, |name, mark| name.strip_suffix(mark).unwrap_or(name));
    if name.contains("+0x") || name == "[unmapped]" || name.starts_with("??") {
        return "??".into();
    }
    let name = name.strip_prefix("__GI_").unwrap_or(name);
    name.trim_start_matches('_').to_owned()
}

/// Compares all threads of a process that stands still: by the report, then by gdb.
///
/// # Errors
/// In words, when gdb is missing.
pub fn compare_with_gdb(pid: u32, arguments: &[&str]) -> Result<Agreement, String> {
    let record = Remora::record(&[pid], 1).args(&["--idle"]);
    let (run, report) = record.args(arguments).capture();
    let offcpu = run.folded("offcpu");
    let mut agreement = Agreement::default();
    for (tid, expected) in gdb(pid)? {
        let what = format!("{} {tid}", report.thread(tid).comm);
        agreement.add(&what, &user_frames(&offcpu, &report, tid), &expected);
    }
    Ok(agreement)
}

/// Frames of Python of all threads, as `name:line`, leaf first: by py-spy, which merges them with the
/// native ones as the report does.
///
/// # Errors
/// In words, when py-spy is missing or may not.
pub fn py_spy(pid: u32) -> Result<BTreeMap<u32, Frames>, String> {
    let mut dump = Command::new("py-spy");
    dump.args(["dump", "--native", "--json", "--pid", &pid.to_string()]);
    let output = dump
        .output()
        .map_err(|error| format!("cannot run py-spy: {error}"))?;
    let threads: Vec<SpiedThread> = serde_json::from_slice(&output.stdout).map_err(|error| {
        let why = String::from_utf8_lossy(&output.stderr);
        format!("py-spy gave no stacks: {error}: {why}")
    })?;
    let stacks = threads.into_iter().map(|thread| {
        let own = thread.frames.into_iter().filter(|one| one.module.is_none());
        let python = own.filter(|one| one.line > 0);
        (thread.os_thread_id, python.map(SpiedFrame::into).collect())
    });
    Ok(stacks.collect())
}

/// A thread in py-spy's JSON.
#[derive(Deserialize)]
struct SpiedThread {
    os_thread_id: u32,
    frames: Vec<SpiedFrame>,
}

/// A frame in it; a native one has a module.
#[derive(Deserialize)]
struct SpiedFrame {
    name: String,
    module: Option<String>,
    line: u32,
}

impl From<SpiedFrame> for Frame {
    fn from(frame: SpiedFrame) -> Self {
        Self {
            name: format!("{}:{}", frame.name, frame.line),
            inlined: false,
        }
    }
}

/// Compares the frames of Python of all threads that stand still: by the report, then by py-spy.
///
/// # Errors
/// In words, when py-spy is missing.
pub fn compare_with_py_spy(pid: u32) -> Result<Agreement, String> {
    let (_run, report) = Remora::record(&[pid], 1).capture();
    let mut agreement = Agreement::default();
    for (tid, expected) in py_spy(pid)? {
        let found = frames_in(&report.thread(tid).now.stack).into_iter();
        let found: Frames = found
            .map(|(name, _, line)| Frame {
                name: format!("{name}:{line}"),
                inlined: false,
            })
            .collect();
        agreement.add(&format!("thread {tid}"), &found, &expected);
    }
    Ok(agreement)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_gdb_prints() {
        let text = "[New LWP 12]\nT 12\nF __GI___nanosleep\nI inner.part.0\n\
                    F <signal handler called>\nF ??\nT 11\nF main\n";
        let stacks = parse_gdb(text);
        assert_eq!(on_the_stack(&stacks[&12]), ["nanosleep", "signal", "??"]);
        assert_eq!(stacks[&12][1], frame("inner", true));
        assert_eq!(on_the_stack(&stacks[&11]), ["main"]);
    }

    fn frame(name: &str, inlined: bool) -> Frame {
        let name = name.to_owned();
        Frame { name, inlined }
    }

    #[test]
    fn a_frame_too_many_moves_all_above_it() {
        let frames = |text: &str| {
            let names = text.split(' ');
            names
                .map(|name| frame(name, name == "i"))
                .collect::<Vec<_>>()
        };
        let mut agreement = Agreement::default();
        agreement.add("one", &frames("leaf i a b"), &frames("leaf a b"));
        agreement.add("two", &frames("leaf x a b"), &frames("leaf a b"));
        agreement.add("three", &frames("leaf i"), &frames("leaf i"));
        assert_eq!((agreement.stacks, agreement.same_stacks), (3, 2));
        assert_eq!((agreement.frames, agreement.same_frames), (8, 5));
        assert_eq!(agreement.same_inlined, 1);
    }
}
