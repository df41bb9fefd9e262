//! The sending side of a run: each producer hands its records out in order and books every outcome.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chronik_client::producer::{Delivery, Producer, ProducerRecord};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::engine::Shared;
use super::latency::Latencies;
use super::payload::{Stamp, filler};
use crate::cli::connect::told;
use crate::fault::Fault;

/// Records that may wait for their outcome; the sender waits when there are more.
const OUTSTANDING: usize = 1 << 16;
/// Distinct filler bytes; longer values repeat them.
const FILLER_BYTES: usize = 1 << 18;

struct Sent {
    partition: u32,
    sequence: u64,
    at: Instant,
    delivery: Delivery,
}

/// Sends one producer's share and waits for all outcomes. Returns the latencies of acknowledgements.
pub(super) async fn run(shared: Arc<Shared>, producer: u32) -> Result<Latencies, Fault> {
    let plan = &shared.plan;
    let share = plan.records / u64::from(plan.producers)
        + u64::from(u64::from(producer) < plan.records % u64::from(plan.producers));
    let client = plan.connect.client().await?;
    let kafka = Producer::new(&client, plan.producer.clone());
    let (sent, outcomes) = mpsc::channel(OUTSTANDING);
    let booking = tokio::spawn(book(shared.clone(), producer, outcomes));
    let sending = send(&shared, producer, share, &kafka, sent).await;
    let flushed = kafka.flush().await.map_err(told);
    let latencies = booking
        .await
        .map_err(|error| Fault::new(crate::fault::INTERNAL, "booking ended", error.to_string(), "report this"))?;
    sending?;
    flushed?;
    kafka.close(Duration::from_secs(10)).await.map_err(told)?;
    Ok(latencies)
}

async fn send(
    shared: &Shared,
    producer: u32,
    share: u64,
    kafka: &Producer,
    sent: mpsc::Sender<Sent>,
) -> Result<(), Fault> {
    let plan = &shared.plan;
    let filler = filler(FILLER_BYTES.min(plan.size));
    let topic: Arc<str> = Arc::from(shared.topic.as_str());
    let interval = plan.rate.map(|rate| f64::from(plan.producers) / rate);
    let started = Instant::now();
    for index in 0..share {
        if let Some(interval) = interval {
            // From the beginning of the run, so that a late record does not push the ones behind it.
            tokio::time::sleep_until(started + Duration::from_secs_f64(interval * index as f64)).await;
        }
        let partition = ((index + u64::from(producer)) % u64::from(shared.partitions)) as u32;
        let sequence = shared.ledger().send(producer, partition);
        let at = Instant::now();
        let stamp = Stamp { run: shared.run, producer, partition, sequence, sent_us: shared.elapsed_us() };
        let record = ProducerRecord {
            topic: topic.clone(),
            partition: Some(partition.cast_signed()),
            timestamp: None,
            key: None,
            value: Some(Bytes::from(stamp.encode(plan.size, &filler))),
            headers: Vec::new(),
        };
        match kafka.send(record).await {
            Ok(delivery) => {
                // The booking task ends only after this side does.
                let _ = sent.send(Sent { partition, sequence, at, delivery }).await;
            }
            Err(error) => {
                shared.ledger().fail(producer, partition, sequence);
                return Err(told(error));
            }
        }
    }
    Ok(())
}

async fn book(shared: Arc<Shared>, producer: u32, mut outcomes: mpsc::Receiver<Sent>) -> Latencies {
    let mut latencies = Latencies::default();
    while let Some(sent) = outcomes.recv().await {
        match sent.delivery.await {
            Ok(_) => {
                latencies.record_us(u64::try_from(sent.at.elapsed().as_micros()).unwrap_or(u64::MAX));
                shared.ledger().acknowledge(producer, sent.partition, sent.sequence);
            }
            Err(error) => {
                shared.ledger().fail(producer, sent.partition, sent.sequence);
                shared.first_error(&error);
            }
        }
        shared.sent.inc(1);
    }
    latencies
}
