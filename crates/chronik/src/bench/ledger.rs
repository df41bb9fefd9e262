//! Exact accounts of a run: what was sent, acknowledged, failed and received, and how the two sides differ.
//!
//! Every record is one bit in each of three sets, so that a count is a count of records and not of events: an
//! acknowledgement that comes twice, or a record that is read twice, cannot make up for one that is missing.

use std::collections::BTreeMap;

use serde::Serialize;

use super::payload::{Alien, Stamp};

/// A set of sequence numbers.
#[derive(Debug, Default, Clone)]
struct Sequences {
    words: Vec<u64>,
    count: u64,
}

impl Sequences {
    /// Adds a number; false if it was there.
    fn insert(&mut self, sequence: u64) -> bool {
        let (word, bit) = ((sequence / 64) as usize, 1u64 << (sequence % 64));
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.count += u64::from(new);
        new
    }

    fn contains(&self, sequence: u64) -> bool {
        self.words.get((sequence / 64) as usize).is_some_and(|word| word & 1 << (sequence % 64) != 0)
    }

    /// How many of these are not in `other`, and the first of them.
    fn missing_from(&self, other: &Sequences) -> (u64, Option<u64>) {
        let mut count = 0;
        let mut first = None;
        for (index, word) in self.words.iter().enumerate() {
            let lost = word & !other.words.get(index).copied().unwrap_or(0);
            if lost != 0 && first.is_none() {
                first = Some(index as u64 * 64 + u64::from(lost.trailing_zeros()));
            }
            count += u64::from(lost.count_ones());
        }
        (count, first)
    }
}

/// One producer's stream into one partition.
#[derive(Debug, Default, Clone)]
struct Stream {
    sent: u64,
    acknowledged: Sequences,
    failed: Sequences,
    received: Sequences,
    highest_received: Option<u64>,
}

/// Everything about one partition.
#[derive(Debug, Default, Clone)]
struct Partition {
    streams: BTreeMap<u32, Stream>,
    /// Offset that the run began at.
    base: i64,
    /// Offsets behind the base that were read.
    offsets: Sequences,
    reread: u64,
    duplicated: u64,
    out_of_order: u64,
    altered: u64,
    misplaced: u64,
    unknown: u64,
    foreign: u64,
}

/// The exact counts of one partition, or of all of them together.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Partition index; absent in the totals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<u32>,
    /// Records handed to a producer.
    pub sent: u64,
    /// Records that the broker acknowledged.
    pub acknowledged: u64,
    /// Records whose send ended with an error.
    pub failed: u64,
    /// Distinct records that a consumer read.
    pub received: u64,
    /// Reads of a record that had been read before.
    pub duplicated: u64,
    /// Offsets that were read again: a consumer went back. Counted apart from duplicates, which lie at another offset.
    pub reread: u64,
    /// Acknowledged records that nobody read.
    pub missing: u64,
    /// Records that came behind a later one of the same producer.
    pub out_of_order: u64,
    /// Records whose bytes were changed.
    pub altered: u64,
    /// Records that were read from another partition than they were sent to.
    pub misplaced: u64,
    /// Records of this run that nobody sent.
    pub unknown: u64,
    /// Records of a failed send that were read all the same; allowed, since a failed send may have arrived.
    pub failed_but_received: u64,
    /// Records of other programs or runs, ignored.
    pub foreign: u64,
    /// The first missing record, `producer/sequence`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_missing: Option<String>,
}

impl Counts {
    /// True if nothing is missing, doubled, out of order, altered or failed, and every record that was sent has an outcome.
    pub fn exact(&self) -> bool {
        self.sent == self.acknowledged
            && self.acknowledged == self.received
            && [
                self.failed,
                self.duplicated,
                self.missing,
                self.out_of_order,
                self.altered,
                self.misplaced,
                self.unknown,
            ]
            .iter()
            .all(|count| *count == 0)
    }

    fn add(&mut self, other: &Counts) {
        self.sent += other.sent;
        self.acknowledged += other.acknowledged;
        self.failed += other.failed;
        self.received += other.received;
        self.duplicated += other.duplicated;
        self.reread += other.reread;
        self.missing += other.missing;
        self.out_of_order += other.out_of_order;
        self.altered += other.altered;
        self.misplaced += other.misplaced;
        self.unknown += other.unknown;
        self.failed_but_received += other.failed_but_received;
        self.foreign += other.foreign;
    }
}

