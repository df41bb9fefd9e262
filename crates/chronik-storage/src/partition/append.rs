//! Appending: sequence, offset, segment and journal, all under the partition's lock, so that their order is one.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use chronik_protocol::batch::{BatchHeader, PATCHED_SIZE, crc32c, patch};
use chronik_protocol::validate::PreparedBatch;

use super::{Log, Partition, Pending, Status, TopicIdPartition};
use crate::config::LogConfig;
use crate::env::Durability;
use crate::error::{AppendError, StorageError};
use crate::journal::{CommitTarget, Entry, EntryMeta};
use crate::producers::Verdict;
use crate::segment::{AppendFailure, Segment};

/// Topics of the broker itself may use what is kept in reserve when the disk is almost full: offsets and markers still work then.
const INTERNAL_PREFIX: &str = "__";

/// Where a batch is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record.
    pub base_offset: i64,
    /// Offset of its last record: wait for it with [`Partition::committed`].
    pub last_offset: i64,
    /// When the broker appended it, for topics with `LogAppendTime`.
    pub log_append_time_ms: Option<i64>,
    /// The first offset of the partition.
    pub log_start_offset: i64,
    /// Whether it was there already: a producer's retry.
    pub duplicate: bool,
}

impl Partition {
    /// Appends a batch. It is in the page cache and on its way to the journal when this returns; it is durable, and visible to consumers,
    /// when [`Partition::committed`] resolves. `frame` is the buffer that the batch borrows from, if it does: the journal then holds on to
    /// it instead of copying. Never waits for the disk, but for a write to the page cache.
    pub fn append(
        self: &Arc<Self>,
        batch: &PreparedBatch<'_>,
        frame: Option<&Bytes>,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        let mut log = self.log.lock();
        self.view.lock().status.writable(&self.topic, self.id.partition)?;
        if let Verdict::Duplicate(known) = log.producers.check(&batch.header)? {
            return Ok(Appended {
                base_offset: known.base_offset(),
                last_offset: known.last_offset,
                log_append_time_ms: batch.log_append_time_ms.map(|_| known.timestamp_ms),
                log_start_offset: self.view.lock().log_start,
                duplicate: true,
            });
        }
        if self.env.low_space.load(Ordering::Relaxed) && !self.topic.starts_with(INTERNAL_PREFIX) {
            return Err(StorageError::NoSpace.into());
        }
        let header = batch.header.with_position(log.next_offset, log.leader_epoch);
        let pending = self.write(&mut log, &header, &batch.bytes, now_ms)?;
        let step = log.producers.update(&header, now_ms);
        log.next_offset = header.next_offset();
        self.dirty.store(true, Ordering::Release);
        let log_start_offset = {
            let mut view = self.view.lock();
            view.log_end = header.next_offset();
            view.pending.push_back(pending);
            if let Some(step) = step {
                view.transactions.apply(step);
            }
            view.log_start
        };
        self.hand_over(&mut log, &header, batch, frame)?;
        let (base_offset, last_offset) = (header.base_offset, header.last_offset());
        drop(log);
        if self.env.durability == Durability::Os {
            self.advance(last_offset);
        }
        let log_append_time_ms = batch.log_append_time_ms;
        Ok(Appended { base_offset, last_offset, log_append_time_ms, log_start_offset, duplicate: false })
    }

    /// Writes a batch into the active segment, rolling to a new one if it does not fit.
    fn write(&self, log: &mut Log, header: &BatchHeader, bytes: &[u8], now_ms: i64) -> Result<Pending, StorageError> {
        let segment = self.segment_for(log, header, now_ms)?;
        let mut head = [0; PATCHED_SIZE];
        head.copy_from_slice(&bytes[..PATCHED_SIZE]);
        patch(&mut head, header.base_offset, header.partition_leader_epoch);
        let interval = u32::try_from(log.config.index_interval_bytes).unwrap_or(0);
        match segment.append(header, [&head, &bytes[PATCHED_SIZE..]], interval) {
            Ok(start) => Ok(Pending {
                last_offset: header.last_offset(),
                segment_base: segment.base_offset,
                start,
                end: segment.size(),
            }),
            Err(AppendFailure::Clean(error)) => Err(StorageError::io("appending to", segment.path("log"))(error)),
            Err(AppendFailure::Torn(error)) => {
                self.fail(&format!("a batch could not be written whole, nor cut off again: {error}"));
                Err(StorageError::io("appending to", segment.path("log"))(error))
            }
        }
    }

    /// Gives a written batch to the journal. Without one, what `flush.messages` asks for happens here.
    fn hand_over(
        self: &Arc<Self>,
        log: &mut Log,
        header: &BatchHeader,
        batch: &PreparedBatch<'_>,
        frame: Option<&Bytes>,
    ) -> Result<(), StorageError> {
        if self.env.durability == Durability::Os {
            log.unflushed_messages += i64::from(header.last_offset_delta) + 1;
            if log.unflushed_messages >= log.config.flush_messages {
                self.flush(log)?;
            }
            return Ok(());
        }
        let rest = match (&batch.bytes, frame) {
            (Cow::Borrowed(bytes), Some(frame)) if is_part(bytes, frame) => frame.slice_ref(&bytes[PATCHED_SIZE..]),
            (bytes, _) => Bytes::copy_from_slice(&bytes[PATCHED_SIZE..]),
        };
        let mut head = [0; PATCHED_SIZE];
        head.copy_from_slice(&batch.bytes[..PATCHED_SIZE]);
        patch(&mut head, header.base_offset, header.partition_leader_epoch);
        self.submit(Entry { meta: self.entry_meta(header), head, rest });
        Ok(())
    }

