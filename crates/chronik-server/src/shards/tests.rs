//! The shell over logs in memory: what waits for what, failures, timers, loading.

use std::sync::atomic::AtomicUsize;

use bytes::Bytes;
use chronik_coordinator::group::api::{
    Commit, CommitPartition, CommitTopic, Fetch, FetchTopic, Join, MemberCheck, Protocol,
};
use chronik_protocol::Uuid;
use chronik_protocol::batch::{BatchHeader, patch};

use super::log::{Committing, LogError};
use super::*;

/// A log whose commits come when the test says so.
#[derive(Debug, Default)]
struct MemoryLog {
    batches: Mutex<Vec<Vec<u8>>>,
    start: AtomicI64,
    end: AtomicI64,
    /// Appended but not committed, once `manual` is set.
    high_watermark: AtomicI64,
    manual: AtomicBool,
    broken: AtomicBool,
    reads: AtomicUsize,
    advanced: Arc<Notify>,
}

impl MemoryLog {
    fn commit(&self) {
        self.high_watermark.store(self.end.load(Ordering::SeqCst), Ordering::SeqCst);
        self.advanced.notify_waiters();
    }
}

#[derive(Debug)]
struct Handle(Arc<MemoryLog>);

impl OffsetsLog for Handle {
    fn partition(&self) -> i32 {
        0
    }

    fn is_empty(&self) -> bool {
        self.0.end.load(Ordering::SeqCst) == 0
    }

    fn append(&self, batch: Bytes, _now_ms: i64) -> Result<i64, LogError> {
        if self.0.broken.load(Ordering::SeqCst) {
            return Err(LogError::Storage("the disk is gone".into()));
        }
        let mut bytes = batch.to_vec();
        let base = self.0.end.load(Ordering::SeqCst);
        patch(bytes.first_chunk_mut().unwrap(), base, 0);
        let next = BatchHeader::parse(&bytes).unwrap().next_offset();
        self.0.batches.lock().push(bytes);
        self.0.end.store(next, Ordering::SeqCst);
        if !self.0.manual.load(Ordering::SeqCst) {
            self.0.commit();
        }
        Ok(next - 1)
    }

    fn high_watermark(&self) -> i64 {
        self.0.high_watermark.load(Ordering::SeqCst)
    }

    fn committed(&self, offset: i64) -> Committing {
        let log = Arc::clone(&self.0);
        Box::pin(async move {
            loop {
                let advanced = Arc::clone(&log.advanced).notified_owned();
                if log.broken.load(Ordering::SeqCst) {
                    return Err(LogError::Storage("the disk is gone".into()));
                }
                if log.high_watermark.load(Ordering::SeqCst) > offset {
                    return Ok(());
                }
                advanced.await;
            }
        })
    }

    fn settled_range(&self) -> Result<(i64, i64), LogError> {
        if self.0.broken.load(Ordering::SeqCst) {
            return Err(LogError::Storage("the disk is gone".into()));
        }
        Ok((self.0.start.load(Ordering::SeqCst), self.0.high_watermark.load(Ordering::SeqCst)))
    }

    fn size_in_bytes(&self) -> u64 {
        self.0.batches.lock().iter().map(|batch| batch.len() as u64).sum()
    }

    fn trim(&self, before: i64) -> Result<(), LogError> {
        self.0.batches.lock().retain(|batch| BatchHeader::parse(batch).unwrap().next_offset() > before);
        self.0.start.store(before, Ordering::SeqCst);
        Ok(())
    }

    fn read(&self, offset: i64, _max_bytes: usize) -> Result<Vec<u8>, LogError> {
        self.0.reads.fetch_add(1, Ordering::SeqCst);
        let batches = self.0.batches.lock();
        let last = |batch: &&Vec<u8>| BatchHeader::parse(batch).unwrap().last_offset() >= offset;
        Ok(batches.iter().find(last).unwrap().clone())
    }
}

struct World {
    log: Arc<MemoryLog>,
    shards: Arc<GroupShards>,
    task: tokio::task::JoinHandle<()>,
}

impl World {
    fn new(log: Arc<MemoryLog>, config: GroupConfig) -> World {
        let shards = GroupShards::new(config);
        shards.open(vec![Arc::new(Handle(Arc::clone(&log)))]);
        let task = tokio::spawn(Arc::clone(&shards).run(|topic| topic != "deleted"));
        World { log, shards, task }
    }

    async fn commit(&self, topic: &str, offset: i64) -> Answer {
        self.shards.ask("g", commit(topic, offset)).answer().await
    }

