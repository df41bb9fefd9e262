//! `chronik consume`: records of a topic to stdout, in kcat's and rpk's format verbs, as JSON lines or as plain values.

use std::io::Write;
use std::time::Duration;

use chronik_client::Client;
use chronik_client::admin::{Admin, OffsetSpec};
use chronik_client::consumer::{Assignor, Consumer, ConsumerOptions, Fetched, GroupOptions, OffsetReset};
use clap::{Args, ValueEnum};
use serde::Serialize;
use tokio::time::Instant;

use super::connect::{Connect, block_on, told};
use crate::fault::{Fault, UNKNOWN_TOPIC};
use crate::output::Format;
use crate::verbs::{Template, View};

/// Read records of a topic.
#[derive(Debug, Args)]
#[command(after_help = "\
chronik consume orders                       new records, values only
chronik consume orders -o beginning -e       all there is, then exit
chronik consume orders -G billing            as a member of a group, committing
chronik consume orders -f '%p %o %k=%s\\n'    with format verbs: %t %p %o %k %s %h %T %d %K %S %H %e %R
chronik consume orders -O jsonl -c 10        ten records as JSON lines")]
pub struct Consume {
    /// The topic
    topic: String,
    /// Only these partitions, with commas
    #[arg(long = "partitions", short, value_delimiter = ',', value_name = "N", conflicts_with = "group")]
    partitions: Vec<i32>,
    /// Where to begin: beginning, end, an offset, -N (so many before the end), @MS (a time)
    #[arg(
        long,
        short,
        default_value = "end",
        default_value_if("group", clap::builder::ArgPredicate::IsPresent, "stored"),
        value_name = "OFFSET",
        allow_hyphen_values = true
    )]
    offset: String,
    /// Read as a member of this group and commit
    #[arg(long, short = 'G', value_name = "GROUP")]
    group: Option<String>,
    /// group.instance.id: a static member
    #[arg(long, requires = "group", value_name = "ID")]
    instance: Option<String>,
    /// How the group shares partitions out
    #[arg(long, requires = "group", value_enum, default_value_t)]
    assignor: AssignorName,
    /// The member is given up after this long without a heartbeat, in ms
    #[arg(long, requires = "group", default_value_t = 45_000, value_name = "MS")]
    session_timeout: u64,
    /// Stop after so many records
    #[arg(long = "count", short = 'c', value_name = "COUNT")]
    count: Option<u64>,
    /// Stop at the end of what is there
    #[arg(long = "exit", short)]
    exit_at_end: bool,
    /// Format of a record
    #[arg(long, short, value_name = "FORMAT")]
    format: Option<String>,
    /// Leave out records of open and aborted transactions
    #[arg(long)]
    read_committed: bool,
    #[command(flatten)]
    connect: Connect,
}

/// Names of the assignors on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum AssignorName {
    /// Consecutive ranges per topic
    #[default]
    Range,
    /// Dealt in turn
    Roundrobin,
    /// Balanced, partitions stay where they are
    CooperativeSticky,
}

impl From<AssignorName> for Assignor {
    fn from(name: AssignorName) -> Self {
        match name {
            AssignorName::Range => Assignor::Range,
            AssignorName::Roundrobin => Assignor::RoundRobin,
            AssignorName::CooperativeSticky => Assignor::CooperativeSticky,
        }
    }
}

/// Where `-o` says to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    Beginning,
    End,
    Stored,
    At(i64),
    BeforeEnd(i64),
    Time(i64),
}

impl Start {
    fn parse(text: &str) -> Result<Start, Fault> {
        let bad = || {
            Fault::usage(
                format!("-o {text} is no place to begin"),
                "-o beginning, end, stored, an offset, -N (so many before the end) or @MS (a time)",
            )
        };
        match text {
            "beginning" | "earliest" | "start" => Ok(Start::Beginning),
            "end" | "latest" => Ok(Start::End),
            "stored" => Ok(Start::Stored),
            _ => match text.strip_prefix('@').or(text.strip_prefix("s@")) {
                Some(ms) => ms.parse().map(Start::Time).map_err(|_| bad()),
                None => match text.parse::<i64>() {
                    Ok(before) if before < 0 => Ok(Start::BeforeEnd(-before)),
                    Ok(offset) => Ok(Start::At(offset)),
                    Err(_) => Err(bad()),
                },
            },
        }
    }
}

/// A record as one JSON line; the field names are kcat's.
#[derive(Serialize)]
struct Line<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    #[serde(rename = "tstype")]
    timestamp_type: &'static str,
    ts: i64,
    headers: Vec<(&'a str, Option<String>)>,
    key: Option<String>,
    payload: Option<String>,
}

impl Consume {
    /// Runs the command.
    pub fn run(self, format: Format) -> Result<(), Fault> {
        let template = match (&self.format, format) {
            (Some(format), _) => Some(Template::parse(format)?),
            (None, Format::Table) => Some(Template::parse("%s\n")?),
            (None, Format::Json | Format::Jsonl | Format::Yaml) => None,
        };
        let start = Start::parse(&self.offset)?;
        block_on(async move {
            let client = self.connect.client().await?;
            let mut consumer = self.consumer(&client, start).await?;
            let interrupted = tokio::signal::ctrl_c();
            tokio::pin!(interrupted);
            let outcome = tokio::select! {
                outcome = self.copy(&mut consumer, template.as_ref()) => outcome,
                _ = &mut interrupted => Ok(()),
            };
            outcome?;
            consumer.close().await.map_err(told)
        })
    }

