//! Fetch requests, one on its way to each leader, and what their answers mean for positions.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chronik_protocol::error::ErrorCode;
use chronik_protocol::generated::fetch_request::{FetchPartition, FetchTopic};
use chronik_protocol::generated::fetch_response::PartitionData;
use chronik_protocol::messages::FetchRequest;
use chronik_protocol::wire::{Message, Records, Request};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::fetched::Fetched;
use crate::cluster::{Client, Cluster};
use crate::connection::{Answer, Connection};
use crate::error::Error;

/// From this version on a fetch identifies topics by their id.
const FIRST_VERSION_WITH_IDS: i16 = 13;

/// How much to fetch, and how long the broker may wait for it.
#[derive(Debug, Clone)]
pub struct FetchOptions {
    /// The broker answers once this many bytes are there …
    pub min_bytes: i32,
    /// … or after this long.
    pub max_wait: Duration,
    /// Bytes of an answer, apart from one whole batch.
    pub max_bytes: i32,
    /// Bytes of one partition in an answer, apart from one whole batch.
    pub partition_max_bytes: i32,
    /// Leave out records of open and aborted transactions.
    pub read_committed: bool,
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self {
            min_bytes: 1,
            max_wait: Duration::from_millis(500),
            max_bytes: 16 << 20,
            partition_max_bytes: 1 << 20,
            read_committed: false,
        }
    }
}

/// Where a consumer is in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) offset: i64,
    /// Leader epoch of the last record read, −1 if none.
    pub(super) epoch: i32,
}

pub(super) type Positions = BTreeMap<(Arc<str>, i32), Position>;

/// What an answer says about one partition.
#[derive(Debug)]
pub(super) enum Event {
    Records(Fetched),
    /// Nothing new; the high watermark.
    Idle(i64),
    /// The position lies outside the log.
    OutOfRange,
    /// The leader moved, or the topic is not known there: ask for metadata and try again.
    Stale(ErrorCode),
    /// Not something that passes.
    Failed(ErrorCode),
}

pub(super) type Events = Vec<((Arc<str>, i32), Position, Event)>;

struct Done {
    node: i32,
    asked: Positions,
    /// Names by topic id, as of the request.
    names: HashMap<chronik_protocol::uuid::Uuid, Arc<str>>,
    answer: Result<Answer<FetchRequest<'static>>, Error>,
}

// Sync, so that a consumer may be borrowed by a task that waits.
type Underway = Pin<Box<dyn Future<Output = Done> + Send + Sync>>;

/// The fetches of one consumer.
pub(super) struct Fetcher {
    client: Client,
    options: FetchOptions,
    connections: HashMap<i32, Arc<Connection>>,
    underway: FuturesUnordered<Underway>,
    busy: Vec<i32>,
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetcher").field("options", &self.options).field("busy", &self.busy).finish_non_exhaustive()
    }
}

impl Fetcher {
    pub(super) fn new(client: &Client, options: FetchOptions) -> Self {
        Self {
            client: client.clone(),
            options,
            connections: HashMap::new(),
            underway: FuturesUnordered::new(),
            busy: Vec::new(),
        }
    }

    /// Sends a fetch to every leader that has none on its way.
    pub(super) async fn start(&mut self, positions: &Positions) -> Result<(), Error> {
        let cluster = self.client.cluster();
        let mut by_leader: BTreeMap<i32, Positions> = BTreeMap::new();
        for (partition, position) in positions {
            let leader = cluster.partition(&partition.0, partition.1).map_or(-1, |found| found.leader);
            by_leader.entry(leader).or_default().insert(partition.clone(), *position);
        }
        if let Some(unled) = by_leader.remove(&-1) {
            let mut topics: Vec<&str> = unled.keys().map(|(topic, _)| &**topic).collect();
            topics.dedup();
            self.client.refresh(&topics).await?;
        }
        for (node, asked) in by_leader {
            if !self.busy.contains(&node) {
                let connection = self.connection(node).await?;
                self.busy.push(node);
                self.underway.push(self.fetch(node, connection, asked, &cluster));
            }
        }
        Ok(())
    }

    /// Waits for the next answer. Never ends while no fetch is on its way.
    pub(super) async fn next(&mut self) -> Result<Events, Error> {
        let Some(done) = self.underway.next().await else { return std::future::pending().await };
        self.busy.retain(|node| *node != done.node);
        match &done.answer {
            Ok(answer) => events(&done, answer),
            Err(error) => {
                self.connections.remove(&done.node);
                Err(error.clone())
            }
        }
    }

