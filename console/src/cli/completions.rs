//! `amzigo completions`: what a shell needs to complete our commands.

use std::io::Write;

use clap::{Args, Command};
use clap_complete::Shell;

use super::stop::Stop;

/// Print completions of the amzigo command for a shell.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amzigo completions bash > ~/.local/share/bash-completion/completions/amzigo\n  amzigo completions zsh > \"${fpath[1]}/_amzigo\"\n  amzigo completions fish > ~/.config/fish/completions/amzigo.fish"
)]
pub(super) struct Completions {
    /// Which shell: bash, zsh or fish (elvish and powershell work too).
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self, mut amzigo: Command) -> Result<(), Stop> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut amzigo, "amzigo", &mut script);
        Ok(std::io::stdout().lock().write_all(&script)?)
    }
}
