//! What the tests of the binary share: a broker process that can be killed, and a proxy that damages what passes through it.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

pub mod broker;
pub mod proxy;

use std::process::{Command, Output};

/// Path of the binary under test.
pub fn chronik() -> &'static str {
    env!("CARGO_BIN_EXE_chronik")
}

/// Runs a command of the binary to its end.
pub fn run(arguments: &[&str]) -> Output {
    Command::new(chronik()).args(arguments).env_remove("CHRONIK_BOOTSTRAP_SERVER").output().unwrap()
}

/// Runs a command that must succeed, and reads its standard output as JSON.
pub fn json(arguments: &[&str]) -> serde_json::Value {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}
