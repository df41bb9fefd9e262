//! Appending to and reading from a partition, and opening many.
//!
//! `cargo bench -p chronik-storage --bench partition`; the directory is `CHRONIK_BENCH_DIR` or the system's for temporary files. Appends are
//! measured without the journal (what one core does per batch), since `--bench journal` measures that.

#![allow(clippy::expect_used, missing_docs)]

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use chronik_protocol::Uuid;
use chronik_protocol::batch::BatchBuilder;
use chronik_protocol::validate::PreparedBatch;
use chronik_storage::disk::RealDisk;
use chronik_storage::journal::{FileJournalOptions, FileJournals};
use chronik_storage::{
    Access, Durability, LogConfig, Moment, Partition, ReadLimit, Store, StoreOptions, TopicIdPartition,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const SIZES: [(&str, usize); 3] = [("1 KiB", 1 << 10), ("16 KiB", 16 << 10), ("1 MiB", 1 << 20)];
const MANY: i32 = 1_000;

fn dir() -> tempfile::TempDir {
    match std::env::var_os("CHRONIK_BENCH_DIR") {
        Some(dir) => tempfile::tempdir_in(dir),
        None => tempfile::tempdir(),
    }
    .expect("a directory")
}

fn open(dir: &std::path::Path, durability: Durability) -> Store {
    let disk = Arc::new(RealDisk);
    let journals =
        FileJournals::open(disk.clone(), &dir.join("journal"), FileJournalOptions::default()).expect("journals");
    let options = StoreOptions { durability, ..StoreOptions::new(dir, disk, journals) };
    Store::open(options).expect("a store").0
}

fn partition(store: &Store, index: i32) -> Arc<Partition> {
    let id = TopicIdPartition { topic_id: Uuid::from_bytes([1; 16]), partition: index };
    // Old segments go, so that a long run does not fill the disk.
    let config = LogConfig {
        retention_bytes: 1 << 30,
        file_delete_delay_ms: 0,
        segment_bytes: 256 << 20,
        ..LogConfig::default()
    };
    store.create("bench", id, Arc::new(config), 0).expect("a partition")
}

fn batch(size: usize) -> Bytes {
    let mut builder = BatchBuilder::new();
    builder.push(1, None, Some(&vec![7; size - 70]), &[]);
    builder.build().expect("a batch")
}

fn append(c: &mut Criterion) {
    let mut group = c.benchmark_group("append");
    for (name, size) in SIZES {
        let dir = dir();
        let store = open(dir.path(), Durability::Os);
        let (partition, bytes) = (partition(&store, 0), batch(size));
        let prepared = PreparedBatch::trusted(&bytes).expect("a batch");
        group.throughput(Throughput::Bytes(size as u64));
        let mut written = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                written += size;
                if written > 512 << 20 {
                    written = 0;
                    store.maintain(Moment { wall_ms: 1, monotonic_ms: 1 }).expect("maintenance");
                }
                partition.append(&prepared, Some(&bytes), 1).expect("appended")
            });
        });
    }
    group.finish();
}

fn read(c: &mut Criterion) {
    let dir = dir();
    let store = open(dir.path(), Durability::Os);
    let mut group = c.benchmark_group("read");
    for (index, (name, size)) in SIZES.into_iter().enumerate() {
        let partition = partition(&store, i32::try_from(index).expect("small"));
        let bytes = batch(size);
        let prepared = PreparedBatch::trusted(&bytes).expect("a batch");
        for _ in 0..(64 << 20) / size {
            partition.append(&prepared, Some(&bytes), 1).expect("appended");
        }
        for (how, max_bytes) in [("1 MiB as a file range", 1 << 20), ("20 KiB as bytes", 20 << 10)] {
            let mut offset = 0;
            group.bench_function(format!("{name} batches, {how}"), |b| {
                b.iter(|| {
                    let outcome = partition.read(offset, max_bytes, ReadLimit::HighWatermark, true, Access::Hot);
                    let outcome = outcome.expect("in memory");
                    offset = if outcome.bytes == 0 { 0 } else { outcome.next_offset };
                    black_box(outcome)
                });
            });
        }
    }
    group.finish();
}

fn start(c: &mut Criterion) {
    let dir = dir();
    let bytes = batch(1 << 10);
    let prepared = PreparedBatch::trusted(&bytes).expect("a batch");
    let store = open(dir.path(), Durability::Fsync);
    for index in 0..MANY {
        partition(&store, index).append(&prepared, Some(&bytes), 1).expect("appended");
    }
    store.recovered().expect("recovered");
    store.close().expect("closed");
    c.bench_function("open 1,000 partitions", |b| {
        b.iter(|| {
            let store = open(dir.path(), Durability::Os);
            (0..MANY).for_each(|index| drop(partition(&store, index)));
            store
        });
    });
}

criterion_group!(benches, append, read, start);
criterion_main!(benches);
