//! What all partitions of a store share: the disk, the open files, the journal's committer, and a few settings.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use parking_lot::RwLock;

use crate::disk::Disk;
use crate::files::FileCache;
use crate::journal::Committer;

/// When an append counts as done: `chronik.durability`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// When it is on stable storage.
    #[default]
    Fsync,
    /// When the operating system has it, as in Apache Kafka: it survives a killed process, not a power cut.
    Os,
}

/// A moment, on both clocks: the wall clock can jump, the other one cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds since 1970.
    pub wall_ms: i64,
    /// Milliseconds since some fixed point in this process's life.
    pub monotonic_ms: i64,
}

#[derive(Debug)]
pub(crate) struct Env {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) files: Arc<FileCache>,
    pub(crate) data_dir: Arc<Path>,
    pub(crate) durability: Durability,
    /// The committer of the current session; none with `Durability::Os`, and while the journal is being re-opened.
    committer: RwLock<Option<Arc<Committer>>>,
    pub(crate) producer_expiration_ms: AtomicI64,
    /// Whether the disk has less room than is kept in reserve.
    pub(crate) low_space: AtomicBool,
    /// Whether a log start has moved since the checkpoint file was written.
    pub(crate) log_starts_moved: AtomicBool,
}

impl Env {
    pub(crate) fn new(disk: Arc<dyn Disk>, data_dir: Arc<Path>, durability: Durability, open_files_max: usize) -> Self {
        Env {
            files: Arc::new(FileCache::new(disk.clone(), open_files_max)),
            disk,
            data_dir,
            durability,
            committer: RwLock::new(None),
            producer_expiration_ms: AtomicI64::new(86_400_000),
            low_space: AtomicBool::new(false),
            log_starts_moved: AtomicBool::new(false),
        }
    }

    /// The committer of the current session.
    pub(crate) fn committer(&self) -> Option<Arc<Committer>> {
        self.committer.read().clone()
    }

    pub(crate) fn set_committer(&self, committer: Option<Arc<Committer>>) -> Option<Arc<Committer>> {
        std::mem::replace(&mut *self.committer.write(), committer)
    }

    pub(crate) fn expiration_ms(&self) -> i64 {
        self.producer_expiration_ms.load(Ordering::Relaxed)
    }
}
