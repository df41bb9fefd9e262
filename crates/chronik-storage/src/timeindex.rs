//! The sparse time index of a segment, in Apache Kafka's `.timeindex` format.
//!
//! An entry (timestamp, offset) says that no record up to `offset` has a later timestamp, and that the batch which ends with `offset` is
//! the first that reaches it. Both rise strictly. On disk an entry is twelve bytes, big-endian: timestamp, offset relative to the
//! segment's base.

use crate::index::{be_i64, be_u32};

/// Bytes of one entry on disk.
pub(crate) const TIME_ENTRY_SIZE: usize = 12;

/// One entry: the greatest timestamp so far, and the last offset of the batch that holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeEntry {
    /// Milliseconds since the epoch.
    pub(crate) timestamp: i64,
    /// Last offset of the batch, relative to the segment's base offset.
    pub(crate) relative: u32,
}

/// The sparse time index of one segment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TimeIndex {
    entries: Vec<TimeEntry>,
}

impl TimeIndex {
    /// Adds an entry if its timestamp and its offset are later than those of the last one.
    pub(crate) fn push(&mut self, timestamp: i64, relative: u32) {
        if self.entries.last().is_none_or(|last| timestamp > last.timestamp && relative > last.relative) {
            self.entries.push(TimeEntry { timestamp, relative });
        }
    }

    /// The last offset (relative) up to which all records are earlier than `timestamp`, or as early: the search by time starts there.
    pub(crate) fn lookup(&self, timestamp: i64) -> Option<u32> {
        let after = self.entries.partition_point(|entry| entry.timestamp <= timestamp);
        after.checked_sub(1).map(|at| self.entries[at].relative)
    }

    /// Forgets entries of batches that end behind `relative`.
    pub(crate) fn truncate(&mut self, relative: u32) {
        let keep = self.entries.partition_point(|entry| entry.relative <= relative);
        self.entries.truncate(keep);
    }

    /// The last entry.
    pub(crate) fn last(&self) -> Option<TimeEntry> {
        self.entries.last().copied()
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes that the entries take in memory.
    pub(crate) fn memory(&self) -> usize {
        self.entries.capacity() * size_of::<TimeEntry>()
    }

    /// The content of the `.timeindex` file.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.entries.len() * TIME_ENTRY_SIZE);
        for entry in &self.entries {
            bytes.extend_from_slice(&entry.timestamp.to_be_bytes());
            bytes.extend_from_slice(&entry.relative.to_be_bytes());
        }
        bytes
    }

    /// Reads a `.timeindex` file; `None` if it cannot be one. Zero entries at the end are what a preallocated file holds.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        if !bytes.len().is_multiple_of(TIME_ENTRY_SIZE) {
            return None;
        }
        let mut index = TimeIndex { entries: Vec::with_capacity(bytes.len() / TIME_ENTRY_SIZE) };
        for raw in bytes.chunks_exact(TIME_ENTRY_SIZE) {
            let entry = TimeEntry { timestamp: be_i64(raw, 0), relative: be_u32(raw, 8) };
            match index.entries.last() {
                Some(_) if entry.relative == 0 => break,
                None if entry.timestamp == 0 && entry.relative == 0 && bytes.len() > TIME_ENTRY_SIZE => break,
                Some(last) if entry.timestamp <= last.timestamp || entry.relative <= last.relative => return None,
                _ => index.entries.push(entry),
            }
        }
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> TimeIndex {
        let mut index = TimeIndex::default();
        index.push(1_000, 9);
        index.push(2_000, 19);
        index
    }

    #[test]
    fn lookup_starts_at_or_before() {
        let index = sample();
        assert_eq!(index.lookup(999), None);
        assert_eq!(index.lookup(1_000), Some(9));
        assert_eq!(index.lookup(1_999), Some(9));
        assert_eq!(index.lookup(i64::MAX), Some(19));
    }

    #[test]
    fn only_rising_entries_are_kept() {
        let mut index = sample();
        index.push(2_000, 29);
        index.push(1_500, 39);
        index.push(3_000, 19);
        assert_eq!(index, sample());
    }

    #[test]
    fn disk_round_trip_and_damage() {
        let index = sample();
        let mut bytes = index.encode();
        assert_eq!(TimeIndex::decode(&bytes), Some(index.clone()));
        assert_eq!(TimeIndex::decode(&bytes[..20]), None);
        bytes.extend_from_slice(&[0; 24]);
        assert_eq!(TimeIndex::decode(&bytes), Some(index.clone()));
        let mut swapped = index.encode();
        swapped.rotate_left(12);
        assert_eq!(TimeIndex::decode(&swapped), None);
    }
}
