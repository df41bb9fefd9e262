//! The Debian package index through the broker: one record a package, in by kcat and librdkafka with each codec, back through a group of three.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use super::broker::Broker;
use super::catalog::{Client, KCAT, LIBRDKAFKA};
use super::options::{self, Options};
use super::process::{Record, Running};
use super::report::{Report, Table};
use super::scenarios::{Members, PATIENCE};
use super::{in_parallel, install};
use crate::fetch;

const PARTITIONS: i64 = 6;
const MEMBERS: usize = 3;
/// In the order of the codec's number in a batch's attributes.
const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

/// What all passages share.
struct Passage<'a> {
    options: &'a Options,
    workplace: &'a Path,
    broker: &'a Broker,
    input: PathBuf,
    /// Key and hash of every record, in order.
    expected: Vec<(String, String)>,
}

pub(super) fn run(options: &Options, workplace: &Path, broker: &Broker, report: &Report) -> Result<()> {
    install::all(&[&KCAT, &LIBRDKAFKA], &options.cache)?;
    let input = workplace.join("package-index");
    write_input(&input)?;
    let expected = expected(&input, workplace)?;
    let passage = Passage { options, workplace, broker, input, expected };
    let passages: Vec<(&Client, usize)> =
        CODECS.iter().enumerate().flat_map(|(codec, _)| [(&KCAT, codec), (&LIBRDKAFKA, codec)]).collect();
    in_parallel(options.jobs, &passages, |(client, codec)| {
        report.add(Table::PackageIndex, &format!("by {}", client.name), CODECS[*codec], passage.run(client, *codec));
    });
    Ok(())
}

/// One record a package; key and value as `produce-file` takes them.
fn write_input(path: &Path) -> Result<()> {
    let mut index = dump_available()?;
    if index.is_empty() {
        fetch::apt(&["update", "-q"])?;
        index = dump_available()?;
    }
    let mut file = String::with_capacity(index.len() + index.len() / 16);
    let mut packages = 0;
    for stanza in index.split("\n\n").filter(|stanza| !stanza.trim().is_empty()) {
        let name = stanza.lines().find_map(|line| line.strip_prefix("Package: ")).context("a stanza without a name")?;
        file.extend([name, "\u{1f}", stanza, "\u{1e}"]);
        packages += 1;
    }
    ensure!(packages > 1_000, "the package index has {packages} packages only");
    eprintln!("package index: {packages} packages, {} MiB", file.len() >> 20);
    fs::write(path, file)?;
    Ok(())
}

