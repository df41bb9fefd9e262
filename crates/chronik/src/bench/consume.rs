//! `chronik bench consume`: reads what is in a topic as fast as it comes and counts every offset.

use std::collections::BTreeMap;
use std::time::Duration;

use chronik_client::admin::{Admin, OffsetSpec};
use chronik_client::consumer::{Consumer, ConsumerOptions, OffsetReset};
use clap::Args;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{engine, progress};
use crate::cli::connect::{Connect, told};
use crate::fault::{Fault, INTERNAL, MISMATCH, UNKNOWN_TOPIC};
use crate::output::{self, Format, grouped};

/// Read what is in a topic.
#[derive(Debug, Args)]
#[command(after_help = "Example: chronik bench consume orders --consumers 4")]
pub struct ConsumeBench {
    /// The topic
    topic: String,
    /// Consumers, each with its share of the partitions
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    consumers: usize,
    /// Bytes of a partition in one answer at most
    #[arg(long, default_value_t = 1 << 20, value_name = "BYTES")]
    partition_bytes: i32,
    /// Bytes of an answer at most
    #[arg(long, default_value_t = 16 << 20, value_name = "BYTES")]
    max_bytes: i32,
    /// Look at batch headers only, not at records: what the broker can deliver, rather than what this program can read
    #[arg(long)]
    headers_only: bool,
    /// Take offsets without a record (compaction, transactions) as no error
    #[arg(long)]
    allow_gaps: bool,
    /// Give up when nothing arrives for so many seconds
    #[arg(long, default_value_t = 60.0, value_name = "SECONDS")]
    stall: f64,
    #[command(flatten)]
    connect: Connect,
}

/// Counts of one partition.
#[derive(Debug, Clone, Serialize)]
struct PartitionCount {
    partition: i32,
    from: i64,
    to: i64,
    records: u64,
    gaps: u64,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct Report {
    bench: &'static str,
    exact: bool,
    records: u64,
    expected: u64,
    bytes: u64,
    seconds: f64,
    records_per_second: f64,
    mib_per_second: f64,
    partitions: Vec<PartitionCount>,
}

impl ConsumeBench {
    pub(super) async fn run(self, format: Format) -> Result<(), Fault> {
        if self.consumers == 0 || !self.stall.is_finite() || self.stall <= 0.0 {
            return Err(Fault::usage("nobody would read", "--consumers of at least 1 and --stall above 0"));
        }
        let client = self.connect.client().await?;
        let cluster = client.refresh(&[&self.topic]).await.map_err(told)?;
        let Some(topic) = cluster.topics.get(&self.topic) else {
            return Err(Fault::new(
                UNKNOWN_TOPIC,
                format!("no topic {}", self.topic),
                "nothing to read",
                "chronik topic list",
            ));
        };
        let indexes: Vec<i32> = topic.partitions.iter().map(|partition| partition.index).collect();
        let admin = Admin::new(&client);
        let starts = admin.list_offsets(&self.topic, &indexes, OffsetSpec::Earliest, false).await.map_err(told)?;
        let ends = engine::ends(&admin, &self.topic, &indexes).await?;
        let mut shares: Vec<BTreeMap<i32, PartitionCount>> = vec![BTreeMap::new(); self.consumers.min(indexes.len())];
        for (index, (partition, start)) in starts.into_iter().enumerate() {
            let (from, to) = (start.map_err(told)?.offset, ends.get(&partition).copied().unwrap_or(0));
            let share = index % shares.len();
            shares[share].insert(partition, PartitionCount { partition, from, to, records: 0, gaps: 0, bytes: 0 });
        }
        let expected: u64 =
            shares.iter().flat_map(BTreeMap::values).map(|share| (share.to - share.from).max(0).cast_unsigned()).sum();
        let bar = progress::bar(expected, "received");
        let began = Instant::now();
        let mut tasks = JoinSet::new();
        let this = std::sync::Arc::new(self);
        for share in shares {
            tasks.spawn(read(this.clone(), share, bar.clone()));
        }
        let mut partitions = Vec::new();
        while let Some(ended) = tasks.join_next().await {
            let counts =
                ended.map_err(|error| Fault::new(INTERNAL, "a task ended", error.to_string(), "report this"))?;
            partitions.extend(counts?.into_values());
        }
        bar.finish_and_clear();
        this.report(partitions, expected, began.elapsed().as_secs_f64(), format)
    }

