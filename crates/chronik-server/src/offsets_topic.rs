//! `__consumer_offsets`: made when first a group is looked for, and handed to the group coordinator partition by
//! partition.

use std::sync::Arc;

use bytes::Bytes;
use chronik_coordinator::group::GroupConfig;
use chronik_coordinator::metadata::Topic;
use chronik_protocol::ErrorCode;
use chronik_protocol::generated::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use chronik_protocol::messages::CreateTopicsRequest;
use chronik_protocol::validate::PreparedBatch;
use chronik_protocol::wire::Chunk;
use chronik_storage::{Access, Partition, ReadLimit, Store, TopicIdPartition};

use crate::config::BrokerConfig;
use crate::random;
use crate::server::Broker;
use crate::shards::log::{Committing, LogError, OffsetsLog};

/// Its name.
const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// A group's record, and every batch, stays below what a topic takes by default.
const RECORD_BYTES_MAX: usize = 1_000_000;

/// The coordinator's settings, out of the broker's.
pub(crate) fn group_config(config: &BrokerConfig) -> GroupConfig {
    let groups = &config.groups;
    GroupConfig {
        max_size: groups.max_size,
        min_session_timeout_ms: groups.min_session_timeout_ms,
        max_session_timeout_ms: groups.max_session_timeout_ms,
        initial_rebalance_delay_ms: i32::try_from(groups.initial_rebalance_delay_ms).unwrap_or(i32::MAX),
        max_metadata_chars: groups.offset_metadata_max_bytes,
        offsets_retention_ms: groups.offsets_retention_ms,
        retention_check_interval_ms: groups.offsets_retention_check_interval_ms,
        max_record_bytes: RECORD_BYTES_MAX,
        ..GroupConfig::default()
    }
}

/// Gives the coordinator its logs if they are there, and lets it know of topics that go.
pub(crate) fn attach(broker: &Arc<Broker>) {
    open(broker);
    let groups = Arc::clone(&broker.groups);
    broker.metadata.listen(move |change| {
        let deleted: Vec<Arc<str>> = change.deleted.iter().map(|topic| Arc::clone(&topic.name)).collect();
        groups.topics_deleted(&deleted);
    });
}

/// Makes the topic if it is not there. Any number may ask at the same time.
pub(crate) async fn ensure(broker: &Arc<Broker>) -> Result<(), ErrorCode> {
    if broker.metadata.image().topic(OFFSETS_TOPIC).is_none() {
        let request = creation(broker);
        let created = broker.metadata.propose(move |controller| controller.create_topics(&request, &mut random::uuid));
        let error = created.await?.topics.first().map_or(0, |topic| topic.error_code);
        if error != 0 && error != ErrorCode::TopicAlreadyExists.code() {
            tracing::error!(error, "{OFFSETS_TOPIC} cannot be created");
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
    }
    if open(broker) { Ok(()) } else { Err(ErrorCode::CoordinatorNotAvailable) }
}

fn creation(broker: &Broker) -> CreateTopicsRequest<'static> {
    let groups = &broker.config.groups;
    let config =
        |name: &'static str, value: String| CreatableTopicConfig { name: name.into(), value: Some(value.into()) };
    let topic = CreatableTopic {
        name: OFFSETS_TOPIC.into(),
        num_partitions: groups.offsets_topic_partitions,
        replication_factor: -1,
        configs: vec![
            config("cleanup.policy", "compact".into()),
            config("compression.type", "producer".into()),
            config("segment.bytes", groups.offsets_topic_segment_bytes.to_string()),
        ],
        ..CreatableTopic::default()
    };
    CreateTopicsRequest { topics: vec![topic], timeout_ms: 30_000, ..CreateTopicsRequest::default() }
}

/// True if the coordinator has its logs.
fn open(broker: &Broker) -> bool {
    if broker.groups.is_open() {
        return true;
    }
    let image = broker.metadata.image();
    let Some(logs) = image.topic(OFFSETS_TOPIC).and_then(|topic| logs(&broker.store, topic)) else { return false };
    broker.groups.open(logs);
    true
}

/// All partitions, or none: a group's place depends on their number.
fn logs(store: &Store, topic: &Topic) -> Option<Vec<Arc<dyn OffsetsLog>>> {
    let log = |partition| {
        let partition = store.get(TopicIdPartition { topic_id: topic.id, partition })?;
        Some(Arc::new(PartitionLog(partition)) as Arc<dyn OffsetsLog>)
    };
    (0..topic.partitions).map(log).collect()
}

/// A partition of the topic.
#[derive(Debug)]
struct PartitionLog(Arc<Partition>);

fn storage(error: impl std::fmt::Display) -> LogError {
    LogError::Storage(error.to_string())
}

impl OffsetsLog for PartitionLog {
    fn partition(&self) -> i32 {
        self.0.id().partition
    }

    fn is_empty(&self) -> bool {
        let offsets = self.0.offsets();
        offsets.log_start == offsets.log_end
    }

    fn append(&self, batch: Bytes, now_ms: i64) -> Result<i64, LogError> {
        let prepared = PreparedBatch::trusted(&batch).map_err(storage)?;
        Ok(self.0.append(&prepared, Some(&batch), now_ms).map_err(storage)?.last_offset)
    }

    fn high_watermark(&self) -> i64 {
        self.0.offsets().high_watermark
    }

    fn committed(&self, offset: i64) -> Committing {
        let committed = self.0.committed(offset);
        Box::pin(async move { committed.await.map_err(storage) })
    }

    fn settled_range(&self) -> Result<(i64, i64), LogError> {
        let offsets = self.0.offsets();
        if offsets.high_watermark < offsets.log_end {
            return Err(storage("not all that was appended is durable yet"));
        }
        Ok((offsets.log_start, offsets.high_watermark))
    }

    fn read(&self, offset: i64, max_bytes: usize) -> Result<Vec<u8>, LogError> {
        let limit = ReadLimit::HighWatermark;
        let read = self.0.read(offset, max_bytes, limit, true, Access::Blocking).map_err(storage)?;
        let mut bytes = Vec::with_capacity(read.bytes);
        for chunk in read.records {
            match chunk {
                Chunk::Bytes(part) => bytes.extend_from_slice(&part),
                Chunk::File { source, offset, len } => {
                    let start = bytes.len();
                    bytes.resize(start + len as usize, 0);
                    source.read_at(offset, &mut bytes[start..]).map_err(storage)?;
                }
            }
        }
        Ok(bytes)
    }

    fn size_in_bytes(&self) -> u64 {
        self.0.size_in_bytes()
    }

    fn trim(&self, before: i64) -> Result<(), LogError> {
        self.0.delete_records(before).map(|_| ()).map_err(storage)
    }
}
