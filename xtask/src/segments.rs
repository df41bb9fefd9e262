//! `cargo xtask segments`: Apache Kafka's DumpLogSegments reads every kind of file that a partition has, and finds nothing to say.
//!
//! The files are written by the storage crate's example `write_segments`: rolled segments, indexes with many entries, all codecs, leader
//! epochs, idempotent producers, a recovery. Counts are exact.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::{kafka, root};

/// Records per topic: three runs of what the example appends in one.
const RECORDS: [(&str, i64); 3] = [("plain-0", 3 * 400 * 10), ("rolled-0", 3 * 300 * 3), ("killed-0", 3 * 51 * 5)];
const COMPLAINTS: [&str; 5] = ["isvalid: false", "ismatch", "out of order", "Exception", "Could not"];

/// Writes the files, and has them read.
pub(crate) fn run(_args: &[String]) -> Result<()> {
    let data = root::target().join("segments");
    if data.exists() {
        fs::remove_dir_all(&data)?;
    }
    let shown = data.display().to_string();
    root::run(
        "cargo",
        &["run", "--quiet", "--package", "chronik-storage", "--example", "write_segments", "--", &shown],
    )?;
    for (partition, records) in RECORDS {
        let dir = data.join(partition);
        let logs = files(&dir, "log")?;
        let text = dump(&logs, &["--deep-iteration"])?;
        let found = text.lines().filter(|line| line.starts_with("| offset: ")).count();
        ensure!(i64::try_from(found)? == records, "{partition}: {found} records, not {records}");
        for suffix in ["index", "timeindex"] {
            let indexes = files(&dir, suffix)?;
            dump(&indexes, &[])?;
            let sane = dump(&indexes, &["--index-sanity-check"])?;
            let passed = sane.lines().filter(|line| line.ends_with("passed sanity check.")).count();
            ensure!(passed == indexes.len(), "{partition}: {passed} of {} files pass the sanity check", indexes.len());
        }
        let snapshots = dump(&files(&dir, "snapshot")?, &[])?;
        let producers = snapshots.lines().filter(|line| line.starts_with("producerId: ")).count();
        ensure!((producers > 0) == (partition == "plain-0"), "{partition}: {producers} producers");
        eprintln!("{partition}: {found} records in {} segments", logs.len());
    }
    Ok(())
}

fn dump(files: &[PathBuf], more: &[&str]) -> Result<String> {
    let list = files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(",");
    let text = root::output(kafka::dump_log_segments()?.args(more).args(["--files", &list]))?;
    for line in text.lines() {
        ensure!(!COMPLAINTS.iter().any(|complaint| line.contains(complaint)), "DumpLogSegments: {line}");
    }
    Ok(text)
}

fn files(dir: &Path, suffix: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == suffix) {
            found.push(path);
        }
    }
    found.sort();
    ensure!(!found.is_empty(), "no {suffix} files in {}", dir.display());
    Ok(found)
}
