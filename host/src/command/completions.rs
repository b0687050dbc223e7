//! `exesdb completions`: a completion script for a shell.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::output::Output;

/// Options of `completions`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  source <(exesdb completions bash)
  exesdb completions fish > ~/.config/fish/completions/exesdb.fish
  exesdb completions zsh > ~/.zfunc/_exesdb")]
pub struct CompletionsOptions {
    /// The shell.
    pub shell: Shell,
}

/// Prints the script.
pub fn run(options: &CompletionsOptions) -> anyhow::Result<()> {
    // Generated into memory first: the generator panics when its output cannot be written.
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Cli::command(), "exesdb", &mut script);
    let mut output = Output::stdout();
    output.bytes(&script)?;
    output.flush()
}
