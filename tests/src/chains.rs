//! Programs whose call chains are known, in the ways that a program is built, and what a stack of
//! each must show. Their sources are `specimens/unwind*`.

use crate::compile::build_with;
use std::path::PathBuf;

/// As distributions build: no frame pointers, each call through the PLT bound when it is made.
const C_FLAGS: &[&str] = &[
    "-O2",
    "-g",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-fomit-frame-pointer",
    "-pthread",
    "-Wl,-z,lazy",
];
const C: &[&str] = &["unwind_main.c", "unwind.c", "life.c", "log.c"];
const CPP: &[&str] = &["unwind_main.c", "unwind_cpp.cc", "life.c", "log.c"];
const LATE: &[&str] = &["late.c", "life.c", "log.c"];
const RUST: &[&str] = &[
    "--edition=2024",
    "-Copt-level=3",
    "-Cpanic=unwind",
    "unwind.rs",
];

/// One program, built in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Build {
    /// Of the binary.
    pub name: &'static str,
    compiler: &'static str,
    flags: &'static [&'static str],
    sources: &'static [&'static str],
    behind: &'static [&'static str],
    /// What its threads show.
    pub chains: &'static [Chain],
}

/// A thread and the functions on its stack, from its start to its leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Name of the thread.
    pub thread: &'static str,
    /// The functions: see `matches` for how they are written.
    pub frames: &'static str,
    /// What follows in a thread that burns, where that is not the usual leaf.
    pub burning: Option<&'static str>,
}

const fn chain(thread: &'static str, frames: &'static str) -> Chain {
    Chain {
        thread,
        frames,
        burning: None,
    }
}

const C_CHAINS: &[Chain] = &[
    chain("60", "thread_60 recurse*60"),
    chain("400", "thread_400 recurse*400"),
    chain("alloca", "thread_alloca with_vla with_alloca"),
    chain(
        "realigned",
        "thread_realigned realigned many_registers realigned many_registers realigned \
         many_registers realigned many_registers realigned many_registers",
    ),
    chain("mebibyte", "thread_mebibyte a_mebibyte"),
    chain("tail", "thread_tail tail_outer tail_leaf"),
    chain("noreturn", "thread_noreturn ends_with_a_call never_returns"),
    chain("qsort", "thread_qsort sorts … compares"),
    chain("raise", "thread_raise raises … on_raise"),
    chain("fault", "thread_fault faults_at_entry … on_fault"),
    Chain {
        thread: "plt",
        frames: "thread_plt calls_libc",
        burning: Some("…"),
    },
    Chain {
        thread: "vdso",
        frames: "thread_vdso reads_clocks",
        burning: Some("…"),
    },
];

const CPP_CHAINS: &[Chain] = &[
    chain("cleanup", "thread_cleanup has_a_guard ~Guard"),
    chain("catch", "thread_catch catches*5"),
    chain("sort", "thread_sort … less_by_leaf"),
    chain("virtual", "thread_virtual draw*3"),
    Chain {
        thread: "throw",
        frames: "thread_throw throws_again_and_again",
        burning: Some("…"),
    },
];

const RUST_CHAINS: &[Chain] = &[
    chain("60", "recurses recurse*60"),
    chain("sort", "sorts … compares"),
    chain("cleanup", "cleans_up … has_a_guard … drop"),
    chain("draw", "draws draw*3"),
];

const PLAIN: Build = Build {
    name: "unwind",
    compiler: "gcc",
    flags: C_FLAGS,
    sources: C,
    behind: &[],
    chains: C_CHAINS,
};

