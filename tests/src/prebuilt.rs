//! Every compiled specimen, to be built beforehand for a machine without compilers: a guest that
//! boots another kernel, say.

use crate::{chains, compile};
use std::path::PathBuf;

/// A specimen's name, and where it is or why this machine cannot build it.
pub type Built = (&'static str, Result<PathBuf, String>);

/// Builds all of them. A new program of a specimen belongs here, or tests that need it fail there.
pub fn all() -> Vec<Built> {
    let mut all = vec![
        ("specimen", Ok(compile::specimen().to_owned())),
        ("after_exec", Ok(compile::after_exec().to_owned())),
        ("heap", Ok(compile::heap().to_owned())),
        ("compat32", compile::compat32().map(ToOwned::to_owned)),
    ];
    all.push(("sick_parking", compile::build_package("sick_parking")));
    all.extend(chains::ALL.iter().map(|build| (build.name, build.path())));
    all
}
