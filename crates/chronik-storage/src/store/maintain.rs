//! What the store does in the background: checkpoints, retention, deletion, a new journal for one that has failed, the end.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Store, wall_ms};
use crate::checkpoints::{self, LOG_STARTS, OffsetMap, RECOVERY_POINTS};
use crate::disk::write_atomically;
use crate::env::Moment;
use crate::error::StorageError;
use crate::journal::{Position, SessionId, Usage};
use crate::partition::{Covered, Partition, TopicIdPartition};

/// So many partitions are synced file by file; more of them by one sync of the file system.
const SYNC_EACH_MAX: usize = 32;
const DELETE_SUFFIX: &str = "-delete";
/// Kafka's limit on the names of partition directories.
const DIR_NAME_MAX: usize = 255;

/// What a round of maintenance did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Maintained {
    /// Segments that retention took out of their logs.
    pub segments_expired: usize,
    /// Their bytes.
    pub bytes_expired: u64,
    /// Producers that were forgotten.
    pub producers_expired: usize,
    /// Whether a new journal was begun in place of one that had failed.
    pub journal_replaced: bool,
}

impl Store {
    /// Makes everything durable in the segments, and lets the journal go that held it until then. Blocking; may run beside anything.
    pub fn checkpoint(&self) -> Result<(), StorageError> {
        self.checkpoint_to().map(drop)
    }

    /// As [`Store::checkpoint`]. Gives the position in the current journal before which everything is durable in the segments, unless some
    /// partition could not be covered.
    fn checkpoint_to(&self) -> Result<Option<Position>, StorageError> {
        let _one = self.checkpointing.lock();
        // The position comes first: what is journalled before it was written to a segment before that, and so is synced below.
        let (current, old, position) = {
            // Under this lock the committer is the present session's, or there is none.
            let sessions = self.sessions.lock();
            let position = self.env.committer().map(|committer| committer.position());
            (sessions.current, sessions.old.clone(), position)
        };
        let complete = self.complete.load(Ordering::Acquire);
        let (changed, mut intact) = self.checkpoint_partitions();
        intact &= complete;
        if self.new_dirs.swap(false, Ordering::AcqRel) {
            let data_dir = &*self.env.data_dir;
            self.env.disk.sync_dir(data_dir).map_err(StorageError::io("syncing", data_dir))?;
        }
        if changed {
            self.write_points()?;
        }
        self.write_log_starts()?;
        if !intact {
            return Ok(None);
        }
        for session in old {
            self.journals.remove(session)?;
            self.sessions.lock().old.retain(|kept| *kept != session);
        }
        match (current, position) {
            (Some(session), Some(position)) if self.sessions.lock().current == Some(session) => {
                self.journals.trim(session, position)?;
                Ok(Some(position))
            }
            _ => Ok(None),
        }
    }

    /// Whether a recovery point has moved, and whether every partition is covered.
    fn checkpoint_partitions(&self) -> (bool, bool) {
        let partitions = self.partitions();
        let sync_each = partitions.iter().filter(|partition| partition.is_dirty()).count() <= SYNC_EACH_MAX;
        let (mut covered, mut intact) = (Vec::new(), true);
        for partition in partitions {
            if partition.is_offline() {
                intact = false;
                continue;
            }
            match partition.checkpoint(sync_each) {
                Ok(Some(written)) => covered.push((partition, written)),
                Ok(None) => {}
                Err(_) if self.get(partition.id()).is_none() => {}
                Err(_) => intact = false,
            }
        }
        if !sync_each && !self.sync_all(&covered) {
            return (false, false);
        }
        let mut points = self.points.lock();
        for (partition, written) in &covered {
            // One that was deleted meanwhile leaves nothing behind.
            if self.get(partition.id()).is_some() {
                points.insert((partition.topic().to_owned(), partition.id().partition), written.recovery_point);
            }
        }
        (!covered.is_empty(), intact)
    }

