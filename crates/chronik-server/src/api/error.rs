//! Every error of the storage → Kafka's code. No wildcard: a new error has to be given its code here.

use chronik_protocol::ErrorCode;
use chronik_storage::{AppendError, ReadError, SequenceError, StorageError};

pub(crate) fn storage(error: &StorageError) -> ErrorCode {
    match error {
        StorageError::Io { .. }
        | StorageError::Journal(_)
        | StorageError::Damaged { .. }
        | StorageError::Offline { .. }
        | StorageError::NoSpace => ErrorCode::KafkaStorageError,
        StorageError::Deleted => ErrorCode::UnknownTopicOrPartition,
        // The broker stops: the client looks for the leader again, and finds it when we are back.
        StorageError::Closed => ErrorCode::NotLeaderOrFollower,
    }
}

pub(crate) fn append(error: &AppendError) -> ErrorCode {
    match error {
        AppendError::Sequence(SequenceError::OldEpoch { .. }) => ErrorCode::InvalidProducerEpoch,
        AppendError::Sequence(SequenceError::OutOfOrder { .. }) => ErrorCode::OutOfOrderSequenceNumber,
        AppendError::Storage(error) => storage(error),
    }
}

pub(crate) fn read(error: &ReadError) -> ErrorCode {
    match error {
        ReadError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        ReadError::Corrupt { .. } => ErrorCode::CorruptMessage,
        // Only `Access::Hot` gives it, and whoever asks so reads again with `Access::Blocking`.
        ReadError::Cold => ErrorCode::KafkaStorageError,
        ReadError::Storage(error) => storage(error),
    }
}
