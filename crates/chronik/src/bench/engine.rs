//! One run: producers and consumers together, until every acknowledged record has been read and the log has no more.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chronik_client::admin::{Admin, NewTopic, OffsetSpec};
use chronik_client::{Client, Error};
use chronik_protocol::error::ErrorCode;
use indicatif::ProgressBar;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::latency::Latencies;
use super::ledger::Ledger;
use super::options::Plan;
use super::report::Report;
use super::{consumers, producers, progress};
use crate::cli::connect::told;
use crate::fault::{Fault, INTERNAL};
use crate::output::Format;

/// What the tasks of a run share.
pub(super) struct Shared {
    pub(super) plan: Plan,
    pub(super) run: u64,
    pub(super) topic: String,
    pub(super) group: String,
    pub(super) partitions: u32,
    pub(super) sent: ProgressBar,
    pub(super) received: ProgressBar,
    ledger: Mutex<Ledger>,
    reached: Mutex<BTreeMap<i32, i64>>,
    error: Mutex<Option<Error>>,
    began: Instant,
}

impl Shared {
    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn elapsed_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    pub(super) fn first_error(&self, error: &Error) {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| error.clone());
    }

    /// A consumer is at this offset of a partition.
    pub(super) fn reached(&self, partition: i32, offset: i64) {
        let mut reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        let highest = reached.entry(partition).or_insert(offset);
        *highest = offset.max(*highest);
    }

    fn all_reached(&self, ends: &BTreeMap<i32, i64>) -> bool {
        let reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        ends.iter().all(|(partition, end)| *end == 0 || reached.get(partition).is_some_and(|at| at >= end))
    }

    fn positions(&self) -> i64 {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }
}

/// Runs a plan and prints its report.
///
/// # Errors
/// A fault when the counts do not agree, after the report.
pub async fn run(plan: Plan, format: Format) -> Result<(), Fault> {
    let client = plan.connect.client().await?;
    let admin = Admin::new(&client);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
    let run = nanos ^ u64::from(std::process::id()) << 48;
    let topic = plan.topic.clone().unwrap_or_else(|| format!("chronik-bench-{run:016x}"));
    let created = create(&admin, &topic, &plan).await?;
    let result = measure(&client, plan.clone(), run, &topic).await;
    if created && !plan.keep {
        remove(&admin, &topic, run).await;
    }
    result?.finish(format)
}

async fn create(admin: &Admin, topic: &str, plan: &Plan) -> Result<bool, Fault> {
    let outcomes = admin.create_topics(&[NewTopic::new(topic, plan.partitions)], false).await.map_err(told)?;
    match outcomes.into_iter().next() {
        Some((_, Err(error))) if error.code() == Some(ErrorCode::TopicAlreadyExists) && plan.topic.is_some() => {
            Ok(false)
        }
        Some((_, Err(error))) => Err(told(error)),
        _ => Ok(plan.topic.is_none()),
    }
}

/// Cleans up; what cannot be removed is left, and no reason to fail a measurement.
async fn remove(admin: &Admin, topic: &str, run: u64) {
    if let Err(error) = admin.delete_topics(&[topic.to_owned()]).await {
        tracing::warn!(%error, topic, "the topic stays");
    }
    if let Err(error) = admin.delete_groups(&[group_of(run)]).await {
        tracing::debug!(%error, "the group stays");
    }
}

fn group_of(run: u64) -> String {
    format!("chronik-bench-{run:016x}")
}

async fn measure(client: &Client, plan: Plan, run: u64, topic: &str) -> Result<Report, Fault> {
    let cluster = wait_for_leaders(client, topic).await?;
    let partitions = cluster.len() as u32;
    let admin = Admin::new(client);
    let before = ends(&admin, topic, &cluster).await?;
    let mut ledger = Ledger::new(run, partitions);
    before.iter().for_each(|(partition, end)| ledger.begin(partition.cast_unsigned(), *end));
    let shared = Arc::new(Shared {
        run,
        topic: topic.to_owned(),
        group: group_of(run),
        partitions,
        sent: progress::bar(plan.records, "acknowledged"),
        received: if plan.consumers > 0 { progress::bar(plan.records, "received") } else { ProgressBar::hidden() },
        ledger: Mutex::new(ledger),
        reached: Mutex::default(),
        error: Mutex::default(),
        began: Instant::now(),
        plan,
    });
    let (stop, stopped) = watch::channel(false);
    let mut reading = JoinSet::new();
    if shared.plan.consumers > 0 {
        start_at(&admin, &shared, &before).await?;
        for _ in 0..shared.plan.consumers {
            reading.spawn(consumers::run(shared.clone(), stopped.clone()));
        }
    }
    let mut writing = JoinSet::new();
    for producer in 0..shared.plan.producers {
        writing.spawn(producers::run(shared.clone(), producer));
    }
    let acknowledgements = join(&mut writing).await?;
    let write_seconds = shared.began.elapsed().as_secs_f64();
    let after = ends(&admin, topic, &cluster).await?;
    let drained = drain(&shared, &after, &mut reading).await;
    let total_seconds = shared.began.elapsed().as_secs_f64();
    // Every receiver may be gone already: then there is nobody to stop.
    let _ = stop.send(true);
    let arrivals = join(&mut reading).await?;
    drained?;
    shared.sent.finish_and_clear();
    shared.received.finish_and_clear();
    let gained = after.iter().map(|(partition, end)| end - before.get(partition).copied().unwrap_or(0)).sum();
    let error = shared.error.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(ToString::to_string);
    let ledger = shared.ledger();
    Ok(Report::new(&shared.plan, &ledger, (write_seconds, total_seconds), gained, &acknowledgements, &arrivals, error))
}

