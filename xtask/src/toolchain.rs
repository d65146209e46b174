//! Which tool chain can build the kernel side, as far as one can tell without changing anything.
//!
//! The kernel side needs a compiler that has the source of `core` (built anew for the BPF target)
//! and `bpf-linker` on the compiler's LLVM or a newer one: an older LLVM cannot read the bitcode.
//!
//! `agent/probe/build.rs` includes this file too (by `#[path]`), so that what the set-up calls complete
//! is what the build then takes. Hence the standard library only, and nothing that only one uses.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Environment variable that names the rustup tool chain to take, and no other.
pub(crate) const OVERRIDE: &str = "REMORA_EBPF_TOOLCHAIN";

/// rustup's names of the tool chains that are looked at, the preferred one first.
const CANDIDATES: [&str; 2] = ["debian-web", "nightly"];

/// The oldest compiler that takes the workspace: `rust-version` of Cargo.toml, its minor number.
pub(crate) const OLDEST_MINOR: u32 = 88;

/// A compiler that may build the kernel side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Compiler {
    /// rustup's name of it; `None`: the `rustc` on the path of a machine without rustup.
    pub name: Option<String>,
    /// N of version 1.N.
    pub minor: u32,
    /// Major version of its LLVM.
    pub llvm: u32,
    /// Whether the source of `core` is in its sysroot.
    pub has_source: bool,
}

/// A `bpf-linker` that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Linker {
    /// The executable.
    pub path: PathBuf,
    /// Major version of the LLVM it loads; `None`: LLVM is inside it, and its version not told.
    pub llvm: Option<u32>,
}

/// What is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// In order of preference, the unfit ones too.
    pub compilers: Vec<Compiler>,
    /// The first one found.
    pub linker: Option<Linker>,
}

impl Seen {
    /// Looks at this machine: runs the compilers and the linker for their versions.
    pub(crate) fn look() -> Self {
        let rustup = find("rustup").is_some();
        let compilers = match (rustup, wanted()) {
            (false, _) => Compiler::look("rustc".as_ref(), None).into_iter().collect(),
            (true, Some(name)) => Compiler::look_in_rustup(&name).into_iter().collect(),
            (true, None) => {
                let found = CANDIDATES.iter().copied();
                found.filter_map(Compiler::look_in_rustup).collect()
            }
        };
        Self {
            compilers,
            linker: Linker::look(),
        }
    }

    /// The first compiler that can build the kernel side with the linker that is there.
    pub(crate) fn complete(&self) -> Option<(&Compiler, &Linker)> {
        let linker = self.linker.as_ref()?;
        let mut fit = self
            .compilers
            .iter()
            .filter(|c| c.is_usable() && linker.reads(c));
        Some((fit.next()?, linker))
    }
}

impl Compiler {
    /// Whether it could build the kernel side, given a linker.
    pub(crate) fn is_usable(&self) -> bool {
        self.has_source && self.minor >= OLDEST_MINOR
    }

    /// Looks at the tool chain that rustup knows by this name.
    fn look_in_rustup(name: &str) -> Option<Self> {
        Self::look("rustup".as_ref(), Some(name))
    }

    /// Asks the compiler `program`, or `program run name rustc`, for what it is.
    pub(crate) fn look(program: &Path, name: Option<&str>) -> Option<Self> {
        let ask = |args: &[&str]| {
            let mut command = Command::new(program);
            if let Some(name) = name {
                // Else a newer rustup would download what it is only asked about.
                command
                    .env("RUSTUP_AUTO_INSTALL", "0")
                    .args(["run", name, "rustc"]);
            }
            output(command.args(args))
        };
        let (minor, llvm) = parse_version(&ask(&["-vV"])?)?;
        let library = Path::new(ask(&["--print", "sysroot"])?.trim())
            .join("lib/rustlib/src/rust/library/Cargo.lock");
        Some(Self {
            name: name.map(str::to_owned),
            minor,
            llvm,
            has_source: library.exists(),
        })
    }
}

impl Linker {
    /// Whether its LLVM reads what this compiler writes.
    pub(crate) fn reads(&self, compiler: &Compiler) -> bool {
        self.llvm.is_none_or(|llvm| llvm >= compiler.llvm)
    }

