//! What a partition knows of its producers: the last five batches of each, so that a retry is recognised, and its open transaction.
//!
//! The rules are those of Apache Kafka's `ProducerStateManager` and `ProducerAppendInfo`. The state is a function of the log: it is
//! rebuilt from a snapshot and the batch headers behind it. Snapshots have Kafka's `.snapshot` format, which has room for one batch per
//! producer; the five that we keep are five entries of one producer id, oldest first. Kafka's own readers take the last one.

use std::collections::HashMap;

use chronik_protocol::batch::{BatchHeader, crc32c};
use thiserror::Error;

use crate::index::{be_i64, be_u32};

/// How many batches of a producer are recognised when they are sent again.
pub const BATCHES_KEPT: usize = 5;

const SNAPSHOT_VERSION: u16 = 1;
const SNAPSHOT_ENTRY_SIZE: usize = 46;
const SNAPSHOT_HEAD_SIZE: usize = 10;

/// Why a producer's batch cannot be appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SequenceError {
    /// A later epoch of this producer has written already: `INVALID_PRODUCER_EPOCH`.
    #[error("producer {producer_id} wrote with epoch {current} already, {found} is too old")]
    OldEpoch {
        /// The producer.
        producer_id: i64,
        /// The epoch of the batch.
        found: i16,
        /// The epoch that is known.
        current: i16,
    },
    /// Batches are missing before this one, or it is older than the ones that are remembered: `OUT_OF_ORDER_SEQUENCE_NUMBER`.
    #[error("producer {producer_id} sent sequence {found} where {expected} was expected")]
    OutOfOrder {
        /// The producer.
        producer_id: i64,
        /// First sequence of the batch.
        found: i32,
        /// The sequence that would have been accepted.
        expected: i32,
    },
}

/// One batch that is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownBatch {
    /// Sequence of the last record.
    pub last_sequence: i32,
    /// Offset of the last record.
    pub last_offset: i64,
    /// Last offset minus first offset.
    pub offset_delta: i32,
    /// Greatest timestamp of the batch, or when it was appended.
    pub timestamp_ms: i64,
}

impl KnownBatch {
    /// Offset of the first record.
    pub fn base_offset(&self) -> i64 {
        self.last_offset - i64::from(self.offset_delta)
    }

    fn base_sequence(&self) -> i32 {
        chronik_protocol::batch::decrement_sequence(self.last_sequence, self.offset_delta)
    }
}

/// One producer of a partition.
#[derive(Debug, Clone)]
pub struct Producer {
    /// The epoch of its last batch or marker.
    pub epoch: i16,
    /// Epoch of the transaction coordinator that wrote the last marker, −1 before any.
    pub coordinator_epoch: i32,
    /// First offset of the open transaction.
    pub transaction_start: Option<i64>,
    /// When it was last heard of.
    pub last_seen_ms: i64,
    batches: [Option<KnownBatch>; BATCHES_KEPT],
}

impl Producer {
    fn new(epoch: i16, now_ms: i64) -> Self {
        Producer {
            epoch,
            coordinator_epoch: -1,
            transaction_start: None,
            last_seen_ms: now_ms,
            batches: [None; BATCHES_KEPT],
        }
    }

    /// The batches that are remembered, oldest first.
    pub fn batches(&self) -> impl DoubleEndedIterator<Item = &KnownBatch> {
        self.batches.iter().flatten()
    }

    /// Sequence of the last record, −1 if there is none.
    pub fn last_sequence(&self) -> i32 {
        self.batches().next_back().map_or(-1, |batch| batch.last_sequence)
    }

    fn remember(&mut self, batch: KnownBatch) {
        match self.batches.iter().position(Option::is_none) {
            Some(free) => self.batches[free] = Some(batch),
            None => {
                self.batches.rotate_left(1);
                self.batches[BATCHES_KEPT - 1] = Some(batch);
            }
        }
    }

