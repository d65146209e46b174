//! The programs that boot a kernel in an emulated machine.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};

use super::apt::Apt;
use crate::process::{is_root, run, say};
use crate::setup;

/// The emulator, which may have to come from Debian's backports: with plain `qemu-system-x86` apt
/// would remove a newer `qemu-utils`.
const EMULATOR: (&str, &str) = ("qemu-system-x86_64", "qemu-system-x86");

/// Other programs, and the Debian package of each.
const TOOLS: [(&str, &str); 8] = [
    ("busybox", "busybox-static"),
    ("ip", "iproute2"),
    ("mke2fs", "e2fsprogs"),
    ("python3", "python3"),
    ("setpriv", "util-linux"),
    ("ss", "iproute2"),
    ("strip", "binutils"),
    ("unshare", "util-linux"),
];

/// Installs what is missing.
///
/// # Errors
/// In words: what a person has to install.
pub(super) fn ensure(cache: &Path) -> anyhow::Result<()> {
    if std::env::consts::ARCH != "x86_64" {
        bail!("the kernels and the emulator are those of x86-64");
    }
    let missing = TOOLS.iter().filter(|(program, _)| !is_there(program));
    let packages: Vec<String> = missing.map(|(_, package)| (*package).to_owned()).collect();
    if !packages.is_empty() {
        say(format!("installing {}", packages.join(" ")));
        setup::install_packages(&packages)?;
    }
    if !is_there(EMULATOR.0) {
        say(format!("installing {}", EMULATOR.1));
        let plain = setup::install_packages(&[EMULATOR.1.to_owned()]);
        if let Err(error) = plain {
            say(format!("{error:#}; trying Debian's backports"));
            from_backports(cache)?;
        }
    }
    Ok(())
}

fn is_there(program: &str) -> bool {
    super::image::find(program).is_some()
}

/// Removes nothing, and leaves the machine's own list of sources as it is.
fn from_backports(cache: &Path) -> anyhow::Result<()> {
    if !is_root() {
        bail!("only root can install {}", EMULATOR.1);
    }
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let release = codename(&text).with_context(|| format!("install {}", EMULATOR.1))?;
    let suites = [release.to_owned(), format!("{release}-backports")];
    let folder = cache.join("apt-backports");
    let apt = Apt::with(
        &folder,
        &suites.clone().map(|suite| format!("debian {suite}")),
    )?;
    run(&mut apt.command(
        "apt-get",
        &[
            "install",
            "--quiet",
            "--yes",
            "--no-install-recommends",
            "--no-remove",
            "--target-release",
            &suites[1],
            EMULATOR.1,
        ],
    ))
}

/// `VERSION_CODENAME` of a Debian's `/etc/os-release`.
fn codename(text: &str) -> Option<&str> {
    let field = |name| text.lines().find_map(|line| line.strip_prefix(name));
    field("ID=").filter(|id| *id == "debian")?;
    field("VERSION_CODENAME=")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_of_a_debian_and_of_nothing_else() {
        assert_eq!(
            codename("NAME=\"Debian\"\nVERSION_CODENAME=bookworm\nID=debian\n"),
            Some("bookworm")
        );
        assert_eq!(codename("ID=ubuntu\nVERSION_CODENAME=noble\n"), None);
    }
}
