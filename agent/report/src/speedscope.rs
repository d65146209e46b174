//! The stacks of `cpu.folded` and `offcpu.folded` in the file format of speedscope (`https://www.speedscope.app`): one
//! profile a thread, the busiest first, with source files and lines where they are known. The sums are those of the folded
//! stacks, for both are made of the same lines. The format: `file-format-schema.json` of the package `speedscope`.

use super::label::{self, Owners};
use super::stacks::{self, Line, Part};
use super::{ReportError, text::clean};
use remora_model::Capture;
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

/// Its name for the schema, which readers tell the format by.
const SCHEMA: &str = "https://www.speedscope.app/file-format-schema.json";

#[derive(Serialize)]
struct File<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    exporter: &'static str,
    name: String,
    #[serde(rename = "activeProfileIndex")]
    active: usize,
    shared: Shared<'a>,
    profiles: Vec<Profile>,
}

#[derive(Serialize)]
struct Shared<'a> {
    frames: Vec<Frame<'a>>,
}

/// A function, or what stands for one.
#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
struct Frame<'a> {
    name: String,
    /// Source file, else the file that the code lies in.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Unit {
    /// CPU samples: one in `1 / freq` seconds of a CPU.
    None,
    Nanoseconds,
}

/// A thread.
#[derive(Serialize)]
struct Profile {
    r#type: &'static str,
    name: String,
    unit: Unit,
    #[serde(rename = "startValue")]
    start: u64,
    #[serde(rename = "endValue")]
    end: u64,
    /// Stacks, outermost frame first, as indices of shared frames.
    samples: Vec<Vec<usize>>,
    weights: Vec<u64>,
}

/// Stacks on the CPU, in samples; `None` where there are none.
pub(crate) fn on_cpu(capture: &Capture) -> Result<Option<Vec<u8>>, ReportError> {
    write(capture, "on CPU", Unit::None, stacks::on_cpu(capture))
}

/// Stacks off the CPU, in nanoseconds; `None` where there are none.
pub(crate) fn off_cpu(capture: &Capture, idle: bool) -> Result<Option<Vec<u8>>, ReportError> {
    let lines = stacks::off_cpu(capture, idle);
    write(capture, "off CPU", Unit::Nanoseconds, lines)
}

fn write<'a>(
    capture: &'a Capture,
    what: &str,
    unit: Unit,
    lines: impl Iterator<Item = Line<'a>>,
) -> Result<Option<Vec<u8>>, ReportError> {
    let mut collected = Collected::default();
    for line in lines {
        collected.add(line);
    }
    if collected.threads.is_empty() {
        return Ok(None);
    }
    let owners = Owners::new(capture);
    let threads = collected.threads.into_iter();
    let named =
        threads.map(|(thread, stacks)| profile(name(capture, &owners, thread), unit, stacks));
    let mut profiles: Vec<_> = named.collect();
    profiles.sort_by_key(|profile| Reverse(profile.end));
    let file = File {
        schema: SCHEMA,
        exporter: "remora",
        name: format!("{} {what}", label::targets(capture)),
        active: 0,
        shared: Shared {
            frames: collected.frames,
        },
        profiles,
    };
    serde_json::to_vec(&file)
        .map(Some)
        .map_err(ReportError::Json)
}

/// Lines by thread, with their frames numbered.
#[derive(Default)]
struct Collected<'a> {
    frames: Vec<Frame<'a>>,
    numbers: HashMap<Frame<'a>, usize>,
    threads: BTreeMap<usize, BTreeMap<Vec<usize>, u64>>,
    total: u64,
}

impl<'a> Collected<'a> {
    /// Adds a line; the sum of all stays within 64 bits, as in the folded stacks.
    fn add(&mut self, line: Line<'a>) {
        let value = line.value.min(u64::MAX - self.total);
        if value == 0 {
            return;
        }
        self.total += value;
        let parts = line.why.into_iter().chain(line.stack);
        let stack = parts.map(|part| self.number(part)).collect();
        let stacks = self.threads.entry(line.thread).or_default();
        *stacks.entry(stack).or_default() += value;
    }

