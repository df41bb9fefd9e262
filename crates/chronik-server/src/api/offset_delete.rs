//! OffsetDelete: v0

use std::sync::Arc;

use chronik_coordinator::group::api::{DeleteOffsets, DeletedOffsets, GroupReply, GroupRequest};
use chronik_protocol::ErrorCode;
use chronik_protocol::generated::any::ResponseBody;
use chronik_protocol::generated::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use chronik_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};

use super::group::{owned, owned_text, shared};
use super::offset_commit::has_partition;
use super::{Reply, RequestContext};

pub(crate) fn handle(cx: &RequestContext<'_>, request: OffsetDeleteRequest<'_>) -> Reply {
    if request.group_id.is_empty() {
        return Reply::Ready(response(Err(ErrorCode::InvalidGroupId), Vec::new()));
    }
    let image = cx.broker.metadata.image();
    let (mut known, mut missing) = (Vec::new(), Vec::new());
    for topic in &request.topics {
        let info = image.topic(&topic.name);
        let exists = |partition: &i32| info.is_some_and(|info| has_partition(info, *partition));
        let indexes = topic.partitions.iter().map(|partition| partition.partition_index);
        let (there, not_there): (Vec<i32>, Vec<i32>) = indexes.partition(exists);
        if !not_there.is_empty() {
            let unknown = |partition_index| answer(partition_index, ErrorCode::UnknownTopicOrPartition);
            let partitions = not_there.into_iter().map(unknown).collect();
            missing.push(OffsetDeleteResponseTopic { name: owned_text(&topic.name), partitions });
        }
        if !there.is_empty() {
            known.push((shared(&topic.name), there));
        }
    }
    let delete = DeleteOffsets { group_id: shared(&request.group_id), topics: known };
    cx.broker.groups.ask(&request.group_id, GroupRequest::DeleteOffsets(delete)).reply(move |deleted| {
        let deleted = match deleted {
            Ok(GroupReply::DeleteOffsets(deleted)) => deleted,
            Ok(_) => Err(ErrorCode::UnknownServerError),
            Err(error) => Err(error),
        };
        response(deleted, missing)
    })
}

fn answer(partition_index: i32, error: ErrorCode) -> OffsetDeleteResponsePartition {
    OffsetDeleteResponsePartition { partition_index, error_code: error.code() }
}

/// One entry a topic: what was not there, and what the group says.
fn response(
    deleted: Result<Vec<DeletedOffsets>, ErrorCode>,
    mut topics: Vec<OffsetDeleteResponseTopic<'static>>,
) -> ResponseBody<'static> {
    let mut error_code = 0;
    match deleted {
        Err(error) => {
            error_code = error.code();
            topics.clear();
        }
        Ok(deleted) => {
            for (name, codes) in deleted {
                let partitions = codes.into_iter().map(|(partition, error)| answer(partition, error));
                add(&mut topics, &name, partitions.collect());
            }
        }
    }
    ResponseBody::OffsetDelete(OffsetDeleteResponse { error_code, throttle_time_ms: 0, topics })
}

fn add(
    topics: &mut Vec<OffsetDeleteResponseTopic<'static>>,
    name: &Arc<str>,
    partitions: Vec<OffsetDeleteResponsePartition>,
) {
    match topics.iter_mut().find(|topic| *topic.name == **name) {
        Some(topic) => topic.partitions.extend(partitions),
        None => topics.push(OffsetDeleteResponseTopic { name: owned(name), partitions }),
    }
}
