//! OffsetFetch: v0–10
//!
//! * v2: no topics means all; the error is the group's
//! * v5: the leader epoch
//! * v7: only stable offsets, which all are as long as there are no transactions
//! * v8: several groups
//! * v10: topic ids instead of names
//!
//! Every partition that is asked for is answered, committed or not: one that is left out is lost to some clients.

use std::borrow::Cow;

use chronik_coordinator::group::OffsetAndMetadata;
use chronik_coordinator::group::api::{Fetch, FetchTopic, FetchedTopic, GroupReply, GroupRequest};
use chronik_coordinator::metadata::image::MetadataImage;
use chronik_protocol::generated::any::ResponseBody;
use chronik_protocol::generated::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use chronik_protocol::generated::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use chronik_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse};
use chronik_protocol::{ErrorCode, Uuid};

use super::group::{owned, owned_text, replies, shared};
use super::{Reply, RequestContext};
use crate::shards::Answer;

pub(crate) fn handle(cx: &RequestContext<'_>, request: OffsetFetchRequest<'_>) -> Reply {
    let version = cx.version;
    let image = cx.broker.metadata.image();
    let groups = if version >= 8 { request.groups } else { vec![only_group(request)] };
    let mut plans = Vec::with_capacity(groups.len());
    let mut asked = Vec::with_capacity(groups.len());
    for group in groups {
        let (plan, fetch) = plan(group, &image, version);
        asked.push(cx.broker.groups.ask(&plan.group_id, GroupRequest::Fetch(fetch)));
        plans.push(plan);
    }
    replies(asked, move |answers| {
        let groups = plans.into_iter().zip(answers).map(|(plan, answer)| plan.response(answer, &image)).collect();
        ResponseBody::OffsetFetch(if version >= 8 { several(groups) } else { single(groups, version) })
    })
}

/// The request of v0–7, which is about one group, as v8 has it.
fn only_group(request: OffsetFetchRequest<'_>) -> OffsetFetchRequestGroup<'_> {
    let topics = request.topics.map(|topics| {
        topics
            .into_iter()
            .map(|topic| OffsetFetchRequestTopics {
                name: topic.name,
                topic_id: Uuid::ZERO,
                partition_indexes: topic.partition_indexes,
            })
            .collect()
    });
    OffsetFetchRequestGroup { group_id: request.group_id, topics, ..OffsetFetchRequestGroup::default() }
}

/// What to answer for one group, in the order in which it was asked.
struct Plan {
    group_id: String,
    by_id: bool,
    /// `None`: everything that is committed.
    topics: Option<Vec<PlannedTopic>>,
}

struct PlannedTopic {
    name: Cow<'static, str>,
    id: Uuid,
    partitions: Vec<i32>,
    /// There is no such topic: the group is not asked.
    missing: bool,
}

fn plan(group: OffsetFetchRequestGroup<'_>, image: &MetadataImage, version: i16) -> (Plan, Fetch) {
    let by_id = version >= 10;
    let mut fetch = Fetch { group_id: shared(&group.group_id), topics: None };
    let mut planned = None;
    if let Some(topics) = group.topics {
        let mut wanted = Vec::with_capacity(topics.len());
        let plan = |topic: OffsetFetchRequestTopics<'_>| {
            let known = if by_id { image.topic_by_id(topic.topic_id) } else { image.topic(&topic.name) };
            let missing = by_id && known.is_none();
            if !missing {
                wanted.push(FetchTopic {
                    name: known.map_or_else(|| shared(&topic.name), |known| known.name.clone()),
                    id: known.map_or(Uuid::ZERO, |known| known.id),
                    partitions: topic.partition_indexes.clone(),
                });
            }
            let partitions = topic.partition_indexes;
            PlannedTopic { name: owned_text(&topic.name), id: topic.topic_id, partitions, missing }
        };
        planned = Some(topics.into_iter().map(plan).collect());
        fetch.topics = Some(wanted);
    }
    (Plan { group_id: group.group_id.into_owned(), by_id, topics: planned }, fetch)
}

