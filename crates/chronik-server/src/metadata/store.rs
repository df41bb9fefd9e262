//! The metadata over the store: its log is a partition like any other, its snapshot a file beside the segments, named as Kafka names it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chronik_coordinator::metadata::Topic;
use chronik_protocol::Uuid;
use chronik_protocol::validate::PreparedBatch;
use chronik_storage::{Access, LogConfig, Partition, ReadLimit, Store, TopicIdPartition};

use super::{Ground, GroundError, LoadError, Metadata, Settings};
use crate::config::BrokerConfig;
use crate::time::now_ms;

/// Kafka's name and id of the metadata topic.
const TOPIC: &str = "__cluster_metadata";
const ID: TopicIdPartition = TopicIdPartition { topic_id: Uuid::from_u128(1), partition: 0 };
const SNAPSHOT_SUFFIX: &str = ".checkpoint";
const READ_BYTES: usize = 4 * 1024 * 1024;

/// The store as the keeper sees it.
#[derive(Debug)]
struct StoreGround {
    store: Arc<Store>,
    log: Arc<Partition>,
    max_decompressed_batch_bytes: usize,
    last: Option<(Settings, Arc<LogConfig>)>,
}

impl Metadata {
    /// Loads the metadata that the store holds, begins a session, and opens every partition. Blocks.
    ///
    /// # Errors
    ///
    /// [`LoadError`]: the broker must not start.
    pub(crate) fn open(store: Arc<Store>, config: Arc<BrokerConfig>, incarnation: Uuid) -> Result<Metadata, LoadError> {
        let settings = LogConfig { retention_ms: -1, retention_bytes: -1, ..LogConfig::default() };
        let log = store.create(TOPIC, ID, Arc::new(settings), 0).map_err(failed)?;
        log.check().map_err(failed)?;
        let max_decompressed_batch_bytes = config.logs.max_decompressed_batch_bytes;
        Metadata::start(
            Box::new(StoreGround { store, log, max_decompressed_batch_bytes, last: None }),
            config,
            incarnation,
        )
    }
}

impl StoreGround {
    /// The settings as a log takes them; one for all partitions that come one after the other with the same.
    fn log_config(&mut self, settings: &Settings) -> Arc<LogConfig> {
        match &self.last {
            Some((of, config)) if Arc::ptr_eq(of, settings) => Arc::clone(config),
            _ => {
                let config = Arc::new(self.read_settings(settings));
                self.last = Some((Arc::clone(settings), Arc::clone(&config)));
                config
            }
        }
    }

    fn read_settings(&self, settings: &Settings) -> LogConfig {
        let pairs = settings.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let mut config = LogConfig::from_settings(pairs).unwrap_or_else(|error| {
            // Values are checked before they are stored; an unreadable one must not take the topic away.
            tracing::error!(%error, "a stored setting cannot be used: the topic has Kafka's defaults");
            LogConfig::default()
        });
        let own = settings.iter().find(|(key, _)| key == "max.decompressed.message.bytes");
        let own = own.and_then(|(_, value)| value.parse().ok()).unwrap_or(usize::MAX);
        config.max_decompressed_batch_bytes = self.max_decompressed_batch_bytes.min(own);
        config
    }

    /// Snapshots, oldest first, with the offsets behind them.
    fn snapshots(&self) -> io::Result<Vec<(i64, PathBuf)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.log.dir())? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let end = name.strip_suffix(SNAPSHOT_SUFFIX).and_then(|stem| stem.split('-').next()?.parse().ok());
            found.extend(end.map(|end| (end, path)));
        }
        found.sort();
        Ok(found)
    }

    fn write_snapshot(&self, end: i64, bytes: &[u8]) -> io::Result<()> {
        let name = format!("{end:020}-{:010}{SNAPSHOT_SUFFIX}", self.log.leader_epoch());
        let (path, part) = (self.log.dir().join(&name), self.log.dir().join(format!("{name}.part")));
        let mut file = File::create(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&part, &path)?;
        File::open(self.log.dir())?.sync_all()
    }

    /// Removes snapshots that a newer one covers, and the log below it.
    fn forget_below(&self, end: i64) -> Result<(), GroundError> {
        self.log.delete_records(end).map_err(failed)?;
        self.store.write_log_starts().map_err(failed)?;
        for (old, path) in self.snapshots().map_err(failed)? {
            if old < end {
                fs::remove_file(path).map_err(failed)?;
            }
        }
        Ok(())
    }
}

