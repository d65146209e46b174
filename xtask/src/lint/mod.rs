//! Format, lints, documentation and tidiness, warnings denied; what dependencies are allowed; the oldest
//! compiler and the features that no test builds.

mod dependencies;
mod floors;
mod oldest;

use std::process::Command;

use anyhow::ensure;

use crate::process::{cargo, run, say};
use crate::setup;
use crate::test::must_be_complete;
use crate::tidy::tidy;
use crate::toolchain::{Compiler, Seen};

/// Every crate that is built for this machine.
const HOST: [&str; 3] = ["--workspace", "--exclude", "remora-ebpf"];

/// What a compiler gets behind cargo's own arguments.
const DENY: [&str; 3] = ["--", "--deny", "warnings"];

/// Runs all the checks, the quick ones first; the first that fails ends it.
///
/// # Errors
/// A check fails.
pub(crate) fn lint() -> anyhow::Result<()> {
    tidy()?;
    say("format");
    run(cargo().args(["fmt", "--all", "--check"]))?;
    dependencies::check()?;
    floors::check()?;
    say("clippy");
    run(clippy().args(HOST).args(DENY))?;
    say("clippy of the feature debug-log");
    run(clippy()
        .args(["--package", "remora-probe", "--package", "remora"])
        .args(["--features", "remora/debug-log"])
        .args(DENY))?;
    say("documentation");
    let mut doc = cargo();
    run(doc
        .args(["doc", "--locked", "--no-deps"])
        .args(HOST)
        .env("RUSTDOCFLAGS", "--deny warnings"))?;
    kernel_side()?;
    oldest::check()
}

fn clippy() -> Command {
    let mut command = cargo();
    command.args(["clippy", "--locked", "--all-targets"]);
    command
}

/// Clippy for the kernel side, where its compiler has one.
fn kernel_side() -> anyhow::Result<()> {
    if must_be_complete() {
        setup::ensure()?;
    }
    let seen = Seen::look();
    let Some((compiler, _)) = seen.complete() else {
        say("skipped clippy of the kernel side: run `cargo xtask setup` first");
        return Ok(());
    };
    if !has_clippy(compiler) {
        install_clippy(compiler);
    }
    if !has_clippy(compiler) {
        let what = "clippy of the kernel side: its compiler has none";
        ensure!(!must_be_complete(), "CI=true, and there is no {what}");
        say(format!("skipped {what}"));
        return Ok(());
    }
    say("clippy of the kernel side");
    let mut command = cargo_of(compiler);
    command.args(["clippy", "--locked", "--package", "remora-ebpf"]);
    command.args(["--bins", "--release", "--features", "debug-log"]);
    command.args(["--target", "bpfel-unknown-none", "-Z", "build-std=core"]);
    command.args(DENY);
    // What aya-build sets: the registers that programs read are those of this machine.
    let arch = format!("--cfg=bpf_target_arch=\"{}\"", std::env::consts::ARCH);
    run(command
        .env("CARGO_ENCODED_RUSTFLAGS", arch)
        .env("RUSTC_BOOTSTRAP", "1"))
}

/// The cargo that belongs to a compiler.
fn cargo_of(compiler: &Compiler) -> Command {
    let Some(name) = &compiler.name else {
        return cargo();
    };
    let mut command = Command::new("rustup");
    command.args(["run", name, "cargo"]);
    command
}

fn has_clippy(compiler: &Compiler) -> bool {
    let output = cargo_of(compiler).args(["clippy", "--version"]).output();
    output.is_ok_and(|output| output.status.success())
}

/// Debian packs clippy apart from its compiler.
fn install_clippy(compiler: &Compiler) {
    let debian = compiler
        .name
        .as_deref()
        .is_none_or(|name| name == setup::DEBIAN_TOOLCHAIN);
    if debian {
        let packages = ["rust-web-clippy".to_owned()];
        say("installing clippy for the kernel side's compiler: rust-web-clippy");
        if let Err(error) = setup::install_packages(&packages) {
            say(format!("{error:#}"));
        }
    }
}
