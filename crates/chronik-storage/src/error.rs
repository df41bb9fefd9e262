//! What can go wrong in the store, one enum per kind of operation.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use crate::journal::JournalError;
use crate::producers::SequenceError;

/// Why the store, or one partition of it, cannot do its work. To clients this is `KAFKA_STORAGE_ERROR`.
#[derive(Debug, Clone, Error)]
pub enum StorageError {
    /// A file operation failed.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The journal failed.
    #[error("journal: {0}")]
    Journal(Arc<JournalError>),
    /// Files of a partition are damaged or missing in a way that cannot be repaired without losing records silently.
    #[error("{}: {what}", path.display())]
    Damaged {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The partition is out of service after an earlier failure.
    #[error("partition {partition} is out of service: {why}")]
    Offline {
        /// Topic and partition.
        partition: String,
        /// The failure.
        why: String,
    },
    /// The partition was deleted.
    #[error("the partition was deleted")]
    Deleted,
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// Less room is left on the disk than is kept in reserve for offsets and markers.
    #[error("the disk is almost full: what is left is kept for the broker's own records")]
    NoSpace,
}

impl StorageError {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> StorageError {
        let path = path.into();
        move |source| StorageError::Io { action, path, source: Arc::new(source) }
    }
}

impl From<JournalError> for StorageError {
    fn from(error: JournalError) -> Self {
        StorageError::Journal(Arc::new(error))
    }
}

/// Why a batch was not appended.
#[derive(Debug, Clone, Error)]
pub enum AppendError {
    /// The producer's sequence or epoch does not fit.
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    /// The partition cannot write.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Why a read gave nothing.
#[derive(Debug, Clone, Error)]
pub enum ReadError {
    /// The offset is before the log start or behind the log end: `OFFSET_OUT_OF_RANGE`.
    #[error("offset {offset} is not within {log_start} to {log_end}")]
    OutOfRange {
        /// The offset that was asked for.
        offset: i64,
        /// The first offset.
        log_start: i64,
        /// The offset behind the last.
        log_end: i64,
    },
    /// The batch at this offset is damaged: `CORRUPT_MESSAGE`.
    #[error("the batch at offset {offset} of {} is damaged", path.display())]
    Corrupt {
        /// The offset that was asked for.
        offset: i64,
        /// The segment that holds it.
        path: PathBuf,
    },
    /// The bytes are not in the page cache: ask again with `Access::Blocking`, off the async threads.
    #[error("the bytes are not in memory")]
    Cold,
    /// The partition cannot be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
}