    fn begin_epoch(&mut self, epoch: i16) {
        if epoch != self.epoch {
            self.epoch = epoch;
            self.batches = [None; BATCHES_KEPT];
        }
    }
}

/// What to do with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is the next one.
    Append,
    /// It is in the log already, there.
    Duplicate(KnownBatch),
}

/// The producers of one partition.
#[derive(Debug, Clone, Default)]
pub(crate) struct Producers {
    by_id: HashMap<i64, Producer>,
}

/// What a batch does to its producer's transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TransactionStep {
    /// It begins one, at this offset.
    Begin(i64),
    /// It is the marker that ends the one which began at `start`.
    End { start: i64, marker: i64 },
}

impl Producers {
    /// Looks at a batch that a client sends.
    pub(crate) fn check(&self, header: &BatchHeader) -> Result<Verdict, SequenceError> {
        let producer_id = header.producer_id;
        let Some(producer) = self.by_id.get(&producer_id).filter(|_| producer_id >= 0) else {
            return Ok(Verdict::Append);
        };
        if header.is_control() {
            return Self::check_epoch(producer, header).map(|()| Verdict::Append);
        }
        if header.producer_epoch == producer.epoch {
            let last = header.last_sequence();
            let same =
                |batch: &&KnownBatch| batch.last_sequence == last && batch.base_sequence() == header.base_sequence;
            if let Some(known) = producer.batches().find(same) {
                return Ok(Verdict::Duplicate(*known));
            }
        }
        Self::check_epoch(producer, header)?;
        let expected = match producer.epoch == header.producer_epoch {
            true => chronik_protocol::batch::increment_sequence(producer.last_sequence(), 1),
            false => 0,
        };
        if header.base_sequence != expected {
            return Err(SequenceError::OutOfOrder { producer_id, found: header.base_sequence, expected });
        }
        Ok(Verdict::Append)
    }

    fn check_epoch(producer: &Producer, header: &BatchHeader) -> Result<(), SequenceError> {
        if header.producer_epoch >= producer.epoch {
            return Ok(());
        }
        let (producer_id, found, current) = (header.producer_id, header.producer_epoch, producer.epoch);
        Err(SequenceError::OldEpoch { producer_id, found, current })
    }

    /// Notes a batch that is in the log now; `header` holds its final offsets.
    pub(crate) fn update(&mut self, header: &BatchHeader, now_ms: i64) -> Option<TransactionStep> {
        if header.producer_id < 0 {
            return None;
        }
        let producer =
            self.by_id.entry(header.producer_id).or_insert_with(|| Producer::new(header.producer_epoch, now_ms));
        producer.last_seen_ms = now_ms;
        producer.begin_epoch(header.producer_epoch);
        if header.is_control() {
            let start = producer.transaction_start.take()?;
            return Some(TransactionStep::End { start, marker: header.last_offset() });
        }
        producer.remember(KnownBatch {
            last_sequence: header.last_sequence(),
            last_offset: header.last_offset(),
            offset_delta: header.last_offset_delta,
            timestamp_ms: now_ms,
        });
        if !header.is_transactional() || producer.transaction_start.is_some() {
            return None;
        }
        producer.transaction_start = Some(header.base_offset);
        producer.transaction_start.map(TransactionStep::Begin)
    }

    /// First offsets of the open transactions.
    pub(crate) fn open_transactions(&self) -> impl Iterator<Item = i64> {
        self.by_id.values().filter_map(|producer| producer.transaction_start)
    }

    /// Forgets producers that were silent for `expiration_ms` and have no open transaction; says how many.
    pub(crate) fn expire(&mut self, now_ms: i64, expiration_ms: i64) -> usize {
        let before = self.by_id.len();
        let limit = now_ms.saturating_sub(expiration_ms);
        self.by_id.retain(|_, producer| producer.transaction_start.is_some() || producer.last_seen_ms > limit);
        before - self.by_id.len()
    }

