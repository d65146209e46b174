//! What is installed: Debian's packages, an environment of Python and a folder of node's modules.

use super::{Program, home};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Folders with programs that are in nobody's `PATH`, after those of Python and node.
const MORE: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/sbin",
    "/sbin",
    "/usr/lib/postgresql/15/bin",
    "/usr/lib/dovecot",
    "/usr/libexec",
];

/// The folders in which programs are looked for.
pub(super) fn path() -> OsString {
    let own = [home().join("python/bin"), home().join("node_modules/.bin")];
    let usual = std::env::var_os("PATH").unwrap_or_default();
    let folders = own
        .into_iter()
        .chain(MORE.map(PathBuf::from))
        .chain(std::env::split_paths(&usual));
    std::env::join_paths(folders).expect("no colon in a folder's name")
}

/// Why a program cannot run here, in words.
pub fn missing(program: &Program) -> Option<String> {
    let there = std::env::split_paths(&path()).any(|folder| folder.join(&program.needs).exists());
    (!there).then(|| {
        let packages = program.packages.join(", ");
        format!(
            "{} is not installed ({packages}): --install does it",
            program.needs
        )
    })
}

/// Installs what these programs need and is not there; says in words what could not be had.
pub fn install(programs: &[Program]) -> Vec<String> {
    let wanted = programs
        .iter()
        .filter(|program| missing(program).is_some())
        .flat_map(|program| &program.packages);
    let wanted: BTreeSet<_> = wanted
        .filter_map(|package| package.split_once(':'))
        .collect();
    let of = |source: &str| -> Vec<&str> {
        let of_source = wanted.iter().filter(|(of, _)| *of == source);
        of_source.map(|(_, name)| *name).collect()
    };
    let python = home().join("python");
    let environment = || {
        let mut command = Command::new("python3");
        command.args(["-m", "venv"]).arg(&python);
        command
    };
    let pip = || {
        let mut command = Command::new(python.join("bin/python3"));
        command.args(["-m", "pip", "install", "--quiet"]);
        command
    };
    let apt = || {
        let mut command = Command::new("apt-get");
        command.args(["install", "--yes", "--quiet", "--no-install-recommends"]);
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    let npm = || {
        let mut command = Command::new("npm");
        command.args(["install", "--no-fund", "--no-audit", "--prefix"]);
        command.arg(home());
        command
    };
    let mut failed = Vec::new();
    failed.extend(each(apt, &of("apt")));
    if !of("pip").is_empty() && !python.exists() {
        failed.extend(run(&mut environment()).err());
    }
    failed.extend(each(pip, &of("pip")));
    failed.extend(each(npm, &of("npm")));
    failed
}

/// All at once; where that fails one after another, so that one that cannot be had costs no other.
fn each(command: impl Fn() -> Command, names: &[&str]) -> Vec<String> {
    if names.is_empty() || run(command().args(names)).is_ok() {
        return Vec::new();
    }
    let one_by_one = names.iter().map(|name| run(command().arg(name)));
    one_by_one.filter_map(Result::err).collect()
}

fn run(command: &mut Command) -> Result<(), String> {
    eprintln!("healthy: {command:?}");
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{command:?}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "{command:?}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
    }
}
