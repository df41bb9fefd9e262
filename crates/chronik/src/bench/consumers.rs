//! The receiving side of a run: members of one group that book every record and commit behind themselves.

use std::sync::Arc;
use std::time::Duration;

use chronik_client::consumer::{Consumer, ConsumerOptions, GroupOptions, OffsetReset};
use tokio::sync::watch;

use super::engine::Shared;
use super::latency::Latencies;
use crate::cli::connect::told;
use crate::fault::Fault;

/// How long a poll waits; also how soon a member notices the end of the run.
const POLL: Duration = Duration::from_millis(100);

/// Reads until told to stop. Returns the latencies from send to arrival.
pub(super) async fn run(shared: Arc<Shared>, stop: watch::Receiver<bool>) -> Result<Latencies, Fault> {
    let client = shared.plan.connect.client().await?;
    let options = ConsumerOptions { reset: OffsetReset::Earliest, ..ConsumerOptions::default() };
    let group = GroupOptions { session_timeout: Duration::from_secs(30), ..GroupOptions::new(&shared.group) };
    let mut consumer = Consumer::subscribed(&client, options, group, std::slice::from_ref(&shared.topic));
    let mut latencies = Latencies::default();
    while !*stop.borrow() {
        let fetched = consumer.poll(POLL).await.map_err(told)?;
        for partition in &fetched {
            let now = shared.elapsed_us();
            let index = partition.partition.cast_unsigned();
            let mut ledger = shared.ledger();
            let before = ledger.received();
            partition
                .for_each(|view| {
                    let value = view.record.value.unwrap_or_default();
                    if let Some(stamp) = ledger.receive(index, view.offset, value) {
                        latencies.record_us(now.saturating_sub(stamp.sent_us));
                    }
                })
                .map_err(told)?;
            shared.received.inc(ledger.received() - before);
        }
        for (_, partition, offset) in consumer.positions() {
            shared.reached(partition, offset);
        }
        if !fetched.is_empty()
            && let Err(error) = consumer.commit().await
        {
            // A rebalance came first: what was read since the last commit is read again by whoever gets the partition.
            tracing::warn!(%error, "commit");
        }
    }
    consumer.close().await.map_err(told)?;
    Ok(latencies)
}