    /// How many producers are known.
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// A copy of what is known, by producer id.
    pub(crate) fn list(&self) -> Vec<(i64, Producer)> {
        let mut all: Vec<_> = self.by_id.iter().map(|(id, producer)| (*id, producer.clone())).collect();
        all.sort_by_key(|(id, _)| *id);
        all
    }

    /// The content of a `.snapshot` file.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(4 + self.by_id.len() * SNAPSHOT_ENTRY_SIZE);
        body.extend_from_slice(&[0; 4]);
        let mut count = 0_u32;
        for (id, producer) in self.list() {
            let none =
                KnownBatch { last_sequence: -1, last_offset: -1, offset_delta: 0, timestamp_ms: producer.last_seen_ms };
            let empty = producer.batches().next().is_none().then_some(&none);
            for batch in producer.batches().chain(empty) {
                count += 1;
                body.extend_from_slice(&id.to_be_bytes());
                body.extend_from_slice(&producer.epoch.to_be_bytes());
                body.extend_from_slice(&batch.last_sequence.to_be_bytes());
                body.extend_from_slice(&batch.last_offset.to_be_bytes());
                body.extend_from_slice(&batch.offset_delta.to_be_bytes());
                body.extend_from_slice(&batch.timestamp_ms.to_be_bytes());
                body.extend_from_slice(&producer.coordinator_epoch.to_be_bytes());
                body.extend_from_slice(&producer.transaction_start.unwrap_or(-1).to_be_bytes());
            }
        }
        body[..4].copy_from_slice(&count.to_be_bytes());
        let mut bytes = Vec::with_capacity(SNAPSHOT_HEAD_SIZE - 4 + body.len());
        bytes.extend_from_slice(&SNAPSHOT_VERSION.to_be_bytes());
        bytes.extend_from_slice(&crc32c(&body).to_be_bytes());
        bytes.extend_from_slice(&body);
        bytes
    }

    /// Reads a `.snapshot` file; `None` if it is damaged.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, body) = bytes.split_at_checked(SNAPSHOT_HEAD_SIZE - 4)?;
        let entries = body.get(4..)?;
        let count = be_u32(body, 0) as usize;
        let intact = u16::from_be_bytes([head[0], head[1]]) == SNAPSHOT_VERSION
            && be_u32(head, 2) == crc32c(body)
            && entries.len() == count.checked_mul(SNAPSHOT_ENTRY_SIZE)?;
        if !intact {
            return None;
        }
        let mut producers = Producers::default();
        for raw in entries.chunks_exact(SNAPSHOT_ENTRY_SIZE) {
            producers.load(raw);
        }
        Some(producers)
    }

    fn load(&mut self, raw: &[u8]) {
        let id = be_i64(raw, 0);
        let epoch = i16::from_be_bytes([raw[8], raw[9]]);
        let batch = KnownBatch {
            last_sequence: be_u32(raw, 10).cast_signed(),
            last_offset: be_i64(raw, 14),
            offset_delta: be_u32(raw, 22).cast_signed(),
            timestamp_ms: be_i64(raw, 26),
        };
        let producer = self.by_id.entry(id).or_insert_with(|| Producer::new(epoch, batch.timestamp_ms));
        producer.begin_epoch(epoch);
        producer.last_seen_ms = producer.last_seen_ms.max(batch.timestamp_ms);
        producer.coordinator_epoch = be_u32(raw, 34).cast_signed();
        if batch.last_offset >= 0 {
            producer.remember(batch);
        }
        let start = be_i64(raw, 38);
        if start >= 0 && producer.transaction_start.is_none() {
            producer.transaction_start = Some(start);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chronik_protocol::batch::{BatchBuilder, increment_sequence};

    fn header(id: i64, epoch: i16, sequence: i32, count: usize, base_offset: i64) -> BatchHeader {
        let mut builder = BatchBuilder::new().producer(id, epoch, sequence).position(base_offset, 0);
        for at in 0..count {
            builder.push(i64::try_from(at).unwrap(), None, Some(b"v"), &[]);
        }
        BatchHeader::parse(&builder.build().unwrap()).unwrap()
    }

    fn add(producers: &mut Producers, batch: &BatchHeader) -> Result<Verdict, SequenceError> {
        let verdict = producers.check(batch)?;
        if verdict == Verdict::Append {
            producers.update(batch, 1_000);
        }
        Ok(verdict)
    }

    #[test]
    fn the_last_five_are_recognised_and_the_sixth_is_not() {
        let mut producers = Producers::default();
        for at in 0..6 {
            assert_eq!(add(&mut producers, &header(7, 0, at * 2, 2, i64::from(at) * 2)), Ok(Verdict::Append));
        }
        for at in 1..6 {
            let Ok(Verdict::Duplicate(known)) = producers.check(&header(7, 0, at * 2, 2, 99)) else {
                panic!("batch {at} not known")
            };
            assert_eq!(known.base_offset(), i64::from(at) * 2);
        }
        let expected = SequenceError::OutOfOrder { producer_id: 7, found: 0, expected: 12 };
        assert_eq!(producers.check(&header(7, 0, 0, 2, 99)), Err(expected));
        assert!(producers.check(&header(7, 0, 10, 1, 99)).is_err(), "same first sequence, another length");
    }

    #[test]
    fn epochs() {
        let mut producers = Producers::default();
        assert_eq!(add(&mut producers, &header(7, 3, 5, 1, 0)), Ok(Verdict::Append), "unknown producer: any sequence");
        assert!(matches!(producers.check(&header(7, 3, 7, 1, 1)), Err(SequenceError::OutOfOrder { expected: 6, .. })));
        assert!(matches!(producers.check(&header(7, 2, 0, 1, 1)), Err(SequenceError::OldEpoch { current: 3, .. })));
        assert!(matches!(producers.check(&header(7, 4, 6, 1, 1)), Err(SequenceError::OutOfOrder { expected: 0, .. })));
        assert_eq!(add(&mut producers, &header(7, 4, 0, 1, 1)), Ok(Verdict::Append));
        assert!(matches!(producers.check(&header(7, 3, 5, 1, 1)), Err(SequenceError::OldEpoch { current: 4, .. })));
    }

    #[test]
    fn the_sequence_wraps() {
        let mut producers = Producers::default();
        add(&mut producers, &header(7, 0, i32::MAX - 1, 4, 0)).unwrap();
        let next = increment_sequence(i32::MAX - 1, 4);
        assert_eq!(next, 2);
        assert!(
            matches!(producers.check(&header(7, 0, i32::MAX - 1, 4, 9)), Ok(Verdict::Duplicate(known)) if known.base_offset() == 0)
        );
        assert_eq!(add(&mut producers, &header(7, 0, next, 1, 4)), Ok(Verdict::Append));
    }

    #[test]
    fn a_snapshot_keeps_all_five() {
        let mut producers = Producers::default();
        for at in 0..9 {
            add(&mut producers, &header(7, 1, at, 1, i64::from(at))).unwrap();
        }
        add(&mut producers, &header(8, 0, 0, 3, 9)).unwrap();
        let bytes = producers.encode();
        let again = Producers::decode(&bytes).unwrap();
        assert_eq!(again.encode(), bytes);
        assert!(
            matches!(again.check(&header(7, 1, 4, 1, 99)), Ok(Verdict::Duplicate(known)) if known.last_offset == 4)
        );
        assert!(matches!(again.check(&header(7, 1, 3, 1, 99)), Err(SequenceError::OutOfOrder { expected: 9, .. })));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(Producers::decode(&damaged).is_none(), "flip at {at}");
            assert!(Producers::decode(&bytes[..at]).is_none(), "cut at {at}");
        }
    }

    #[test]
    fn silent_producers_expire() {
        let mut producers = Producers::default();
        add(&mut producers, &header(7, 0, 0, 1, 0)).unwrap();
        assert_eq!(producers.expire(1_500, 501), 0);
        assert_eq!(producers.expire(1_501, 501), 1);
        assert_eq!(producers.len(), 0);
    }
}
