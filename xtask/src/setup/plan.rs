//! What to do next about a tool chain that is not complete: a function of what was observed, so
//! that the ways no development machine can take are tested too.
//!
//! Two ways lead there. rustup, online: a nightly compiler with its source. Debian: the packages
//! of a recent compiler, which rustup is then told of. Both need `bpf-linker`, built here on an
//! LLVM of the distribution, or a ready one (`cargo-binstall`) where there is none new enough.

use crate::toolchain::{Compiler, OLDEST_MINOR, OVERRIDE, Seen};

/// Debian's compiler, its cargo and the source of its library.
const DEBIAN_RUST: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// rustup's name for Debian's compiler once it is linked.
pub(crate) const DEBIAN_TOOLCHAIN: &str = "debian-web";

/// The LLVM versions that bpf-linker 0.13 builds on, the one that Debian 12 has first.
const LLVMS: [u32; 3] = [22, 23, 21];

/// What Debian calls a C compiler.
const C_COMPILER: [&str; 2] = ["gcc", "libc6-dev"];

/// One thing to do; each is done once at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Fetch Debian's lists of packages.
    Update,
    /// Install Debian packages.
    Packages(Vec<String>),
    /// Have rustup fetch the source for this tool chain, and the tool chain if it is not there.
    RustSource(String),
    /// Tell rustup of the compiler in /usr.
    Link,
    /// Build and install bpf-linker on this version of LLVM.
    Linker(u32),
    /// Install a ready-made bpf-linker.
    ReadyLinker,
}

/// What was observed of the machine.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// Compilers and linker.
    pub seen: Seen,
    /// The compiler in /usr/bin, when there is a rustup that may not know it.
    pub system: Option<Compiler>,
    /// The tool chain that the environment asks for.
    pub wanted: Option<String>,
    /// rustup is there.
    pub rustup: bool,
    /// A C compiler is there.
    pub cc: bool,
    /// `cargo-binstall` is there.
    pub binstall: bool,
    /// Versions of LLVM with development files.
    pub llvms: Vec<u32>,
    /// Debian's packages can be installed: there is apt-get, and we are root.
    pub apt: bool,
    /// Packages, among [`packages`], that apt could install.
    pub known: Vec<String>,
    /// Packages, among [`packages`], that are installed.
    pub installed: Vec<String>,
}

/// Every Debian package that a step may ask for.
pub(super) fn packages() -> Vec<String> {
    let fixed = C_COMPILER.into_iter().chain(DEBIAN_RUST).map(str::to_owned);
    let mut all: Vec<_> = fixed
        .chain(LLVMS.into_iter().flat_map(llvm_packages))
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// What bpf-linker needs to be built on this LLVM.
fn llvm_packages(llvm: u32) -> [String; 4] {
    let polly = format!("libpolly-{llvm}-dev");
    [
        format!("llvm-{llvm}-dev"),
        polly,
        "libzstd-dev".to_owned(),
        "zlib1g-dev".to_owned(),
    ]
}

/// Whether nothing is missing, given whether there is a C compiler.
pub(super) fn is_complete(seen: &Seen, cc: bool) -> bool {
    cc && seen.complete().is_some()
}

/// The next step; `None` when everything is there.
///
/// `done` holds the steps taken so far, failed or not: none is taken twice.
///
/// # Errors
/// Nothing is left to try: what to install, in one line.
pub(super) fn next(facts: &Facts, done: &[Step]) -> Result<Option<Step>, String> {
    if is_complete(&facts.seen, facts.cc) {
        return Ok(None);
    }
    let fresh = |step: &Step| !done.contains(step);
    if let Some(step) = update(facts).filter(fresh) {
        return Ok(Some(step));
    }
    let steps = if facts.cc {
        let mut usable = facts.seen.compilers.iter().filter(|c| c.is_usable());
        match usable.find_map(|c| linker_steps(facts, c.llvm).into_iter().find(fresh)) {
            Some(step) => vec![step],
            None => compiler_steps(facts),
        }
    } else {
        install(facts, C_COMPILER).into_iter().collect()
    };
    match steps.into_iter().find(fresh) {
        Some(step) => Ok(Some(step)),
        None => Err(advice(facts)),
    }
}

/// Fetching the lists, when they lack what Debian 12 has.
fn update(facts: &Facts) -> Option<Step> {
    let [first, ..] = LLVMS;
    let mut expected = DEBIAN_RUST
        .map(str::to_owned)
        .into_iter()
        .chain(llvm_packages(first));
    let lacking = facts.apt && expected.any(|package| !facts.known.contains(&package));
    lacking.then_some(Step::Update)
}

/// The ways to a linker for a compiler on this LLVM, the preferred one first.
fn linker_steps(facts: &Facts, oldest: u32) -> Vec<Step> {
    let fit = || LLVMS.into_iter().filter(|llvm| *llvm >= oldest);
    let have = fit().filter(|llvm| facts.llvms.contains(llvm));
    let build = have.flat_map(|llvm| {
        [
            install(facts, llvm_packages(llvm)),
            Some(Step::Linker(llvm)),
        ]
        .into_iter()
        .flatten()
    });
    let fetch = fit().filter_map(|llvm| install(facts, llvm_packages(llvm)));
    let ready = facts.binstall.then_some(Step::ReadyLinker);
    build.chain(fetch).chain(ready).collect()
}

/// The ways to a compiler, the preferred one first.
fn compiler_steps(facts: &Facts) -> Vec<Step> {
    let source = |name: &str| facts.rustup.then(|| Step::RustSource(name.to_owned()));
    if let Some(name) = &facts.wanted {
        return source(name).into_iter().collect();
    }
    let system = facts.system.as_ref().is_some_and(Compiler::is_usable);
    let link = (facts.rustup && system).then_some(Step::Link);
    link.into_iter()
        .chain(source("nightly"))
        .chain(install(facts, DEBIAN_RUST))
        .collect()
}

/// Installing those of the packages that are missing, when that is possible.
fn install<P: Into<String>>(facts: &Facts, packages: impl IntoIterator<Item = P>) -> Option<Step> {
    let mut missing: Vec<String> = packages.into_iter().map(Into::into).collect();
    missing.retain(|package| !facts.installed.contains(package));
    let possible = facts.apt && missing.iter().all(|package| facts.known.contains(package));
    (possible && !missing.is_empty()).then_some(Step::Packages(missing))
}

/// What a person can do where no step is left.
fn advice(facts: &Facts) -> String {
    let [llvm, ..] = LLVMS;
    let found = facts.seen.compilers.iter().find(|c| c.is_usable());
    if !facts.cc {
        return "no C compiler (cc): install gcc and libc6-dev".to_owned();
    }
    if let Some(name) = facts.wanted.as_ref().filter(|_| found.is_none()) {
        return format!(
            "{OVERRIDE}={name} names no rustup tool chain with its source: run `rustup component \
             add rust-src --toolchain {name}`, or unset {OVERRIDE}"
        );
    }
    match found {
        Some(compiler) => format!(
            "no bpf-linker for LLVM {}: install one from \
             https://github.com/aya-rs/bpf-linker/releases, or llvm-{}-dev and run this as root",
            compiler.llvm,
            compiler.llvm.max(llvm)
        ),
        None => format!(
            "no compiler with its source (1.{OLDEST_MINOR} or newer) for the kernel side: run \
             `rustup toolchain install nightly --component rust-src`, or as root on Debian 12 \
             `apt-get install {}`",
            DEBIAN_RUST.join(" ")
        ),
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
