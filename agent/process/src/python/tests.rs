//! Threads merged with what gdb says of the native stacks of the same process.

use super::code::Resolver;
use super::installed::{self, Installed};
use super::specimen::Specimen;
use super::{MergedFrame, PythonThread, find, merge, threads};
use crate::memory::Memory;
use std::collections::BTreeMap;
use std::process::Command;

/// The function names of each thread of a process, leaf first, by kernel thread id.
fn native_stacks(pid: u32) -> Option<BTreeMap<u64, Vec<String>>> {
    let output = Command::new("gdb")
        .args(["-nx", "-batch", "-ex", "set print frame-arguments none"])
        .args(["-ex", "thread apply all bt", "-p", &pid.to_string()])
        .output();
    let Some(output) = output.ok().filter(|output| output.status.success()) else {
        remora_testing::skip("gdb is not installed or may not look into a process");
        return None;
    };
    let mut stacks = BTreeMap::new();
    let mut thread = 0;
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        if let Some((_, rest)) = line
            .strip_prefix("Thread ")
            .and_then(|_| line.split_once("LWP "))
        {
            let digits = rest.split(|byte: char| !byte.is_ascii_digit()).next();
            thread = digits.unwrap().parse().unwrap();
        } else if let Some(frame) = line.strip_prefix('#') {
            let frame = frame
                .trim_start_matches(|byte: char| byte.is_ascii_digit())
                .trim_start();
            let function = frame
                .split_once(" in ")
                .map_or(frame, |(_, function)| function);
            let name = function.split(' ').next().unwrap().to_owned();
            stacks.entry(thread).or_insert_with(Vec::new).push(name);
        }
    }
    Some(stacks)
}

/// A thread's merged stack in words, leaf first: native names, and Python names behind `py:`.
fn merged(
    resolver: &mut Resolver,
    memory: &impl Memory,
    native: &[String],
    thread: &PythonThread,
) -> Vec<String> {
    let places: Vec<u64> = (0..native.len() as u64).collect();
    let is_evaluation = |place: u64| native[place as usize] == "_PyEval_EvalFrameDefault";
    let merged = merge(&places, is_evaluation, &thread.frames);
    assert!(!merged.is_partial(), "{native:?} {merged:?}");
    let names = merged.frames.iter().map(|frame| match frame {
        MergedFrame::Native(place) => native[*place as usize].clone(),
        MergedFrame::Python(frame) => {
            format!("py:{}", resolver.resolve(memory, frame).unwrap().name)
        }
    });
    names.collect()
}

/// The native functions between two Python frames.
fn between<'a>(stack: &'a [String], callee: &str, caller: &str) -> &'a [String] {
    let place = |name: &str| {
        stack
            .iter()
            .position(|frame| frame.strip_prefix("py:") == Some(name))
    };
    &stack[place(callee).unwrap() + 1..place(caller).unwrap()]
}

fn check(installed: &Installed) {
    let mut specimen = Specimen::start(installed, include_str!("threads/program.py"));
    let lines = std::iter::repeat_with(|| specimen.line()).take_while(|line| line != "end");
    let mut kernel_ids = BTreeMap::new();
    for line in lines {
        let mut fields = line.split(' ');
        let mut number = || fields.next().unwrap().parse::<u64>().unwrap();
        kernel_ids.insert(number(), number());
    }
    let Some(stacks) = native_stacks(specimen.pid()) else {
        return;
    };
    let memory = specimen.memory();
    let python = find(&specimen.snapshot(), &memory).unwrap();
    let mut resolver = Resolver::new(python.layout);
    let (mut callbacks, mut nameless) = (0, 0);
    for thread in threads(&python, &memory).threads {
        let main = u64::from(specimen.pid());
        let native = &stacks[kernel_ids.get(&thread.thread_id).unwrap_or(&main)];
        let stack = merged(&mut resolver, &memory, native, &thread);
        // A stripped interpreter names none of its own functions.
        let has_names = !stack.iter().any(|frame| frame == "??");
        nameless += usize::from(!has_names);
        if has_names && stack.iter().any(|frame| frame == "py:callback") {
            let sort = between(&stack, "key", "callback");
            assert!(
                sort.iter().any(|name| name.contains("list_sort")),
                "{stack:?}"
            );
            let reduce = between(&stack, "<lambda>", "key");
            assert!(
                reduce.iter().any(|name| name.contains("reduce")),
                "{stack:?}"
            );
            callbacks += 1;
        }
        if installed.version.is_from(11) && stack.iter().any(|frame| frame == "py:deep") {
            let one_loop = stack.iter().filter(|frame| *frame == "py:deep").count();
            assert_eq!((one_loop, between(&stack, "park", "deep").len()), (301, 0));
        }
    }
    assert!(callbacks == 1 || nameless > 0);
}

#[test]
fn native_and_python_frames_of_a_process_fit() {
    for installed in installed::all() {
        check(&installed);
    }
}
