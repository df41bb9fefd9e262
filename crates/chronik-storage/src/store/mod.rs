//! The store: all partitions of a broker, the journal they share, and what outlives a process.
//!
//! Opening it is the take-over of the last session: its journal is sealed, its footers are read, and each partition is rebuilt when it is
//! asked for. A new session begins at once. The old journals go when everything that they hold is in a checkpoint, which cannot be before
//! the caller has said, with [`Store::recovered`], that it knows all partitions that there are.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::{Mutex, RwLock};

use crate::checkpoints::{self, LOG_STARTS, OffsetMap, PARTITION_METADATA, RECOVERY_POINTS};
use crate::config::LogConfig;
use crate::disk::Disk;
use crate::env::{Durability, Env};
use crate::error::StorageError;
use crate::journal::{Committer, CommitterLimits, Journals, Position, SessionId};
use crate::partition::{Opened, Partition, Status, TopicIdPartition};
use crate::recovery::{self, Footers, Known};
use crate::retention::{ClockGuard, Trash};

mod maintain;

pub use maintain::Maintained;
pub(crate) use maintain::segment_files;

/// Partition directories are created and recovered under one of this many locks, by name.
const CREATION_LOCKS: usize = 16;

/// What a store is opened with.
#[derive(Debug)]
pub struct StoreOptions {
    /// Where the partitions' directories are.
    pub data_dir: PathBuf,
    /// The file system.
    pub disk: Arc<dyn Disk>,
    /// The journals of this and earlier sessions.
    pub journals: Arc<dyn Journals>,
    /// When an append counts as done.
    pub durability: Durability,
    /// How many segment files may be open at once.
    pub open_files_max: usize,
    /// What the journal's queue takes on.
    pub committer: CommitterLimits,
    /// `producer.id.expiration.ms`.
    pub producer_expiration_ms: i64,
}

impl StoreOptions {
    /// Options with defaults for all but the places.
    pub fn new(data_dir: impl Into<PathBuf>, disk: Arc<dyn Disk>, journals: Arc<dyn Journals>) -> Self {
        StoreOptions {
            data_dir: data_dir.into(),
            disk,
            journals,
            durability: Durability::Fsync,
            open_files_max: 2_048,
            committer: CommitterLimits::default(),
            producer_expiration_ms: 86_400_000,
        }
    }
}

/// What opening a store found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovered {
    /// Sessions whose journals were taken over.
    pub sessions: usize,
    /// Batches that the journals hold.
    pub batches: usize,
    /// Torn groups at the end of a journal, of which nothing was acknowledged.
    pub torn_groups: usize,
}

/// Which sessions there are.
#[derive(Debug, Default)]
struct Sessions {
    current: Option<SessionId>,
    /// Sealed; they go with the first checkpoint that covers what they hold.
    old: Vec<SessionId>,
    /// The last id that was given out.
    last: Option<SessionId>,
}

/// What the last process has left for partitions that were not opened yet.
#[derive(Debug)]
struct Inheritance {
    footers: HashMap<TopicIdPartition, Footers>,
    /// None if the file is damaged.
    recovery_points: Option<OffsetMap>,
    log_starts: Option<OffsetMap>,
}

/// All partitions of a broker.
pub struct Store {
    env: Arc<Env>,
    journals: Arc<dyn Journals>,
    limits: CommitterLimits,
    partitions: RwLock<HashMap<TopicIdPartition, Arc<Partition>>>,
    creation: [Mutex<()>; CREATION_LOCKS],
    inheritance: Mutex<Inheritance>,
    sessions: Mutex<Sessions>,
    /// Recovery points of the partitions that are open, and of those that were not opened yet.
    points: Mutex<OffsetMap>,
    /// Held by whoever writes a checkpoint.
    checkpointing: Mutex<()>,
    /// Held by whoever replaces a journal that has failed.
    replacing: Mutex<()>,
    /// Held by whoever replaces a small file of the data directory.
    writing: Mutex<()>,
    trash: Mutex<Trash>,
    clock: Mutex<ClockGuard>,
    /// Whether all partitions that there are have been opened.
    complete: AtomicBool,
    /// Whether directories were created whose names may not be on stable storage.
    new_dirs: AtomicBool,
    closed: AtomicBool,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("data_dir", &self.env.data_dir).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens a data directory, which is created if it is not there: takes over what the last session has left and begins a new one.
    pub fn open(options: StoreOptions) -> Result<(Store, Recovered), StorageError> {
        let StoreOptions { data_dir, disk, journals, durability, open_files_max, committer, producer_expiration_ms } =
            options;
        disk.create_dir_all(&data_dir).map_err(StorageError::io("creating", &data_dir))?;
        let parent = data_dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        disk.sync_dir(parent).map_err(StorageError::io("syncing", parent))?;
        let recovery_points = read_offsets(&*disk, &data_dir.join(RECOVERY_POINTS))?;
        let log_starts = read_offsets(&*disk, &data_dir.join(LOG_STARTS))?;
        let (footers, old, recovered) = take_over(&*journals)?;
        let env = Env::new(disk, data_dir.into(), durability, open_files_max);
        env.producer_expiration_ms.store(producer_expiration_ms, Ordering::Relaxed);
        let store = Store {
            env: Arc::new(env),
            journals,
            limits: committer,
            partitions: RwLock::default(),
            creation: Default::default(),
            points: Mutex::new(recovery_points.clone().unwrap_or_default()),
            inheritance: Mutex::new(Inheritance { footers, recovery_points, log_starts }),
            sessions: Mutex::new(Sessions { current: None, last: old.last().copied(), old }),
            checkpointing: Mutex::default(),
            replacing: Mutex::default(),
            writing: Mutex::default(),
            trash: Mutex::default(),
            clock: Mutex::default(),
            complete: AtomicBool::new(false),
            new_dirs: AtomicBool::new(true),
            closed: AtomicBool::new(false),
        };
        store.begin_session()?;
        store.find_trash()?;
        Ok((store, recovered))
    }

