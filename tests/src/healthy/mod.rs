//! Healthy programs that nobody here wrote: what they are and how each is started and worked stands in data,
//! `tests/healthy/*.toml`. `cargo xtask healthy` has remora look at each, at rest and at work, and every finding or
//! notice is a false alarm until somebody shows that it is true.

mod family;
mod install;
mod look;
mod start;
mod table;
mod work;

pub use install::{install, missing};
pub use look::{Look, look};
pub use start::Started;
pub use table::{Outcome, markdown};

use serde::Deserialize;
use std::path::PathBuf;

/// The files of the table, one a sort of programs.
const FILES: [(&str, &str); 6] = [
    ("brokers", include_str!("../../healthy/brokers.toml")),
    ("databases", include_str!("../../healthy/databases.toml")),
    ("languages", include_str!("../../healthy/languages.toml")),
    ("python", include_str!("../../healthy/python.toml")),
    ("system", include_str!("../../healthy/system.toml")),
    ("web", include_str!("../../healthy/web.toml")),
];

/// A line of the table. Commands are the shell's; they know `$DIR`, a folder of the program's own, `$PORT`, `$PORT2`
/// and `$PORT3`, free ports of the loopback.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// What it is called here.
    pub name: String,
    /// Where it comes from: `apt:NAME`, `pip:NAME`, `npm:NAME`.
    pub packages: Vec<String>,
    /// The command that has to be there.
    pub needs: String,
    /// Prints its version in its first line.
    pub version: String,
    /// As whom it runs, if it refuses to be root.
    pub user: Option<String>,
    /// Files and databases, before it starts.
    pub prepare: Option<String>,
    /// Becomes the program (`exec`).
    pub start: String,
    /// What its standard input gets, which then stays open.
    #[serde(default)]
    pub input: Input,
    /// It serves `$PORT` when it is ready; otherwise it is given some seconds.
    #[serde(default = "yes")]
    pub serves: bool,
    /// A path that is asked for by HTTP, while it works.
    pub http: Option<String>,
    /// A command that has it work, until it is ended.
    pub load: Option<String>,
}

const fn yes() -> bool {
    true
}

/// Standard input of a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Input {
    /// Nothing.
    #[default]
    Null,
    /// It stays open, and nothing comes.
    Open,
    /// An editor has opened a folder: the first messages of the language server protocol.
    Editor,
}

impl Program {
    /// Whether it can be given work.
    pub const fn can_work(&self) -> bool {
        self.http.is_some() || self.load.is_some()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    program: Vec<Program>,
}

/// All of them.
///
/// # Panics
/// When a file is no table of programs.
pub fn all() -> Vec<Program> {
    let programs = FILES.iter().flat_map(|(name, text)| {
        let file: File = toml::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        file.program
    });
    programs.collect()
}

/// Where packages of Python and node are put, kept for the next run.
fn home() -> PathBuf {
    crate::compile::folder().join("healthy")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_program_has_a_name_of_its_own_and_a_source_that_is_known() {
        let all = all();
        let names: BTreeSet<_> = all.iter().map(|program| &*program.name).collect();
        assert_eq!(names.len(), all.len());
        assert!(all.len() >= 30, "{}", all.len());
        for program in &all {
            assert!(program.start.contains("exec "), "{}", program.name);
            for package in &program.packages {
                let source = package.split_once(':').map(|(source, _)| source);
                assert!(
                    matches!(source, Some("apt" | "pip" | "npm")),
                    "{}: {package}",
                    program.name
                );
            }
        }
    }
}
