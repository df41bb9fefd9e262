//! `cargo xtask check`: what must hold before a change is merged, in less than five minutes.

use anyhow::Result;

use crate::root;
use crate::{codegen, tidy};

/// Format, generated code, tidy, lints, tests; the quickest first.
pub fn run(_args: &[String]) -> Result<()> {
    root::run("cargo", &["fmt", "--all", "--check"])?;
    codegen::run(&["--check".to_owned()])?;
    tidy::run(&[])?;
    root::run("cargo", &["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])?;
    root::run("cargo", &["test", "--workspace", "--quiet"])
}
