//! Metadata: v0–13. Topics, their partitions and leaders, and where the broker is; creates topics that a client asks for and that are missing.
//!
//! * v1: null topics mean all, none mean none; rack, controller, internal topics. v2: cluster id. v4: the client may forbid
//!   creation. v5: offline replicas. v7: leader epochs. v8–10: authorized operations of the cluster.
//! * v10 (KIP-516): topic ids. v12: topics may be asked for by id. v13: an error of the whole request.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chronik_coordinator::metadata::{MetadataImage, Topic, names};
use chronik_protocol::generated::create_topics_request::CreatableTopic;
use chronik_protocol::generated::metadata_request::MetadataRequestTopic;
use chronik_protocol::generated::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use chronik_protocol::messages::{CreateTopicsRequest, MetadataRequest, MetadataResponse};
use chronik_protocol::{ErrorCode, Uuid};
use chronik_storage::{Store, TopicIdPartition};

use super::{Reply, RequestContext};
use crate::server::Broker;

/// Read, write, create, delete, alter, describe, describe and alter configs, as bits: nobody is forbidden anything.
pub(super) const TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;
/// What can be done to the cluster, as bits.
pub(super) const CLUSTER_OPERATIONS: i32 = 0b1_1111_1010_0000;

/// How long a client waits for a topic that its request creates.
const CREATION_TIMEOUT_MS: i32 = 30_000;

pub(crate) fn handle(cx: &RequestContext<'_>, request: MetadataRequest<'_>) -> Reply {
    if !is_well_formed(&request, cx.version) {
        return Reply::ready(refusal(&request, ErrorCode::InvalidRequest));
    }
    let (node_id, host, port) = cx.advertised();
    let broker = MetadataResponseBroker {
        node_id,
        host: Cow::Owned(host),
        port,
        rack: cx.broker.config.rack.clone().map(Cow::Owned),
    };
    let answer = Answer {
        wanted: wanted(request.topics.as_deref(), cx.version),
        topic_operations: if request.include_topic_authorized_operations { TOPIC_OPERATIONS } else { i32::MIN },
        cluster_operations: if request.include_cluster_authorized_operations { CLUSTER_OPERATIONS } else { i32::MIN },
        broker,
    };
    let may_create = (cx.version < 4 || request.allow_auto_topic_creation) && cx.broker.config.topics.auto_create;
    let missing = if may_create { answer.missing(&cx.broker.metadata.image()) } else { Vec::new() };
    if missing.is_empty() {
        return Reply::ready(answer.build(cx.broker, &BTreeMap::new()));
    }
    let broker = Arc::clone(cx.broker);
    Reply::later(async move {
        let refused = create(&broker, missing).await;
        answer.build(&broker, &refused)
    })
}

/// From v10 a topic is named; from v12 it may be named by its id instead.
fn is_well_formed(request: &MetadataRequest<'_>, version: i16) -> bool {
    request.topics.iter().flatten().all(|topic| match version {
        ..10 => topic.name.is_some(),
        10..12 => topic.name.is_some() && topic.topic_id.is_zero(),
        _ => topic.name.is_some() || !topic.topic_id.is_zero(),
    })
}

fn refusal(request: &MetadataRequest<'_>, error: ErrorCode) -> MetadataResponse<'static> {
    let topic = |topic: &MetadataRequestTopic<'_>| MetadataResponseTopic {
        error_code: error.code(),
        name: Some(Cow::Owned(topic.name.as_deref().unwrap_or_default().to_owned())),
        topic_id: topic.topic_id,
        ..MetadataResponseTopic::default()
    };
    MetadataResponse {
        cluster_id: None,
        controller_id: -1,
        topics: request.topics.iter().flatten().map(topic).collect(),
        error_code: error.code(),
        ..MetadataResponse::default()
    }
}

/// What to tell of.
enum Wanted {
    All,
    Some(Vec<Key>),
}

/// A topic by name or by id.
#[derive(PartialEq, Eq, PartialOrd, Ord, Clone)]
enum Key {
    Name(String),
    Id(Uuid),
}

/// An id counts more than a name beside it; repetitions are one.
fn wanted(topics: Option<&[MetadataRequestTopic<'_>]>, version: i16) -> Wanted {
    match topics {
        None => Wanted::All,
        Some([]) if version == 0 => Wanted::All,
        Some(topics) => {
            let mut seen = BTreeSet::new();
            let key = |topic: &MetadataRequestTopic<'_>| match &topic.name {
                Some(name) if topic.topic_id.is_zero() => Key::Name(name.as_ref().to_owned()),
                _ => Key::Id(topic.topic_id),
            };
            Wanted::Some(topics.iter().map(key).filter(|key| seen.insert(key.clone())).collect())
        }
    }
}