    /// Begins a session, if there is to be a journal.
    fn begin_session(&self) -> Result<(), StorageError> {
        if self.env.durability == Durability::Os {
            return Ok(());
        }
        let mut sessions = self.sessions.lock();
        let id = SessionId::generate(sessions.last)
            .map_err(StorageError::io("choosing a session id for", &*self.env.data_dir))?;
        let writer = self.journals.create(id)?;
        let committer = Committer::start(writer, self.limits);
        let committer =
            committer.map_err(StorageError::io("starting the journal's thread for", &*self.env.data_dir))?;
        (sessions.current, sessions.last) = (Some(id), Some(id));
        self.env.set_committer(Some(Arc::new(committer)));
        Ok(())
    }

    /// The partition, created if it is not there, recovered if it is. One that cannot be recovered is given all the same: each operation
    /// on it says why. Blocking.
    pub fn create(
        &self,
        topic: &str,
        id: TopicIdPartition,
        config: Arc<LogConfig>,
        leader_epoch: i32,
    ) -> Result<Arc<Partition>, StorageError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(StorageError::Closed);
        }
        let name = format!("{topic}-{}", id.partition);
        let _creating =
            self.creation[chronik_protocol::batch::crc32c(name.as_bytes()) as usize % CREATION_LOCKS].lock();
        if let Some(partition) = self.get(id) {
            return Ok(partition);
        }
        let dir: Arc<Path> = self.env.data_dir.join(&name).into();
        let opened = self.open_dir(topic, id, (&dir, &name), &config).unwrap_or_else(|error| {
            tracing::error!(partition = %name, %error, "partition cannot be opened");
            Opened::offline(&error)
        });
        let pending = !opened.pending.is_empty();
        let partition = Partition::new(self.env.clone(), (topic, id, dir), (config, leader_epoch), opened);
        if pending && let Err(error) = partition.resubmit() {
            partition.fail(&error);
        }
        self.partitions.write().insert(id, partition.clone());
        Ok(partition)
    }

    fn open_dir(
        &self,
        topic: &str,
        id: TopicIdPartition,
        (dir, name): (&Arc<Path>, &str),
        config: &LogConfig,
    ) -> Result<Opened, StorageError> {
        let key = (topic.to_owned(), id.partition);
        let (footers, point, log_start) = {
            let mut inheritance = self.inheritance.lock();
            let footers = inheritance.footers.remove(&id).unwrap_or_default();
            let point = inheritance.recovery_points.as_ref().map(|points| points.get(&key).copied());
            let log_start = inheritance.log_starts.as_ref().and_then(|starts| starts.get(&key).copied());
            (footers, point, log_start)
        };
        let exists = self.claim_dir(id, (dir, name), matches!(point, Some(None)))?;
        let mut known = Known { recovery_point: point.map(Option::unwrap_or_default), log_start, footers };
        if !exists {
            // What the checkpoints say is about another topic of this name.
            (known.recovery_point, known.log_start) = (Some(0), None);
            self.points.lock().remove(&key);
            self.make_dir(id, dir)?;
        }
        recovery::recover(&self.env, &*self.journals, (dir, name), config, known, wall_ms())
    }

    /// Whether there is a directory of this very partition. One of another topic of the same name is set aside, durably, so that its
    /// records can never be taken for the new topic's.
    fn claim_dir(
        &self,
        id: TopicIdPartition,
        (dir, name): (&Arc<Path>, &str),
        never_checkpointed: bool,
    ) -> Result<bool, StorageError> {
        let disk = &*self.env.disk;
        let entries = match disk.list(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(StorageError::io("listing", &**dir)(error)),
        };
        let path = dir.join(PARTITION_METADATA);
        let metadata = checkpoints::read(disk, &path).map_err(StorageError::io("reading", &path))?;
        match metadata.as_deref().and_then(checkpoints::decode_metadata) {
            Some(topic_id) if topic_id == id.topic_id => return Ok(true),
            Some(topic_id) => {
                tracing::info!(partition = name, %topic_id, "directory belongs to an earlier topic of this name: removed")
            }
            None if !entries.iter().any(|entry| entry.name.ends_with(".log")) => {
                self.make_dir(id, dir)?;
                return Ok(true);
            }
            None if !never_checkpointed => {
                tracing::warn!(partition = name, "partition.metadata is missing or damaged: written anew");
                self.make_dir(id, dir)?;
                return Ok(true);
            }
            None => tracing::warn!(
                partition = name,
                "directory does not say which topic it belongs to, and the journal has all of it: rebuilt"
            ),
        }
        self.set_aside(dir, name)?;
        disk.sync_dir(&self.env.data_dir).map_err(StorageError::io("syncing", &*self.env.data_dir))?;
        Ok(false)
    }

    fn make_dir(&self, id: TopicIdPartition, dir: &Path) -> Result<(), StorageError> {
        let disk = &*self.env.disk;
        disk.create_dir_all(dir).map_err(StorageError::io("creating", dir))?;
        self.new_dirs.store(true, Ordering::Release);
        let metadata = checkpoints::encode_metadata(id.topic_id);
        let written = checkpoints::replace(disk, dir, PARTITION_METADATA, metadata.as_bytes(), false);
        written.map_err(StorageError::io("writing partition.metadata in", dir))
    }

    /// The partition, if it is open.
    pub fn get(&self, id: TopicIdPartition) -> Option<Arc<Partition>> {
        self.partitions.read().get(&id).cloned()
    }

    /// All partitions that are open.
    pub fn partitions(&self) -> Vec<Arc<Partition>> {
        self.partitions.read().values().cloned().collect()
    }

    /// The committer of the present session: its queue bounds what connections may take on. None with `Durability::Os`, and while a
    /// journal that has failed is being replaced.
    pub fn committer(&self) -> Option<Arc<Committer>> {
        self.env.committer()
    }

    /// When an append counts as done.
    pub fn durability(&self) -> Durability {
        self.env.durability
    }

    /// The data directory.
    pub fn data_dir(&self) -> &Path {
        &self.env.data_dir
    }

    /// Whether the journal has failed and is not replaced yet: appends are refused.
    pub fn journal_failed(&self) -> bool {
        self.env.durability == Durability::Fsync && self.env.committer().is_none_or(|committer| committer.has_failed())
    }

    /// How many segment files are open, at most.
    pub fn open_files(&self) -> usize {
        self.env.files.len()
    }

    /// Changes `producer.id.expiration.ms`.
    pub fn set_producer_expiration_ms(&self, expiration_ms: i64) {
        self.env.producer_expiration_ms.store(expiration_ms, Ordering::Relaxed);
    }
}

