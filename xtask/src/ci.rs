//! `cargo xtask ci`: everything, on a machine that has the toolchains only. What tests need is installed by package name.

use std::process::Command;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::{check, clients, conform, root, schemas, segments};

/// A step, in the order in which steps run.
struct Step {
    name: &'static str,
    run: fn() -> Result<()>,
    /// Whether nothing that follows makes sense without it.
    needed: bool,
}

const STEPS: &[Step] = &[
    Step { name: "check", run: || check::run(&[]), needed: false },
    Step { name: "schemas", run: schemas_are_current, needed: false },
    Step { name: "segments", run: || segments::run(&[]), needed: false },
    Step { name: "release build", run: release_build, needed: true },
    Step { name: "conformance", run: || conform::run(&[]), needed: false },
    Step { name: "install clients", run: || run_clients(&["--install-only"]), needed: true },
    Step { name: "real clients", run: || run_clients(&[]), needed: false },
];

/// Runs all steps; a failure does not hide what comes after it.
pub(crate) fn run(_args: &[String]) -> Result<()> {
    let mut lines = Vec::new();
    let mut failed = 0;
    for step in STEPS {
        eprintln!("\n=== {}", step.name);
        let start = Instant::now();
        let outcome = (step.run)();
        let word = if outcome.is_ok() { "ok" } else { "FAILED" };
        lines.push(format!("{:<16} {word:<6} {:>5} s", step.name, start.elapsed().as_secs()));
        if let Err(error) = outcome {
            eprintln!("=== {} failed: {error:#}", step.name);
            failed += 1;
            if step.needed {
                break;
            }
        }
    }
    summary(&lines, failed);
    if failed > 0 {
        bail!("{failed} of {} steps failed", STEPS.len());
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the closing lines are what CI reads")]
fn summary(lines: &[String], failed: usize) {
    println!("\n{}", lines.join("\n"));
    println!("steps: {} passed, {failed} failed", lines.len() - failed);
}

/// Reads the schemas out of Apache Kafka's jars again: what is committed must be what they say.
fn schemas_are_current() -> Result<()> {
    schemas::run(&[])?;
    let mut git = Command::new("git");
    git.args(["status", "--porcelain", "--", "crates/schemas"]).current_dir(root::dir());
    let changed = root::output(&mut git)?;
    if !changed.trim().is_empty() {
        bail!("cargo xtask schemas gives other files than those committed:\n{changed}");
    }
    Ok(())
}

fn release_build() -> Result<()> {
    root::run("cargo", &["build", "--release", "--quiet"])
}

fn run_clients(args: &[&str]) -> Result<()> {
    clients::run(&args.iter().map(|&arg| arg.to_owned()).collect::<Vec<_>>())
}
