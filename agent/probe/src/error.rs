//! Why the kernel side could not be used, each with what to do.

use thiserror::Error;

/// Why the kernel side could not be loaded, attached or read.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// The binary was built without it.
    #[error(
        "this build of remora has no kernel side: build it with `cargo xtask build`, which also \
         sets up the eBPF tool chain"
    )]
    NoKernelSide,
    /// The object or its maps were refused.
    #[error(
        "the kernel refused remora's maps or object: {0}; `remora doctor` says what is missing"
    )]
    Load(String),
    /// A program that nothing replaces was refused.
    #[error("the kernel refused {hook}: {why} (`remora doctor` tries every hook)")]
    Hook {
        /// Hook by name.
        hook: String,
        /// The kernel's own words.
        why: String,
    },
    /// The object lacks a map or program that the agent expects.
    #[error(
        "the kernel side has no `{0}`: agent and kernel side are of different builds; run `cargo xtask build`"
    )]
    Mismatch(&'static str),
    /// A map could not be read or written.
    #[error("cannot use map `{map}`: {why}")]
    Map {
        /// Map by name.
        map: &'static str,
        /// The system's own words.
        why: String,
    },
    /// An iterator could not be run.
    #[error("cannot walk the kernel's tasks: {0}")]
    Iterate(String),
}
