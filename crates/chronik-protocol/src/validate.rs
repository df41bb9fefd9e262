//! What a broker checks in the records of a Produce before it appends them, as Kafka's `LogValidator` and `UnifiedLog` do, with the
//! answers that are stricter on purpose said where they are given.
//!
//! A valid batch comes back as it was sent. Only four things change bytes: `LogAppendTime`, a topic with a compression of its own, a
//! `max_timestamp` that lies, and (later, under the partition's lock) the position, which the checksum does not cover.

mod records;
mod rewrite;

use std::borrow::Cow;
use std::fmt;

use crate::batch::{self, BatchError, BatchHeader, HEADER_SIZE, LOG_OVERHEAD, NO_TIMESTAMP, TimestampType};
use crate::compression::{Codec, Compression};
use crate::error::ErrorCode;
use crate::record::RecordIter;

/// The first Produce version that may carry zstd (KIP-110).
const PRODUCE_VERSION_ZSTD: i16 = 7;

/// `compression.type` of a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TopicCompression {
    /// `producer`: batches stay as they were sent.
    #[default]
    Producer,
    /// A codec of the topic's own; batches in another one are recompressed. `uncompressed` is `Codec::None`.
    Topic(Compression),
}

/// Who wants to append.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// A client, by Produce.
    #[default]
    Client,
    /// One of our coordinators, who may write control records and give offsets of their own.
    Coordinator,
}

/// What a topic and the broker ask of a batch. The defaults are Kafka's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendRules {
    /// `max.message.bytes`.
    pub max_message_bytes: usize,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max_ms: i64,
    /// `compression.type` with the level of its codec.
    pub compression: TopicCompression,
    /// Whether `cleanup.policy` has `compact`: every record needs a key then.
    pub compacted: bool,
    /// `chronik.max.decompressed.batch.bytes`.
    pub max_decompressed_bytes: usize,
    /// Version of the Produce request.
    pub produce_version: i16,
    /// Who wants to append.
    pub origin: Origin,
}

impl Default for AppendRules {
    fn default() -> Self {
        AppendRules {
            max_message_bytes: 1_048_588,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 3_600_000,
            compression: TopicCompression::Producer,
            compacted: false,
            max_decompressed_bytes: 128 * 1024 * 1024,
            produce_version: i16::MAX,
            origin: Origin::Client,
        }
    }
}

/// A batch that may be appended: all but its position is final.
#[derive(Clone, Debug)]
pub struct PreparedBatch<'a> {
    /// Its header, with what was changed.
    pub header: BatchHeader,
    /// Its bytes, header included and checksum right: the producer's own unless the rules asked for a change.
    pub bytes: Cow<'a, [u8]>,
    /// The time of the append, for topics with `LogAppendTime`; what the producer is told.
    pub log_append_time_ms: Option<i64>,
    /// Offset, minus the base offset, of the first record with the highest timestamp. 0 with `LogAppendTime`.
    pub max_timestamp_offset_delta: i32,
}

/// Why a batch is refused. Nothing of it was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRecords {
    /// The code that the partition answers.
    pub code: ErrorCode,
    /// The sentence beside it.
    pub message: String,
    /// Index and reason for each record that is to blame (KIP-467), at most the first thousand. Empty when the batch as a whole is.
    pub record_errors: Vec<(i32, String)>,
}

impl fmt::Display for InvalidRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for InvalidRecords {}

impl InvalidRecords {
    fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        InvalidRecords { code, message: message.into(), record_errors: Vec::new() }
    }
}

impl From<BatchError> for InvalidRecords {
    fn from(error: BatchError) -> Self {
        let code = match error {
            BatchError::Truncated { .. } | BatchError::OldMagic(_) => ErrorCode::InvalidRecord,
            BatchError::Length(_) | BatchError::Magic(_) | BatchError::Crc { .. } => ErrorCode::CorruptMessage,
        };
        InvalidRecords::new(code, error.to_string())
    }
}

/// Checks the records of one partition of a Produce: exactly one batch, whole, undamaged, and as the rules ask.
pub fn prepare<'a>(records: &'a [u8], rules: &AppendRules, now_ms: i64) -> Result<PreparedBatch<'a>, InvalidRecords> {
    let (header, bytes) = only_batch(records)?;
    let codec = check_codec(&header, rules.produce_version)?;
    check_size(bytes.len(), rules.max_message_bytes)?;
    batch::check_crc(bytes)?;
    check_nothing_behind(&records[bytes.len()..])?;
    if rules.origin == Origin::Client {
        check_client_header(&header)?;
    }
    check_counts(&header)?;
    let facts = records::check(&header, codec, &bytes[HEADER_SIZE..], rules, now_ms)?;
    let prepared = rewrite::apply(header, codec, bytes, facts, rules, now_ms)?;
    check_size(prepared.bytes.len(), rules.max_message_bytes)?;
    Ok(prepared)
}

