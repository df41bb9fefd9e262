//! Looking after a partition: checkpoints, retention, DeleteRecords, expiry, the end.
//!
//! The order of a checkpoint: segments synced, indexes and small files written, names synced; only then may the caller write the recovery point,
//! and after that trim the journal. The order of a deletion: log start durable, and the successor's name; only then do segments go.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use chronik_protocol::batch::{BatchHeader, PATCHED_SIZE, check_crc};

use super::{Log, Partition, Status};
use crate::checkpoints;
use crate::config::LogConfig;
use crate::env::Durability;
use crate::error::{ReadError, StorageError};
use crate::journal::{Entry, HEAD_BYTES};
use crate::segment::{Access, Segment, file_name};

/// How many producer snapshots are kept: the last, and one to begin at should it be damaged.
const SNAPSHOTS_KEPT: usize = 2;
pub(crate) const EPOCHS_FILE: &str = "leader-epoch-checkpoint";
pub(crate) const DELETED_SUFFIX: &str = ".deleted";

/// What a checkpoint has to write, as it was under the lock.
struct Captured {
    recovery_point: i64,
    segments: Vec<Arc<Segment>>,
    sealed: Vec<Arc<Segment>>,
    active: Option<Arc<Segment>>,
    snapshot: Vec<u8>,
    /// Whether the segments do not hold all that the snapshot says, because older ones are gone.
    only_snapshot: bool,
    epochs: Option<String>,
}

/// What a checkpoint has written.
#[derive(Debug)]
pub(crate) struct Covered {
    /// Everything before is covered.
    pub(crate) recovery_point: i64,
    segments: Vec<(Arc<Segment>, u32)>,
}

/// Segments that retention has taken out of a partition: their files may go once the log start is durable.
#[derive(Debug)]
pub(crate) struct Expired {
    pub(crate) segments: Vec<Arc<Segment>>,
    pub(crate) delay_ms: i64,
}

