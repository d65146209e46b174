//! Builds the kernel side for the BPF target; the agent embeds the object, `OUT_DIR/remora`.
//!
//! Where the tool chain for it is missing, the agent is built all the same, with an empty object:
//! its unprivileged part can then be built and tested on any machine.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use aya_build::{Package, Toolchain};

#[path = "../../xtask/src/toolchain.rs"]
mod toolchain;

/// What the kernel side depends on beside its own folder, which aya-build watches.
const WATCHED: [&str; 4] = [
    "../../common/src",
    "../../common/Cargo.toml",
    "../../Cargo.toml",
    "../../Cargo.lock",
];

/// The environment of the inner build, and of it alone.
///
/// A compiler of any channel takes unstable options. Code is made for version 3 of the BPF
/// instruction set: 32-bit registers and jumps (Linux 5.1), and atomics that return a value, which
/// version 1 cannot express (5.12, where a program uses them). rustc passes `--cpu generic` to the
/// linker and notes it in each function, so only a compiler flag can say otherwise; aya-build fills
/// the usual variables for flags itself, hence the profile's. Host programs of that build (build
/// scripts) must not get the flag: a harmless one of their own replaces it.
const INNER: [(&str, &str); 5] = [
    ("RUSTC_BOOTSTRAP", "1"),
    ("CARGO_UNSTABLE_PROFILE_RUSTFLAGS", "true"),
    ("CARGO_PROFILE_RELEASE_RUSTFLAGS", "-Ctarget-cpu=v3"),
    (
        "CARGO_PROFILE_RELEASE_BUILD_OVERRIDE_RUSTFLAGS",
        "-Cdebuginfo=0",
    ),
    ("CARGO_TERM_QUIET", "true"),
];

fn main() -> anyhow::Result<()> {
    println!("cargo:rerun-if-env-changed={}", toolchain::OVERRIDE);
    let seen = toolchain::Seen::look();
    match seen.complete() {
        Some((compiler, linker)) => build(compiler.name.as_deref(), &linker.path),
        None => leave_empty(&seen),
    }
}

/// Builds the kernel side with rustup's tool chain of this name, or with the current one.
fn build(toolchain: Option<&str>, linker: &Path) -> anyhow::Result<()> {
    for path in WATCHED {
        println!("cargo:rerun-if-changed={path}");
    }
    // SAFETY: a build script has one thread until aya-build starts its own, below.
    unsafe {
        env::set_var("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", linker);
        for (name, value) in INNER {
            env::set_var(name, value);
        }
    }
    let debug_log = env::var_os("CARGO_FEATURE_DEBUG_LOG").is_some();
    let package = Package {
        name: "remora-ebpf",
        root_dir: "../../ebpf",
        no_default_features: false,
        features: if debug_log { &["debug-log"] } else { &[] },
    };
    aya_build::build_ebpf([package], Toolchain::Custom(toolchain.unwrap_or_default()))
}

/// Writes an empty object and says so.
fn leave_empty(seen: &toolchain::Seen) -> anyhow::Result<()> {
    let out = PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR is not set")?);
    let object = out.join("remora");
    fs::write(&object, []).with_context(|| format!("cannot write {}", object.display()))?;
    // A path that never exists: look again at each build, the tool chain may have come.
    println!("cargo:rerun-if-changed={}", out.join("complete").display());
    let missing = match (toolchain::wanted(), seen.compilers.is_empty()) {
        (Some(name), true) => format!(" ({} = {name}: no such tool chain)", toolchain::OVERRIDE),
        _ => String::new(),
    };
    println!("cargo:warning=built without the kernel side: run `cargo xtask setup`{missing}");
    Ok(())
}