impl PreparedBatch<'_> {
    /// A batch that one of our own coordinators has built: only that the bytes are one whole batch is looked at.
    pub fn trusted(bytes: &[u8]) -> Result<PreparedBatch<'_>, BatchError> {
        let batch = batch::Batch::parse(bytes)?;
        let header = batch.header;
        let max_timestamp_offset_delta = match header.compression() {
            Ok(Codec::None) => first_with_highest_timestamp(&header, batch.payload()),
            _ => header.last_offset_delta,
        };
        Ok(PreparedBatch {
            header,
            bytes: Cow::Borrowed(batch.bytes),
            log_append_time_ms: None,
            max_timestamp_offset_delta,
        })
    }

    /// The batch with bytes of its own.
    pub fn into_owned(self) -> PreparedBatch<'static> {
        PreparedBatch { bytes: Cow::Owned(self.bytes.into_owned()), ..self }
    }
}

fn first_with_highest_timestamp(header: &BatchHeader, payload: &[u8]) -> i32 {
    let wanted = header.max_timestamp.wrapping_sub(header.base_timestamp);
    let mut records = RecordIter::new(payload, header.records_count).map_while(Result::ok);
    records
        .find(|record| record.timestamp_delta == wanted)
        .map_or(header.last_offset_delta, |record| record.offset_delta)
}

/// The header and the bytes of the batch at the front.
fn only_batch(records: &[u8]) -> Result<(BatchHeader, &[u8]), InvalidRecords> {
    if records.len() < LOG_OVERHEAD {
        return Err(InvalidRecords::new(
            ErrorCode::InvalidRecord,
            "Produce requests must have exactly one record batch per partition",
        ));
    }
    let size = batch::size_of_first(records)?;
    let bytes = records.get(..size).ok_or(BatchError::Truncated { needed: size, available: records.len() })?;
    Ok((BatchHeader::parse(bytes)?, bytes))
}

/// Whatever follows the batch is an error. Stricter: Kafka acknowledges the first batch and silently drops a piece of another one.
fn check_nothing_behind(rest: &[u8]) -> Result<(), InvalidRecords> {
    if rest.is_empty() {
        return Ok(());
    }
    if rest.len() >= LOG_OVERHEAD {
        // Damage keeps its own code; an old or a whole second batch, or a piece of one, is a batch too many.
        if let Err(error @ (BatchError::Length(_) | BatchError::Magic(_))) = batch::size_of_first(rest) {
            return Err(error.into());
        }
    }
    Err(InvalidRecords::new(
        ErrorCode::InvalidRecord,
        "Produce requests must have exactly one record batch per partition",
    ))
}

/// Stricter for codec ids that do not exist: Kafka answers UNKNOWN_SERVER_ERROR, which producers retry for ever.
fn check_codec(header: &BatchHeader, produce_version: i16) -> Result<Codec, InvalidRecords> {
    let unsupported = |message| Err(InvalidRecords::new(ErrorCode::UnsupportedCompressionType, message));
    match header.compression() {
        Ok(Codec::Zstd) if produce_version < PRODUCE_VERSION_ZSTD => {
            unsupported(format!("Produce version {produce_version} is not allowed to use ZStandard compression"))
        }
        Ok(codec) => Ok(codec),
        Err(id) => unsupported(format!("Unknown compression type id: {id}")),
    }
}

fn check_size(size: usize, max_message_bytes: usize) -> Result<(), InvalidRecords> {
    if size <= max_message_bytes {
        return Ok(());
    }
    let message = format!(
        "The record batch size is {size} bytes which exceeds the maximum configured value of {max_message_bytes}."
    );
    Err(InvalidRecords::new(ErrorCode::MessageTooLarge, message))
}

/// What only coordinators may write.
fn check_client_header(header: &BatchHeader) -> Result<(), InvalidRecords> {
    let invalid = |message: String| Err(InvalidRecords::new(ErrorCode::InvalidRecord, message));
    if header.base_offset != 0 {
        return invalid(format!("The baseOffset of the record batch should be 0, but it is {}", header.base_offset));
    }
    if header.is_control() {
        return invalid("Clients are not allowed to write control records".into());
    }
    if header.has_producer_id() && header.base_sequence < 0 {
        let (sequence, id) = (header.base_sequence, header.producer_id);
        return invalid(format!("Invalid sequence number {sequence} in record batch with producerId {id}"));
    }
    Ok(())
}

fn check_counts(header: &BatchHeader) -> Result<(), InvalidRecords> {
    let invalid = |message: String| Err(InvalidRecords::new(ErrorCode::InvalidRecord, message));
    let (count, last_delta) = (header.records_count, header.last_offset_delta);
    if count <= 0 {
        return invalid(format!("Invalid reported count for record batch: {count}"));
    }
    if last_delta != count - 1 {
        return invalid(format!(
            "Inconsistent batch offset range and count of records: last offset delta {last_delta}, {count} records"
        ));
    }
    Ok(())
}

/// The timestamp of a record; `None` where base and delta overflow.
fn timestamp_of(header: &BatchHeader, delta: i64) -> Option<i64> {
    header.base_timestamp.checked_add(delta)
}

/// Whether a producer left the timestamp out.
fn has_timestamp(timestamp: i64) -> bool {
    timestamp != NO_TIMESTAMP
}

#[cfg(test)]
mod tests;
