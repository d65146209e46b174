//! Builds the agent as the user who asks and runs it as root.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::build::build;
use crate::process::is_root;
use crate::toolchain;

/// Becomes `remora ARGS`: signals reach it and its exit code is ours, since nothing of xtask is
/// left in between. Returns only when that fails.
///
/// # Errors
/// No build, or no way to be root.
pub(crate) fn run(debug: bool, args: &[OsString]) -> anyhow::Result<()> {
    let binary = build(debug)?;
    let mut command = as_root(&binary, is_root(), toolchain::find("sudo").is_some())?;
    let error = command.args(args).exec();
    Err(error).with_context(|| format!("cannot start {}", binary.display()))
}

/// The command that runs `binary` as root.
fn as_root(binary: &Path, root: bool, sudo: bool) -> anyhow::Result<Command> {
    if root {
        return Ok(Command::new(binary));
    }
    if !sudo {
        bail!(
            "remora needs root to load its kernel side, and there is no sudo: run {} as root",
            binary.display()
        );
    }
    let mut command = Command::new("sudo");
    command.arg("-E").arg(binary);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::line;

    #[test]
    fn root_directly_others_through_sudo() {
        let line = |root, sudo| as_root("/x/remora".as_ref(), root, sudo).map(|c| line(&c));
        assert_eq!(line(true, true).unwrap(), "remora");
        assert_eq!(line(false, true).unwrap(), "sudo -E /x/remora");
        assert!(
            line(false, false)
                .unwrap_err()
                .to_string()
                .contains("run /x/remora as root")
        );
    }
}
