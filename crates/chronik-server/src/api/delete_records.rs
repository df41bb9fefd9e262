//! DeleteRecords: v0–2. Moves the log start of partitions forward; −1 means up to the high watermark.

use chronik_protocol::ErrorCode;
use chronik_protocol::generated::delete_records_request::DeleteRecordsTopic;
use chronik_protocol::generated::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use chronik_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};

use super::{Reply, RequestContext, error};
use crate::server::Broker;

pub(crate) fn handle(cx: &RequestContext<'_>, request: DeleteRecordsRequest<'_>) -> Reply {
    let (broker, topics) = (cx.broker.clone(), request.into_owned().topics);
    // The new log start is made durable before the answer: off the async threads.
    Reply::later(async move {
        let delete = move || topics.iter().map(|topic| delete_of(&broker, topic)).collect();
        let topics = tokio::task::spawn_blocking(delete).await.unwrap_or_default();
        DeleteRecordsResponse { topics, ..Default::default() }
    })
}

fn delete_of(broker: &Broker, topic: &DeleteRecordsTopic<'_>) -> DeleteRecordsTopicResult<'static> {
    let partitions = topic.partitions.iter().map(|asked| {
        let (error, low_watermark) = match delete(broker, &topic.name, asked.partition_index, asked.offset) {
            Ok(low_watermark) => (ErrorCode::None, low_watermark),
            Err(code) => (code, -1),
        };
        DeleteRecordsPartitionResult {
            partition_index: asked.partition_index,
            low_watermark,
            error_code: error.code(),
        }
    });
    DeleteRecordsTopicResult { name: topic.name.to_string().into(), partitions: partitions.collect() }
}

fn delete(broker: &Broker, topic: &str, partition: i32, offset: i64) -> Result<i64, ErrorCode> {
    let known = broker.partitions();
    let log = known.named(topic, partition)?;
    if known.image.topic(topic).is_some_and(|topic| topic.internal) {
        return Err(ErrorCode::InvalidTopicException);
    }
    if !log.config().cleanup_policy.delete {
        return Err(ErrorCode::PolicyViolation);
    }
    if offset < -1 {
        return Err(ErrorCode::OffsetOutOfRange);
    }
    let low_watermark = log.delete_records(offset).map_err(|e| error::read(&e))?;
    broker.store.write_log_starts().map_err(|e| error::storage(&e))?;
    Ok(low_watermark)
}
