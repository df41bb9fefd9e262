//! The keeper over a ground of memory that stops, or forgets, at any step.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use chronik_protocol::batch::Batches;
use chronik_protocol::generated::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use chronik_protocol::generated::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use chronik_protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest,
    IncrementalAlterConfigsRequest,
};

use super::*;
use crate::config::ConfigInput;

/// A partition on the disk.
struct Kept {
    dir: (String, i32),
    epoch: i32,
    settings: Settings,
}

/// What survives the process.
#[derive(Default)]
struct Disk {
    /// Batches with their base offset patched in.
    log: Mutex<Vec<u8>>,
    start: Mutex<i64>,
    snapshot: Mutex<Option<(i64, Vec<u8>)>>,
    partitions: Mutex<BTreeMap<(Uuid, i32), Kept>>,
    /// Steps left before everything fails.
    steps: AtomicUsize,
    /// Whether the step that fails is done all the same.
    fails_late: std::sync::atomic::AtomicBool,
}

impl Disk {
    fn new() -> Arc<Disk> {
        let disk = Disk::default();
        disk.steps.store(usize::MAX, Ordering::Relaxed);
        Arc::new(disk)
    }

    fn step<T>(&self, work: impl FnOnce() -> T) -> Result<T, GroundError> {
        let left = self.steps.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| Some(n.saturating_sub(1)));
        let fails = left == Ok(0);
        if fails && !self.fails_late.load(Ordering::Relaxed) {
            return Err(GroundError("stopped".to_owned()));
        }
        let done = work();
        if fails { Err(GroundError("stopped late".to_owned())) } else { Ok(done) }
    }

    fn end(&self) -> i64 {
        let log = self.log.lock();
        Batches::new(&log).last().map_or(*self.start.lock(), |batch| batch.unwrap().header.next_offset())
    }
}

struct Memory(Arc<Disk>);

impl Ground for Memory {
    fn append(&mut self, batch: &[u8]) -> Result<(), GroundError> {
        let end = self.0.end();
        self.0.step(|| {
            let mut bytes = batch.to_vec();
            bytes[..8].copy_from_slice(&end.to_be_bytes());
            self.0.log.lock().extend_from_slice(&bytes);
        })
    }

    fn range(&mut self) -> Result<(i64, i64), GroundError> {
        let start = *self.0.start.lock();
        self.0.step(|| (start, self.0.end()))
    }

    fn read(&mut self, offset: i64) -> Result<Vec<u8>, GroundError> {
        let log = self.0.log.lock();
        let batches = Batches::new(&log).map(Result::unwrap).filter(|batch| batch.header.next_offset() > offset);
        self.0.step(|| batches.take(2).flat_map(|batch| batch.bytes.to_vec()).collect())
    }

    fn snapshot(&mut self) -> Result<Option<(i64, Vec<u8>)>, GroundError> {
        self.0.step(|| self.0.snapshot.lock().clone())
    }

    fn save_snapshot(&mut self, end: i64, bytes: &[u8]) -> Result<(), GroundError> {
        self.0.step(|| *self.0.snapshot.lock() = Some((end, bytes.to_vec())))?;
        self.0.step(|| {
            self.0.log.lock().clear();
            *self.0.start.lock() = end;
        })
    }

    fn present(&self) -> Vec<(Uuid, i32)> {
        self.0.partitions.lock().keys().copied().collect()
    }

    fn create(&mut self, topic: &Topic, partition: i32, settings: &Settings, epoch: i32) -> Result<(), GroundError> {
        let dir = (topic.name.to_string(), partition);
        self.0.step(|| {
            let mut partitions = self.0.partitions.lock();
            let id = (topic.id, partition);
            assert!(partitions.iter().all(|(other, kept)| *other == id || kept.dir != dir), "{dir:?} is taken");
            partitions.insert(id, Kept { dir, epoch, settings: settings.clone() });
        })
    }

    fn delete(&mut self, partitions: &[(Uuid, i32)]) -> Result<(), GroundError> {
        for id in partitions {
            self.0.step(|| self.0.partitions.lock().remove(id))?;
        }
        Ok(())
    }

    fn configure(&mut self, topic: Uuid, partition: i32, settings: &Settings) {
        if let Some(kept) = self.0.partitions.lock().get_mut(&(topic, partition)) {
            kept.settings = settings.clone();
        }
    }

