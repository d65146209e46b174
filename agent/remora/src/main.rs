//! The `remora` binary.

mod cli;
mod folder;
mod preflight;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
