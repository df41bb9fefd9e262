//! A consumer: of partitions that it is told, or of a group's share.
//!
//! A consumer is a value with one owner; everything but heartbeats happens inside [`Consumer::poll`]. What a poll returned
//! counts as processed when the next one is called: that is when positions are committed automatically, and when the
//! consumer lets go of partitions that the group gives to somebody else.

pub mod assignment;
pub mod assignor;
mod fetched;
mod fetcher;
mod membership;

pub use assignor::Assignor;
pub use fetched::{ConsumerRecord, Fetched, RecordView};
pub use fetcher::FetchOptions;
pub use membership::GroupOptions;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chronik_protocol::error::ErrorCode;
use chronik_protocol::generated::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use chronik_protocol::messages::OffsetCommitRequest;
use tokio::time::{Instant, sleep, sleep_until};

use crate::admin::groups::{each_committed, offset_fetch};
use crate::admin::{Admin, OffsetSpec};
use crate::cluster::Client;
use crate::error::Error;
use assignment::Partitions;
use fetcher::{Event, Events, Fetcher, Position, Positions};
use membership::Membership;

/// Pause before a fetch that failed for a passing reason is sent again.
const BACKOFF: Duration = Duration::from_millis(100);
/// Committed offsets name topics up to this version.
const LAST_VERSION_WITH_NAMES: i16 = 9;

/// A partition.
type Key = (Arc<str>, i32);

/// Where to begin without a committed offset, or when the position lies outside the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetReset {
    /// At the first record.
    Earliest,
    /// Behind the last record.
    Latest,
    /// Nowhere: an error.
    Fail,
}

/// Options of a consumer.
#[derive(Debug, Clone)]
pub struct ConsumerOptions {
    /// Where to begin without a committed offset.
    pub reset: OffsetReset,
    /// How much to fetch at a time.
    pub fetch: FetchOptions,
    /// Commit positions this often, and before partitions change hands; none to commit only when told.
    pub auto_commit: Option<Duration>,
}

impl Default for ConsumerOptions {
    fn default() -> Self {
        Self { reset: OffsetReset::Latest, fetch: FetchOptions::default(), auto_commit: None }
    }
}

/// A consumer.
#[derive(Debug)]
pub struct Consumer {
    client: Client,
    options: ConsumerOptions,
    fetcher: Fetcher,
    positions: Positions,
    /// Positions as they were last committed, so that an idle consumer commits nothing.
    committed: Positions,
    paused: BTreeSet<(Arc<str>, i32)>,
    high_watermarks: BTreeMap<(Arc<str>, i32), i64>,
    group: Option<(Membership, Vec<String>)>,
    next_commit: Option<Instant>,
    /// When to ask for metadata and try again, after a failure that passes. Kept between polls: a short poll must not put it
    /// off for ever.
    recover_at: Option<Instant>,
    rebalances: u64,
}

/// How one step of a poll ended.
enum Step {
    /// With records.
    Records(Vec<Fetched>),
    /// With something else that calls for another step.
    Changed,
    /// At the deadline.
    Nothing,
}

impl Consumer {
    /// A consumer of these partitions, each from an offset.
    pub fn assigned(client: &Client, options: ConsumerOptions, partitions: &[(String, i32, i64)]) -> Consumer {
        let mut consumer = Consumer::new(client, options, None);
        for (topic, partition, offset) in partitions {
            consumer.positions.insert((Arc::from(topic.as_str()), *partition), Position { offset: *offset, epoch: -1 });
        }
        consumer
    }

    /// A member of a group that consumes these topics. It joins at the first poll.
    pub fn subscribed(client: &Client, options: ConsumerOptions, group: GroupOptions, topics: &[String]) -> Consumer {
        let membership = Membership::new(client, group);
        Consumer::new(client, options, Some((membership, topics.to_vec())))
    }

    fn new(client: &Client, options: ConsumerOptions, group: Option<(Membership, Vec<String>)>) -> Consumer {
        Consumer {
            client: client.clone(),
            fetcher: Fetcher::new(client, options.fetch.clone()),
            next_commit: options.auto_commit.map(|interval| Instant::now() + interval),
            options,
            positions: Positions::new(),
            committed: Positions::new(),
            paused: BTreeSet::new(),
            high_watermarks: BTreeMap::new(),
            group,
            recover_at: None,
            rebalances: 0,
        }
    }

