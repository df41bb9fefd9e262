//! Produce: v3–13. Everything up to the partition's log happens in the order of the requests, before the first await.
//!
//! * v7 (KIP-110): zstd. v8 (KIP-467): which records are to blame. v13 (KIP-516): topics by id.

use std::sync::Arc;
use std::time::Duration;

use chronik_protocol::batch::BatchHeader;
use chronik_protocol::generated::produce_request::PartitionProduceData;
use chronik_protocol::generated::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse,
};
use chronik_protocol::messages::{ProduceRequest, ProduceResponse};
use chronik_protocol::validate::{self, InvalidRecords, Origin};
use chronik_protocol::ErrorCode;
use chronik_storage::{Appended, Partition};

use super::{CloseReason, Reply, RequestContext, error};
use crate::partitions::TopicRef;
use crate::time::now_ms;

/// The first version that names topics by id.
const TOPIC_IDS: i16 = 13;

pub(crate) fn handle(cx: &RequestContext<'_>, request: ProduceRequest<'_>) -> Reply {
    let mut produce = Produce { cx, now_ms: now_ms(), refuse_all: refuse_all(&request), waits: Vec::new() };
    let acks = request.acks;
    let responses = request.topic_data.iter().enumerate().map(|(at, topic)| {
        let by = if cx.version >= TOPIC_IDS { TopicRef::Id(topic.topic_id) } else { TopicRef::Name(&topic.name) };
        TopicProduceResponse {
            name: topic.name.to_string().into(),
            topic_id: topic.topic_id,
            partition_responses: produce.topic(at, by, &topic.partition_data),
        }
    });
    let response = ProduceResponse { responses: responses.collect(), ..Default::default() };
    let waits = produce.waits;
    match acks {
        0 => match first_error(&response) {
            Some(code) => Reply::Close(CloseReason::Unacknowledged(code)),
            None => Reply::NoResponse,
        },
        -1 if !waits.is_empty() => {
            let timeout = Duration::from_millis(request.timeout_ms.max(0).unsigned_abs().into());
            Reply::later(durable(response, waits, timeout))
        }
        _ => Reply::ready(response),
    }
}

/// What refuses every partition of a request alike.
fn refuse_all(request: &ProduceRequest<'_>) -> Option<ErrorCode> {
    if !(-1..=1).contains(&request.acks) {
        return Some(ErrorCode::InvalidRequiredAcks);
    }
    let partitions = request.topic_data.iter().flat_map(|topic| &topic.partition_data);
    let mut records = partitions.filter_map(|partition| partition.records.as_ref()?.as_slice());
    let transactional = records.any(|records| BatchHeader::parse(records).is_ok_and(|batch| batch.is_transactional()));
    match (transactional, &request.transactional_id) {
        (false, _) => None,
        (true, None) => Some(ErrorCode::TransactionalIdAuthorizationFailed),
        // No transactional id was ever handed out.
        (true, Some(_)) => Some(ErrorCode::InvalidProducerIdMapping),
    }
}

/// A partition whose answer waits for the journal.
struct Wait {
    topic: usize,
    partition: usize,
    log: Arc<Partition>,
    last_offset: i64,
}

struct Produce<'a, 'c> {
    cx: &'a RequestContext<'c>,
    now_ms: i64,
    refuse_all: Option<ErrorCode>,
    waits: Vec<Wait>,
}

