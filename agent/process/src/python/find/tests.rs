//! Every installed interpreter is found in a running process of its own.

use super::*;
use crate::maps::Content;
use crate::memory::Memory;
use crate::python::installed;
use crate::python::specimen::Specimen;
use std::path::Path;
use std::process::Command;

const WAIT: &str = "print('ready', flush=True); input()";

#[test]
fn every_installed_version_is_found() {
    for installed in installed::all() {
        let mut specimen = Specimen::start(&installed, WAIT);
        assert_eq!(specimen.line(), "ready");
        let memory = specimen.memory();
        let python = find(&specimen.snapshot(), &memory);
        let python = python.unwrap_or_else(|error| panic!("{}: {error}", installed.version));
        assert_eq!(python.version, installed.version);
        assert!(!python.evaluation.is_empty());
        assert!(!python.layout.free_threaded);
        let runtime = python.runtime();
        let head = u64::from(python.interpreter.interpreters_head);
        assert_ne!(memory.u64(runtime + head).unwrap(), 0);
        eprintln!(
            "{}: {} at {runtime:#x}, loop {:x?} (complete: {})",
            python.version, python.module.name, python.evaluation, python.evaluation_complete
        );
    }
}

/// A library's copy without symbols other than those it exports, under a name that says nothing.
fn stripped(library: &Path, folder: &Path) -> std::path::PathBuf {
    let copy = folder.join("engine.so");
    let status = Command::new("strip")
        .arg("-o")
        .arg(&copy)
        .arg(library)
        .status();
    assert!(status.unwrap().success());
    copy
}

#[test]
fn a_stripped_library_under_another_name_is_found() {
    for installed in installed::all() {
        let mut plain = Specimen::start(&installed, WAIT);
        assert_eq!(plain.line(), "ready");
        let python = find(&plain.snapshot(), &plain.memory()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let copy = stripped(&python.module.path, folder.path());
        let mut command = Command::new(&installed.program);
        if python.module.path.extension().is_some_and(|end| end == "0") {
            // What the program needs has the name that the copy has inside.
            command.env("LD_PRELOAD", &copy);
        } else {
            command = Command::new(&copy);
        }
        let mut specimen = Specimen::spawn(command.args(["-c", WAIT]));
        assert_eq!(specimen.line(), "ready");
        let found = find(&specimen.snapshot(), &specimen.memory()).unwrap();
        assert_eq!(
            (found.version, &found.module.path),
            (installed.version, &copy)
        );
        assert!(found.evaluation_complete);
        let shape = |python: &Python| {
            let base = python.evaluation[0].start;
            let parts = python.evaluation.iter();
            parts
                .map(|part| (part.start.wrapping_sub(base), part.end - part.start))
                .collect()
        };
        let (all, known): (Vec<_>, Vec<_>) = (shape(&found), shape(&python));
        assert_eq!(all[0], known[0]);
        assert!(all.iter().all(|part| known.contains(part)), "{found:x?}");
    }
}

#[test]
fn this_test_is_no_python() {
    let files = &mut crate::maps::Files::default();
    let own = Snapshot::read(std::process::id(), 0, files).unwrap();
    let memory = crate::memory::ProcessMemory::open(std::process::id()).unwrap();
    let mut finder = Finder::default();
    let found = finder.find(&own, &memory);
    assert_eq!(found.unwrap_err(), NotFound::NoInterpreter);
    assert!(!finder.files.is_empty());
    // libc says how large its threads are, for machines where that matters.
    let size = pthread_size(&finder.candidates(&own), &memory);
    assert!(
        size.is_none_or(|size| (512..16_384).contains(&size)),
        "{size:?}"
    );
}

/// A library with an evaluation loop that gcc has split; `None` without a compiler.
fn split_library(folder: &Path) -> Option<std::path::PathBuf> {
    let library = folder.join("libloop.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/python/find/loop.c");
    let mut command = Command::new("gcc");
    command
        .args(["-O2", "-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(source);
    if command.status().is_ok_and(|status| status.success()) {
        return Some(library);
    }
    remora_testing::skip("no gcc");
    None
}

#[test]
fn the_split_part_of_a_loop_is_found_without_its_symbol() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = split_library(folder.path()) else {
        return;
    };
    let known = Program::read(&Module::open(&library).unwrap()).unwrap();
    let copy = stripped(&library, folder.path());
    let found = Program::read(&Module::open(&copy).unwrap()).unwrap();
    assert!(known.evaluation_complete && found.evaluation_complete);
    assert_eq!(
        (found.runtime, found.version_at),
        (known.runtime, known.version_at)
    );
    let starts = |program: &Program| {
        let mut starts: Vec<u64> = program.evaluation.iter().map(|part| part.start).collect();
        starts.sort_unstable();
        starts
    };
    assert_eq!(starts(&known).len(), 2, "gcc has split nothing: {known:?}");
    assert_eq!(starts(&found), starts(&known));
}

#[test]
fn damaged_files_are_survived() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = split_library(folder.path()) else {
        return;
    };
    let image = std::fs::read(stripped(&library, folder.path())).unwrap();
    let mut random = 1_u64;
    let mut next = |below: usize| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (random >> 33) as usize % below
    };
    let mut read = 0;
    for _ in 0..3000 {
        let mut image = image.clone();
        for _ in 0..=next(6) {
            // Headers at both ends are damaged more often than the rest.
            let at = [next(1024), image.len() - 1 - next(2048), next(image.len())][next(3)];
            image[at] = next(256) as u8;
        }
        image.truncate(image.len() - next(3) * next(4096));
        let content = Content::Bytes(image.into());
        let layout = crate::maps::Layout::read(&content);
        let module = Module {
            content,
            layout,
            ..Module::open(&library).unwrap()
        };
        read += usize::from(Program::read(&module).is_some());
    }
    assert!((500..3000).contains(&read), "{read} of 3000 were read");
}
