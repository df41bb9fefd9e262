//! Options of the load generator's commands, and the plan that they make.

use std::time::Duration;

use chronik_client::producer::{Acks, ProducerOptions};
use clap::Args;

use crate::cli::connect::Connect;
use crate::cli::produce::{Compression, acks};
use crate::fault::Fault;

/// What a run does.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Name for the report.
    pub name: &'static str,
    /// How to reach the broker.
    pub connect: Connect,
    /// The topic; one of its own, deleted afterwards, without it.
    pub topic: Option<String>,
    /// Partitions of a topic that is created.
    pub partitions: i32,
    /// Records in all.
    pub records: u64,
    /// Bytes of a value.
    pub size: usize,
    /// Producers, each with its own connections.
    pub producers: u32,
    /// Members of the consumer group; none to write only.
    pub consumers: u32,
    /// Records a second over all producers.
    pub rate: Option<f64>,
    /// Options of each producer.
    pub producer: ProducerOptions,
    /// Give up when nothing arrives for so long.
    pub stall: Duration,
    /// Leave the topic in place.
    pub keep: bool,
}

/// Options that shape the load.
#[derive(Debug, Clone, Args)]
pub struct Load {
    /// The topic; without it one is created, and deleted afterwards
    #[arg(long, short)]
    topic: Option<String>,
    /// Partitions of a topic that is created
    #[arg(long, short, default_value_t = 6, value_name = "COUNT")]
    partitions: i32,
    /// Records in all
    #[arg(long, short = 'n', default_value_t = 100_000, value_name = "COUNT")]
    records: u64,
    /// Bytes of a value, at least 40
    #[arg(long, short, default_value_t = 1024, value_name = "BYTES")]
    size: usize,
    /// Producers, each with its own connection
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    producers: u32,
    /// Records a second over all producers; as fast as possible without it
    #[arg(long, value_name = "PER_SECOND")]
    rate: Option<f64>,
    /// Acknowledgements: 0, 1 or all
    #[arg(long, default_value = "all", value_parser = acks)]
    acks: Acks,
    /// Compression
    #[arg(long, short = 'z', value_enum, default_value_t)]
    compression: Compression,
    /// Bytes of a batch at most
    #[arg(long, default_value_t = 65_536, value_name = "BYTES")]
    batch_bytes: usize,
    /// Milliseconds that a record may wait for others
    #[arg(long, default_value_t = 5.0, value_name = "MS")]
    linger: f64,
    /// Requests in flight a producer and broker
    #[arg(long, default_value_t = 5, value_name = "COUNT")]
    in_flight: usize,
    /// Without idempotence: a retry may write a batch twice
    #[arg(long)]
    no_idempotence: bool,
    /// Seconds until a record that is not acknowledged has failed
    #[arg(long, default_value_t = 120.0, value_name = "SECONDS")]
    delivery_timeout: f64,
    /// Give up when nothing arrives for so many seconds
    #[arg(long, default_value_t = 60.0, value_name = "SECONDS")]
    stall: f64,
    /// Leave a topic that was created in place
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    connect: Connect,
}

impl Load {
    fn plan(self, name: &'static str) -> Result<Plan, Fault> {
        if self.records == 0 || self.producers == 0 || self.partitions == 0 {
            return Err(Fault::usage("nothing to send", "--records, --producers and --partitions of at least 1"));
        }
        let seconds = [self.linger, self.delivery_timeout, self.stall, self.rate.unwrap_or(1.0)];
        if seconds.iter().any(|value| !value.is_finite() || *value < 0.0) || self.rate == Some(0.0) {
            return Err(Fault::usage(
                "a time or rate below zero",
                "--linger, --delivery-timeout, --stall, --rate of positive numbers",
            ));
        }
        let idempotent = self.acks == Acks::All && !self.no_idempotence;
        if idempotent && self.in_flight > 5 {
            return Err(Fault::usage(
                format!("--in-flight {} with idempotence", self.in_flight),
                "at most 5, which is what a broker remembers; or --no-idempotence",
            ));
        }
        Ok(Plan {
            name,
            topic: self.topic,
            partitions: self.partitions,
            records: self.records,
            size: self.size,
            producers: self.producers,
            consumers: 0,
            rate: self.rate,
            producer: ProducerOptions {
                acks: self.acks,
                compression: self.compression.into(),
                linger: Duration::from_secs_f64(self.linger / 1000.0),
                batch_bytes: self.batch_bytes,
                max_in_flight: self.in_flight,
                idempotent,
                delivery_timeout: Duration::from_secs_f64(self.delivery_timeout),
                ..ProducerOptions::default()
            },
            stall: Duration::from_secs_f64(self.stall),
            keep: self.keep,
            connect: self.connect,
        })
    }
}

/// Write records.
#[derive(Debug, Args)]
#[command(after_help = "Example: chronik bench produce -n 1000000 -s 1024 --producers 4")]
pub struct ProduceBench {
    #[command(flatten)]
    load: Load,
}

impl ProduceBench {
    /// What to do.
    pub fn plan(self) -> Result<Plan, Fault> {
        self.load.plan("produce")
    }
}

/// Measure latency from end to end.
#[derive(Debug, Args)]
#[command(after_help = "Example: chronik bench end-to-end -n 10000 --rate 1000 --linger 0")]
pub struct EndToEndBench {
    #[command(flatten)]
    load: Load,
}

impl EndToEndBench {
    /// What to do: one consumer, and a thousand records a second unless told otherwise.
    pub fn plan(self) -> Result<Plan, Fault> {
        let mut plan = self.load.plan("end-to-end")?;
        plan.consumers = 1;
        plan.rate = plan.rate.or(Some(1000.0));
        Ok(plan)
    }
}

/// Account for every record.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: chronik bench verify -n 1000000 --producers 3 --consumers 3\nRestart the broker while it runs: the counts stay exact."
)]
pub struct VerifyBench {
    /// Members of the consumer group
    #[arg(long, default_value_t = 2, value_name = "COUNT")]
    consumers: u32,
    #[command(flatten)]
    load: Load,
}

impl VerifyBench {
    /// What to do.
    pub fn plan(self) -> Result<Plan, Fault> {
        if self.consumers == 0 {
            return Err(Fault::usage("nobody would read", "--consumers of at least 1"));
        }
        let mut plan = self.load.plan("verify")?;
        plan.consumers = self.consumers;
        Ok(plan)
    }
}