impl Opened {
    /// A partition that could not be opened.
    fn offline(error: &StorageError) -> Self {
        Opened {
            segments: Vec::new(),
            log_start: 0,
            high_watermark: 0,
            next_offset: 0,
            producers: Default::default(),
            epochs: Default::default(),
            pending: Default::default(),
            status: Status::Offline(error.to_string().into()),
            dirty: false,
        }
    }
}

/// Milliseconds since 1970.
pub(crate) fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// An offset checkpoint: empty if there is none, `None` if it is damaged.
fn read_offsets(disk: &dyn Disk, path: &Path) -> Result<Option<OffsetMap>, StorageError> {
    let Some(bytes) = checkpoints::read(disk, path).map_err(StorageError::io("reading", path))? else {
        return Ok(Some(OffsetMap::new()));
    };
    let offsets = checkpoints::decode_offsets(&bytes);
    if offsets.is_none() {
        tracing::error!(file = %path.display(), "checkpoint is damaged: what it says is found out from the segments");
    }
    Ok(offsets)
}

type TakenOver = (HashMap<TopicIdPartition, Footers>, Vec<SessionId>, Recovered);

/// Seals the journals of earlier sessions and reads what they hold.
fn take_over(journals: &dyn Journals) -> Result<TakenOver, StorageError> {
    let sessions = journals.sessions()?;
    let mut footers: HashMap<TopicIdPartition, Footers> = HashMap::new();
    let mut recovered = Recovered { sessions: sessions.len(), batches: 0, torn_groups: 0 };
    for session in &sessions {
        let sealed = journals.seal(*session)?;
        if let Some(cut) = sealed.cut {
            recovered.torn_groups += 1;
            tracing::warn!(%session, bytes = cut.bytes, entries = cut.entries, "the journal's last write was torn: cut off, nothing of it was acknowledged");
        }
        journals.footers(*session, Position(0), &mut |footer| {
            let id = TopicIdPartition { topic_id: footer.meta.topic_id, partition: footer.meta.partition };
            footers.entry(id).or_default().insert(footer.meta.base_offset, (*session, footer));
            recovered.batches += 1;
        })?;
    }
    Ok((footers, sessions, recovered))
}