    /// One sync for all files of many partitions.
    fn sync_all(&self, covered: &[(Arc<Partition>, Covered)]) -> bool {
        let data_dir = &*self.env.data_dir;
        match self.env.disk.sync_file_system(data_dir).map_err(StorageError::io("syncing", data_dir)) {
            Ok(()) => {
                covered.iter().for_each(|(partition, written)| partition.confirm(written));
                true
            }
            Err(error) => {
                covered.iter().for_each(|(partition, _)| partition.not_covered(&error));
                false
            }
        }
    }

    fn write_points(&self) -> Result<(), StorageError> {
        if !self.complete.load(Ordering::Acquire) && self.inheritance.lock().recovery_points.is_none() {
            // The file is damaged and not all partitions are open: written now, it would say of the others that nothing of them is synced.
            return Ok(());
        }
        let _one = self.writing.lock();
        let text = checkpoints::encode_offsets(&self.points.lock());
        let path = self.env.data_dir.join(RECOVERY_POINTS);
        write_atomically(&*self.env.disk, &path, text.as_bytes()).map_err(StorageError::io("writing", path))
    }

    /// Makes log starts durable that have moved since the last time. Blocking.
    pub fn write_log_starts(&self) -> Result<(), StorageError> {
        let _one = self.writing.lock();
        if !self.env.log_starts_moved.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let mut starts: OffsetMap = match self.complete.load(Ordering::Acquire) {
            true => OffsetMap::new(),
            // Partitions that were not opened yet keep what the last process wrote of them.
            false => self.inheritance.lock().log_starts.clone().unwrap_or_default(),
        };
        for partition in self.partitions().into_iter().filter(|partition| !partition.is_offline()) {
            let start = partition.log_start();
            if start > 0 {
                partition
                    .make_identity_durable()
                    .map_err(StorageError::io("writing partition.metadata in", partition.dir()))?;
            }
            starts.insert((partition.topic().to_owned(), partition.id().partition), start);
        }
        starts.retain(|_, start| *start > 0);
        let path = self.env.data_dir.join(LOG_STARTS);
        let text = checkpoints::encode_offsets(&starts);
        write_atomically(&*self.env.disk, &path, text.as_bytes()).map_err(|error| {
            self.env.log_starts_moved.store(true, Ordering::Release);
            StorageError::io("writing", path)(error)
        })
    }

    /// Says that all partitions that there are have been opened: what is left of others is removed, and the journals of earlier sessions may
    /// go with the next checkpoint. Blocking.
    pub fn recovered(&self) -> Result<(), StorageError> {
        {
            let mut inheritance = self.inheritance.lock();
            inheritance.footers = Default::default();
            inheritance.recovery_points = Some(OffsetMap::new());
            inheritance.log_starts = Some(OffsetMap::new());
        }
        let names: std::collections::HashSet<String> =
            self.partitions().iter().map(|partition| partition.name()).collect();
        let entries =
            self.env.disk.list(&self.env.data_dir).map_err(StorageError::io("listing", &*self.env.data_dir))?;
        for entry in entries.iter().filter(|entry| entry.is_dir && !names.contains(&entry.name)) {
            let dir = self.env.data_dir.join(&entry.name);
            let ours =
                self.env.disk.file_len(&dir.join(checkpoints::PARTITION_METADATA)).is_ok_and(|length| length.is_some());
            if ours && !entry.name.ends_with(DELETE_SUFFIX) {
                tracing::info!(directory = %entry.name, "directory of a topic that is not there any more: removed");
                self.set_aside(&dir, &entry.name)?;
            }
        }
        self.points.lock().retain(|(topic, partition), _| names.contains(&format!("{topic}-{partition}")));
        self.complete.store(true, Ordering::Release);
        Ok(())
    }