impl Produce<'_, '_> {
    fn topic(
        &mut self,
        at: usize,
        topic: TopicRef<'_>,
        partitions: &[PartitionProduceData<'_>],
    ) -> Vec<PartitionProduceResponse<'static>> {
        let known = self.cx.broker.partitions();
        let topic = known.topic(topic);
        let mut answers = Vec::with_capacity(partitions.len());
        for data in partitions {
            let log = topic.and_then(|topic| {
                let log = known.partition(topic, data.index)?;
                // Kafka's own admin client may write to internal topics; here only the coordinators do.
                if topic.internal { Err(ErrorCode::InvalidTopicException) } else { Ok(log) }
            });
            let log = match (log, self.refuse_all) {
                (Ok(log), None) => log,
                (Ok(_), Some(code)) | (Err(code), _) => {
                    answers.push(refused(data.index, code));
                    continue;
                }
            };
            answers.push(match self.append(&log, data) {
                Ok(appended) => {
                    self.waits.push(Wait { topic: at, partition: answers.len(), log, last_offset: appended.last_offset });
                    PartitionProduceResponse {
                        index: data.index,
                        base_offset: appended.base_offset,
                        log_append_time_ms: appended.log_append_time_ms.unwrap_or(-1),
                        log_start_offset: appended.log_start_offset,
                        ..Default::default()
                    }
                }
                Err(invalid) => invalid_records(data.index, invalid, log.offsets().log_start),
            });
        }
        answers
    }

    fn append(&self, log: &Arc<Partition>, data: &PartitionProduceData<'_>) -> Result<Appended, InvalidRecords> {
        // Stricter than Kafka, which never answers a partition without records.
        let records = data.records.as_ref().and_then(|records| records.as_slice()).unwrap_or_default();
        let rules = log.config().append_rules(self.cx.version, Origin::Client);
        let batch = validate::prepare(records, &rules, self.now_ms)?;
        log.append(&batch, Some(self.cx.frame), self.now_ms).map_err(|e| InvalidRecords {
            code: error::append(&e),
            message: e.to_string(),
            record_errors: Vec::new(),
        })
    }
}

fn refused(index: i32, code: ErrorCode) -> PartitionProduceResponse<'static> {
    PartitionProduceResponse { index, error_code: code.code(), base_offset: -1, ..Default::default() }
}

fn invalid_records(index: i32, invalid: InvalidRecords, log_start: i64) -> PartitionProduceResponse<'static> {
    // As in Kafka, the log start is told when the records are to blame, not when they were not looked at.
    let looked_at = !matches!(
        invalid.code,
        ErrorCode::MessageTooLarge
            | ErrorCode::CorruptMessage
            | ErrorCode::UnsupportedCompressionType
            | ErrorCode::KafkaStorageError
            | ErrorCode::UnknownTopicOrPartition
            | ErrorCode::NotLeaderOrFollower
    );
    let record_errors = invalid.record_errors.into_iter().map(|(batch_index, message)| BatchIndexAndErrorMessage {
        batch_index,
        batch_index_error_message: Some(message.into()),
    });
    PartitionProduceResponse {
        log_start_offset: if looked_at { log_start } else { -1 },
        record_errors: record_errors.collect(),
        error_message: Some(invalid.message.into()),
        ..refused(index, invalid.code)
    }
}

fn first_error(response: &ProduceResponse<'_>) -> Option<ErrorCode> {
    let partitions = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    partitions.map(|answer| ErrorCode::from_code(answer.error_code)).find(|code| !code.is_none())
}

/// Completes the answer when every batch is durable, or the client's patience is at its end.
async fn durable(mut response: ProduceResponse<'static>, waits: Vec<Wait>, timeout: Duration) -> ProduceResponse<'static> {
    let deadline = tokio::time::sleep(timeout);
    tokio::pin!(deadline);
    for wait in waits {
        let outcome = tokio::select! {
            biased;
            outcome = wait.log.committed(wait.last_offset) => outcome.map_err(|e| error::storage(&e)),
            () = &mut deadline => Err(ErrorCode::RequestTimedOut),
        };
        let Err(code) = outcome else { continue };
        if let Some(answer) = answer_of(&mut response, &wait) {
            *answer = refused(answer.index, code);
        }
    }
    response
}

fn answer_of<'r>(
    response: &'r mut ProduceResponse<'static>,
    wait: &Wait,
) -> Option<&'r mut PartitionProduceResponse<'static>> {
    response.responses.get_mut(wait.topic)?.partition_responses.get_mut(wait.partition)
}
