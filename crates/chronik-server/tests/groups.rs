//! Groups over sockets: many members, storms, clients that hang up, restarts of the broker.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::{Duration, Instant};

use chronik_protocol::ErrorCode;
use chronik_protocol::messages::{DeleteTopicsRequest, JoinGroupResponse};
use support::group::Member;
use support::{PATIENCE, TestBroker};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Members that stay in the group until told to go; each says its generation whenever it is in one.
async fn keep(mut member: Member, mut go: watch::Receiver<bool>, tell: impl Fn(i32) + Send + Sync + 'static) {
    while !*go.borrow() {
        member.settle().await;
        tell(member.generation);
        while !*go.borrow() && member.heartbeat().await == ErrorCode::None {
            let _ = tokio::time::timeout(Duration::from_millis(300), go.changed()).await;
        }
    }
}

/// Waits until everybody says the same generation.
async fn all_in_one(generations: &mut watch::Receiver<Vec<i32>>) -> i32 {
    let one = generations.wait_for(|all| all.iter().all(|generation| *generation > 0 && *generation == all[0]));
    tokio::time::timeout(PATIENCE, one).await.expect("a common generation in time").unwrap()[0]
}

fn spawn_members(
    tasks: &mut JoinSet<()>,
    members: Vec<Member>,
    go: &watch::Receiver<bool>,
) -> watch::Receiver<Vec<i32>> {
    let (tell, generations) = watch::channel(vec![-1; members.len()]);
    let tell = std::sync::Arc::new(tell);
    for (index, member) in members.into_iter().enumerate() {
        let tell = tell.clone();
        tasks.spawn(keep(member, go.clone(), move |generation| tell.send_modify(|all| all[index] = generation)));
    }
    generations
}

/// G10.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_members_join_at_once() {
    let broker = TestBroker::start(&[]).await;
    let mut members = Vec::new();
    for _ in 0..1000 {
        members.push(Member::new(&broker, "g").await);
    }
    let (stop, go) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let start = Instant::now();
    let mut generations = spawn_members(&mut tasks, members, &go);
    all_in_one(&mut generations).await;
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    stop.send(true).unwrap();
    tasks.join_all().await;
    broker.stop().await;
}

/// G11, shorter: members come and go as fast as they can, and a group beside them does not notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_rebalances_ends_with_its_cause_and_leaves_other_groups_alone() {
    let broker = TestBroker::start(&[]).await;
    broker.create_topic("t", 1).await;
    let (calm, go) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let mut steady = Vec::new();
    for _ in 0..60 {
        steady.push(Member::new(&broker, "storm").await);
    }
    let mut generations = spawn_members(&mut tasks, steady, &go);
    let (end_storm, storm) = watch::channel(false);
    let mut flapping = JoinSet::new();
    for _ in 0..40 {
        let mut member = Member::new(&broker, "storm").await;
        let storm = storm.clone();
        flapping.spawn(async move {
            while !*storm.borrow() {
                let _ = member.join().await;
                assert_ne!(member.leave().await, ErrorCode::UnknownServerError);
            }
        });
    }
    let mut beside = Member::new(&broker, "beside").await;
    beside.settle().await;
    let (start, mut slowest) = (Instant::now(), Duration::ZERO);
    let mut offset = 0;
    while start.elapsed() < Duration::from_secs(5) {
        let asked = Instant::now();
        offset += 1;
        assert_eq!(beside.commit("t", offset).await, ErrorCode::None);
        slowest = slowest.max(asked.elapsed());
    }
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    assert_eq!(beside.committed("t").await, offset);
    end_storm.send(true).unwrap();
    flapping.join_all().await;
    let calm_since = Instant::now();
    all_in_one(&mut generations).await;
    assert!(calm_since.elapsed() < Duration::from_secs(5), "{:?}", calm_since.elapsed());
    calm.send(true).unwrap();
    tasks.join_all().await;
    broker.stop().await;
}

/// G07.
#[tokio::test]
async fn a_full_group_takes_no_more() {
    let broker = TestBroker::start(&[("group.max.size", "1")]).await;
    let mut first = Member::new(&broker, "g").await;
    first.settle().await;
    let mut second = Member::new(&broker, "g").await;
    assert_eq!(second.join().await, Err(ErrorCode::GroupMaxSizeReached));
    assert_eq!(first.heartbeat().await, ErrorCode::None);
    broker.stop().await;
}

