//! For tests: the CPython versions that are installed here.

use super::Version;
use std::path::PathBuf;
use std::process::Command;

/// An installed interpreter that is old enough and new enough.
#[derive(Clone, Debug)]
pub(crate) struct Installed {
    /// What it says of itself.
    pub version: Version,
    /// The program.
    pub program: PathBuf,
    /// The folder of its headers; they may be missing.
    pub include: PathBuf,
}

const ASK: &str = "import sys, sysconfig; print(*sys.version_info[:3], sys.executable, \
                   sysconfig.get_paths()['include'], sep='\\n')";

/// All of them: the system's and pyenv's.
pub(crate) fn all() -> Vec<Installed> {
    let mut folders = vec![PathBuf::from("/usr/bin"), PathBuf::from("/usr/local/bin")];
    let home = std::env::var_os("PYENV_ROOT").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".pyenv")));
    let versions = home.and_then(|home| std::fs::read_dir(home.join("versions")).ok());
    for version in versions.into_iter().flatten().flatten() {
        folders.push(version.path().join("bin"));
    }
    let mut found: Vec<Installed> = Vec::new();
    for folder in folders {
        for minor in 8..=14 {
            let program = folder.join(format!("python3.{minor}"));
            if let Some(installed) = ask(program) {
                found.push(installed);
            }
        }
    }
    found.sort_by_key(|installed| (installed.version, installed.program.clone()));
    found.dedup_by_key(|installed| installed.program.clone());
    if found.is_empty() {
        remora_testing::skip("no CPython 3.8 to 3.14 is installed");
    }
    found
}

fn ask(program: PathBuf) -> Option<Installed> {
    let output = Command::new(program).args(["-c", ASK]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let lines: Vec<&str> = text.lines().collect();
    let &[major, minor, micro, program, include] = &lines[..] else {
        return None;
    };
    Some(Installed {
        version: Version {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            micro: Some(micro.parse().ok()?),
        },
        program: program.into(),
        include: include.into(),
    })
}
