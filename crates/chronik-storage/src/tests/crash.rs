//! What is there after a kill, a power cut, a restart.

use std::sync::Arc;

use chronik_protocol::uuid::Uuid;

use crate::testing::{World, batch, batch_of, id};
use crate::{Durability, LogConfig, TopicIdPartition};

fn fill(world: &World, batches: usize) {
    let partition = world.partition();
    for _ in 0..batches {
        partition.put_durably(&batch(2, 100));
    }
}

#[test]
fn a_clean_restart_has_nothing_to_replay() {
    let world = World::new();
    fill(&world, 10);
    let world = world.restart();
    assert_eq!(world.journals.live(), 0);
    let partition = world.partition();
    assert_eq!(partition.all().len(), 10);
    assert_eq!(partition.put_durably(&batch(1, 10)), 20);
}

#[test]
fn a_power_cut_without_a_checkpoint_loses_nothing_that_was_durable() {
    let world = World::new();
    fill(&world, 10);
    let world = world.power_cut();
    let partition = world.partition();
    assert_eq!(partition.all().len(), 10);
    assert_eq!(partition.put_durably(&batch(1, 10)), 20);
    let world = world.power_cut();
    assert_eq!(world.partition().all().len(), 11);
}

#[test]
fn a_power_cut_between_checkpoints() {
    let mut world = World::new();
    for round in 1..=5 {
        fill(&world, 3);
        world.store.recovered().unwrap();
        world.store.checkpoint().unwrap();
        assert_eq!(world.journals.live(), 0);
        assert_eq!(world.journals.session_count(), 1);
        fill(&world, 2);
        world = world.power_cut();
        assert_eq!(world.partition().all().len(), round * 5);
    }
}

#[test]
fn what_was_not_journalled_survives_a_kill_and_becomes_visible() {
    let world = World::new();
    fill(&world, 3);
    world.journals.hold(true);
    let partition = world.partition();
    partition.put(&batch(1, 10)).unwrap();
    partition.put(&batch(1, 10)).unwrap();
    drop(partition);
    let world = world.kill_unflushed();
    let partition = world.partition();
    partition.wait(7).unwrap();
    assert_eq!(partition.offsets().high_watermark, 8);
    assert_eq!(partition.all().len(), 5);
    let world = world.power_cut();
    assert_eq!(world.partition().all().len(), 5);
}

#[test]
fn what_was_not_journalled_is_lost_in_a_power_cut_and_nobody_has_seen_it() {
    let world = World::new();
    fill(&world, 3);
    world.journals.hold(true);
    let partition = world.partition();
    partition.put(&batch(1, 10)).unwrap();
    assert_eq!(partition.offsets().high_watermark, 6);
    drop(partition);
    let world = world.power_cut();
    assert_eq!(world.partition().offsets().log_end, 6);
}

#[test]
fn producers_are_known_after_every_kind_of_end() {
    type End = fn(World) -> World;
    let ends: [End; 3] = [World::kill, World::power_cut, World::restart];
    for (at, end) in ends.into_iter().enumerate() {
        for checkpoint_at in [None, Some(3), Some(8)] {
            let world = World::new();
            let partition = world.partition();
            for sequence in 0..9 {
                partition.put_durably(&batch_of(1, 10, (5, 2, sequence), 1_000));
                if checkpoint_at == Some(sequence) {
                    world.store.recovered().unwrap();
                    world.store.checkpoint().unwrap();
                }
            }
            drop(partition);
            let world = end(world);
            let partition = world.partition();
            for sequence in 4..9 {
                let again = partition.put(&batch_of(1, 10, (5, 2, sequence), 1_000)).unwrap();
                assert_eq!(
                    (again.base_offset, again.duplicate),
                    (i64::from(sequence), true),
                    "end {at}, {checkpoint_at:?}"
                );
            }
            assert!(partition.put(&batch_of(1, 10, (5, 2, 3), 1_000)).is_err());
            assert_eq!(partition.put_durably(&batch_of(1, 10, (5, 2, 9), 1_000)), 9);
        }
    }
}