    fn look() -> Option<Self> {
        const NAME: &str = "bpf-linker";
        let installed = || Some(cargo_bin()?.join(NAME)).filter(|file| file.is_file());
        let path = find(NAME).or_else(installed)?;
        output(Command::new(&path).arg("--version"))?;
        let llvm = loaded_llvm(&fs::read(&path).ok()?);
        Some(Self { path, llvm })
    }
}

/// The tool chain that the environment asks for, if any.
pub(crate) fn wanted() -> Option<String> {
    env::var(OVERRIDE).ok().filter(|name| !name.is_empty())
}

/// Where the path has a program.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// Where cargo installs programs; need not be on the path.
fn cargo_bin() -> Option<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")))?;
    Some(home.join("bin"))
}

/// Standard output of a command that succeeded.
fn output(command: &mut Command) -> Option<String> {
    let output = command
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}

/// N of 1.N, and the major version of LLVM, from the output of `rustc -vV`.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let field = |name| text.lines().find_map(|line| line.strip_prefix(name));
    let minor = field("release: ")?.split('.').nth(1)?.parse().ok()?;
    let llvm = field("LLVM version: ")?.split('.').next()?.parse().ok()?;
    Some((minor, llvm))
}

/// Major version of the shared LLVM that an executable names among the libraries it loads:
/// `libLLVM.so.22.1` (LLVM 18 and later) or `libLLVM-17.so.1`.
fn loaded_llvm(executable: &[u8]) -> Option<u32> {
    const NAME: &[u8] = b"libLLVM";
    let at = executable
        .windows(NAME.len())
        .position(|window| window == NAME)?
        + NAME.len();
    let tail = &executable[at..];
    let tail = tail
        .strip_prefix(b".so.")
        .or_else(|| tail.strip_prefix(b"-"))?;
    let digits = tail
        .iter()
        .take(3)
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    std::str::from_utf8(&tail[..digits]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiler(name: &str, llvm: u32) -> Compiler {
        Compiler {
            name: Some(name.to_owned()),
            minor: OLDEST_MINOR,
            llvm,
            has_source: true,
        }
    }

    fn linker(llvm: Option<u32>) -> Option<Linker> {
        Some(Linker {
            path: PathBuf::from("/bin/bpf-linker"),
            llvm,
        })
    }

    #[test]
    fn version_of_a_distribution_and_of_a_nightly() {
        let debian = "rustc 1.96.0 (ac68 2026) (built from a source tarball)\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        assert_eq!(parse_version(debian), Some((96, 22)));
        assert_eq!(
            parse_version("release: 1.97.0-nightly\nLLVM version: 23.0\n"),
            Some((97, 23))
        );
        assert_eq!(parse_version("release: 1.97.0\n"), None);
        assert_eq!(parse_version(""), None);
    }

    #[test]
    fn llvm_is_read_from_the_name_of_the_library() {
        assert_eq!(loaded_llvm(b"\0libc.so.6\0libLLVM.so.22.1\0"), Some(22));
        assert_eq!(loaded_llvm(b"libLLVM-17.so.1"), Some(17));
        assert_eq!(loaded_llvm(b"static, libLLVM"), None);
        assert_eq!(loaded_llvm(b""), None);
    }

    #[test]
    fn the_first_compiler_that_fits_the_linker_is_taken() {
        let mut seen = Seen {
            compilers: vec![compiler("new", 23), compiler("old", 22)],
            linker: linker(Some(22)),
        };
        let name = |seen: &Seen| seen.complete().and_then(|(c, _)| c.name.clone());
        assert_eq!(name(&seen).as_deref(), Some("old"));
        seen.linker = linker(None);
        assert_eq!(name(&seen).as_deref(), Some("new"));
        seen.linker = None;
        assert_eq!(name(&seen), None);
    }

    #[test]
    fn no_source_or_an_old_compiler_is_not_usable() {
        assert!(compiler("a", 22).is_usable());
        assert!(
            !Compiler {
                has_source: false,
                ..compiler("a", 22)
            }
            .is_usable()
        );
        assert!(
            !Compiler {
                minor: OLDEST_MINOR - 1,
                ..compiler("a", 22)
            }
            .is_usable()
        );
    }
}
