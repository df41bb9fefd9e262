//! The open segment files, of which there is a bounded number: ten thousand partitions must not need ten thousand descriptors.
//!
//! A segment holds its open file in a slot; the cache holds the segments whose slots are filled, in the order of a clock: the hand clears
//! the mark of a segment that was used since it last came by, and empties the slot of one that was not. A reader that still holds the
//! file keeps it open until it is done.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::disk::{Disk, DiskFile, OpenMode};
use crate::segment::LoadedIndexes;

/// Where a segment keeps its open file.
#[derive(Debug, Default)]
pub(crate) struct FileSlot {
    file: Mutex<Option<Arc<dyn DiskFile>>>,
    used: AtomicBool,
}

impl FileSlot {
    /// Forgets the open file.
    pub(crate) fn close(&self) {
        self.file.lock().take();
    }
}

/// The bounded set of open segment files.
#[derive(Debug)]
pub(crate) struct FileCache {
    disk: Arc<dyn Disk>,
    clock: Mutex<VecDeque<Weak<FileSlot>>>,
    open_max: usize,
    indexes: Mutex<IndexCache>,
}

/// Indexes of sealed segments take this much memory at most; the oldest are loaded again when they are needed.
const INDEX_BYTES_MAX: usize = 32 << 20;

#[derive(Debug, Default)]
struct IndexCache {
    loaded: VecDeque<(LoadedIndexes, usize)>,
    bytes: usize,
}

impl FileCache {
    pub(crate) fn new(disk: Arc<dyn Disk>, open_max: usize) -> Self {
        FileCache { disk, clock: Mutex::default(), open_max: open_max.max(1), indexes: Mutex::default() }
    }

    /// The disk that the files are on.
    pub(crate) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// The open file of a slot; opens `path` if the slot is empty.
    pub(crate) fn open(
        &self,
        slot: &Arc<FileSlot>,
        path: impl FnOnce() -> std::path::PathBuf,
    ) -> io::Result<Arc<dyn DiskFile>> {
        let mut held = slot.file.lock();
        slot.used.store(true, Ordering::Relaxed);
        if let Some(file) = held.as_ref() {
            return Ok(file.clone());
        }
        let file = self.disk.open(&path(), OpenMode::ReadWrite)?;
        *held = Some(file.clone());
        drop(held);
        self.admit(slot);
        Ok(file)
    }

    /// Creates the file of a slot, or empties the one that is there.
    pub(crate) fn create(&self, slot: &Arc<FileSlot>, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(path, OpenMode::Truncate)?;
        *slot.file.lock() = Some(file.clone());
        slot.used.store(true, Ordering::Relaxed);
        self.admit(slot);
        Ok(file)
    }

    /// How many files the cache holds open, at most: a slot that was closed or dropped is counted until the hand comes by.
    pub(crate) fn len(&self) -> usize {
        self.clock.lock().len()
    }

    /// Counts indexes that were loaded, and drops the oldest ones if there are too many. No segment's lock may be held.
    pub(crate) fn admit_indexes(&self, indexes: LoadedIndexes, bytes: usize) {
        // Empty ones count too, so that the list itself is bounded.
        let bytes = bytes.max(1024);
        let mut cache = self.indexes.lock();
        cache.loaded.push_back((indexes, bytes));
        cache.bytes += bytes;
        while cache.bytes > INDEX_BYTES_MAX && cache.loaded.len() > 1 {
            let Some((oldest, bytes)) = cache.loaded.pop_front() else { break };
            oldest.drop_indexes();
            cache.bytes -= bytes;
        }
    }

    fn admit(&self, slot: &Arc<FileSlot>) {
        let mut clock = self.clock.lock();
        // Two turns of the hand clear every mark, so this ends with a victim.
        let mut steps = clock.len() * 2 + 1;
        while clock.len() >= self.open_max && steps > 0 {
            steps -= 1;
            let Some(candidate) = clock.pop_front() else { break };
            let Some(candidate) = candidate.upgrade() else { continue };
            if candidate.used.swap(false, Ordering::Relaxed) {
                clock.push_back(Arc::downgrade(&candidate));
            } else if let Some(mut held) = candidate.file.try_lock() {
                held.take();
            } else {
                // Somebody is opening or using it at this moment, so it is no victim.
                clock.push_back(Arc::downgrade(&candidate));
            }
        }
        clock.push_back(Arc::downgrade(slot));
    }
}