    async fn connection(&mut self, node: i32) -> Result<Arc<Connection>, Error> {
        if let Some(open) = self.connections.get(&node).filter(|connection| !connection.is_closed()) {
            return Ok(open.clone());
        }
        let connection = Arc::new(self.client.dedicated(node).await?);
        self.connections.insert(node, connection.clone());
        Ok(connection)
    }

    fn fetch(&self, node: i32, connection: Arc<Connection>, asked: Positions, cluster: &Cluster) -> Underway {
        let mut topics: BTreeMap<&Arc<str>, Vec<FetchPartition>> = BTreeMap::new();
        for ((topic, partition), position) in &asked {
            topics.entry(topic).or_default().push(FetchPartition {
                partition: *partition,
                current_leader_epoch: cluster.partition(topic, *partition).map_or(-1, |found| found.leader_epoch),
                fetch_offset: position.offset,
                last_fetched_epoch: -1,
                log_start_offset: -1,
                partition_max_bytes: self.options.partition_max_bytes,
                ..Default::default()
            });
        }
        let mut names = HashMap::new();
        let mut ids_known = true;
        let topics = topics
            .into_iter()
            .map(|(name, partitions)| {
                let id = cluster.topics.get(&**name).map(|topic| topic.id).unwrap_or_default();
                ids_known &= id != Default::default();
                names.insert(id, name.clone());
                FetchTopic { topic: name.to_string().into(), topic_id: id, partitions }
            })
            .collect();
        let request = FetchRequest {
            max_wait_ms: i32::try_from(self.options.max_wait.as_millis()).unwrap_or(i32::MAX),
            min_bytes: self.options.min_bytes,
            max_bytes: self.options.max_bytes,
            isolation_level: i8::from(self.options.read_committed),
            topics,
            ..Default::default()
        };
        let limit = self.client.options().request_timeout + self.options.max_wait;
        Box::pin(async move {
            let highest = if ids_known { FetchRequest::MAX_VERSION } else { FIRST_VERSION_WITH_IDS - 1 };
            let version = connection.versions().highest(FetchRequest::KEY, FetchRequest::MIN_VERSION, highest);
            let answer = match version {
                Ok(version) => connection.call_version(&request, version, limit).await,
                Err(error) => Err(error),
            };
            Done { node, asked, names, answer }
        })
    }
}

fn events(done: &Done, answer: &Answer<FetchRequest<'static>>) -> Result<Events, Error> {
    let body = answer.body()?;
    Error::check(body.error_code, || "fetch".to_owned(), None)?;
    let mut events = Vec::new();
    for topic in body.responses {
        let name = if answer.version() >= FIRST_VERSION_WITH_IDS {
            done.names.get(&topic.topic_id).cloned()
        } else {
            Some(Arc::from(&*topic.topic))
        };
        let Some(name) = name else {
            return Err(Error::Malformed("a fetch answer about a topic that was not asked for".to_owned()));
        };
        for partition in topic.partitions {
            let key = (name.clone(), partition.partition_index);
            let Some(position) = done.asked.get(&key) else {
                return Err(Error::Malformed("a fetch answer about a partition that was not asked for".to_owned()));
            };
            let event = event(&key, *position, partition, answer.bytes());
            events.push((key, *position, event));
        }
    }
    Ok(events)
}

fn event(key: &(Arc<str>, i32), position: Position, partition: PartitionData<'_>, frame: &Bytes) -> Event {
    match ErrorCode::from_code(partition.error_code) {
        ErrorCode::None => {}
        ErrorCode::OffsetOutOfRange => return Event::OutOfRange,
        code if code.is_retriable() => return Event::Stale(code),
        code => return Event::Failed(code),
    }
    let data = match partition.records {
        Some(Records::Borrowed(records)) if !records.is_empty() => frame.slice_ref(records),
        _ => return Event::Idle(partition.high_watermark),
    };
    let mut aborted: Vec<(i64, i64)> = partition
        .aborted_transactions
        .iter()
        .flatten()
        .map(|aborted| (aborted.producer_id, aborted.first_offset))
        .collect();
    aborted.sort_by_key(|(_, first)| *first);
    Event::Records(Fetched {
        topic: key.0.clone(),
        partition: key.1,
        from: position.offset,
        high_watermark: partition.high_watermark,
        data,
        aborted,
    })
}
