//! Fuzz targets: builds them, and runs each for some seconds.
//!
//! libFuzzer needs the compiler to count branches, and that is an LLVM pass which every compiler has; only the
//! address sanitizer is an unstable option. So neither a nightly compiler nor `cargo-fuzz` is needed here. For
//! hours of fuzzing there is `cargo fuzz`, see `fuzz/README.md`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use cargo_metadata::{MetadataCommand, TargetKind};

use crate::process::{cargo, line, run, say};
use crate::toolchain;

/// What `cargo-fuzz` gives the compiler too.
const FLAGS: [&str; 9] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Zsanitizer=address",
    "-Cdebug-assertions",
    "-Coverflow-checks",
];

/// Input that takes longer is a fault: no reader may hang.
const LONGEST_S: u32 = 20;

/// Memory that is a fault to use, in MiB.
const MOST_MIB: u32 = 2048;

/// Builds all targets, and runs each (or those of these names) for so many seconds.
///
/// # Errors
/// One does not build, or finds something: where the input lies is in the output.
pub(crate) fn fuzz(seconds: u32, names: &[String]) -> anyhow::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let mut targets = targets(&folder)?;
    targets.retain(|target| names.is_empty() || names.contains(target));
    ensure!(!targets.is_empty(), "no fuzz target has such a name");
    say(format!("building {} fuzz targets", targets.len()));
    let began = Instant::now();
    let binaries = build(&folder)?;
    say(format!("built in {} s", began.elapsed().as_secs()));
    let mut found = Vec::new();
    for target in &targets {
        say(format!("{target}: {seconds} s"));
        if let Err(error) = run_one(&folder, &binaries, target, seconds) {
            say(format!("{error:#}"));
            found.push(target.as_str());
        }
    }
    if !found.is_empty() {
        bail!("found something: {}", found.join(" "));
    }
    say(format!("{} fuzz targets found nothing", targets.len()));
    Ok(())
}

/// The names of all targets.
fn targets(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut command = MetadataCommand::new();
    let metadata = command
        .manifest_path(folder.join("Cargo.toml"))
        .no_deps()
        .exec()
        .context("cannot read fuzz/Cargo.toml")?;
    let all = metadata.packages.into_iter().flat_map(|it| it.targets);
    let programs = all.filter(|target| target.kind.contains(&TargetKind::Bin));
    Ok(programs.map(|target| target.name).collect())
}

/// Builds all targets; gives the folder of the programs.
fn build(folder: &Path) -> anyhow::Result<PathBuf> {
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let out = folder.join("../target/fuzz");
    let mut command = cargo();
    command.args(["build", "--locked", "--profile", "short", "--bins"]);
    // With a target named, build scripts and macros are made without the flags.
    command.args(["--target", &triple]);
    run(command
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", &out)
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"))
        // Any compiler then takes the sanitizer.
        .env("RUSTC_BOOTSTRAP", "1")
        // The readers need no kernel side.
        .env(toolchain::OVERRIDE, "none"))?;
    Ok(out.join(triple).join("short"))
}

/// Runs a target on what is kept of earlier runs and on its seeds.
fn run_one(folder: &Path, binaries: &Path, target: &str, seconds: u32) -> anyhow::Result<()> {
    let corpus = folder.join("corpus").join(target);
    let artifacts = folder.join("artifacts").join(target);
    for folder in [&corpus, &artifacts] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let mut command = Command::new(binaries.join(target));
    // What is new goes to the first folder.
    command.arg(&corpus);
    let seeds = folder.join("seeds").join(target);
    if seeds.is_dir() {
        command.arg(&seeds);
    }
    command
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={LONGEST_S}"))
        .arg(format!("-rss_limit_mb={MOST_MIB}"))
        .args(["-print_final_stats=1", "-verbosity=0"])
        // libFuzzer's own symbols are there twice.
        .env("ASAN_OPTIONS", "detect_odr_violation=0");
    run(&mut command).with_context(|| format!("{target}: {}", line(&command)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_targets_are_those_of_the_manifest_and_each_has_a_file() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
        let targets = targets(&folder).unwrap();
        assert!(targets.contains(&"eh_frame".to_owned()), "{targets:?}");
        let file = |target: &String| folder.join(format!("fuzz_targets/{target}.rs")).is_file();
        assert!(targets.iter().all(file), "{targets:?}");
    }
}