impl Plan {
    fn response(self, answer: Answer, image: &MetadataImage) -> OffsetFetchResponseGroup<'static> {
        let (fetched, error) = match answer {
            Ok(GroupReply::Fetch(fetched)) => (fetched, ErrorCode::None),
            Ok(_) => (Vec::new(), ErrorCode::UnknownServerError),
            Err(error) => (Vec::new(), error),
        };
        let by_id = self.by_id;
        let topics = match self.topics {
            None => fetched.into_iter().filter_map(|topic| everything(topic, by_id, image)).collect(),
            Some(topics) => {
                let mut fetched = fetched.into_iter();
                let answer = |topic: PlannedTopic| {
                    let partitions = match topic.missing {
                        true => unanswered(&topic.partitions, ErrorCode::UnknownTopicId),
                        // None: the group failed. Before v2 its error is told partition by partition.
                        false => fetched.next().map_or_else(
                            || unanswered(&topic.partitions, ErrorCode::None),
                            |topic| partitions(topic.partitions),
                        ),
                    };
                    let name = if by_id { Cow::Borrowed("") } else { topic.name };
                    OffsetFetchResponseTopics { name, topic_id: topic.id, partitions }
                };
                topics.into_iter().map(answer).collect()
            }
        };
        OffsetFetchResponseGroup { group_id: self.group_id.into(), topics, error_code: error.code() }
    }
}

/// A topic of "everything"; by id, one that is not there any more cannot be named.
fn everything(topic: FetchedTopic, by_id: bool, image: &MetadataImage) -> Option<OffsetFetchResponseTopics<'static>> {
    let (name, topic_id) = match by_id {
        true => (Cow::Borrowed(""), image.topic(&topic.name)?.id),
        false => (owned(&topic.name), Uuid::ZERO),
    };
    Some(OffsetFetchResponseTopics { name, topic_id, partitions: partitions(topic.partitions) })
}

fn partitions(fetched: Vec<(i32, Option<OffsetAndMetadata>)>) -> Vec<OffsetFetchResponsePartitions<'static>> {
    let partition = |(partition_index, committed): (i32, Option<OffsetAndMetadata>)| match committed {
        None => nothing(partition_index, ErrorCode::None),
        Some(committed) => OffsetFetchResponsePartitions {
            partition_index,
            committed_offset: committed.offset,
            committed_leader_epoch: committed.leader_epoch,
            metadata: Some(owned(&committed.metadata)),
            error_code: 0,
        },
    };
    fetched.into_iter().map(partition).collect()
}

fn unanswered(partitions: &[i32], error: ErrorCode) -> Vec<OffsetFetchResponsePartitions<'static>> {
    partitions.iter().map(|partition| nothing(*partition, error)).collect()
}

fn nothing(partition_index: i32, error: ErrorCode) -> OffsetFetchResponsePartitions<'static> {
    OffsetFetchResponsePartitions {
        partition_index,
        committed_offset: -1,
        committed_leader_epoch: -1,
        metadata: Some(Cow::Borrowed("")),
        error_code: error.code(),
    }
}

/// v8+. A group that failed has no topics.
fn several(mut groups: Vec<OffsetFetchResponseGroup<'static>>) -> OffsetFetchResponse<'static> {
    for group in &mut groups {
        if group.error_code != 0 {
            group.topics.clear();
        }
    }
    OffsetFetchResponse { throttle_time_ms: 0, topics: Vec::new(), error_code: 0, groups }
}

/// v0–7. Before v2 a group's error is that of its partitions.
fn single(groups: Vec<OffsetFetchResponseGroup<'static>>, version: i16) -> OffsetFetchResponse<'static> {
    let group = groups.into_iter().next().unwrap_or_default();
    let error_code = group.error_code;
    let topics = if version >= 2 && error_code != 0 { Vec::new() } else { group.topics };
    let partition = |partition: OffsetFetchResponsePartitions<'static>| OffsetFetchResponsePartition {
        partition_index: partition.partition_index,
        committed_offset: partition.committed_offset,
        committed_leader_epoch: partition.committed_leader_epoch,
        metadata: partition.metadata,
        error_code: if version < 2 { error_code } else { partition.error_code },
    };
    let topics = topics.into_iter().map(|topic| OffsetFetchResponseTopic {
        name: topic.name,
        partitions: topic.partitions.into_iter().map(partition).collect(),
    });
    OffsetFetchResponse {
        throttle_time_ms: 0,
        topics: topics.collect(),
        error_code: if version >= 2 { error_code } else { 0 },
        groups: Vec::new(),
    }
}