    fn report(
        &self,
        mut partitions: Vec<PartitionCount>,
        expected: u64,
        seconds: f64,
        format: Format,
    ) -> Result<(), Fault> {
        partitions.sort_by_key(|count| count.partition);
        let records = partitions.iter().map(|count| count.records).sum();
        let bytes: u64 = partitions.iter().map(|count| count.bytes).sum();
        let gaps: u64 = partitions.iter().map(|count| count.gaps).sum();
        let exact = records == expected || (self.allow_gaps && records + gaps >= expected);
        let report = Report {
            bench: "consume",
            exact,
            records,
            expected,
            bytes,
            seconds,
            records_per_second: records as f64 / seconds.max(1e-9),
            mib_per_second: bytes as f64 / f64::from(1 << 20) / seconds.max(1e-9),
            partitions,
        };
        output::document(format, &report, || {
            let rows = report.partitions.iter().map(|count| {
                [i64::from(count.partition), count.from, count.to]
                    .iter()
                    .map(ToString::to_string)
                    .chain([count.records, count.gaps].iter().map(ToString::to_string))
                    .collect()
            });
            format!(
                "{}\n{} records, {}, {} records/s, {:.1} MiB/s, {:.2} s\n",
                output::table(&["partition", "from", "to", "records", "gaps"], rows),
                grouped(report.records),
                output::bytes(report.bytes),
                grouped(report.records_per_second as u64),
                report.mib_per_second,
                report.seconds,
            )
        })?;
        if exact {
            return Ok(());
        }
        let what = format!("{} of {} records were read", grouped(records), grouped(expected));
        Err(Fault::new(
            MISMATCH,
            what,
            format!("{gaps} offsets without a record"),
            "--allow-gaps for compacted or transactional topics",
        ))
    }
}

async fn read(
    bench: std::sync::Arc<ConsumeBench>,
    mut share: BTreeMap<i32, PartitionCount>,
    bar: indicatif::ProgressBar,
) -> Result<BTreeMap<i32, PartitionCount>, Fault> {
    let client = bench.connect.client().await?;
    client.refresh(&[&bench.topic]).await.map_err(told)?;
    let mut options = ConsumerOptions { reset: OffsetReset::Fail, ..ConsumerOptions::default() };
    options.fetch.partition_max_bytes = bench.partition_bytes;
    options.fetch.max_bytes = bench.max_bytes;
    let starts: Vec<_> = share
        .values()
        .filter(|count| count.to > count.from)
        .map(|count| (bench.topic.clone(), count.partition, count.from))
        .collect();
    let mut consumer = Consumer::assigned(&client, options, &starts);
    let mut next: BTreeMap<i32, i64> = starts.iter().map(|(_, partition, from)| (*partition, *from)).collect();
    let mut moved = Instant::now();
    while next.iter().any(|(partition, at)| *at < share[partition].to) {
        let fetched = consumer.poll(Duration::from_millis(500)).await.map_err(told)?;
        if !fetched.is_empty() {
            moved = Instant::now();
        } else if moved.elapsed().as_secs_f64() > bench.stall {
            break;
        }
        for partition in fetched {
            let (Some(count), Some(at)) = (share.get_mut(&partition.partition), next.get_mut(&partition.partition))
            else {
                continue;
            };
            count.bytes += partition.size_in_bytes() as u64;
            let before = count.records;
            let mut see = |offset: i64| {
                if offset < count.to {
                    count.gaps += (offset - *at).max(0).cast_unsigned();
                    count.records += 1;
                    *at = offset + 1;
                }
            };
            if bench.headers_only {
                partition.for_each_offset(&mut see);
            } else {
                partition.for_each(|view| see(view.offset)).map_err(told)?;
            }
            bar.inc(count.records - before);
        }
        for (_, partition, offset) in consumer.positions() {
            if let Some(at) = next.get_mut(&partition) {
                *at = offset.max(*at);
            }
        }
    }
    Ok(share)
}