    /// Queues an entry for the journal; without a committer, because the journal has failed, the batch waits for the next session.
    pub(super) fn submit(self: &Arc<Self>, entry: Entry) {
        match self.env.committer() {
            Some(committer) if committer.submit(entry, self.clone() as Arc<dyn CommitTarget>).is_ok() => {}
            _ => {
                self.set_status(Status::Fenced("the journal has failed and is being re-opened".into()));
            }
        }
    }

    pub(super) fn entry_meta(&self, header: &BatchHeader) -> EntryMeta {
        EntryMeta {
            topic_id: self.id.topic_id,
            partition: self.id.partition,
            leader_epoch: header.partition_leader_epoch,
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            producer_id: header.producer_id,
            producer_epoch: header.producer_epoch,
            attributes: header.attributes,
            base_sequence: header.base_sequence,
            max_timestamp_ms: header.max_timestamp,
        }
    }

    /// Syncs the active segment, as `flush.messages` and `flush.ms` ask.
    pub(super) fn flush(&self, log: &mut Log) -> Result<(), StorageError> {
        log.unflushed_messages = 0;
        let Some(active) = &log.active else { return Ok(()) };
        active.sync().map(drop).map_err(|error| {
            self.fail(&format!("sync failed: {error}"));
            StorageError::io("syncing", active.path("log"))(error)
        })
    }

    /// The segment that the next batch goes to.
    fn segment_for(&self, log: &mut Log, header: &BatchHeader, now_ms: i64) -> Result<Arc<Segment>, StorageError> {
        if let Some(active) = &log.active {
            let segment_bytes = u32::try_from(log.config.segment_bytes).unwrap_or(0);
            let index_bytes = usize::try_from(log.config.segment_index_bytes).unwrap_or(0);
            let due = active.size() > 0 && is_due(active, header, log, now_ms);
            if !due && active.has_room(header, segment_bytes, index_bytes) {
                return Ok(active.clone());
            }
        }
        self.roll(log, now_ms)
    }

    /// Seals the active segment and begins a new one at the end of the log.
    pub(super) fn roll(&self, log: &mut Log, now_ms: i64) -> Result<Arc<Segment>, StorageError> {
        let next = log.next_offset;
        if let Some(active) = log.active.clone().filter(|active| active.base_offset == next) {
            return Ok(active);
        }
        let created = Segment::create(self.dir.clone(), self.env.files.clone(), next, now_ms);
        let segment = Arc::new(created.map_err(StorageError::io("creating a segment in", &*self.dir))?);
        if log.config.preallocate {
            let reserved = segment.file().and_then(|file| reserve(&*file, log.config.segment_bytes));
            reserved.map_err(StorageError::io("preallocating", segment.path("log")))?;
        }
        if let Some(sealed) = log.active.replace(segment.clone()) {
            sealed.finish_time_index();
            if log.config.preallocate {
                sealed.trim().map_err(StorageError::io("trimming", sealed.path("log")))?;
            }
            log.sealed.push(sealed);
        }
        log.roll_jitter_ms = roll_jitter(self.id, next, &log.config);
        self.dirty.store(true, Ordering::Release);
        let mut view = self.view.lock();
        if view.pending.is_empty() && view.high_watermark == next {
            view.watermark_at = (next, 0);
        }
        view.segments.push(segment.clone());
        Ok(segment)
    }
}

/// Whether `segment.ms` is over: by the records' own time if they have one, as in Kafka, otherwise by ours.
fn is_due(active: &Segment, header: &BatchHeader, log: &Log, now_ms: i64) -> bool {
    let age = match active.first_timestamp() {
        Some(first) => header.max_timestamp.saturating_sub(first),
        None => now_ms.saturating_sub(active.created_ms()),
    };
    age > log.config.segment_ms.saturating_sub(log.roll_jitter_ms)
}

/// How much earlier a segment is rolled: spread over partitions, so that not all roll at once, and the same for the same segment.
pub(super) fn roll_jitter(id: TopicIdPartition, base_offset: i64, config: &LogConfig) -> i64 {
    let limit = config.segment_jitter_ms.min(config.segment_ms);
    if limit <= 0 {
        return 0;
    }
    let mut seed = [0; 28];
    seed[..16].copy_from_slice(id.topic_id.as_bytes());
    seed[16..20].copy_from_slice(&id.partition.to_be_bytes());
    seed[20..].copy_from_slice(&base_offset.to_be_bytes());
    i64::from(crc32c(&seed)) % limit
}

/// Reserves the room of a whole segment without making it longer than what is written.
fn reserve(file: &dyn crate::disk::DiskFile, segment_bytes: i32) -> io::Result<()> {
    file.preallocate(u64::try_from(segment_bytes).unwrap_or(0))?;
    Ok(())
}

fn is_part(bytes: &[u8], frame: &Bytes) -> bool {
    let (inner, outer) = (bytes.as_ptr_range(), frame.as_ptr_range());
    inner.start >= outer.start && inner.end <= outer.end
}
