//! The sparse offset index of a segment: which file position a batch is at, in Apache Kafka's `.index` format.
//!
//! An entry (offset, position) says that the batch which starts at `position` ends with `offset`. Entries rise in both, so a lookup gives
//! a position at or before the batch that is looked for, and the reader walks headers from there. On disk an entry is eight bytes: the
//! offset relative to the segment's base and the position, both big-endian. The index can always be rebuilt from the segment.

/// Bytes of one entry on disk.
pub(crate) const OFFSET_ENTRY_SIZE: usize = 8;

/// One entry: where the batch that ends with an offset starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OffsetEntry {
    /// Last offset of the batch, relative to the segment's base offset.
    pub(crate) relative: u32,
    /// File position of the batch's first byte.
    pub(crate) position: u32,
}

/// The sparse offset index of one segment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OffsetIndex {
    entries: Vec<OffsetEntry>,
}

impl OffsetIndex {
    /// Adds an entry behind all others; one that does not rise is left out, since it would make lookups ambiguous.
    pub(crate) fn push(&mut self, relative: u32, position: u32) {
        if self.entries.last().is_none_or(|last| relative > last.relative && position > last.position) {
            self.entries.push(OffsetEntry { relative, position });
        }
    }

    /// The position of the last indexed batch that ends at or before `relative`; 0, the start of the segment, if there is none.
    pub(crate) fn lookup(&self, relative: u32) -> u32 {
        self.find(relative).map_or(0, |entry| entry.position)
    }

    /// The last indexed batch that ends at or before `relative`.
    pub(crate) fn find(&self, relative: u32) -> Option<OffsetEntry> {
        let after = self.entries.partition_point(|entry| entry.relative <= relative);
        after.checked_sub(1).map(|at| self.entries[at])
    }

    /// The last indexed batch start that is at or before `position`.
    pub(crate) fn floor_position(&self, position: u32) -> Option<u32> {
        let after = self.entries.partition_point(|entry| entry.position <= position);
        after.checked_sub(1).map(|at| self.entries[at].position)
    }

    /// The last entry.
    pub(crate) fn last(&self) -> Option<OffsetEntry> {
        self.entries.last().copied()
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Forgets the entries of batches that start at or behind `position`.
    pub(crate) fn truncate(&mut self, position: u32) {
        let keep = self.entries.partition_point(|entry| entry.position < position);
        self.entries.truncate(keep);
    }

    /// Bytes that the entries take in memory.
    pub(crate) fn memory(&self) -> usize {
        self.entries.capacity() * size_of::<OffsetEntry>()
    }

    /// The content of the `.index` file.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.entries.len() * OFFSET_ENTRY_SIZE);
        for entry in &self.entries {
            bytes.extend_from_slice(&entry.relative.to_be_bytes());
            bytes.extend_from_slice(&entry.position.to_be_bytes());
        }
        bytes
    }

    /// Reads a `.index` file; `None` if it cannot be the index of a segment of `segment_size` bytes. Zero entries at the end are what a
    /// preallocated file of Apache Kafka holds behind its last entry.
    pub(crate) fn decode(bytes: &[u8], segment_size: u64) -> Option<Self> {
        if !bytes.len().is_multiple_of(OFFSET_ENTRY_SIZE) {
            return None;
        }
        let mut index = OffsetIndex { entries: Vec::with_capacity(bytes.len() / OFFSET_ENTRY_SIZE) };
        for raw in bytes.chunks_exact(OFFSET_ENTRY_SIZE) {
            let entry = OffsetEntry { relative: be_u32(raw, 0), position: be_u32(raw, 4) };
            let zero = entry.relative == 0 && entry.position == 0;
            match index.entries.last() {
                _ if zero && !index.entries.is_empty() => break,
                Some(last) if entry.relative <= last.relative || entry.position <= last.position => return None,
                _ if u64::from(entry.position) >= segment_size.max(1) => return None,
                None if zero && bytes.len() > OFFSET_ENTRY_SIZE && bytes.iter().all(|byte| *byte == 0) => break,
                _ => index.entries.push(entry),
            }
        }
        Some(index)
    }
}

pub(crate) fn be_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub(crate) fn be_i64(bytes: &[u8], at: usize) -> i64 {
    let mut raw = [0; 8];
    raw.copy_from_slice(&bytes[at..at + 8]);
    i64::from_be_bytes(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> OffsetIndex {
        let mut index = OffsetIndex::default();
        index.push(9, 100);
        index.push(19, 200);
        index.push(29, 300);
        index
    }

    #[test]
    fn lookup_gives_the_batch_at_or_before() {
        let index = sample();
        assert_eq!(index.lookup(8), 0);
        assert_eq!(index.lookup(9), 100);
        assert_eq!(index.lookup(25), 200);
        assert_eq!(index.lookup(u32::MAX), 300);
        assert_eq!(index.floor_position(99), None);
        assert_eq!(index.floor_position(299), Some(200));
    }

    #[test]
    fn an_entry_that_does_not_rise_is_left_out() {
        let mut index = sample();
        index.push(29, 400);
        index.push(40, 300);
        assert_eq!(index, sample());
    }

    #[test]
    fn disk_round_trip_and_preallocated_tail() {
        let index = sample();
        let mut bytes = index.encode();
        assert_eq!(OffsetIndex::decode(&bytes, 400), Some(index.clone()));
        bytes.extend_from_slice(&[0; 32]);
        assert_eq!(OffsetIndex::decode(&bytes, 400), Some(index));
        assert_eq!(OffsetIndex::decode(&[0; 64], 400), Some(OffsetIndex::default()));
    }

    #[test]
    fn damage_is_refused() {
        let bytes = sample().encode();
        assert_eq!(OffsetIndex::decode(&bytes[..23], 400), None, "cut inside an entry");
        assert_eq!(OffsetIndex::decode(&bytes, 300), None, "points behind the segment");
        let mut swapped = bytes.clone();
        swapped.rotate_left(8);
        assert_eq!(OffsetIndex::decode(&swapped, 400), None, "not rising");
    }

    #[test]
    fn truncate_drops_what_starts_behind() {
        let mut index = sample();
        index.truncate(200);
        assert_eq!(index.last(), Some(OffsetEntry { relative: 9, position: 100 }));
        assert_eq!(index.len(), 1);
    }
}
