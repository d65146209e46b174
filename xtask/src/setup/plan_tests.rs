//! The set-up on machines as they are met: each test plays one through to its end.

use super::*;
use crate::toolchain::Linker;

fn compiler(name: Option<&str>, llvm: u32, has_source: bool) -> Compiler {
    Compiler {
        name: name.map(str::to_owned),
        minor: 96,
        llvm,
        has_source,
    }
}

fn linker(llvm: Option<u32>) -> Option<Linker> {
    Some(Linker {
        path: "/bin/bpf-linker".into(),
        llvm,
    })
}

/// What the machine does with a step: `false` when it fails.
type Machine = fn(&mut Facts, &Step) -> bool;

/// Takes steps until nothing is left, as the set-up does.
fn play(mut facts: Facts, machine: Machine) -> (Vec<Step>, Result<(), String>) {
    let mut done = Vec::new();
    loop {
        match next(&facts, &done) {
            Ok(None) => return (done, Ok(())),
            Err(advice) => return (done, Err(advice)),
            Ok(Some(step)) => {
                assert!(!done.contains(&step), "{step:?} twice");
                machine(&mut facts, &step);
                done.push(step);
            }
        }
    }
}

/// Debian 12 with an online package mirror; rustup cannot download.
fn debian(facts: &mut Facts, step: &Step) -> bool {
    match step {
        Step::Update => facts.known = packages(),
        Step::Packages(list) => {
            facts.installed.extend(list.iter().cloned());
            facts.cc |= list.iter().any(|package| package == "gcc");
            if list.iter().any(|package| package == "rust-web-src") {
                let made = compiler(None, 22, true);
                match facts.rustup {
                    true => facts.system = Some(made),
                    false => facts.seen.compilers = vec![made],
                }
            }
            if list.iter().any(|package| package == "llvm-22-dev") {
                facts.llvms.push(22);
            }
        }
        Step::Link => facts
            .seen
            .compilers
            .push(compiler(Some(DEBIAN_TOOLCHAIN), 22, true)),
        Step::Linker(llvm) => facts.seen.linker = linker(Some(*llvm)),
        Step::RustSource(_) | Step::ReadyLinker => return false,
    }
    true
}

/// rustup can download; its nightly is on LLVM 22.
fn online(facts: &mut Facts, step: &Step) -> bool {
    match step {
        Step::RustSource(name) => facts.seen.compilers = vec![compiler(Some(name), 22, true)],
        Step::ReadyLinker => facts.seen.linker = linker(None),
        _ => return debian(facts, step),
    }
    true
}

/// rustup can download; its nightly is on LLVM 24, which Debian has not.
fn ahead(facts: &mut Facts, step: &Step) -> bool {
    match step {
        Step::RustSource(name) => facts.seen.compilers.push(compiler(Some(name), 24, true)),
        _ => return debian(facts, step),
    }
    true
}

fn words(packages: &[&str]) -> Step {
    Step::Packages(
        packages
            .iter()
            .map(|package| (*package).to_owned())
            .collect(),
    )
}

fn rust() -> Step {
    words(&DEBIAN_RUST)
}

fn llvm() -> Step {
    words(&[
        "llvm-22-dev",
        "libpolly-22-dev",
        "libzstd-dev",
        "zlib1g-dev",
    ])
}

fn source() -> Step {
    Step::RustSource("nightly".to_owned())
}

fn fresh_debian() -> Facts {
    Facts {
        rustup: true,
        cc: true,
        apt: true,
        ..Facts::default()
    }
}

#[test]
fn complete_needs_nothing() {
    let seen = Seen {
        compilers: vec![compiler(Some("nightly"), 22, true)],
        linker: linker(Some(22)),
    };
    let facts = Facts {
        seen,
        ..fresh_debian()
    };
    assert_eq!(play(facts, debian), (vec![], Ok(())));
}

#[test]
fn fresh_debian_where_rustup_cannot_download() {
    let (steps, end) = play(fresh_debian(), debian);
    assert_eq!(end, Ok(()));
    let expected = [
        Step::Update,
        source(),
        rust(),
        Step::Link,
        llvm(),
        Step::Linker(22),
    ];
    assert_eq!(steps, expected);
}

