//! What the tests run and a machine may lack: installed as far as possible, and a test says what it misses.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{run, say};
use crate::{setup, toolchain};

/// Programs, and the Debian package of each.
const PROGRAMS: [(&str, &str); 14] = [
    ("chromium", "chromium"),
    ("g++", "g++"),
    ("gcc", "gcc"),
    ("gdb", "gdb"),
    ("go", "golang-go"),
    ("java", "default-jdk-headless"),
    ("nginx", "nginx-light"),
    ("node", "nodejs"),
    ("pgbench", "postgresql"),
    ("python3", "python3"),
    ("readelf", "binutils"),
    ("redis-benchmark", "redis-tools"),
    ("redis-server", "redis-server"),
    ("wrk", "wrk"),
];

/// A library of Rust for another libc, which one specimen is linked with.
const MUSL: &str = "x86_64-unknown-linux-musl";

/// Packages of Python that event loops, and pools of connections, are made with.
const PYTHON: [&str; 3] = ["aiohttp==3.14.5", "uvloop==0.23.0", "sqlalchemy==2.1.9"];

/// Installs what is missing.
pub(crate) fn install() {
    install_programs();
    if let Err(error) = install_musl() {
        say(format!("{error:#}"));
    }
    if let Err(error) = install_python() {
        say(format!("{error:#}"));
    }
}

/// Where programs are looked for, with what was installed here behind what the machine has.
pub(crate) fn path() -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([python().join("bin")]);
    std::env::join_paths(folders).unwrap_or(path)
}

fn install_programs() {
    let mut missing = PROGRAMS.to_vec();
    missing.retain(|(program, _)| toolchain::find(program).is_none());
    if missing.is_empty() {
        return;
    }
    let packages: Vec<_> = missing
        .iter()
        .map(|(_, package)| (*package).to_owned())
        .collect();
    say(format!(
        "installing what the tests run: {}",
        packages.join(" ")
    ));
    if let Err(error) = setup::install_packages(&packages) {
        say(format!("{error:#}"));
    }
}

/// rustup's; quiet where it is there.
fn install_musl() -> anyhow::Result<()> {
    if toolchain::find("rustup").is_none() || !cfg!(target_arch = "x86_64") {
        return Ok(());
    }
    let mut add = Command::new("rustup");
    add.args(["--quiet", "target", "add", MUSL])
        .env("RUSTUP_MAX_RETRIES", "0");
    run(&mut add)
}

/// An environment of its own.
fn install_python() -> anyhow::Result<()> {
    let folder = python();
    let interpreter = folder.join("bin/python3");
    let mut ask = Command::new(&interpreter);
    let asked = ask
        .args(["-c", "import aiohttp, uvloop, sqlalchemy"])
        .output();
    if asked.is_ok_and(|output| output.status.success()) {
        return Ok(());
    }
    say(format!("installing for Python: {}", PYTHON.join(" ")));
    run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    let mut pip = Command::new(interpreter);
    run(pip.args(["-m", "pip", "install", "--quiet"]).args(PYTHON))
}

fn python() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/python")
}
