//! A Produce request out of batches, and what its answer means for each of them.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use chronik_protocol::batch::{Batch as BatchView, set_producer};
use chronik_protocol::compression::Codec;
use chronik_protocol::error::ErrorCode;
use chronik_protocol::generated::produce_request::{PartitionProduceData, TopicProduceData};
use chronik_protocol::generated::produce_response::PartitionProduceResponse;
use chronik_protocol::messages::{ProduceRequest, ProduceResponse};
use chronik_protocol::uuid::Uuid;
use chronik_protocol::wire::{Message, Records, Request};

use super::ProducerOptions;
use super::accumulator::Outgoing;
use super::queue::{Batch, Content};
use crate::connection::Versions;
use crate::error::Error;

/// The first version whose record batches are of format 2.
const VERSION_MIN: i16 = 3;
/// The first version that may carry zstd (KIP-110).
const VERSION_ZSTD: i16 = 7;
/// The last version that names topics; later ones give their ids.
const VERSION_NAMES_MAX: i16 = 12;

/// A request that is ready to be sent.
pub(super) struct Encoded {
    pub(super) request: ProduceRequest<'static>,
    pub(super) version: i16,
}

/// What a broker made of a batch.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It is in the log.
    Appended { base_offset: i64, log_append_time: Option<i64> },
    /// It may succeed when it is sent again.
    Again { error: Error, maybe_appended: bool, stale_metadata: bool },
    /// It does not follow the last batch that the broker knows of this producer, or the broker knows none.
    OutOfSequence { error: Error },
    /// It was not appended, but its halves may be.
    TooLarge { error: Error },
    /// It was not appended and never will be.
    Refused { error: Error, record_errors: Vec<(i32, Error)> },
}

/// Encodes the batches, which stay in `outgoing` in their final bytes.
pub(super) fn encode(
    outgoing: &mut [Outgoing],
    versions: &Versions,
    options: &ProducerOptions,
    identity: Option<(i64, i16)>,
    limit: Duration,
) -> Result<Encoded, Error> {
    let with_ids = outgoing.iter().all(|outgoing| outgoing.topic_id != Uuid::ZERO);
    let version_max = if with_ids { ProduceRequest::MAX_VERSION } else { VERSION_NAMES_MAX };
    let version = versions.highest(ProduceRequest::KEY, VERSION_MIN, version_max)?;
    if options.compression == Codec::Zstd && version < VERSION_ZSTD {
        return Err(Error::Invalid(format!("the broker is too old for zstd: its Produce ends with version {version}")));
    }
    let mut request = ProduceRequest {
        acks: options.acks.code(),
        timeout_ms: i32::try_from(limit.as_millis()).unwrap_or(i32::MAX),
        ..ProduceRequest::default()
    };
    for Outgoing { topic, topic_id, partition, batch, .. } in outgoing {
        let records = Some(Records::Owned(finished(batch, identity)?));
        let data = PartitionProduceData { index: *partition, records };
        match request.topic_data.iter_mut().find(|known| *known.name == **topic) {
            Some(known) => known.partition_data.push(data),
            None => request.topic_data.push(TopicProduceData {
                name: topic.to_string().into(),
                topic_id: *topic_id,
                partition_data: vec![data],
            }),
        }
    }
    Ok(Encoded { request, version })
}

/// The batch in its final bytes: encoded when it leaves for the first time, numbered anew when its numbers have changed.
fn finished(batch: &mut Batch, identity: Option<(i64, i16)>) -> Result<Bytes, Error> {
    let numbers = identity.zip(batch.sequence).map(|((id, epoch), sequence)| (id, epoch, sequence));
    let bytes = match std::mem::replace(&mut batch.content, Content::Built(Bytes::new())) {
        Content::Building(mut builder) => {
            if let Some((id, epoch, sequence)) = numbers {
                builder.set_producer(id, epoch, sequence);
            }
            builder.build().map_err(|error| Error::Invalid(error.to_string()))?
        }
        Content::Built(bytes) => renumbered(bytes, numbers),
    };
    batch.content = Content::Built(bytes.clone());
    Ok(bytes)
}