    /// The committed offset of partition 0, once the shard is loaded.
    async fn committed(&self, topic: &str) -> i64 {
        loop {
            let topics = Some(vec![FetchTopic { name: topic.into(), id: Uuid::ZERO, partitions: vec![0] }]);
            let fetch = GroupRequest::Fetch(Fetch { group_id: "g".into(), topics });
            match self.shards.ask("g", fetch).answer().await {
                Ok(GroupReply::Fetch(topics)) => {
                    return topics[0].partitions[0].1.as_ref().map_or(-1, |committed| committed.offset);
                }
                Err(ErrorCode::CoordinatorLoadInProgress) => tokio::task::yield_now().await,
                other => panic!("{other:?}"),
            }
        }
    }

    async fn stop(self) {
        self.shards.stop();
        self.task.await.unwrap();
    }
}

fn commit(topic: &str, offset: i64) -> GroupRequest {
    let member = MemberCheck { group_id: "g".into(), member_id: "".into(), instance_id: None, generation: -1 };
    let partition = CommitPartition { partition: 0, offset, leader_epoch: -1, commit_timestamp_ms: -1, metadata: None };
    let topics = vec![CommitTopic { name: topic.into(), id: Uuid::ZERO, partitions: vec![partition] }];
    GroupRequest::Commit(Commit { member, knows_group_id_not_found: true, retention_ms: -1, topics })
}

fn join(group: &str) -> GroupRequest {
    GroupRequest::Join(Join {
        group_id: group.into(),
        member_id: "".into(),
        instance_id: None,
        client_id: "c".into(),
        client_host: "/::1".into(),
        session_timeout_ms: 6_000,
        rebalance_timeout_ms: 6_000,
        protocol_type: "consumer".into(),
        protocols: vec![Protocol { name: "range".into(), metadata: Bytes::new() }],
        requires_member_id: false,
        can_skip_assignment: true,
        fresh_id: Uuid::from_u128(1),
    })
}

fn taken() -> Answer {
    Ok(GroupReply::Commit(Ok(vec![vec![ErrorCode::None]])))
}

#[tokio::test]
async fn answers_wait_for_the_commit() {
    let world = World::new(Arc::default(), GroupConfig::default());
    world.log.manual.store(true, Ordering::SeqCst);
    let asked = world.shards.ask("g", commit("t", 5));
    assert!(matches!(asked, Asked::Later(_)));
    let answer = tokio::spawn(asked.answer());
    tokio::task::yield_now().await;
    assert!(!answer.is_finished());
    world.log.commit();
    assert_eq!(answer.await.unwrap(), taken());
    assert_eq!(world.committed("t").await, 5);
    world.stop().await;
}

#[tokio::test]
async fn a_failed_commit_drops_the_shard_and_loads_what_is_durable() {
    let world = World::new(Arc::default(), GroupConfig::default());
    assert_eq!(world.commit("t", 1).await, taken());
    world.log.manual.store(true, Ordering::SeqCst);
    let lost = tokio::spawn(world.shards.ask("g", commit("t", 2)).answer());
    let behind = tokio::spawn(world.shards.ask("g", commit("u", 2)).answer());
    tokio::task::yield_now().await;
    world.log.broken.store(true, Ordering::SeqCst);
    world.log.advanced.notify_waiters();
    assert_eq!(lost.await.unwrap(), Err(ErrorCode::NotCoordinator));
    assert_eq!(behind.await.unwrap(), Err(ErrorCode::NotCoordinator));
    assert_eq!(world.commit("t", 3).await, Err(ErrorCode::CoordinatorLoadInProgress));
    // The disk comes back without what was never committed.
    world.log.batches.lock().truncate(1);
    world.log.end.store(1, Ordering::SeqCst);
    world.log.manual.store(false, Ordering::SeqCst);
    world.log.broken.store(false, Ordering::SeqCst);
    assert_eq!((world.committed("t").await, world.committed("u").await), (1, -1));
    world.stop().await;
}

#[tokio::test]
async fn a_failed_append_answers_at_once() {
    let world = World::new(Arc::default(), GroupConfig::default());
    world.log.broken.store(true, Ordering::SeqCst);
    assert_eq!(world.commit("t", 1).await, Err(ErrorCode::NotCoordinator));
    assert_eq!(world.commit("t", 1).await, Err(ErrorCode::CoordinatorLoadInProgress));
    world.log.broken.store(false, Ordering::SeqCst);
    assert_eq!(world.committed("t").await, -1);
    world.stop().await;
}

