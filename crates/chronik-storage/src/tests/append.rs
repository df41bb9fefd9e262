//! Appending, reading, waiting.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::error::{AppendError, ReadError};
use crate::testing::{World, batch, batch_of, id};
use crate::{Access, LogConfig, Offsets, ReadLimit, SequenceError, Watcher};

#[test]
fn offsets_have_no_gaps_and_reads_give_whole_batches() {
    let world = World::new();
    let partition = world.partition();
    assert_eq!(partition.put_durably(&batch(3, 10)), 0);
    assert_eq!(partition.put_durably(&batch(1, 10)), 3);
    assert_eq!(partition.put_durably(&batch(5, 10)), 4);
    assert_eq!(partition.offsets(), Offsets { log_start: 0, last_stable: 9, high_watermark: 9, log_end: 9 });
    assert_eq!(partition.all(), [(0, 2), (3, 3), (4, 8)]);
    assert_eq!(partition.batches_from(6, 1 << 20).0, [(4, 8)], "an offset inside a batch gives the whole batch");
    assert_eq!(partition.batches_from(0, 1).0, [(0, 2), (3, 3), (4, 8)], "one batch at least, each time");
    let too_small = partition.read(0, 1, ReadLimit::HighWatermark, false, Access::Blocking).unwrap();
    assert_eq!(too_small.bytes, 0);
    for offset in [-1, 10] {
        let outcome = partition.read(offset, 1, ReadLimit::HighWatermark, true, Access::Blocking);
        assert!(matches!(outcome, Err(ReadError::OutOfRange { .. })), "{offset}");
    }
}

#[test]
fn nothing_is_visible_before_it_is_durable() {
    let world = World::new();
    let partition = world.partition();
    world.journals.hold(true);
    let appended = partition.put(&batch(2, 10)).unwrap();
    assert_eq!(partition.offsets(), Offsets { log_start: 0, last_stable: 0, high_watermark: 0, log_end: 2 });
    assert_eq!(partition.read(0, 1 << 20, ReadLimit::HighWatermark, true, Access::Hot).unwrap().bytes, 0);
    assert!(partition.read(0, 1 << 20, ReadLimit::LogEnd, true, Access::Hot).unwrap().bytes > 0);
    let watcher = Watcher::new();
    partition.watch(&watcher);
    assert!(!watcher.has_fired());
    let mut committed = Box::pin(partition.committed(appended.last_offset));
    assert!(matches!(committed.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Pending));
    world.journals.hold(false);
    partition.wait(appended.last_offset).unwrap();
    // Flushing waits until everybody has been told.
    world.store.flush();
    assert!(watcher.has_fired());
    assert_eq!(partition.all(), [(0, 1)]);
}

#[test]
fn large_reads_are_file_ranges_that_end_with_a_batch() {
    let world = World::new();
    let partition = world.partition();
    for _ in 0..200 {
        partition.put(&batch(4, 250)).unwrap();
    }
    partition.wait(799).unwrap();
    let expected: Vec<_> = (0..200).map(|at| (at * 4, at * 4 + 3)).collect();
    for max_bytes in [1 << 20, 100_000, 50_000, 33_000, 20_000, 5_000] {
        assert_eq!(partition.batches_from(0, max_bytes).0, expected, "max_bytes {max_bytes}");
    }
    let outcome = partition.read(0, 1 << 20, ReadLimit::HighWatermark, true, Access::Hot).unwrap();
    assert!(matches!(outcome.records[..], [chronik_protocol::wire::Chunk::File { .. }]));
    for offset in [1, 399, 400, 797] {
        assert_eq!(partition.batches_from(offset, 40_000).0[0], (offset / 4 * 4, offset / 4 * 4 + 3));
    }
}