fn renumbered(bytes: Bytes, numbers: Option<(i64, i16, i32)>) -> Bytes {
    let Some((id, epoch, sequence)) = numbers else { return bytes };
    let same = BatchView::parse(&bytes).is_ok_and(|view| {
        (view.header.producer_id, view.header.producer_epoch, view.header.base_sequence) == (id, epoch, sequence)
    });
    if same {
        return bytes;
    }
    // A request that was lost may still hold on to the old bytes.
    let mut copy = BytesMut::from(&bytes[..]);
    set_producer(&mut copy, id, epoch, sequence);
    copy.freeze()
}

/// A verdict for each batch, in order. Without an answer (`acks=0`) all count as appended.
pub(super) fn verdicts(request: &[Outgoing], answer: Option<&ProduceResponse<'_>>) -> Vec<Verdict> {
    let Some(answer) = answer else {
        return request.iter().map(|_| Verdict::Appended { base_offset: -1, log_append_time: None }).collect();
    };
    let verdict = |outgoing: &Outgoing| {
        let topics = answer.responses.iter();
        let mut topics =
            topics.filter(|topic| *topic.name == *outgoing.topic || has_id(topic.topic_id, outgoing.topic_id));
        let partition = topics
            .find_map(|topic| topic.partition_responses.iter().find(|partition| partition.index == outgoing.partition));
        match partition {
            Some(partition) => verdict(outgoing, partition),
            None => Verdict::Refused {
                error: Error::Malformed(format!(
                    "Produce without an answer for {}-{}",
                    outgoing.topic, outgoing.partition
                )),
                record_errors: Vec::new(),
            },
        }
    };
    request.iter().map(verdict).collect()
}

fn has_id(id: Uuid, wanted: Uuid) -> bool {
    id == wanted && id != Uuid::ZERO
}

fn verdict(outgoing: &Outgoing, answer: &PartitionProduceResponse<'_>) -> Verdict {
    let code = ErrorCode::from_code(answer.error_code);
    let what = || format!("{}-{}", outgoing.topic, outgoing.partition);
    let error = || Error::broker(what(), code, answer.error_message.as_deref());
    let numbered = outgoing.batch.sequence.is_some();
    match code {
        // A repeated batch whose offset the broker does not know any more is there all the same.
        ErrorCode::None | ErrorCode::DuplicateSequenceNumber => Verdict::Appended {
            base_offset: answer.base_offset,
            log_append_time: Some(answer.log_append_time_ms).filter(|time| *time >= 0),
        },
        ErrorCode::OutOfOrderSequenceNumber | ErrorCode::UnknownProducerId | ErrorCode::InvalidProducerEpoch
            if numbered =>
        {
            Verdict::OutOfSequence { error: error() }
        }
        ErrorCode::MessageTooLarge if outgoing.batch.count > 1 => Verdict::TooLarge { error: error() },
        code if code.is_retriable() => Verdict::Again {
            error: error(),
            maybe_appended: matches!(
                code,
                ErrorCode::RequestTimedOut | ErrorCode::NetworkException | ErrorCode::NotEnoughReplicasAfterAppend
            ),
            stale_metadata: !matches!(code, ErrorCode::NotEnoughReplicas | ErrorCode::CorruptMessage),
        },
        _ => Verdict::Refused {
            error: batch_error(&what(), code, answer),
            record_errors: record_errors(&what(), code, answer),
        },
    }
}

/// The error of records that are not to blame themselves.
fn batch_error(what: &str, code: ErrorCode, answer: &PartitionProduceResponse<'_>) -> Error {
    if answer.record_errors.is_empty() {
        return Error::broker(what, code, answer.error_message.as_deref());
    }
    Error::broker(what, code, Some("the record was in a batch with one or more invalid records"))
}

fn record_errors(what: &str, code: ErrorCode, answer: &PartitionProduceResponse<'_>) -> Vec<(i32, Error)> {
    let errors = answer.record_errors.iter();
    errors
        .map(|record| (record.batch_index, Error::broker(what, code, record.batch_index_error_message.as_deref())))
        .collect()
}

#[cfg(test)]
mod tests;
