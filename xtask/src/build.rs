//! Builds the agent, its kernel side within.

use std::io::BufReader;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, bail};
use cargo_metadata::{Message, TargetKind};

use crate::process::{cargo, line, say};
use crate::setup;

/// Builds `remora` for release or for debugging, and says where the binary is.
///
/// # Errors
/// The tool chain cannot be made complete, or the build fails.
pub(crate) fn build(debug: bool) -> anyhow::Result<PathBuf> {
    setup::ensure()?;
    let mut command = cargo();
    command.args(["build", "--package", "remora", "--bin", "remora"]);
    if !debug {
        command.arg("--release");
    }
    command.arg("--message-format=json-render-diagnostics");
    say(format!(
        "building the agent ({})",
        if debug { "debug" } else { "release" }
    ));
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", line(&command)))?;
    let output = child.stdout.take().context("cargo has no output")?;
    let binary = find_binary(Message::parse_stream(BufReader::new(output)));
    let status = child.wait().context("cannot wait for cargo")?;
    if !status.success() {
        bail!("the agent does not build ({status}): see the compiler's messages above");
    }
    binary?.context("cargo built no binary of the name remora")
}

/// The path of the binary `remora` among cargo's messages; reads them to their end.
fn find_binary(
    messages: impl Iterator<Item = std::io::Result<Message>>,
) -> anyhow::Result<Option<PathBuf>> {
    let mut found = None;
    for message in messages {
        if let Message::CompilerArtifact(artifact) = message.context("cannot read from cargo")?
            && artifact.target.name == "remora"
            && artifact.target.kind.contains(&TargetKind::Bin)
        {
            found = artifact.executable.map(PathBuf::from);
        }
    }
    Ok(found)
}
