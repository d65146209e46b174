//! Builds every specimen and puts it, with the sources, into a folder: `build-specimens FOLDER`.
//!
//! The folder is what `REMORA_SPECIMENS` names for tests that run where there is no compiler.

use remora_tests::{compile, prebuilt};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1) else {
        eprintln!("usage: build-specimens FOLDER");
        return ExitCode::from(2);
    };
    match fill(folder.as_ref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("build-specimens: {error}");
            ExitCode::FAILURE
        }
    }
}

fn fill(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for source in std::fs::read_dir(compile::sources())? {
        let source = source?;
        if source.file_type()?.is_dir() {
            // A package: only what is built of it is needed there.
            continue;
        }
        std::fs::copy(source.path(), folder.join(source.file_name()))?;
    }
    for (name, built) in prebuilt::all() {
        match built {
            Ok(path) => drop(std::fs::copy(path, folder.join(name))?),
            // What a compiler says is long, and where the specimen is missed it is said in full.
            Err(why) => eprintln!("not built: {}", why.lines().next().unwrap_or(name)),
        }
    }
    Ok(())
}
