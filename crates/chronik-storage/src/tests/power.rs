//! Random histories on the real journal and a disk that tears writes between sectors and forgets names when the power is cut.

use std::sync::Arc;

use proptest::prelude::*;

use crate::disk::memory::{MemoryDisk, seeded};
use crate::journal::{FileJournalOptions, FileJournals};
use crate::testing::{batch_of, id};
use crate::{LogConfig, Moment, Partition, Store, StoreOptions};

#[derive(Debug, Clone, Copy)]
enum Step {
    Append { count: usize, size: usize, wait: bool },
    Checkpoint,
    DeleteRecords { back: i64 },
    Retention,
    Kill,
    PowerCut { seed: u64 },
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (1_usize..5, 0_usize..900, any::<bool>()).prop_map(|(count, size, wait)| Step::Append { count, size, wait }),
        2 => Just(Step::Checkpoint),
        1 => (0_i64..10).prop_map(|back| Step::DeleteRecords { back }),
        1 => Just(Step::Retention),
        1 => Just(Step::Kill),
        3 => any::<u64>().prop_map(|seed| Step::PowerCut { seed }),
        1 => Just(Step::Restart),
    ]
}

fn open(disk: &MemoryDisk) -> Store {
    let disk = Arc::new(disk.clone());
    let options = FileJournalOptions {
        file_bytes_min: 64 << 10,
        file_bytes_max: 64 << 10,
        idle_bytes: 64 << 10,
        ..Default::default()
    };
    let journals = FileJournals::open(disk.clone(), "/data/journal".as_ref(), options).unwrap();
    Store::open(StoreOptions::new("/data", disk, journals)).unwrap().0
}

fn partition(store: &Store) -> Arc<Partition> {
    let config = LogConfig {
        segment_bytes: 4_000,
        retention_bytes: 9_000,
        retention_ms: -1,
        file_delete_delay_ms: 0,
        ..LogConfig::default()
    };
    store.create("t", id(), Arc::new(config), 0).unwrap()
}

struct World {
    disk: MemoryDisk,
    store: Store,
    /// First and last offset, first sequence.
    batches: Vec<(i64, i64, i32)>,
    sequence: i32,
    /// Everything before was acknowledged.
    acknowledged: i64,
    /// Records before this were deleted, durably.
    deleted: i64,
}

impl World {
    fn new() -> Self {
        let disk = MemoryDisk::new();
        let store = open(&disk);
        World { disk, store, batches: Vec::new(), sequence: 0, acknowledged: 0, deleted: 0 }
    }

    fn append(&mut self, count: usize, size: usize, wait: bool) {
        let partition = partition(&self.store);
        let appended = partition.put(&batch_of(count, size, (5, 0, self.sequence), 1_000)).unwrap();
        assert_eq!(appended.base_offset, self.batches.last().map_or(0, |last| last.1 + 1));
        self.batches.push((appended.base_offset, appended.last_offset, self.sequence));
        self.sequence += i32::try_from(count).unwrap();
        if wait {
            partition.wait(appended.last_offset).unwrap();
            self.acknowledged = appended.last_offset + 1;
        }
    }

    fn delete_records(&mut self, back: i64) {
        let partition = partition(&self.store);
        let before = (partition.offsets().high_watermark - back).max(0);
        partition.delete_records(before).unwrap();
        self.store.write_log_starts().unwrap();
        self.deleted = self.deleted.max(before);
    }

    /// Goes on with another disk, as the next process does.
    fn next(&mut self, disk: MemoryDisk) {
        self.store = open(&disk);
        self.disk = disk;
        let partition = partition(&self.store);
        self.store.recovered().unwrap();
        self.store.flush();
        let end = partition.offsets().log_end;
        assert!(end >= self.acknowledged, "acknowledged up to {}, found {end}", self.acknowledged);
        self.batches.retain(|batch| batch.0 < end);
        self.sequence = self.batches.last().map_or(0, |last| last.2 + i32::try_from(last.1 - last.0 + 1).unwrap());
        self.check();
    }

    fn check(&self) {
        let partition = partition(&self.store);
        let offsets = partition.offsets();
        assert!(offsets.log_start >= self.deleted, "deleted up to {}, starts at {}", self.deleted, offsets.log_start);
        let visible = |batch: &&(i64, i64, i32)| batch.1 >= offsets.log_start && batch.0 < offsets.high_watermark;
        let expected: Vec<_> = self.batches.iter().filter(visible).map(|batch| (batch.0, batch.1)).collect();
        assert_eq!(partition.all(), expected);
        for batch in self.batches.iter().rev().take(5) {
            let count = usize::try_from(batch.1 - batch.0 + 1).unwrap();
            let again = partition.put(&batch_of(count, 1, (5, 0, batch.2), 1_000)).unwrap();
            assert_eq!((again.base_offset, again.duplicate), (batch.0, true));
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Append { count, size, wait } => self.append(count, size, wait),
            Step::Checkpoint => {
                partition(&self.store);
                self.store.recovered().unwrap();
                self.store.checkpoint().unwrap();
            }
            Step::DeleteRecords { back } => self.delete_records(back),
            Step::Retention => {
                partition(&self.store);
                self.store.maintain(Moment { wall_ms: 10_000, monotonic_ms: 10_000 }).map(drop).unwrap();
            }
            Step::Kill => self.next(self.disk.snapshot()),
            Step::PowerCut { seed } => self.next(self.disk.power_cut(&mut seeded(seed))),
            Step::Restart => {
                partition(&self.store);
                self.store.recovered().unwrap();
                self.store.close().unwrap();
                self.next(self.disk.snapshot());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn nothing_acknowledged_is_lost(steps in proptest::collection::vec(step(), 1..50)) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.store.flush();
        world.check();
    }
}
