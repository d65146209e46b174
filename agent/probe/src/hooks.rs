//! Attaches one program each, and turns a refusal into the kernel's own words.

use super::ProbeError;
use aya::{
    Btf, Ebpf,
    programs::{BtfTracePoint, FEntry, FExit, Iter, KProbe, Program, ProgramError, ProgramFd},
};
use std::{
    error::Error,
    os::fd::{AsFd, OwnedFd},
};

/// Finds a program of the expected kind.
pub(super) fn program<'a, P>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut P, ProbeError>
where
    &'a mut P: TryFrom<&'a mut Program>,
{
    ebpf.program_mut(name)
        .and_then(|program| program.try_into().ok())
        .ok_or(ProbeError::Mismatch(name))
}

/// The descriptor of a loaded program, for whoever attaches it without the object.
pub(super) fn program_fd(
    fd: Result<&ProgramFd, ProgramError>,
    hook: &str,
) -> Result<OwnedFd, ProbeError> {
    let fd = fd.map_err(|error| refused(hook.to_owned(), &error))?;
    let copied = fd.as_fd().try_clone_to_owned();
    copied.map_err(|error| ProbeError::Hook {
        hook: hook.to_owned(),
        why: error.to_string(),
    })
}

/// Loads and attaches a program to a tracepoint with BTF types.
pub(super) fn tracepoint(
    ebpf: &mut Ebpf,
    btf: &Btf,
    name: &'static str,
    tracepoint: &str,
) -> Result<(), ProbeError> {
    let program: &mut BtfTracePoint = program(ebpf, name)?;
    let hook = || format!("tp_btf/{tracepoint}");
    program
        .load(tracepoint, btf)
        .and_then(|()| program.attach())
        .map(drop)
        .map_err(|error| refused(hook(), &error))
}

/// Loads a program for a tracepoint with BTF types, to be attached when it is wanted.
pub(super) fn tracepoint_ready(
    ebpf: &mut Ebpf,
    btf: &Btf,
    name: &'static str,
    tracepoint: &str,
) -> Result<(), ProbeError> {
    let program: &mut BtfTracePoint = program(ebpf, name)?;
    program
        .load(tracepoint, btf)
        .map_err(|error| refused(format!("tp_btf/{tracepoint}"), &error))
}

/// Loads and attaches a program to the entry of a kernel function that has BTF.
pub(super) fn fentry(
    ebpf: &mut Ebpf,
    btf: &Btf,
    name: &'static str,
    function: &str,
) -> Result<(), ProbeError> {
    let program: &mut FEntry = program(ebpf, name)?;
    program
        .load(function, btf)
        .and_then(|()| program.attach())
        .map(drop)
        .map_err(|error| refused(format!("fentry/{function}"), &error))
}

/// Loads and attaches a program to the return of a kernel function that has BTF.
pub(super) fn fexit(
    ebpf: &mut Ebpf,
    btf: &Btf,
    name: &'static str,
    function: &str,
) -> Result<(), ProbeError> {
    let program: &mut FExit = program(ebpf, name)?;
    program
        .load(function, btf)
        .and_then(|()| program.attach())
        .map(drop)
        .map_err(|error| refused(format!("fexit/{function}"), &error))
}

/// Loads a program and attaches it to a kernel symbol, at its entry or return as the program says.
pub(super) fn kprobe(ebpf: &mut Ebpf, name: &'static str, symbol: &str) -> Result<(), ProbeError> {
    kprobes(ebpf, name, &[symbol])
}

/// The same, to several symbols.
pub(super) fn kprobes(
    ebpf: &mut Ebpf,
    name: &'static str,
    symbols: &[&str],
) -> Result<(), ProbeError> {
    let program: &mut KProbe = program(ebpf, name)?;
    let first = symbols.first().unwrap_or(&name);
    program
        .load()
        .map_err(|error| refused(format!("kprobe/{first}"), &error))?;
    for symbol in symbols {
        program
            .attach(*symbol, 0)
            .map_err(|error| refused(format!("kprobe/{symbol}"), &error))?;
    }
    Ok(())
}

/// Loads an iterator over tasks; it runs when asked to.
pub(super) fn task_iterator(
    ebpf: &mut Ebpf,
    btf: &Btf,
    name: &'static str,
) -> Result<(), ProbeError> {
    iterator(ebpf, btf, name, "task")
}

/// Loads an iterator over the descriptors of tasks; it runs when asked to.
pub(super) fn file_iterator(
    ebpf: &mut Ebpf,
    btf: &Btf,
    name: &'static str,
) -> Result<(), ProbeError> {
    iterator(ebpf, btf, name, "task_file")
}

fn iterator(ebpf: &mut Ebpf, btf: &Btf, name: &'static str, over: &str) -> Result<(), ProbeError> {
    let program: &mut Iter = program(ebpf, name)?;
    program
        .load(over, btf)
        .map_err(|error| refused(format!("iter/{over} ({name})"), &error))
}

/// Loads and attaches the programs on the tracepoints of page faults: both or none.
pub(super) fn fault_tracepoints(ebpf: &mut Ebpf, btf: &Btf) -> Result<(), ProbeError> {
    tracepoint(ebpf, btf, "fault_user", "page_fault_user")?;
    tracepoint(ebpf, btf, "fault_kernel", "page_fault_kernel").inspect_err(|_| {
        // Half of the faults would look like all of them.
        if let Ok(program) = program::<BtfTracePoint>(ebpf, "fault_user") {
            let _gone = program.unload();
        }
    })
}

pub(super) fn refused(hook: String, error: &ProgramError) -> ProbeError {
    ProbeError::Hook {
        hook,
        why: refusal(error),
    }
}

/// The kernel's own words: call, error, and the verifier's last line when it has one.
pub(super) fn refusal(error: &ProgramError) -> String {
    match error {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => {
            let log = verifier_log.to_string();
            let last = log
                .lines()
                .find(|line| line.trim().starts_with("Reason:"))
                .or_else(|| log.lines().rev().find(|line| is_complaint(line)))
                .unwrap_or("");
            if last.is_empty() {
                format!("BPF_PROG_LOAD: {io_error}")
            } else {
                format!("BPF_PROG_LOAD: {io_error}: {}", last.trim())
            }
        }
        other => innermost(other),
    }
}

/// The verifier ends with statistics; the complaint stands before them. (From 7.0 on it explains
/// itself in a paragraph, with a line that begins `Reason:`.)
fn is_complaint(line: &str) -> bool {
    let line = line.trim();
    let statistics = ["processed ", "verification time", "stack depth", "subprog "];
    !line.is_empty() && !statistics.iter().any(|words| line.starts_with(words))
}

/// An error and its causes, each once, on one line.
pub(super) fn innermost(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !words.contains(&more) {
            words = format!("{words}: {more}");
        }
        cause = error.source();
    }
    words.replace('\n', " ")
}
