//! `chronik produce`: records from stdin or files into a topic.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chronik_client::producer::{Acks, Delivery, Producer, ProducerOptions, ProducerRecord};
use chronik_protocol::compression::Codec;
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use super::connect::{Connect, block_on, told};
use crate::fault::{DELIVERY, Fault, UNREADABLE_FILE};
use crate::output::{self, Format};
use crate::verbs::{InputTemplate, find, unescape};

/// Deliveries that may be outstanding before the oldest is waited for.
const OUTSTANDING: usize = 100_000;

/// Write records to a topic, a line a record.
#[derive(Debug, Args)]
#[command(after_help = "\
echo hello | chronik produce greetings
chronik produce orders -K '\\t' < orders.tsv          key, tab, value
chronik produce orders -f '%k;%v' < orders.csv       with format verbs: %k %v %p %h
chronik produce orders --input jsonl < orders.jsonl  what `chronik consume -O jsonl` prints
chronik produce images --whole a.png b.png           a file a record")]
pub struct Produce {
    /// The topic
    topic: String,
    /// Files to read instead of standard input
    files: Vec<PathBuf>,
    /// A file is one record, not one a line
    #[arg(long, conflicts_with_all = ["key_delimiter", "format", "input"])]
    whole: bool,
    /// Key of every record
    #[arg(long, short)]
    key: Option<String>,
    /// What separates key and value
    #[arg(long, short = 'K', value_name = "TEXT", conflicts_with_all = ["key", "format"])]
    key_delimiter: Option<String>,
    /// What separates records
    #[arg(long, short = 'D', value_name = "TEXT", default_value = "\\n")]
    delimiter: String,
    /// Format of a record
    #[arg(long, short, value_name = "FORMAT")]
    format: Option<String>,
    /// Read JSON lines
    #[arg(long, value_enum, conflicts_with_all = ["format", "key_delimiter"])]
    input: Option<InputKind>,
    /// A header of every record
    #[arg(long, short = 'H', value_name = "KEY=VALUE")]
    header: Vec<String>,
    /// Partition of every record
    #[arg(long, short)]
    partition: Option<i32>,
    /// An empty value is a null: a tombstone
    #[arg(long, short = 'Z')]
    null: bool,
    /// Compression
    #[arg(long, short = 'z', value_enum, default_value_t)]
    compression: Compression,
    /// Acknowledgements: 0, 1 or all
    #[arg(long, default_value = "all", value_parser = acks)]
    acks: Acks,
    /// Print what was delivered where: records, first and last offset by partition
    #[arg(long)]
    report: bool,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum InputKind {
    /// One JSON object a line
    Jsonl,
}

/// Names of the codecs on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Compression {
    /// Plain
    #[default]
    None,
    /// gzip
    Gzip,
    /// snappy
    Snappy,
    /// lz4
    Lz4,
    /// zstd
    Zstd,
}

impl From<Compression> for Codec {
    fn from(name: Compression) -> Self {
        match name {
            Compression::None => Codec::None,
            Compression::Gzip => Codec::Gzip,
            Compression::Snappy => Codec::Snappy,
            Compression::Lz4 => Codec::Lz4,
            Compression::Zstd => Codec::Zstd,
        }
    }
}

/// Parses `--acks`.
pub fn acks(text: &str) -> Result<Acks, String> {
    match text {
        "0" => Ok(Acks::None),
        "1" => Ok(Acks::Leader),
        "all" | "-1" => Ok(Acks::All),
        _ => Err("0, 1 or all".to_owned()),
    }
}

/// A line of `--input jsonl`: the field names of `consume -O jsonl`, which are kcat's.
#[derive(Deserialize)]
struct Line {
    key: Option<String>,
    payload: Option<String>,
    partition: Option<i32>,
    #[serde(default)]
    headers: Vec<(String, Option<String>)>,
    ts: Option<i64>,
}

enum Reader {
    Lines { key_delimiter: Option<Vec<u8>> },
    Template(InputTemplate),
    Json,
}

#[derive(Serialize)]
struct Report {
    records: u64,
    partitions: Vec<PartitionReport>,
}

#[derive(Serialize, Clone)]
struct PartitionReport {
    partition: i32,
    records: u64,
    first_offset: i64,
    last_offset: i64,
}

#[derive(Default)]
struct Tally {
    delivered: u64,
    failed: u64,
    first_error: Option<chronik_client::Error>,
    partitions: std::collections::BTreeMap<i32, PartitionReport>,
}

