//! What fills a host, and what is looked at: `specimens/hostile*`.

use super::group::Group;
use super::mount::DeadMount;
use crate::compile::{build_with, folder};
use crate::python;
use crate::specimen::{Specimen, Start};
use std::path::{Path, PathBuf};
use std::process::Command;

const FLAGS: [&str; 6] = ["-O1", "-g", "-std=gnu17", "-Wall", "-Wextra", "-pthread"];
const LIBRARY: &str = "libhostile.so";

/// The program, in the folder of specimens with its library beside it.
fn program() -> Result<PathBuf, String> {
    let shared = ["-shared", "-fPIC", "hostile_library.c"];
    let library = build_with("gcc", LIBRARY, &[&FLAGS[..], &shared].concat())?;
    let library = library.to_str().expect("printable").to_owned();
    let beside = ["hostile.c", &library, "-Wl,-rpath,$ORIGIN"];
    build_with("gcc", "hostile", &[&FLAGS[..], &beside].concat())
}

/// A mode of `hostile.c`, started.
///
/// # Errors
/// In words, when this machine cannot.
pub fn hostile(mode: &str, argument: &str) -> Result<Specimen, String> {
    Start::program(&program()?)
        .argument(mode)
        .argument(argument)
        .spawn()
}

/// The same in a group from its start: what it touches is the group's.
///
/// # Errors
/// In words, when this machine cannot.
pub fn hostile_in(group: &Group, mode: &str, argument: &str) -> Result<Specimen, String> {
    let prefix = group.prefix();
    let prefix: Vec<&str> = prefix.iter().map(String::as_str).collect();
    Start::program(&program()?)
        .under(&prefix)
        .argument(mode)
        .argument(argument)
        .spawn()
}

/// The same from a mount, which shows the folder of specimens.
///
/// # Errors
/// In words, when this machine cannot.
pub fn hostile_on_mount(mode: &str) -> Result<(DeadMount, Specimen), String> {
    let program = program()?;
    let mount = DeadMount::of(&folder())?;
    let name = program.file_name().expect("a program has a name");
    let start = Start::program(&mount.path(name.as_ref())).argument(mode);
    let specimen = start.spawn()?;
    Ok((mount, specimen))
}

/// A mode that does something with a file; the file alone lies on the mount.
///
/// # Errors
/// In words, when this machine cannot.
pub fn hostile_with_file_on_mount(mode: &str) -> Result<(DeadMount, Specimen), String> {
    // Any file of the folder will do.
    program()?;
    let mount = DeadMount::of(&folder())?;
    let specimen = hostile(mode, &printable(&mount.path(LIBRARY.as_ref())))?;
    Ok((mount, specimen))
}

/// A program of asyncio.
///
/// # Errors
/// In words, when this machine has no interpreter.
pub fn asyncio() -> Result<Specimen, String> {
    Start::program(&interpreter()?)
        .argument(&printable(&python::specimen("hostile.py")))
        .spawn()
}

/// The same, its interpreter and library on a mount.
///
/// # Errors
/// In words, when this machine cannot.
pub fn asyncio_on_mount() -> Result<(DeadMount, Specimen), String> {
    let interpreter = interpreter()?;
    let prefix = prefix_of(&interpreter)?;
    let inside = interpreter.strip_prefix(&prefix);
    let inside = inside.map_err(|_| format!("{} is not in its prefix", interpreter.display()))?;
    let mount = DeadMount::of(&prefix)?;
    let start = Start::program(&mount.path(inside));
    let specimen = start
        .argument(&printable(&python::specimen("hostile.py")))
        .spawn()?;
    Ok((mount, specimen))
}

fn interpreter() -> Result<PathBuf, String> {
    let all = python::interpreters();
    let last = all.into_iter().next_back();
    last.ok_or_else(|| "no CPython that remora knows".to_owned())
}

/// The folder that an interpreter and its library lie in.
fn prefix_of(interpreter: &Path) -> Result<PathBuf, String> {
    let script = "import sys; print(sys.base_prefix)";
    let output = Command::new(interpreter).args(["-c", script]).output();
    let output = output.map_err(|error| error.to_string())?;
    let prefix = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    PathBuf::from(prefix)
        .canonicalize()
        .map_err(|error| error.to_string())
}

fn printable(path: &Path) -> String {
    path.to_str().expect("printable").to_owned()
}
