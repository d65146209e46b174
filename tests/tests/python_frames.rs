//! Frames of Python: what the report shows is what the interpreter itself says, name by name, file
//! by file and line by line, in each version that is served.

use remora_tests::folded::Line;
use remora_tests::gate::{privileged, skip};
use remora_tests::python;
use remora_tests::python_frames::{PythonFrame, folded_frame, frames_in};
use remora_tests::remora::{Remora, Run};
use remora_tests::report::Report;
use remora_tests::specimen::{Specimen, Start};
use remora_tests::tolerance::{GIL_SAMPLES, PYTHON_SAMPLES_EXACT, STACKS_COMPLETE_PCT, TURN};
use std::path::PathBuf;
use std::time::Duration;

/// Those that the agent serves.
const VERSIONS: [&str; 6] = ["3.8", "3.9", "3.10", "3.11", "3.12", "3.13"];
/// Behind the ready line: the threads have come to where they stay.
const SETTLED: Duration = Duration::from_secs(1);

/// A program in each interpreter of this machine, watched in one capture.
struct Watched {
    specimens: Vec<(PathBuf, Specimen)>,
    run: Run,
    report: Report,
}

impl Watched {
    /// `seconds` of it, a while after all of them are ready.
    fn capture(script: &str, mode: &str, seconds: u32, arguments: &[&str]) -> Self {
        let script = python::specimen(script);
        let script = script.to_str().expect("a path of this workspace");
        let start = |interpreter: PathBuf| {
            // Nice, because a dozen of programs that spin leave nothing to the agent otherwise.
            let program = Start::program(&interpreter).under(&["nice", "-n", "19"]);
            (interpreter, program.argument(script).argument(mode).start())
        };
        let found = python::interpreters();
        for version in VERSIONS {
            let name = format!("python{version}");
            if !found.iter().any(|path| path.ends_with(&name)) {
                skip(&format!("{name} is not installed"));
            }
        }
        assert!(!found.is_empty(), "no interpreter at all");
        let specimens: Vec<_> = found.into_iter().map(start).collect();
        std::thread::sleep(SETTLED);
        let pids: Vec<u32> = specimens.iter().map(|(_, one)| one.pid()).collect();
        let (run, report) = Remora::record(&pids, seconds).args(arguments).capture();
        Self {
            specimens,
            run,
            report,
        }
    }

    /// Checks the program of each interpreter; what fails is said together, by version.
    fn check(&self, check: impl Fn(&Specimen) -> Result<(), String>) {
        let failures: Vec<String> = self
            .specimens
            .iter()
            .filter_map(|(path, one)| Some(format!("{}: {}", path.display(), check(one).err()?)))
            .collect();
        assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    }

    /// Panics when less than 99 % of the stacks are whole. Before 3.11 each call of Python was one of
    /// C too, several frames each: 300 of them are cut by the limit, and it says so.
    fn assert_complete(&self) {
        let stacks = &self.report.stacks;
        let cut = stacks.incomplete.get("truncated").copied();
        let cut = 100.0 * cut.unwrap_or_default() as f64 / stacks.taken as f64;
        let share = self.report.whole_pct() + cut;
        assert!(share >= STACKS_COMPLETE_PCT, "{stacks:#?}");
    }
}

/// Compares the stack of one blocked thread with what the interpreter said of it.
fn check_now(report: &Report, specimen: &Specimen, name: &str) -> Result<(), String> {
    let found = frames_in(&report.thread(specimen.tid(name)).now.stack);
    let expected = &specimen.ready().frames[name];
    let first = found
        .iter()
        .zip(expected)
        .position(|(one, other)| one != other);
    if found == *expected {
        return Ok(());
    }
    let at = first.unwrap_or_else(|| found.len().min(expected.len()));
    Err(format!(
        "thread {name}: {} frames, expected {}; the first that differs is {:?}, expected {:?}, all {:?}",
        found.len(),
        expected.len(),
        found.get(at),
        expected.get(at),
        shown(&found)
    ))
}

fn shown(frames: &[PythonFrame]) -> Vec<String> {
    let text = frames
        .iter()
        .map(|(name, _, line)| format!("{name}:{line}"));
    text.take(30).collect()
}

#[test]
fn blocked_threads() {
    let Some(_turn) = privileged() else { return };
    let watched = Watched::capture("nesting.py", "wait", 1, &[]);
    watched.check(|specimen| {
        let names = specimen.ready().frames.keys();
        let wrong: Vec<String> = names
            .filter_map(|name| check_now(&watched.report, specimen, name).err())
            .collect();
        if !wrong.is_empty() {
            return Err(wrong.join("\n"));
        }
        check_callbacks(&watched.report.thread(specimen.tid("callbacks")).now.stack)
    });
    watched.assert_complete();
}

