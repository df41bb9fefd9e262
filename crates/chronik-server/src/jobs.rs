//! What the broker does beside answering: checkpoints, retention, a new journal for one that has failed, the disk's reserve.
//!
//! One named thread, since all of it blocks. It looks around a few times a second, which costs nothing while nothing happens.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chronik_storage::{Durability, Moment, Store};

use crate::config::LogsConfig;

/// How often the thread looks around.
const TICK: Duration = Duration::from_millis(200);
/// How often files whose deletion is due are looked for, and the room on the disk is asked for.
const HOUSEKEEPING: Duration = Duration::from_secs(5);
/// So much of a segment may be in the page cache only, before it is written back.
const WRITE_BACK_BYTES: u32 = 32 << 20;
/// The page cache is looked at after so many journalled bytes.
const WRITE_BACK_EVERY_BYTES: u64 = 16 << 20;

/// When things are done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JobSettings {
    /// `log.flush.offset.checkpoint.interval.ms`: checkpoints come earlier when the journal fills.
    pub(crate) checkpoint_interval: Duration,
    /// `log.retention.check.interval.ms`.
    pub(crate) retention_interval: Duration,
    /// `chronik.disk.reserve.bytes`.
    pub(crate) disk_reserve_bytes: u64,
}

impl From<&LogsConfig> for JobSettings {
    fn from(config: &LogsConfig) -> Self {
        JobSettings {
            checkpoint_interval: Duration::from_millis(config.flush_offset_checkpoint_interval_ms),
            retention_interval: Duration::from_millis(config.retention_check_interval_ms),
            disk_reserve_bytes: config.disk_reserve_bytes,
        }
    }
}

/// The running thread; it ends when this is stopped or dropped.
#[derive(Debug)]
pub(crate) struct Jobs {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Jobs {
    /// Starts the thread.
    pub(crate) fn start(store: Arc<Store>, settings: JobSettings) -> io::Result<Jobs> {
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new().name("jobs".into()).spawn(move || {
            let mut worker = Worker::new(store, settings);
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(TICK) {
                worker.tick(Instant::now());
            }
        })?;
        Ok(Jobs { stop: Some(stop), thread: Some(thread) })
    }

    /// Ends the thread and waits for it. Blocks as long as a checkpoint that is under way.
    pub(crate) fn stop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the jobs has panicked");
        }
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Something that is due again after an interval.
#[derive(Debug)]
struct Timer {
    interval: Duration,
    last: Instant,
}

impl Timer {
    fn new(interval: Duration, now: Instant) -> Self {
        Timer { interval, last: now }
    }

    fn is_due(&mut self, now: Instant) -> bool {
        let due = now.duration_since(self.last) >= self.interval;
        if due {
            self.last = now;
        }
        due
    }
}

struct Worker {
    store: Arc<Store>,
    settings: JobSettings,
    start: Instant,
    checkpoint: Timer,
    retention: Timer,
    housekeeping: Timer,
    /// Where the journal was when the page cache was last looked at.
    written_back: u64,
}

impl Worker {
    fn new(store: Arc<Store>, settings: JobSettings) -> Self {
        let now = Instant::now();
        Worker {
            store,
            start: now,
            checkpoint: Timer::new(settings.checkpoint_interval, now),
            retention: Timer::new(settings.retention_interval, now),
            housekeeping: Timer::new(HOUSEKEEPING, now),
            written_back: 0,
            settings,
        }
    }

    fn tick(&mut self, now: Instant) {
        if self.store.journal_failed() {
            report("replacing the journal", self.store.replace_journal().map(drop));
        }
        let usage = self.store.journal_usage();
        let filling = usage.limit_bytes > 0 && usage.live_bytes > usage.limit_bytes / 2;
        if self.checkpoint.is_due(now) || filling {
            self.checkpoint.last = now;
            report("checkpoint", self.store.checkpoint());
        }
        self.write_back();
        let moment = self.moment(now);
        if self.retention.is_due(now) {
            report("retention", self.store.maintain(moment).map(drop));
        }
        if self.housekeeping.is_due(now) {
            self.store.empty_trash(moment.wall_ms);
            report("asking for the free space", self.store.keep_reserve(self.settings.disk_reserve_bytes).map(drop));
        }
    }

    /// Without a journal the kernel's own write-back is what the user has asked for.
    fn write_back(&mut self) {
        if self.store.durability() == Durability::Os {
            return;
        }
        let Some(position) = self.store.committer().map(|committer| committer.position().0) else { return };
        if position.abs_diff(self.written_back) >= WRITE_BACK_EVERY_BYTES {
            self.written_back = position;
            self.store.write_back(WRITE_BACK_BYTES);
        }
    }

    fn moment(&self, now: Instant) -> Moment {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Moment { wall_ms: ms(wall), monotonic_ms: ms(now.duration_since(self.start)) }
    }
}

fn report(what: &'static str, result: Result<(), chronik_storage::StorageError>) {
    if let Err(error) = result {
        tracing::error!(job = what, %error, "failed; it is tried again");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chronik_protocol::Uuid;
    use chronik_protocol::batch::BatchBuilder;
    use chronik_protocol::validate::PreparedBatch;
    use chronik_storage::disk::RealDisk;
    use chronik_storage::journal::{FileJournalOptions, FileJournals};
    use chronik_storage::{LogConfig, StoreOptions, TopicIdPartition};

    use super::*;

    #[test]
    fn checkpoints_and_retention_happen_by_themselves() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Arc::new(RealDisk);
        let journals =
            FileJournals::open(disk.clone(), &dir.path().join("journal"), FileJournalOptions::default()).unwrap();
        let (store, _) = Store::open(StoreOptions::new(dir.path(), disk, journals)).unwrap();
        let store = Arc::new(store);
        let id = TopicIdPartition { topic_id: Uuid::from_bytes([1; 16]), partition: 0 };
        let config = LogConfig { retention_ms: 1, ..LogConfig::default() };
        let partition = store.create("t", id, Arc::new(config), 0).unwrap();
        store.recovered().unwrap();
        let mut builder = BatchBuilder::new();
        builder.push(1_000, None, Some(b"old"), &[]);
        let bytes = builder.build().unwrap();
        partition.append(&PreparedBatch::trusted(&bytes).unwrap(), None, 1_000).unwrap();
        let settings = JobSettings {
            checkpoint_interval: Duration::ZERO,
            retention_interval: Duration::ZERO,
            disk_reserve_bytes: u64::MAX,
        };
        let mut jobs = Jobs::start(Arc::clone(&store), settings).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        let checkpoint = dir.path().join("recovery-point-offset-checkpoint");
        while partition.offsets().log_start < 1
            || !std::fs::read_to_string(&checkpoint).is_ok_and(|text| text.ends_with("t 0 1\n"))
        {
            assert!(Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(10));
        }
        jobs.stop();
        store.close().unwrap();
    }
}