    /// Deletes partitions: when this returns they are gone, whatever happens; their files go a little later. Blocking.
    pub fn delete(&self, ids: &[TopicIdPartition]) -> Result<(), StorageError> {
        let deleted: Vec<Arc<Partition>> = {
            let mut partitions = self.partitions.write();
            ids.iter().filter_map(|id| partitions.remove(id)).collect()
        };
        for partition in &deleted {
            partition.mark_deleted();
            self.points.lock().remove(&(partition.topic().to_owned(), partition.id().partition));
            self.set_aside(partition.dir(), &partition.name())?;
        }
        if deleted.is_empty() {
            return Ok(());
        }
        self.env.log_starts_moved.store(true, Ordering::Release);
        self.write_log_starts()?;
        // Its directory sync makes the new names durable too.
        self.write_points()
    }

    /// Renames a partition's directory to one that is to be deleted. The caller syncs the data directory.
    pub(super) fn set_aside(&self, dir: &Path, name: &str) -> Result<(), StorageError> {
        let unique = SessionId::generate(None).map_err(StorageError::io("naming", dir))?;
        let suffix = format!(".{:032x}{DELETE_SUFFIX}", unique.0);
        let kept: String = name.chars().take(DIR_NAME_MAX - suffix.len()).collect();
        let target = self.env.data_dir.join(format!("{kept}{suffix}"));
        match self.env.disk.rename(dir, &target) {
            Ok(()) => self.trash.lock().add_dir(target, wall_ms()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(StorageError::io("renaming", dir)(error)),
        }
        Ok(())
    }

    /// Finds directories whose deletion was interrupted.
    pub(super) fn find_trash(&self) -> Result<(), StorageError> {
        let entries =
            self.env.disk.list(&self.env.data_dir).map_err(StorageError::io("listing", &*self.env.data_dir))?;
        let mut trash = self.trash.lock();
        for entry in entries.iter().filter(|entry| entry.is_dir && entry.name.ends_with(DELETE_SUFFIX)) {
            trash.add_dir(self.env.data_dir.join(&entry.name), 0);
        }
        Ok(())
    }

    /// A round of maintenance: replaces a journal that has failed, takes old segments out of their logs, deletes files whose delay is over,
    /// forgets silent producers. Blocking.
    pub fn maintain(&self, now: Moment) -> Result<Maintained, StorageError> {
        let mut done = Maintained { journal_replaced: self.replace_journal()?, ..Maintained::default() };
        let by_time = self.clock.lock().believes(now);
        let mut expired = Vec::new();
        for partition in self.partitions() {
            done.producers_expired += partition.expire_producers(now.wall_ms);
            let flushed = partition.flush_if_due();
            match flushed.and_then(|()| partition.expire_segments(now.wall_ms, by_time)) {
                Ok(found) if !found.segments.is_empty() => expired.push((partition, found)),
                Ok(_) => {}
                Err(error) => tracing::error!(partition = %partition.name(), %error, "maintenance failed"),
            }
        }
        if !expired.is_empty() {
            // Files go only after it is durable that their records are not part of the log any more, and what producers wrote in them.
            self.checkpoint()?;
        }
        for (partition, found) in expired {
            done.segments_expired += found.segments.len();
            done.bytes_expired += found.segments.iter().map(|segment| u64::from(segment.size())).sum::<u64>();
            tracing::info!(partition = %partition.name(), segments = found.segments.len(), log_start = partition.log_start(), "retention");
            self.trash.lock().add_segments(&*self.env.disk, &partition, &found, now.wall_ms);
        }
        self.empty_trash(now.wall_ms);
        Ok(done)
    }

    /// Syncs segments of which more than `bytes` are only in the page cache. Blocking.
    pub fn write_back(&self, bytes: u32) {
        for partition in self.partitions().into_iter().filter(|partition| !partition.is_offline()) {
            if let Err(error) = partition.write_back(bytes) {
                tracing::error!(partition = %partition.name(), %error, "write-back failed");
            }
        }
    }

    /// Deletes files whose delay is over.
    pub fn empty_trash(&self, now_ms: i64) {
        self.trash.lock().empty(&*self.env.disk, now_ms);
    }

    /// Keeps `reserve_bytes` of the disk for the broker's own records: with less than that, users' batches are refused. Says whether they are.
    pub fn keep_reserve(&self, reserve_bytes: u64) -> Result<bool, StorageError> {
        let (_, free) = self.space()?;
        let low = free < reserve_bytes;
        if self.env.low_space.swap(low, Ordering::Relaxed) != low {
            match low {
                true => tracing::error!(
                    free,
                    reserve_bytes,
                    "the disk is almost full: producers are refused until there is room"
                ),
                false => tracing::info!(free, reserve_bytes, "there is room on the disk again"),
            }
        }
        Ok(low)
    }

    /// Begins a new session if the journal of the present one has failed: what was durable stays visible, and what was not is given to the
    /// new journal, read back from the segments.
    pub fn replace_journal(&self) -> Result<bool, StorageError> {
        let _one = self.replacing.lock();
        let missing = self.env.durability == crate::env::Durability::Fsync && self.env.committer().is_none();
        let failed = self.env.committer().is_some_and(|committer| committer.has_failed());
        if !(failed || missing) || self.closed.load(Ordering::Acquire) {
            return Ok(false);
        }
        if let Some(committer) = self.env.set_committer(None) {
            // Joins the thread, so that every partition has heard of the failure.
            if let Err(error) = committer.shutdown() {
                tracing::error!(%error, "the journal has failed: beginning a new one");
            }
        }
        let ended = self.sessions.lock().current;
        if let Some(session) = ended {
            self.journals.seal(session)?;
            let mut sessions = self.sessions.lock();
            sessions.current = None;
            sessions.old.push(session);
        }
        self.begin_session()?;
        let mut resubmitted = 0;
        for partition in self.partitions().into_iter().filter(|partition| partition.is_fenced()) {
            match partition.resubmit() {
                Ok(()) => resubmitted += 1,
                Err(error) => {
                    tracing::error!(partition = %partition.name(), %error, "partition could not be taken over")
                }
            }
        }
        tracing::warn!(partitions = resubmitted, "a new journal was begun in place of one that had failed");
        Ok(true)
    }

    /// Waits until everything that was appended so far is durable. Blocking.
    pub fn flush(&self) {
        if let Some(committer) = self.env.committer() {
            // A failure is told to those who wait for their offsets.
            let _ = committer.flush();
        }
    }

    /// How much room the journals take: checkpoint well before the limit.
    pub fn journal_usage(&self) -> Usage {
        self.journals.usage()
    }

    /// Ends in good order: everything is durable in the segments, and the next start has nothing to replay. Blocking.
    pub fn close(&self) -> Result<(), StorageError> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.flush();
        let checkpointed = self.checkpoint_to();
        for partition in self.partitions() {
            partition.close();
        }
        let Some(committer) = self.env.set_committer(None) else { return checkpointed.map(drop) };
        let shut = committer.shutdown();
        let covered = checkpointed?;
        let end = shut?;
        let current = self.sessions.lock().current.take();
        // Whatever was appended since the checkpoint is in the journal alone: then the next start takes it over.
        if let Some(session) = current.filter(|_| covered == Some(end)) {
            self.journals.seal(session)?;
            self.journals.remove(session)?;
        }
        Ok(())
    }

    /// Bytes of each partition, and of the file system: all and free.
    pub fn space(&self) -> Result<(u64, u64), StorageError> {
        let stat = rustix::fs::statvfs(&*self.env.data_dir);
        let stat =
            stat.map_err(|errno| StorageError::io("asking for the free space of", &*self.env.data_dir)(errno.into()))?;
        Ok((stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if !self.closed.load(Ordering::Acquire) {
            // The committer's thread must not outlive the store; nothing else is finished, as after a crash.
            drop(self.env.set_committer(None));
        }
    }
}

/// The names of a partition's files, for those who delete them.
pub(crate) fn segment_files(partition: &Partition, base_offset: i64) -> Vec<std::path::PathBuf> {
    let names = ["log", "index", "timeindex", "txnindex"].map(|suffix| crate::segment::file_name(base_offset, suffix));
    names.into_iter().map(|name| partition.dir().join(name)).collect()
}
