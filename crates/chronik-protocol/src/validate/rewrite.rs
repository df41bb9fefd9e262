//! The few changes that a topic's settings make to a producer's batch.

use std::borrow::Cow;

use super::records::Facts;
use super::{AppendRules, InvalidRecords, PreparedBatch, TopicCompression};
use crate::batch::{BatchHeader, HEADER_SIZE, TimestampType, finish};
use crate::compression::{Codec, Compression, compress, decompress};
use crate::error::ErrorCode;

/// Applies timestamp type, honest maximum timestamp and the topic's compression. Bytes are copied only when something changes.
pub(super) fn apply<'a>(
    mut header: BatchHeader,
    codec: Codec,
    bytes: &'a [u8],
    facts: Facts,
    rules: &AppendRules,
    now_ms: i64,
) -> Result<PreparedBatch<'a>, InvalidRecords> {
    let log_append_time_ms = (rules.timestamp_type == TimestampType::LogAppendTime).then_some(now_ms);
    let max_timestamp = log_append_time_ms.unwrap_or(facts.max_timestamp);
    let max_timestamp_offset_delta = log_append_time_ms.map_or(facts.max_timestamp_offset_delta, |_| 0);
    let target = match rules.compression {
        TopicCompression::Topic(compression) if compression.codec != codec => Some(compression),
        _ => None,
    };
    let keeps_header = header.max_timestamp == max_timestamp && header.timestamp_type() == rules.timestamp_type;
    if keeps_header && target.is_none() {
        let bytes = Cow::Borrowed(bytes);
        return Ok(PreparedBatch { header, bytes, log_append_time_ms, max_timestamp_offset_delta });
    }
    header.max_timestamp = max_timestamp;
    header.set_timestamp_type(rules.timestamp_type);
    let mut changed = match target {
        Some(target) => recompressed(&mut header, codec, target, bytes, rules.max_decompressed_bytes)?,
        None => bytes.to_vec(),
    };
    finish(&mut header, &mut changed);
    Ok(PreparedBatch { header, bytes: Cow::Owned(changed), log_append_time_ms, max_timestamp_offset_delta })
}

/// Room for the header and the records in the topic's codec. Deltas keep their meaning, so the records themselves do not change.
fn recompressed(
    header: &mut BatchHeader,
    from: Codec,
    to: Compression,
    bytes: &[u8],
    limit: usize,
) -> Result<Vec<u8>, InvalidRecords> {
    let plain = match from {
        Codec::None => Cow::Borrowed(&bytes[HEADER_SIZE..]),
        _ => Cow::Owned(decompress(from, &bytes[HEADER_SIZE..], limit).map_err(super::records::inflation)?),
    };
    let mut changed = vec![0; HEADER_SIZE];
    compress(to, &plain, &mut changed)
        .map_err(|error| InvalidRecords::new(ErrorCode::UnsupportedCompressionType, error.to_string()))?;
    header.set_compression(to.codec);
    Ok(changed)
}
