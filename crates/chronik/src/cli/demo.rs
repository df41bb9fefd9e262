//! `chronik demo`: a broker with no configuration, messages through a producer and a group, and commands to go on with.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chronik_client::admin::{Admin, NewTopic, OffsetSpec};
use chronik_client::consumer::{Consumer, ConsumerOptions, GroupOptions, OffsetReset};
use chronik_client::producer::{Producer, ProducerOptions, ProducerRecord};
use chronik_client::{Client, ClientOptions};
use chronik_protocol::error::ErrorCode;
use clap::Args;
use tokio::time::{Instant, timeout};

use super::config::Settings;
use super::connect::told;
use super::group::{LagRow, lag};
use super::start;
use crate::fault::{Fault, MISMATCH, TIMEOUT};
use crate::output::{self, Row, grouped};
use crate::style::Style;

const TOPIC: &str = "demo";
const GROUP: &str = "demo-readers";
const PARTITIONS: i32 = 3;
const MESSAGES: u64 = 3_000;
/// Longest wait for the messages to come back.
const LIMIT: Duration = Duration::from_secs(30);

/// Start a broker, pass messages through it, and keep it running until Ctrl-C.
#[derive(Debug, Args)]
pub struct Demo {
    /// Stop when the messages have passed
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    settings: Settings,
}

impl Demo {
    /// Runs the demonstration.
    pub fn run(&self) -> Result<(), Fault> {
        start::run(self.settings.load()?, Some(self.once), |address| async move { show(&address).await })
    }
}

/// The demonstration, against a broker that runs.
async fn show(address: &str) -> Result<(), Fault> {
    let style = Style::stdout();
    let client = Client::connect(ClientOptions::new(address)).await.map_err(told)?;
    let admin = Admin::new(&client);
    say(&format!("\n{} Chronik answers at {}", style.good("✓"), style.bold(address)))?;
    create(&admin).await?;
    say(&format!("{} topic {} with {PARTITIONS} partitions", style.good("✓"), style.bold(TOPIC)))?;
    let before = unread(&admin).await?;
    let (sent, seconds) = produce(&client).await?;
    say(&format!(
        "{} {} messages acknowledged, each on stable storage before its answer: {} in {:.2} s",
        style.good("✓"),
        grouped(sent.values().sum()),
        by_partition(&sent),
        seconds
    ))?;
    let half = consume(&client, MESSAGES / 2).await?;
    say(&format!(
        "{} group {} read {} of them, committed and left; its lag:\n",
        style.good("✓"),
        style.bold(GROUP),
        grouped(half)
    ))?;
    lag_table(&admin).await?;
    let rest = consume(&client, unread(&admin).await?).await?;
    say(&format!("\n{} the same group came back and read the other {}:\n", style.good("✓"), grouped(rest)))?;
    lag_table(&admin).await?;
    let expected = MESSAGES + before;
    if half + rest != expected {
        return Err(Fault::new(
            MISMATCH,
            format!("{} of {expected} messages came back", half + rest),
            "a bug, or somebody else uses the group",
            "look at the log, and report it",
        ));
    }
    say(&format!(
        "\n{} {} sent, {} received, none twice, none missing",
        style.good("✓"),
        grouped(MESSAGES),
        grouped(half + rest)
    ))?;
    say(&commands(address, &style))
}

fn say(line: &str) -> Result<(), Fault> {
    output::print(&format!("{line}\n"))
}

fn by_partition(counts: &BTreeMap<i32, u64>) -> String {
    counts.iter().map(|(partition, count)| format!("{count} in partition {partition}")).collect::<Vec<_>>().join(", ")
}

async fn create(admin: &Admin) -> Result<(), Fault> {
    for (_, outcome) in admin.create_topics(&[NewTopic::new(TOPIC, PARTITIONS)], false).await.map_err(told)? {
        match outcome {
            // A second demonstration on the same data.
            Err(error) if error.code() == Some(ErrorCode::TopicAlreadyExists) => {}
            other => other.map_err(told)?,
        }
    }
    Ok(())
}

