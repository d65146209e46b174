//! The guest's disk: the agent, the tests, their specimens, and as much of a system as they need.
//!
//! A file system in a file, for the cloud kernels have the drivers of an NVMe disk and of ext4 built
//! in, and waits for a disk are waits for a disk there.

use std::collections::BTreeMap;
use std::fs;
use std::io::BufReader;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use cargo_metadata::{Message, TargetKind};

use crate::process::{cargo, line, run};
use crate::toolchain;

/// The guest's first process.
const INIT: &str = include_str!("init.sh");
/// Programs of this machine that tests run; busybox has the rest.
const PROGRAMS: [&str; 7] = ["bash", "ip", "mount", "nice", "setpriv", "ss", "unshare"];
/// Servers and their load, where they are installed.
const SERVERS: [&str; 2] = ["redis-server", "redis-benchmark"];
/// Where Debian's Python is; others (pyenv's, say) need not be whole by their libraries alone.
const PYTHON: &str = "/usr/bin/python3";
/// Libraries that are loaded by name at run time.
const BY_NAME: [&str; 1] = ["libgcc_s.so.1"];
/// Room for everything and for what tests write; the file is sparse.
const DISK_BYTES: u64 = 1 << 30;

/// The tests of `remora-tests` by name: the file each is built from, and its executable.
pub(super) type Suites = BTreeMap<String, PathBuf>;

/// Builds the end-to-end tests.
///
/// # Errors
/// They do not build.
pub(super) fn build_tests() -> anyhow::Result<Suites> {
    let mut command = cargo();
    command.args(["test", "--package", "remora-tests", "--no-run"]);
    command.arg("--message-format=json-render-diagnostics");
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", line(&command)))?;
    let output = child.stdout.take().context("cargo has no output")?;
    let mut suites = Suites::new();
    for message in Message::parse_stream(BufReader::new(output)) {
        if let Message::CompilerArtifact(artifact) = message.context("cannot read from cargo")?
            && artifact.target.kind.contains(&TargetKind::Test)
            && let Some(executable) = artifact.executable
        {
            suites.insert(artifact.target.name, executable.into());
        }
    }
    if !child.wait()?.success() {
        bail!("the end-to-end tests do not build: see the compiler's messages above");
    }
    Ok(suites)
}

/// The names of all tests of the suites: `state::a_stop_in_the_middle_is_timed`.
///
/// # Errors
/// A suite cannot be run.
pub(super) fn names(suites: &Suites) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for (suite, executable) in suites {
        let output = Command::new(executable).arg("--list").output();
        let output = output.with_context(|| format!("cannot start {}", executable.display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let tests = text.lines().filter_map(|line| line.strip_suffix(": test"));
        names.extend(tests.map(|test| format!("{suite}::{test}")));
    }
    Ok(names)
}

/// What a guest's disk is filled with.
pub(super) struct Payload<'a> {
    /// The agent.
    pub agent: &'a Path,
    /// The tests' executables.
    pub suites: &'a Suites,
    /// Those that are run, in this order.
    pub tests: &'a [&'a str],
    /// After so long a test is killed, in seconds.
    pub limit_s: u64,
}

/// Makes the disk; `folder` is for its parts, and emptied first.
///
/// # Errors
/// A program is missing, or there is no room.
pub(super) fn make(payload: &Payload<'_>, folder: &Path, disk: &Path) -> anyhow::Result<()> {
    let _ = fs::remove_dir_all(folder);
    let root = Root(folder.to_owned());
    for place in ["dev", "proc", "sys", "run", "tmp", "usr/local"] {
        fs::create_dir_all(folder.join(place))?;
    }
    root.system()?;
    root.guest(payload)?;
    let file = fs::File::create(disk).with_context(|| disk.display().to_string())?;
    file.set_len(DISK_BYTES)?;
    let mke2fs = find("mke2fs").context("no mke2fs")?;
    let mut command = Command::new(mke2fs);
    command.args(["-q", "-F", "-t", "ext4", "-E", "root_owner=0:0", "-d"]);
    run(command.arg(folder).arg(disk))
}

/// Where a program is, the administrator's included: a user's path may lack their folder.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    let of_root = || Some(Path::new("/usr/sbin").join(program)).filter(|path| path.exists());
    toolchain::find(program).or_else(of_root)
}

/// The folder that becomes the guest's root.
struct Root(PathBuf);