    fn lead(&mut self, _epoch: i32) {}

    fn now_ms(&self) -> i64 {
        1_700_000_000_000
    }
}

fn config(pairs: &[(&str, &str)]) -> Arc<BrokerConfig> {
    let command_line = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Arc::new(BrokerConfig::load(&ConfigInput { command_line, ..ConfigInput::default() }).unwrap())
}

fn start_with(disk: &Arc<Disk>, session: u128, pairs: &[(&str, &str)]) -> Result<Metadata, LoadError> {
    Metadata::start(Box::new(Memory(disk.clone())), config(pairs), Uuid::from_u128(session))
}

fn start(disk: &Arc<Disk>, session: u128) -> Metadata {
    start_with(disk, session, &[]).unwrap()
}

async fn create(
    metadata: &Metadata,
    name: &str,
    partitions: i32,
    retention: &str,
) -> Result<CreateTopicsResponse<'static>, ErrorCode> {
    let config = CreatableTopicConfig { name: "retention.ms".into(), value: Some(retention.to_owned().into()) };
    let topic = CreatableTopic {
        name: name.to_owned().into(),
        num_partitions: partitions,
        replication_factor: 1,
        configs: vec![config],
        ..CreatableTopic::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], ..CreateTopicsRequest::default() };
    let id = Uuid::from_u128(u128::from_be_bytes(*name.repeat(16).as_bytes()[..16].first_chunk().unwrap()));
    metadata.propose(move |controller| controller.create_topics(&request, &mut || id)).await
}

async fn delete(metadata: &Metadata, name: &str) -> Result<i16, ErrorCode> {
    let request =
        DeleteTopicsRequest { topic_names: vec![name.to_owned().into()], timeout_ms: 1000, ..Default::default() };
    let response = metadata.propose(move |controller| controller.delete_topics(&request, 5)).await?;
    Ok(response.responses[0].error_code)
}

async fn retain(metadata: &Metadata, kind: i8, name: &str, key: &'static str, ms: &str) -> Result<i16, ErrorCode> {
    let config = AlterableConfig { name: key.into(), config_operation: 0, value: Some(ms.to_owned().into()) };
    let resource =
        AlterConfigsResource { resource_type: kind, resource_name: name.to_owned().into(), configs: vec![config] };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    let response = metadata.propose(move |controller| controller.incremental_alter_configs(&request)).await?;
    Ok(response.responses[0].error_code)
}

/// Partitions are exactly what the image says, with its epochs and settings.
fn check(disk: &Disk, image: &MetadataImage) {
    let partitions = disk.partitions.lock();
    let mut expected = 0;
    for topic in image.topics() {
        for partition in 0..topic.partitions {
            let Kept { epoch, settings, .. } = &partitions[&(topic.id, partition)];
            assert_eq!(*epoch, image.leader_epoch(topic));
            let retention = settings.iter().find(|(name, _)| name == "retention.ms").unwrap();
            let own = image.topic_overrides(&topic.name).get("retention.ms");
            assert_eq!(Some(&retention.1), own);
            expected += 1;
        }
    }
    assert_eq!(partitions.len(), expected);
}

