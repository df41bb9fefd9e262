//! A whole store over the file journal, killed and cut from power again and again: nothing that was acknowledged is lost, no offset is
//! used twice, producers are known by their last batches.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chronik_protocol::Uuid;
use chronik_protocol::batch::{BatchBuilder, Batches};
use chronik_protocol::record::RecordIter;
use chronik_protocol::validate::PreparedBatch;
use chronik_storage::disk::Disk;
use chronik_storage::disk::memory::{Fault, MemoryDisk, Operation, seeded};
use chronik_storage::journal::{FileJournalOptions, FileJournals};
use chronik_storage::{
    Access, Appended, LogConfig, Moment, Partition, ReadLimit, StorageError, Store, StoreOptions, TopicIdPartition,
};
use proptest::prelude::*;

const DATA: &str = "/data";
const PARTITIONS: i32 = 3;

/// What a partition has promised.
#[derive(Debug, Default, Clone)]
struct Promises {
    /// Acknowledged as durable, or seen by a reader: survives everything.
    durable: BTreeMap<i64, u64>,
    /// Appended: survives a kill.
    appended: BTreeMap<i64, u64>,
    /// The producer's next sequence.
    sequence: i32,
}

fn options() -> FileJournalOptions {
    FileJournalOptions {
        file_bytes_min: 64 << 10,
        file_bytes_max: 256 << 10,
        idle_bytes: 128 << 10,
        ..Default::default()
    }
}

fn config() -> Arc<LogConfig> {
    Arc::new(LogConfig { segment_bytes: 8_000, ..LogConfig::default() })
}

fn id(partition: i32) -> TopicIdPartition {
    TopicIdPartition { topic_id: Uuid::from_u128(77), partition }
}

fn open(disk: &MemoryDisk) -> (Store, Vec<Arc<Partition>>) {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let journals = FileJournals::open(Arc::clone(&shared), &Path::new(DATA).join("journal"), options()).unwrap();
    let (store, _) = Store::open(StoreOptions::new(DATA, shared, journals)).unwrap();
    let partitions = (0..PARTITIONS).map(|index| store.create("t", id(index), config(), 0).unwrap()).collect();
    store.recovered().unwrap();
    (store, partitions)
}

/// One record whose value is `tag`, from the partition's producer.
fn batch(tag: u64, size: usize, sequence: i32) -> Bytes {
    let mut value = tag.to_be_bytes().to_vec();
    value.resize(8 + size, b'.');
    let mut builder = BatchBuilder::new().producer(5, 0, sequence);
    builder.push(1_000, None, Some(&value), &[]);
    builder.build().unwrap()
}

fn append(partition: &Arc<Partition>, bytes: &Bytes) -> Appended {
    partition.append(&PreparedBatch::trusted(bytes).unwrap(), Some(bytes), 5_000).unwrap()
}

fn wait(partition: &Arc<Partition>, last_offset: i64) -> Result<(), StorageError> {
    let mut committed = pin!(partition.committed(last_offset));
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Poll::Ready(result) = committed.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return result;
        }
        assert!(Instant::now() < deadline, "offset {last_offset} was not committed");
        std::thread::sleep(Duration::from_micros(50));
    }
}

/// Every record from the start, by offset; offsets have no gaps.
fn contents(partition: &Partition) -> BTreeMap<i64, u64> {
    let mut found = BTreeMap::new();
    let mut offset = partition.offsets().log_start;
    loop {
        let outcome = partition.read(offset, 1 << 16, ReadLimit::HighWatermark, true, Access::Blocking).unwrap();
        let mut bytes = Vec::new();
        outcome.records.iter().for_each(|chunk| chunk.append_to(&mut bytes).unwrap());
        for batch in Batches::new(&bytes) {
            let batch = batch.unwrap();
            batch.check_crc().unwrap();
            assert_eq!(batch.header.base_offset, found.len() as i64, "a gap");
            let record = RecordIter::new(batch.payload(), 1).next().unwrap().unwrap();
            let tag = u64::from_be_bytes(record.value.unwrap()[..8].try_into().unwrap());
            found.insert(batch.header.base_offset, tag);
        }
        if outcome.bytes == 0 {
            return found;
        }
        offset = outcome.next_offset;
    }
}

#[derive(Debug, Clone)]
enum Step {
    Append { partition: i32, size: usize, wait: bool },
    Resend { partition: i32 },
    Checkpoint,
    Maintain,
    JournalFails { torn_bytes: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let append = (0..PARTITIONS, 0..3_000usize, any::<bool>()).prop_map(|(partition, size, wait)| Step::Append {
        partition,
        size,
        wait,
    });
    let step = prop_oneof![
        20 => append,
        2 => (0..PARTITIONS).prop_map(|partition| Step::Resend { partition }),
        2 => Just(Step::Checkpoint),
        1 => Just(Step::Maintain),
        1 => (0..6_000usize).prop_map(|torn_bytes| Step::JournalFails { torn_bytes }),
    ];
    prop::collection::vec(step, 0..40)
}

#[derive(Debug, Clone, Copy)]
enum End {
    Kill,
    PowerCut,
    Clean,
}

struct World {
    disk: MemoryDisk,
    promises: Vec<Promises>,
    next_tag: u64,
}

impl World {
    /// What the promises say must be in the partition, and what is, become one.
    fn check(&mut self, partitions: &[Arc<Partition>]) {
        for (partition, promises) in partitions.iter().zip(&mut self.promises) {
            // What was kept without having been acknowledged becomes durable first.
            if partition.offsets().log_end > 0 {
                wait(partition, partition.offsets().log_end - 1).unwrap();
            }
            let found = contents(partition);
            for (offset, tag) in &promises.durable {
                assert_eq!(found.get(offset), Some(tag), "acknowledged at {offset} of {:?}", partition.id());
            }
            // What consumers can see now survives from now on.
            promises.durable.clone_from(&found);
            promises.appended.clone_from(&found);
            let known = partition.producers().into_iter().find(|(id, _)| *id == 5);
            promises.sequence = found.len() as i32;
            assert_eq!(known.is_some(), !found.is_empty());
        }
    }

