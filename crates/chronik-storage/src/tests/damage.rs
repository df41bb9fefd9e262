//! Damage of every file: what can be known is served, what is lost is an error for exactly that, nothing is silent.

use crate::error::ReadError;
use crate::segment::file_name;
use crate::testing::{World, batch, batch_of};
use crate::{Access, LogConfig, ReadLimit};

const LOG: &str = "/data/t-0/00000000000000000000.log";

/// A partition with ten batches of two records, checkpointed, ended in good order.
fn closed() -> World {
    let world = World::new();
    let partition = world.partition();
    for at in 0..10 {
        partition.put_durably(&batch_of(2, 100, (5, 0, at * 2), 1_000 + i64::from(at)));
    }
    drop(partition);
    world.restart()
}

fn pairs(batches: std::ops::Range<i64>) -> Vec<(i64, i64)> {
    batches.map(|at| (at * 2, at * 2 + 1)).collect()
}

#[test]
fn a_tail_cut_at_every_byte_is_restored_from_the_journal() {
    let size = usize::try_from({
        let world = World::new();
        let partition = world.partition();
        (0..5).for_each(|_| assert!(partition.put_durably(&batch(2, 20)) >= 0));
        partition.size_in_bytes()
    });
    let size = size.unwrap();
    for length in (0..=size).rev() {
        let world = World::new();
        let partition = world.partition();
        (0..5).for_each(|_| assert!(partition.put_durably(&batch(2, 20)) >= 0));
        drop(partition);
        let world = world.kill();
        world.disk.damage(LOG, |bytes| bytes.truncate(length));
        let partition = world.partition();
        assert_eq!(partition.all(), pairs(0..5), "cut to {length}");
        assert_eq!(partition.put_durably(&batch(1, 10)), 10);
    }
}

#[test]
fn a_tail_of_zeros_or_garbage_is_restored_from_the_journal() {
    for fill in [0_u8, 0xff, 0x5a] {
        let world = World::new();
        let partition = world.partition();
        (0..5).for_each(|_| assert!(partition.put_durably(&batch(2, 20)) >= 0));
        drop(partition);
        let world = world.kill();
        let length = world.disk.bytes(LOG).len();
        world.disk.damage(LOG, |bytes| {
            bytes[length * 3 / 5..].fill(fill);
            bytes.extend_from_slice(&[fill; 1_000]);
        });
        assert_eq!(world.partition().all(), pairs(0..5));
        assert_eq!(world.disk.bytes(LOG).len(), length);
    }
}

#[test]
fn what_is_cut_below_the_checkpoint_is_an_error_and_its_offsets_are_not_used_again() {
    let world = closed();
    let length = world.disk.bytes(LOG).len();
    world.disk.damage(LOG, |bytes| bytes.truncate(length * 7 / 10 + 5));
    let partition = world.partition();
    let (found, error) = partition.batches_from(0, 1 << 20);
    assert_eq!(found, pairs(0..7));
    assert!(matches!(error, Some(ReadError::Storage(_))), "{error:?}");
    assert_eq!(partition.put_durably(&batch(1, 10)), 20);
    assert_eq!(partition.batches_from(20, 1 << 20).0, [(20, 20)]);
    for lost in 14..20 {
        let outcome = partition.read(lost, 1 << 20, ReadLimit::HighWatermark, true, Access::Blocking);
        assert!(matches!(outcome, Err(ReadError::Storage(_))), "{lost}");
    }
    drop(partition);
    let world = world.power_cut();
    assert_eq!(world.partition().batches_from(20, 1 << 20).0, [(20, 20)]);
}

#[test]
fn a_flipped_bit_is_an_error_for_exactly_that_batch() {
    let intact = closed().disk.bytes(LOG);
    let each = intact.len() / 10;
    // The leader epoch is the one field that no checksum covers and no other byte confirms.
    for at in (4 * each..5 * each).filter(|at| !(12..16).contains(&(at - 4 * each))) {
        let world = closed();
        world.disk.damage(LOG, |bytes| bytes[at] ^= 0x10);
        let partition = world.partition();
        let (before, error) = partition.batches_from(0, 1 << 20);
        assert_eq!(before, pairs(0..4), "flip at {}", at - 4 * each);
        assert!(matches!(error, Some(ReadError::Corrupt { offset: 8, .. })), "flip at {}: {error:?}", at - 4 * each);
        assert_eq!(partition.batches_from(10, 1 << 20).0, pairs(5..10), "flip at {}", at - 4 * each);
        assert_eq!(partition.put_durably(&batch(1, 10)), 20);
    }
}

