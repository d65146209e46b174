//! The `targets` of `report.json`: the processes, and where they stand in the process tree.

use super::descriptors;
use remora_model::{self as model, Capture};
use serde::Serialize;

/// A target process.
#[derive(Serialize)]
pub(super) struct Target<'a> {
    pid: u32,
    comm: &'a str,
    exe: &'a str,
    threads: u32,
    exited: bool,
    /// Process that forked it during the capture.
    parent_pid: Option<u32>,
    /// It is no target: why it was looked at all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    related: Option<&'a str>,
    /// It was not asked for: it is a child of this process, which has no work of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    followed_from_pid: Option<u32>,
    /// `null` for a process that was not there when the capture began.
    family: Option<Family<'a>>,
    /// `null` where they were not looked at.
    descriptors: Option<descriptors::Descriptors<'a>>,
    /// Its Python interpreter.
    python: Option<Python<'a>>,
}

/// Where a target stood in the process tree when the capture began.
#[derive(Serialize)]
struct Family<'a> {
    age_s: f64,
    /// Its parent first.
    ancestors: Vec<Relative<'a>>,
    children: Vec<Relative<'a>>,
    children_left_out: usize,
}

/// A parent or child.
#[derive(Serialize)]
struct Relative<'a> {
    pid: u32,
    comm: &'a str,
    age_s: f64,
}

/// A Python interpreter at the end of the capture.
#[derive(Serialize)]
struct Python<'a> {
    version: &'a str,
    free_threaded: bool,
    threads: u32,
    /// `null`: nobody held it, or it could not be told.
    gil_holder_tid: Option<u32>,
    torn: bool,
}

/// The processes, by pid.
pub(super) fn targets(capture: &Capture) -> Vec<Target<'_>> {
    let processes = capture.processes.iter();
    processes
        .map(|process| Target {
            pid: process.pid,
            comm: &process.comm,
            exe: &process.exe,
            threads: process.threads,
            exited: process.exited,
            parent_pid: process.parent,
            related: process.related.as_deref(),
            followed_from_pid: process.followed,
            family: family(capture, process.pid),
            descriptors: descriptors::of(capture, process.pid),
            python: process.python.as_ref().map(|python| Python {
                version: &python.version,
                free_threaded: python.free_threaded,
                threads: python.threads,
                gil_holder_tid: python.gil_holder_tid,
                torn: python.torn,
            }),
        })
        .collect()
}

fn family(capture: &Capture, pid: u32) -> Option<Family<'_>> {
    let family = capture.families.iter().find(|family| family.pid == pid)?;
    Some(Family {
        age_s: family.age.as_secs_f64(),
        ancestors: relatives(&family.ancestors),
        children: relatives(&family.children),
        children_left_out: family.children_left_out,
    })
}

fn relatives(list: &[model::Relative]) -> Vec<Relative<'_>> {
    let relatives = list.iter();
    relatives
        .map(|relative| Relative {
            pid: relative.pid,
            comm: &relative.comm,
            age_s: relative.age.as_secs_f64(),
        })
        .collect()
}
