//! The records of a batch, one after the other: structure, offsets, keys, timestamps.

use super::{AppendRules, InvalidRecords, Origin, has_timestamp, timestamp_of};
use crate::batch::{BatchHeader, NO_TIMESTAMP, TimestampType};
use crate::compression::{Codec, Inflate, InflateError};
use crate::error::ErrorCode;
use crate::record::{RecordError, RecordFacts, RecordIter, WalkError, walk};

/// A batch may hold a million bad records; the answer lists this many of them.
const RECORD_ERRORS_MAX: usize = 1000;

/// What the walk found out about valid records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// Highest timestamp, −1 when no record has one.
    pub(super) max_timestamp: i64,
    /// Offset delta of the first record that has it.
    pub(super) max_timestamp_offset_delta: i32,
}

/// Walks the records of `payload`, decompressing piece by piece.
pub(super) fn check(
    header: &BatchHeader,
    codec: Codec,
    payload: &[u8],
    rules: &AppendRules,
    now_ms: i64,
) -> Result<Facts, InvalidRecords> {
    let mut checker = Checker::new(header, rules, now_ms);
    if codec == Codec::None {
        for record in RecordIter::new(payload, header.records_count) {
            let record = record.map_err(structure)?;
            let has_key = record.key.is_some();
            checker.record(RecordFacts {
                offset_delta: record.offset_delta,
                timestamp_delta: record.timestamp_delta,
                has_key,
            });
        }
    } else {
        let mut inflate = Inflate::new(codec, payload, rules.max_decompressed_bytes).map_err(inflation)?;
        let walked = walk(&mut inflate, header.records_count, |facts| checker.record(facts));
        walked.map_err(|error| match error {
            WalkError::Inflate(error) => inflation(error),
            WalkError::Record(error) => structure(error),
        })?;
    }
    checker.finish()
}

fn structure(error: RecordError) -> InvalidRecords {
    InvalidRecords::new(ErrorCode::InvalidRecord, format!("Invalid record: {error}"))
}

/// Stricter: Kafka answers damaged compressed data with UNKNOWN_SERVER_ERROR and decompresses bombs to their end.
pub(super) fn inflation(error: InflateError) -> InvalidRecords {
    let code = match error {
        InflateError::Corrupt { .. } => ErrorCode::CorruptMessage,
        InflateError::Unsupported { .. } => ErrorCode::UnsupportedCompressionType,
        InflateError::TooLarge { .. } => ErrorCode::MessageTooLarge,
    };
    InvalidRecords::new(code, error.to_string())
}

struct Checker<'r> {
    header: &'r BatchHeader,
    rules: &'r AppendRules,
    now_ms: i64,
    index: i32,
    facts: Facts,
    /// Whether one of the errors is about a timestamp: it then gives the code.
    bad_timestamp: bool,
    bad_offset: Option<i32>,
    bad_records: usize,
    record_errors: Vec<(i32, String)>,
}

impl<'r> Checker<'r> {
    fn new(header: &'r BatchHeader, rules: &'r AppendRules, now_ms: i64) -> Self {
        let facts = Facts { max_timestamp: NO_TIMESTAMP, max_timestamp_offset_delta: 0 };
        let (record_errors, bad_offset) = (Vec::new(), None);
        Checker {
            header,
            rules,
            now_ms,
            index: 0,
            facts,
            bad_timestamp: false,
            bad_offset,
            bad_records: 0,
            record_errors,
        }
    }

    #[inline]
    fn record(&mut self, record: RecordFacts) {
        if record.offset_delta != self.index && self.bad_offset.is_none() {
            self.bad_offset = Some(self.index);
        }
        if self.rules.compacted && !record.has_key && !self.header.is_control() {
            self.blame("Compacted topic cannot accept message without key".to_owned());
        } else {
            self.timestamp(record.timestamp_delta);
        }
        self.index = self.index.wrapping_add(1);
    }

    #[inline]
    fn timestamp(&mut self, delta: i64) {
        let Some(timestamp) = timestamp_of(self.header, delta) else {
            let base = self.header.base_timestamp;
            return self.blame_timestamp(format!("Timestamp delta {delta} from {base} is out of range"));
        };
        if timestamp > self.facts.max_timestamp {
            self.facts = Facts { max_timestamp: timestamp, max_timestamp_offset_delta: self.index };
        }
        if self.rules.timestamp_type == TimestampType::CreateTime && has_timestamp(timestamp) {
            self.range(timestamp);
        } else if self.header.timestamp_type() == TimestampType::LogAppendTime && self.rules.origin == Origin::Client {
            self.blame_timestamp("Producer should not set timestamp type to LogAppendTime".to_owned());
        }
    }

    #[inline]
    fn range(&mut self, timestamp: i64) {
        let age = i128::from(self.now_ms) - i128::from(timestamp);
        let (before, after) = (self.rules.timestamp_before_max_ms, self.rules.timestamp_after_max_ms);
        if age > i128::from(before) || -age > i128::from(after) {
            let (oldest, newest) = (self.now_ms.saturating_sub(before), self.now_ms.saturating_add(after));
            let offset = self.index;
            self.blame_timestamp(format!(
                "Timestamp {timestamp} of message with offset {offset} is out of range. The timestamp should be within [{oldest}, {newest}]"
            ));
        }
    }

    #[cold]
    fn blame_timestamp(&mut self, message: String) {
        self.bad_timestamp = true;
        self.blame(message);
    }

    #[cold]
    fn blame(&mut self, message: String) {
        self.bad_records += 1;
        if self.record_errors.len() < RECORD_ERRORS_MAX {
            self.record_errors.push((self.index, message));
        }
    }

    fn finish(self) -> Result<Facts, InvalidRecords> {
        if let Some(index) = self.bad_offset {
            let message = format!("Record {index} of the batch does not have the offset delta {index}");
            return Err(InvalidRecords::new(ErrorCode::InvalidRecord, message));
        }
        if self.bad_records == 0 {
            return Ok(self.facts);
        }
        let (code, message) = if self.bad_timestamp {
            (ErrorCode::InvalidTimestamp, "One or more records have been rejected due to invalid timestamp".to_owned())
        } else {
            let message =
                format!("One or more records have been rejected due to {} record errors in total", self.bad_records);
            (ErrorCode::InvalidRecord, message)
        };
        Err(InvalidRecords { code, message, record_errors: self.record_errors })
    }
}
