//! DescribeTopicPartitions: v0 (KIP-966). Partitions of topics in pages: in the order of the topics' names, from a cursor on, up to a limit.

use std::borrow::Cow;
use std::collections::BTreeSet;

use chronik_coordinator::metadata::{MetadataImage, Topic, names};
use chronik_protocol::ErrorCode;
use chronik_protocol::generated::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use chronik_protocol::messages::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};
use chronik_storage::Store;

use super::metadata::{TOPIC_OPERATIONS, is_online};
use super::{Reply, RequestContext};

pub(crate) fn handle(cx: &RequestContext<'_>, request: DescribeTopicPartitionsRequest<'_>) -> Reply {
    let image = cx.broker.metadata.image();
    let begin = request.cursor.as_ref().map_or("", |cursor| cursor.topic_name.as_ref());
    let topics: BTreeSet<&str> = match request.topics.as_slice() {
        [] => image.topics_from(begin).map(|topic| topic.name.as_ref()).collect(),
        named => named.iter().map(|topic| topic.name.as_ref()).filter(|name| *name >= begin).collect(),
    };
    let cursor_is_named = request.topics.is_empty() || topics.contains(begin);
    if request.cursor.as_ref().is_some_and(|cursor| cursor.partition_index < 0 || !cursor_is_named) {
        return Reply::ready(refusal(&request));
    }
    let limit = usize::try_from(request.response_partition_limit).unwrap_or(1).max(1);
    let mut page = Page {
        image: &image,
        store: &cx.broker.store,
        node_id: cx.broker.config.node_id,
        room: limit.min(cx.broker.config.topics.max_request_partitions),
        response: DescribeTopicPartitionsResponse::default(),
    };
    for name in topics {
        let from = request.cursor.as_ref().filter(|cursor| cursor.topic_name == name);
        if !page.add(name, from.map_or(0, |cursor| cursor.partition_index)) {
            break;
        }
    }
    Reply::ready(page.response)
}

fn refusal(request: &DescribeTopicPartitionsRequest<'_>) -> DescribeTopicPartitionsResponse<'static> {
    let topics = request.topics.iter().map(|topic| DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode::InvalidRequest.code(),
        name: Some(Cow::Owned(topic.name.as_ref().to_owned())),
        ..DescribeTopicPartitionsResponseTopic::default()
    });
    DescribeTopicPartitionsResponse { topics: topics.collect(), ..DescribeTopicPartitionsResponse::default() }
}

struct Page<'a> {
    image: &'a MetadataImage,
    store: &'a Store,
    node_id: i32,
    room: usize,
    response: DescribeTopicPartitionsResponse<'static>,
}

impl Page<'_> {
    /// Adds a topic from a partition on; false when the page is full and the cursor set.
    fn add(&mut self, name: &str, from: i32) -> bool {
        if self.room == 0 {
            self.response.next_cursor =
                Some(Cursor { topic_name: Cow::Owned(name.to_owned()), partition_index: from });
            return false;
        }
        let mut out = DescribeTopicPartitionsResponseTopic {
            name: Some(Cow::Owned(name.to_owned())),
            topic_authorized_operations: TOPIC_OPERATIONS,
            ..DescribeTopicPartitionsResponseTopic::default()
        };
        let Some(topic) = self.image.topic(name) else {
            let known = names::check(name).is_ok();
            let error = if known { ErrorCode::UnknownTopicOrPartition } else { ErrorCode::InvalidTopicException };
            out.error_code = error.code();
            self.response.topics.push(out);
            return true;
        };
        out.topic_id = topic.id;
        out.is_internal = topic.internal;
        out.partitions = (from..topic.partitions).take(self.room).map(|index| self.partition(topic, index)).collect();
        self.room -= out.partitions.len();
        let next = from.saturating_add(i32::try_from(out.partitions.len()).unwrap_or(i32::MAX));
        let unfinished = next < topic.partitions;
        self.response.topics.push(out);
        if unfinished {
            self.response.next_cursor =
                Some(Cursor { topic_name: Cow::Owned(name.to_owned()), partition_index: next });
        }
        !unfinished
    }

    fn partition(&self, topic: &Topic, partition_index: i32) -> DescribeTopicPartitionsResponsePartition {
        let online = is_online(self.store, topic, partition_index);
        DescribeTopicPartitionsResponsePartition {
            error_code: if online { ErrorCode::None } else { ErrorCode::LeaderNotAvailable }.code(),
            partition_index,
            leader_id: if online { self.node_id } else { -1 },
            leader_epoch: self.image.leader_epoch(topic),
            replica_nodes: vec![self.node_id],
            isr_nodes: vec![self.node_id],
            eligible_leader_replicas: Some(Vec::new()),
            last_known_elr: Some(Vec::new()),
            offline_replicas: if online { Vec::new() } else { vec![self.node_id] },
        }
    }
}
