//! The command line: one file a noun. Options that several commands share stand here.

pub mod config;
mod confirm;
pub mod connect;
pub mod consume;
pub mod demo;
pub mod explain;
pub mod group;
pub mod produce;
pub mod shell;
pub mod start;
pub mod topic;

use std::ffi::OsString;
use std::io::IsTerminal;

use clap::{CommandFactory, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::fault::{Fault, exit};
use crate::output::Format;
use crate::style::Style;

/// A Kafka-compatible broker and its tools in one binary.
#[derive(Debug, Parser)]
#[command(
    name = "chronik",
    version,
    about,
    propagate_version = true,
    max_term_width = 110,
    after_help = "Start a broker:      chronik start\nSee a message pass:  chronik demo\n\nExit statuses: 0 ok, 1 failed, 2 usage or configuration, 3 cannot connect, 4 not authorised, 5 not found,\n6 exists, 7 timed out, 8 partly done, 70 internal bug, 78 data directory unusable."
)]
pub struct Cli {
    /// What to print results as
    #[arg(long, short = 'O', global = true, value_enum, default_value_t, help_heading = "Output")]
    pub output: Format,
    /// The command
    #[command(subcommand)]
    pub command: Command,
}

/// All commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a broker and keep it running
    Start(start::Start),
    /// Start a broker, pass messages through it, and show what to do next
    Demo(demo::Demo),
    /// Topics and their partitions
    Topic(topic::Topic),
    /// Write records to a topic
    Produce(produce::Produce),
    /// Read records of a topic
    Consume(consume::Consume),
    /// Consumer groups and their offsets
    Group(group::Group),
    /// Generate load and measure it, with exact counts
    Bench(crate::bench::Bench),
    /// The broker's settings
    Config(config::Config),
    /// Print what an error code means
    Explain(explain::Explain),
    /// Print shell completions
    Completions(shell::Completions),
    /// Write man pages into a folder
    Man(shell::Man),
}

/// Parses the command line, runs the command and returns the exit status.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let status = if error.use_stderr() { exit::USAGE } else { exit::OK };
            // A closed pipe is no reason to fail: `chronik --help | head -1`.
            let _ = error.print();
            return status;
        }
    };
    match dispatch(cli) {
        Ok(()) => exit::OK,
        Err(fault) => report(&fault),
    }
}

/// Prints a fault to stderr and returns its exit status.
#[allow(clippy::print_stderr)]
pub fn report(fault: &Fault) -> u8 {
    eprintln!("{}", fault.render(&Style::stderr()));
    fault.code.exit
}

/// Warnings of the client library, on stderr. The broker's own commands log their way.
fn talk(command: &Command) {
    if matches!(command, Command::Start(_) | Command::Demo(_)) {
        return;
    }
    let level = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let lines =
        tracing_subscriber::fmt().with_env_filter(level).with_writer(std::io::stderr).without_time().with_target(false);
    // It fails where a test has set one up already.
    let _ = lines.with_ansi(std::io::stderr().is_terminal()).try_init();
}

fn dispatch(cli: Cli) -> Result<(), Fault> {
    talk(&cli.command);
    match cli.command {
        Command::Start(command) => command.run(),
        Command::Demo(command) => command.run(),
        Command::Topic(command) => command.run(cli.output),
        Command::Produce(command) => command.run(cli.output),
        Command::Consume(command) => command.run(cli.output),
        Command::Group(command) => command.run(cli.output),
        Command::Bench(command) => command.run(cli.output),
        Command::Config(command) => command.run(cli.output),
        Command::Explain(command) => command.run(cli.output),
        Command::Completions(command) => command.run(&mut Cli::command()),
        Command::Man(command) => command.run(&Cli::command()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn usage_errors_exit_2() {
        assert_eq!(run(["chronik".into(), "no-such-command".into()]), 2);
        assert_eq!(run(["chronik".into(), "explain".into(), "CHR-9999".into()]), 5);
    }
}