    fn run(&mut self, store: &Store, partitions: &[Arc<Partition>], steps: &[Step]) {
        for step in steps {
            match *step {
                Step::Append { partition, size, wait: waits } => {
                    let promises = &mut self.promises[partition as usize];
                    let partition = &partitions[partition as usize];
                    let bytes = batch(self.next_tag, size, promises.sequence);
                    let appended = append(partition, &bytes);
                    assert!(!appended.duplicate);
                    assert_eq!(promises.appended.insert(appended.base_offset, self.next_tag), None, "used twice");
                    promises.sequence += 1;
                    self.next_tag += 1;
                    if waits {
                        wait(partition, appended.last_offset).unwrap();
                        promises.durable.clone_from(&promises.appended);
                    }
                }
                Step::Resend { partition } => {
                    let promises = &self.promises[partition as usize];
                    if let Some((&offset, &tag)) = promises.appended.last_key_value() {
                        let appended = append(&partitions[partition as usize], &batch(tag, 0, promises.sequence - 1));
                        assert_eq!((appended.duplicate, appended.base_offset), (true, offset));
                    }
                }
                Step::Checkpoint => store.checkpoint().unwrap(),
                Step::Maintain => {
                    store.maintain(Moment { wall_ms: 10_000, monotonic_ms: 10_000 }).unwrap();
                }
                Step::JournalFails { torn_bytes } => self.fail_journal(store, partitions, torn_bytes),
            }
        }
    }

    /// A write of the journal fails under load. Its session is replaced, and the partitions go on with what they still have.
    fn fail_journal(&mut self, store: &Store, partitions: &[Arc<Partition>], torn_bytes: usize) {
        store.flush();
        for (partition, promises) in partitions.iter().zip(&mut self.promises) {
            if let Some((&last, _)) = promises.appended.last_key_value() {
                wait(partition, last).unwrap();
                promises.durable.clone_from(&promises.appended);
            }
        }
        self.disk.fail(Fault { torn_bytes, ..Fault::once(Operation::Write, ".journal") });
        let promises = &mut self.promises[0];
        let appended = append(&partitions[0], &batch(self.next_tag, 100, promises.sequence));
        self.next_tag += 1;
        // The fault may have hit the preparation of the next file instead; then this is acknowledged.
        match wait(&partitions[0], appended.last_offset) {
            Ok(()) => drop(promises.durable.insert(appended.base_offset, self.next_tag - 1)),
            Err(error) => {
                assert!(store.journal_failed(), "{error}");
                self.disk.heal();
                let deadline = Instant::now() + Duration::from_secs(10);
                while store.journal_failed() {
                    let _ = store.replace_journal();
                    assert!(Instant::now() < deadline, "the journal is not replaced");
                }
            }
        }
        self.disk.heal();
        // What was not acknowledged may be there or not; the next batch shows that the partition takes writes.
        self.check(partitions);
    }

    fn cycle(&mut self, steps: &[Step], end: End, random: &mut dyn FnMut() -> u64) {
        let (store, partitions) = open(&self.disk);
        self.check(&partitions);
        self.run(&store, &partitions, steps);
        match end {
            End::Clean => {
                store.close().unwrap();
                self.promises.iter_mut().for_each(|promises| promises.durable.clone_from(&promises.appended));
                self.disk = self.disk.power_cut(random);
            }
            End::Kill => {
                self.promises.iter_mut().for_each(|promises| promises.durable.clone_from(&promises.appended));
                self.disk = self.disk.snapshot();
            }
            End::PowerCut => self.disk = self.disk.power_cut(random),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn kills_power_cuts_and_failing_disks_take_nothing_that_was_promised(
        cycles in prop::collection::vec(
            (steps(), prop_oneof![Just(End::Kill), Just(End::PowerCut), Just(End::Clean)]), 1..7),
        direct in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let disk = MemoryDisk::new();
        disk.create_dir_all(Path::new(DATA)).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        let mut world =
            World { disk, promises: vec![Promises::default(); PARTITIONS as usize], next_tag: 0 };
        let mut random = seeded(seed);
        for (steps, end) in &cycles {
            if !direct {
                world.disk.refuse_direct();
            }
            world.cycle(steps, *end, &mut random);
        }
        world.cycle(&[], End::Clean, &mut random);
    }
}
