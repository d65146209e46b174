//! Debian's cloud kernels, fetched once and kept for a week: images, without their modules.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};

use super::apt::Apt;
use super::expect::Kernel;
use crate::process::{line, run, say};

/// Security updates of all, and the newest kernels for the stable release.
const SUITES: [&str; 3] = [
    "debian bookworm",
    "debian-security bookworm-security",
    "debian trixie-backports",
];

/// For so long no newer one is looked for.
const FRESH: Duration = Duration::from_secs(7 * 24 * 3600);

/// An image to boot.
#[derive(Clone, Debug)]
pub(super) struct Image {
    /// `vmlinuz`.
    pub path: PathBuf,
    /// As its package is called: `6.1.0-56`.
    pub version: String,
}

/// The image of each kernel, from the cache or newly fetched.
///
/// # Errors
/// One is not in the cache, and cannot be fetched.
pub(super) fn images(cache: &Path, kernels: &[Kernel]) -> anyhow::Result<Vec<Image>> {
    let cached = |kernel: &Kernel| look(&cache.join(kernel.name));
    if kernels.iter().any(|kernel| !is_fresh(cache, kernel))
        && let Err(error) = fetch_all(cache, kernels)
    {
        if kernels.iter().any(|kernel| cached(kernel).is_none()) {
            return Err(error);
        }
        say(format!("{error:#}; taking older kernels of the cache"));
    }
    let image = |kernel| cached(kernel).context("it was just fetched");
    kernels.iter().map(image).collect()
}

fn look(folder: &Path) -> Option<Image> {
    let path = folder.join("vmlinuz");
    let version = fs::read_to_string(folder.join("version")).ok()?;
    path.exists().then_some(Image { path, version })
}

fn is_fresh(cache: &Path, kernel: &Kernel) -> bool {
    let folder = cache.join(kernel.name);
    let written = fs::metadata(folder.join("version")).and_then(|file| file.modified());
    let age = written.map(|written| SystemTime::now().duration_since(written));
    look(&folder).is_some() && age.is_ok_and(|age| age.is_ok_and(|age| age < FRESH))
}

fn fetch_all(cache: &Path, kernels: &[Kernel]) -> anyhow::Result<()> {
    say("fetching Debian's cloud kernels");
    let apt = Apt::with(&cache.join("apt"), &SUITES.map(str::to_owned))?;
    let names = apt.ask(&[
        "search",
        "--names-only",
        "^linux-image-[0-9].*-cloud-amd64$",
    ])?;
    for kernel in kernels {
        let version = newest(&names, kernel.series)
            .with_context(|| format!("Debian has no kernel {}", kernel.name))?;
        fetch(&apt, &cache.join(kernel.name), &version)
            .with_context(|| format!("cannot fetch the kernel {version}"))?;
    }
    Ok(())
}

fn fetch(apt: &Apt, folder: &Path, version: &str) -> anyhow::Result<()> {
    let image = folder.join("vmlinuz");
    if look(folder).is_none_or(|found| found.version != version) {
        say(format!("fetching the kernel {version}"));
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder)?;
        // From 6.19 on the image has a package of its own.
        let split = format!("linux-binary-{version}-cloud-amd64");
        let whole = format!("linux-image-{version}-cloud-amd64");
        let is_split = apt
            .ask(&["show", &split])
            .is_ok_and(|text| !text.is_empty());
        let package = if is_split { split } else { whole };
        let mut download = apt.command("apt-get", &["--quiet=2", "download", &package]);
        run(download.current_dir(folder))?;
        unpack(folder, &image)?;
    }
    // Written last, and again when nothing newer was found: its time says when was looked.
    Ok(fs::write(folder.join("version"), version)?)
}

/// Takes the image out of the only package of the folder, and throws the package away.
fn unpack(folder: &Path, image: &Path) -> anyhow::Result<()> {
    let files = fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path()));
    let package = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .last()
        .context("apt-get left no package")?;
    let mut archive = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(&package)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start dpkg-deb")?;
    let output = archive.stdout.take().context("it was piped")?;
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--to-stdout", "--wildcards", "*/vmlinuz*"]);
    tar.stdin(output).stdout(fs::File::create(image)?);
    let taken = tar.status().context("cannot start tar")?;
    let read = archive.wait()?;
    if !taken.success() || !read.success() {
        bail!("{} failed on {}", line(&tar), package.display());
    }
    Ok(fs::remove_file(package)?)
}

/// Among the packages that `apt-cache search` lists, the newest version that begins so.
fn newest(names: &str, series: &str) -> Option<String> {
    let version = |line: &str| {
        let name = line.split_whitespace().next()?;
        let version = name.strip_prefix("linux-image-")?;
        Some(version.strip_suffix("-cloud-amd64")?.to_owned())
    };
    let found = names.lines().filter_map(version);
    // `6.1` alone is a package that only names the newest.
    let found = found.filter(|version| version.matches('.').count() >= 2);
    found
        .filter(|version| version.starts_with(series))
        .max_by_key(|version| numbers(version))
}

/// The numbers of a version, to be compared in order.
fn numbers(version: &str) -> Vec<u64> {
    let parts = version.split(|c: char| !c.is_ascii_digit());
    parts.filter_map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    const NAMES: &str = "\
        linux-image-6.1-cloud-amd64 - Linux for x86-64 cloud (meta-package)\n\
        linux-image-6.1.0-9-cloud-amd64 - Linux 6.1 for x86-64 cloud (signed)\n\
        linux-image-6.1.0-56-cloud-amd64 - Linux 6.1 for x86-64 cloud (signed)\n\
        linux-image-6.12.101+deb12-cloud-amd64 - Linux 6.12 for x86-64 cloud (signed)\n\
        linux-image-6.12.99+deb12-cloud-amd64 - Linux 6.12 for x86-64 cloud (signed)\n\
        linux-image-7.10.1+deb13-cloud-amd64 - Linux 7.10.1 for x86-64 cloud\n\
        linux-image-7.3.4+deb13-cloud-amd64 - Linux 7.3.4 for x86-64 cloud\n";

    #[test]
    fn the_newest_of_a_series_and_of_all() {
        let newest = |series| super::newest(NAMES, series);
        assert_eq!(newest("6.1.").as_deref(), Some("6.1.0-56"));
        assert_eq!(newest("6.12.").as_deref(), Some("6.12.101+deb12"));
        assert_eq!(newest("").as_deref(), Some("7.10.1+deb13"));
        assert_eq!(newest("5.15."), None);
        assert_eq!(super::newest("", ""), None);
    }
}