impl Root {
    /// A shell, the programs that tests run, Python.
    fn system(&self) -> anyhow::Result<()> {
        let busybox = toolchain::find("busybox").context("no busybox")?;
        if !libraries(&busybox)?.is_empty() {
            bail!("busybox is linked with shared libraries: install busybox-static");
        }
        self.copy(&busybox, Path::new("/bin/busybox"))?;
        for name in PROGRAMS {
            let found = find(name).with_context(|| format!("no program {name}"))?;
            self.program(&found, &Path::new("/usr/bin").join(name))?;
        }
        for found in SERVERS.iter().filter_map(|name| toolchain::find(name)) {
            self.program(&found, &found)?;
        }
        self.python()?;
        fs::create_dir_all(self.0.join("etc"))?;
        let passwd = "root:x:0:0:root:/tmp:/bin/sh\nnobody:x:65534:65534:nobody:/tmp:/bin/sh\n";
        fs::write(self.0.join("etc/passwd"), passwd)?;
        fs::write(self.0.join("init"), INIT)?;
        Ok(fs::set_permissions(
            self.0.join("init"),
            fs::Permissions::from_mode(0o755),
        )?)
    }

    /// Debian's Python with its library.
    fn python(&self) -> anyhow::Result<()> {
        let python = fs::canonicalize(PYTHON).context("no Python of the system")?;
        self.program(&python, &python)?;
        self.copy(&python, Path::new(PYTHON))?;
        let name = python.file_name().context("a file")?;
        let library = Path::new("/usr/lib").join(name);
        let into = self.0.join("usr/lib");
        fs::create_dir_all(&into)?;
        let mut copy = Command::new("cp");
        copy.args(["--archive", "--no-preserve=ownership"]);
        run(copy.arg(&library).arg(&into))?;
        for module in fs::read_dir(library.join("lib-dynload"))? {
            self.libraries_of(&module?.path())?;
        }
        Ok(())
    }

    /// The agent, the tests, their specimens.
    fn guest(&self, payload: &Payload<'_>) -> anyhow::Result<()> {
        self.stripped(payload.agent, "guest/remora")?;
        for (suite, executable) in payload.suites {
            self.stripped(executable, &format!("guest/target/deps/{suite}"))?;
        }
        let specimens = self.0.join("guest/specimens");
        let mut build = cargo();
        build.args(["run", "--quiet", "--package", "remora-tests"]);
        run(build
            .args(["--bin", "build-specimens", "--"])
            .arg(&specimens))?;
        for specimen in fs::read_dir(&specimens)? {
            self.libraries_of(&specimen?.path())?;
        }
        let tests = payload
            .tests
            .iter()
            .filter_map(|name| name.split_once("::"));
        let lines: String = tests
            .map(|(suite, name)| format!("{suite} {name}\n"))
            .collect();
        fs::write(self.0.join("guest/tests"), lines)?;
        let settings = format!("LIMIT={}\n", payload.limit_s);
        Ok(fs::write(self.0.join("guest/settings"), settings)?)
    }

    /// Debug information of the tests and the agent would be most of the disk.
    fn stripped(&self, from: &Path, to: &str) -> anyhow::Result<()> {
        let to = self.0.join(to);
        fs::create_dir_all(to.parent().context("a file lies in a folder")?)?;
        run(Command::new("strip").arg("-o").arg(&to).arg(from))?;
        self.libraries_of(from)
    }

    fn program(&self, from: &Path, to: &Path) -> anyhow::Result<()> {
        self.copy(from, to)?;
        self.libraries_of(from)
    }

    fn libraries_of(&self, program: &Path) -> anyhow::Result<()> {
        for library in libraries(program)? {
            self.copy(&library, &library)?;
            for name in BY_NAME {
                let beside = library.with_file_name(name);
                if beside.exists() {
                    self.copy(&beside, &beside)?;
                }
            }
        }
        Ok(())
    }

    /// Copies what a path leads to, unless it is there.
    fn copy(&self, from: &Path, to: &Path) -> anyhow::Result<()> {
        let to = self.0.join(to.strip_prefix("/").unwrap_or(to));
        if to.exists() {
            return Ok(());
        }
        fs::create_dir_all(to.parent().context("a file lies in a folder")?)?;
        let copied = fs::copy(from, &to);
        copied.with_context(|| format!("cannot copy {}", from.display()))?;
        Ok(())
    }
}

/// The shared libraries of an executable, its loader too; none of what is not one.
fn libraries(program: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).env("LC_ALL", "C").output();
    let output = output.context("cannot start ldd")?;
    Ok(paths_in(&String::from_utf8_lossy(&output.stdout)))
}

/// The files that `ldd` names: `NAME => PATH (ADDRESS)`, or the loader's `PATH (ADDRESS)`.
fn paths_in(text: &str) -> Vec<PathBuf> {
    let words = text.lines().filter_map(|line| line.rsplit_once(" (0x"));
    let paths = words.filter_map(|(before, _)| before.split_whitespace().last());
    paths
        .filter(|path| path.starts_with('/'))
        .map(PathBuf::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ldd_names_libraries_and_the_loader() {
        let text = "\tlinux-vdso.so.1 (0x00007ffc)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let expected = [
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert_eq!(paths_in(text), expected.map(PathBuf::from));
        assert_eq!(
            paths_in("\tnot a dynamic executable\n"),
            [""; 0].map(PathBuf::from)
        );
    }
}
