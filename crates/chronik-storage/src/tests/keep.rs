//! Retention, DeleteRecords, bounded files.

use crate::error::ReadError;
use crate::testing::{World, batch, batch_of};
use crate::{Access, CleanupPolicy, LogConfig, Moment, ReadLimit};

fn small() -> LogConfig {
    LogConfig { segment_bytes: 1_000, retention_ms: -1, file_delete_delay_ms: 500, ..LogConfig::default() }
}

fn filled(config: &LogConfig) -> World {
    let world = World::new();
    let partition = world.partition_with(config.clone());
    for at in 0..20 {
        partition.put_durably(&batch_of(1, 400, (-1, -1, -1), 10_000 + at * 100));
    }
    assert_eq!(partition.segment_count(), 10);
    world
}

fn at(wall_ms: i64) -> Moment {
    Moment { wall_ms, monotonic_ms: wall_ms }
}

fn logs(world: &World) -> usize {
    world.disk.names("/data/t-0").iter().filter(|name| name.ends_with(".log")).count()
}

#[test]
fn retention_by_size() {
    let size = filled(&small()).partition().size_in_bytes();
    let world = filled(&LogConfig { retention_bytes: i64::try_from(size / 2).unwrap(), ..small() });
    let done = world.store.maintain(at(20_000)).unwrap();
    assert_eq!(done.segments_expired, 5);
    let partition = world.partition();
    assert_eq!(partition.offsets().log_start, 10);
    assert_eq!(partition.all()[0], (10, 10));
    let before = partition.read(9, 1, ReadLimit::HighWatermark, true, Access::Blocking);
    assert!(matches!(before, Err(ReadError::OutOfRange { log_start: 10, .. })));
    assert_eq!(logs(&world), 5);
    assert!(world.disk.names("/data/t-0").iter().any(|name| name.ends_with(".deleted")));
    world.store.maintain(at(20_500)).unwrap();
    assert!(!world.disk.names("/data/t-0").iter().any(|name| name.ends_with(".deleted")));
}

#[test]
fn retention_by_time_takes_the_active_segment_too_and_forgets_no_offset() {
    let world = filled(&LogConfig { retention_ms: 1_000, ..small() });
    // The segment with records of 10 900 and 11 000 is the first whose newest record is young enough.
    assert_eq!(world.store.maintain(at(12_000)).unwrap().segments_expired, 5);
    assert_eq!(world.partition().offsets().log_start, 10);
    assert_eq!(world.store.maintain(at(20_000)).unwrap().segments_expired, 5);
    let offsets = world.partition().offsets();
    assert_eq!((offsets.log_start, offsets.log_end), (20, 20));
    for end in [World::power_cut, World::kill, World::restart] {
        let copy = World::on(world.disk.after_kill(), world.journals.after_crash(), world.durability);
        copy.partition_with(small());
        let next = end(copy);
        let partition = next.partition_with(small());
        assert_eq!(partition.offsets().log_start, 20);
        assert_eq!(partition.put_durably(&batch(1, 10)), 20);
    }
}

#[test]
fn what_is_compacted_is_not_deleted_by_age_or_size() {
    let policy = CleanupPolicy { delete: false, compact: true };
    let world = filled(&LogConfig { retention_ms: 1, retention_bytes: 1, cleanup_policy: policy, ..small() });
    assert_eq!(world.store.maintain(at(1_000_000)).unwrap().segments_expired, 0);
}

#[test]
fn a_clock_ten_years_ahead_deletes_nothing_at_once() {
    let world = filled(&LogConfig { retention_ms: 60_000, ..small() });
    world.store.maintain(at(20_000)).unwrap();
    let ahead = 3_650 * 24 * 3_600_000_i64;
    let later = |ms: i64| Moment { wall_ms: ahead + ms, monotonic_ms: 20_000 + ms };
    assert_eq!(world.store.maintain(later(1_000)).unwrap().segments_expired, 0);
    assert_eq!(world.store.maintain(later(3_600_000)).unwrap().segments_expired, 0);
    assert_eq!(world.store.maintain(later(3_601_000)).unwrap().segments_expired, 10);
}

#[test]
fn deleted_records_stay_deleted() {
    let world = filled(&small());
    let partition = world.partition();
    assert_eq!(partition.delete_records(7).unwrap(), 7);
    assert_eq!(partition.delete_records(3).unwrap(), 7);
    assert!(matches!(partition.delete_records(21), Err(ReadError::OutOfRange { .. })));
    world.store.write_log_starts().unwrap();
    assert_eq!(partition.all()[0], (7, 7));
    assert_eq!(world.store.maintain(at(1)).unwrap().segments_expired, 3);
    drop(partition);
    let world = world.power_cut();
    let partition = world.partition_with(small());
    assert_eq!(partition.offsets().log_start, 7);
    assert_eq!(partition.all()[0], (7, 7));
    assert_eq!(partition.delete_records(-1).unwrap(), 20);
    world.store.maintain(at(2)).unwrap();
    assert_eq!(partition.all(), []);
    assert_eq!(partition.put_durably(&batch(1, 10)), 20);
}

#[test]
fn few_files_are_open_however_many_segments_there_are() {
    use crate::testing::{MemDisk, MemJournals};
    use crate::{Store, StoreOptions, TopicIdPartition};
    use chronik_protocol::uuid::Uuid;
    use std::sync::Arc;
    let mut options = StoreOptions::new("/data", MemDisk::new(), MemJournals::new());
    options.open_files_max = 8;
    let (store, _) = Store::open(options).unwrap();
    let config = Arc::new(LogConfig::default());
    let create = |partition| {
        let id = TopicIdPartition { topic_id: Uuid::from_bytes([9; 16]), partition };
        store.create("many", id, config.clone(), 0).unwrap()
    };
    let partitions: Vec<_> = (0..100).map(create).collect();
    for round in 0..3 {
        for partition in &partitions {
            assert_eq!(partition.put_durably(&batch(1, 10)), round);
            assert_eq!(partition.all().len() as i64, round + 1);
        }
        assert!(store.open_files() <= 8, "{}", store.open_files());
    }
    store.recovered().unwrap();
    store.checkpoint().unwrap();
    assert!(store.open_files() <= 8);
}
