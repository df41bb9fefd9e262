//! OffsetCommit: v0–10
//!
//! * v1: the member commits in its generation; a time of its own, which no later version has
//! * v2–4: how long the offsets are kept
//! * v6: the leader epoch
//! * v7: KIP-345, static members
//! * v9: a group that is not there is told so
//! * v10: topic ids instead of names

use std::sync::Arc;

use chronik_coordinator::group::api::{
    Commit, CommitPartition, CommitTopic, Committed, GroupReply, GroupRequest, MemberCheck,
};
use chronik_coordinator::metadata::image::{MetadataImage, Topic};
use chronik_protocol::ErrorCode;
use chronik_protocol::generated::any::ResponseBody;
use chronik_protocol::generated::offset_commit_request::OffsetCommitRequestTopic;
use chronik_protocol::generated::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use chronik_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};

use super::group::{owned_text, shared, shared_option};
use super::{Reply, RequestContext};

pub(crate) fn handle(cx: &RequestContext<'_>, request: OffsetCommitRequest<'_>) -> Reply {
    let image = cx.broker.metadata.image();
    let mut parts = Parts { topics: Vec::with_capacity(request.topics.len()), open: Vec::new() };
    let asked = request.topics.iter().filter_map(|topic| parts.split(topic, &image, cx.version)).collect();
    if parts.open.is_empty() {
        return Reply::Ready(parts.response(Ok(Vec::new())));
    }
    let commit = Commit {
        member: MemberCheck {
            group_id: shared(&request.group_id),
            member_id: shared(&request.member_id),
            instance_id: shared_option(&request.group_instance_id),
            generation: request.generation_id_or_member_epoch,
        },
        knows_group_id_not_found: cx.version >= 9,
        retention_ms: request.retention_time_ms,
        topics: asked,
    };
    cx.broker.groups.ask(&request.group_id, GroupRequest::Commit(commit)).reply(move |answer| {
        parts.response(match answer {
            Ok(GroupReply::Commit(committed)) => committed,
            Ok(_) => Err(ErrorCode::UnknownServerError),
            Err(error) => Err(error),
        })
    })
}

/// The answer as far as it is known, and which partitions of it the group still has to answer.
struct Parts {
    topics: Vec<OffsetCommitResponseTopic<'static>>,
    /// For each topic that goes to the group: its place in `topics`, and the places of its partitions.
    open: Vec<(usize, Vec<usize>)>,
}

impl Parts {
    /// Answers what is not there, and returns the rest.
    fn split(
        &mut self,
        topic: &OffsetCommitRequestTopic<'_>,
        image: &MetadataImage,
        version: i16,
    ) -> Option<CommitTopic> {
        let by_id = version >= 10;
        let (known, missing) = if by_id {
            (image.topic_by_id(topic.topic_id), ErrorCode::UnknownTopicId)
        } else {
            (image.topic(&topic.name), ErrorCode::UnknownTopicOrPartition)
        };
        let answer = |partition_index, error: ErrorCode| OffsetCommitResponsePartition {
            partition_index,
            error_code: error.code(),
        };
        let mut response = OffsetCommitResponseTopic {
            name: if by_id { "".into() } else { owned_text(&topic.name) },
            topic_id: topic.topic_id,
            partitions: Vec::with_capacity(topic.partitions.len()),
        };
        let mut partitions = Vec::new();
        let mut places = Vec::new();
        for (place, partition) in topic.partitions.iter().enumerate() {
            let index = partition.partition_index;
            let error = match known {
                None => missing,
                Some(known) if !has_partition(known, index) => ErrorCode::UnknownTopicOrPartition,
                Some(_) => ErrorCode::None,
            };
            response.partitions.push(answer(index, error));
            if error == ErrorCode::None {
                places.push(place);
                partitions.push(CommitPartition {
                    partition: index,
                    offset: partition.committed_offset,
                    leader_epoch: partition.committed_leader_epoch,
                    commit_timestamp_ms: partition.commit_timestamp,
                    metadata: partition.committed_metadata.as_deref().map(Arc::from),
                });
            }
        }
        self.topics.push(response);
        let known = known.filter(|_| !places.is_empty())?;
        self.open.push((self.topics.len() - 1, places));
        Some(CommitTopic { name: Arc::clone(&known.name), id: known.id, partitions })
    }

    fn response(mut self, committed: Committed) -> ResponseBody<'static> {
        for (place, (topic, partitions)) in self.open.iter().enumerate() {
            for (index, partition) in partitions.iter().enumerate() {
                let error = match &committed {
                    Ok(codes) => codes[place][index],
                    Err(error) => *error,
                };
                self.topics[*topic].partitions[*partition].error_code = error.code();
            }
        }
        ResponseBody::OffsetCommit(OffsetCommitResponse { throttle_time_ms: 0, topics: self.topics })
    }
}

/// Whether the topic has this partition.
pub(super) fn has_partition(topic: &Topic, partition: i32) -> bool {
    (0..topic.partitions).contains(&partition)
}
