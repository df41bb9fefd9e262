//! kill -9 thirty times under load: nothing acknowledged is lost, offsets are never used twice, idempotent producers leave no duplicate, committed
//! offsets never go back, and topics are there or not there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chronik_client::admin::{Admin, NewTopic, OffsetSpec};
use chronik_client::consumer::{Consumer, ConsumerOptions, FetchOptions, OffsetReset};
use chronik_client::producer::{Acks, Delivery};
use chronik_client::{Client, ClientOptions, Error, Producer, ProducerOptions, ProducerRecord};
use support::broker::Broker;

const KILLS: usize = 30;
const PARTITIONS: i32 = 2;
const GROUP: &str = "committer";
/// Longest wait for anything that must come true.
const LIMIT: Duration = Duration::from_secs(60);

/// What was acknowledged to a producer, or seen by a reader: the record's number by partition and offset.
type Placed = BTreeMap<(i32, i64), u64>;

/// A topic with its own kind of producer.
#[derive(Debug, Clone, Copy)]
struct Kind {
    topic: &'static str,
    acks: Acks,
    idempotent: bool,
}

const KINDS: [Kind; 3] = [
    Kind { topic: "all-idempotent", acks: Acks::All, idempotent: true },
    Kind { topic: "all-plain", acks: Acks::All, idempotent: false },
    Kind { topic: "leader-plain", acks: Acks::Leader, idempotent: false },
];

async fn client(broker: &Broker) -> Client {
    eventually("a client", || Client::connect(ClientOptions::new(&broker.address()))).await
}