    async fn consumer(&self, client: &Client, start: Start) -> Result<Consumer, Fault> {
        let mut options = ConsumerOptions {
            reset: if start == Start::End { OffsetReset::Latest } else { OffsetReset::Earliest },
            ..ConsumerOptions::default()
        };
        options.fetch.read_committed = self.read_committed;
        let cluster = client.refresh_or_create(&[&self.topic]).await.map_err(told)?;
        let Some(topic) = cluster.topics.get(&self.topic) else {
            let cause = cluster.errors.get(&self.topic).map_or("unknown", |code| code.name());
            return Err(Fault::new(
                UNKNOWN_TOPIC,
                format!("no topic {}", self.topic),
                cause,
                format!("chronik topic create {}", self.topic),
            ));
        };
        if let Some(group) = &self.group {
            options.auto_commit = Some(Duration::from_secs(5));
            let mut group = GroupOptions::new(group);
            group.instance.clone_from(&self.instance);
            group.session_timeout = Duration::from_millis(self.session_timeout);
            group.assignors = vec![self.assignor.into()];
            return Ok(Consumer::subscribed(client, options, group, std::slice::from_ref(&self.topic)));
        }
        let all = topic.partitions.iter().map(|partition| partition.index);
        let partitions: Vec<i32> = if self.partitions.is_empty() { all.collect() } else { self.partitions.clone() };
        let offsets = self.starts(client, &partitions, start).await?;
        Ok(Consumer::assigned(client, options, &offsets))
    }

    async fn starts(
        &self,
        client: &Client,
        partitions: &[i32],
        start: Start,
    ) -> Result<Vec<(String, i32, i64)>, Fault> {
        let admin = Admin::new(client);
        let spec = match start {
            Start::At(offset) => return Ok(partitions.iter().map(|p| (self.topic.clone(), *p, offset)).collect()),
            Start::Beginning | Start::Stored => OffsetSpec::Earliest,
            Start::End | Start::BeforeEnd(_) => OffsetSpec::Latest,
            Start::Time(ms) => OffsetSpec::Timestamp(ms),
        };
        let found = admin.list_offsets(&self.topic, partitions, spec, self.read_committed).await.map_err(told)?;
        let ends =
            admin.list_offsets(&self.topic, partitions, OffsetSpec::Latest, self.read_committed).await.map_err(told)?;
        let mut starts = Vec::new();
        for (partition, offset) in found {
            let offset = offset.map_err(told)?.offset;
            let end = ends.get(&partition).and_then(|end| end.as_ref().ok()).map_or(offset, |end| end.offset);
            let from = match start {
                Start::BeforeEnd(count) => (end - count).max(0),
                _ if offset < 0 => end,
                _ => offset,
            };
            starts.push((self.topic.clone(), partition, from));
        }
        Ok(starts)
    }

    async fn copy(&self, consumer: &mut Consumer, template: Option<&Template>) -> Result<(), Fault> {
        let mut left = self.count.unwrap_or(u64::MAX);
        let mut out = Vec::new();
        let mut quiet_since = Instant::now();
        while left > 0 {
            let fetched = consumer.poll(Duration::from_millis(200)).await.map_err(told)?;
            for partition in &fetched {
                left = write(partition, template, left, &mut out)?;
            }
            flush(&mut out)?;
            if !fetched.is_empty() {
                quiet_since = Instant::now();
            } else if self.exit_at_end && consumer.at_end() && quiet_since.elapsed() > Duration::from_millis(100) {
                break;
            }
        }
        Ok(())
    }
}

/// Formats records until `left` of them are written; returns how many are left.
fn write(fetched: &Fetched, template: Option<&Template>, mut left: u64, out: &mut Vec<u8>) -> Result<u64, Fault> {
    let mut failed = None;
    for record in fetched.records().map_err(told)? {
        if left == 0 {
            break;
        }
        left -= 1;
        let view = View {
            topic: &fetched.topic,
            partition: fetched.partition,
            offset: record.offset,
            timestamp: record.timestamp,
            leader_epoch: record.leader_epoch,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &record.headers,
        };
        match template {
            Some(template) => template.write(&view, out),
            None => failed = line(&view, out).err().or(failed),
        }
    }
    match failed {
        Some(error) => Err(Fault::io("a record cannot be printed as JSON", &error.into())),
        None => Ok(left),
    }
}

fn line(view: &View<'_>, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let line = Line {
        topic: view.topic,
        partition: view.partition,
        offset: view.offset,
        timestamp_type: if view.timestamp < 0 { "unknown" } else { "create" },
        ts: view.timestamp,
        headers: view.headers.iter().map(|(key, value)| (key.as_str(), value.as_deref().map(text))).collect(),
        key: view.key.map(text),
        payload: view.value.map(text),
    };
    serde_json::to_writer(&mut *out, &line)?;
    out.push(b'\n');
    Ok(())
}

fn flush(out: &mut Vec<u8>) -> Result<(), Fault> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(out).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Fault::io("cannot write to standard output", &error)),
        Ok(()) => {
            out.clear();
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_to_begin() {
        assert_eq!(Start::parse("beginning").unwrap(), Start::Beginning);
        assert_eq!(Start::parse("-5").unwrap(), Start::BeforeEnd(5));
        assert_eq!(Start::parse("7").unwrap(), Start::At(7));
        assert_eq!(Start::parse("@1700000000000").unwrap(), Start::Time(1_700_000_000_000));
        assert!(Start::parse("yesterday").is_err());
    }
}
