//! `completions` and `man`: made from the definition of the command line, so that they cannot say anything else.

use super::{Cli, FAILED, Failure, USAGE, output};
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;
use std::io;

/// What `completions` is given.
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// Shell that reads the script
    #[arg(value_enum)]
    shell: Shell,
}

/// What `man` is given.
#[derive(Debug, Args)]
pub(super) struct Man {
    /// Command to describe: record, triage or doctor [default: remora itself]
    command: Option<String>,
}

/// Prints the completions.
///
/// # Errors
/// Standard output does not take them.
pub(super) fn completions(args: &Completions) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "remora", &mut text);
    print(&text)
}

/// Prints a page in roff, for `man -l`.
///
/// # Errors
/// There is no such command, or standard output does not take the page.
pub(super) fn man(args: &Man) -> Result<(), Failure> {
    print(&page(args.command.as_deref())?)
}

/// The page of a command.
fn page(name: Option<&str>) -> Result<Vec<u8>, Failure> {
    let mut all = Cli::command();
    all.build();
    let command = match name {
        None => all,
        Some(name) => {
            let found = all.find_subcommand(name).filter(|it| !it.is_hide_set());
            found.cloned().ok_or_else(|| {
                let what = anyhow::anyhow!("there is no command {name}; see `remora --help`");
                Failure::new(USAGE, what)
            })?
        }
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(command)
        .render(&mut text)
        .map_err(|error| Failure::new(FAILED, error))?;
    Ok(text)
}

fn print(text: &[u8]) -> Result<(), Failure> {
    let said = output::print(text);
    said.map_err(|error: io::Error| Failure::new(FAILED, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_a_page_with_its_options() {
        let page = |name| String::from_utf8(page(name).expect("a page")).expect("text");
        assert!(page(None).contains(".TH remora 1"), "{}", page(None));
        assert!(page(Some("triage")).contains("\\-\\-strict"));
        assert!(page(Some("record")).contains("\\-\\-out"));
        assert!(page_fails("nothing"));
    }

    fn page_fails(name: &str) -> bool {
        page(Some(name)).is_err()
    }

    #[test]
    fn each_shell_completes_the_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "remora", &mut text);
            let text = String::from_utf8(text).expect("text");
            for word in ["triage", "doctor", "--pid"] {
                let bare = word.trim_start_matches('-');
                assert!(text.contains(bare), "{shell}: {word}");
            }
        }
    }
}
