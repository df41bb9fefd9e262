//! OffsetForLeaderEpoch: v0–4. Where a leader epoch ended, so that a consumer sees that its log was cut (KIP-320).

use chronik_protocol::ErrorCode;
use chronik_protocol::generated::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use chronik_protocol::generated::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use chronik_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use super::{Reply, RequestContext, error};
use crate::partitions::{Partitions, check_leader_epoch};

pub(crate) fn handle(cx: &RequestContext<'_>, request: OffsetForLeaderEpochRequest<'_>) -> Reply {
    let known = cx.broker.partitions();
    let topics = request.topics.iter().map(|topic| OffsetForLeaderTopicResult {
        topic: topic.topic.to_string().into(),
        partitions: topic.partitions.iter().map(|asked| answer(&known, &topic.topic, asked)).collect(),
    });
    Reply::ready(OffsetForLeaderEpochResponse { topics: topics.collect(), ..Default::default() })
}

fn answer(known: &Partitions<'_>, topic: &str, asked: &OffsetForLeaderPartition) -> EpochEndOffset {
    let (error, (leader_epoch, end_offset)) = match end_offset(known, topic, asked) {
        Ok(found) => (ErrorCode::None, found.unwrap_or((-1, -1))),
        Err(code) => (code, (-1, -1)),
    };
    EpochEndOffset { error_code: error.code(), partition: asked.partition, leader_epoch, end_offset }
}

fn end_offset(
    known: &Partitions<'_>,
    topic: &str,
    asked: &OffsetForLeaderPartition,
) -> Result<Option<(i32, i64)>, ErrorCode> {
    let log = known.named(topic, asked.partition)?;
    log.check().map_err(|e| error::storage(&e))?;
    check_leader_epoch(&log, asked.current_leader_epoch)?;
    Ok(if asked.leader_epoch < 0 { None } else { log.epoch_end_offset(asked.leader_epoch) })
}
