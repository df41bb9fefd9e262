//! `--yes` and `--dry-run` of commands that destroy data.

use std::io::{BufRead, IsTerminal};

use clap::Args;

use crate::fault::{CONFIRM, Fault};

/// Consent to destroy data.
#[derive(Debug, Clone, Args)]
pub(super) struct Confirm {
    /// Do not ask
    #[arg(long, short = 'y', conflicts_with = "dry_run")]
    yes: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

impl Confirm {
    /// True to go ahead, false for a dry run. Asks on a terminal; elsewhere `--yes` is required.
    #[allow(clippy::print_stderr)]
    pub(super) fn given(&self, what: &str) -> Result<bool, Fault> {
        if self.dry_run {
            eprintln!("would {what}");
            return Ok(false);
        }
        if self.yes {
            return Ok(true);
        }
        let refused = || {
            Fault::new(
                CONFIRM,
                format!("not confirmed: {what}"),
                "it cannot be undone",
                "--yes, or --dry-run to look first",
            )
        };
        if !std::io::stdin().is_terminal() {
            return Err(refused());
        }
        eprint!("{what}? [y/N] ");
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer).map_err(|error| Fault::io("no answer", &error))?;
        if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(true) } else { Err(refused()) }
    }
}

#[cfg(test)]
mod tests {
    use super::Confirm;

    #[test]
    fn yes_goes_ahead_and_a_dry_run_does_not() {
        assert!(Confirm { yes: true, dry_run: false }.given("x").unwrap());
        assert!(!Confirm { yes: false, dry_run: true }.given("x").unwrap());
    }
}