fn dump_available() -> Result<String> {
    let output = Command::new("apt-cache").arg("dumpavail").output().context("apt-cache")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn expected(input: &Path, workplace: &Path) -> Result<Vec<(String, String)>> {
    let mut command = Command::new("python3");
    command.arg("-B").arg(options::programs().join("python/digest.py")).arg(input);
    let said = Running::start(&mut command, &workplace.join("digest.log"))?.finish(Instant::now() + PATIENCE)?;
    Ok(said.records.into_iter().map(|record| (record.key, record.value)).collect())
}

impl Passage<'_> {
    /// Returns how much each member has read.
    fn run(&self, client: &Client, codec: usize) -> Result<String> {
        let topic = format!("index-{}-{}-{:x}", client.name, CODECS[codec], self.options.seed);
        let log = |name: &str| self.workplace.join(format!("{topic}-{name}.log"));
        let partitions = PARTITIONS.to_string();
        let words = ["produce", "--create", "--per-partition", "0", "--partitions", &partitions];
        self.command(&LIBRDKAFKA, &topic, &words).finish_within(&log("create"))?;
        let members = Members::start(MEMBERS, |index| {
            let words =
                ["consume", "--digest", "--deadline-ms", "300000", "--group", &topic, "--partitions", &partitions];
            Running::start(&mut self.command(client, &topic, &words), &log(&format!("member-{index}")))
        })?;
        let members = members.share(PARTITIONS)?;
        let file = self.input.display().to_string();
        let words = ["produce-file", "--codec", CODECS[codec], "--file", &file];
        let produced = self.command(client, &topic, &words).finish_within(&log("produce"))?.produced;
        let count = produced.context("it did not say what it produced")?.0;
        ensure!(count == self.expected.len() as u64, "{count} of {} acknowledged", self.expected.len());
        let said = members.read(self.expected.len())?;
        self.judge(said.iter().flat_map(|said| &said.records))?;
        if let Some(data) = self.broker.data() {
            stored_with(codec, data, &topic)?;
        }
        Ok(said.iter().map(|said| said.records.len().to_string()).collect::<Vec<_>>().join("+"))
    }

    fn command(&self, client: &Client, topic: &str, words: &[&str]) -> Command {
        let mut command = client.program(&self.options.cache);
        command.args(words).args(["--bootstrap", self.broker.address(), "--topic", topic]);
        command
    }

    /// The same multiset; each partition's offsets without gap, its records in the order of the input, hence those of each key too.
    fn judge<'r>(&self, records: impl Iterator<Item = &'r Record>) -> Result<()> {
        let mut by_partition = BTreeMap::<i64, Vec<&Record>>::new();
        for record in records {
            by_partition.entry(record.partition).or_default().push(record);
        }
        let place: BTreeMap<(&str, &str), usize> = self
            .expected
            .iter()
            .enumerate()
            .map(|(place, (key, hash))| ((key.as_str(), hash.as_str()), place))
            .collect();
        ensure!(place.len() == self.expected.len(), "the input has two records that are the same");
        let mut seen = vec![0_u8; self.expected.len()];
        for (partition, records) in by_partition {
            let mut last = None;
            for (offset, record) in records.into_iter().enumerate() {
                ensure!(record.offset == offset as i64, "[{partition}] has offset {} at place {offset}", record.offset);
                let Some(&place) = place.get(&(record.key.as_str(), record.value.as_str())) else {
                    bail!("[{partition}] offset {offset}: {} is not what was sent", record.key);
                };
                ensure!(last < Some(place), "[{partition}] offset {offset}: {} is out of order", record.key);
                last = Some(place);
                seen[place] += 1;
            }
        }
        let missing = seen.iter().filter(|times| **times == 0).count();
        let twice = seen.iter().filter(|times| **times > 1).count();
        ensure!(missing == 0 && twice == 0, "{missing} missing, {twice} more than once");
        Ok(())
    }
}

/// A program that ends by itself.
trait FinishWithin {
    fn finish_within(&mut self, log: &Path) -> Result<super::process::Said>;
}

impl FinishWithin for Command {
    fn finish_within(&mut self, log: &Path) -> Result<super::process::Said> {
        Running::start(self, log)?.finish(Instant::now() + PATIENCE)
    }
}

/// Looks into the segments: batches carry the codec that was asked for. A client leaves a batch alone that would not shrink, so most must, not all.
fn stored_with(codec: usize, data: &Path, topic: &str) -> Result<()> {
    let mut batches = [0_usize; 8];
    for partition in 0..PARTITIONS {
        for entry in fs::read_dir(data.join(format!("{topic}-{partition}")))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "log") {
                count_batches(&fs::read(&path)?, &mut batches);
            }
        }
    }
    let all: usize = batches.iter().sum();
    ensure!(
        all > 0 && batches[codec] * 10 >= all * 9,
        "{} of {all} stored batches are {}",
        batches[codec],
        CODECS[codec]
    );
    Ok(())
}

/// Adds up the batches of a segment by codec. A segment ends with its last batch, or with zeros that are not written yet.
fn count_batches(mut segment: &[u8], batches: &mut [usize; 8]) {
    const SIZE_AT: usize = 8;
    const BEFORE_SIZE_ENDS: usize = 12;
    const ATTRIBUTES_LOW_BYTE: usize = 22;
    const HEADER: usize = 61;
    while segment.len() >= HEADER {
        let size = segment[SIZE_AT..BEFORE_SIZE_ENDS].iter().fold(0, |size, byte| size << 8 | usize::from(*byte));
        if size + BEFORE_SIZE_ENDS < HEADER {
            return;
        }
        batches[usize::from(segment[ATTRIBUTES_LOW_BYTE] & 7)] += 1;
        segment = segment.get(size + BEFORE_SIZE_ENDS..).unwrap_or_default();
    }
}
