//! What a poll brings: batches in the broker's own bytes, walked record by record without copying.

use std::sync::Arc;

use bytes::Bytes;
use chronik_protocol::batch::{Batch, Batches, TimestampType};
use chronik_protocol::compression::{Codec, decompress};
use chronik_protocol::record::{RecordIter, RecordRef};

use crate::error::Error;

/// No batch of a client here inflates to more.
const MAX_INFLATED_BYTES: usize = 1 << 30;

/// Records of one partition, from one answer.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// Topic name.
    pub topic: Arc<str>,
    /// Partition index.
    pub partition: i32,
    /// The offset that was asked for; batches may begin before it.
    pub from: i64,
    /// Behind the last record that consumers may see, as of the answer.
    pub high_watermark: i64,
    /// Whole batches, and perhaps the beginning of another.
    pub(super) data: Bytes,
    /// Aborted transactions of the range: producer id and first offset, by rising offset. Empty for `read_uncommitted`.
    pub(super) aborted: Vec<(i64, i64)>,
}

/// A record, borrowed from its batch.
#[derive(Debug, Clone, Copy)]
pub struct RecordView<'a> {
    /// Offset.
    pub offset: i64,
    /// Milliseconds since the epoch, −1 for none.
    pub timestamp: i64,
    /// Leader epoch of the batch.
    pub leader_epoch: i32,
    /// Key, value and headers.
    pub record: RecordRef<'a>,
}

/// A record of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerRecord {
    /// Topic name.
    pub topic: Arc<str>,
    /// Partition index.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Milliseconds since the epoch, −1 for none.
    pub timestamp: i64,
    /// Leader epoch of the batch.
    pub leader_epoch: i32,
    /// Key.
    pub key: Option<Vec<u8>>,
    /// Value.
    pub value: Option<Vec<u8>>,
    /// Headers, in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Fetched {
    /// Bytes of the batches.
    pub fn size_in_bytes(&self) -> usize {
        self.data.len()
    }

    /// The offset to go on from, and the leader epoch of the last batch.
    pub(super) fn next(&self) -> (i64, i32) {
        let mut next = (self.from, -1);
        for batch in Batches::new(&self.data).map_while(Result::ok) {
            next = (batch.header.next_offset().max(next.0), batch.header.partition_leader_epoch);
        }
        next
    }

    /// Calls `each` for every record that a consumer sees, in order: none before [`Fetched::from`], no control records, and
    /// with `read_committed` none of an aborted transaction.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a batch whose checksum or contents are wrong.
    pub fn for_each(&self, mut each: impl FnMut(RecordView<'_>)) -> Result<(), Error> {
        let mut aborting: Vec<i64> = Vec::new();
        let mut aborted = self.aborted.iter().peekable();
        let mut inflated = Vec::new();
        for batch in Batches::new(&self.data).map_while(Result::ok) {
            let header = &batch.header;
            batch.check_crc().map_err(|error| self.damaged(header.base_offset, &error))?;
            while let Some((producer, _)) = aborted.next_if(|(_, first)| *first <= header.last_offset()) {
                aborting.push(*producer);
            }
            if header.is_control() {
                aborting.retain(|producer| *producer != header.producer_id);
                continue;
            }
            if header.is_transactional() && aborting.contains(&header.producer_id) {
                continue;
            }
            let payload = self.payload(&batch, &mut inflated)?;
            for record in RecordIter::new(payload, header.records_count) {
                let record = record.map_err(|error| self.damaged(header.base_offset, &error))?;
                let offset = header.base_offset + i64::from(record.offset_delta);
                if offset >= self.from {
                    let timestamp = match header.timestamp_type() {
                        TimestampType::LogAppendTime => header.max_timestamp,
                        TimestampType::CreateTime => header.base_timestamp + record.timestamp_delta,
                    };
                    each(RecordView { offset, timestamp, leader_epoch: header.partition_leader_epoch, record });
                }
            }
        }
        Ok(())
    }

    /// Calls `each` for every offset that the batches' headers count, without looking at the records.
    pub fn for_each_offset(&self, mut each: impl FnMut(i64)) {
        for batch in Batches::new(&self.data).map_while(Result::ok) {
            let first = batch.header.base_offset.max(self.from);
            (first..batch.header.base_offset + i64::from(batch.header.records_count)).for_each(&mut each);
        }
    }

    /// The records as values of their own.
    pub fn records(&self) -> Result<Vec<ConsumerRecord>, Error> {
        let mut records = Vec::new();
        self.for_each(|view| {
            records.push(ConsumerRecord {
                topic: self.topic.clone(),
                partition: self.partition,
                offset: view.offset,
                timestamp: view.timestamp,
                leader_epoch: view.leader_epoch,
                key: view.record.key.map(<[u8]>::to_vec),
                value: view.record.value.map(<[u8]>::to_vec),
                headers: view
                    .record
                    .headers()
                    .map(|(key, value)| (String::from_utf8_lossy(key).into_owned(), value.map(<[u8]>::to_vec)))
                    .collect(),
            });
        })?;
        Ok(records)
    }

    fn payload<'a>(&self, batch: &Batch<'a>, inflated: &'a mut Vec<u8>) -> Result<&'a [u8], Error> {
        let codec = batch.header.compression().map_err(|id| Error::Malformed(format!("codec {id}")))?;
        if codec == Codec::None {
            return Ok(batch.payload());
        }
        *inflated = decompress(codec, batch.payload(), MAX_INFLATED_BYTES)
            .map_err(|error| self.damaged(batch.header.base_offset, &error))?;
        Ok(inflated)
    }

    fn damaged(&self, offset: i64, error: &dyn std::error::Error) -> Error {
        Error::Malformed(format!("{}/{} batch at offset {offset}: {error}", self.topic, self.partition))
    }
}
