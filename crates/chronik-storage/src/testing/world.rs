//! A store on a disk and journals in memory, and the ways in which it can end.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chronik_protocol::batch::{BatchBuilder, Batches};
use chronik_protocol::uuid::Uuid;
use chronik_protocol::validate::PreparedBatch;

use super::{MemDisk, MemJournals};
use crate::error::{AppendError, ReadError, StorageError};
use crate::{Access, Appended, Durability, LogConfig, Partition, ReadLimit, Store, StoreOptions, TopicIdPartition};

/// A store and what it stands on.
pub(crate) struct World {
    pub(crate) disk: Arc<MemDisk>,
    pub(crate) journals: Arc<MemJournals>,
    pub(crate) store: Store,
    pub(crate) durability: Durability,
}

/// The partition of the tests: topic `t`, partition 0.
pub(crate) fn id() -> TopicIdPartition {
    TopicIdPartition { topic_id: Uuid::from_bytes([7; 16]), partition: 0 }
}

/// A batch of `count` records without a producer, with `size` bytes in each value.
pub(crate) fn batch(count: usize, size: usize) -> Bytes {
    batch_of(count, size, (-1, -1, -1), 1_000)
}

/// A batch of a producer, with timestamps from `timestamp` on.
pub(crate) fn batch_of(count: usize, size: usize, (id, epoch, sequence): (i64, i16, i32), timestamp: i64) -> Bytes {
    let mut builder = BatchBuilder::new().producer(id, epoch, sequence);
    for at in 0..count {
        builder.push(timestamp + i64::try_from(at).unwrap(), None, Some(&vec![b'v'; size]), &[]);
    }
    builder.build().unwrap()
}

impl World {
    pub(crate) fn new() -> Self {
        World::on(MemDisk::new(), MemJournals::new(), Durability::Fsync)
    }

    pub(crate) fn on(disk: Arc<MemDisk>, journals: Arc<MemJournals>, durability: Durability) -> Self {
        let mut options = StoreOptions::new("/data", disk.clone(), journals.clone());
        options.durability = durability;
        let (store, _) = Store::open(options).unwrap();
        World { disk, journals, store, durability }
    }

    /// The partition of the tests.
    pub(crate) fn partition(&self) -> Arc<Partition> {
        self.partition_with(LogConfig::default())
    }

    pub(crate) fn partition_with(&self, config: LogConfig) -> Arc<Partition> {
        self.store.create("t", id(), Arc::new(config), 0).unwrap()
    }

    /// The next process, after this one was killed.
    pub(crate) fn kill(self) -> World {
        self.store.flush();
        World::on(self.disk.after_kill(), self.journals.after_crash(), self.durability)
    }

    /// The next process, killed while the journal was not written.
    pub(crate) fn kill_unflushed(self) -> World {
        let (disk, journals) = (self.disk.after_kill(), self.journals.after_crash());
        self.journals.hold(false);
        World::on(disk, journals, self.durability)
    }

    /// The next process, after the power was cut.
    pub(crate) fn power_cut(self) -> World {
        let (disk, journals) = (self.disk.after_power_cut(), self.journals.after_crash());
        self.journals.hold(false);
        World::on(disk, journals, self.durability)
    }

    /// The next process, after this one has ended in good order.
    pub(crate) fn restart(self) -> World {
        self.store.recovered().unwrap();
        self.store.close().unwrap();
        World::on(self.disk.after_kill(), self.journals.after_crash(), self.durability)
    }
}

impl Partition {
    /// Appends a batch and does not wait.
    pub(crate) fn put(self: &Arc<Self>, bytes: &Bytes) -> Result<Appended, AppendError> {
        self.append(&PreparedBatch::trusted(bytes).unwrap(), Some(bytes), 5_000)
    }

    /// Appends a batch and waits until it is durable.
    pub(crate) fn put_durably(self: &Arc<Self>, bytes: &Bytes) -> i64 {
        let appended = self.put(bytes).unwrap();
        self.wait(appended.last_offset).unwrap();
        appended.base_offset
    }

    /// Waits until an offset is durable.
    pub(crate) fn wait(self: &Arc<Self>, last_offset: i64) -> Result<(), StorageError> {
        let mut committed = std::pin::pin!(self.committed(last_offset));
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Poll::Ready(result) = committed.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return result;
            }
            assert!(Instant::now() < deadline, "offset {last_offset} was not committed");
            std::thread::yield_now();
        }
    }

    /// Base and last offsets of all batches from an offset on, read one after the other; the error that ended it.
    pub(crate) fn batches_from(&self, mut offset: i64, max_bytes: usize) -> (Vec<(i64, i64)>, Option<ReadError>) {
        let mut found = Vec::new();
        loop {
            let outcome = match self.read(offset, max_bytes, ReadLimit::HighWatermark, true, Access::Blocking) {
                Ok(outcome) => outcome,
                Err(error) => return (found, Some(error)),
            };
            let mut bytes = Vec::new();
            outcome.records.iter().for_each(|chunk| chunk.append_to(&mut bytes).unwrap());
            assert_eq!(bytes.len(), outcome.bytes);
            for batch in Batches::new(&bytes) {
                let batch = batch.unwrap();
                batch.check_crc().unwrap();
                found.push((batch.header.base_offset, batch.header.last_offset()));
            }
            if outcome.bytes == 0 {
                assert_eq!(outcome.offsets.high_watermark, offset);
                return (found, None);
            }
            assert_eq!(found.last().map(|last| last.1 + 1), Some(outcome.next_offset));
            offset = outcome.next_offset;
        }
    }

    /// Offsets of all batches, which must be readable.
    pub(crate) fn all(&self) -> Vec<(i64, i64)> {
        let (found, error) = self.batches_from(self.offsets().log_start, 1 << 20);
        assert!(error.is_none(), "{error:?}");
        found
    }
}