#[test]
fn segments_roll_by_size_and_reads_go_on() {
    let world = World::new();
    let config = LogConfig { segment_bytes: 3_000, ..LogConfig::default() };
    let partition = world.partition_with(config);
    for _ in 0..30 {
        partition.put(&batch(2, 200)).unwrap();
    }
    partition.wait(59).unwrap();
    assert!(partition.segment_count() > 4);
    assert_eq!(partition.all().len(), 30);
    assert_eq!(
        world.disk.names("/data/t-0").iter().filter(|name| name.ends_with(".log")).count(),
        partition.segment_count()
    );
}

#[test]
fn segments_roll_by_the_records_time() {
    let world = World::new();
    let partition = world.partition_with(LogConfig { segment_ms: 1_000, ..LogConfig::default() });
    for timestamp in [10_000, 10_500, 11_000, 11_001, 11_500] {
        partition.put(&batch_of(1, 10, (-1, -1, -1), timestamp)).unwrap();
    }
    assert_eq!(partition.segment_count(), 2);
}

#[test]
fn retries_get_the_offset_they_had() {
    let world = World::new();
    let partition = world.partition();
    for sequence in 0..7 {
        partition.put(&batch_of(1, 10, (5, 0, sequence), 1_000)).unwrap();
    }
    let again = partition.put(&batch_of(1, 10, (5, 0, 3), 1_000)).unwrap();
    assert_eq!((again.base_offset, again.duplicate), (3, true));
    let forgotten = partition.put(&batch_of(1, 10, (5, 0, 1), 1_000));
    assert!(matches!(forgotten, Err(AppendError::Sequence(SequenceError::OutOfOrder { .. }))));
    let next = partition.put(&batch_of(1, 10, (5, 0, 7), 1_000)).unwrap();
    assert_eq!((next.base_offset, next.duplicate), (7, false));
}

#[test]
fn a_full_disk_leaves_no_part_of_a_batch() {
    let world = World::new();
    let partition = world.partition();
    partition.put_durably(&batch(1, 100));
    world.disk.set_room(50);
    assert!(matches!(partition.put(&batch(1, 100)), Err(AppendError::Storage(_))));
    world.disk.set_room(u64::MAX);
    assert_eq!(partition.put_durably(&batch(1, 100)), 1);
    assert_eq!(partition.all(), [(0, 0), (1, 1)]);
}

#[test]
fn a_failed_journal_is_replaced_and_what_waited_becomes_durable() {
    let world = World::new();
    let partition = world.partition();
    partition.put_durably(&batch(1, 10));
    world.journals.fail(true);
    let appended = partition.put(&batch(2, 10)).unwrap();
    assert!(partition.wait(appended.last_offset).is_err());
    assert!(matches!(partition.put(&batch(1, 10)), Err(AppendError::Storage(_))));
    assert_eq!(partition.all(), [(0, 0)], "what is durable stays readable");
    assert!(world.store.journal_failed());
    world.journals.fail(false);
    assert!(world.store.replace_journal().unwrap());
    partition.wait(2).unwrap();
    assert_eq!(partition.put_durably(&batch(1, 10)), 3);
    assert_eq!(partition.all(), [(0, 0), (1, 2), (3, 3)]);
    let world = world.power_cut();
    assert_eq!(world.partition().all(), [(0, 0), (1, 2), (3, 3)]);
}

#[test]
fn a_deleted_partition_wakes_who_waits_and_is_gone() {
    let world = World::new();
    let partition = world.partition();
    partition.put_durably(&batch(1, 10));
    let watcher = Watcher::new();
    partition.watch(&watcher);
    world.store.delete(&[id()]).unwrap();
    assert!(watcher.has_fired());
    assert!(world.store.get(id()).is_none());
    assert!(matches!(partition.put(&batch(1, 10)), Err(AppendError::Storage(_))));
    assert!(matches!(partition.read(0, 1, ReadLimit::HighWatermark, true, Access::Hot), Err(ReadError::Storage(_))));
    let again = world.partition();
    assert!(!Arc::ptr_eq(&again, &partition));
    assert_eq!(again.offsets().log_end, 0);
}
