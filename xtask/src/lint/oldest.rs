//! The oldest compiler that is supported: `rust-version` in Cargo.toml.
//!
//! Where rustup has that very compiler, or can fetch it, all crates are checked by it. Elsewhere two thirds of
//! that remain: clippy refuses what the standard library got later (`incompatible_msrv`), and the check of the
//! dependencies refuses those that need a newer compiler. Newer syntax then goes unseen, and this says so.

use std::path::Path;
use std::process::Command;

use anyhow::ensure;

use super::HOST;
use crate::process::{run, say};
use crate::toolchain::{self, Compiler, OLDEST_MINOR};

/// Checks all crates that are built for this machine.
///
/// # Errors
/// The oldest compiler refuses one; or Cargo.toml names another one than the tool chain's set-up.
pub(super) fn check() -> anyhow::Result<()> {
    // `CARGO_PKG_RUST_VERSION` is the workspace's, which every crate inherits.
    let declared = env!("CARGO_PKG_RUST_VERSION");
    ensure!(
        declared == format!("1.{OLDEST_MINOR}"),
        "Cargo.toml says rust-version {declared}, and xtask/src/toolchain.rs 1.{OLDEST_MINOR}"
    );
    let name = format!("{declared}.0");
    if !is_there(&name) && !fetch(&name) {
        say(format!(
            "no compiler {name} here, and none to be had: syntax that is newer is not looked for"
        ));
        return Ok(());
    }
    say(format!("the oldest compiler: {name}"));
    let mut check = Command::new("rustup");
    check.args(["run", &name, "cargo", "check", "--locked", "--all-targets"]);
    check.args(HOST);
    // Beside the other compilers' work, which it would throw away. The kernel side has a compiler of its own.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/oldest");
    run(check
        .env("CARGO_TARGET_DIR", folder)
        .env(toolchain::OVERRIDE, "none")
        .env_remove("CARGO"))
}

fn is_there(name: &str) -> bool {
    Compiler::look("rustup".as_ref(), Some(name)).is_some()
}

/// Has rustup fetch the compiler: one try, a machine without network must not wait.
fn fetch(name: &str) -> bool {
    if toolchain::find("rustup").is_none() {
        return false;
    }
    say(format!("fetching compiler {name}"));
    let mut install = Command::new("rustup");
    install.args(["toolchain", "install", name, "--profile", "minimal"]);
    install.arg("--no-self-update");
    let fetched = run(install
        .env("RUSTUP_MAX_RETRIES", "0")
        .env("RUST_BACKTRACE", "0"));
    if let Err(error) = &fetched {
        say(format!("{error:#}"));
    }
    fetched.is_ok() && is_there(name)
}
