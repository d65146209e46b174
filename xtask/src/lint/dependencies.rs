//! Licences, sources and compilers of what the crates are made of, by the list in `deny.toml`.
//!
//! `cargo-deny` reads the same file and checks more. It is not asked, for it would be 211 more crates to build in
//! each fresh checkout; the expressions are read by the crate that it reads them with.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, bail};
use cargo_metadata::{Metadata, MetadataCommand, Package, Source, semver::Version};
use serde::Deserialize;
use spdx::{Expression, Licensee, ParseMode};

use crate::process::say;

/// The manifests whose lock files are looked at: the workspace's, and that of the fuzz targets.
const MANIFESTS: [&str; 2] = ["../Cargo.toml", "../fuzz/Cargo.toml"];

/// What may be taken from where.
const LIST: &str = "../deny.toml";

#[derive(Deserialize)]
struct Rules {
    graph: Graph,
    licenses: Licenses,
}

#[derive(Deserialize)]
struct Graph {
    targets: Vec<String>,
}

#[derive(Deserialize)]
struct Licenses {
    allow: Vec<String>,
}

/// Checks every package that is built for the targets of `deny.toml`.
///
/// # Errors
/// Names each package that must not be taken, and why.
pub(super) fn check() -> anyhow::Result<()> {
    say("licences, sources and compilers of dependencies");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(folder.join(LIST)).context("cannot read deny.toml")?;
    let rules: Rules = toml::from_str(&text).context("deny.toml")?;
    let allowed = licensees(&rules.licenses.allow)?;
    let mut faults = BTreeSet::new();
    let mut count = 0;
    for manifest in MANIFESTS {
        let metadata = metadata(&folder.join(manifest), &rules.graph.targets)?;
        let oldest = oldest(&metadata);
        count += metadata.packages.len();
        for package in &metadata.packages {
            let own = metadata.workspace_members.contains(&package.id);
            faults.extend(faults_of(package, own, &allowed, oldest.as_ref()));
        }
    }
    if !faults.is_empty() {
        let faults: Vec<String> = faults.into_iter().collect();
        bail!("dependencies:\n  {}", faults.join("\n  "));
    }
    say(format!("{count} packages are as deny.toml has them"));
    Ok(())
}

fn licensees(names: &[String]) -> anyhow::Result<Vec<Licensee>> {
    let parse = |name: &String| Licensee::parse(name).with_context(|| format!("deny.toml: {name}"));
    names.iter().map(parse).collect()
}

/// What a lock file holds; it must be as the manifests want it.
fn metadata(manifest: &Path, targets: &[String]) -> anyhow::Result<Metadata> {
    let mut options = vec!["--locked".to_owned()];
    for target in targets {
        options.extend(["--filter-platform".to_owned(), target.clone()]);
    }
    let mut command = MetadataCommand::new();
    command.manifest_path(manifest).other_options(options);
    let metadata = command.exec();
    metadata.with_context(|| format!("cannot read what {} is made of", manifest.display()))
}

/// The oldest compiler that any of the own packages declares.
fn oldest(metadata: &Metadata) -> Option<Version> {
    let own = metadata.workspace_packages().into_iter();
    own.filter_map(|package| package.rust_version.clone()).min()
}

/// What is wrong with a package, in words.
fn faults_of(
    package: &Package,
    own: bool,
    allowed: &[Licensee],
    oldest: Option<&Version>,
) -> Vec<String> {
    let mut faults = Vec::new();
    let source = package.source.as_ref();
    if !source.map_or(own || is_ours(package), Source::is_crates_io) {
        let from = source.map_or(package.manifest_path.as_str(), |source| &source.repr);
        faults.push(format!("comes from {from}"));
    }
    match package.license.as_deref().map(|text| judge(text, allowed)) {
        None => faults.push("names no licence".to_owned()),
        Some(Err(why)) => faults.push(why),
        Some(Ok(())) => {}
    }
    if let (Some(needed), Some(oldest)) = (&package.rust_version, oldest)
        && needed > oldest
    {
        faults.push(format!("needs Rust {needed}, and {oldest} has to do"));
    }
    let name = format!("{} {}", package.name, package.version);
    let faults = faults.into_iter();
    faults.map(|fault| format!("{name} {fault}")).collect()
}

/// Whether a package without a source lies in this repository: the fuzz targets take the agent so.
fn is_ours(package: &Package) -> bool {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    root.is_some_and(|root| package.manifest_path.as_std_path().starts_with(root))
}

/// Whether the licences that are allowed are enough for an expression.
///
/// # Errors
/// They are not, or it cannot be read.
fn judge(expression: &str, allowed: &[Licensee]) -> Result<(), String> {
    // Old manifests have `MIT/Apache-2.0`.
    let parsed = Expression::parse_mode(expression, ParseMode::LAX)
        .map_err(|error| format!("has a licence that cannot be read: {expression}: {error}"))?;
    let enough = parsed.evaluate(|asked| allowed.iter().any(|own| own.satisfies(asked)));
    enough
        .then_some(())
        .ok_or_else(|| format!("is licensed by {expression}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed() -> Vec<Licensee> {
        licensees(&["MIT".to_owned(), "Apache-2.0".to_owned()]).unwrap()
    }

    #[test]
    fn one_of_several_licences_is_enough_and_all_that_are_joined_are_needed() {
        let allowed = allowed();
        for text in [
            "MIT",
            "MIT/Apache-2.0",
            "GPL-3.0 OR MIT",
            "MIT AND Apache-2.0",
        ] {
            assert_eq!(judge(text, &allowed), Ok(()), "{text}");
        }
        for text in ["GPL-3.0", "MIT AND Unicode-3.0", "as you like", ""] {
            assert!(judge(text, &allowed).is_err(), "{text}");
        }
    }

    #[test]
    fn a_package_from_elsewhere_or_for_a_newer_compiler_is_named() {
        let package = |source: &str, license: &str, rust: &str| -> Package {
            let text = format!(
                r#"{{"name":"a","version":"1.0.0","id":"a","dependencies":[],"targets":[],"features":{{}},
                "manifest_path":"/elsewhere/Cargo.toml","source":{source},"license":{license},"rust_version":"{rust}"}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        let faults = |package: &Package| {
            faults_of(package, false, &allowed(), Some(&Version::new(1, 88, 0)))
        };
        let git = "\"git+https://example.org/a#1\"";
        assert_eq!(faults(&package(git, "\"MIT\"", "1.88")).len(), 1);
        assert_eq!(faults(&package("null", "\"MIT\"", "1.88")).len(), 1);
        assert_eq!(faults(&package(git, "null", "1.89")).len(), 3);
    }
}
