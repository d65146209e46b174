//! Debian's packages of other releases, by lists of its own: this machine's stay as they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::process::{line, run};

const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Where apt is told of its mirrors.
const SOURCES: [&str; 2] = ["/etc/apt/sources.list", "/etc/apt/sources.list.d"];

/// apt with a list of sources of its own.
pub(super) struct Apt {
    folder: PathBuf,
}

impl Apt {
    /// apt that sees these suites (`debian bookworm`, `debian-security bookworm-security`) of this
    /// machine's mirror, and no other; its lists are kept in the folder.
    ///
    /// # Errors
    /// No mirror of Debian is known, the folder cannot be written, or the lists cannot be fetched.
    pub(super) fn with(folder: &Path, suites: &[String]) -> anyhow::Result<Self> {
        let mirror = mirror()?;
        let source = |suite: &String| {
            let (archive, suite) = suite.split_once(' ').unwrap_or(("debian", suite));
            format!("deb [arch=amd64 signed-by={KEYS}] {mirror}/{archive} {suite} main\n")
        };
        for part in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(part)).context("a folder for apt's lists")?;
        }
        fs::write(
            folder.join("sources"),
            suites.iter().map(source).collect::<String>(),
        )?;
        let apt = Self {
            folder: folder.to_owned(),
        };
        run(&mut apt.command("apt-get", &["--quiet=2", "update"]))?;
        Ok(apt)
    }

    /// `apt-get` or `apt-cache`.
    pub(super) fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        for (option, file) in [
            ("Dir::Etc::sourcelist", "sources"),
            ("Dir::State::Lists", "lists"),
            ("Dir::Cache", "cache"),
        ] {
            let value = self.folder.join(file);
            command.arg(format!("--option={option}={}", value.display()));
        }
        command.args([
            "--option=Dir::Etc::sourceparts=/dev/null",
            "--option=Acquire::Languages=none",
            "--option=APT::Sandbox::User=root",
        ]);
        command.args(arguments).env("LC_ALL", "C");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    /// What `apt-cache` answers.
    ///
    /// # Errors
    /// It cannot be run, or refuses.
    pub(super) fn ask(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = self.command("apt-cache", arguments);
        let output = command.output();
        let output = output.with_context(|| format!("cannot start {}", line(&command)))?;
        if !output.status.success() {
            bail!("apt-cache {} failed", arguments.join(" "));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// The mirror that this machine uses, without the name of the archive.
fn mirror() -> anyhow::Result<String> {
    let mut text = String::new();
    for place in SOURCES.map(Path::new) {
        let inside = fs::read_dir(place).into_iter().flatten().flatten();
        let files = inside.map(|entry| entry.path()).chain([place.to_owned()]);
        text.extend(files.filter_map(|file| fs::read_to_string(file).ok()));
    }
    mirror_in(&text).context("no mirror of Debian is named in /etc/apt")
}

/// The first address of an archive `debian` among lists of sources, of either format.
fn mirror_in(sources: &str) -> Option<String> {
    let lines = sources.lines().filter(|line| !line.starts_with('#'));
    let mut words = lines.flat_map(str::split_whitespace);
    words.find_map(|word| {
        let address = word.trim_end_matches('/').strip_suffix("/debian")?;
        (word.starts_with("http") && !word.contains("snapshot")).then(|| address.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_in_either_format() {
        let new = "Types: deb\n# http://snapshot.example/archive/debian/2025\nURIs: http://deb.example/debian\nSuites: x\n";
        assert_eq!(mirror_in(new).as_deref(), Some("http://deb.example"));
        let old = "# deb http://no.example/debian x main\ndeb http://a.example/debian-security x main\ndeb https://b.example/debian/ x main\n";
        assert_eq!(mirror_in(old).as_deref(), Some("https://b.example"));
        assert_eq!(mirror_in("deb http://archive.example/ubuntu x main"), None);
    }
}