/// The accounts of a run.
#[derive(Debug)]
pub struct Ledger {
    run: u64,
    partitions: BTreeMap<u32, Partition>,
}

impl Ledger {
    /// Empty accounts of `run` over partitions 0 to `partitions` − 1.
    pub fn new(run: u64, partitions: u32) -> Self {
        Self { run, partitions: (0..partitions).map(|index| (index, Partition::default())).collect() }
    }

    /// The run that these accounts are of.
    pub fn run(&self) -> u64 {
        self.run
    }

    /// Takes the next sequence of a producer's stream into a partition: the record counts as sent.
    pub fn send(&mut self, producer: u32, partition: u32) -> u64 {
        let stream = self.stream(producer, partition);
        stream.sent += 1;
        stream.sent - 1
    }

    /// The broker acknowledged a record.
    pub fn acknowledge(&mut self, producer: u32, partition: u32, sequence: u64) {
        self.stream(producer, partition).acknowledged.insert(sequence);
    }

    /// A send ended with an error.
    pub fn fail(&mut self, producer: u32, partition: u32, sequence: u64) {
        self.stream(producer, partition).failed.insert(sequence);
    }

    /// The run begins at this offset of a partition; what lies before it is not looked at.
    pub fn begin(&mut self, partition: u32, base: i64) {
        self.partitions.entry(partition).or_default().base = base;
    }

    /// A consumer read a value from a partition. Returns its stamp if it is a whole record of this run, read for the first
    /// time.
    pub fn receive(&mut self, partition: u32, offset: i64, value: &[u8]) -> Option<Stamp> {
        let run = self.run;
        let account = self.partitions.entry(partition).or_default();
        let Ok(relative) = u64::try_from(offset - account.base) else {
            account.foreign += 1;
            return None;
        };
        if !account.offsets.insert(relative) {
            account.reread += 1;
            return None;
        }
        let stamp = match Stamp::decode(value) {
            Ok(stamp) if stamp.run == run => stamp,
            Ok(_) | Err(Alien::Foreign) => {
                account.foreign += 1;
                return None;
            }
            Err(Alien::Altered) => {
                account.altered += 1;
                return None;
            }
        };
        if stamp.partition != partition {
            account.misplaced += 1;
            return Some(stamp);
        }
        match account.streams.get_mut(&stamp.producer) {
            Some(stream) if stamp.sequence < stream.sent => {
                if !stream.received.insert(stamp.sequence) {
                    account.duplicated += 1;
                } else if stream.highest_received.is_some_and(|highest| stamp.sequence < highest) {
                    account.out_of_order += 1;
                }
                stream.highest_received = stream.highest_received.max(Some(stamp.sequence));
            }
            _ => account.unknown += 1,
        }
        Some(stamp)
    }

    /// Records read so far that are this run's, each once.
    pub fn received(&self) -> u64 {
        self.partitions
            .values()
            .flat_map(|partition| partition.streams.values())
            .map(|stream| stream.received.count)
            .sum()
    }

    /// True once every acknowledged record has been read.
    pub fn complete(&self) -> bool {
        let mut streams = self.partitions.values().flat_map(|partition| partition.streams.values());
        streams.all(|stream| stream.acknowledged.missing_from(&stream.received).0 == 0)
    }

    /// The counts per partition.
    pub fn counts(&self) -> Vec<Counts> {
        self.partitions.iter().map(|(index, partition)| partition.counts(*index)).collect()
    }

    /// The counts of all partitions together.
    pub fn totals(&self) -> Counts {
        let mut totals = Counts::default();
        for counts in self.counts() {
            totals.add(&counts);
            totals.first_missing = totals.first_missing.or(counts
                .first_missing
                .map(|first| format!("partition {} record {first}", counts.partition.unwrap_or_default())));
        }
        totals
    }

    fn stream(&mut self, producer: u32, partition: u32) -> &mut Stream {
        self.partitions.entry(partition).or_default().streams.entry(producer).or_default()
    }
}

