//! What builds, checks and measures Chronik: one subcommand a file.

use std::process::ExitCode;

mod check;
mod ci;
mod clients;
mod codegen;
mod conform;
mod fetch;
mod figures;
mod kafka;
mod root;
mod schemas;
mod segments;
mod tidy;

/// A subcommand: its name, what it does in one line, and the function that does it.
struct Command {
    name: &'static str,
    about: &'static str,
    run: fn(&[String]) -> anyhow::Result<()>,
}

/// Everything that `cargo xtask` can do; help and dispatch derive from this table.
const COMMANDS: &[Command] = &[
    Command { name: "check", about: "format, lints, tidy, generated code, tests", run: check::run },
    Command { name: "ci", about: "everything, on a machine with the toolchains only", run: ci::run },
    Command { name: "clients", about: "real Kafka clients, every count exact", run: clients::run },
    Command { name: "conform", about: "answers compared with Apache Kafka's, byte for byte", run: conform::run },
    Command {
        name: "figures",
        about: "Chronik and Apache Kafka measured in one run: [--write] [--quick]",
        run: figures::run,
    },
    Command { name: "kafka", about: "run Apache Kafka out of its jars: PORT [FOLDER]", run: kafka::run },
    Command { name: "segments", about: "Kafka's dump tool reads our segments", run: segments::run },
    Command { name: "tidy", about: "edges between crates, budgets, no machine's paths", run: tidy::run },
    Command { name: "codegen", about: "schemas to Rust; --check fails on a difference", run: codegen::run },
    Command { name: "schemas", about: "read the schemas out of Apache Kafka's jars", run: schemas::run },
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some(command) = args.first().and_then(|name| COMMANDS.iter().find(|c| c.name == name)) else {
        eprintln!("usage: cargo xtask COMMAND\n");
        for command in COMMANDS {
            eprintln!("  {:<9} {}", command.name, command.about);
        }
        return ExitCode::from(2);
    };
    match (command.run)(&args[1..]) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cargo xtask {}: {error:#}", command.name);
            ExitCode::FAILURE
        }
    }
}
