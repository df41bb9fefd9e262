//! The one thread that changes the metadata: it gathers proposals, decides each on the image as those before it will leave it, commits their records as
//! one batch, and then lets everything follow: new partitions are made before anybody can see their topic, deleted ones go after nobody can.
//!
//! When a commit fails, nobody knows what of it is stored. The image is then read anew from the log before anything else is decided.

use std::collections::BTreeMap;
use std::sync::Arc;

use chronik_coordinator::metadata::config::{Setting, topic_settings};
use chronik_coordinator::metadata::{Controller, MetadataImage, MetadataRecord, ResourceKind, Rules, Topic};
use chronik_protocol::{ErrorCode, Uuid};
use tokio::sync::mpsc;

use super::ground::{Ground, GroundError, Settings};
use super::log::{self, Unreadable};
use super::{Change, Shared};

/// Proposals decided in one round, if there are so many.
const ROUND_MAX: usize = 256;
/// Records after which a round takes no more proposals.
const ROUND_RECORDS_MAX: usize = 20_000;

/// Sends the reply, or the reason why there is none.
pub(super) type Finish = Box<dyn FnOnce(Result<(), ErrorCode>) + Send>;
/// Decides: records to commit, and what to do then.
pub(super) type Job = Box<dyn FnOnce(&Controller<'_>) -> (Vec<MetadataRecord>, Finish) + Send>;

/// Why the metadata cannot be used at start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LoadError {
    /// The log or the snapshot is damaged. Nothing is guessed and nothing begun anew.
    #[error("the metadata log is damaged: {0}")]
    Damaged(#[from] Unreadable),
    /// Files of partitions without the metadata that they belong to.
    #[error("there are {0} partitions in the data directory, and no metadata that knows them")]
    Missing(usize),
    /// The storage failed.
    #[error("the metadata log cannot be used: {0}")]
    Ground(#[from] GroundError),
}

/// Reads snapshot and log. Gives the image and the offset behind it.
pub(super) fn load(ground: &mut dyn Ground) -> Result<(MetadataImage, i64), LoadError> {
    let (mut image, mut next) = match ground.snapshot()? {
        Some((end, bytes)) => (log::load(&bytes)?, end),
        None => (MetadataImage::default(), 0),
    };
    let (start, end) = ground.range()?;
    if start > next || end < next {
        let what = format!("the log holds {start} to {end}, and the snapshot ends at {next}");
        return Err(Unreadable { offset: next, what }.into());
    }
    while next < end {
        let bytes = ground.read(next)?;
        let after = log::replay(whole_from(&bytes, next), next, &mut image)?;
        if after == next {
            return Err(Unreadable { offset: next, what: "there is no batch".to_owned() }.into());
        }
        next = after;
    }
    Ok((image, next))
}

/// A snapshot ends where a batch ends, so a read that begins there begins with a batch; what lies before is passed over.
fn whole_from(bytes: &[u8], offset: i64) -> &[u8] {
    let mut rest = bytes;
    while let Ok(batch) = chronik_protocol::batch::Batch::parse(rest) {
        if batch.header.next_offset() > offset {
            break;
        }
        rest = &rest[batch.bytes.len()..];
    }
    rest
}

pub(super) struct Keeper {
    ground: Box<dyn Ground>,
    shared: Arc<Shared>,
    rules: Rules,
    jobs: mpsc::Receiver<Job>,
    /// The image with everything decided in this round.
    next: MetadataImage,
    /// Set after a failed commit: the log has to be read before the next decision.
    lost: bool,
    since_snapshot: u64,
    snapshot_bytes: u64,
    /// Partitions that could not be made; tried again with every round.
    missing: Vec<(Uuid, i32)>,
    /// Settings of topics that have none of their own.
    common: Option<Settings>,
}

/// Metadata that is loaded and in force; nobody changes it yet.
pub(super) struct Opened {
    ground: Box<dyn Ground>,
    rules: Rules,
    pub(super) image: MetadataImage,
    missing: Vec<(Uuid, i32)>,
    snapshot_bytes: u64,
}

impl Opened {
    pub(super) fn keeper(self, shared: Arc<Shared>, jobs: mpsc::Receiver<Job>) -> Keeper {
        Keeper {
            ground: self.ground,
            shared,
            rules: self.rules,
            jobs,
            next: self.image,
            lost: false,
            since_snapshot: 0,
            snapshot_bytes: self.snapshot_bytes,
            missing: self.missing,
            common: None,
        }
    }
}

impl Keeper {
    /// Loads the metadata, begins a session, and makes the partitions what the metadata says.
    pub(super) fn open(
        mut ground: Box<dyn Ground>,
        rules: Rules,
        incarnation: Uuid,
        snapshot_bytes: u64,
    ) -> Result<Opened, LoadError> {
        let (mut image, end) = load(ground.as_mut())?;
        let present = ground.present();
        if end == 0 && !present.is_empty() {
            return Err(LoadError::Missing(present.len()));
        }
        ground.lead(i32::try_from(image.sessions()).unwrap_or(i32::MAX));
        let session = MetadataRecord::session(rules.node_id, incarnation, image.sessions() + 1);
        let batch = log::batch(std::slice::from_ref(&session), ground.now_ms()).map_err(GroundError)?;
        ground.append(&batch)?;
        image.apply(&session).map_err(|e| Unreadable { offset: end, what: e.to_string() })?;
        let mut missing = Vec::new();
        reconcile(ground.as_mut(), &image, &rules, &mut missing)?;
        Ok(Opened { ground, rules, image, missing, snapshot_bytes })
    }

    /// Runs until every handle is gone.
    pub(super) fn run(mut self) {
        while let Some(job) = self.jobs.blocking_recv() {
            if self.lost {
                self.find_again();
            }
            self.retry_missing();
            self.round(job);
        }
    }

    fn round(&mut self, first: Job) {
        let mut records = Vec::new();
        let mut finishes = Vec::new();
        let mut job = Some(first);
        while let Some(decide) = job.take() {
            let (decided, finish) = decide(&Controller { image: &self.next, rules: &self.rules });
            let misfit = decided.iter().find_map(|record| self.next.apply(record).err());
            if let Some(misfit) = misfit {
                // A decision that does not fit its own image is a bug; nothing of the round may be stored.
                tracing::error!(error = %misfit, "a metadata decision does not fit");
                self.next = (*self.shared.image()).clone();
                finish(Err(ErrorCode::UnknownServerError));
                finishes.drain(..).for_each(|finish: Finish| finish(Err(ErrorCode::UnknownServerError)));
                return;
            }
            records.extend(decided);
            finishes.push(finish);
            if finishes.len() < ROUND_MAX && records.len() < ROUND_RECORDS_MAX {
                job = self.jobs.try_recv().ok();
            }
        }
        let outcome = if self.lost { Err(ErrorCode::KafkaStorageError) } else { self.commit(&records) };
        finishes.into_iter().for_each(|finish| finish(outcome));
    }

    fn commit(&mut self, records: &[MetadataRecord]) -> Result<(), ErrorCode> {
        if records.is_empty() {
            return Ok(());
        }
        let stored = log::batch(records, self.ground.now_ms())
            .map_err(GroundError)
            .and_then(|batch| self.ground.append(&batch).map(|()| batch.len()));
        match stored {
            Ok(bytes) => {
                self.follow(records);
                self.since_snapshot += bytes as u64;
                if self.since_snapshot >= self.snapshot_bytes {
                    self.take_snapshot();
                }
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "metadata could not be stored");
                self.lost = true;
                Err(ErrorCode::KafkaStorageError)
            }
        }
    }

    /// Reads the log after a failed commit; on failure everything is refused until it succeeds.
    fn find_again(&mut self) {
        match load(self.ground.as_mut()) {
            Ok((image, _)) => {
                let before = self.shared.image();
                self.next = image;
                self.lost = false;
                self.common = None;
                if let Err(error) = reconcile(self.ground.as_mut(), &self.next, &self.rules, &mut self.missing) {
                    tracing::error!(%error, "partitions could not be made what the metadata says");
                }
                self.shared.publish(Arc::new(self.next.clone()));
                self.shared.tell(&Change::between(&before, &self.next));
            }
            Err(error) => {
                self.next = (*self.shared.image()).clone();
                tracing::error!(%error, "metadata could not be read again");
            }
        }
    }

    /// Makes everything else what the committed records say.
    fn follow(&mut self, records: &[MetadataRecord]) {
        if records
            .iter()
            .any(|record| matches!(record, MetadataRecord::Config(config) if is_broker(config.resource_type)))
        {
            self.common = None;
        }
        let change = Change::between(&self.shared.image(), &self.next);
        // A directory has room for one topic of a name: the old one goes before the new one comes.
        let (reborn, gone): (Vec<_>, Vec<_>) =
            change.deleted.iter().cloned().partition(|topic| self.next.topic(&topic.name).is_some());
        self.remove(&reborn);
        let mut settings: Option<(Uuid, Settings)> = None;
        for record in records {
            if let MetadataRecord::Partition(partition) = record
                && let Some(topic) = self.next.topic_by_id(partition.topic_id)
            {
                let settings = match settings.take() {
                    Some((id, known)) if id == topic.id => settings.insert((id, known)),
                    _ => settings.insert((topic.id, settings_of(&self.next, &self.rules, topic, &mut self.common))),
                };
                let epoch = self.next.leader_epoch(topic);
                make(self.ground.as_mut(), topic, partition.partition_id, (&settings.1, epoch), &mut self.missing);
            }
        }
        self.shared.publish(Arc::new(self.next.clone()));
        self.remove(&gone);
        self.reconfigure(records);
        self.shared.tell(&change);
    }

    fn remove(&mut self, topics: &[Arc<Topic>]) {
        let all = |topic: &Arc<Topic>| (0..topic.partitions).map(|partition| (topic.id, partition)).collect::<Vec<_>>();
        let partitions: Vec<_> = topics.iter().flat_map(all).collect();
        if partitions.is_empty() {
            return;
        }
        self.missing.retain(|(id, _)| topics.iter().all(|topic| topic.id != *id));
        if let Err(error) = self.ground.delete(&partitions) {
            tracing::error!(%error, "deleted partitions could not be removed; the next start tries again");
        }
    }

    fn reconfigure(&mut self, records: &[MetadataRecord]) {
        let mut changed: BTreeMap<Arc<str>, Arc<Topic>> = BTreeMap::new();
        let entry = |topic: &Arc<Topic>| (topic.name.clone(), topic.clone());
        for record in records {
            let MetadataRecord::Config(config) = record else { continue };
            if is_broker(config.resource_type) {
                changed.extend(self.next.topics().map(entry));
            } else {
                changed.extend(self.next.topic(&config.resource_name).map(entry));
            }
        }
        for topic in changed.into_values() {
            let settings = settings_of(&self.next, &self.rules, &topic, &mut self.common);
            for partition in 0..topic.partitions {
                self.ground.configure(topic.id, partition, &settings);
            }
        }
    }

    fn retry_missing(&mut self) {
        for (id, partition) in std::mem::take(&mut self.missing) {
            if let Some(topic) = self.next.topic_by_id(id) {
                let settings = settings_of(&self.next, &self.rules, topic, &mut self.common);
                let epoch = self.next.leader_epoch(topic);
                make(self.ground.as_mut(), topic, partition, (&settings, epoch), &mut self.missing);
            }
        }
    }

    fn take_snapshot(&mut self) {
        let now_ms = self.ground.now_ms();
        let saved = self.ground.range().and_then(|(_, end)| {
            let bytes = log::snapshot(&self.next, now_ms).map_err(GroundError)?;
            self.ground.save_snapshot(end, &bytes)
        });
        // A snapshot only saves time at start; without it the log is there.
        match saved {
            Ok(()) => self.since_snapshot = 0,
            Err(error) => tracing::warn!(%error, "the metadata snapshot could not be written"),
        }
    }
}

fn is_broker(resource_type: i8) -> bool {
    ResourceKind::from_i8(resource_type) == Some(ResourceKind::Broker)
}

/// The settings in force for a topic's logs. `common` keeps those of topics without settings of their own.
fn settings_of(image: &MetadataImage, rules: &Rules, topic: &Topic, common: &mut Option<Settings>) -> Settings {
    let overrides = image.topic_overrides(&topic.name);
    let layers = image.layers(&rules.static_broker);
    let read = || {
        let text = |setting: &'static Setting| Some((setting.name.to_owned(), layers.topic_text(setting, overrides)?));
        Arc::new(topic_settings().filter_map(text).collect())
    };
    if overrides.is_empty() { common.get_or_insert_with(read).clone() } else { read() }
}

fn make(
    ground: &mut dyn Ground,
    topic: &Topic,
    partition: i32,
    (settings, epoch): (&Settings, i32),
    missing: &mut Vec<(Uuid, i32)>,
) {
    if let Err(error) = ground.create(topic, partition, settings, epoch) {
        tracing::error!(topic = %topic.name, partition, %error, "a partition could not be made; it is tried again");
        missing.push((topic.id, partition));
    }
}

/// Removes what the metadata does not know, makes what is missing, gives everything its epoch and settings.
fn reconcile(
    ground: &mut dyn Ground,
    image: &MetadataImage,
    rules: &Rules,
    missing: &mut Vec<(Uuid, i32)>,
) -> Result<(), GroundError> {
    let mut strays = ground.present();
    strays.retain(|(id, partition)| image.topic_by_id(*id).is_none_or(|topic| *partition >= topic.partitions));
    if !strays.is_empty() {
        tracing::info!(
            partitions = strays.len(),
            "removing partitions of topics that were deleted, or never wholly created"
        );
        ground.delete(&strays)?;
    }
    missing.clear();
    let mut common = None;
    for topic in image.topics() {
        let settings = settings_of(image, rules, topic, &mut common);
        let epoch = image.leader_epoch(topic);
        for partition in 0..topic.partitions {
            ground.create(topic, partition, &settings, epoch)?;
        }
    }
    Ok(())
}
