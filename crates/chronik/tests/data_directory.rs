//! One process owns a data directory; one that cannot be used ends the start with exit status 78 and says why.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::path::Path;
use std::process::Output;

use support::broker::Broker;

fn start(data_dir: &Path) -> Output {
    support::run(&["start", "--data-dir", data_dir.to_str().unwrap(), "--listen", "127.0.0.1:0"])
}

fn refused(data_dir: &Path, words: &[&str]) {
    let output = start(data_dir);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{errors}");
    for word in words {
        assert!(errors.contains(word), "{word} is missing in {errors}");
    }
}

#[test]
fn a_second_broker_is_told_the_first_ones_pid() {
    let mut broker = Broker::start(&[]);
    refused(&broker.data_dir(), &[&broker.pid().to_string(), "fix:"]);
    assert!(broker.is_alive());
    // The lock ends with its owner, however that ends.
    broker.kill();
    broker.restart();
}

#[test]
fn a_newer_format_and_a_directory_of_kafka_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("chronik.properties"), "format.version=99\n").unwrap();
    refused(dir.path(), &["99"]);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("meta.properties"), "version=1\n").unwrap();
    refused(dir.path(), &["Apache Kafka"]);
    let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| name == "meta.properties" || name == ".lock"), "{names:?}");
}

#[test]
fn a_place_where_no_directory_can_be_says_which() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    refused(&file.join("data"), &["file/data"]);
}

#[test]
fn damage_in_the_journal_ends_the_start_and_never_means_starting_empty() {
    let mut broker = Broker::start(&[]);
    for number in 0..20 {
        let name = format!("topic-{number}");
        let output = support::run(&["topic", "create", &name, "-b", &broker.address()]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    broker.kill();
    let journal = broker.data_dir().join("journal");
    let damaged = std::fs::read_dir(&journal).unwrap().map(|entry| entry.unwrap().path()).find(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        !name.starts_with("spare") && std::fs::read(path).unwrap()[4096..].starts_with(b"CHJG")
    });
    let damaged = damaged.expect("a file of the journal with more than one group");
    let mut bytes = std::fs::read(&damaged).unwrap();
    bytes[4096 + 70] ^= 1;
    std::fs::write(&damaged, bytes).unwrap();
    refused(&broker.data_dir(), &["damaged"]);
}
