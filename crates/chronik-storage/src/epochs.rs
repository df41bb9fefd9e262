//! Leader epochs of a partition: which epoch began at which offset, kept in Apache Kafka's `leader-epoch-checkpoint` format.
//!
//! The file is a cache: every batch carries its epoch, so what is behind the recovery point is found again by the recovery scan. It is
//! therefore written with the checkpoint that moves the recovery point, not with every append.

/// One epoch and the first offset that was, or will be, written in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EpochStart {
    pub(crate) epoch: i32,
    pub(crate) start: i64,
}

/// The epochs of one partition, rising in epoch and start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct EpochCache {
    entries: Vec<EpochStart>,
    dirty: bool,
}

impl EpochCache {
    /// Notes that `epoch` begins at `start`. What it contradicts (a later epoch, or one that begins at or behind `start`) never had a
    /// record and is forgotten.
    pub(crate) fn assign(&mut self, epoch: i32, start: i64) {
        if epoch < 0 || self.entries.last().is_some_and(|last| last.epoch == epoch && last.start <= start) {
            return;
        }
        self.entries.retain(|entry| entry.epoch < epoch && entry.start < start);
        self.entries.push(EpochStart { epoch, start });
        self.dirty = true;
    }

    /// The last epoch, if there is any.
    pub(crate) fn latest(&self) -> Option<EpochStart> {
        self.entries.last().copied()
    }

    /// The epoch in which `offset` was written.
    pub(crate) fn epoch_at(&self, offset: i64) -> Option<i32> {
        let after = self.entries.partition_point(|entry| entry.start <= offset);
        after.checked_sub(1).map(|at| self.entries[at].epoch)
    }

    /// The greatest epoch that is at most `requested`, and the offset behind its last record; `None` if it is unknown.
    pub(crate) fn end_offset(&self, requested: i32, log_end: i64) -> Option<(i32, i64)> {
        let latest = self.latest()?;
        if requested == latest.epoch {
            return Some((requested, log_end));
        }
        if requested > latest.epoch || requested < 0 {
            return None;
        }
        let higher = self.entries.partition_point(|entry| entry.epoch <= requested);
        let end = self.entries[higher].start;
        Some((higher.checked_sub(1).map_or(requested, |floor| self.entries[floor].epoch), end))
    }

    /// Forgets what lies at or behind `end`.
    pub(crate) fn truncate_from_end(&mut self, end: i64) {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.start < end);
        self.dirty |= self.entries.len() != before;
    }

    /// Forgets epochs that end at or before `start`; the one that holds it begins there now.
    pub(crate) fn truncate_from_start(&mut self, start: i64) {
        let keep = self.entries.partition_point(|entry| entry.start <= start).saturating_sub(1);
        if keep > 0 {
            self.entries.drain(..keep);
            self.dirty = true;
        }
        if let Some(first) = self.entries.first_mut().filter(|first| first.start < start) {
            first.start = start;
            self.dirty = true;
        }
    }

    /// Whether there is something that the file does not hold yet; asking clears it.
    pub(crate) fn take_dirty(&mut self) -> bool {
        std::mem::take(&mut self.dirty)
    }

    /// The content of the `leader-epoch-checkpoint` file.
    pub(crate) fn encode(&self) -> String {
        use std::fmt::Write;
        let mut text = format!("0\n{}\n", self.entries.len());
        for entry in &self.entries {
            let _ = writeln!(text, "{} {}", entry.epoch, entry.start);
        }
        text
    }

    /// Reads a `leader-epoch-checkpoint` file; `None` if it is damaged.
    pub(crate) fn decode(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next()? != "0" {
            return None;
        }
        let count: usize = lines.next()?.parse().ok()?;
        let mut entries: Vec<EpochStart> = Vec::new();
        for line in lines.filter(|line| !line.is_empty()) {
            let (epoch, start) = line.split_once(' ')?;
            let entry = EpochStart { epoch: epoch.parse().ok()?, start: start.parse().ok()? };
            if entries.last().is_some_and(|last| last.epoch >= entry.epoch || last.start > entry.start) {
                return None;
            }
            entries.push(entry);
        }
        (entries.len() == count).then_some(EpochCache { entries, dirty: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> EpochCache {
        let mut cache = EpochCache::default();
        cache.assign(1, 0);
        cache.assign(3, 10);
        cache.assign(4, 25);
        cache
    }

    #[test]
    fn end_offsets_are_kafkas() {
        let cache = sample();
        assert_eq!(cache.end_offset(0, 40), Some((0, 0)), "older than the first");
        assert_eq!(cache.end_offset(1, 40), Some((1, 10)));
        assert_eq!(cache.end_offset(2, 40), Some((1, 10)), "an epoch without a record: the one before it");
        assert_eq!(cache.end_offset(3, 40), Some((3, 25)));
        assert_eq!(cache.end_offset(4, 40), Some((4, 40)));
        assert_eq!(cache.end_offset(5, 40), None);
        assert_eq!(cache.end_offset(-1, 40), None);
        assert_eq!(EpochCache::default().end_offset(0, 40), None);
    }

    #[test]
    fn an_epoch_without_a_record_is_replaced() {
        let mut cache = sample();
        cache.assign(5, 40);
        cache.assign(6, 40);
        assert_eq!(cache.latest(), Some(EpochStart { epoch: 6, start: 40 }));
        assert_eq!(cache.end_offset(5, 50), Some((4, 40)));
        assert_eq!(cache.epoch_at(39), Some(4));
        assert_eq!(cache.epoch_at(40), Some(6));
    }

    #[test]
    fn truncation() {
        let mut cache = sample();
        cache.truncate_from_start(12);
        assert_eq!(cache.encode(), "0\n2\n3 12\n4 25\n");
        cache.truncate_from_end(25);
        assert_eq!(cache.encode(), "0\n1\n3 12\n");
        assert!(cache.take_dirty());
        assert!(!cache.take_dirty());
    }

    #[test]
    fn file_round_trip_and_damage() {
        let text = sample().encode();
        assert_eq!(text, "0\n3\n1 0\n3 10\n4 25\n");
        assert_eq!(EpochCache::decode(&text).map(|cache| cache.encode()), Some(text));
        for bad in ["", "1\n0\n", "0\n2\n1 0\n", "0\nx\n", "0\n2\n3 0\n1 5\n", "0\n1\n3 zero\n"] {
            assert_eq!(EpochCache::decode(bad), None, "{bad:?}");
        }
    }
}
