//! The load generator reports exactly what a proxy did to the traffic: no more, no less, and nothing on a clean line.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use std::process::Output;

use support::broker::Broker;
use support::proxy::{Damage, Plan, Proxy};

/// Small batches in one partition, without idempotence: the broker would undo a repeat.
const LOAD: &[&str] = &[
    "-n",
    "3000",
    "-s",
    "100",
    "-p",
    "1",
    "--batch-bytes",
    "1500",
    "--linger",
    "1",
    "--no-idempotence",
    "--consumers",
    "1",
];

async fn verify(plan: Plan) -> (Output, serde_json::Value, Damage) {
    let broker = Broker::start(&[]);
    let proxy = Proxy::start(broker.socket(), plan).await;
    let address = proxy.address().to_string();
    let output = tokio::task::spawn_blocking(move || {
        let mut arguments = vec!["bench", "verify", "-b", &address, "--output", "json"];
        arguments.extend_from_slice(LOAD);
        support::run(&arguments)
    });
    let output = output.await.unwrap();
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (output, report, proxy.damage())
}

fn count(report: &serde_json::Value, name: &str) -> u64 {
    report["totals"][name].as_u64().unwrap()
}

/// Checks all counts of a report against what was done.
fn check(output: &Output, report: &serde_json::Value, damage: Damage) {
    assert_eq!(count(report, "sent"), 3000);
    assert_eq!(count(report, "acknowledged"), 3000);
    assert_eq!(count(report, "failed"), 0);
    assert_eq!(count(report, "received"), 3000 - damage.missing);
    assert_eq!(count(report, "missing"), damage.missing);
    assert_eq!(count(report, "duplicated"), damage.duplicated);
    assert_eq!(count(report, "out_of_order"), damage.out_of_order);
    for name in ["altered", "misplaced", "unknown", "reread"] {
        assert_eq!(count(report, name), 0, "{name}");
    }
    let clean = damage == Damage::default();
    assert_eq!(report["exact"].as_bool(), Some(clean));
    assert_eq!(output.status.code(), Some(i32::from(!clean)));
    assert_eq!(String::from_utf8_lossy(&output.stderr).contains("CHR-0811"), !clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_line_is_exact() {
    let (output, report, damage) = verify(Plan::default()).await;
    assert_eq!(damage, Damage::default());
    check(&output, &report, damage);
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_batches_are_missing() {
    let (output, report, damage) = verify(Plan { drop: 3, ..Plan::default() }).await;
    assert!(damage.missing > 0);
    check(&output, &report, damage);
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_batches_are_duplicates() {
    let (output, report, damage) = verify(Plan { repeat: 4, ..Plan::default() }).await;
    assert!(damage.duplicated > 0);
    check(&output, &report, damage);
}

#[tokio::test(flavor = "multi_thread")]
async fn swapped_batches_are_out_of_order() {
    let (output, report, damage) = verify(Plan { swap: 2, ..Plan::default() }).await;
    assert!(damage.out_of_order > 0);
    check(&output, &report, damage);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_at_once_are_told_apart() {
    let (output, report, damage) = verify(Plan { drop: 2, repeat: 2, swap: 2 }).await;
    assert!(damage.missing > 0 && damage.duplicated > 0 && damage.out_of_order > 0);
    // A dropped batch may be one of a repeated pair: then its records arrive once after all.
    assert!(count(&report, "missing") <= damage.missing);
    assert!(count(&report, "duplicated") <= damage.duplicated);
    assert_eq!(report["exact"].as_bool(), Some(false));
    assert_eq!(output.status.code(), Some(1));
}