impl Tally {
    async fn take(&mut self, delivery: Delivery) {
        match delivery.await {
            Ok(delivered) => {
                self.delivered += 1;
                let report = self.partitions.entry(delivered.partition).or_insert(PartitionReport {
                    partition: delivered.partition,
                    records: 0,
                    first_offset: delivered.offset,
                    last_offset: delivered.offset,
                });
                report.records += 1;
                report.last_offset = report.last_offset.max(delivered.offset);
            }
            Err(error) => {
                self.failed += 1;
                self.first_error.get_or_insert(error);
            }
        }
    }
}

impl Produce {
    /// Runs the command.
    pub fn run(self, format: Format) -> Result<(), Fault> {
        let reader = self.reader()?;
        let delimiter = unescape(&self.delimiter)?;
        if delimiter.is_empty() {
            return Err(Fault::usage("an empty delimiter separates nothing", r"-D '\n'"));
        }
        let headers = self.headers()?;
        block_on(async move {
            let client = self.connect.client().await?;
            let options = ProducerOptions {
                acks: self.acks,
                compression: self.compression.into(),
                idempotent: self.acks == Acks::All,
                delivery_timeout: Duration::from_secs_f64(self.connect.timeout),
                ..ProducerOptions::default()
            };
            let producer = Producer::new(&client, options);
            let mut sender = Sender {
                command: &self,
                producer: &producer,
                headers,
                tally: Tally::default(),
                outstanding: Default::default(),
            };
            sender.all(&reader, &delimiter).await?;
            producer.flush().await.map_err(told)?;
            let tally = sender.finish().await;
            producer.close(Duration::from_secs(5)).await.map_err(told)?;
            self.conclude(tally, format)
        })
    }

    fn reader(&self) -> Result<Reader, Fault> {
        if self.input == Some(InputKind::Jsonl) {
            return Ok(Reader::Json);
        }
        match &self.format {
            Some(format) => Ok(Reader::Template(InputTemplate::parse(format.strip_suffix("\\n").unwrap_or(format))?)),
            None => Ok(Reader::Lines { key_delimiter: self.key_delimiter.as_deref().map(unescape).transpose()? }),
        }
    }

    fn headers(&self) -> Result<Vec<(String, Option<Bytes>)>, Fault> {
        let split = |text: &String| {
            text.split_once('=')
                .map(|(key, value)| (key.to_owned(), Some(Bytes::copy_from_slice(value.as_bytes()))))
                .ok_or_else(|| Fault::usage(format!("header {text:?} has no '='"), "-H key=value"))
        };
        self.header.iter().map(split).collect()
    }

    fn conclude(&self, tally: Tally, format: Format) -> Result<(), Fault> {
        if self.report {
            let report = Report { records: tally.delivered, partitions: tally.partitions.into_values().collect() };
            output::document(format, &report, || {
                let rows = report.partitions.iter().map(|p| {
                    vec![
                        p.partition.to_string(),
                        p.records.to_string(),
                        p.first_offset.to_string(),
                        p.last_offset.to_string(),
                    ]
                });
                output::table(&["partition", "records", "first offset", "last offset"], rows)
            })?;
        }
        match tally.first_error {
            None => Ok(()),
            Some(error) if tally.delivered == 0 => Err(told(error)),
            Some(error) => Err(Fault::new(
                DELIVERY,
                format!("{} of {} records were not delivered", tally.failed, tally.failed + tally.delivered),
                error.to_string(),
                "look at the broker's log, and send the rest again",
            )),
        }
    }
}

/// Sends what the input holds.
struct Sender<'a> {
    command: &'a Produce,
    producer: &'a Producer,
    headers: Vec<(String, Option<Bytes>)>,
    tally: Tally,
    outstanding: std::collections::VecDeque<Delivery>,
}

