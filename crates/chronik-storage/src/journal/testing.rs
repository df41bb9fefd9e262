//! Entries for the tests of this part.

use bytes::Bytes;
use chronik_protocol::Uuid;

use super::{Entry, EntryMeta, HEAD_BYTES};

/// An entry whose bytes follow from its arguments.
pub(crate) fn entry(topic: u8, partition: i32, base_offset: i64, len: usize) -> Entry {
    let meta = EntryMeta {
        topic_id: Uuid::from_bytes([topic; 16]),
        partition,
        leader_epoch: 3,
        base_offset,
        last_offset: base_offset + 4,
        producer_id: 1000 + i64::from(topic),
        producer_epoch: 2,
        attributes: 0x14,
        base_sequence: 55,
        max_timestamp_ms: 1_700_000_000_000 + base_offset,
    };
    let mut head = [topic; HEAD_BYTES];
    head[..8].copy_from_slice(&base_offset.to_be_bytes());
    let seed = (base_offset as usize).wrapping_mul(31) + partition as usize;
    let rest: Vec<u8> = (0..len).map(|i| (i.wrapping_mul(7) ^ seed ^ (i >> 8)) as u8).collect();
    Entry { meta, head, rest: Bytes::from(rest) }
}

/// All bytes of an entry.
pub(crate) fn bytes_of(entry: &Entry) -> Bytes {
    let mut bytes = entry.head.to_vec();
    bytes.extend_from_slice(&entry.rest);
    Bytes::from(bytes)
}