#[tokio::test]
async fn a_client_that_hangs_up_while_it_waits_is_out_with_its_session() {
    let broker = TestBroker::start(&[("group.min.session.timeout.ms", "100")]).await;
    let mut stays = Member::new(&broker, "g").await;
    stays.settle().await;
    let mut goes = Member::new(&broker, "g").await;
    goes.session = Duration::from_millis(500);
    // Told its id, it joins with that, is parked, and is gone.
    let request = goes.join_request();
    let answer = goes.connection.call(5, &request).await;
    assert_eq!(goes.joined(&answer.body()), Err(ErrorCode::MemberIdRequired));
    let request = goes.join_request();
    goes.connection.send(5, &request).await;
    while stays.heartbeat().await != ErrorCode::RebalanceInProgress {}
    drop(goes);
    assert_eq!(stays.join().await.unwrap().unwrap().len(), 2, "nobody knows yet");
    let start = Instant::now();
    stays.settle().await;
    while stays.heartbeat().await == ErrorCode::None && start.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(stays.join().await.unwrap().unwrap().len(), 1);
    assert!(start.elapsed() < Duration::from_millis(1500), "{:?}", start.elapsed());
    broker.stop().await;
}

#[tokio::test]
async fn offsets_and_members_survive_a_restart() {
    let broker = TestBroker::start(&[]).await;
    broker.create_topic("t", 1).await;
    let mut member = Member::new(&broker, "g").await;
    member.settle().await;
    assert_eq!(member.commit("t", 42).await, ErrorCode::None);
    let (id, generation) = (member.id.clone(), member.generation);
    drop(member);
    let dir = broker.stop().await;

    let broker = TestBroker::start_in(dir, &[]).await;
    let mut member = Member::new(&broker, "g").await;
    (member.id, member.generation) = (id, generation);
    assert_eq!(member.committed("t").await, 42);
    assert_eq!(member.heartbeat().await, ErrorCode::None, "still a member, in the same generation");
    assert_eq!(member.commit("t", 43).await, ErrorCode::None);
    broker.stop().await;
}

#[tokio::test]
async fn a_topic_that_is_deleted_takes_its_offsets_with_it() {
    let broker = TestBroker::start(&[]).await;
    broker.create_topic("t", 1).await;
    let mut member = Member::new(&broker, "g").await;
    assert_eq!(member.commit("t", 5).await, ErrorCode::None);
    assert_eq!(member.commit("nowhere", 5).await, ErrorCode::UnknownTopicOrPartition);
    let request = DeleteTopicsRequest { topic_names: vec!["t".into()], timeout_ms: 10_000, ..Default::default() };
    member.connection.call(5, &request).await;
    assert_eq!(member.committed("t").await, -1);
    broker.create_topic("t", 1).await;
    assert_eq!(member.committed("t").await, -1);
    let dir = broker.stop().await;
    let broker = TestBroker::start_in(dir, &[]).await;
    let mut member = Member::new(&broker, "g").await;
    assert_eq!(member.committed("t").await, -1);
    broker.stop().await;
}

#[tokio::test]
async fn who_is_parked_when_the_broker_stops_is_told() {
    let broker = TestBroker::start(&[]).await;
    let mut first = Member::new(&broker, "g").await;
    first.settle().await;
    let mut parked = Member::new(&broker, "g").await;
    let request = parked.join_request();
    let answer = parked.connection.call(5, &request).await;
    assert_eq!(parked.joined(&answer.body()), Err(ErrorCode::MemberIdRequired));
    let request = parked.join_request();
    parked.connection.send(5, &request).await;
    while first.heartbeat().await != ErrorCode::RebalanceInProgress {}
    let stopping = tokio::spawn(broker.stop());
    let answer = parked.connection.receive().await;
    let joined: JoinGroupResponse<'_> = answer.body();
    assert_eq!(joined.error_code, ErrorCode::NotCoordinator.code());
    stopping.await.unwrap();
}