/// A run in a topic with older records begins behind them.
async fn start_at(admin: &Admin, shared: &Shared, before: &BTreeMap<i32, i64>) -> Result<(), Fault> {
    let offsets: BTreeMap<(String, i32), i64> = before
        .iter()
        .filter(|(_, end)| **end > 0)
        .map(|(partition, end)| ((shared.topic.clone(), *partition), *end))
        .collect();
    if offsets.is_empty() {
        return Ok(());
    }
    for (_, outcome) in admin.set_group_offsets(&shared.group, &offsets).await.map_err(told)? {
        outcome.map_err(told)?;
    }
    Ok(())
}

/// Waits until the consumers have read to the ends of the log, or nothing has moved for the time that was agreed, or all of
/// them have failed.
async fn drain(
    shared: &Shared,
    ends: &BTreeMap<i32, i64>,
    reading: &mut JoinSet<Result<Latencies, Fault>>,
) -> Result<(), Fault> {
    let mut last = (shared.positions(), Instant::now());
    while shared.plan.consumers > 0 && !shared.all_reached(ends) {
        if let Some(ended) = reading.try_join_next() {
            return Err(match ended {
                Ok(Err(fault)) => fault,
                Ok(Ok(_)) => Fault::new(INTERNAL, "a consumer ended early", "unknown", "report this"),
                Err(error) => Fault::new(INTERNAL, "a consumer ended early", error.to_string(), "report this"),
            });
        }
        let positions = shared.positions();
        if positions != last.0 {
            last = (positions, Instant::now());
        } else if last.1.elapsed() > shared.plan.stall {
            return Ok(());
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

async fn join(tasks: &mut JoinSet<Result<Latencies, Fault>>) -> Result<Latencies, Fault> {
    let mut all = Latencies::default();
    while let Some(ended) = tasks.join_next().await {
        let latencies =
            ended.map_err(|error| Fault::new(INTERNAL, "a task ended", error.to_string(), "report this"))?;
        all.merge(&latencies?);
    }
    Ok(all)
}

async fn wait_for_leaders(client: &Client, topic: &str) -> Result<Vec<i32>, Fault> {
    let deadline = Instant::now() + client.options().request_timeout;
    loop {
        let cluster = client.refresh(&[topic]).await.map_err(told)?;
        if let Some(found) = cluster.topics.get(topic)
            && found.partitions.iter().all(|partition| partition.leader >= 0)
        {
            return Ok(found.partitions.iter().map(|partition| partition.index).collect());
        }
        if Instant::now() > deadline {
            return Err(told(Error::broker(format!("topic {topic}"), ErrorCode::LeaderNotAvailable, None)));
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// The ends of the log, through restarts of the broker.
pub(super) async fn ends(admin: &Admin, topic: &str, partitions: &[i32]) -> Result<BTreeMap<i32, i64>, Fault> {
    let deadline = Instant::now() + admin.client().options().request_timeout;
    loop {
        let found = async {
            let found = admin.list_offsets(topic, partitions, OffsetSpec::Latest, false).await?;
            found
                .into_iter()
                .map(|(partition, end)| Ok((partition, end?.offset)))
                .collect::<Result<BTreeMap<_, _>, Error>>()
        };
        match found.await {
            Ok(ends) => return Ok(ends),
            Err(error) if error.is_retriable() && Instant::now() < deadline => {
                sleep(Duration::from_millis(50)).await;
                // The answer matters only for the next try.
                let _ = admin.client().refresh(&[topic]).await;
            }
            Err(error) => return Err(told(error)),
        }
    }
}
