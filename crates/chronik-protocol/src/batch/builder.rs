//! Builds a record batch: what producers and the broker's own coordinators do.

use bytes::Bytes;

use super::{
    BatchHeader, HEADER_SIZE, LOG_OVERHEAD, MAGIC, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, NO_TIMESTAMP,
};
use super::{TimestampType, write_crc};
use crate::compression::{CompressError, Compression, compress};
use crate::record::{encoded_size, write_record};

/// Gathers records and turns them into one batch.
///
/// Offsets count up from the base offset and timestamps are stored as differences from the first record's.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    header: BatchHeader,
    compression: Compression,
    /// Room for the header, then the records uncompressed.
    bytes: Vec<u8>,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchBuilder {
    /// An empty batch: uncompressed, base offset 0, no leader epoch, no producer.
    pub fn new() -> Self {
        Self::with_capacity(0)
    }

    /// An empty batch with room for `record_bytes` of records.
    pub fn with_capacity(record_bytes: usize) -> Self {
        let mut bytes = Vec::with_capacity(HEADER_SIZE + record_bytes);
        bytes.resize(HEADER_SIZE, 0);
        BatchBuilder {
            header: BatchHeader {
                base_offset: 0,
                batch_length: (HEADER_SIZE - LOG_OVERHEAD) as i32,
                partition_leader_epoch: -1,
                magic: MAGIC,
                crc: 0,
                attributes: 0,
                last_offset_delta: -1,
                base_timestamp: NO_TIMESTAMP,
                max_timestamp: NO_TIMESTAMP,
                producer_id: NO_PRODUCER_ID,
                producer_epoch: NO_PRODUCER_EPOCH,
                base_sequence: NO_SEQUENCE,
                records_count: 0,
            },
            compression: Compression::none(),
            bytes,
        }
    }

    /// Compresses the records.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// The idempotent producer and the sequence number of the first record.
    #[must_use]
    pub fn producer(mut self, producer_id: i64, producer_epoch: i16, base_sequence: i32) -> Self {
        self.set_producer(producer_id, producer_epoch, base_sequence);
        self
    }

    /// As [`Self::producer`], for a batch that already has records: sequence numbers are given out when a batch is closed.
    pub fn set_producer(&mut self, producer_id: i64, producer_epoch: i16, base_sequence: i32) {
        self.header.producer_id = producer_id;
        self.header.producer_epoch = producer_epoch;
        self.header.base_sequence = base_sequence;
    }

    /// Marks the batch as part of a transaction.
    #[must_use]
    pub fn transactional(mut self) -> Self {
        self.header.attributes |= super::TRANSACTIONAL;
        self
    }

    /// Marks the batch as a control batch.
    #[must_use]
    pub fn control(mut self) -> Self {
        self.header.attributes |= super::CONTROL;
        self
    }

    /// Marks the timestamps as the broker's.
    #[must_use]
    pub fn timestamp_type(mut self, timestamp_type: TimestampType) -> Self {
        self.header.set_timestamp_type(timestamp_type);
        self
    }

    /// Offset and leader epoch, where the writer knows them.
    #[must_use]
    pub fn position(mut self, base_offset: i64, leader_epoch: i32) -> Self {
        self.header = self.header.with_position(base_offset, leader_epoch);
        self
    }

    /// Adds a record; header keys are bytes here, UTF-8 by convention.
    pub fn push(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) -> &mut Self {
        let header = &mut self.header;
        if header.records_count == 0 {
            header.base_timestamp = timestamp_ms;
            header.max_timestamp = timestamp_ms;
        }
        let timestamp_delta = timestamp_ms.wrapping_sub(header.base_timestamp);
        header.max_timestamp = header.max_timestamp.max(timestamp_ms);
        header.last_offset_delta += 1;
        header.records_count += 1;
        write_record(&mut self.bytes, timestamp_delta, header.last_offset_delta, key, value, headers);
        self
    }

    /// Records so far.
    pub fn count(&self) -> i32 {
        self.header.records_count
    }

    /// Whether no record was added.
    pub fn is_empty(&self) -> bool {
        self.header.records_count == 0
    }

    /// Bytes of the batch if it were built now without compression.
    pub fn uncompressed_size(&self) -> usize {
        self.bytes.len()
    }

    /// Upper bound of the bytes that a record adds.
    pub fn record_size_bound(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[(&[u8], Option<&[u8]>)]) -> usize {
        // Length, timestamp delta and offset delta at their longest.
        const VARINTS_MAX: usize = 5 + 10 + 5;
        encoded_size(0, 0, key, value, headers) + VARINTS_MAX
    }

    /// The finished batch, its checksum written. Fails only when the codec does (a level that it does not know).
    pub fn build(mut self) -> Result<Bytes, CompressError> {
        if self.compression.codec != crate::compression::Codec::None && !self.is_empty() {
            self.header.set_compression(self.compression.codec);
            let mut compressed = Vec::with_capacity(HEADER_SIZE + self.bytes.len() / 2);
            compressed.resize(HEADER_SIZE, 0);
            compress(self.compression, &self.bytes[HEADER_SIZE..], &mut compressed)?;
            self.bytes = compressed;
        }
        finish(&mut self.header, &mut self.bytes);
        Ok(Bytes::from(self.bytes))
    }
}

/// Writes `header` over the first 61 bytes of `bytes`, with length and checksum of what is there.
pub(crate) fn finish(header: &mut BatchHeader, bytes: &mut [u8]) {
    header.batch_length = i32::try_from(bytes.len() - LOG_OVERHEAD).unwrap_or(i32::MAX);
    bytes[..HEADER_SIZE].copy_from_slice(&header.to_bytes());
    header.crc = write_crc(bytes);
}
