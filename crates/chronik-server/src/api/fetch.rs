//! Fetch: v4–18. Reads what is there, or waits for more without a task: the connection polls the wait.
//!
//! * v7 (KIP-227): sessions. v9 (KIP-320): leader epochs. v12 (KIP-595): divergence. v13 (KIP-516): topics by id.
//! * v15: replicas move to a tagged field; v16 (KIP-951): the leader beside the error.

use std::sync::Arc;
use std::time::Duration;

use chronik_protocol::ErrorCode;
use chronik_protocol::generated::fetch_response::{
    EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, PartitionData,
};
use chronik_protocol::messages::{FetchRequest, FetchResponse};
use chronik_protocol::wire::Records;
use chronik_storage::{Access, Partition, ReadError, ReadLimit, Watcher};

use super::{Reply, RequestContext, error};
use crate::fetch_sessions::{FetchContext, SessionAsk, TopicKey, Wanted};
use crate::partitions::{TopicRef, check_leader_epoch};
use crate::server::Broker;
use crate::time::now_ms;

/// The first version with sessions.
const SESSIONS: i16 = 7;
/// The first version that names topics by id.
const TOPIC_IDS: i16 = 13;
/// Something has come but not enough: how long more may gather before the next look.
const GATHER: Duration = Duration::from_millis(1);

pub(crate) fn handle(cx: &RequestContext<'_>, request: FetchRequest<'_>) -> Reply {
    let ask = SessionAsk {
        id: request.session_id,
        epoch: if cx.version < SESSIONS { -1 } else { request.session_epoch },
        uses_topic_ids: cx.version >= TOPIC_IDS,
    };
    let forgotten = forgotten(cx.version, &request);
    let begun = cx.broker.fetch_sessions.begin(ask, wanted(cx, &request), &forgotten, now_ms());
    let (context, wanted) = match begun {
        Ok(begun) => begun,
        Err(code) => return Reply::ready(FetchResponse { error_code: code.code(), ..Default::default() }),
    };
    let fetch = Arc::new(Fetch {
        broker: Arc::clone(cx.broker),
        targets: resolve(cx, wanted, is_replica(&request)),
        context,
        limit: if request.isolation_level == 1 { ReadLimit::LastStable } else { ReadLimit::HighWatermark },
        min_bytes: usize::try_from(request.min_bytes).unwrap_or(0),
        max_bytes: usize::try_from(request.max_bytes).unwrap_or(0).min(cx.broker.config.network.fetch_max_bytes),
    });
    let max_wait = Duration::from_millis(request.max_wait_ms.max(0).unsigned_abs().into());
    match fetch.attempt(Access::Hot) {
        Ok(read) if fetch.is_enough(&read) || max_wait.is_zero() => Reply::ready(fetch.answer(read)),
        Ok(_) => Reply::later(fetch.wait(max_wait)),
        Err(IsCold) => Reply::later(fetch.read_cold(max_wait)),
    }
}

/// Nothing of ours replicates: whoever says that it is a replica is not one.
fn is_replica(request: &FetchRequest<'_>) -> bool {
    request.replica_id >= 0 || request.replica_state.replica_id >= 0
}

fn wanted(cx: &RequestContext<'_>, request: &FetchRequest<'_>) -> Vec<Wanted> {
    let mut wanted = Vec::with_capacity(request.topics.iter().map(|topic| topic.partitions.len()).sum());
    for topic in &request.topics {
        let key = key(cx.version, &topic.topic, topic.topic_id);
        wanted.extend(topic.partitions.iter().map(|partition| Wanted {
            topic: key.clone(),
            partition: partition.partition,
            fetch_offset: partition.fetch_offset,
            max_bytes: partition.partition_max_bytes,
            leader_epoch: partition.current_leader_epoch,
            last_fetched_epoch: partition.last_fetched_epoch,
        }));
    }
    wanted
}

fn forgotten(version: i16, request: &FetchRequest<'_>) -> Vec<(TopicKey, i32)> {
    let topics = request.forgotten_topics_data.iter();
    let keys = topics.flat_map(|topic| {
        let key = key(version, &topic.topic, topic.topic_id);
        topic.partitions.iter().map(move |partition| (key.clone(), *partition))
    });
    keys.collect()
}

