//! Builds the specimens with the C compiler of the machine, into the target folder.
//!
//! They are C and not Rust because frame pointers, optimisation and the names of functions must be
//! under the test's control, and because one must be a 32-bit program without a libc.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

/// Names a folder of specimens that were built beforehand, with their sources: what
/// `build-specimens` leaves. Where it is set, no compiler is asked, nor need there be one.
pub const PREBUILT: &str = "REMORA_SPECIMENS";

const FLAGS: &[&str] = &[
    "-O1",
    "-g",
    "-std=gnu17",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-fno-omit-frame-pointer",
    "-fno-optimize-sibling-calls",
    "-pthread",
];
const COMPAT32_FLAGS: &[&str] = &["-m32", "-nostdlib", "-static", "-no-pie"];

const SPECIMEN: &[&str] = &[
    "main.c",
    "life.c",
    "log.c",
    "wait_io.c",
    "wait_socket.c",
    "wait_sync.c",
    "wait_process.c",
    "wait_disk.c",
    "burn.c",
    "grow.c",
    "threads.c",
    "process.c",
    "event_loop.c",
    "locks.c",
    "soak.c",
];
const AFTER_EXEC: &[&str] = &["after_exec.c", "life.c", "log.c"];
const HEAP: &[&str] = &["heap.c"];
const COMPAT32: &[&str] = &["compat32.S"];

/// Where binaries go, and the working directory of specimens: on the disk of the build, not in
/// memory, so that waits for a disk are waits.
pub fn folder() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    // target/PROFILE/deps/TEST-HASH, or target/PROFILE/PROGRAM.
    let mut profile = test.parent().expect("a program lies in a folder");
    if profile.ends_with("deps") {
        profile = profile
            .parent()
            .expect("a test lies in target/PROFILE/deps");
    }
    let folder = profile.join("specimens");
    std::fs::create_dir_all(&folder).expect("the target folder is writable");
    folder
}

/// The program `specimen`.
pub fn specimen() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build("specimen", FLAGS, SPECIMEN).unwrap_or_else(|why| panic!("{why}")))
}

/// The program that the modes `exec` and `exec-thread` become.
pub fn after_exec() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        build("after_exec", FLAGS, AFTER_EXEC).unwrap_or_else(|why| panic!("{why}"))
    })
}

/// The program that allocates in known ways.
pub fn heap() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build("heap", FLAGS, HEAP).unwrap_or_else(|why| panic!("{why}")))
}

/// The 32-bit program.
///
/// # Errors
/// The compiler's words, where it cannot make one (another architecture, say).
pub fn compat32() -> Result<&'static Path, String> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| build("compat32", COMPAT32_FLAGS, COMPAT32));
    built.as_deref().map_err(Clone::clone)
}

/// The folder of the specimens' sources.
pub fn sources() -> PathBuf {
    prebuilt().unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("specimens"))
}

fn prebuilt() -> Option<PathBuf> {
    std::env::var_os(PREBUILT).map(PathBuf::from)
}

fn build(name: &str, flags: &[&str], sources: &[&str]) -> Result<PathBuf, String> {
    let compiler = std::env::var("CC").unwrap_or_else(|_| "gcc".into());
    build_with(&compiler, name, &[flags, sources].concat())
}

/// Builds a specimen in the folder of sources; `arguments` are flags and sources, in that order.
///
/// # Errors
/// In words: the compiler is missing, or cannot make it here.
pub fn build_with(compiler: &str, name: &str, arguments: &[&str]) -> Result<PathBuf, String> {
    if let Some(prebuilt) = prebuilt() {
        let binary = prebuilt.join(name);
        let missing = || format!("no specimen {name} was built beforehand: see prebuilt.rs");
        return binary.exists().then_some(binary).ok_or_else(missing);
    }
    // rustc's own partial files have the same names in each of its runs.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let source_folder = sources();
    let binary = folder().join(name);
    if is_fresh(&binary, &source_folder) {
        return Ok(binary);
    }
    // Another test process may build the same one: each its own file, the last rename wins.
    let partial = folder().join(format!("{name}.{}.partial", std::process::id()));
    let output = Command::new(compiler)
        .current_dir(&source_folder)
        .arg("-o")
        .arg(&partial)
        .args(arguments)
        .output()
        .map_err(|error| format!("cannot run {compiler}: {error}; install it"))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "{compiler} cannot build the specimen {name}:\n{words}"
        ));
    }
    std::fs::rename(&partial, &binary).map_err(|error| format!("{}: {error}", binary.display()))?;
    Ok(binary)
}

/// Builds a specimen that is a package of its own, for its dependencies: `specimens/NAME/Cargo.toml`, with a lock file.
///
/// # Errors
/// In words: cargo is missing, or cannot make it here.
pub fn build_package(name: &str) -> Result<PathBuf, String> {
    if let Some(prebuilt) = prebuilt() {
        let binary = prebuilt.join(name);
        let missing = || format!("no specimen {name} was built beforehand: see prebuilt.rs");
        return binary.exists().then_some(binary).ok_or_else(missing);
    }
    let target = folder().join(format!("{name}-package"));
    // Cargo itself knows what is fresh, and takes its turn where another test builds the same.
    let output = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()))
        .args(["build", "--release", "--locked", "--quiet"])
        .arg("--manifest-path")
        .arg(sources().join(name).join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        // Those are of the tests' own build.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()
        .map_err(|error| format!("cannot run cargo: {error}; install it"))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(format!("cargo cannot build the specimen {name}:\n{words}"));
    }
    Ok(target.join("release").join(name))
}

/// Whether the binary is younger than every source and than the lists of flags.
fn is_fresh(binary: &Path, source_folder: &Path) -> bool {
    let Some(built) = changed(binary) else {
        return false;
    };
    let sources = std::fs::read_dir(source_folder).expect("the sources of the specimens are there");
    let lists = ["src/compile.rs", "src/chains.rs"]
        .map(|file| Path::new(env!("CARGO_MANIFEST_DIR")).join(file));
    sources
        .map(|entry| entry.expect("the folder of specimens is readable").path())
        .chain(lists)
        .all(|source| changed(&source).is_some_and(|changed| changed < built))
}

fn changed(path: &Path) -> Option<SystemTime> {
    path.metadata()
        .and_then(|metadata| metadata.modified())
        .ok()
}