/// Creates what is missing with the broker's defaults; gives the errors of those that could not be.
async fn create(broker: &Arc<Broker>, missing: Vec<String>) -> BTreeMap<String, i16> {
    let topic = |name: &String| CreatableTopic {
        name: Cow::Owned(name.clone()),
        num_partitions: -1,
        replication_factor: -1,
        ..CreatableTopic::default()
    };
    // Internal topics are made by those who need them, with settings of their own.
    let topics: Vec<_> = missing.into_iter().filter(|name| !names::is_internal(name)).collect();
    let request = CreateTopicsRequest {
        topics: topics.iter().map(topic).collect(),
        timeout_ms: CREATION_TIMEOUT_MS,
        ..CreateTopicsRequest::default()
    };
    let proposed = broker.metadata.propose(move |controller| controller.create_topics(&request, &mut crate::random::uuid));
    match proposed.await {
        Ok(response) => {
            let failed = response.topics.into_iter().filter(|topic| topic.error_code != 0);
            let failed = failed.filter(|topic| topic.error_code != ErrorCode::TopicAlreadyExists.code());
            failed.map(|topic| (topic.name.into_owned(), topic.error_code)).collect()
        }
        Err(error) => topics.into_iter().map(|name| (name, error.code())).collect(),
    }
}

/// What the answer needs of the request.
struct Answer {
    wanted: Wanted,
    topic_operations: i32,
    cluster_operations: i32,
    broker: MetadataResponseBroker<'static>,
}

impl Answer {
    /// Names that could be topics and are none.
    fn missing(&self, image: &MetadataImage) -> Vec<String> {
        let Wanted::Some(keys) = &self.wanted else { return Vec::new() };
        let missing = keys.iter().filter_map(|key| match key {
            Key::Name(name) if image.topic(name).is_none() && names::check(name).is_ok() => Some(name.clone()),
            _ => None,
        });
        missing.collect()
    }

    fn build(self, broker: &Broker, refused: &BTreeMap<String, i16>) -> MetadataResponse<'static> {
        let image = broker.metadata.image();
        let node_id = self.broker.node_id;
        let known = |topic: &Topic| MetadataResponseTopic {
            name: Some(Cow::Owned(topic.name.as_ref().to_owned())),
            topic_id: topic.id,
            is_internal: topic.internal,
            partitions: partitions(topic, node_id, image.leader_epoch(topic), &broker.store),
            topic_authorized_operations: self.topic_operations,
            ..MetadataResponseTopic::default()
        };
        let topics = match &self.wanted {
            Wanted::All => image.topics().map(|topic| known(topic)).collect(),
            Wanted::Some(keys) => keys
                .iter()
                .map(|key| match key {
                    Key::Name(name) => match image.topic(name) {
                        Some(topic) => known(topic),
                        None => self.unknown_name(name, refused.get(name).copied()),
                    },
                    Key::Id(id) => match image.topic_by_id(*id) {
                        Some(topic) => known(topic),
                        None => MetadataResponseTopic {
                            error_code: ErrorCode::UnknownTopicId.code(),
                            name: None,
                            topic_id: *id,
                            ..MetadataResponseTopic::default()
                        },
                    },
                })
                .collect(),
        };
        MetadataResponse {
            brokers: vec![self.broker],
            cluster_id: Some(Cow::Owned(broker.metadata.cluster_id().to_owned())),
            controller_id: node_id,
            topics,
            cluster_authorized_operations: self.cluster_operations,
            ..MetadataResponse::default()
        }
    }

    fn unknown_name(&self, name: &str, refused: Option<i16>) -> MetadataResponseTopic<'static> {
        let general = match names::check(name) {
            Ok(()) => ErrorCode::UnknownTopicOrPartition,
            Err(_) => ErrorCode::InvalidTopicException,
        };
        MetadataResponseTopic {
            error_code: refused.unwrap_or(general.code()),
            name: Some(Cow::Owned(name.to_owned())),
            topic_authorized_operations: self.topic_operations,
            ..MetadataResponseTopic::default()
        }
    }
}

/// Whether the partition's log can be used; its only replica is offline otherwise.
pub(super) fn is_online(store: &Store, topic: &Topic, partition: i32) -> bool {
    store.get(TopicIdPartition { topic_id: topic.id, partition }).is_some_and(|partition| partition.check().is_ok())
}

fn partitions(topic: &Topic, node_id: i32, leader_epoch: i32, store: &Store) -> Vec<MetadataResponsePartition> {
    let partition = |partition_index| {
        let online = is_online(store, topic, partition_index);
        MetadataResponsePartition {
            error_code: if online { ErrorCode::None } else { ErrorCode::LeaderNotAvailable }.code(),
            partition_index,
            leader_id: if online { node_id } else { -1 },
            leader_epoch,
            replica_nodes: vec![node_id],
            isr_nodes: vec![node_id],
            offline_replicas: if online { Vec::new() } else { vec![node_id] },
        }
    };
    (0..topic.partitions).map(partition).collect()
}