impl Ground for StoreGround {
    fn append(&mut self, batch: &[u8]) -> Result<(), GroundError> {
        let batch = PreparedBatch::trusted(batch).map_err(failed)?;
        let appended = self.log.append(&batch, None, now_ms()).map_err(failed)?;
        self.store.flush();
        if self.log.offsets().high_watermark > appended.last_offset {
            return Ok(());
        }
        Err(GroundError("the journal has failed".to_owned()))
    }

    fn range(&mut self) -> Result<(i64, i64), GroundError> {
        // After a failed commit this waits for a journal that works: only then is it known what the log holds.
        if self.store.journal_failed() {
            self.store.replace_journal().map_err(failed)?;
        }
        self.store.flush();
        self.log.check().map_err(failed)?;
        let offsets = self.log.offsets();
        match offsets.high_watermark == offsets.log_end {
            true => Ok((offsets.log_start, offsets.log_end)),
            false => Err(GroundError("the end of the log is not on stable storage".to_owned())),
        }
    }

    fn read(&mut self, offset: i64) -> Result<Vec<u8>, GroundError> {
        let read =
            self.log.read(offset, READ_BYTES, ReadLimit::HighWatermark, true, Access::Blocking).map_err(failed)?;
        let mut bytes = Vec::with_capacity(read.bytes);
        read.records.iter().try_for_each(|chunk| chunk.append_to(&mut bytes)).map_err(failed)?;
        Ok(bytes)
    }

    fn snapshot(&mut self) -> Result<Option<(i64, Vec<u8>)>, GroundError> {
        match self.snapshots().map_err(failed)?.pop() {
            Some((end, path)) => Ok(Some((end, fs::read(path).map_err(failed)?))),
            None => Ok(None),
        }
    }

    fn save_snapshot(&mut self, end: i64, bytes: &[u8]) -> Result<(), GroundError> {
        self.write_snapshot(end, bytes).map_err(failed)?;
        self.forget_below(end)
    }

    fn present(&self) -> Vec<(Uuid, i32)> {
        let Ok(entries) = fs::read_dir(self.store.data_dir()) else { return Vec::new() };
        entries.filter_map(|entry| partition_in(&entry.ok()?.path())).filter(|(id, _)| *id != ID.topic_id).collect()
    }

    fn create(&mut self, topic: &Topic, partition: i32, settings: &Settings, epoch: i32) -> Result<(), GroundError> {
        let id = TopicIdPartition { topic_id: topic.id, partition };
        let config = self.log_config(settings);
        self.store.create(&topic.name, id, config, epoch).map(drop).map_err(failed)
    }

    fn delete(&mut self, partitions: &[(Uuid, i32)]) -> Result<(), GroundError> {
        // What is not open goes when the store has been told that everything else is.
        let id = |(topic_id, partition): &(Uuid, i32)| TopicIdPartition { topic_id: *topic_id, partition: *partition };
        self.store.delete(&partitions.iter().map(id).collect::<Vec<_>>()).map_err(failed)
    }

    fn configure(&mut self, topic: Uuid, partition: i32, settings: &Settings) {
        if let Some(log) = self.store.get(TopicIdPartition { topic_id: topic, partition }) {
            log.set_config(self.log_config(settings));
        }
    }

    fn lead(&mut self, epoch: i32) {
        self.log.set_leader_epoch(epoch);
    }

    fn now_ms(&self) -> i64 {
        now_ms()
    }
}

/// The partition whose directory this is, going by `partition.metadata` in it.
fn partition_in(dir: &Path) -> Option<(Uuid, i32)> {
    let partition = dir.file_name()?.to_str()?.rsplit_once('-')?.1.parse().ok()?;
    let metadata = fs::read_to_string(dir.join("partition.metadata")).ok()?;
    let id = metadata.lines().find_map(|line| line.strip_prefix("topic_id:"))?;
    Some((id.trim().parse().ok()?, partition))
}

fn failed(error: impl std::fmt::Display) -> GroundError {
    GroundError(error.to_string())
}
