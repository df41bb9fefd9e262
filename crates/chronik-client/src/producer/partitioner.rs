//! Which partition a record goes to: by its key as Java's client decides, so that all clients agree; without a key, one
//! partition until a batch is full (KIP-480), then the next.

/// Java's 32-bit murmur2 with Kafka's seed.
pub fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    let mut hash = SEED ^ data.len() as u32;
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (i, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * i);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// The partition of a key among `partitions`, which is not 0.
pub fn partition_for_key(key: &[u8], partitions: usize) -> usize {
    (murmur2(key) & 0x7fff_ffff) as usize % partitions
}

/// The partition that records without a key go to at the moment, per topic.
#[derive(Debug, Clone, Default)]
pub(super) struct Sticky {
    partition: usize,
    bytes: usize,
}

impl Sticky {
    /// Starts somewhere, so that many producers do not all begin with partition 0.
    pub(super) fn starting_at(partition: usize) -> Self {
        Self { partition, bytes: 0 }
    }

    /// The partition for a record of `size` bytes. Moves on once `batch_bytes` went to one partition, past partitions
    /// without a leader unless none has one.
    pub(super) fn next(
        &mut self,
        size: usize,
        batch_bytes: usize,
        partitions: usize,
        has_leader: impl Fn(usize) -> bool,
    ) -> usize {
        let full = self.bytes > 0 && self.bytes + size > batch_bytes;
        if full || self.partition >= partitions || !has_leader(self.partition) {
            let from = self.partition;
            let others = (1..=partitions).map(|step| (from + step) % partitions);
            self.partition = others.clone().find(|index| has_leader(*index)).unwrap_or((from + 1) % partitions);
            self.bytes = 0;
        }
        self.bytes += size;
        self.partition
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur2_gives_what_javas_utils_gives() {
        // The vectors of Kafka's UtilsTest.testMurmur2.
        for (key, hash) in [
            (&b"21"[..], -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key) as i32, hash, "{key:?}");
        }
    }

    #[test]
    fn a_key_always_goes_to_the_same_partition() {
        assert_eq!(partition_for_key(b"foobar", 10), (-790_332_482i32 & 0x7fff_ffff) as usize % 10);
        assert_eq!(partition_for_key(b"", 1), 0);
    }

    #[test]
    fn sticky_moves_on_when_a_batch_is_full_and_visits_all() {
        let mut sticky = Sticky::starting_at(2);
        let visited: Vec<usize> = (0..8).map(|_| sticky.next(50, 100, 3, |_| true)).collect();
        assert_eq!(visited, [2, 2, 0, 0, 1, 1, 2, 2]);
    }

    #[test]
    fn sticky_avoids_partitions_without_a_leader_while_another_has_one() {
        let mut sticky = Sticky::default();
        assert_eq!((0..3).map(|_| sticky.next(100, 100, 3, |index| index == 1)).collect::<Vec<_>>(), [1, 1, 1]);
        let mut sticky = Sticky::starting_at(7);
        assert!(sticky.next(1, 100, 3, |_| false) < 3);
    }

    #[test]
    fn a_record_larger_than_a_batch_takes_one_turn() {
        let mut sticky = Sticky::default();
        assert_eq!((0..3).map(|_| sticky.next(500, 100, 3, |_| true)).collect::<Vec<_>>(), [0, 1, 2]);
    }
}
