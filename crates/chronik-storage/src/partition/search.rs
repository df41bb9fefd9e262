//! Finding offsets by time. Blocking: an answer may have to read and decompress a batch.

use std::sync::Arc;

use chronik_protocol::batch::{BatchHeader, HEADER_SIZE, TimestampType, check_crc};
use chronik_protocol::compression::decompress;
use chronik_protocol::record::RecordIter;

use super::{Partition, ReadLimit};
use crate::error::{ReadError, StorageError};
use crate::reader;
use crate::segment::{Access, Segment, Window};

/// An offset and the timestamp of the record there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampOffset {
    /// Milliseconds since 1970.
    pub timestamp_ms: i64,
    /// The record's offset.
    pub offset: i64,
    /// The leader epoch it was written in.
    pub leader_epoch: i32,
}

impl Partition {
    /// The first record before the limit whose timestamp is `timestamp_ms` or later. Blocking.
    pub fn offset_for_timestamp(
        &self,
        timestamp_ms: i64,
        limit: ReadLimit,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let (segments, log_start, limit) = self.searchable(limit)?;
        for segment in segments {
            let max = self.max_of(&segment)?;
            if max.is_none_or(|max| max.timestamp < timestamp_ms) {
                continue;
            }
            let from = segment.with_indexes(|indexes| {
                let relative = indexes.times.lookup(timestamp_ms.saturating_sub(1)).unwrap_or(0);
                indexes.offsets.lookup(relative.max(segment.relative(log_start)))
            });
            let position = from.map_err(|error| failed(&segment, error))?;
            let wanted =
                |header: &BatchHeader| header.max_timestamp >= timestamp_ms && header.last_offset() >= log_start;
            let found = self.find_record(&segment, position, limit, wanted, |timestamp, offset| {
                timestamp >= timestamp_ms && offset >= log_start
            })?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The first record with the greatest timestamp before the limit. Blocking.
    pub fn max_timestamp(&self, limit: ReadLimit) -> Result<Option<TimestampOffset>, ReadError> {
        let (segments, log_start, limit) = self.searchable(limit)?;
        let mut best: Option<TimestampOffset> = None;
        for segment in segments {
            let Some(max) = self.max_of(&segment)? else { continue };
            if best.is_some_and(|best| best.timestamp_ms >= max.timestamp) {
                continue;
            }
            // The batch with the greatest timestamp may lie outside what is visible: then every visible batch is looked at.
            let visible = max.last_offset < limit && max.last_offset >= log_start;
            let found = match visible {
                true => self.greatest_in(&segment, max.last_offset, limit, log_start, true)?,
                false => self.greatest_in(&segment, log_start, limit, log_start, false)?,
            };
            best = best.into_iter().chain(found).reduce(|a, b| if b.timestamp_ms > a.timestamp_ms { b } else { a });
        }
        Ok(best)
    }

    fn searchable(&self, limit: ReadLimit) -> Result<(Vec<Arc<Segment>>, i64, i64), ReadError> {
        let view = self.view.lock();
        view.status.readable(&self.topic)?;
        let offsets = view.offsets();
        let limit = match limit {
            ReadLimit::HighWatermark => offsets.high_watermark,
            ReadLimit::LastStable => offsets.last_stable,
            ReadLimit::LogEnd => offsets.log_end,
        };
        let first = view.segment_at(offsets.log_start).unwrap_or(0);
        Ok((view.segments[first..].to_vec(), offsets.log_start, limit))
    }

    fn max_of(&self, segment: &Segment) -> Result<Option<crate::segment::MaxTimestamp>, ReadError> {
        if segment.max_timestamp().is_none() {
            segment.with_indexes(|_| ()).map_err(|error| failed(segment, error))?;
        }
        Ok(segment.max_timestamp())
    }

    /// Walks batches from a position on and looks into those that may hold what is wanted.
    fn find_record(
        &self,
        segment: &Segment,
        mut position: u32,
        limit: i64,
        batch: impl Fn(&BatchHeader) -> bool,
        record: impl Fn(i64, i64) -> bool,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let (size, mut window) = (segment.size(), Window::default());
        while position < size {
            let Some(header) = window.header(segment, position, size).map_err(|error| failed(segment, error))? else {
                break;
            };
            if header.base_offset >= limit {
                break;
            }
            if batch(&header) && !header.is_control() {
                let found = records_of(segment, position, &header)?
                    .into_iter()
                    .find(|(timestamp, offset)| record(*timestamp, *offset));
                if let Some((timestamp_ms, offset)) = found {
                    let leader_epoch = header.partition_leader_epoch;
                    return Ok(Some(TimestampOffset { timestamp_ms, offset, leader_epoch }));
                }
            }
            position = position.saturating_add(u32::try_from(header.size_in_bytes()).unwrap_or(u32::MAX));
        }
        Ok(None)
    }

    /// The greatest timestamp among the batches from `from` on; only the first of them if `one`.
    fn greatest_in(
        &self,
        segment: &Segment,
        from: i64,
        limit: i64,
        log_start: i64,
        one: bool,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let Some((mut position, mut header)) = reader::locate(segment, Access::Blocking, from, None, segment.size())?
        else {
            return Ok(None);
        };
        let (size, mut window, mut best) = (segment.size(), Window::default(), None::<TimestampOffset>);
        while header.base_offset < limit {
            if best.is_none_or(|best| header.max_timestamp > best.timestamp_ms) && header.max_timestamp >= 0 {
                let visible =
                    records_of(segment, position, &header)?.into_iter().filter(|(_, offset)| *offset >= log_start);
                let greatest = visible.reduce(|a, b| if b.0 > a.0 { b } else { a });
                let found = greatest.map(|(timestamp_ms, offset)| TimestampOffset {
                    timestamp_ms,
                    offset,
                    leader_epoch: header.partition_leader_epoch,
                });
                best = best.into_iter().chain(found).reduce(|a, b| if b.timestamp_ms > a.timestamp_ms { b } else { a });
            }
            position = position.saturating_add(u32::try_from(header.size_in_bytes()).unwrap_or(u32::MAX));
            if one || position >= size {
                break;
            }
            match window.header(segment, position, size).map_err(|error| failed(segment, error))? {
                Some(next) => header = next,
                None => break,
            }
        }
        Ok(best)
    }
}

fn failed(segment: &Segment, error: std::io::Error) -> ReadError {
    ReadError::Storage(StorageError::io("reading", segment.path("log"))(error))
}

/// Timestamp and offset of each record of a batch.
fn records_of(segment: &Segment, position: u32, header: &BatchHeader) -> Result<Vec<(i64, i64)>, ReadError> {
    let corrupt = || ReadError::Corrupt { offset: header.base_offset, path: segment.path("log") };
    let bytes =
        segment.read(Access::Blocking, position, header.size_in_bytes()).map_err(|error| failed(segment, error))?;
    let bytes = bytes.filter(|bytes| check_crc(bytes).is_ok()).ok_or_else(corrupt)?;
    if header.timestamp_type() == TimestampType::LogAppendTime {
        return Ok((header.base_offset..=header.last_offset()).map(|offset| (header.max_timestamp, offset)).collect());
    }
    let codec = header.compression().map_err(|_| corrupt())?;
    let payload = decompress(codec, &bytes[HEADER_SIZE..], usize::MAX).map_err(|_| corrupt())?;
    let mut records = Vec::with_capacity(usize::try_from(header.records_count).unwrap_or(0).min(payload.len()));
    for record in RecordIter::new(&payload, header.records_count) {
        let record = record.map_err(|_| corrupt())?;
        let timestamp = header.base_timestamp.saturating_add(record.timestamp_delta);
        records.push((timestamp, header.base_offset + i64::from(record.offset_delta)));
    }
    Ok(records)
}
