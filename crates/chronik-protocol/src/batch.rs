//! Record batches, version 2: the 61-byte header as a view, its checksum, and what a broker may overwrite in it.
//!
//! Base offset and partition leader epoch lie outside the checksum, so a broker patches those two and stores the rest verbatim.
//! Nothing here decompresses or reads records: see `record` for the walk and `validate` for what a Produce must check.

mod builder;

pub use builder::BatchBuilder;
pub(crate) use builder::finish;

use crate::compression::Codec;

/// Bytes of a version 2 batch header, from the base offset to the record count.
pub const HEADER_SIZE: usize = 61;
/// Bytes in front of what `batch_length` counts: the base offset and the length itself.
pub const LOG_OVERHEAD: usize = 12;
/// Bytes up to and including the magic, which lies at the same place in every version of the format.
pub const SIZE_UP_TO_MAGIC: usize = 17;
/// Bytes at the front of a batch that a broker overwrites: base offset, (length), partition leader epoch.
pub const PATCHED_SIZE: usize = 16;
/// The only format version that is stored.
pub const MAGIC: i8 = 2;
/// `producer_id` of a batch without idempotence.
pub const NO_PRODUCER_ID: i64 = -1;
/// `producer_epoch` of a batch without idempotence.
pub const NO_PRODUCER_EPOCH: i16 = -1;
/// `base_sequence` of a batch without idempotence, and of control batches.
pub const NO_SEQUENCE: i32 = -1;
/// The timestamp that means "none".
pub const NO_TIMESTAMP: i64 = -1;

/// Where the checksum lies; it covers everything from [`CRC_START`] to the end of the batch.
const CRC_AT: usize = 17;
const CRC_START: usize = 21;
/// `batch_length` counts at least the header behind it.
const MIN_BATCH_LENGTH: i32 = (HEADER_SIZE - LOG_OVERHEAD) as i32;
/// Smallest length that any version of the format has (a version 0 message); less is damage, not an old message.
const MIN_LENGTH_ANY_VERSION: i32 = 14;

const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;
const DELETE_HORIZON: i16 = 1 << 6;
const LOG_APPEND_TIME: i16 = 1 << 3;
const CODEC_MASK: i16 = 0x07;

/// Who set the timestamps of a batch: `message.timestamp.type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TimestampType {
    /// The producer.
    #[default]
    CreateTime,
    /// The broker, when it appended; all records of the batch share `max_timestamp`.
    LogAppendTime,
}

/// Why bytes are not a record batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The bytes end inside the batch.
    #[error("a record batch needs {needed} bytes, {available} are there")]
    Truncated {
        /// Bytes that the batch needs, as far as is known.
        needed: usize,
        /// Bytes that are there.
        available: usize,
    },
    /// `batch_length` is negative or smaller than a header.
    #[error("batch length {0} is smaller than the header")]
    Length(i32),
    /// Magic 0 or 1: a message set of the formats before version 2.
    #[error("message format version {0} is no longer supported")]
    OldMagic(i8),
    /// No known format version.
    #[error("unknown message format version {0}")]
    Magic(i8),
    /// The checksum does not fit the bytes.
    #[error("CRC-32C is {computed:#010x}, the batch says {stored:#010x}")]
    Crc {
        /// What the batch says.
        stored: u32,
        /// What its bytes give.
        computed: u32,
    },
}

