//! Reading a partition: which segment, how far, and where the last reader stopped.

use std::sync::Arc;

use chronik_protocol::wire::Chunk;

use super::{Offsets, Partition, View};
use crate::error::{ReadError, StorageError};
use crate::reader::{self, SegmentOutcome, SegmentRequest};
use crate::segment::{Access, Segment};

/// How far a read may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadLimit {
    /// What is durable: `read_uncommitted`.
    HighWatermark,
    /// What belongs to no open transaction: `read_committed`.
    LastStable,
    /// Everything, durable or not: for the broker itself, at start.
    LogEnd,
}

/// What a read gives.
#[derive(Debug, Clone)]
pub struct ReadOutcome {
    /// Whole batches; the first one holds the offset, which may lie inside it. Empty at the limit.
    pub records: Vec<Chunk>,
    /// Their length.
    pub bytes: usize,
    /// The offset behind the last of them: where to read on.
    pub next_offset: i64,
    /// The offsets of the partition at the time of the read.
    pub offsets: Offsets,
}

/// Where the next batch starts, for the last few places where a reader stopped: a consumer that goes on needs no lookup.
#[derive(Debug, Default)]
pub(super) struct Cursors {
    places: [Cursor; CURSORS],
    next: usize,
}

const CURSORS: usize = 4;

#[derive(Debug, Default, Clone, Copy)]
struct Cursor {
    offset: i64,
    segment_base: i64,
    /// 0 is none: an offset at the start of a segment needs no cursor.
    position: u32,
}

impl Cursors {
    fn find(&self, offset: i64, segment_base: i64) -> Option<u32> {
        let found = self
            .places
            .iter()
            .find(|place| place.position > 0 && place.offset == offset && place.segment_base == segment_base);
        found.map(|place| place.position)
    }

    /// Moves the cursor of the reader that began at `from`, or replaces the oldest.
    fn keep(&mut self, from: i64, offset: i64, segment_base: i64, position: u32) {
        let at =
            self.places.iter().position(|place| place.position > 0 && (place.offset == from || place.offset == offset));
        let at = at.unwrap_or_else(|| {
            self.next = (self.next + 1) % CURSORS;
            self.next
        });
        self.places[at] = Cursor { offset, segment_base, position };
    }

    pub(super) fn clear(&mut self) {
        *self = Cursors::default();
    }
}

/// Where to read, as the view has it.
struct Plan {
    segment: Arc<Segment>,
    limit_offset: i64,
    limit_position: Option<u32>,
    /// The offset at which the segment's successor begins.
    next_base: Option<i64>,
    offsets: Offsets,
}

impl View {
    /// The last segment that begins at or before an offset.
    pub(super) fn segment_at(&self, offset: i64) -> Option<usize> {
        self.segments.partition_point(|segment| segment.base_offset <= offset).checked_sub(1)
    }

    fn limit(&self, limit: ReadLimit) -> i64 {
        let offsets = self.offsets();
        match limit {
            ReadLimit::HighWatermark => offsets.high_watermark,
            ReadLimit::LastStable => offsets.last_stable,
            ReadLimit::LogEnd => offsets.log_end,
        }
    }

    /// `None` at or behind the limit, where there is nothing to read.
    fn plan(&self, offset: i64, limit: ReadLimit) -> Result<Option<Plan>, ReadError> {
        let offsets = self.offsets();
        if offset < offsets.log_start || offset > offsets.log_end {
            return Err(ReadError::OutOfRange { offset, log_start: offsets.log_start, log_end: offsets.log_end });
        }
        let limit_offset = self.limit(limit);
        if offset >= limit_offset {
            return Ok(None);
        }
        let Some(at) = self.segment_at(offset) else { return Err(missing(offset)) };
        let segment = self.segments[at].clone();
        let next_base = self.segments.get(at + 1).map(|next| next.base_offset);
        let (limit_offset, limit_position) = match next_base {
            Some(base) if base <= limit_offset => (base, Some(u32::MAX)),
            _ if limit_offset == self.high_watermark && self.watermark_at.0 == segment.base_offset => {
                (limit_offset, Some(self.watermark_at.1))
            }
            _ if limit_offset == self.log_end => (limit_offset, Some(u32::MAX)),
            _ => (limit_offset, None),
        };
        Ok(Some(Plan { segment, limit_offset, limit_position, next_base, offsets }))
    }
}

fn missing(offset: i64) -> ReadError {
    ReadError::Storage(StorageError::Damaged {
        path: "the log".into(),
        what: format!("the segment with offset {offset} is missing"),
    })
}

impl Partition {
    /// Reads whole batches from the one that holds `offset` on: at most `max_bytes`, but the first one whole if `at_least_one`. With
    /// `Access::Hot` nothing is waited for: [`ReadError::Cold`] asks to come again with `Access::Blocking`, off the async threads.
    pub fn read(
        &self,
        offset: i64,
        max_bytes: usize,
        limit: ReadLimit,
        at_least_one: bool,
        access: Access,
    ) -> Result<ReadOutcome, ReadError> {
        let plan = {
            let view = self.view.lock();
            view.status.readable(&self.topic)?;
            match view.plan(offset, limit)? {
                Some(plan) => plan,
                None => {
                    return Ok(ReadOutcome {
                        records: Vec::new(),
                        bytes: 0,
                        next_offset: offset,
                        offsets: view.offsets(),
                    });
                }
            }
        };
        let base = plan.segment.base_offset;
        let request = SegmentRequest {
            offset,
            max_bytes,
            at_least_one,
            limit_offset: plan.limit_offset,
            limit_position: plan.limit_position,
            hint: self.cursors.lock().find(offset, base),
            access,
        };
        let offsets = plan.offsets;
        match reader::read(&plan.segment, &request).inspect_err(|error| self.report(error))? {
            SegmentOutcome::Batches(batches) => {
                self.cursors.lock().keep(offset, batches.next_offset, base, batches.end);
                let bytes = batches.chunk.len();
                Ok(ReadOutcome { records: vec![batches.chunk], bytes, next_offset: batches.next_offset, offsets })
            }
            SegmentOutcome::TooLarge => Ok(ReadOutcome { records: Vec::new(), bytes: 0, next_offset: offset, offsets }),
            SegmentOutcome::Nothing => Err(self.gap(offset, &plan)),
        }
    }

    fn report(&self, error: &ReadError) {
        if matches!(error, ReadError::Corrupt { .. } | ReadError::Storage(_)) {
            tracing::error!(partition = %self.name(), %error, "read failed");
        }
    }

    /// Offsets that were there once and are in no segment: an error for exactly them, never a jump to what comes behind.
    fn gap(&self, offset: i64, plan: &Plan) -> ReadError {
        let what = match plan.next_base {
            Some(next) => format!("offset {offset} and those up to {next} are missing"),
            None => format!("offset {offset} is missing"),
        };
        let error = ReadError::Storage(StorageError::Damaged { path: plan.segment.path("log"), what });
        self.report(&error);
        error
    }
}