    fn number(&mut self, part: Part<'a>) -> usize {
        let frame = Frame {
            file: part
                .frame
                .and_then(|it| it.file.as_deref().or(it.module.as_deref())),
            line: part.frame.and_then(|it| it.line),
            name: part.name,
        };
        if let Some(number) = self.numbers.get(&frame) {
            return *number;
        }
        let number = self.frames.len();
        self.frames.push(frame.clone());
        self.numbers.insert(frame, number);
        number
    }
}

/// `worker-4712`; of several processes with the process in front.
fn name(capture: &Capture, owners: &Owners<'_>, thread: usize) -> String {
    let Some(it) = capture.threads.get(thread) else {
        return "[unknown thread]".to_owned();
    };
    let mut name = owners.process_frames(it.pid);
    name.push(label::thread_name(it));
    clean(&name.join(" ")).into_owned()
}

fn profile(name: String, unit: Unit, stacks: BTreeMap<Vec<usize>, u64>) -> Profile {
    let (samples, weights): (Vec<_>, Vec<u64>) = stacks.into_iter().unzip();
    Profile {
        r#type: "sampled",
        name,
        unit,
        start: 0,
        end: weights.iter().sum(),
        samples,
        weights,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folded::Folded;
    use remora_model::Reason;
    use remora_model::fixture::{Builder, ms};
    use serde_json::Value;

    fn file(bytes: Result<Option<Vec<u8>>, ReportError>) -> Value {
        serde_json::from_slice(&bytes.unwrap().unwrap()).unwrap()
    }

    fn sum(file: &Value) -> u64 {
        let profiles = file["profiles"].as_array().unwrap();
        let weights = profiles
            .iter()
            .flat_map(|it| it["weights"].as_array().unwrap());
        weights.map(|weight| weight.as_u64().unwrap()).sum()
    }

    fn service() -> Capture {
        let mut builder = Builder::new(7, "many");
        let worker = builder.thread(7, 8, "worker");
        builder.samples(0, &["main", "work"], 3);
        builder.samples(worker, &["main", "k:vfs_read"], 4);
        builder.wait(0, Reason::Disk, &["main", "k:fsync"], ms(5));
        builder.wait(worker, Reason::Epoll, &["main", "epoll_wait"], ms(90));
        builder.0.threads[0].run_queue.after_wake = ms(6);
        builder.finish()
    }

    #[test]
    fn a_thread_is_a_profile_the_busiest_first() {
        insta::assert_snapshot!(serde_json::to_string_pretty(&file(on_cpu(&service()))).unwrap());
    }

    #[test]
    fn a_wait_begins_with_its_reason() {
        insta::assert_snapshot!(
            serde_json::to_string_pretty(&file(off_cpu(&service(), false))).unwrap()
        );
    }

    #[test]
    fn sums_are_those_of_the_folded_stacks() {
        let capture = service();
        assert_eq!(
            sum(&file(on_cpu(&capture))),
            Folded::on_cpu(&capture).total()
        );
        for idle in [false, true] {
            let folded = Folded::off_cpu(&capture, idle);
            assert_eq!(sum(&file(off_cpu(&capture, idle))), folded.total());
        }
    }

    #[test]
    fn every_frame_of_a_stack_is_there_and_ends_are_sums() {
        let file = file(off_cpu(&service(), true));
        let frames = file["shared"]["frames"].as_array().unwrap().len() as u64;
        for profile in file["profiles"].as_array().unwrap() {
            let samples = profile["samples"].as_array().unwrap();
            let weights = profile["weights"].as_array().unwrap();
            assert_eq!(samples.len(), weights.len());
            let sum: u64 = weights.iter().filter_map(Value::as_u64).sum();
            assert_eq!(profile["endValue"].as_u64(), Some(sum));
            for frame in samples.iter().flat_map(|it| it.as_array().unwrap()) {
                assert!(frame.as_u64().unwrap() < frames);
            }
        }
    }

    #[test]
    fn nothing_makes_no_file() {
        let capture = Builder::new(7, "solo").finish();
        assert!(on_cpu(&capture).unwrap().is_none());
        assert!(off_cpu(&capture, true).unwrap().is_none());
    }
}
