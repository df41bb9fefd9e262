//! Judges what consumers have read: nothing twice, nothing missing, nothing foreign, in order per partition.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Result, bail};

use super::process::{Record, Said};

/// Records of each partition of a topic that the matrix produces.
pub(super) const PER_PARTITION: i64 = 1_000;
/// Its partitions.
pub(super) const PARTITIONS: i64 = 3;
/// Its records.
pub(super) const ALL: i64 = PER_PARTITION * PARTITIONS;

/// Offsets by partition.
pub(super) type Offsets = BTreeMap<i64, i64>;

/// What is wrong with the reading of one partition.
#[derive(Default, PartialEq, Eq, Debug)]
struct Wrong {
    missing: i64,
    twice: i64,
    out_of_order: i64,
    foreign: i64,
}

/// Checks that `records` are, partition by partition, those from `from` (0 where it says nothing) up to the end, each once and in order.
pub(super) fn exactly<'a>(records: impl Iterator<Item = &'a Record>, from: &Offsets) -> Result<()> {
    let mut by_partition: BTreeMap<i64, Vec<&Record>> = (0..PARTITIONS).map(|p| (p, Vec::new())).collect();
    for record in records {
        by_partition.entry(record.partition).or_default().push(record);
    }
    let mut complaint = String::new();
    for (partition, records) in by_partition {
        let end = if partition < PARTITIONS { PER_PARTITION } else { 0 };
        let wrong = wrong(partition, &records, from.get(&partition).copied().unwrap_or(0)..end);
        if wrong != Wrong::default() {
            let Wrong { missing, twice, out_of_order, foreign } = wrong;
            let read = records.len();
            write!(complaint, " [{partition}]: {read} read, {missing} missing, {twice} twice, ")?;
            write!(complaint, "{out_of_order} out of order, {foreign} foreign;")?;
        }
    }
    if !complaint.is_empty() {
        bail!("partition{}", complaint.trim_end_matches(';'));
    }
    Ok(())
}

fn wrong(partition: i64, records: &[&Record], wanted: std::ops::Range<i64>) -> Wrong {
    let mut wrong = Wrong::default();
    let mut seen = BTreeMap::<i64, i64>::new();
    let mut last = -1;
    for record in records {
        let right = record.value == format!("{partition}:{}", record.offset) && wanted.contains(&record.offset);
        if !right {
            wrong.foreign += 1;
            continue;
        }
        let times = seen.entry(record.offset).or_default();
        *times += 1;
        if *times > 1 {
            wrong.twice += 1;
        } else if record.offset < last {
            wrong.out_of_order += 1;
        }
        last = last.max(record.offset);
    }
    wrong.missing = wanted.count() as i64 - seen.len() as i64;
    wrong
}

/// The next offset of each partition after `records`.
pub(super) fn next_offsets<'a>(records: impl Iterator<Item = &'a Record>) -> Offsets {
    let mut next = Offsets::new();
    for record in records {
        next.insert(record.partition, record.offset + 1);
    }
    next
}

/// Checks a consumer's closing summary: it ended for `reason`, counted what it printed, and the broker holds `committed` for its group.
pub(super) fn summary(said: &Said, reason: &str, committed: &Offsets) -> Result<()> {
    let Some(done) = &said.done else { bail!("it ended without a summary") };
    if done.reason != reason {
        bail!(
            "it ended by {} after {} records, not by {reason}; assigned {:?}",
            done.reason,
            done.count,
            said.assigned
        );
    }
    if done.count != said.records.len() as u64 {
        bail!("it says that it read {} records, and printed {}", done.count, said.records.len());
    }
    match &done.committed {
        Some(held) if held != committed => bail!("committed are {held:?}, not {committed:?}"),
        _ => Ok(()),
    }
}

/// The offsets of a group that has read everything.
pub(super) fn everything() -> Offsets {
    (0..PARTITIONS).map(|partition| (partition, PER_PARTITION)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Record> {
        let record = |partition, offset| Record {
            partition,
            offset,
            key: String::new(),
            value: format!("{partition}:{offset}"),
        };
        (0..PARTITIONS).flat_map(|p| (0..PER_PARTITION).map(move |o| record(p, o))).collect()
    }

    fn complaint(records: &[Record]) -> String {
        exactly(records.iter(), &Offsets::new()).unwrap_err().to_string()
    }

    #[test]
    fn everything_once_and_in_order_is_right() {
        exactly(all().iter(), &Offsets::new()).unwrap();
        let rest: Vec<Record> = all().into_iter().filter(|r| r.partition != 1 || r.offset >= 400).collect();
        exactly(rest.iter(), &Offsets::from([(1, 400)])).unwrap();
    }

    #[test]
    fn each_fault_is_counted() {
        let mut records = all();
        records.remove(5);
        assert_eq!(complaint(&records), "partition [0]: 999 read, 1 missing, 0 twice, 0 out of order, 0 foreign");
        let mut records = all();
        records.insert(1_500, records[1_400].clone());
        assert_eq!(complaint(&records), "partition [1]: 1001 read, 0 missing, 1 twice, 0 out of order, 0 foreign");
        let mut records = all();
        records.swap(2_100, 2_101);
        assert_eq!(complaint(&records), "partition [2]: 1000 read, 0 missing, 0 twice, 1 out of order, 0 foreign");
        let mut records = all();
        records[7].value = "1:7".to_owned();
        assert_eq!(complaint(&records), "partition [0]: 1000 read, 1 missing, 0 twice, 0 out of order, 1 foreign");
    }

    #[test]
    fn a_partition_left_out_is_missing_whole() {
        let records: Vec<Record> = all().into_iter().filter(|r| r.partition == 0).collect();
        assert!(complaint(&records).contains("[1]: 0 read, 1000 missing"));
    }
}