impl Partition {
    /// Whether something was written since the last checkpoint.
    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty.load(Ordering::Acquire)
    }

    /// Writes everything that a checkpoint covers; `None` if nothing has changed since the last time. With `sync` it is durable when this
    /// returns; without, the caller syncs the file system and confirms.
    pub(crate) fn checkpoint(&self, sync: bool) -> Result<Option<Covered>, StorageError> {
        if !self.dirty.swap(false, Ordering::AcqRel) {
            return Ok(None);
        }
        let captured = self.capture();
        let segments = captured.segments.iter().map(|segment| (segment.clone(), segment.size())).collect();
        let covered = Covered { recovery_point: captured.recovery_point, segments };
        self.write_checkpoint(captured, sync).map(|()| Some(covered)).inspect_err(|error| self.not_covered(error))
    }

    /// Says that what a checkpoint covers was made durable.
    pub(crate) fn confirm(&self, covered: &Covered) {
        covered.segments.iter().for_each(|(segment, size)| segment.mark_synced(*size));
        self.metadata_durable.store(true, Ordering::Release);
    }

    /// Says that it was not: what has failed to become durable once is not believed later.
    pub(crate) fn not_covered(&self, error: &StorageError) {
        self.dirty.store(true, Ordering::Release);
        self.fail(&format!("checkpoint failed: {error}"));
    }

    fn capture(&self) -> Captured {
        let mut log = self.log.lock();
        let (segments, log_start) = {
            let view = self.view.lock();
            (view.segments.clone(), view.log_start)
        };
        let has_records = log.active.is_some();
        Captured {
            recovery_point: log.next_offset,
            segments: segments.into_iter().filter(|segment| segment.unsynced() > 0).collect(),
            sealed: std::mem::take(&mut log.sealed),
            active: log.active.clone(),
            snapshot: log.producers.encode(),
            only_snapshot: log_start > 0 && log.producers.len() > 0,
            epochs: (has_records && log.epochs.take_dirty()).then(|| log.epochs.encode()),
        }
    }

    fn write_checkpoint(&self, captured: Captured, sync: bool) -> Result<(), StorageError> {
        let failed = |error| StorageError::io("checkpointing", &*self.dir)(error);
        for segment in captured.segments.iter().filter(|_| sync) {
            segment.sync().map_err(StorageError::io("syncing", segment.path("log")))?;
        }
        let active_base = captured.active.as_ref().map(|active| active.base_offset);
        for sealed in captured.sealed.iter().filter(|sealed| Some(sealed.base_offset) != active_base) {
            sealed.store_indexes(sync).map_err(failed)?;
            sealed.drop_indexes();
        }
        let Some(active) = captured.active else { return Ok(()) };
        active.store_indexes(false).map_err(failed)?;
        let disk = &*self.env.disk;
        // Otherwise it is not synced: it has a checksum, and can be made again from the one before it, or from the segments.
        let (snapshot, sync_snapshot) =
            (file_name(captured.recovery_point, "snapshot"), sync && captured.only_snapshot);
        checkpoints::replace(disk, &self.dir, &snapshot, &captured.snapshot, sync_snapshot).map_err(failed)?;
        if let Some(epochs) = captured.epochs {
            checkpoints::replace(disk, &self.dir, EPOCHS_FILE, epochs.as_bytes(), sync).map_err(failed)?;
        }
        if sync {
            self.make_identity_durable().map_err(failed)?;
            disk.sync_dir(&self.dir).map_err(failed)?;
        }
        self.drop_old_snapshots().map_err(failed)
    }

    /// Makes durable which topic the directory belongs to: needed before a checkpoint file says something about it. The caller syncs
    /// the data directory.
    pub(crate) fn make_identity_durable(&self) -> io::Result<()> {
        if self.metadata_durable.load(Ordering::Acquire) {
            return Ok(());
        }
        let (disk, metadata) = (&*self.env.disk, checkpoints::encode_metadata(self.id.topic_id));
        checkpoints::replace(disk, &self.dir, checkpoints::PARTITION_METADATA, metadata.as_bytes(), true)?;
        disk.sync_dir(&self.dir)?;
        self.metadata_durable.store(true, Ordering::Release);
        Ok(())
    }

    fn drop_old_snapshots(&self) -> io::Result<()> {
        let names = self.env.disk.list(&self.dir)?;
        let snapshots: Vec<_> = names.iter().filter(|entry| entry.name.ends_with(".snapshot")).collect();
        let excess = snapshots.len().saturating_sub(SNAPSHOTS_KEPT);
        snapshots[..excess].iter().try_for_each(|entry| self.env.disk.remove_file(&self.dir.join(&entry.name)))
    }

    /// Moves the log start to `before`, −1 meaning the high watermark; gives the log start. Whole segments before it go at the next
    /// maintenance. The caller makes the new log start durable.
    pub fn delete_records(&self, before: i64) -> Result<i64, ReadError> {
        let mut log = self.log.lock();
        let mut view = self.view.lock();
        view.status.writable(&self.topic, self.id.partition)?;
        let before = if before == -1 { view.high_watermark } else { before };
        if before < 0 || before > view.high_watermark {
            return Err(ReadError::OutOfRange {
                offset: before,
                log_start: view.log_start,
                log_end: view.high_watermark,
            });
        }
        if before > view.log_start {
            view.log_start = before;
            log.epochs.truncate_from_start(before);
            self.env.log_starts_moved.store(true, Ordering::Release);
            self.dirty.store(true, Ordering::Release);
        }
        Ok(view.log_start)
    }

    /// Takes segments that are too old, too many, or before the log start out of the log. `by_time` says whether the clock may be believed.
    pub(crate) fn expire_segments(&self, now_ms: i64, by_time: bool) -> Result<Expired, StorageError> {
        let mut log = self.log.lock();
        let config = log.config.clone();
        let none = Expired { segments: Vec::new(), delay_ms: config.file_delete_delay_ms };
        if self.view.lock().status.writable(&self.topic, self.id.partition).is_err() {
            return Ok(none);
        }
        let count = self.expired_count(&log, &config, now_ms, by_time)?;
        if count == 0 {
            return Ok(none);
        }
        let all = count == self.view.lock().segments.len();
        if all {
            // The log goes on at the same offset, and the name of the new segment is what remembers it.
            self.roll(&mut log, now_ms)?;
            self.env.disk.sync_dir(&self.dir).map_err(StorageError::io("syncing", &*self.dir))?;
        }
        let mut view = self.view.lock();
        let segments: Vec<_> = view.segments.drain(..count).collect();
        let first = view.segments.first().map_or(log.next_offset, |segment| segment.base_offset);
        view.log_start = view.log_start.max(first);
        log.epochs.truncate_from_start(view.log_start);
        log.sealed.retain(|sealed| sealed.base_offset >= first);
        drop(view);
        self.cursors.lock().clear();
        self.env.log_starts_moved.store(true, Ordering::Release);
        self.dirty.store(true, Ordering::Release);
        Ok(Expired { segments, delay_ms: config.file_delete_delay_ms })
    }

    /// How many segments from the oldest on may go.
    fn expired_count(&self, log: &Log, config: &LogConfig, now_ms: i64, by_time: bool) -> Result<usize, StorageError> {
        let (segments, log_start, high_watermark) = {
            let view = self.view.lock();
            (view.segments.clone(), view.log_start, view.high_watermark)
        };
        let deletes = config.cleanup_policy.delete;
        let mut excess = match config.retention_bytes {
            limit if limit < 0 || !deletes => 0,
            limit => segments.iter().map(|segment| i64::from(segment.size())).sum::<i64>() - limit,
        };
        for (at, segment) in segments.iter().enumerate() {
            let end = segments.get(at + 1).map_or(log.next_offset, |next| next.base_offset);
            let size = i64::from(segment.size());
            // What is not durable cannot be old, and an empty last segment has nothing to give back.
            if end > high_watermark || (size == 0 && at + 1 == segments.len()) {
                return Ok(at);
            }
            let too_many = deletes && excess >= size && excess > 0;
            let before_start = end <= log_start && at + 1 < segments.len();
            let too_old = deletes
                && by_time
                && config.retention_ms >= 0
                && self.is_older(segment, now_ms, config.retention_ms)?;
            if !too_many && !too_old && !before_start {
                return Ok(at);
            }
            excess -= size;
        }
        Ok(segments.len())
    }

    fn is_older(&self, segment: &Segment, now_ms: i64, retention_ms: i64) -> Result<bool, StorageError> {
        if segment.max_timestamp().is_none() {
            segment.with_indexes(|_| ()).map_err(StorageError::io("reading", segment.path("log")))?;
        }
        let newest = segment.max_timestamp().map_or(segment.created_ms(), |max| max.timestamp);
        Ok(now_ms.saturating_sub(newest) > retention_ms)
    }

    /// Forgets producers that were silent for too long.
    pub(crate) fn expire_producers(&self, now_ms: i64) -> usize {
        self.log.lock().producers.expire(now_ms, self.env.expiration_ms())
    }

    /// Syncs the active segment if more than `bytes` of it are only in the page cache: so the next checkpoint finds little to do, and the
    /// kernel has no reason to stall writers.
    pub(crate) fn write_back(&self, bytes: u32) -> Result<(), StorageError> {
        let active = self.log.lock().active.clone();
        let Some(active) = active.filter(|active| active.unsynced() > bytes) else { return Ok(()) };
        active.sync().map(drop).map_err(|error| {
            self.fail(&format!("sync failed: {error}"));
            StorageError::io("syncing", active.path("log"))(error)
        })
    }

    /// With `Durability::Os`, what `flush.ms` asks for.
    pub(crate) fn flush_if_due(&self) -> Result<(), StorageError> {
        let mut log = self.log.lock();
        if self.env.durability == Durability::Os && log.unflushed_messages > 0 && log.config.flush_ms < i64::MAX {
            return self.flush(&mut log);
        }
        Ok(())
    }

    /// Gives everything that is not durable to the journal of the present session, after the one before it has failed or ended. What is
    /// read back from the segment must be intact.
    pub(crate) fn resubmit(self: &Arc<Self>) -> Result<(), StorageError> {
        let log = self.log.lock();
        let pending: Vec<_> = self.view.lock().pending.iter().copied().collect();
        self.set_status(Status::Online);
        for batch in pending {
            let segment =
                self.view.lock().segments.iter().find(|segment| segment.base_offset == batch.segment_base).cloned();
            let Some(segment) = segment else { continue };
            let length = (batch.end - batch.start) as usize;
            let bytes = segment
                .read(Access::Blocking, batch.start, length)
                .map_err(StorageError::io("reading", segment.path("log")))?;
            let Some(entry) = bytes.filter(|bytes| check_crc(bytes).is_ok()).and_then(|bytes| self.entry(&bytes))
            else {
                let what = format!("the batch that ends at offset {} is damaged", batch.last_offset);
                self.fail(&what);
                return Err(StorageError::Damaged { path: segment.path("log"), what });
            };
            self.submit(entry);
        }
        drop(log);
        Ok(())
    }

    fn entry(&self, bytes: &Bytes) -> Option<Entry> {
        let header = BatchHeader::parse(bytes).ok()?;
        let mut head = [0; HEAD_BYTES];
        head.copy_from_slice(&bytes[..PATCHED_SIZE]);
        Some(Entry { meta: self.entry_meta(&header), head, rest: bytes.slice(PATCHED_SIZE..) })
    }

    /// The log start, for the checkpoint file.
    pub(crate) fn log_start(&self) -> i64 {
        self.view.lock().log_start
    }

    /// Finishes the active segment's indexes and closes all files; nothing can be done with the partition afterwards.
    pub(crate) fn close(&self) {
        let log = self.log.lock();
        if let Some(active) = &log.active {
            active.finish_time_index();
            if let Err(error) = active.trim().and_then(|()| active.store_indexes(false)) {
                tracing::warn!(partition = %self.name(), %error, "indexes were not written; the next start rebuilds them");
            }
        }
        self.set_status(Status::Closed);
        self.view.lock().segments.iter().for_each(|segment| segment.close());
    }

    /// Says that the partition is deleted: whoever waits is woken, nothing can be done with it any more.
    pub(crate) fn mark_deleted(&self) {
        let log = self.log.lock();
        self.set_status(Status::Deleted);
        self.view.lock().segments.iter().for_each(|segment| segment.close());
        drop(log);
    }
}