#[tokio::test]
async fn a_life() {
    let disk = Disk::new();
    let metadata = start(&disk, 1);
    assert_eq!(metadata.cluster_id(), Uuid::from_u128(1).to_string());
    let told = Arc::new(Mutex::new(Vec::new()));
    let listener = told.clone();
    metadata.listen(move |change| {
        let names = |topics: &[Arc<Topic>]| topics.iter().map(|topic| topic.name.to_string()).collect::<Vec<_>>();
        listener.lock().push((names(&change.created), names(&change.grown), names(&change.deleted)));
    });
    create(&metadata, "a", 3, "5").await.unwrap();
    create(&metadata, "b", 1, "6").await.unwrap();
    check(&disk, &metadata.image());
    assert_eq!(retain(&metadata, 2, "a", "retention.ms", "7").await, Ok(0));
    check(&disk, &metadata.image());
    assert_eq!(retain(&metadata, 4, "", "log.retention.ms", "8").await, Ok(0));
    check(&disk, &metadata.image());
    let grow = chronik_protocol::generated::create_partitions_request::CreatePartitionsTopic {
        name: "a".into(),
        count: 5,
        assignments: None,
    };
    let request = CreatePartitionsRequest { topics: vec![grow], timeout_ms: 1000, validate_only: false };
    metadata.propose(move |controller| controller.create_partitions(&request)).await.unwrap();
    assert_eq!(delete(&metadata, "b").await, Ok(0));
    assert_eq!(delete(&metadata, "b").await, Ok(3));
    check(&disk, &metadata.image());
    let before = metadata.image();
    metadata.stop();
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let expected = [
        (list(&["a"]), list(&[]), list(&[])),
        (list(&["b"]), list(&[]), list(&[])),
        (list(&[]), list(&["a"]), list(&[])),
        (list(&[]), list(&[]), list(&["b"])),
    ];
    assert_eq!(*told.lock(), expected);
    let metadata = start(&disk, 2);
    let after = metadata.image();
    check(&disk, &after);
    assert_eq!(after.topics().collect::<Vec<_>>(), before.topics().collect::<Vec<_>>());
    assert_eq!(after.sessions(), 2);
    assert_eq!(metadata.cluster_id(), Uuid::from_u128(1).to_string());
    assert_eq!(metadata.propose(|c| Decision { records: Vec::new(), response: c.image.sessions() }).await, Ok(2));
}

/// The process ends at each step of a life in turn: then whatever was answered holds, and everything is wholly there or absent.
#[tokio::test]
async fn an_end_at_every_step() {
    for late in [false, true] {
        let mut ended_early = 0;
        for steps in 0.. {
            let disk = Disk::new();
            disk.fails_late.store(late, Ordering::Relaxed);
            let snapshots = [("metadata.log.max.record.bytes.between.snapshots", "200")];
            let metadata = start_with(&disk, 1, &snapshots).unwrap();
            disk.steps.store(steps, Ordering::Relaxed);
            let created = create(&metadata, "a", 3, "5").await.is_ok();
            let altered = retain(&metadata, 2, "a", "retention.ms", "7").await == Ok(0);
            let deleted = delete(&metadata, "a").await == Ok(0);
            let again = create(&metadata, "b", 2, "9").await.is_ok();
            let left = disk.steps.load(Ordering::Relaxed);
            metadata.stop();
            disk.steps.store(usize::MAX, Ordering::Relaxed);
            let metadata = start(&disk, 2);
            let image = metadata.image();
            check(&disk, &image);
            let a = image.topic("a").map(|topic| topic.partitions);
            assert!(a.is_none() || a == Some(3), "{a:?} partitions after {steps} steps");
            let b = image.topic("b").map(|topic| topic.partitions);
            assert!(b.is_none() || b == Some(2), "{b:?} partitions after {steps} steps");
            if deleted {
                assert_eq!(a, None);
            } else if altered && a.is_some() {
                assert_eq!(image.topic_overrides("a")["retention.ms"], "7");
            } else if created && !late {
                assert!(a.is_some());
            }
            if again {
                assert_eq!(b, Some(2));
            }
            metadata.stop();
            ended_early += usize::from(left == 0);
            if left > 0 {
                break;
            }
        }
        assert!(ended_early > 10, "{ended_early} ends");
    }
}

#[tokio::test]
async fn a_failed_commit_is_looked_up_before_the_next() {
    for late in [false, true] {
        let disk = Disk::new();
        let metadata = start(&disk, 1);
        disk.fails_late.store(late, Ordering::Relaxed);
        disk.steps.store(0, Ordering::Relaxed);
        assert_eq!(create(&metadata, "a", 1, "5").await, Err(ErrorCode::KafkaStorageError));
        assert!(metadata.image().topic("a").is_none());
        assert_eq!(create(&metadata, "a", 1, "5").await, Err(ErrorCode::KafkaStorageError));
        disk.steps.store(usize::MAX, Ordering::Relaxed);
        let code = create(&metadata, "a", 1, "5").await.unwrap().topics[0].error_code;
        assert_eq!(code, if late { 36 } else { 0 });
        check(&disk, &metadata.image());
        metadata.stop();
    }
}

