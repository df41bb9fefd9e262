//! One partition: appends under a short lock, reads beside it, and the four offsets.
//!
//! Two locks, always taken in this order. `log` orders the appends: producer sequence, offset, segment write, journal queue. `view` is
//! what readers and the committer see; it is held for a few instructions, never across a file operation, so that neither waits for a write.
//! The high watermark is the durable offset: it moves when the journal has the batch on stable storage.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::task::{Context, Poll, Waker};

use chronik_protocol::uuid::Uuid;
use parking_lot::Mutex;

use crate::config::LogConfig;
use crate::env::Env;
use crate::epochs::EpochCache;
use crate::error::StorageError;
use crate::journal::{CommitTarget, JournalError, Position};
use crate::producers::{Producer, Producers};
use crate::segment::Segment;
use crate::transactions::Transactions;
use crate::wait::{Committed, Waiters, Watcher, Watchers};

mod append;
mod keep;
mod read;
mod search;

pub use append::Appended;
pub(crate) use keep::{Covered, DELETED_SUFFIX, EPOCHS_FILE, Expired};
pub use read::{ReadLimit, ReadOutcome};
pub use search::TimestampOffset;

/// Which partition: the topic's id keeps a topic apart from an earlier one of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicIdPartition {
    /// The topic.
    pub topic_id: Uuid,
    /// The index of the partition.
    pub partition: i32,
}

/// The four offsets of a partition; each is at most the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offsets {
    /// The first offset that can be read.
    pub log_start: i64,
    /// Everything before belongs to no transaction that is still open.
    pub last_stable: i64,
    /// Everything before is durable.
    pub high_watermark: i64,
    /// The next offset.
    pub log_end: i64,
}

/// Whether a partition can work.
#[derive(Debug, Clone)]
pub(crate) enum Status {
    Online,
    /// The journal has failed: what is durable can be read, nothing can be appended until a new session has begun.
    Fenced(Arc<str>),
    /// Its own files have failed.
    Offline(Arc<str>),
    Deleted,
    Closed,
}

/// A batch that is in a segment and not yet durable.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pending {
    pub(crate) last_offset: i64,
    pub(crate) segment_base: i64,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// What the appends change; its lock orders them.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) config: Arc<LogConfig>,
    pub(crate) leader_epoch: i32,
    pub(crate) producers: Producers,
    pub(crate) epochs: EpochCache,
    pub(crate) next_offset: i64,
    /// None until the first append: an idle partition has no segment.
    pub(crate) active: Option<Arc<Segment>>,
    /// How much earlier than `segment.ms` the active segment is rolled.
    pub(crate) roll_jitter_ms: i64,
    /// Sealed since the last checkpoint: their indexes have to be made durable.
    pub(crate) sealed: Vec<Arc<Segment>>,
    /// With `Durability::Os`: appended since the last flush.
    pub(crate) unflushed_messages: i64,
}

/// What readers and the committer see.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) segments: Vec<Arc<Segment>>,
    pub(crate) log_start: i64,
    pub(crate) high_watermark: i64,
    pub(crate) log_end: i64,
    /// The segment and the position where the high watermark is.
    pub(crate) watermark_at: (i64, u32),
    pub(crate) pending: VecDeque<Pending>,
    pub(crate) transactions: Transactions,
    pub(crate) status: Status,
    waiters: Waiters,
    watchers: Watchers,
}

/// What a partition is opened with: new, or recovered.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) segments: Vec<Arc<Segment>>,
    pub(crate) log_start: i64,
    pub(crate) high_watermark: i64,
    pub(crate) next_offset: i64,
    pub(crate) producers: Producers,
    pub(crate) epochs: EpochCache,
    pub(crate) pending: VecDeque<Pending>,
    pub(crate) status: Status,
    /// Whether there is something that the checkpoint does not cover.
    pub(crate) dirty: bool,
}

/// One partition.
#[derive(Debug)]
pub struct Partition {
    id: TopicIdPartition,
    topic: Box<str>,
    dir: Arc<Path>,
    env: Arc<Env>,
    log: Mutex<Log>,
    view: Mutex<View>,
    /// A copy of the view's, for a look without a lock.
    high_watermark: AtomicI64,
    /// Whether something was written since the last checkpoint.
    dirty: AtomicBool,
    /// Whether this process has synced `partition.metadata`.
    metadata_durable: AtomicBool,
    cursors: Mutex<read::Cursors>,
}

