//! Control records: what a transaction coordinator writes into a partition to end a transaction there.
//!
//! A control batch is transactional, carries no sequence and holds one record with the key `version, type` and, for a transaction marker,
//! the value `version, coordinator epoch` (Kafka's `ControlRecordType` and `EndTransactionMarker`).

use bytes::Bytes;

use crate::batch::{BatchBuilder, NO_SEQUENCE};
use crate::compression::CompressError;

/// What a control record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlType {
    /// The producer's open transaction in this partition is aborted.
    Abort,
    /// It is committed.
    Commit,
    /// A type that has no meaning in a topic's partitions (the Raft log's), or a later one.
    Other(i16),
}

impl ControlType {
    fn from_id(id: i16) -> Self {
        match id {
            0 => ControlType::Abort,
            1 => ControlType::Commit,
            other => ControlType::Other(other),
        }
    }

    fn id(self) -> i16 {
        match self {
            ControlType::Abort => 0,
            ControlType::Commit => 1,
            ControlType::Other(id) => id,
        }
    }
}

/// Why bytes are not a control record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// No key, or one that is shorter than version and type.
    #[error("control record key has {0} bytes, 4 are needed")]
    Key(usize),
    /// A marker's value is shorter than version and epoch.
    #[error("control record value has {0} bytes, 6 are needed")]
    Value(usize),
    /// A negative version.
    #[error("control record version {0}")]
    Version(i16),
}

/// The end of a transaction in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndTransactionMarker {
    /// Commit or abort.
    pub control_type: ControlType,
    /// Epoch of the transaction coordinator that wrote the marker: an older one must not write again.
    pub coordinator_epoch: i32,
}

/// The type in a control record's key. Later versions may only add fields, so longer keys are fine.
pub fn parse_key(key: Option<&[u8]>) -> Result<ControlType, ControlError> {
    let key = key.unwrap_or_default();
    let Some(&[v0, v1, t0, t1]) = key.first_chunk::<4>() else { return Err(ControlError::Key(key.len())) };
    let version = i16::from_be_bytes([v0, v1]);
    if version < 0 {
        return Err(ControlError::Version(version));
    }
    Ok(ControlType::from_id(i16::from_be_bytes([t0, t1])))
}

impl EndTransactionMarker {
    /// The marker in a control record, `None` when it is a control record of another kind.
    pub fn parse(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Option<Self>, ControlError> {
        let control_type = parse_key(key)?;
        if let ControlType::Other(_) = control_type {
            return Ok(None);
        }
        let value = value.unwrap_or_default();
        let Some(&[v0, v1, e0, e1, e2, e3]) = value.first_chunk::<6>() else {
            return Err(ControlError::Value(value.len()));
        };
        let version = i16::from_be_bytes([v0, v1]);
        if version < 0 {
            return Err(ControlError::Version(version));
        }
        Ok(Some(EndTransactionMarker { control_type, coordinator_epoch: i32::from_be_bytes([e0, e1, e2, e3]) }))
    }

    /// The record's key.
    pub fn key(&self) -> [u8; 4] {
        let [t0, t1] = self.control_type.id().to_be_bytes();
        [0, 0, t0, t1]
    }

    /// The record's value.
    pub fn value(&self) -> [u8; 6] {
        let [e0, e1, e2, e3] = self.coordinator_epoch.to_be_bytes();
        [0, 0, e0, e1, e2, e3]
    }

    /// The control batch that ends `producer_id`'s transaction.
    pub fn batch(&self, producer_id: i64, producer_epoch: i16, now_ms: i64) -> Result<Bytes, CompressError> {
        let mut builder =
            BatchBuilder::new().producer(producer_id, producer_epoch, NO_SEQUENCE).transactional().control();
        builder.push(now_ms, Some(&self.key()), Some(&self.value()), &[]);
        builder.build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;
    use crate::record::RecordIter;

    #[test]
    fn a_marker_survives_the_way_through_a_control_batch() {
        for control_type in [ControlType::Abort, ControlType::Commit] {
            let marker = EndTransactionMarker { control_type, coordinator_epoch: 7 };
            let bytes = marker.batch(1000, 3, 1_700_000_000_000).unwrap();
            let batch = Batch::parse(&bytes).unwrap();
            batch.check_crc().unwrap();
            assert!(batch.header.is_control() && batch.header.is_transactional());
            assert_eq!(
                (batch.header.producer_id, batch.header.producer_epoch, batch.header.base_sequence),
                (1000, 3, -1)
            );
            let record = RecordIter::new(batch.payload(), batch.header.records_count).next().unwrap().unwrap();
            assert_eq!(EndTransactionMarker::parse(record.key, record.value), Ok(Some(marker)));
        }
    }

    #[test]
    fn short_keys_and_values_are_errors_and_other_types_are_not_markers() {
        assert_eq!(parse_key(None), Err(ControlError::Key(0)));
        assert_eq!(parse_key(Some(&[0, 0, 0])), Err(ControlError::Key(3)));
        assert_eq!(parse_key(Some(&[0xff, 0xff, 0, 0])), Err(ControlError::Version(-1)));
        assert_eq!(parse_key(Some(&[0, 9, 0, 1, 5, 5])), Ok(ControlType::Commit));
        assert_eq!(EndTransactionMarker::parse(Some(&[0, 0, 0, 2]), None), Ok(None));
        assert_eq!(EndTransactionMarker::parse(Some(&[0, 0, 0, 1]), Some(&[0; 5])), Err(ControlError::Value(5)));
    }
}