/// C, with shared libraries.
pub const DYNAMIC: Build = PLAIN;
/// The same without symbols.
pub const STRIPPED: Build = Build {
    name: "unwind-stripped",
    behind: &["-s"],
    ..PLAIN
};
/// The same without shared libraries.
pub const STATIC: Build = Build {
    name: "unwind-static",
    behind: &["-static"],
    ..PLAIN
};
/// The same, at any address.
pub const STATIC_PIE: Build = Build {
    name: "unwind-static-pie",
    behind: &["-static-pie"],
    ..PLAIN
};
/// C++.
pub const CPLUSPLUS: Build = Build {
    name: "unwind-cpp",
    sources: CPP,
    behind: &["-lstdc++"],
    chains: CPP_CHAINS,
    ..PLAIN
};
/// Rust as `cargo build --release` makes it.
pub const RUST_RELEASE: Build = Build {
    name: "unwind-rust",
    compiler: "rustc",
    flags: &[],
    sources: RUST,
    behind: &[],
    chains: RUST_CHAINS,
};
/// The same with musl, whose parts in that tool chain say how they are unwound.
pub const RUST_MUSL: Build = Build {
    name: "unwind-rust-musl",
    flags: &["--target=x86_64-unknown-linux-musl"],
    ..RUST_RELEASE
};
/// What loads code or becomes another program while it is watched.
pub const LATE_PROGRAM: Build = Build {
    name: "late",
    sources: LATE,
    behind: &["-ldl"],
    chains: &[],
    ..PLAIN
};
/// The code that it loads.
pub const LATE_LIBRARY: Build = Build {
    name: "late.so",
    sources: &["late_library.c"],
    behind: &["-shared", "-fPIC"],
    chains: &[],
    ..PLAIN
};

/// Hundreds of threads, each blocked at the end of a chain that it drew.
pub const STOPS: Build = Build {
    name: "stops",
    sources: &["stops.c", "life.c", "log.c"],
    chains: &[],
    ..PLAIN
};

/// Every build above.
pub const ALL: &[Build] = &[
    DYNAMIC,
    STRIPPED,
    STATIC,
    STATIC_PIE,
    CPLUSPLUS,
    RUST_RELEASE,
    RUST_MUSL,
    LATE_PROGRAM,
    LATE_LIBRARY,
    STOPS,
];

impl Build {
    /// Builds it, unless it is there already.
    ///
    /// # Errors
    /// In words, where this machine cannot.
    pub fn path(&self) -> Result<PathBuf, String> {
        let arguments = [self.flags, self.sources, self.behind].concat();
        build_with(self.compiler, self.name, &arguments)
    }
}

/// Whether the frames, root first, hold all of the chain, next to each other.
///
/// The chain is written as words: a function, `function*N` for a recursion of exactly that depth,
/// `…` for any frames or none.
pub fn matches(frames: &[String], chain: &str) -> bool {
    let names: Vec<&str> = frames.iter().map(|frame| bare(frame)).collect();
    let mut parts: Vec<&str> = Vec::new();
    for word in chain.split_whitespace() {
        match word.split_once('*') {
            Some((name, count)) => {
                let count = count.parse().expect("a number behind the star");
                parts.extend(std::iter::repeat_n(name, count));
            }
            None => parts.push(word),
        }
    }
    (0..names.len()).any(|at| {
        let before = at.checked_sub(1).and_then(|at| names.get(at));
        // A recursion that is deeper than it should be does not match from its second frame on.
        before != parts.first() && begins(&names[at..], &parts)
    })
}

fn begins(names: &[&str], parts: &[&str]) -> bool {
    match parts {
        [] => true,
        ["…", rest @ ..] => (0..=names.len()).any(|skip| begins(&names[skip..], rest)),
        [part, rest @ ..] => names.first() == Some(part) && begins(&names[1..], rest),
    }
}

/// The name that a function has in its source: without path, parameters and the compiler's marks.
fn bare(frame: &str) -> &str {
    let name = frame.split_once(" [").map_or(frame, |(name, _)| name);
    let name = name.split_once('(').map_or(name, |(name, _)| name);
    let name = name.rsplit_once("::").map_or(name, |(_, name)| name);
    ["_[i]", ".cold", ".part.0"]
        .iter()
        .fold(name.trim_end(), |name, mark| {
            name.strip_suffix(mark).unwrap_or(name)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(text: &str) -> Vec<String> {
        text.split(';').map(str::to_owned).collect()
    }

    #[test]
    fn a_chain_is_matched_in_order_and_depth() {
        let stack = frames("start;main;a::f(int);f [lib.so];f.cold;libc;g;leaf");
        assert!(matches(&stack, "main f*3 … g leaf"));
        assert!(!matches(&stack, "f*2 libc"));
        assert!(!matches(&stack, "main f*4"));
        assert!(!matches(&stack, "main f*3 g"));
        assert!(!matches(&stack, "leaf …  main"));
    }
}