/// Repeats until it succeeds; the broker may just be starting.
async fn eventually<T, F: Future<Output = Result<T, Error>>>(what: &str, mut attempt: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(error) => assert!(Instant::now() < deadline, "{what}: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Sends numbered records until it is told to stop, and answers where each was acknowledged, and how many were sent.
async fn produce(client: Client, kind: Kind, stop: Arc<AtomicBool>) -> (Placed, u64) {
    let options = ProducerOptions {
        acks: kind.acks,
        idempotent: kind.idempotent,
        linger: Duration::from_millis(1),
        ..ProducerOptions::default()
    };
    let producer = Producer::new(&client, options);
    let mut pending: VecDeque<(u64, Delivery)> = VecDeque::new();
    let mut placed = Placed::new();
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..10 {
            let record = ProducerRecord {
                topic: Arc::from(kind.topic),
                partition: Some((sent % PARTITIONS as u64) as i32),
                value: Some(Bytes::from(format!("{sent:0100}"))),
                ..ProducerRecord::default()
            };
            pending.push_back((sent, producer.send(record).await.unwrap()));
            sent += 1;
        }
        if pending.len() > 2_000 {
            let (number, delivery) = pending.pop_front().unwrap();
            place(&mut placed, number, delivery).await;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    for (number, delivery) in pending {
        place(&mut placed, number, delivery).await;
    }
    producer.close(LIMIT).await.unwrap();
    (placed, sent)
}

async fn place(placed: &mut Placed, number: u64, delivery: Delivery) {
    let delivered = delivery.await.unwrap_or_else(|error| panic!("record {number}: {error}"));
    let before = placed.insert((delivered.partition, delivered.offset), number);
    assert_eq!(before, None, "offset {} of {} was acknowledged twice", delivered.offset, delivered.partition);
}

fn number_of(value: Option<&[u8]>) -> u64 {
    std::str::from_utf8(value.unwrap()).unwrap().parse().unwrap()
}

/// Reads a topic from the start until `done` says so. Offsets come without gaps and once.
async fn read(client: &Client, topic: &str, mut done: impl FnMut(&BTreeMap<i32, i64>) -> bool) -> Placed {
    let from: Vec<_> = (0..PARTITIONS).map(|partition| (topic.to_owned(), partition, 0)).collect();
    let fetch = FetchOptions { max_wait: Duration::from_millis(100), ..FetchOptions::default() };
    let options = ConsumerOptions { reset: OffsetReset::Fail, fetch, ..ConsumerOptions::default() };
    let mut consumer = Consumer::assigned(client, options, &from);
    let mut next: BTreeMap<i32, i64> = (0..PARTITIONS).map(|partition| (partition, 0)).collect();
    let mut seen = Placed::new();
    while !done(&next) {
        let fetched = match consumer.poll(Duration::from_millis(200)).await {
            Ok(fetched) => fetched,
            Err(error) if error.is_retriable() => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
            Err(error) => panic!("reading {topic}: {error}"),
        };
        for record in fetched.iter().flat_map(|fetched| fetched.records().unwrap()) {
            let expected = next.get_mut(&record.partition).unwrap();
            assert_eq!(record.offset, *expected, "{topic}/{}", record.partition);
            *expected += 1;
            seen.insert((record.partition, record.offset), number_of(record.value.as_deref()));
        }
    }
    seen
}

/// Commits rising offsets until it is told to stop.
async fn commit(client: Client, tried: Arc<AtomicI64>, acknowledged: Arc<AtomicI64>, stop: Arc<AtomicBool>) {
    let admin = Admin::new(&client);
    while !stop.load(Ordering::Relaxed) {
        let offset = tried.fetch_add(1, Ordering::SeqCst) + 1;
        let offsets = BTreeMap::from([((KINDS[0].topic.to_owned(), 0), offset)]);
        if let Ok(outcomes) = admin.set_group_offsets(GROUP, &offsets).await
            && outcomes.iter().all(|(_, outcome)| outcome.is_ok())
        {
            acknowledged.store(offset, Ordering::SeqCst);
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

async fn committed(admin: &Admin) -> i64 {
    let offsets = eventually("committed offsets", || admin.group_offsets(GROUP)).await;
    offsets.get(&(KINDS[0].topic.to_owned(), 0)).map_or(0, |offset| offset.offset)
}

/// Everything a topic must hold, at its end.
async fn check(client: &Client, kind: Kind, acknowledged: &Placed, seen: &Placed, sent: u64) {
    let admin = Admin::new(client);
    let partitions: Vec<i32> = (0..PARTITIONS).collect();
    let mut ends = BTreeMap::new();
    let latest = eventually("ends", || admin.list_offsets(kind.topic, &partitions, OffsetSpec::Latest, false)).await;
    for (partition, found) in latest {
        ends.insert(partition, found.unwrap().offset);
    }
    let all = read(client, kind.topic, |next| *next == ends).await;
    for (at, number) in acknowledged {
        assert_eq!(all.get(at), Some(number), "{}: acknowledged at {at:?}", kind.topic);
    }
    for (at, number) in seen {
        assert_eq!(all.get(at), Some(number), "{}: seen at {at:?}", kind.topic);
    }
    assert_eq!(acknowledged.len() as u64, sent, "{}: everything that was sent was acknowledged in the end", kind.topic);
    if kind.idempotent {
        assert_eq!(all.len() as u64, sent, "{}: each record is there once", kind.topic);
        for partition in 0..PARTITIONS {
            let numbers = all.iter().filter(|((p, _), _)| *p == partition).map(|(_, number)| *number);
            assert!(numbers.is_sorted(), "{}/{partition}: in order", kind.topic);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_nothing_acknowledged_is_lost_and_nothing_comes_back() {
    let mut broker = Broker::start(&["log.segment.bytes=1048576"]);
    let steady = client(&broker).await;
    let admin = Admin::new(&steady);
    let topics: Vec<_> = KINDS.iter().map(|kind| NewTopic::new(kind.topic, PARTITIONS)).collect();
    for (topic, outcome) in eventually("topics", || admin.create_topics(&topics, false)).await {
        outcome.unwrap_or_else(|error| panic!("{topic}: {error}"));
    }
    let stop = Arc::new(AtomicBool::new(false));
    let (tried, acknowledged) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicI64::new(0)));
    let committing = tokio::spawn(commit(steady.clone(), tried.clone(), acknowledged.clone(), stop.clone()));
    let mut producing = Vec::new();
    let mut reading = Vec::new();
    for kind in KINDS {
        producing.push(tokio::spawn(produce(client(&broker).await, kind, stop.clone())));
        let (reader, stop) = (client(&broker).await, stop.clone());
        reading.push(tokio::spawn(async move { read(&reader, kind.topic, |_| stop.load(Ordering::Relaxed)).await }));
    }
    for kill in 0..KILLS {
        // Different places of whatever the broker does: from just started to well under way.
        tokio::time::sleep(Duration::from_millis((kill as u64 * 140) % 420)).await;
        broker.kill();
        let promised = acknowledged.load(Ordering::SeqCst);
        broker.restart();
        let found = committed(&admin).await;
        assert!(found >= promised, "kill {kill}: committed offset {promised} went back to {found}");
        assert!(found <= tried.load(Ordering::SeqCst), "kill {kill}: {found} was never committed");
    }
    stop.store(true, Ordering::Relaxed);
    committing.await.unwrap();
    for ((kind, producing), reading) in KINDS.into_iter().zip(producing).zip(reading) {
        let (placed, sent) = producing.await.unwrap();
        let seen = reading.await.unwrap();
        assert!(sent > 1_000 && !seen.is_empty(), "{}: {sent} sent, {} seen", kind.topic, seen.len());
        check(&steady, kind, &placed, &seen, sent).await;
    }
    assert!(acknowledged.load(Ordering::SeqCst) > 0);
    assert!(broker.stop().success());
}

/// What is known of a topic whose last request may have died with the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    There,
    Gone,
    Either,
}

/// Creates and deletes topics until it is told to stop, or the broker is gone. Answers what must be true of each name.
async fn churn(client: Client, round: usize, stop: Arc<AtomicBool>) -> BTreeMap<String, Expected> {
    let admin = Admin::new(&client);
    let mut known = BTreeMap::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let name = format!("churn-{round}-{}", number % 7);
        let creates = known.get(&name) != Some(&Expected::There);
        known.insert(name.clone(), Expected::Either);
        let outcomes = if creates {
            let mut topic = NewTopic::new(&name, 3);
            topic.configs.push(("retention.ms".into(), "123456".into()));
            admin.create_topics(&[topic], false).await
        } else {
            admin.delete_topics(std::slice::from_ref(&name)).await
        };
        match outcomes {
            Ok(outcomes) if outcomes.iter().all(|(_, outcome)| outcome.is_ok()) => {
                known.insert(name, if creates { Expected::There } else { Expected::Gone });
            }
            _ => break,
        }
    }
    known
}

/// The names of the topic directories that are not on their way out, with how many partitions each has.
fn directories(broker: &Broker) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(broker.data_dir()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.starts_with("churn-") && !name.ends_with("-delete") {
            *found.entry(name.rsplit_once('-').unwrap().0.to_owned()).or_default() += 1;
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_created_or_deleted_around_a_kill_is_there_or_not_and_never_half() {
    let mut broker = Broker::start(&[]);
    let mut kept: BTreeMap<String, Expected> = BTreeMap::new();
    for round in 0..KILLS {
        let stop = Arc::new(AtomicBool::new(false));
        let working = tokio::spawn(churn(client(&broker).await, round, stop.clone()));
        tokio::time::sleep(Duration::from_millis(5 + (round as u64 * 29) % 150)).await;
        if round % 5 == 4 {
            stop.store(true, Ordering::Relaxed);
            kept.extend(working.await.unwrap());
            assert!(broker.stop().success());
        } else {
            broker.kill();
            stop.store(true, Ordering::Relaxed);
            kept.extend(working.await.unwrap());
        }
        broker.restart();
        let client = client(&broker).await;
        let cluster = eventually("topics", || client.refresh_all()).await;
        for (name, expected) in &mut kept {
            let topic = cluster.topics.get(name);
            assert!(*expected != Expected::There || topic.is_some(), "round {round}: {name} is lost");
            assert!(*expected != Expected::Gone || topic.is_none(), "round {round}: {name} is back");
            if let Some(topic) = topic {
                assert_eq!(topic.partitions.len(), 3, "{name}");
                assert!(topic.partitions.iter().all(|partition| partition.leader >= 0), "{name}");
            }
            *expected = if topic.is_some() { Expected::There } else { Expected::Gone };
        }
        let there: BTreeSet<&String> = kept.iter().filter(|(_, e)| **e == Expected::There).map(|(n, _)| n).collect();
        let on_disk = directories(&broker);
        assert_eq!(on_disk.keys().collect::<BTreeSet<_>>(), there, "round {round}");
        assert!(on_disk.values().all(|partitions| *partitions == 3), "round {round}: {on_disk:?}");
        usable(&client, there.into_iter().next_back()).await;
    }
    let count = |wanted| kept.values().filter(|expected| **expected == wanted).count();
    assert!(count(Expected::There) > KILLS && count(Expected::Gone) > 0, "{kept:?}");
}

/// A topic that survived takes records in all partitions and has the settings it was created with.
async fn usable(client: &Client, topic: Option<&String>) {
    let Some(topic) = topic else { return };
    let producer = Producer::new(client, ProducerOptions::default());
    for partition in 0..3 {
        let record = ProducerRecord {
            topic: Arc::from(topic.as_str()),
            partition: Some(partition),
            value: Some(Bytes::from_static(b"x")),
            ..ProducerRecord::default()
        };
        let delivered = producer.send(record).await.unwrap().await.unwrap();
        assert_eq!(delivered.partition, partition);
    }
    producer.close(LIMIT).await.unwrap();
    let resource = chronik_client::admin::ConfigResource::Topic(topic.clone());
    let configs = Admin::new(client).describe_configs(&resource, false).await.unwrap();
    let retention = configs.iter().find(|entry| entry.name == "retention.ms");
    assert_eq!(retention.and_then(|entry| entry.value.as_deref()), Some("123456"), "{topic}");
}