/// Records of the topic that the group has still to read, also where it has committed nothing yet.
async fn unread(admin: &Admin) -> Result<u64, Fault> {
    let partitions: Vec<i32> = (0..PARTITIONS).collect();
    let committed = admin.group_offsets(GROUP).await.map_err(told)?;
    let starts = admin.list_offsets(TOPIC, &partitions, OffsetSpec::Earliest, false).await.map_err(told)?;
    let ends = admin.list_offsets(TOPIC, &partitions, OffsetSpec::Latest, false).await.map_err(told)?;
    let mut unread = 0;
    for ((partition, start), (_, end)) in starts.into_iter().zip(ends) {
        let from = committed.get(&(TOPIC.to_owned(), partition)).map(|found| found.offset);
        unread += end.map_err(told)?.offset - from.unwrap_or(start.map_err(told)?.offset);
    }
    Ok(unread.max(0).cast_unsigned())
}

async fn produce(client: &Client) -> Result<(BTreeMap<i32, u64>, f64), Fault> {
    // Small batches and small answers, so that the first reader leaves something of each partition for the second.
    let producer = Producer::new(client, ProducerOptions { batch_bytes: 2 << 10, ..ProducerOptions::default() });
    let topic: Arc<str> = Arc::from(TOPIC);
    let began = Instant::now();
    let mut deliveries = Vec::new();
    for number in 0..MESSAGES {
        let record = ProducerRecord {
            topic: topic.clone(),
            partition: Some((number % PARTITIONS.unsigned_abs() as u64) as i32),
            key: Some(Bytes::from(format!("key-{}", number % 100))),
            value: Some(Bytes::from(format!("message {number}"))),
            ..ProducerRecord::default()
        };
        deliveries.push(producer.send(record).await.map_err(told)?);
    }
    let mut counts = BTreeMap::new();
    for delivery in deliveries {
        let delivered = delivery.await.map_err(told)?;
        *counts.entry(delivered.partition).or_insert(0) += 1;
    }
    let seconds = began.elapsed().as_secs_f64();
    producer.close(Duration::from_secs(5)).await.map_err(told)?;
    Ok((counts, seconds))
}

/// Reads at least so many records as a member of the group, commits and leaves.
async fn consume(client: &Client, at_least: u64) -> Result<u64, Fault> {
    let mut options = ConsumerOptions { reset: OffsetReset::Earliest, ..ConsumerOptions::default() };
    options.fetch.partition_max_bytes = 2 << 10;
    let mut consumer = Consumer::subscribed(client, options, GroupOptions::new(GROUP), &[TOPIC.to_owned()]);
    let mut read = 0;
    let all = async {
        while read < at_least {
            for fetched in consumer.poll(Duration::from_millis(500)).await? {
                fetched.for_each(|_| read += 1)?;
            }
        }
        consumer.commit().await
    };
    timeout(LIMIT, all)
        .await
        .map_err(|_| {
            Fault::new(
                TIMEOUT,
                format!("fewer than {at_least} messages came back"),
                "the broker is slow or broken",
                "look at the log",
            )
        })?
        .map_err(told)?;
    consumer.close().await.map_err(told)?;
    Ok(read)
}

async fn lag_table(admin: &Admin) -> Result<(), Fault> {
    let rows = lag(admin, GROUP).await?;
    output::print(&output::table(LagRow::HEADINGS, rows.iter().map(Row::cells)))
}

fn commands(address: &str, style: &Style) -> String {
    let head = style.bold("Paste into another terminal:");
    format!(
        r#"
{head}

  chronik produce {TOPIC} -b {address} -k greeting <<< 'hello'
  chronik consume {TOPIC} -b {address} -o beginning -e -f '%p %o %k=%s\n'
  chronik bench verify -b {address} -n 1000000

  kcat -b {address} -L
  echo 'from kcat' | kcat -b {address} -t {TOPIC} -P
  kcat -b {address} -G kcat-readers {TOPIC}

  pip install confluent-kafka && python3 -c '
from confluent_kafka import Consumer
c = Consumer({{"bootstrap.servers": "{address}", "group.id": "python", "auto.offset.reset": "earliest"}})
c.subscribe(["{TOPIC}"])
while m := c.poll(5): print(m.partition(), m.offset(), m.value())'

  kafka-console-consumer.sh --bootstrap-server {address} --topic {TOPIC} --from-beginning

Still serving; Ctrl-C stops it."#
    )
}