impl Partition {
    pub(crate) fn new(
        env: Arc<Env>,
        (topic, id, dir): (&str, TopicIdPartition, Arc<Path>),
        (config, leader_epoch): (Arc<LogConfig>, i32),
        opened: Opened,
    ) -> Arc<Self> {
        let mut epochs = opened.epochs;
        epochs.assign(leader_epoch, opened.next_offset);
        let mut transactions = Transactions::default();
        for start in opened.producers.open_transactions() {
            transactions.apply(crate::producers::TransactionStep::Begin(start));
        }
        let active = opened.segments.last().cloned();
        let watermark_at = match (opened.pending.front(), &active) {
            (Some(first), _) => (first.segment_base, first.start),
            (None, Some(active)) => (active.base_offset, active.size()),
            (None, None) => (opened.next_offset, 0),
        };
        let roll_jitter_ms = append::roll_jitter(id, opened.next_offset, &config);
        let log = Log {
            config,
            leader_epoch,
            producers: opened.producers,
            epochs,
            next_offset: opened.next_offset,
            active,
            roll_jitter_ms,
            sealed: opened.segments.clone(),
            unflushed_messages: 0,
        };
        let view = View {
            segments: opened.segments,
            log_start: opened.log_start,
            high_watermark: opened.high_watermark,
            log_end: opened.next_offset,
            watermark_at,
            pending: opened.pending,
            transactions,
            status: opened.status,
            waiters: Waiters::default(),
            watchers: Watchers::default(),
        };
        Arc::new(Partition {
            id,
            topic: topic.into(),
            dir,
            env,
            log: Mutex::new(log),
            view: Mutex::new(view),
            high_watermark: AtomicI64::new(opened.high_watermark),
            dirty: AtomicBool::new(opened.dirty),
            metadata_durable: AtomicBool::new(false),
            cursors: Mutex::default(),
        })
    }

    /// Which partition it is.
    pub fn id(&self) -> TopicIdPartition {
        self.id
    }

    /// The topic's name.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// `topic-partition`, as in directory names and logs.
    pub fn name(&self) -> String {
        format!("{}-{}", self.topic, self.id.partition)
    }

    /// The four offsets, as they are now.
    pub fn offsets(&self) -> Offsets {
        self.view.lock().offsets()
    }

    /// The settings that apply.
    pub fn config(&self) -> Arc<LogConfig> {
        self.log.lock().config.clone()
    }

    /// Changes the settings; they apply from the next append on.
    pub fn set_config(&self, config: Arc<LogConfig>) {
        let mut log = self.log.lock();
        log.roll_jitter_ms =
            append::roll_jitter(self.id, log.active.as_ref().map_or(0, |active| active.base_offset), &config);
        log.config = config;
    }

    /// The leader epoch that batches are written with.
    pub fn leader_epoch(&self) -> i32 {
        self.log.lock().leader_epoch
    }

    /// Begins a leader epoch; an older one than the present is not taken.
    pub fn set_leader_epoch(&self, epoch: i32) {
        let mut log = self.log.lock();
        if epoch > log.leader_epoch {
            log.leader_epoch = epoch;
            let next_offset = log.next_offset;
            log.epochs.assign(epoch, next_offset);
        }
    }

    /// The greatest leader epoch that is at most `epoch`, and the offset behind its last record; `None` if it is unknown.
    pub fn epoch_end_offset(&self, epoch: i32) -> Option<(i32, i64)> {
        let log = self.log.lock();
        log.epochs.end_offset(epoch, log.next_offset)
    }

    /// The leader epoch in which an offset was written.
    pub fn epoch_of(&self, offset: i64) -> Option<i32> {
        self.log.lock().epochs.epoch_at(offset)
    }

    /// The producers that are known, by id.
    pub fn producers(&self) -> Vec<(i64, Producer)> {
        self.log.lock().producers.list()
    }

    /// How many producers are known.
    pub fn producer_count(&self) -> usize {
        self.log.lock().producers.len()
    }

    /// Bytes of all segments.
    pub fn size_in_bytes(&self) -> u64 {
        let segments = self.view.lock().segments.clone();
        segments.iter().map(|segment| u64::from(segment.size())).sum()
    }

    /// How many segments there are.
    pub fn segment_count(&self) -> usize {
        self.view.lock().segments.len()
    }

    /// Why it is out of service, if it is.
    pub fn check(&self) -> Result<(), StorageError> {
        self.view.lock().status.readable(&self.name())
    }

    /// Resolves when everything up to and including `last_offset` is durable, and so visible to consumers.
    pub fn committed(self: &Arc<Self>, last_offset: i64) -> Committed {
        Committed::new(self.clone(), last_offset)
    }

    pub(crate) fn poll_committed(
        &self,
        last_offset: i64,
        id: &mut Option<u64>,
        cx: &Context<'_>,
    ) -> Poll<Result<(), StorageError>> {
        if self.high_watermark.load(Ordering::Acquire) > last_offset {
            return Poll::Ready(Ok(()));
        }
        let mut view = self.view.lock();
        if view.high_watermark > last_offset {
            return Poll::Ready(Ok(()));
        }
        if let Err(error) = view.status.writable(&self.topic, self.id.partition) {
            return Poll::Ready(Err(error));
        }
        view.waiters.add(last_offset, id, cx.waker());
        Poll::Pending
    }