#[tokio::test]
async fn damage_stops_the_start() {
    let disk = Disk::new();
    let metadata = start(&disk, 1);
    create(&metadata, "a", 1, "5").await.unwrap();
    metadata.stop();
    let whole = disk.log.lock().clone();
    let mut begin = 0;
    for batch in Batches::new(&whole) {
        let size = batch.unwrap().bytes.len();
        // Length and leader epoch lie outside the checksum; a wrong length is a torn batch to the store.
        for at in (begin..begin + 8).chain(begin + 17..begin + size) {
            disk.log.lock()[at] ^= 1;
            assert!(matches!(start_with(&disk, 2, &[]), Err(LoadError::Damaged(_))), "byte {at}");
            *disk.log.lock() = whole.clone();
        }
        begin += size;
    }
    disk.log.lock().clear();
    assert_eq!(start_with(&disk, 2, &[]).err(), Some(LoadError::Missing(1)));
}

#[tokio::test]
async fn producer_ids_are_given_once() {
    let disk = Disk::new();
    let metadata = start(&disk, 1);
    for expected in 0..1001 {
        assert_eq!(metadata.producer_id().await, Ok(expected));
    }
    metadata.stop();
    assert_eq!(metadata.producer_id().await, Ok(1001));
    let metadata = start(&disk, 2);
    assert_eq!(metadata.producer_id().await, Ok(2000));
    metadata.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_reborn_in_one_round_has_its_own_directory() {
    let disk = Disk::new();
    let metadata = Arc::new(start(&disk, 1));
    create(&metadata, "a", 2, "5").await.unwrap();
    let old = metadata.image().topic("a").unwrap().id;
    // The keeper is held inside a decision until the other two proposals wait, so that all three are one round.
    let (release, held) = std::sync::mpsc::channel::<()>();
    let holder = tokio::spawn({
        let metadata = metadata.clone();
        async move {
            let wait = move |_: &Controller<'_>| {
                held.recv().unwrap();
                Decision { records: Vec::new(), response: () }
            };
            metadata.propose(wait).await
        }
    });
    let topic =
        CreatableTopic { name: "a".into(), num_partitions: 1, replication_factor: 1, ..CreatableTopic::default() };
    let config = CreatableTopicConfig { name: "retention.ms".into(), value: Some("6".into()) };
    let request = CreateTopicsRequest {
        topics: vec![CreatableTopic { configs: vec![config], ..topic }],
        ..CreateTopicsRequest::default()
    };
    let both = async {
        let create =
            metadata.propose(move |controller| controller.create_topics(&request, &mut || Uuid::from_u128(77)));
        tokio::join!(biased; delete(&metadata, "a"), create)
    };
    let release = async move { release.send(()).unwrap() };
    let ((deleted, created), ()) = tokio::join!(biased; both, release);
    holder.await.unwrap().unwrap();
    assert_eq!(deleted, Ok(0));
    assert_eq!(created.unwrap().topics[0].error_code, 0);
    let image = metadata.image();
    assert_ne!(image.topic("a").unwrap().id, old);
    check(&disk, &image);
    metadata.stop();
}

/// Whatever the table of settings takes, a log takes too.
#[test]
fn every_valid_setting_makes_a_log() {
    use chronik_coordinator::metadata::config::{Kind, Valid, topic_settings};
    for setting in topic_settings() {
        let mut values: Vec<String> = setting.default.map(str::to_owned).into_iter().collect();
        match setting.valid {
            Valid::AtLeast(low) => values.push(low.to_string()),
            Valid::Between(low, high) => values.extend([low.to_string(), high.to_string()]),
            Valid::GzipLevel => values.extend(["-1".to_owned(), "1".to_owned(), "9".to_owned()]),
            Valid::OneOf(words) => values.extend(words.iter().map(|word| (*word).to_owned())),
            Valid::ListOf(words) => values.extend([String::new(), words[0].to_owned(), words.join(",")]),
            _ => {}
        }
        match setting.kind {
            Kind::Boolean => values.extend(["true".to_owned(), "FALSE".to_owned()]),
            Kind::Int if matches!(setting.valid, Valid::AtLeast(_)) => values.push(i32::MAX.to_string()),
            Kind::Long if matches!(setting.valid, Valid::Any | Valid::AtLeast(_)) => values.push(i64::MAX.to_string()),
            _ => {}
        }
        for value in values {
            let value = setting.parse(&value).unwrap().to_string();
            let made = chronik_storage::LogConfig::from_settings([(setting.name, value.as_str())]);
            assert!(made.is_ok(), "{}={value}: {:?}", setting.name, made.err());
        }
    }
}
