//! The eBPF tool chain: sees what is missing, says what it will do, does it.
//!
//! Looks, takes the one step that [`plan`] names, looks again: a step that failed is not taken
//! twice, so the way leads on to the next one (rustup without network, then Debian's packages).

mod plan;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::process::{cargo, is_root, line, run, say};
use crate::toolchain::{self, Compiler, Seen};
pub(crate) use plan::DEBIAN_TOOLCHAIN;
use plan::{Facts, Step};

/// The version of bpf-linker that is installed.
const LINKER: &str = "bpf-linker@0.13.0";

/// Makes the tool chain complete; quiet when it is.
///
/// # Errors
/// It cannot: what a person has to install, in one line.
pub(crate) fn ensure() -> anyhow::Result<()> {
    let mut done = Vec::new();
    loop {
        match plan::next(&observe(), &done) {
            Ok(None) => return Ok(()),
            Err(advice) => bail!("the eBPF tool chain is not complete: {advice}"),
            Ok(Some(step)) => {
                for mut command in commands(&step)? {
                    say(format!("{}: {}", purpose(&step), line(&command)));
                    if let Err(error) = run(&mut command) {
                        say(format!("{error:#}; trying another way"));
                        break;
                    }
                }
                done.push(step);
            }
        }
    }
}

/// The command `setup`: with `check` nothing is changed.
///
/// # Errors
/// Something is missing, and could not or (with `check`) should not be installed.
pub(crate) fn setup(check: bool) -> anyhow::Result<()> {
    if !check {
        ensure()?;
    }
    let facts = observe();
    report(&facts);
    match plan::next(&facts, &[]) {
        Ok(None) => Ok(()),
        Ok(Some(step)) => bail!(
            "the eBPF tool chain is not complete: `cargo xtask setup` would begin with: {}",
            purpose(&step)
        ),
        Err(advice) => bail!("the eBPF tool chain is not complete: {advice}"),
    }
}

/// Says what is there and what is not.
fn report(facts: &Facts) {
    say(format!(
        "C compiler (cc): {}",
        if facts.cc { "found" } else { "missing" }
    ));
    for compiler in &facts.seen.compilers {
        let source = if compiler.has_source {
            "with its source"
        } else {
            "source missing"
        };
        let name = compiler.name.as_deref().unwrap_or("the one on the path");
        say(format!(
            "compiler {name}: 1.{}, LLVM {}, {source}",
            compiler.minor, compiler.llvm
        ));
    }
    match &facts.seen.linker {
        None => say("bpf-linker: missing"),
        Some(linker) => {
            let llvm = linker
                .llvm
                .map_or("built in".to_owned(), |llvm| llvm.to_string());
            say(format!(
                "bpf-linker: {}, LLVM {llvm}",
                linker.path.display()
            ));
        }
    }
    if let Some((compiler, _)) = facts.seen.complete() {
        let name = compiler.name.as_deref().unwrap_or("the one on the path");
        say(format!("the kernel side is built with: {name}"));
    }
}

/// Looks at the machine; at Debian's packages only when something is missing, as that takes time.
fn observe() -> Facts {
    let seen = Seen::look();
    let cc = toolchain::find("cc").is_some();
    let rustup = toolchain::find("rustup").is_some();
    let apt = is_root() && toolchain::find("apt-get").is_some();
    let look = apt && !plan::is_complete(&seen, cc);
    let names = if look { plan::packages() } else { Vec::new() };
    let (known, installed) = debian_packages(&names);
    Facts {
        seen,
        system: Compiler::look(Path::new("/usr/bin/rustc"), None).filter(|_| rustup),
        wanted: toolchain::wanted(),
        rustup,
        cc,
        binstall: toolchain::find("cargo-binstall").is_some(),
        llvms: (21..30)
            .filter(|llvm| llvm_config(*llvm).is_some())
            .collect(),
        apt,
        known,
        installed,
    }
}

/// `llvm-config` of this version, by Debian's name for it.
fn llvm_config(llvm: u32) -> Option<PathBuf> {
    toolchain::find(&format!("llvm-config-{llvm}"))
}

/// Of these packages, those that apt could install and those that are installed.
fn debian_packages(names: &[String]) -> (Vec<String>, Vec<String>) {
    if names.is_empty() {
        return Default::default();
    }
    let output = Command::new("apt-cache")
        .env("LC_ALL", "C")
        .arg("policy")
        .args(names)
        .output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    parse_policy(&text.unwrap_or_default())
}

/// Reads `apt-cache policy`: a line `name:`, then indented ones, `Installed:` and `Candidate:`.
fn parse_policy(text: &str) -> (Vec<String>, Vec<String>) {
    let mut found: HashMap<&str, Vec<String>> = HashMap::new();
    let mut package = "";
    for line in text.lines() {
        if let Some(name) = line.strip_suffix(':').filter(|name| !name.starts_with(' ')) {
            package = name;
        } else if let Some((field, value)) = line.trim().split_once(": ")
            && value != "(none)"
        {
            found.entry(field).or_default().push(package.to_owned());
        }
    }
    let mut take = |field| found.remove(field).unwrap_or_default();
    (take("Candidate"), take("Installed"))
}