impl Sender<'_> {
    async fn all(&mut self, reader: &Reader, delimiter: &[u8]) -> Result<(), Fault> {
        if self.command.files.is_empty() {
            return self.input(Box::new(std::io::stdin()), "standard input", reader, delimiter).await;
        }
        for path in &self.command.files {
            let file = std::fs::File::open(path).map_err(|error| unreadable(path, &error))?;
            self.input(Box::new(file), &path.display().to_string(), reader, delimiter).await?;
        }
        Ok(())
    }

    async fn input(
        &mut self,
        input: Box<dyn Read + Send>,
        name: &str,
        reader: &Reader,
        delimiter: &[u8],
    ) -> Result<(), Fault> {
        let failed = |error: std::io::Error| Fault::io(format!("cannot read {name}"), &error);
        let mut input = BufReader::with_capacity(1 << 16, input);
        let mut record = Vec::new();
        if self.command.whole {
            input.read_to_end(&mut record).map_err(failed)?;
            return self.send(reader, &record).await;
        }
        loop {
            record.clear();
            if !read_record(&mut input, delimiter, &mut record).map_err(failed)? {
                return Ok(());
            }
            self.send(reader, &record).await?;
        }
    }

    async fn send(&mut self, reader: &Reader, bytes: &[u8]) -> Result<(), Fault> {
        let mut record = self.parse(reader, bytes)?;
        record.headers.extend(self.headers.iter().cloned());
        if self.command.null && record.value.as_ref().is_some_and(Bytes::is_empty) {
            record.value = None;
        }
        let delivery = self.producer.send(record).await.map_err(told)?;
        self.outstanding.push_back(delivery);
        while self.outstanding.len() > OUTSTANDING {
            if let Some(oldest) = self.outstanding.pop_front() {
                self.tally.take(oldest).await;
            }
        }
        Ok(())
    }

    fn parse(&self, reader: &Reader, bytes: &[u8]) -> Result<ProducerRecord, Fault> {
        let copy = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
        let mut record = ProducerRecord {
            topic: Arc::from(self.command.topic.as_str()),
            partition: self.command.partition,
            timestamp: None,
            key: self.command.key.as_ref().map(|key| copy(key.as_bytes())),
            value: None,
            headers: Vec::new(),
        };
        match reader {
            Reader::Lines { key_delimiter } => {
                match key_delimiter.as_ref().and_then(|text| Some((text, find(bytes, text)?))) {
                    Some((text, at)) => {
                        record.key = Some(copy(&bytes[..at]));
                        record.value = Some(copy(&bytes[at + text.len()..]));
                    }
                    None => record.value = Some(copy(bytes)),
                }
            }
            Reader::Template(template) => {
                let parsed = template.read(bytes)?;
                record.key = parsed.key.map(Bytes::from).or(record.key);
                record.value = parsed.value.map(Bytes::from);
                record.partition = record.partition.or(parsed.partition);
                record.headers = parsed.headers.into_iter().map(|(key, value)| (key, value.map(Bytes::from))).collect();
            }
            Reader::Json => {
                let line: Line = serde_json::from_slice(bytes).map_err(|error| {
                    Fault::usage(
                        format!("a line is not a record: {error}"),
                        "one JSON object a line, as consume -O jsonl prints",
                    )
                })?;
                record.key = line.key.map(Bytes::from).or(record.key);
                record.value = line.payload.map(Bytes::from);
                record.partition = record.partition.or(line.partition);
                record.timestamp = line.ts.filter(|ts| *ts >= 0);
                record.headers = line.headers.into_iter().map(|(key, value)| (key, value.map(Bytes::from))).collect();
            }
        }
        Ok(record)
    }

    async fn finish(mut self) -> Tally {
        for delivery in std::mem::take(&mut self.outstanding) {
            self.tally.take(delivery).await;
        }
        self.tally
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Fault {
    Fault::new(
        UNREADABLE_FILE,
        format!("cannot read {}", path.display()),
        error.to_string(),
        "check the path and its permissions",
    )
}

/// Reads up to the delimiter, which is taken off. False at the end of the input.
fn read_record(input: &mut impl BufRead, delimiter: &[u8], record: &mut Vec<u8>) -> std::io::Result<bool> {
    let Some(&last) = delimiter.last() else { return Ok(false) };
    loop {
        if input.read_until(last, record)? == 0 {
            return Ok(!record.is_empty());
        }
        if record.ends_with(delimiter) {
            record.truncate(record.len() - delimiter.len());
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_end_at_the_delimiter_or_the_end() {
        let mut input: &[u8] = b"a||b|c||";
        let mut records = Vec::new();
        let mut record = Vec::new();
        while read_record(&mut input, b"||", &mut record).unwrap() {
            records.push(String::from_utf8(std::mem::take(&mut record)).unwrap());
        }
        assert_eq!(records, ["a", "b|c"]);
    }

    #[test]
    fn acks_have_three_names() {
        assert_eq!(acks("all"), Ok(Acks::All));
        assert_eq!(acks("-1"), Ok(Acks::All));
        assert_eq!(acks("0"), Ok(Acks::None));
        assert!(acks("2").is_err());
    }
}
