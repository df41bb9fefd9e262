//! `chronik bench verify` stays exact while the broker is restarted, cleanly and by kill -9.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::broker::Broker;

fn verify_while(disturb: impl Fn(&mut Broker)) {
    let mut broker = Broker::start(&[]);
    let bench = Command::new(support::chronik())
        .args(["bench", "verify", "-b", &broker.address(), "-n", "60000", "-s", "200", "-p", "3", "--rate", "15000"])
        .args(["--producers", "2", "--consumers", "2", "--output", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Three disturbances spread over the four seconds of sending.
    for second in 1..=3 {
        let due = Instant::now() + Duration::from_secs(1);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        disturb(&mut broker);
        assert!(broker.is_alive(), "disturbance {second}");
    }
    let output = bench.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{errors}"));
    assert_eq!(report["exact"].as_bool(), Some(true), "{report:#}\n{errors}\n{}", broker.log_text());
    assert_eq!(report["totals"]["received"].as_u64(), Some(60_000));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn exact_through_clean_restarts() {
    verify_while(|broker| {
        assert!(broker.stop().success());
        broker.restart();
    });
}

#[test]
fn exact_through_kills() {
    verify_while(|broker| {
        broker.kill();
        broker.restart();
    });
}
