//! Interpreters that a program of its own holds, as uwsgi and databases do: linked in, or as a
//! library.

use super::*;
use crate::python::code::Resolver;
use crate::python::installed::{self, Installed};
use crate::python::specimen::Specimen;
use crate::python::threads;
use std::path::{Path, PathBuf};
use std::process::Command;

const PROGRAM: &str = r#"
#include <Python.h>
int main(void)
{
    Py_Initialize();
    return PyRun_SimpleString(
        "import sys\n"
        "def serve():\n"
        "    print('ready', flush=True); sys.stdin.readline()\n"
        "serve()\n");
}
"#;

/// Where the interpreter's library for embedding is, and the folder that may have it as an archive.
fn folders(installed: &Installed) -> [PathBuf; 2] {
    let ask = "import sysconfig as s; print(*s.get_config_vars('LIBDIR', 'LIBPL'), sep='\\n')";
    let output = Command::new(&installed.program)
        .args(["-c", ask])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines = text.lines().map(PathBuf::from);
    [lines.next().unwrap(), lines.next().unwrap()]
}

/// Builds the program with some flags; whether that went well.
fn build(installed: &Installed, folder: &Path, name: &str, flags: &[String]) -> Option<PathBuf> {
    let source = folder.join("embedded.c");
    std::fs::write(&source, PROGRAM).unwrap();
    let program = folder.join(name);
    let mut command = Command::new("gcc");
    command
        .arg("-o")
        .arg(&program)
        .arg(&source)
        .arg("-I")
        .arg(&installed.include);
    command.args(flags).stderr(std::process::Stdio::null());
    let built = command.status().is_ok_and(|status| status.success());
    built.then_some(program)
}

fn check(installed: &Installed, program: &Path) -> Python {
    let mut specimen = Specimen::spawn(&mut Command::new(program));
    assert_eq!(specimen.line(), "ready");
    let memory = specimen.memory();
    let python = find(&specimen.snapshot(), &memory).unwrap();
    assert_eq!(python.version, installed.version);
    let mut resolver = Resolver::new(python.layout);
    let frames = threads(&python, &memory).threads.remove(0).frames;
    let names = frames
        .iter()
        .map(|frame| resolver.resolve(&memory, frame).unwrap().name.clone());
    let names: Vec<_> = names.collect();
    assert_eq!(
        names.iter().map(|name| &**name).collect::<Vec<_>>(),
        ["serve", "<module>"]
    );
    assert!(python.evaluation_complete);
    python
}

#[test]
fn an_interpreter_in_a_library_of_a_program_is_found() {
    let mut built = 0;
    for installed in installed::all() {
        let [libraries, _] = folders(&installed);
        let library = format!("-lpython3.{}", installed.version.minor);
        let search = format!("-L{}", libraries.display());
        let run = format!("-Wl,-rpath,{}", libraries.display());
        let folder = tempfile::tempdir().unwrap();
        let Some(program) = build(&installed, folder.path(), "server", &[search, library, run])
        else {
            remora_testing::skip(format_args!(
                "{} cannot be embedded here",
                installed.version
            ));
            continue;
        };
        let python = check(&installed, &program);
        assert_ne!(python.module.path, program);
        built += 1;
    }
    eprintln!("{built} programs with a library");
}

#[test]
fn an_interpreter_that_is_linked_into_a_program_is_found() {
    let mut built = 0;
    for installed in installed::all() {
        let [libraries, archives] = folders(&installed);
        let archive = format!("-l:libpython3.{}.a", installed.version.minor);
        let search = [&libraries, &archives].map(|folder| format!("-L{}", folder.display()));
        let others = "-no-pie -lm -lz -lexpat -ldl -lpthread -lutil"
            .split(' ')
            .map(str::to_owned);
        let flags: Vec<String> = search.into_iter().chain([archive]).chain(others).collect();
        let exporting = [&flags[..], &["-Wl,-E".to_owned()]].concat();
        let folder = tempfile::tempdir().unwrap();
        let built_both = build(&installed, folder.path(), "private", &flags).zip(build(
            &installed,
            folder.path(),
            "server",
            &exporting,
        ));
        let Some((private, server)) = built_both else {
            remora_testing::skip(format_args!(
                "{} cannot be linked in here",
                installed.version
            ));
            continue;
        };
        check(&installed, &private);
        let known = check(&installed, &server);
        assert!(
            Command::new("strip")
                .arg(&server)
                .status()
                .unwrap()
                .success()
        );
        let found = check(&installed, &server);
        // The program lies at fixed addresses; what gcc split off is found to the byte, unless it
        // is but a call of `abort`.
        let returns = |code: &&Range<u64>| code.end - code.start > 64;
        let known: Vec<_> = known.evaluation.iter().filter(returns).collect();
        assert_eq!(found.evaluation.iter().collect::<Vec<_>>(), known);
        built += 1;
    }
    eprintln!("{built} programs with an archive");
}
