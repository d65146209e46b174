//! Format, lints, documentation and tidiness, warnings denied.

use std::process::Command;

use crate::process::{cargo, run, say};
use crate::setup;
use crate::tidy::tidy;
use crate::toolchain::{Compiler, Seen};

/// Every crate that is built for this machine.
const HOST: [&str; 3] = ["--workspace", "--exclude", "remora-ebpf"];

/// Runs all the checks; the first that fails ends it.
///
/// # Errors
/// A check fails.
pub fn lint() -> anyhow::Result<()> {
    tidy()?;
    say("format");
    run(cargo().args(["fmt", "--all", "--check"]))?;
    say("clippy");
    run(cargo()
        .arg("clippy")
        .args(HOST)
        .args(["--all-targets", "--", "--deny", "warnings"]))?;
    say("documentation");
    let mut doc = cargo();
    run(doc
        .arg("doc")
        .args(HOST)
        .arg("--no-deps")
        .env("RUSTDOCFLAGS", "--deny warnings"))?;
    kernel_side()
}

/// Clippy for the kernel side, where its compiler has one.
fn kernel_side() -> anyhow::Result<()> {
    let seen = Seen::look();
    let Some((compiler, _)) = seen.complete() else {
        say("skipped clippy of the kernel side: run `cargo xtask setup` first");
        return Ok(());
    };
    if !has_clippy(compiler) {
        install_clippy(compiler);
    }
    if !has_clippy(compiler) {
        say("skipped clippy of the kernel side: its compiler has none");
        return Ok(());
    }
    say("clippy of the kernel side");
    let mut command = cargo_of(compiler);
    command.args(["clippy", "--package", "remora-ebpf", "--bins", "--release"]);
    command.args(["--target", "bpfel-unknown-none", "-Z", "build-std=core"]);
    command.args(["--", "--deny", "warnings"]);
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
