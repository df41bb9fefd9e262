//! Brings packages by their public names, through the ordinary clients of their registries, asking nothing. What comes over a network is tried three times.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, anyhow};

use crate::root;

/// Runs what may fail because of the network up to three times.
pub(crate) fn tried(command: &mut Command) -> Result<()> {
    let mut failure = anyhow!("not run");
    for pause_secs in [2, 10, 0] {
        match root::output(command) {
            Ok(_) => return Ok(()),
            Err(error) => failure = error,
        }
        std::thread::sleep(Duration::from_secs(pause_secs));
    }
    Err(failure)
}

/// Copies the jars that a pom lists, with what they need, into a folder.
pub(crate) fn maven(pom: &Path, folder: &Path) -> Result<()> {
    let output = format!("-DoutputDirectory={}", folder.display());
    tried(Command::new("mvn").args(["-q", "-B", "dependency:copy-dependencies", &output, "-f"]).arg(pom))
}

/// Installs a Debian package unless `command` is there. False when it was.
pub(crate) fn debian(command: &str, package: &str) -> Result<bool> {
    let there = Command::new("sh").args(["-c", &format!("command -v {command}")]).output()?.status.success();
    if there {
        return Ok(false);
    }
    apt(&["update", "-q"])?;
    apt(&["install", "-y", "-q", "--no-install-recommends", package])?;
    Ok(true)
}

/// `apt-get`, waiting for whoever holds its lock.
pub(crate) fn apt(args: &[&str]) -> Result<()> {
    let root = root::output(Command::new("id").arg("-u"))?.trim() == "0";
    let mut command = if root { Command::new("apt-get") } else { Command::new("sudo") };
    if !root {
        command.args(["-n", "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    }
    tried(command.env("DEBIAN_FRONTEND", "noninteractive").args(["-o", "DPkg::Lock::Timeout=300"]).args(args))
}
