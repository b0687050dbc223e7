//! `exesdb completions`: a completion script for a shell.

use clap::{Args, Command};
use clap_complete::Shell;

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

/// Prints the script for a command line.
pub fn run(options: &CompletionsOptions, command: &mut Command) -> anyhow::Result<()> {
    // Generated in memory first, because the generator panics if it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(options.shell, command, "exesdb", &mut script);
    let mut output = Output::stdout();
    output.bytes(&script)?;
    output.flush()
}