    /// The partitions being read, with the next offset of each.
    pub fn positions(&self) -> impl Iterator<Item = (&str, i32, i64)> {
        self.positions.iter().map(|((topic, partition), position)| (&**topic, *partition, position.offset))
    }

    /// How often the group gave this member an assignment.
    pub fn rebalances(&self) -> u64 {
        self.rebalances
    }

    /// True if every partition being read has been read to the high watermark of its last answer.
    pub fn at_end(&self) -> bool {
        !self.positions.is_empty()
            && self
                .positions
                .iter()
                .all(|(key, position)| self.high_watermarks.get(key).is_some_and(|end| position.offset >= *end))
    }

    /// Goes on from another offset.
    pub fn seek(&mut self, topic: &str, partition: i32, offset: i64) {
        let key = (Arc::from(topic), partition);
        if let Some(position) = self.positions.get_mut(&key) {
            *position = Position { offset, epoch: -1 };
            self.high_watermarks.remove(&key);
        }
    }

    /// Stops or goes on fetching a partition.
    pub fn pause(&mut self, topic: &str, partition: i32, paused: bool) {
        let key = (Arc::from(topic), partition);
        if paused {
            self.paused.insert(key);
        } else {
            self.paused.remove(&key);
        }
    }

    /// Waits up to `wait` for records, joining the group first if need be. Empty when nothing came.
    ///
    /// Passing errors (a broker that restarts, a leader that moves) are waited out.
    pub async fn poll(&mut self, wait: Duration) -> Result<Vec<Fetched>, Error> {
        let deadline = Instant::now() + wait;
        loop {
            self.commit_if_due().await;
            if self.group.as_ref().is_some_and(|(membership, _)| membership.must_join()) {
                self.join().await?;
            }
            if let Some(at) = self.recover_at {
                sleep_until(at.min(deadline)).await;
                if at > deadline {
                    return Ok(Vec::new());
                }
                self.recover_at = None;
                self.recover().await;
            }
            match self.step(deadline).await {
                Ok(Step::Nothing) => return Ok(Vec::new()),
                Ok(Step::Changed) => {}
                Ok(Step::Records(records)) => return Ok(records),
                Err(error) if error.is_retriable() => {
                    tracing::debug!(%error, "fetching again");
                    self.recover_at = Some(Instant::now() + BACKOFF);
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn recover(&self) {
        let mut topics: Vec<&str> = self.positions.keys().map(|(topic, _)| &**topic).collect();
        topics.dedup();
        if let Err(error) = self.client.refresh(&topics).await {
            tracing::debug!(%error, "no metadata");
        }
    }

    /// One answer, or one change of the group. Only the wait for these ends at the deadline: a connection that takes longer
    /// to make would otherwise never be made.
    async fn step(&mut self, deadline: Instant) -> Result<Step, Error> {
        let wanted: Positions = self
            .positions
            .iter()
            .filter(|(key, _)| !self.paused.contains(*key))
            .map(|(key, p)| (key.clone(), *p))
            .collect();
        self.fetcher.start(&wanted).await?;
        let membership = self.group.as_ref().map(|(membership, _)| membership);
        let changed = async {
            match membership {
                Some(membership) => membership.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = changed => Ok(Step::Changed),
            events = self.fetcher.next() => {
                let events = events?;
                let (records, stale) = self.take_in(events)?;
                if let Some(stale) = stale {
                    self.resolve(stale, records.is_empty()).await?;
                }
                Ok(if records.is_empty() { Step::Changed } else { Step::Records(records) })
            }
            () = sleep_until(deadline) => Ok(Step::Nothing),
        }
    }

    fn take_in(&mut self, events: Events) -> Result<(Vec<Fetched>, Option<Vec<Key>>), Error> {
        let mut records = Vec::new();
        let mut out_of_range = Vec::new();
        let mut stale = None;
        for (key, asked, event) in events {
            // A seek or a rebalance since the request makes its answer void.
            if self.positions.get(&key) != Some(&asked) {
                continue;
            }
            match event {
                Event::Records(fetched) => {
                    let (offset, epoch) = fetched.next();
                    self.high_watermarks.insert(key.clone(), fetched.high_watermark);
                    if offset > asked.offset {
                        self.positions.insert(key, Position { offset, epoch });
                        records.push(fetched);
                    }
                }
                Event::Idle(high_watermark) => {
                    self.high_watermarks.insert(key, high_watermark);
                }
                Event::OutOfRange => out_of_range.push(key),
                Event::Stale(code) => stale = Some((key, code)),
                Event::Failed(code) => {
                    let what = format!("fetch {}/{} from offset {}", key.0, key.1, asked.offset);
                    return Err(Error::broker(what, code, None));
                }
            }
        }
        match stale {
            Some((key, code)) if records.is_empty() && out_of_range.is_empty() => {
                Err(Error::broker(format!("fetch {}/{}", key.0, key.1), code, None))
            }
            _ => Ok((records, (!out_of_range.is_empty()).then_some(out_of_range))),
        }
    }

    /// Resets positions that lie outside the log, unless records wait to be returned first: then the next poll does it.
    async fn resolve(&mut self, partitions: Vec<(Arc<str>, i32)>, now: bool) -> Result<(), Error> {
        if !now {
            return Ok(());
        }
        if self.options.reset == OffsetReset::Fail {
            let (topic, partition) = &partitions[0];
            return Err(Error::broker(format!("fetch {topic}/{partition}"), ErrorCode::OffsetOutOfRange, None));
        }
        let found = self.reset(&partitions).await?;
        self.positions.extend(found);
        Ok(())
    }

    /// The first or last offsets of partitions, as the reset policy says.
    async fn reset(&self, partitions: &[(Arc<str>, i32)]) -> Result<Positions, Error> {
        let spec = match self.options.reset {
            OffsetReset::Earliest => OffsetSpec::Earliest,
            OffsetReset::Latest => OffsetSpec::Latest,
            OffsetReset::Fail => {
                let (topic, partition) = &partitions[0];
                return Err(Error::Invalid(format!("no committed offset for {topic}/{partition} and no reset policy")));
            }
        };
        let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for (topic, partition) in partitions {
            topics.entry(topic).or_default().push(*partition);
        }
        let admin = Admin::new(&self.client);
        let mut positions = Positions::new();
        for (topic, partitions) in topics {
            for (partition, found) in
                admin.list_offsets(topic, &partitions, spec, self.options.fetch.read_committed).await?
            {
                positions.insert((Arc::from(topic), partition), Position { offset: found?.offset, epoch: -1 });
            }
        }
        Ok(positions)
    }

    /// Joins the group, keeping what the assignment leaves in place.
    async fn join(&mut self) -> Result<(), Error> {
        if self.options.auto_commit.is_some()
            && self.group.as_ref().is_some_and(|(membership, _)| !membership.lost())
            && let Err(error) = self.commit().await
        {
            tracing::warn!(%error, "positions could not be committed before a rebalance");
        }
        let Some((membership, topics)) = &mut self.group else { return Ok(()) };
        let cooperative = membership.options().assignors.iter().all(|assignor| assignor.is_cooperative());
        if !cooperative || membership.lost() {
            self.positions.clear();
        }
        let owned = grouped(self.positions.keys());
        let joined = membership.join(topics, owned).await?;
        self.rebalances += 1;
        let target: BTreeSet<(Arc<str>, i32)> = joined
            .assignment
            .partitions
            .iter()
            .flat_map(|(topic, partitions)| {
                let topic: Arc<str> = Arc::from(topic.as_str());
                partitions.iter().map(move |partition| (topic.clone(), *partition)).collect::<Vec<_>>()
            })
            .collect();
        let before = self.positions.len();
        self.positions.retain(|key, _| target.contains(key));
        self.committed.retain(|key, _| target.contains(key));
        self.high_watermarks.clear();
        if joined.cooperative && self.positions.len() < before {
            // What was let go can be given to others only in another rebalance.
            membership.request_rejoin();
        }
        let added: Vec<(Arc<str>, i32)> = target.into_iter().filter(|key| !self.positions.contains_key(key)).collect();
        let found = self.starting_positions(&added).await?;
        self.committed.extend(found.iter().map(|(key, position)| (key.clone(), *position)));
        self.positions.extend(found);
        Ok(())
    }

    /// Committed offsets, and the reset policy's where there is none. Passing errors are waited out.
    async fn starting_positions(&self, partitions: &[(Arc<str>, i32)]) -> Result<Positions, Error> {
        if partitions.is_empty() {
            return Ok(Positions::new());
        }
        loop {
            let result = async {
                let mut positions = self.fetch_committed(partitions).await?;
                let without: Vec<_> = partitions.iter().filter(|key| !positions.contains_key(*key)).cloned().collect();
                if !without.is_empty() {
                    positions.extend(self.reset(&without).await?);
                }
                Ok(positions)
            };
            match result.await {
                Err(error @ Error::Invalid(_)) => return Err(error),
                Err(error) => {
                    let Some((membership, _)) = &self.group else { return Err(error) };
                    if !membership.coordinator.recover(&error).await {
                        return Err(error);
                    }
                    sleep(BACKOFF).await;
                    self.recover().await;
                }
                Ok(positions) => return Ok(positions),
            }
        }
    }

    async fn fetch_committed(&self, partitions: &[(Arc<str>, i32)]) -> Result<Positions, Error> {
        let Some((membership, _)) = &self.group else { return Ok(Positions::new()) };
        let group = &membership.options().group;
        let topics = grouped(partitions.iter());
        let make = |version| offset_fetch(version, group, Some(&topics));
        let limit = self.client.options().request_timeout;
        let answer = membership.coordinator.call(LAST_VERSION_WITH_NAMES, make, limit).await?;
        let mut positions = Positions::new();
        each_committed(&answer.body()?, group, |found| {
            let position = Position { offset: found.offset, epoch: found.leader_epoch };
            positions.insert((Arc::from(found.topic), found.partition), position);
        })?;
        Ok(positions)
    }

    async fn commit_if_due(&mut self) {
        let Some(interval) = self.options.auto_commit else { return };
        if self.next_commit.is_some_and(|due| Instant::now() < due) {
            return;
        }
        self.next_commit = Some(Instant::now() + interval);
        if let Err(error) = self.commit().await {
            tracing::warn!(%error, "positions could not be committed");
        }
    }

    /// Commits the positions of everything that was returned so far, and waits for the answer. Passing errors are waited
    /// out while the membership lasts.
    pub async fn commit(&mut self) -> Result<(), Error> {
        let changed: Positions = self
            .positions
            .iter()
            .filter(|(key, p)| self.committed.get(*key) != Some(*p))
            .map(|(key, p)| (key.clone(), *p))
            .collect();
        if changed.is_empty() {
            return Ok(());
        }
        loop {
            match self.try_commit(&changed).await {
                Ok(()) => {
                    self.committed.extend(changed);
                    return Ok(());
                }
                Err(error) => {
                    let Some((membership, _)) = &self.group else { return Err(error) };
                    let rebalancing = error.code() == Some(ErrorCode::RebalanceInProgress);
                    if rebalancing || membership.lost() || !membership.coordinator.recover(&error).await {
                        return Err(error);
                    }
                }
            }
        }
    }

    async fn try_commit(&self, positions: &Positions) -> Result<(), Error> {
        let Some((membership, _)) = &self.group else {
            return Err(Error::Invalid("a consumer without a group has nothing to commit to".to_owned()));
        };
        let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition<'_>>> = BTreeMap::new();
        for ((topic, partition), position) in positions {
            topics.entry(topic).or_default().push(OffsetCommitRequestPartition {
                partition_index: *partition,
                committed_offset: position.offset,
                committed_leader_epoch: position.epoch,
                committed_metadata: Some("".into()),
                ..Default::default()
            });
        }
        let options = membership.options();
        let request = OffsetCommitRequest {
            group_id: options.group.clone().into(),
            generation_id_or_member_epoch: membership.generation,
            member_id: membership.member_id.clone().into(),
            group_instance_id: options.instance.clone().map(Into::into),
            topics: topics
                .into_iter()
                .map(|(name, partitions)| OffsetCommitRequestTopic {
                    name: name.into(),
                    partitions,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        };
        let limit = self.client.options().request_timeout;
        let answer = membership.coordinator.call(LAST_VERSION_WITH_NAMES, |_| request, limit).await?;
        let body = answer.body()?;
        for topic in &body.topics {
            for partition in &topic.partitions {
                let what = || format!("commit {}/{}", topic.name, partition.partition_index);
                Error::check(partition.error_code, what, None)?;
            }
        }
        Ok(())
    }

    /// Commits if it does so automatically, and leaves the group.
    pub async fn close(mut self) -> Result<(), Error> {
        if self.options.auto_commit.is_some() {
            self.commit().await?;
        }
        match &mut self.group {
            Some((membership, _)) => membership.leave().await,
            None => Ok(()),
        }
    }
}

fn grouped<'a>(keys: impl Iterator<Item = &'a (Arc<str>, i32)>) -> Partitions {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in keys {
        topics.entry(topic).or_default().push(*partition);
    }
    topics.into_iter().map(|(topic, partitions)| (topic.to_owned(), partitions)).collect()
}