/// Why a step is taken.
fn purpose(step: &Step) -> String {
    match step {
        Step::Update => "fetching Debian's lists of packages".to_owned(),
        Step::Packages(list) => format!("installing {} Debian package(s)", list.len()),
        Step::RustSource(name) => format!("fetching tool chain {name} with its source"),
        Step::Link => "telling rustup of Debian's compiler".to_owned(),
        Step::Linker(llvm) => format!("building bpf-linker on LLVM {llvm} (about a minute)"),
        Step::ReadyLinker => "installing a ready-made bpf-linker".to_owned(),
    }
}

/// What takes the step.
fn commands(step: &Step) -> anyhow::Result<Vec<Command>> {
    Ok(match step {
        Step::Update => vec![apt_get(&["update", "--quiet"])],
        Step::Packages(list) => vec![install(list)],
        Step::RustSource(name) => rust_source(name),
        Step::Link => {
            vec![command(
                "rustup",
                &["toolchain", "link", DEBIAN_TOOLCHAIN, "/usr"],
            )]
        }
        Step::Linker(llvm) => vec![build_linker(*llvm)?],
        Step::ReadyLinker => vec![command("cargo-binstall", &["--no-confirm", LINKER])],
    })
}

/// Installs Debian packages, after fetching the lists where they do not know one of them.
///
/// # Errors
/// Not root, no apt-get, or apt-get fails.
pub(crate) fn install_packages(packages: &[String]) -> anyhow::Result<()> {
    if !is_root() || toolchain::find("apt-get").is_none() {
        bail!("only root on Debian can install {}", packages.join(" "));
    }
    let (known, _) = debian_packages(packages);
    if known.len() < packages.len() {
        run(&mut apt_get(&["update", "--quiet"]))?;
    }
    run(&mut install(packages))
}

/// Installs Debian packages, and removes none for it.
fn install(packages: &[String]) -> Command {
    const OPTIONS: [&str; 5] = [
        "install",
        "--quiet",
        "--yes",
        "--no-install-recommends",
        "--no-remove",
    ];
    let mut command = apt_get(&OPTIONS);
    command.args(packages);
    command
}

fn apt_get(args: &[&str]) -> Command {
    let mut command = command("apt-get", args);
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// A machine without network must not wait long here, it has another way: no second attempts.
fn rust_source(name: &str) -> Vec<Command> {
    let there = Compiler::look(Path::new("rustup"), Some(name)).is_some();
    let args: &[&str] = if there {
        &["component", "add", "rust-src", "--toolchain", name]
    } else {
        &[
            "toolchain",
            "install",
            name,
            "--profile",
            "minimal",
            "--component",
            "rust-src",
        ]
    };
    let mut command = command("rustup", args);
    command
        .env("RUSTUP_MAX_RETRIES", "0")
        .env("RUST_BACKTRACE", "0");
    vec![command]
}

/// bpf-linker's build looks for `llvm-config` without a version in its name, on the path.
fn build_linker(llvm: u32) -> anyhow::Result<Command> {
    let ask = |what| -> anyhow::Result<String> {
        let config = llvm_config(llvm).with_context(|| format!("no llvm-config-{llvm}"))?;
        let output = Command::new(&config).arg(what).output();
        let output = output.with_context(|| format!("cannot start {}", config.display()))?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = [PathBuf::from(ask("--bindir")?)];
    let path = std::env::join_paths(folders.into_iter().chain(std::env::split_paths(&path)))?;
    let mut command = cargo();
    command.args([
        "install",
        LINKER,
        "--locked",
        "--force",
        "--no-default-features",
    ]);
    command.args(["--features", &format!("llvm-{llvm}")]);
    command
        .env("PATH", path)
        .env("LLVM_PREFIX", ask("--prefix")?);
    Ok(command)
}

fn command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policy_tells_what_is_known_and_what_is_installed() {
        let text = "gcc:\n  Installed: 4:12.2\n  Candidate: 4:12.2\n  Version table:\n *** 4:12.2 500\n        500 http://deb.debian.org/debian bookworm/main amd64 Packages\nllvm-22-dev:\n  Installed: (none)\n  Candidate: 1:22\nabsent:\n  Installed: (none)\n  Candidate: (none)\n";
        let (known, installed) = parse_policy(text);
        assert_eq!(known, ["gcc", "llvm-22-dev"]);
        assert_eq!(installed, ["gcc"]);
    }

    #[test]
    fn installing_never_removes() {
        let line = line(&install(&["gcc".to_owned()]));
        let expected = "apt-get install --quiet --yes --no-install-recommends --no-remove gcc";
        assert_eq!(line, expected);
    }
}