/// The header of a version 2 batch, as Kafka's `DefaultRecordBatch` lays it out. Copied out of the bytes, big-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record; producers send 0.
    pub base_offset: i64,
    /// Bytes behind the length field, ≥ 49.
    pub batch_length: i32,
    /// Leader epoch in which the batch was appended; producers send −1.
    pub partition_leader_epoch: i32,
    /// Format version, always 2.
    pub magic: i8,
    /// CRC-32C of everything from `attributes` on.
    pub crc: u32,
    /// Codec (bits 0–2), timestamp type (3), transactional (4), control (5), delete horizon (6).
    pub attributes: i16,
    /// Offset of the last record minus the base offset. Compaction keeps it, so it can be more than the count says.
    pub last_offset_delta: i32,
    /// Timestamp that the records' deltas count from, ms since 1970; the delete horizon when that bit is set.
    pub base_timestamp: i64,
    /// Highest timestamp in the batch; the append time with `LogAppendTime`.
    pub max_timestamp: i64,
    /// Idempotent producer, or −1.
    pub producer_id: i64,
    /// Its epoch, or −1.
    pub producer_epoch: i16,
    /// Sequence number of the first record, or −1.
    pub base_sequence: i32,
    /// Records in the batch.
    pub records_count: i32,
}

impl BatchHeader {
    /// Reads the header at the front of `bytes` and checks that it can be one: magic and least length. The batch may be longer than `bytes`.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        let size = size_of_first(bytes)?;
        let Some(head) = bytes.first_chunk::<HEADER_SIZE>() else {
            return Err(BatchError::Truncated { needed: size, available: bytes.len() });
        };
        Ok(Self::from_head(head))
    }

    fn from_head(head: &[u8; HEADER_SIZE]) -> Self {
        BatchHeader {
            base_offset: i64::from_be_bytes(at(head, 0)),
            batch_length: i32::from_be_bytes(at(head, 8)),
            partition_leader_epoch: i32::from_be_bytes(at(head, 12)),
            magic: head[16] as i8,
            crc: u32::from_be_bytes(at(head, CRC_AT)),
            attributes: i16::from_be_bytes(at(head, CRC_START)),
            last_offset_delta: i32::from_be_bytes(at(head, 23)),
            base_timestamp: i64::from_be_bytes(at(head, 27)),
            max_timestamp: i64::from_be_bytes(at(head, 35)),
            producer_id: i64::from_be_bytes(at(head, 43)),
            producer_epoch: i16::from_be_bytes(at(head, 51)),
            base_sequence: i32::from_be_bytes(at(head, 53)),
            records_count: i32::from_be_bytes(at(head, 57)),
        }
    }

    /// The 61 bytes of this header.
    pub fn to_bytes(&self) -> [u8; HEADER_SIZE] {
        let mut head = [0u8; HEADER_SIZE];
        head[0..8].copy_from_slice(&self.base_offset.to_be_bytes());
        head[8..12].copy_from_slice(&self.batch_length.to_be_bytes());
        head[12..16].copy_from_slice(&self.partition_leader_epoch.to_be_bytes());
        head[16] = self.magic as u8;
        head[17..21].copy_from_slice(&self.crc.to_be_bytes());
        head[21..23].copy_from_slice(&self.attributes.to_be_bytes());
        head[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        head[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        head[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        head[43..51].copy_from_slice(&self.producer_id.to_be_bytes());
        head[51..53].copy_from_slice(&self.producer_epoch.to_be_bytes());
        head[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        head[57..61].copy_from_slice(&self.records_count.to_be_bytes());
        head
    }

    /// Bytes of the whole batch.
    pub fn size_in_bytes(&self) -> usize {
        LOG_OVERHEAD + self.batch_length.max(0) as usize
    }

    /// Offset of the last record.
    pub fn last_offset(&self) -> i64 {
        self.base_offset.wrapping_add(i64::from(self.last_offset_delta))
    }

    /// Offset behind the last record.
    pub fn next_offset(&self) -> i64 {
        self.last_offset().wrapping_add(1)
    }

    /// Sequence number of the last record; they wrap from 2³¹−1 to 0. −1 where there is no base sequence.
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return NO_SEQUENCE;
        }
        increment_sequence(self.base_sequence, self.last_offset_delta)
    }

    /// The codec of the records; `Err` holds the id of one that does not exist (5 to 7).
    pub fn compression(&self) -> Result<Codec, u8> {
        Codec::from_id((self.attributes & CODEC_MASK) as u8)
    }

    /// Who set the timestamps.
    pub fn timestamp_type(&self) -> TimestampType {
        if self.attributes & LOG_APPEND_TIME != 0 { TimestampType::LogAppendTime } else { TimestampType::CreateTime }
    }

    /// Whether the batch belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    /// Whether the batch holds a control record (a transaction marker), which consumers do not see.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    /// Whether `base_timestamp` is the time from which compaction may drop the batch's tombstones (KIP-534).
    pub fn has_delete_horizon(&self) -> bool {
        self.attributes & DELETE_HORIZON != 0
    }

    /// Whether an idempotent or transactional producer wrote the batch.
    pub fn has_producer_id(&self) -> bool {
        self.producer_id > NO_PRODUCER_ID
    }

    /// This header with what a broker assigns.
    #[must_use]
    pub fn with_position(mut self, base_offset: i64, leader_epoch: i32) -> Self {
        self.base_offset = base_offset;
        self.partition_leader_epoch = leader_epoch;
        self
    }

    pub(crate) fn set_compression(&mut self, codec: Codec) {
        self.attributes = (self.attributes & !CODEC_MASK) | i16::from(codec.id());
    }

    pub(crate) fn set_timestamp_type(&mut self, timestamp_type: TimestampType) {
        match timestamp_type {
            TimestampType::CreateTime => self.attributes &= !LOG_APPEND_TIME,
            TimestampType::LogAppendTime => self.attributes |= LOG_APPEND_TIME,
        }
    }
}

/// `sequence + increment`, wrapping from 2³¹−1 to 0 as Kafka's `DefaultRecordBatch.incrementSequence`.
pub fn increment_sequence(sequence: i32, increment: i32) -> i32 {
    let sum = i64::from(sequence) + i64::from(increment);
    if sum > i64::from(i32::MAX) { (sum - (1i64 << 31)) as i32 } else { sum as i32 }
}

/// `sequence − decrement`, wrapping from 0 to 2³¹−1.
pub fn decrement_sequence(sequence: i32, decrement: i32) -> i32 {
    let difference = i64::from(sequence) - i64::from(decrement);
    if difference < 0 { (difference + (1i64 << 31)) as i32 } else { difference as i32 }
}

/// Writes what a broker assigns into the front of a batch. Neither is covered by the checksum.
pub fn patch(head: &mut [u8; PATCHED_SIZE], base_offset: i64, leader_epoch: i32) {
    head[0..8].copy_from_slice(&base_offset.to_be_bytes());
    head[12..16].copy_from_slice(&leader_epoch.to_be_bytes());
}

/// Gives a finished batch another producer and sequence, and the checksum that goes with them. Does nothing to bytes that are no batch.
pub fn set_producer(batch: &mut [u8], producer_id: i64, producer_epoch: i16, base_sequence: i32) {
    if batch.len() >= HEADER_SIZE {
        batch[43..51].copy_from_slice(&producer_id.to_be_bytes());
        batch[51..53].copy_from_slice(&producer_epoch.to_be_bytes());
        batch[53..57].copy_from_slice(&base_sequence.to_be_bytes());
        write_crc(batch);
    }
}

/// CRC-32C (Castagnoli) of `bytes`.
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// Checks the checksum of one whole batch (`bytes` is exactly the batch).
pub fn check_crc(bytes: &[u8]) -> Result<(), BatchError> {
    let Some((head, _)) = bytes.split_first_chunk::<HEADER_SIZE>() else {
        return Err(BatchError::Truncated { needed: HEADER_SIZE, available: bytes.len() });
    };
    let stored = u32::from_be_bytes(at(head, CRC_AT));
    let computed = crc32c(&bytes[CRC_START..]);
    if stored == computed { Ok(()) } else { Err(BatchError::Crc { stored, computed }) }
}

/// Computes the checksum of the batch in `bytes` anew and writes it in. Does nothing to bytes that are no batch.
pub(crate) fn write_crc(bytes: &mut [u8]) -> u32 {
    if bytes.len() < HEADER_SIZE {
        return 0;
    }
    let crc = crc32c(&bytes[CRC_START..]);
    bytes[CRC_AT..CRC_START].copy_from_slice(&crc.to_be_bytes());
    crc
}

/// Whether this machine's accelerated CRC-32C agrees with a plain one on every alignment and on lengths around its internal block
/// sizes. The library picks its code by CPU features, so a broker asks once at start and does not start when the answer is no.
pub fn crc32c_self_test() -> bool {
    let data: Vec<u8> = (0u32..4096 + 64).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let lengths = [0usize, 1, 3, 8, 15, 16, 17, 63, 64, 127, 128, 255, 256, 511, 512, 1023, 1024, 4096];
    let plain_agrees = lengths.iter().all(|&length| {
        (0..16).all(|start| {
            let slice = &data[start..start + length];
            crc32c(slice) == plain_crc32c(slice)
        })
    });
    plain_agrees && crc32c(b"123456789") == 0xe306_9283
}

/// The definition of CRC-32C, bit by bit: the yardstick of the self-test.
fn plain_crc32c(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

/// Bytes of the first batch in `bytes`, when its length and magic can be right; it may be more than there is.
///
/// The order of checks is that of Kafka's `ByteBufferLogInputStream`: damage that no version of the format explains first.
pub(crate) fn size_of_first(bytes: &[u8]) -> Result<usize, BatchError> {
    let truncated = |needed| BatchError::Truncated { needed, available: bytes.len() };
    let Some(overhead) = bytes.first_chunk::<LOG_OVERHEAD>() else { return Err(truncated(SIZE_UP_TO_MAGIC)) };
    let batch_length = i32::from_be_bytes(at(overhead, 8));
    if batch_length < MIN_LENGTH_ANY_VERSION {
        return Err(BatchError::Length(batch_length));
    }
    let size = LOG_OVERHEAD + batch_length as usize;
    match bytes.get(SIZE_UP_TO_MAGIC - 1).map(|&byte| byte as i8) {
        None => Err(truncated(size)),
        Some(MAGIC) if batch_length < MIN_BATCH_LENGTH => Err(BatchError::Length(batch_length)),
        Some(MAGIC) => Ok(size),
        Some(old @ 0..=1) => Err(BatchError::OldMagic(old)),
        Some(other) => Err(BatchError::Magic(other)),
    }
}

/// One batch of a byte run.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Its header.
    pub header: BatchHeader,
    /// All its bytes, header included. The checksum has not been looked at.
    pub bytes: &'a [u8],
}

impl<'a> Batch<'a> {
    /// The first batch of `bytes`, whole.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BatchError> {
        let header = BatchHeader::parse(bytes)?;
        let needed = header.size_in_bytes();
        let whole = bytes.get(..needed).ok_or(BatchError::Truncated { needed, available: bytes.len() })?;
        Ok(Batch { header, bytes: whole })
    }

    /// The records as they lie in the batch: compressed if the header says so.
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[HEADER_SIZE..]
    }

    /// Checks the checksum.
    pub fn check_crc(&self) -> Result<(), BatchError> {
        check_crc(self.bytes)
    }
}

/// Iterates over the batches of a byte run (a fetch answer, a piece of a segment). Ends at the first error; a fetch answer may end inside
/// a batch, which shows as [`BatchError::Truncated`].
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    rest: &'a [u8],
}

impl<'a> Batches<'a> {
    /// The batches of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Batches { rest: bytes }
    }

    /// What has not been iterated over yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<Batch<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let batch = Batch::parse(self.rest);
        self.rest = match &batch {
            Ok(batch) => &self.rest[batch.bytes.len()..],
            Err(_) => &[],
        };
        Some(batch)
    }
}

/// `N` bytes of a fixed-size head; the compiler removes the bounds check.
fn at<const N: usize, const M: usize>(head: &[u8; M], start: usize) -> [u8; N] {
    let mut out = [0u8; N];
    out.copy_from_slice(&head[start..start + N]);
    out
}

#[cfg(test)]
mod tests;