fn key(version: i16, name: &str, id: chronik_protocol::Uuid) -> TopicKey {
    if version >= TOPIC_IDS { TopicKey::Id(id) } else { TopicKey::Name(name.into()) }
}

fn resolve(cx: &RequestContext<'_>, wanted: Vec<Wanted>, is_replica: bool) -> Vec<Target> {
    let known = cx.broker.partitions();
    let find = |wanted: &Wanted| {
        let topic = match &wanted.topic {
            TopicKey::Name(name) => TopicRef::Name(name),
            TopicKey::Id(id) => TopicRef::Id(*id),
        };
        match is_replica {
            true => Err(ErrorCode::ClusterAuthorizationFailed),
            false => known.partition(known.topic(topic)?, wanted.partition),
        }
    };
    wanted.into_iter().map(|wanted| Target { log: find(&wanted), wanted }).collect()
}

/// A partition of the request, or why it is not read.
struct Target {
    wanted: Wanted,
    log: Result<Arc<Partition>, ErrorCode>,
}

/// A fetch on its way.
struct Fetch {
    broker: Arc<Broker>,
    targets: Vec<Target>,
    context: FetchContext,
    limit: ReadLimit,
    min_bytes: usize,
    max_bytes: usize,
}

/// What one look at all partitions gave.
struct Look {
    partitions: Vec<PartitionData<'static>>,
    bytes: usize,
    /// Something that the consumer should know at once.
    urgent: bool,
}

/// Some bytes are not in the page cache.
struct IsCold;

impl Fetch {
    /// Reads every partition once, in their order, within the limits.
    fn attempt(&self, access: Access) -> Result<Look, IsCold> {
        let mut look = Look { partitions: Vec::with_capacity(self.targets.len()), bytes: 0, urgent: false };
        for target in &self.targets {
            let data = match &target.log {
                Ok(log) => self.read(log, &target.wanted, &mut look, access)?,
                // As in Kafka: null where a log could not be read, an empty list where there is none to read.
                Err(code) => PartitionData {
                    aborted_transactions: Some(Vec::new()),
                    ..failed(target.wanted.partition, *code)
                },
            };
            look.urgent |= data.error_code != 0 || data.diverging_epoch.end_offset >= 0;
            look.partitions.push(data);
        }
        Ok(look)
    }