/// Between callbacks stands the C that calls them back, and no loop of the interpreter.
fn check_callbacks(leaf_first: &[String]) -> Result<(), String> {
    let starts = |frame: &&String| frame.starts_with("_PyEval_EvalFrameDefault");
    let place = |name: &str| {
        let frame = format!("{name} (");
        leaf_first.iter().position(|one| one.contains(&frame))
    };
    let places: Vec<usize> = ["by_key", "fold", "mapped"]
        .into_iter()
        .filter_map(place)
        .collect();
    let apart = places.windows(2).all(|pair| pair[0] > pair[1] + 1);
    if places.len() != 3 || !apart || leaf_first.iter().any(|frame| starts(&frame)) {
        return Err(format!("callbacks and C are not in turn: {leaf_first:#?}"));
    }
    Ok(())
}

#[test]
fn threads_on_the_cpu() {
    let Some(_turn) = privileged() else { return };
    let watched = Watched::capture("nesting.py", "burn", 6, &["--freq", "499"]);
    let cpu = watched.run.folded("cpu");
    watched.check(|specimen| {
        let mut wrong = Vec::new();
        for (name, leaf_first) in &specimen.ready().frames {
            let tid = specimen.tid(name);
            let truth: Vec<(&str, &str)> = leaf_first.iter().rev().map(short).collect();
            let exact = |line: &Line| python_of(line).strip_suffix(&SPINNING) == Some(&truth[..]);
            let share = cpu.share(|line| line.is_of(tid), exact);
            if share < PYTHON_SAMPLES_EXACT {
                let top = cpu.top(|line| line.is_of(tid));
                wrong.push(format!(
                    "thread {name}: {share:.3} of {truth:?}; found {top}"
                ));
            }
        }
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(wrong.join("\n"))
        }
    });
    watched.assert_complete();
}

/// What a leaf does on the CPU.
const SPINNING: [(&str, &str); 1] = [("stay", "nesting.py")];

/// The frame as a line of folded stacks has it.
fn short((name, file, _): &PythonFrame) -> (&str, &str) {
    (name, file.rsplit('/').next().unwrap_or(file))
}

/// The frames of Python of a sample, root first.
fn python_of(line: &Line) -> Vec<(&str, &str)> {
    line.frames
        .iter()
        .filter_map(|frame| folded_frame(frame))
        .collect()
}

#[test]
fn the_interpreter_lock() {
    let Some(_turn) = privileged() else { return };
    let watched = Watched::capture("gil.py", "", 2, &[]);
    watched.check(|specimen| {
        let thread = |name: &str| watched.report.thread(specimen.tid(name));
        let now = |name: &str| thread(name).now.gil.as_deref();
        let found = (now("waiter"), now("sleeper"));
        if found != (Some("waiting"), Some("not_held")) {
            return Err(format!("waiter and sleeper: {found:?}"));
        }
        let Some(gil) = &thread("holder").gil else {
            return Err("the holder has no account".into());
        };
        let samples = gil.held_samples + gil.not_held_samples;
        let share = gil.held_samples as f64 / samples.max(1) as f64;
        if share < 1.0 - GIL_SAMPLES {
            return Err(format!("held in {share:.3} of {samples} samples"));
        }
        Ok(())
    });
}

/// Equal native stacks are not equal Python stacks, and a thread has a state in each interpreter that
/// it has served.
#[test]
fn stacks_that_differ_in_python_alone() {
    let Some(_turn) = privileged() else { return };
    let watched = Watched::capture("turns.py", "", 3, &[]);
    let (cpu, offcpu) = (watched.run.folded("cpu"), watched.run.folded("offcpu"));
    watched.check(|specimen| {
        let napper = specimen.tid("napper");
        let asleep = |line: &Line| line.is_of(napper) && line.reason() == "sleep";
        let share = |name| offcpu.share(asleep, |line| line.has(name));
        let (day, night) = (
            share("by_day (turns.py)_[p]"),
            share("by_night (turns.py)_[p]"),
        );
        if day.min(night) < TURN {
            return Err(format!("two turns of a sleeper: {day:.3}, {night:.3}"));
        }
        let guest = specimen.tid("guest");
        let share = cpu.share(
            |line| line.is_of(guest),
            |line| line.has("guest (turns.py)_[p]"),
        );
        if share < PYTHON_SAMPLES_EXACT {
            let top = cpu.top(|line| line.is_of(guest));
            return Err(format!("{share:.3} of the guest's samples; found {top}"));
        }
        let gil = watched.report.thread(guest).gil.as_ref();
        match gil.map(|gil| gil.held_samples) {
            Some(1..) => Ok(()),
            _ => Err(format!("the guest never held the lock: {gil:?}")),
        }
    });
}