#[test]
fn a_missing_or_renamed_segment_is_an_error_for_what_it_held() {
    let bases = {
        let world = rolled();
        let names = world.disk.names("/data/t-0");
        let logs: Vec<i64> = names.iter().filter_map(|name| name.strip_suffix(".log")?.parse().ok()).collect();
        assert!(logs.len() > 3, "{logs:?}");
        logs
    };
    for renamed in [false, true] {
        let world = rolled();
        let path = format!("/data/t-0/{}", file_name(bases[1], "log"));
        let bytes = world.disk.bytes(&path);
        world.disk.remove(&path);
        if renamed {
            let file = crate::disk::Disk::open(
                &*world.disk,
                file_name(bases[1] + 1, "log").as_ref(),
                crate::disk::OpenMode::Create,
            );
            assert!(file.is_err(), "outside of any directory");
            let target = format!("/data/t-0/{}", file_name(bases[1] + 1, "log"));
            crate::disk::write_atomically(&*world.disk, target.as_ref(), &bytes).unwrap();
        }
        let partition = world.partition_with(small_segments());
        let (found, error) = partition.batches_from(0, 1 << 20);
        assert_eq!(found.last().map(|last| last.1 + 1), Some(bases[1]), "renamed: {renamed}");
        assert!(matches!(error, Some(ReadError::Storage(_))), "{error:?}");
        let (behind, error) = partition.batches_from(bases[2], 1 << 20);
        assert!(error.is_none(), "{error:?}");
        assert_eq!(behind.last(), Some(&(58, 59)));
    }
}

fn small_segments() -> LogConfig {
    LogConfig { segment_bytes: 3_000, ..LogConfig::default() }
}

fn rolled() -> World {
    let world = World::new();
    let partition = world.partition_with(small_segments());
    (0..30).for_each(|_| assert!(partition.put_durably(&batch(2, 200)) >= 0));
    drop(partition);
    world.restart()
}

#[test]
fn damaged_helper_files_are_rebuilt() {
    let files = ["index", "timeindex"].map(|suffix| format!("t-0/{}", file_name(0, suffix)));
    let others = [
        "t-0/leader-epoch-checkpoint",
        "t-0/partition.metadata",
        "recovery-point-offset-checkpoint",
        "log-start-offset-checkpoint",
    ];
    let snapshot = format!("t-0/{}", file_name(20, "snapshot"));
    for file in files.iter().map(String::as_str).chain(others).chain([snapshot.as_str()]) {
        for (how, change) in [("cut", cut as fn(&mut Vec<u8>)), ("garbage", garbage), ("emptied", Vec::clear)] {
            let world = closed();
            let path = format!("/data/{file}");
            if !world.disk.names("/data").iter().any(|name| file == name) && !file.starts_with("t-0/") {
                continue;
            }
            world.disk.damage(&path, change);
            let world = World::on(world.disk.after_kill(), world.journals.after_crash(), world.durability);
            let partition = world.partition();
            assert_eq!(partition.all(), pairs(0..10), "{file} {how}");
            let again = partition.put(&batch_of(2, 100, (5, 0, 18), 1_009)).unwrap();
            assert!(again.duplicate, "{file} {how}");
            assert_eq!(partition.epoch_of(0), Some(0), "{file} {how}");
            assert_eq!(partition.put_durably(&batch(1, 10)), 20, "{file} {how}");
        }
    }
}

fn cut(bytes: &mut Vec<u8>) {
    bytes.truncate(bytes.len().saturating_sub(3));
}

fn garbage(bytes: &mut Vec<u8>) {
    bytes.iter_mut().for_each(|byte| *byte = byte.wrapping_mul(31).wrapping_add(0x47));
    bytes.extend_from_slice(b"garbage");
}

#[test]
fn an_index_that_lies_costs_nothing_but_time() {
    let world = World::new();
    let partition = world.partition();
    (0..300).for_each(|_| assert!(partition.put(&batch(2, 400)).unwrap().base_offset >= 0));
    partition.wait(599).unwrap();
    drop(partition);
    let world = world.restart();
    let index = format!("/data/t-0/{}", file_name(0, "index"));
    assert!(world.disk.bytes(&index).len() >= 8 * 8);
    for entry in 0..8 {
        for shift in [1_u8, 61, 200] {
            let copy = World::on(world.disk.after_kill(), world.journals.after_crash(), world.durability);
            copy.disk.damage(&index, |bytes| bytes[entry * 8 + 7] = bytes[entry * 8 + 7].wrapping_add(shift));
            assert_eq!(copy.partition().all(), pairs(0..300));
            for offset in [0, 77, 301, 599] {
                assert_eq!(copy.partition().batches_from(offset, 20_000).0[0], (offset / 2 * 2, offset / 2 * 2 + 1));
            }
        }
    }
}
