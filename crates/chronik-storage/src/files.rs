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
}

impl FileCache {
    pub(crate) fn new(disk: Arc<dyn Disk>, open_max: usize) -> Self {
        FileCache { disk, clock: Mutex::new(VecDeque::new()), open_max: open_max.max(1) }
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