#[test]
fn a_topic_that_was_deleted_and_created_again_starts_empty() {
    let world = World::new();
    fill(&world, 4);
    world.store.recovered().unwrap();
    world.store.checkpoint().unwrap();
    fill(&world, 1);
    world.store.delete(&[id()]).unwrap();
    let again = TopicIdPartition { topic_id: Uuid::from_bytes([8; 16]), partition: 0 };
    let partition = world.store.create("t", again, Arc::new(LogConfig::default()), 0).unwrap();
    assert_eq!(partition.put_durably(&batch(1, 10)), 0);
    drop(partition);
    let world = world.power_cut();
    let partition = world.store.create("t", again, Arc::new(LogConfig::default()), 0).unwrap();
    assert_eq!(partition.all(), [(0, 0)]);
}

#[test]
fn a_directory_of_an_earlier_topic_is_never_taken_for_the_new_one() {
    let world = World::new();
    fill(&world, 4);
    // The process ends after the deletion was decided and before the directory was renamed.
    let world = world.power_cut();
    let again = TopicIdPartition { topic_id: Uuid::from_bytes([8; 16]), partition: 0 };
    let partition = world.store.create("t", again, Arc::new(LogConfig::default()), 0).unwrap();
    assert_eq!(partition.offsets().log_end, 0);
    assert_eq!(partition.put_durably(&batch(1, 10)), 0);
}

#[test]
fn what_belongs_to_no_topic_is_removed() {
    let world = World::new();
    fill(&world, 4);
    let world = world.restart();
    world.store.recovered().unwrap();
    assert!(!world.disk.names("/data").contains(&"t-0".to_owned()));
}

#[test]
fn without_fsync_a_kill_loses_nothing() {
    let world = World::on(crate::testing::MemDisk::new(), crate::testing::MemJournals::new(), Durability::Os);
    fill(&world, 5);
    assert_eq!(world.journals.session_count(), 0);
    let world = world.kill();
    let partition = world.partition();
    assert_eq!(partition.all().len(), 5);
    assert_eq!(partition.offsets().high_watermark, 10);
}

#[test]
fn leader_epochs_survive() {
    let world = World::new();
    let config = Arc::new(LogConfig::default());
    let partition = world.store.create("t", id(), config.clone(), 3).unwrap();
    partition.put_durably(&batch(2, 10));
    drop(partition);
    let world = world.kill();
    let partition = world.store.create("t", id(), config.clone(), 4).unwrap();
    assert_eq!(partition.epoch_end_offset(3), Some((3, 2)));
    assert_eq!(partition.epoch_end_offset(4), Some((4, 2)));
    partition.put_durably(&batch(3, 10));
    drop(partition);
    let world = world.restart();
    let partition = world.store.create("t", id(), config, 5).unwrap();
    assert_eq!(partition.epoch_end_offset(3), Some((3, 2)));
    assert_eq!(partition.epoch_end_offset(4), Some((4, 5)));
    assert_eq!(partition.epoch_of(4), Some(4));
    assert_eq!(world.disk.bytes("/data/t-0/leader-epoch-checkpoint"), b"0\n2\n3 0\n4 2\n");
}

#[test]
fn a_checkpoint_of_many_partitions_survives_a_power_cut() {
    let world = World::new();
    let ids = || (0..100).map(|partition| TopicIdPartition { partition, ..id() });
    let open = |world: &World, id| world.store.create("t", id, Arc::new(LogConfig::default()), 0).unwrap();
    for id in ids() {
        open(&world, id).put_durably(&batch_of(3, 10, (5, 0, 0), 1_000));
    }
    world.store.recovered().unwrap();
    world.store.checkpoint().unwrap();
    assert_eq!(world.journals.live(), 0);
    let world = world.power_cut();
    for id in ids() {
        let partition = open(&world, id);
        assert_eq!(partition.all(), [(0, 2)]);
        assert!(partition.put(&batch_of(3, 10, (5, 0, 0), 1_000)).unwrap().duplicate);
        assert_eq!(partition.put_durably(&batch(1, 10)), 3);
    }
}