    pub(crate) fn forget_waiter(&self, id: u64) {
        self.view.lock().waiters.remove(id);
    }

    /// Fires `watcher` at the next move of the high watermark, or when the partition goes out of service or is deleted.
    pub fn watch(&self, watcher: &Arc<Watcher>) {
        let mut view = self.view.lock();
        match view.status {
            Status::Deleted | Status::Closed | Status::Offline(_) => {
                drop(view);
                watcher.fire();
            }
            Status::Online | Status::Fenced(_) => view.watchers.add(watcher),
        }
    }

    /// Moves the high watermark behind `last_offset` and wakes who waits for that.
    pub(crate) fn advance(&self, last_offset: i64) {
        let mut view = self.view.lock();
        view.advance(last_offset);
        let high_watermark = view.high_watermark;
        self.high_watermark.store(high_watermark, Ordering::Release);
        let wakers = view.waiters.take_reached(high_watermark);
        let watchers = view.watchers.take();
        drop(view);
        wake(wakers, watchers);
    }

    /// Takes the partition out of service, or back into it, and wakes everybody who waits; says whether it could be done.
    pub(crate) fn set_status(&self, status: Status) -> bool {
        let mut view = self.view.lock();
        if !view.status.may_become(&status) {
            return false;
        }
        view.status = status;
        let wakers = view.waiters.take_all();
        let watchers = view.watchers.take();
        drop(view);
        wake(wakers, watchers);
        true
    }

    /// Takes the partition out of service after a failure of its own files.
    pub(crate) fn fail(&self, why: &dyn std::fmt::Display) {
        if self.set_status(Status::Offline(why.to_string().into())) {
            tracing::error!(partition = %self.name(), %why, "partition is out of service");
        }
    }

    pub(crate) fn is_fenced(&self) -> bool {
        matches!(self.view.lock().status, Status::Fenced(_))
    }

    pub(crate) fn is_offline(&self) -> bool {
        matches!(self.view.lock().status, Status::Offline(_))
    }
}

fn wake(wakers: Vec<Waker>, watchers: Vec<std::sync::Weak<Watcher>>) {
    for waker in wakers {
        waker.wake();
    }
    for watcher in watchers.iter().filter_map(std::sync::Weak::upgrade) {
        watcher.fire();
    }
}

impl CommitTarget for Partition {
    fn committed(&self, last_offset: i64, _position: Position) {
        self.advance(last_offset);
    }

    fn failed(&self, error: &JournalError) {
        self.set_status(Status::Fenced(error.to_string().into()));
    }
}

impl View {
    pub(crate) fn offsets(&self) -> Offsets {
        let unstable = self.transactions.first().unwrap_or(i64::MAX);
        Offsets {
            log_start: self.log_start,
            last_stable: unstable.min(self.high_watermark).max(self.log_start),
            high_watermark: self.high_watermark,
            log_end: self.log_end,
        }
    }

    fn advance(&mut self, last_offset: i64) {
        while let Some(first) = self.pending.front().filter(|first| first.last_offset <= last_offset).copied() {
            self.pending.pop_front();
            self.high_watermark = first.last_offset + 1;
            self.watermark_at = (first.segment_base, first.end);
        }
        self.transactions.advance(self.high_watermark);
    }
}

impl Status {
    fn readable(&self, partition: &str) -> Result<(), StorageError> {
        match self {
            Status::Online | Status::Fenced(_) => Ok(()),
            Status::Offline(why) => {
                Err(StorageError::Offline { partition: partition.to_owned(), why: why.to_string() })
            }
            Status::Deleted => Err(StorageError::Deleted),
            Status::Closed => Err(StorageError::Closed),
        }
    }

    fn writable(&self, topic: &str, partition: i32) -> Result<(), StorageError> {
        match self {
            Status::Online => Ok(()),
            Status::Fenced(why) => {
                Err(StorageError::Offline { partition: format!("{topic}-{partition}"), why: why.to_string() })
            }
            other => other.readable(&format!("{topic}-{partition}")),
        }
    }

    /// Online ⇄ fenced; both → offline; all → deleted or closed, which are final.
    fn may_become(&self, next: &Status) -> bool {
        match (self, next) {
            (Status::Deleted | Status::Closed, _) => false,
            (_, Status::Deleted | Status::Closed) => true,
            (Status::Offline(_), _) => false,
            (Status::Online | Status::Fenced(_), _) => true,
        }
    }
}
