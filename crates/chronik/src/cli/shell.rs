//! `chronik completions` and `chronik man`: made from the same definitions as the help.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

use crate::fault::Fault;
use crate::output;

/// Print shell completions.
#[derive(Debug, Args)]
#[command(
    after_help = "bash:  source <(chronik completions bash)\nzsh:   chronik completions zsh > ~/.zfunc/_chronik\nfish:  chronik completions fish > ~/.config/fish/completions/chronik.fish"
)]
pub struct Completions {
    /// The shell
    pub shell: Shell,
}

impl Completions {
    /// Runs the command.
    pub fn run(&self, command: &mut clap::Command) -> Result<(), Fault> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, command, "chronik", &mut script);
        output::print(&String::from_utf8_lossy(&script))
    }
}

/// Write man pages into a folder.
#[derive(Debug, Args)]
pub struct Man {
    /// The folder; it is created if needed
    pub folder: PathBuf,
}

impl Man {
    /// Runs the command.
    pub fn run(&self, command: &clap::Command) -> Result<(), Fault> {
        let failed =
            |error: std::io::Error| Fault::io(format!("cannot write man pages to {}", self.folder.display()), &error);
        std::fs::create_dir_all(&self.folder).map_err(failed)?;
        clap_mangen::generate_to(command.clone(), &self.folder).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn man_pages_for_every_command() {
        let folder = tempfile::tempdir().unwrap();
        Man { folder: folder.path().join("man1") }.run(&Cli::command()).unwrap();
        let page = std::fs::read_to_string(folder.path().join("man1/chronik-explain.1")).unwrap();
        assert!(page.contains("error code"));
    }
}