#[test]
fn fresh_debian_where_rustup_downloads() {
    let (steps, end) = play(fresh_debian(), online);
    assert_eq!(end, Ok(()));
    assert_eq!(steps, [Step::Update, source(), llvm(), Step::Linker(22)]);
}

#[test]
fn no_rustup_needs_no_link() {
    let (steps, end) = play(
        Facts {
            rustup: false,
            ..fresh_debian()
        },
        debian,
    );
    assert_eq!(end, Ok(()));
    assert_eq!(steps, [Step::Update, rust(), llvm(), Step::Linker(22)]);
}

#[test]
fn a_compiler_that_is_there_is_only_linked() {
    let system = Some(compiler(None, 22, true));
    let seen = Seen {
        linker: linker(Some(22)),
        ..Seen::default()
    };
    let facts = Facts {
        system,
        seen,
        apt: false,
        ..fresh_debian()
    };
    assert_eq!(play(facts, debian), (vec![Step::Link], Ok(())));
}

#[test]
fn a_nightly_ahead_of_every_llvm_gives_way_to_debian() {
    let (steps, end) = play(fresh_debian(), ahead);
    assert_eq!(end, Ok(()));
    assert_eq!(steps[1..4], [source(), rust(), Step::Link]);
    assert_eq!(steps.last(), Some(&Step::Linker(22)));
}

#[test]
fn a_linker_on_an_older_llvm_is_built_anew() {
    let seen = Seen {
        compilers: vec![compiler(Some("nightly"), 22, true)],
        linker: linker(Some(21)),
    };
    let facts = Facts {
        seen,
        llvms: vec![21, 22],
        apt: false,
        ..fresh_debian()
    };
    assert_eq!(play(facts, debian), (vec![Step::Linker(22)], Ok(())));
}

#[test]
fn without_root_rustup_and_a_ready_linker_do() {
    let facts = Facts {
        apt: false,
        binstall: true,
        ..fresh_debian()
    };
    assert_eq!(
        play(facts, online),
        (vec![source(), Step::ReadyLinker], Ok(()))
    );
}

#[test]
fn without_root_nor_network_it_says_what_to_install() {
    let (steps, end) = play(
        Facts {
            apt: false,
            ..fresh_debian()
        },
        debian,
    );
    assert_eq!(steps, [source()]);
    assert!(
        end.unwrap_err()
            .contains("rustup toolchain install nightly --component rust-src")
    );
    let seen = Seen {
        compilers: vec![compiler(Some("nightly"), 23, true)],
        linker: None,
    };
    let (_, end) = play(
        Facts {
            seen,
            apt: false,
            ..fresh_debian()
        },
        debian,
    );
    assert!(end.unwrap_err().contains("no bpf-linker for LLVM 23"));
}

#[test]
fn no_other_tool_chain_than_the_one_asked_for() {
    let facts = Facts {
        wanted: Some("mine".to_owned()),
        system: Some(compiler(None, 22, true)),
        ..fresh_debian()
    };
    let (steps, end) = play(facts, debian);
    assert_eq!(steps, [Step::Update, Step::RustSource("mine".to_owned())]);
    assert!(
        end.unwrap_err()
            .starts_with("REMORA_EBPF_TOOLCHAIN=mine names no rustup")
    );
}

#[test]
fn a_c_compiler_comes_first() {
    let facts = Facts {
        cc: false,
        ..fresh_debian()
    };
    let (steps, end) = play(facts.clone(), debian);
    assert_eq!(end, Ok(()));
    assert_eq!(steps[..2], [Step::Update, words(&C_COMPILER)]);
    let (_, end) = play(
        Facts {
            apt: false,
            ..facts
        },
        debian,
    );
    assert_eq!(
        end,
        Err("no C compiler (cc): install gcc and libc6-dev".to_owned())
    );
}

#[test]
fn a_mirror_that_has_nothing_ends_in_advice() {
    let (steps, end) = play(fresh_debian(), |_, _| false);
    assert_eq!(steps, [Step::Update, source()]);
    assert!(end.is_err());
}
