//! From a topic and an index, as a request names them, to the partition.

use std::sync::Arc;

use chronik_coordinator::metadata::{MetadataImage, Topic};
use chronik_protocol::{ErrorCode, Uuid};
use chronik_storage::{Partition, Store, TopicIdPartition};

/// A topic as a request names it: by name, or by id in the versions that have ids.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TopicRef<'a> {
    Name(&'a str),
    Id(Uuid),
}

/// The topics and partitions as they were when the request began.
pub(crate) struct Partitions<'a> {
    pub(crate) image: Arc<MetadataImage>,
    pub(crate) store: &'a Store,
}

impl Partitions<'_> {
    /// Finds a topic; the error is the one that each of its partitions answers.
    pub(crate) fn topic(&self, topic: TopicRef<'_>) -> Result<&Arc<Topic>, ErrorCode> {
        match topic {
            TopicRef::Name(name) => self.image.topic(name).ok_or(ErrorCode::UnknownTopicOrPartition),
            TopicRef::Id(id) => self.image.topic_by_id(id).ok_or(ErrorCode::UnknownTopicId),
        }
    }

    /// Finds a partition of a topic.
    pub(crate) fn partition(&self, topic: &Topic, index: i32) -> Result<Arc<Partition>, ErrorCode> {
        if index < 0 || index >= topic.partitions {
            return Err(ErrorCode::UnknownTopicOrPartition);
        }
        // The image knows it and the store does not: its directory could not be made.
        self.store.get(TopicIdPartition { topic_id: topic.id, partition: index }).ok_or(ErrorCode::KafkaStorageError)
    }

    /// Finds a partition by the topic's name.
    pub(crate) fn named(&self, topic: &str, index: i32) -> Result<Arc<Partition>, ErrorCode> {
        self.partition(self.topic(TopicRef::Name(topic))?, index)
    }
}

/// What a client believes to be the leader epoch, against what it is. Negative: it does not say.
pub(crate) fn check_leader_epoch(partition: &Partition, believed: i32) -> Result<(), ErrorCode> {
    if believed < 0 {
        return Ok(());
    }
    match believed.cmp(&partition.leader_epoch()) {
        std::cmp::Ordering::Less => Err(ErrorCode::FencedLeaderEpoch),
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(ErrorCode::UnknownLeaderEpoch),
    }
}
