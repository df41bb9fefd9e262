//! Writes a data directory with everything that a partition's files can hold, for tools that read them: `write_segments DIR`.
//!
//! Topic `plain` is appended to across restarts and leader epochs, in all codecs, by idempotent producers; `rolled` has many small segments
//! and as many indexes; `killed` is what a process leaves that did not end in good order, after its recovery.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use chronik_protocol::Uuid;
use chronik_protocol::batch::BatchBuilder;
use chronik_protocol::compression::{Codec, Compression};
use chronik_protocol::validate::PreparedBatch;
use chronik_storage::disk::RealDisk;
use chronik_storage::journal::{FileJournalOptions, FileJournals};
use chronik_storage::{LogConfig, Partition, Store, StoreOptions, TopicIdPartition};

const START_MS: i64 = 1_700_000_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::args_os().nth(1).ok_or("usage: write_segments DIR")?;
    let dir = Path::new(&dir);
    for epoch in 0..3 {
        let store = open(dir)?;
        let plain = create(&store, "plain", 1, LogConfig::default(), epoch)?;
        for at in 0..400 {
            let codec = Codec::ALL[at % Codec::ALL.len()];
            let sequence = i32::try_from(at)? * 10;
            append(&plain, codec, (7 + i64::from(epoch), 0, sequence), 10, 200)?;
        }
        let config = LogConfig { segment_bytes: 100_000, ..LogConfig::default() };
        let rolled = create(&store, "rolled", 2, config, epoch)?;
        for _ in 0..300 {
            append(&rolled, Codec::None, (-1, -1, -1), 3, 700)?;
        }
        let killed = create(&store, "killed", 3, LogConfig::default(), epoch)?;
        for _ in 0..50 {
            append(&killed, Codec::Lz4, (-1, -1, -1), 5, 2_000)?;
        }
        store.recovered()?;
        store.checkpoint()?;
        append(&killed, Codec::None, (-1, -1, -1), 5, 30_000)?;
        store.flush();
        if epoch == 1 {
            // Ends here as a killed process does: what is behind the checkpoint is in the journal and the page cache only.
            continue;
        }
        store.close()?;
    }
    Ok(())
}

fn open(dir: &Path) -> Result<Store, Box<dyn Error>> {
    let disk = Arc::new(RealDisk);
    let journals = FileJournals::open(disk.clone(), &dir.join("journal"), FileJournalOptions::default())?;
    Ok(Store::open(StoreOptions::new(dir, disk, journals))?.0)
}

fn create(store: &Store, topic: &str, id: u8, config: LogConfig, epoch: i32) -> Result<Arc<Partition>, Box<dyn Error>> {
    let id = TopicIdPartition { topic_id: Uuid::from_bytes([id; 16]), partition: 0 };
    Ok(store.create(topic, id, Arc::new(config), epoch)?)
}

fn append(
    partition: &Arc<Partition>,
    codec: Codec,
    (id, epoch, sequence): (i64, i16, i32),
    count: i64,
    size: usize,
) -> Result<(), Box<dyn Error>> {
    let first = START_MS + partition.offsets().log_end * 7;
    let mut builder = BatchBuilder::new().compression(Compression::of(codec)).producer(id, epoch, sequence);
    for at in 0..count {
        let value: Vec<u8> = (0..size).map(|byte| (byte % 251) as u8).collect();
        builder.push(first + at, Some(&at.to_be_bytes()), Some(&value), &[(b"header", Some(b"value"))]);
    }
    let bytes = builder.build()?;
    partition.append(&PreparedBatch::trusted(&bytes)?, Some(&bytes), first)?;
    Ok(())
}