    fn read(
        &self,
        log: &Partition,
        wanted: &Wanted,
        look: &mut Look,
        access: Access,
    ) -> Result<PartitionData<'static>, IsCold> {
        if let Err(code) = check_leader_epoch(log, wanted.leader_epoch) {
            let mut data = failed(wanted.partition, code);
            if code == ErrorCode::FencedLeaderEpoch {
                let leader_id = self.broker.config.node_id;
                data.current_leader = LeaderIdAndEpoch { leader_id, leader_epoch: log.leader_epoch() };
            }
            return Ok(data);
        }
        if wanted.last_fetched_epoch >= 0
            && let Some(data) = self.divergence(log, wanted)
        {
            return Ok(data);
        }
        let room = self.max_bytes.saturating_sub(look.bytes);
        let max_bytes = usize::try_from(wanted.max_bytes).unwrap_or(0).min(room);
        // The first partition with records gives at least one batch, however large: otherwise a consumer could stand still.
        match log.read(wanted.fetch_offset, max_bytes, self.limit, look.bytes == 0, access) {
            Ok(read) => {
                look.bytes += read.bytes;
                Ok(PartitionData { records: Some(Records::Chunks(read.records)), ..self.positions(wanted, read.offsets) })
            }
            Err(ReadError::Cold) => Err(IsCold),
            Err(e) => Ok(failed(wanted.partition, error::read(&e))),
        }
    }

    fn positions(&self, wanted: &Wanted, offsets: chronik_storage::Offsets) -> PartitionData<'static> {
        PartitionData {
            partition_index: wanted.partition,
            high_watermark: offsets.high_watermark,
            last_stable_offset: offsets.last_stable,
            log_start_offset: offsets.log_start,
            aborted_transactions: (self.limit == ReadLimit::LastStable).then(Vec::new),
            records: Some(Records::EMPTY),
            ..Default::default()
        }
    }

    /// Where the consumer's log and ours part, if they do (KIP-595).
    fn divergence(&self, log: &Partition, wanted: &Wanted) -> Option<PartitionData<'static>> {
        let Some((epoch, end_offset)) = log.epoch_end_offset(wanted.last_fetched_epoch) else {
            return Some(failed(wanted.partition, ErrorCode::OffsetOutOfRange));
        };
        if epoch >= wanted.last_fetched_epoch && end_offset >= wanted.fetch_offset {
            return None;
        }
        let diverging_epoch = EpochEndOffset { epoch, end_offset };
        Some(PartitionData { diverging_epoch, ..self.positions(wanted, log.offsets()) })
    }

    fn is_enough(&self, look: &Look) -> bool {
        look.urgent || look.bytes >= self.min_bytes || self.targets.is_empty() || self.broker.shutdown.has_begun()
    }

    fn answer(&self, look: Look) -> FetchResponse<'static> {
        let answers = self.targets.iter().map(|target| target.wanted.clone()).zip(look.partitions).collect();
        let (session_id, answers) = self.broker.fetch_sessions.finish(&self.context, answers, now_ms());
        FetchResponse { session_id, responses: by_topic(answers), ..Default::default() }
    }

    /// The first look met bytes that have to come from the disk.
    async fn read_cold(self: Arc<Self>, max_wait: Duration) -> FetchResponse<'static> {
        let look = Arc::clone(&self).look_blocking().await;
        match self.is_enough(&look) || max_wait.is_zero() {
            true => self.answer(look),
            false => self.wait(max_wait).await,
        }
    }

    /// Waits until there is enough, the time is over, or the broker stops.
    async fn wait(self: Arc<Self>, max_wait: Duration) -> FetchResponse<'static> {
        let over = tokio::time::sleep(max_wait);
        tokio::pin!(over);
        loop {
            // First watch, then look: what comes between the two fires the watcher.
            let watcher = Watcher::new();
            self.targets.iter().filter_map(|target| target.log.as_ref().ok()).for_each(|log| log.watch(&watcher));
            let look = match self.attempt(Access::Hot) {
                Ok(look) => look,
                Err(IsCold) => Arc::clone(&self).look_blocking().await,
            };
            if self.is_enough(&look) {
                return self.answer(look);
            }
            let some_came = look.bytes > 0;
            tokio::select! {
                biased;
                () = std::future::poll_fn(|cx| watcher.poll_fired(cx)) => {}
                () = &mut over => return self.answer(look),
                () = self.broker.shutdown.wait() => return self.answer(look),
            }
            if some_came {
                tokio::time::sleep(GATHER).await;
            }
        }
    }

    /// Looks from a thread that may wait for the disk.
    async fn look_blocking(self: Arc<Self>) -> Look {
        let reader = Arc::clone(&self);
        let look = tokio::task::spawn_blocking(move || reader.attempt(Access::Blocking)).await;
        match look {
            Ok(Ok(look)) => look,
            // A blocking read is never cold, and the pool refuses only when the runtime ends.
            Ok(Err(IsCold)) | Err(_) => self.unreadable(),
        }
    }

    fn unreadable(&self) -> Look {
        let failed = |target: &Target| failed(target.wanted.partition, ErrorCode::KafkaStorageError);
        Look { partitions: self.targets.iter().map(failed).collect(), bytes: 0, urgent: true }
    }
}

fn failed(partition_index: i32, code: ErrorCode) -> PartitionData<'static> {
    PartitionData {
        partition_index,
        error_code: code.code(),
        high_watermark: -1,
        last_stable_offset: -1,
        log_start_offset: -1,
        aborted_transactions: None,
        records: Some(Records::EMPTY),
        ..Default::default()
    }
}

/// Neighbours of the same topic under one heading, as Kafka does.
fn by_topic(answers: Vec<(Wanted, PartitionData<'static>)>) -> Vec<FetchableTopicResponse<'static>> {
    let mut topics: Vec<FetchableTopicResponse<'static>> = Vec::new();
    let mut last: Option<TopicKey> = None;
    for (wanted, data) in answers {
        match topics.last_mut() {
            Some(topic) if last.as_ref() == Some(&wanted.topic) => topic.partitions.push(data),
            _ => {
                let mut topic = FetchableTopicResponse { partitions: vec![data], ..Default::default() };
                match &wanted.topic {
                    TopicKey::Name(name) => topic.topic = name.to_string().into(),
                    TopicKey::Id(id) => topic.topic_id = *id,
                }
                topics.push(topic);
                last = Some(wanted.topic);
            }
        }
    }
    topics
}
