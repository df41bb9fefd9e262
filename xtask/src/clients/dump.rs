//! Apache Kafka's DumpLogSegments reads what the clients left in our files, without complaint.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::broker::Broker;
use super::report::{Report, Table};
use crate::{kafka, root};

const OFFSETS_TOPIC: &str = "__consumer_offsets-";
const METADATA_TOPIC: &str = "__cluster_metadata-";
/// What the tool says of files that are not as they should be; it exits with 0 all the same.
const COMPLAINTS: [&str; 6] = ["isvalid: false", "invalid", "ismatch", "out of order", "Exception", "Could not"];

/// Stops the broker in order, so that its files are whole, and reads them.
pub(super) fn run(broker: &mut Broker, report: &Report) {
    const ROW: &str = "the broker's files";
    let stopped = broker.terminate().map(|took| format!("{} ms", took.as_millis()));
    if !report.add(Table::Files, ROW, "SIGTERM to exit", stopped) {
        return;
    }
    let Some(data) = broker.data() else { return };
    report.add(Table::Files, ROW, "segments dumped", topics(data));
    report.add(Table::Files, ROW, "group records decoded", offsets(data));
}

/// Every segment and index of every topic of the clients. Returns how many records the tool has seen in how many batches.
fn topics(data: &Path) -> Result<String> {
    let files = files(data, |name| !name.starts_with("__"), &["log", "index", "timeindex"])?;
    let text = dump(&files, &[])?;
    let (mut records, mut batches) = (0_i64, 0);
    let mut next = None;
    for line in text.lines() {
        if line.starts_with("Dumping ") {
            next = None;
        }
        let Some(base) = number(line, "baseOffset: ") else { continue };
        ensure!(line.contains("isvalid: true"), "{line}");
        ensure!(next.is_none_or(|next| next == base), "a gap before {line}");
        next = number(line, "lastOffset: ").map(|last| last + 1);
        records += number(line, "count: ").context("a batch without a count")?;
        batches += 1;
    }
    ensure!(records > 0, "no records in {} files", files.len());
    Ok(format!("{records} records, {batches} batches, {} files", files.len()))
}

/// Every record of the offsets topic has a key and a value that Kafka's own decoder knows.
fn offsets(data: &Path) -> Result<String> {
    let files = files(data, |name| name.starts_with(OFFSETS_TOPIC), &["log"])?;
    let text = dump(&files, &["--offsets-decoder"])?;
    let mut records = 0;
    for line in text.lines().filter(|line| line.starts_with("| offset: ")) {
        let tombstone = line.contains("valueSize: -1");
        ensure!(line.contains("key: {\"type\":"), "not decoded: {line}");
        ensure!(tombstone || line.contains("payload: {\"version\":"), "not decoded: {line}");
        records += 1;
    }
    ensure!(records > 0, "no records in {} files", files.len());
    Ok(format!("{records} records"))
}

fn dump(files: &[PathBuf], more: &[&str]) -> Result<String> {
    let list = files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(",");
    let mut command: Command = kafka::dump_log_segments()?;
    let text = root::output(command.args(more).args(["--files", &list]))?;
    if let Some(line) = text.lines().find(|line| COMPLAINTS.iter().any(|complaint| complaint_in(line, complaint))) {
        bail!("DumpLogSegments: {line}");
    }
    Ok(text)
}

/// Lines of batches and records hold names that clients chose; only "isvalid" says something of the file there.
fn complaint_in(line: &str, complaint: &str) -> bool {
    let of_a_client = line.starts_with("| ") || line.starts_with("Dumping ");
    !of_a_client && line.contains(complaint)
}

fn number(line: &str, name: &str) -> Option<i64> {
    let rest = line.strip_prefix(name).or_else(|| line.split_once(&format!(" {name}")).map(|(_, rest)| rest))?;
    rest.split(' ').next()?.parse().ok()
}

/// Files that hold something, of partitions that `wanted` chooses by folder name.
fn files(data: &Path, wanted: impl Fn(&str) -> bool, extensions: &[&str]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for folder in fs::read_dir(data)? {
        let folder = folder?.path();
        let name = folder.file_name().and_then(OsStr::to_str).unwrap_or_default();
        if !folder.is_dir()
            || name.starts_with(METADATA_TOPIC)
            || !wanted(name)
            || !folder.join("partition.metadata").exists()
        {
            continue;
        }
        for file in fs::read_dir(&folder)? {
            let file = file?.path();
            let extension = file.extension().and_then(OsStr::to_str).unwrap_or_default();
            if extensions.contains(&extension) && file.metadata()?.len() > 0 {
                found.push(file);
            }
        }
    }
    found.sort();
    ensure!(!found.is_empty(), "no segments below {}", data.display());
    Ok(found)
}