impl Partition {
    fn counts(&self, index: u32) -> Counts {
        let mut counts = Counts {
            partition: Some(index),
            duplicated: self.duplicated,
            reread: self.reread,
            out_of_order: self.out_of_order,
            altered: self.altered,
            misplaced: self.misplaced,
            unknown: self.unknown,
            foreign: self.foreign,
            ..Counts::default()
        };
        for (producer, stream) in &self.streams {
            counts.sent += stream.sent;
            counts.acknowledged += stream.acknowledged.count;
            counts.failed += stream.failed.count;
            counts.received += stream.received.count;
            let (missing, first) = stream.acknowledged.missing_from(&stream.received);
            counts.missing += missing;
            counts.first_missing = counts.first_missing.or(first.map(|sequence| format!("{producer}/{sequence}")));
            counts.failed_but_received += (0..stream.sent)
                .filter(|sequence| stream.failed.contains(*sequence) && stream.received.contains(*sequence))
                .count() as u64;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(producer: u32, partition: u32, sequence: u64) -> Vec<u8> {
        Stamp { run: 1, producer, partition, sequence, sent_us: 0 }.encode(64, &[])
    }

    /// Two partitions with ten acknowledged records each.
    fn sent() -> Ledger {
        let mut ledger = Ledger::new(1, 2);
        for partition in 0..2 {
            for _ in 0..10 {
                let sequence = ledger.send(0, partition);
                ledger.acknowledge(0, partition, sequence);
            }
        }
        ledger
    }

    #[test]
    fn everything_once_is_exact() {
        let mut ledger = sent();
        assert!(!ledger.complete());
        for partition in 0..2 {
            for sequence in 0..10 {
                assert!(ledger.receive(partition, sequence as i64, &value(0, partition, sequence)).is_some());
            }
        }
        assert!(ledger.complete());
        let totals = ledger.totals();
        assert_eq!((totals.sent, totals.acknowledged, totals.received), (20, 20, 20));
        assert!(totals.exact());
        assert_eq!(ledger.counts().iter().map(|counts| counts.received).collect::<Vec<_>>(), [10, 10]);
    }

    #[test]
    fn a_duplicate_does_not_make_up_for_a_missing_record() {
        let mut ledger = sent();
        for (offset, sequence) in [0, 1, 2, 3, 4, 4, 6, 7, 8, 9].into_iter().enumerate() {
            ledger.receive(0, offset as i64, &value(0, 0, sequence));
        }
        let counts = &ledger.counts()[0];
        assert_eq!((counts.received, counts.duplicated, counts.missing), (9, 1, 1));
        assert_eq!(counts.first_missing.as_deref(), Some("0/5"));
        assert!(!counts.exact());
    }

    #[test]
    fn each_kind_of_damage_has_its_own_count() {
        let mut ledger = sent();
        ledger.receive(0, 0, &value(0, 0, 5));
        ledger.receive(0, 1, &value(0, 0, 3));
        ledger.receive(1, 0, &value(0, 0, 4));
        ledger.receive(0, 2, &value(0, 0, 10));
        ledger.receive(0, 3, &value(9, 0, 0));
        ledger.receive(0, 4, b"of another program");
        let mut altered = value(0, 0, 6);
        altered[50] ^= 1;
        ledger.receive(0, 5, &altered);
        let (zero, one) = (&ledger.counts()[0], &ledger.counts()[1]);
        assert_eq!((zero.out_of_order, zero.unknown, zero.foreign, zero.altered), (1, 2, 1, 1));
        assert_eq!((one.misplaced, one.received, one.missing), (1, 0, 10));
    }

    #[test]
    fn a_failed_send_that_arrived_is_told_apart() {
        let mut ledger = Ledger::new(1, 1);
        for _ in 0..3 {
            ledger.send(0, 0);
        }
        ledger.acknowledge(0, 0, 0);
        ledger.fail(0, 0, 1);
        ledger.receive(0, 0, &value(0, 0, 0));
        ledger.receive(0, 1, &value(0, 0, 1));
        let totals = ledger.totals();
        assert_eq!((totals.sent, totals.acknowledged, totals.failed, totals.failed_but_received), (3, 1, 1, 1));
        assert_eq!(totals.missing, 0);
        assert!(!totals.exact());
    }

    #[test]
    fn an_offset_that_is_read_again_is_no_duplicate_in_the_log() {
        let mut ledger = sent();
        ledger.begin(0, 100);
        ledger.receive(0, 100, &value(0, 0, 0));
        ledger.receive(0, 100, &value(0, 0, 0));
        ledger.receive(0, 101, &value(0, 0, 0));
        ledger.receive(0, 99, &value(0, 0, 0));
        let counts = &ledger.counts()[0];
        assert_eq!((counts.received, counts.reread, counts.duplicated, counts.foreign), (1, 1, 1, 1));
    }
}
