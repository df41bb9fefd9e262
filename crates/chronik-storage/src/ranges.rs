//! A small set of byte ranges of a segment: the ones whose batches were found intact by this process.
//!
//! A sequential reader makes one range that grows. There is room for a bounded number; beyond it the smallest is forgotten, which costs
//! another check of its bytes and nothing else.

const RANGES_MAX: usize = 32;

/// Disjoint half-open ranges, rising.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ranges {
    ranges: Vec<(u32, u32)>,
}

impl Ranges {
    /// Whether all of `start..end` is in the set.
    pub(crate) fn contains(&self, start: u32, end: u32) -> bool {
        let after = self.ranges.partition_point(|range| range.0 <= start);
        after.checked_sub(1).is_some_and(|at| self.ranges[at].1 >= end)
    }

    /// Adds `start..end`.
    pub(crate) fn insert(&mut self, start: u32, end: u32) {
        if start >= end {
            return;
        }
        let first = self.ranges.partition_point(|range| range.1 < start);
        let behind = self.ranges.partition_point(|range| range.0 <= end);
        let merged =
            self.ranges[first..behind].iter().fold((start, end), |all, range| (all.0.min(range.0), all.1.max(range.1)));
        self.ranges.splice(first..behind, [merged]);
        if self.ranges.len() > RANGES_MAX {
            let smallest = self.ranges.iter().enumerate().min_by_key(|(_, range)| range.1 - range.0).map(|(at, _)| at);
            smallest.map(|at| self.ranges.remove(at));
        }
    }

    /// Forgets everything at or behind `end`.
    pub(crate) fn truncate(&mut self, end: u32) {
        self.ranges.retain(|range| range.0 < end);
        if let Some(last) = self.ranges.last_mut() {
            last.1 = last.1.min(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_merge() {
        let mut ranges = Ranges::default();
        ranges.insert(0, 10);
        ranges.insert(20, 30);
        assert!(!ranges.contains(5, 25));
        ranges.insert(10, 20);
        assert_eq!(ranges, Ranges { ranges: vec![(0, 30)] });
        assert!(ranges.contains(0, 30) && ranges.contains(7, 8) && !ranges.contains(0, 31));
        ranges.truncate(12);
        assert!(ranges.contains(0, 12) && !ranges.contains(11, 13));
    }

    #[test]
    fn the_smallest_is_forgotten() {
        let mut ranges = Ranges::default();
        for at in 0..100 {
            ranges.insert(at * 100, at * 100 + 10 + at);
        }
        assert_eq!(ranges.ranges.len(), RANGES_MAX);
        assert!(ranges.contains(9_900, 10_009) && !ranges.contains(0, 10));
    }
}
