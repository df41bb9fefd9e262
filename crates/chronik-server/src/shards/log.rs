//! What a shard needs of its partition's log, and how records become batches and come back.

use std::fmt::Debug;
use std::pin::Pin;

use bytes::Bytes;
use chronik_coordinator::group::{GroupMachine, GroupRecord, records};
use chronik_coordinator::shard::{Log, Shard};
use chronik_protocol::batch::{BatchBuilder, Batches};
use chronik_protocol::record::RecordIter;
use thiserror::Error;

/// A batch is closed when it has this much; what does not fit goes into the next.
const BATCH_BYTES: usize = 512 * 1024;
/// How much of a log is read at a time when it is loaded.
const READ_BYTES: usize = 4 * 1024 * 1024;

/// A partition's log, as a shard sees it.
pub(crate) trait OffsetsLog: Debug + Send + Sync {
    /// Which partition of the topic this is.
    fn partition(&self) -> i32;
    /// Whether it holds nothing.
    fn is_empty(&self) -> bool;
    /// Appends one batch, and says its last offset. It is readable by us at once, durable when committed.
    fn append(&self, batch: Bytes, now_ms: i64) -> Result<i64, LogError>;
    /// Everything below is committed.
    fn high_watermark(&self) -> i64;
    /// Resolves when the offset is committed, or never will be.
    fn committed(&self, offset: i64) -> Committing;
    /// Where the log begins and where what is committed ends. Blocks until nothing is on its way to disk.
    fn settled_range(&self) -> Result<(i64, i64), LogError>;
    /// Its size on disk.
    fn size_in_bytes(&self) -> u64;
    /// What lies before the offset is not needed any more. Blocks.
    fn trim(&self, before: i64) -> Result<(), LogError>;
    /// Batches from the one that holds `offset` on, at least one. Blocks.
    fn read(&self, offset: i64, max_bytes: usize) -> Result<Vec<u8>, LogError>;
}

/// The wait for a commit.
pub(crate) type Committing = Pin<Box<dyn Future<Output = Result<(), LogError>> + Send>>;

/// Why a shard cannot use its log now.
#[derive(Debug, Error)]
pub(crate) enum LogError {
    /// The storage said so.
    #[error("{0}")]
    Storage(String),
    /// A record that cannot be read. Nothing is guessed: the shard stays closed.
    #[error("offset {offset}: {what}")]
    Damaged {
        /// Where.
        offset: i64,
        /// What is wrong.
        what: String,
    },
    /// A record that cannot be written, which no request can bring about.
    #[error("a record cannot be encoded: {0}")]
    Encode(String),
}

/// Appends a step's records at a given time.
pub(crate) struct Writer<'a> {
    log: &'a dyn OffsetsLog,
    now_ms: i64,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(log: &'a dyn OffsetsLog, now_ms: i64) -> Self {
        Writer { log, now_ms }
    }

    fn close(&self, batch: BatchBuilder) -> Result<i64, LogError> {
        let batch = batch.build().map_err(|error| LogError::Encode(error.to_string()))?;
        self.log.append(batch, self.now_ms)
    }
}

impl Log<GroupRecord> for Writer<'_> {
    type Error = LogError;

    fn append(&mut self, records: &[GroupRecord]) -> Result<i64, LogError> {
        let mut batch = BatchBuilder::new();
        for record in records {
            let (key, value) = records::encode(record).map_err(|error| LogError::Encode(error.to_string()))?;
            let size = BatchBuilder::record_size_bound(Some(&key), value.as_deref(), &[]);
            if !batch.is_empty() && batch.uncompressed_size() + size > BATCH_BYTES {
                self.close(std::mem::take(&mut batch))?;
            }
            batch.push(self.now_ms, Some(&key), value.as_deref(), &[]);
        }
        self.close(batch)
    }
}

/// Replays a log from its beginning to the end of what is committed; returns the offset of its last record with the
/// shard. Blocks.
pub(crate) fn replay(log: &dyn OffsetsLog, machine: GroupMachine) -> Result<(Shard<GroupMachine>, i64), LogError> {
    let mut shard = Shard::new(machine);
    let (mut offset, end) = log.settled_range()?;
    while offset < end {
        let bytes = log.read(offset, READ_BYTES)?;
        let from = offset;
        for batch in Batches::new(&bytes) {
            let damaged = |what: String| LogError::Damaged { offset, what };
            let batch = batch.map_err(|error| damaged(error.to_string()))?;
            batch.check_crc().map_err(|error| damaged(error.to_string()))?;
            if !batch.header.is_control() {
                replay_batch(&mut shard, batch.payload(), batch.header.records_count).map_err(damaged)?;
            }
            offset = batch.header.next_offset();
        }
        if offset == from {
            return Err(LogError::Damaged { offset, what: format!("nothing there, but the log goes on to {end}") });
        }
    }
    Ok((shard, end - 1))
}

fn replay_batch(shard: &mut Shard<GroupMachine>, payload: &[u8], count: i32) -> Result<(), String> {
    for record in RecordIter::new(payload, count) {
        let record = record.map_err(|error| error.to_string())?;
        // Nobody but us writes here, and we write no record without a key.
        let key = record.key.ok_or("a record without key")?;
        if let Some(record) = records::decode(key, record.value).map_err(|error| error.to_string())? {
            shard.replay(&record);
        }
    }
    Ok(())
}
