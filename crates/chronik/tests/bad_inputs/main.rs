//! Bad input over sockets: one row an entry, each with the exact answer that it must get.
//!
//! After each row the broker must live, serve other connections, be within its memory, and give the next good batch
//! exactly the next offset. With `CHRONIK_BAD_INPUTS_ORACLE=HOST:PORT` the rows run against an Apache Kafka instead,
//! which shows that the expectations are Kafka's; where a row says that we are stricter, its answer is expected there.
//! `CHRONIK_BAD_INPUTS_ROWS=R` runs only the rows whose id begins with R.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)] // a row that cannot go on has failed

use std::panic::{AssertUnwindSafe, catch_unwind};

use world::World;

mod batches;
mod broker;
#[allow(dead_code)] // shared with the codec's tests, which use all of it
#[path = "../../../chronik-protocol/tests/codec/bytes.rs"]
mod bytes;
mod connection;
mod fetching;
mod fuzz;
mod groups;
mod limits;
mod member;
mod producers;
mod protocol;
mod records;
#[allow(dead_code)] // shared with the codec's tests, which use all of it
#[path = "../../../chronik-protocol/tests/codec/schema.rs"]
mod schema;
mod sensible;
mod topics;
mod world;

/// A bad input, and the test that it gets the answer that it must get.
pub(crate) struct Row {
    /// Its letter and number; the letter is the module's.
    pub(crate) id: &'static str,
    /// What is sent.
    pub(crate) input: &'static str,
    /// Sends it and checks the answer.
    pub(crate) run: fn(&mut World),
}

/// The rows of every part.
const TABLES: &[&[Row]] = &[protocol::ROWS, records::ROWS, producers::ROWS, fetching::ROWS, topics::ROWS, groups::ROWS];

/// What the broker of the table runs with besides the defaults: limits that a test can reach.
const SETTINGS: &[&str] = &["chronik.max.decompressed.batch.bytes=2097152", "group.min.session.timeout.ms=100"];

#[test]
fn every_bad_input_gets_its_answer() {
    let only = std::env::var("CHRONIK_BAD_INPUTS_ROWS").unwrap_or_default();
    let mut world = World::start(SETTINGS);
    let mut failed = Vec::new();
    for row in TABLES.iter().copied().flatten().filter(|row| row.id.starts_with(&only)) {
        let ran = catch_unwind(AssertUnwindSafe(|| {
            (row.run)(&mut world);
            world.aftermath();
        }));
        if ran.is_err() {
            eprintln!("row {} failed: {}", row.id, row.input);
            failed.push(row.id);
            world.recover();
        }
    }
    assert!(failed.is_empty(), "{} rows failed: {}", failed.len(), failed.join(" "));
}
