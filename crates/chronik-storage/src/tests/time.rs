//! Offsets by time.

use crate::testing::{World, batch_of};
use crate::{LogConfig, ReadLimit, TimestampOffset};

fn found(timestamp_ms: i64, offset: i64) -> Option<TimestampOffset> {
    Some(TimestampOffset { timestamp_ms, offset, leader_epoch: 0 })
}

fn world(config: LogConfig) -> World {
    let world = World::new();
    let partition = world.partition_with(config);
    // Three records each: 1000 1001 1002, 1010 …, with one batch from the future in between.
    for at in 0..100 {
        let timestamp = if at == 50 { 9_000 } else { 1_000 + at * 10 };
        partition.put_durably(&batch_of(3, 300, (-1, -1, -1), timestamp));
    }
    world
}

fn check(world: &World) {
    let partition = world.partition();
    let by_time = |timestamp| partition.offset_for_timestamp(timestamp, ReadLimit::HighWatermark).unwrap();
    assert_eq!(by_time(0), found(1_000, 0));
    assert_eq!(by_time(1_001), found(1_001, 1));
    assert_eq!(by_time(1_003), found(1_010, 3));
    assert_eq!(by_time(1_492), found(1_492, 149));
    assert_eq!(by_time(1_493), found(9_000, 150), "the first record at or after, in offset order");
    assert_eq!(by_time(9_002), found(9_002, 152));
    assert_eq!(by_time(9_003), None);
    assert_eq!(partition.max_timestamp(ReadLimit::HighWatermark).unwrap(), found(9_002, 152));
}

#[test]
fn the_first_record_at_or_after_a_time() {
    let one = world(LogConfig::default());
    check(&one);
    check(&one.restart());
    let many = world(LogConfig { segment_bytes: 20_000, ..LogConfig::default() });
    assert!(many.partition().segment_count() > 3);
    check(&many);
    check(&many.power_cut());
}

#[test]
fn deleted_records_are_not_found() {
    let world = world(LogConfig::default());
    let partition = world.partition();
    partition.delete_records(152).unwrap();
    assert_eq!(partition.offset_for_timestamp(0, ReadLimit::HighWatermark).unwrap(), found(9_002, 152));
    partition.delete_records(160).unwrap();
    assert_eq!(partition.max_timestamp(ReadLimit::HighWatermark).unwrap(), found(1_992, 299));
    partition.delete_records(-1).unwrap();
    assert_eq!(partition.max_timestamp(ReadLimit::HighWatermark).unwrap(), None);
    assert_eq!(partition.offset_for_timestamp(0, ReadLimit::HighWatermark).unwrap(), None);
}

#[test]
fn an_empty_partition_has_no_times() {
    let world = World::new();
    assert_eq!(world.partition().max_timestamp(ReadLimit::HighWatermark).unwrap(), None);
    assert_eq!(world.partition().offset_for_timestamp(0, ReadLimit::HighWatermark).unwrap(), None);
}
