//! Where the repository is, and how a tool is run in it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The root of the repository, whatever the working directory is.
pub fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// Where the compiler's output goes.
pub(crate) fn target() -> PathBuf {
    dir().join(std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from))
}

/// Where tests install what they need: `$CHRONIK_CACHE`, or beside the compiler's output.
pub(crate) fn cache() -> PathBuf {
    std::env::var_os("CHRONIK_CACHE").map_or_else(|| target().join("cache"), PathBuf::from)
}

/// Runs `program` in the root of the repository with its output shown; an error unless it succeeds.
pub fn run(program: &str, args: &[&str]) -> Result<()> {
    eprintln!("$ {program} {}", args.join(" "));
    let status = Command::new(program).args(args).current_dir(dir()).status();
    let status = status.with_context(|| format!("{program} cannot be run"))?;
    if !status.success() {
        bail!("{program} {} failed: {status}", args.join(" "));
    }
    Ok(())
}

/// Runs `command` and returns what it writes to standard output; an error, with its standard error, unless it succeeds.
pub fn output(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}");
    let output = command.output().with_context(|| format!("{shown} cannot be run"))?;
    if !output.status.success() {
        bail!("{shown} failed: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    String::from_utf8(output.stdout).with_context(|| format!("{shown} wrote no UTF-8"))
}