#[tokio::test]
async fn a_log_is_replayed_and_offsets_of_missing_topics_are_taken_away() {
    let log = Arc::new(MemoryLog::default());
    let world = World::new(Arc::clone(&log), GroupConfig::default());
    assert_eq!(world.commit("t", 7).await, taken());
    assert_eq!(world.commit("deleted", 8).await, taken());
    world.stop().await;
    let world = World::new(Arc::clone(&log), GroupConfig::default());
    assert_eq!(world.shards.ask("g", commit("t", 1)).answer().await, Err(ErrorCode::CoordinatorLoadInProgress));
    assert_eq!(world.committed("t").await, 7);
    assert_eq!(log.reads.load(Ordering::SeqCst), 2);
    while world.committed("deleted").await != -1 {
        tokio::task::yield_now().await;
    }
    world.stop().await;
}

#[tokio::test]
async fn a_parked_join_is_released_by_a_timer_or_by_the_end() {
    let config = GroupConfig { initial_rebalance_delay_ms: 20, ..GroupConfig::default() };
    let world = World::new(Arc::default(), config);
    let Ok(GroupReply::Join(joined)) = world.shards.ask("g", join("g")).answer().await else { panic!() };
    assert_eq!((joined.error, joined.generation), (ErrorCode::None, 1));
    let parked = world.shards.ask("h", join("h"));
    assert!(matches!(parked, Asked::Later(_)));
    world.shards.stop();
    assert_eq!(parked.answer().await, Err(ErrorCode::NotCoordinator));
    assert_eq!(world.commit("t", 1).await, Err(ErrorCode::NotCoordinator));
    world.stop().await;
}

#[tokio::test]
async fn a_log_that_has_grown_is_written_anew() {
    let log = Arc::new(MemoryLog::default());
    let world = World::new(Arc::clone(&log), GroupConfig::default());
    for offset in 0..50 {
        assert_eq!(world.commit("t", offset).await, taken());
    }
    let shard = Arc::clone(&world.shards.shards.read()[0]);
    let size = log_size(&shard);
    assert!(!shard.growth.lock().is_due(size) && shard.growth.lock().is_due(REWRITE_BYTES));
    world.shards.rewrite(&shard, size).await.unwrap();
    assert_eq!((log.start.load(Ordering::SeqCst), log.batches.lock().len()), (50, 1));
    assert!(log_size(&shard) < size / 10);
    assert_eq!(world.commit("u", 7).await, taken());
    world.stop().await;
    let world = World::new(log, GroupConfig::default());
    assert_eq!((world.committed("t").await, world.committed("u").await), (49, 7));
    world.stop().await;
}

fn log_size(shard: &GroupShard) -> u64 {
    shard.log.size_in_bytes()
}

#[tokio::test]
async fn a_timer_of_a_request_that_is_answered_at_once_is_not_slept_over() {
    let config = GroupConfig { min_session_timeout_ms: 1, ..GroupConfig::default() };
    let world = World::new(Arc::default(), config);
    let asking = |session_timeout_ms: i32, id: u128| {
        let GroupRequest::Join(join) = join("g") else { panic!() };
        let fresh_id = Uuid::from_u128(id);
        GroupRequest::Join(Join { session_timeout_ms, fresh_id, requires_member_id: true, ..join })
    };
    // The task now sleeps until the end of a long session; then an id is given out for a short one.
    for (session_timeout_ms, id) in [(100_000, 1), (30, 2)] {
        let Ok(GroupReply::Join(joined)) = world.shards.ask("g", asking(session_timeout_ms, id)).answer().await else {
            panic!()
        };
        assert_eq!(joined.error, ErrorCode::MemberIdRequired);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let next_ms = world.shards.next_deadline_ms();
    let passed = async {
        while world.shards.next_deadline_ms() == next_ms {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), passed).await.unwrap();
    world.stop().await;
}

#[tokio::test]
async fn before_the_topic_is_there_nobody_coordinates() {
    let shards = GroupShards::new(GroupConfig::default());
    assert_eq!(shards.ask("g", commit("t", 1)).answer().await, Err(ErrorCode::NotCoordinator));
    assert!(!shards.is_open());
}

#[test]
fn groups_are_where_kafka_has_them() {
    // Of `Utils.abs(groupId.hashCode) % 50` in Java.
    for (group, partition) in [("", 0), ("a", 47), ("my-group", 12), ("console-consumer-12345", 6), ("Größe", 35)] {
        assert_eq!(partition_for(group, 50), partition, "{group}");
    }
    // A hash of i32::MIN has no positive counterpart.
    assert_eq!(partition_for("polygenelubricants", 50), 0);
}
