//! The producer against a broker that loses requests and answers, refuses, and forgets: what counts is what it kept.

use std::time::Duration;

use crate::broker::{Broker, Fault, TOPIC};
use chronik_client::producer::{Acks, Delivered, Delivery};
use chronik_client::{Client, ClientOptions, Error, Producer, ProducerOptions, ProducerRecord};
use chronik_protocol::ErrorCode;

const LIMIT: Duration = Duration::from_secs(20);

async fn producer(broker: &Broker, options: ProducerOptions) -> Producer {
    let client = Client::connect(ClientOptions::new(&broker.address)).await.unwrap();
    Producer::new(&client, options)
}

/// Batches of ten records or so, sent at once.
fn small() -> ProducerOptions {
    ProducerOptions { batch_bytes: 300, linger: Duration::ZERO, ..ProducerOptions::default() }
}

async fn send(producer: &Producer, partition: i32, value: String) -> Delivery {
    let record = ProducerRecord {
        topic: TOPIC.into(),
        partition: Some(partition),
        value: Some(value.into()),
        ..ProducerRecord::default()
    };
    producer.send(record).await.unwrap()
}

/// Sends `count` records to each partition in turn and gives what became of each, by partition.
async fn send_all(producer: &Producer, partitions: i32, count: i32) -> Vec<Vec<Result<Delivered, Error>>> {
    let mut deliveries: Vec<Vec<Delivery>> = (0..partitions).map(|_| Vec::new()).collect();
    for i in 0..count {
        for (partition, deliveries) in (0..).zip(&mut deliveries) {
            deliveries.push(send(producer, partition, format!("{i}")).await);
        }
        if i % 50 == 0 {
            tokio::task::yield_now().await;
        }
    }
    tokio::time::timeout(LIMIT, producer.flush()).await.expect("flushed in time").unwrap();
    let known = |delivery: Delivery| delivery.try_get().expect("flush waits for every record");
    deliveries.into_iter().map(|deliveries| deliveries.into_iter().map(known).collect()).collect()
}

fn numbers(count: i32) -> Vec<String> {
    (0..count).map(|i| i.to_string()).collect()
}

/// Everything once, in order, at the offset that was told.
fn check_exactly_once(broker: &Broker, results: &[Vec<Result<Delivered, Error>>], count: i32) {
    for (partition, results) in results.iter().enumerate() {
        let kept = broker.values(partition);
        let differ = kept.iter().zip(numbers(count)).position(|(kept, sent)| *kept != sent);
        let around = differ.map(|at| &kept[at.saturating_sub(2)..(at + 30).min(kept.len())]);
        assert_eq!((kept.len(), around), (count as usize, None), "partition {partition}");
        let offsets: Vec<i64> = results.iter().map(|result| result.as_ref().unwrap().offset).collect();
        assert_eq!(offsets, (0..i64::from(count)).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn without_faults_everything_is_there_once_in_order() {
    for acks in [Acks::All, Acks::Leader] {
        let broker = Broker::start(3, []).await;
        let producer = producer(&broker, ProducerOptions { acks, ..small() }).await;
        let results = send_all(&producer, 3, 500).await;
        check_exactly_once(&broker, &results, 500);
        producer.close(LIMIT).await.unwrap();
    }
}

#[tokio::test]
async fn without_acks_records_count_as_delivered_when_they_are_sent() {
    let broker = Broker::start(1, []).await;
    let producer = producer(&broker, ProducerOptions { acks: Acks::None, ..small() }).await;
    let results = send_all(&producer, 1, 200).await;
    assert!(results[0].iter().all(|result| result.as_ref().unwrap().offset == -1));
    producer.close(LIMIT).await.unwrap();
    tokio::time::timeout(LIMIT, async {
        while broker.values(0).len() < 200 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    assert_eq!(broker.values(0), numbers(200));
}

#[tokio::test]
async fn an_idempotent_producer_survives_each_fault_without_loss_or_duplicate() {
    for fault in [
        Fault::LoseRequest,
        Fault::LoseAnswer,
        Fault::Refuse(ErrorCode::NotLeaderOrFollower),
        Fault::Refuse(ErrorCode::NotEnoughReplicas),
        Fault::Refuse(ErrorCode::OutOfOrderSequenceNumber),
        Fault::Refuse(ErrorCode::UnknownProducerId),
        Fault::AppendAndSay(ErrorCode::RequestTimedOut),
        Fault::AppendAndSay(ErrorCode::NotEnoughReplicasAfterAppend),
        Fault::ForgetProducers,
    ] {
        for before in [0, 1, 3] {
            let faults = std::iter::repeat_n(Fault::None, before).chain([fault, Fault::None, fault]);
            let broker = Broker::start(3, faults).await;
            let producer = producer(&broker, small()).await;
            let results = send_all(&producer, 3, 200).await;
            check_exactly_once(&broker, &results, 200);
            assert_eq!(broker.progress().1, 0, "{fault:?} was met");
            producer.close(LIMIT).await.unwrap();
        }
    }
}

#[tokio::test]
async fn random_faults_in_a_row_lose_and_repeat_nothing() {
    for seed in 1..=6u32 {
        let mut random = seed;
        let faults = (0..20).map(|_| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            match (random >> 16) % 8 {
                0 => Fault::LoseRequest,
                1 => Fault::LoseAnswer,
                2 => Fault::Refuse(ErrorCode::NotLeaderOrFollower),
                3 => Fault::AppendAndSay(ErrorCode::RequestTimedOut),
                _ => Fault::None,
            }
        });
        let broker = Broker::start(2, faults.collect::<Vec<_>>()).await;
        let producer = producer(&broker, small()).await;
        let results = send_all(&producer, 2, 400).await;
        check_exactly_once(&broker, &results, 400);
        assert_eq!(broker.epochs(), [(9, 0)], "seed {seed}: no new epoch was needed");
        producer.close(LIMIT).await.unwrap();
    }
}

#[tokio::test]
async fn a_refused_batch_fails_alone_and_the_rest_moves_up() {
    let broker = Broker::start(1, [Fault::None, Fault::Refuse(ErrorCode::InvalidRecord)]).await;
    let producer = producer(&broker, small()).await;
    let results = send_all(&producer, 1, 200).await;
    let failed: Vec<String> =
        (0..).zip(&results[0]).filter(|(_, result)| result.is_err()).map(|(i, _)| format!("{i}")).collect();
    assert!(!failed.is_empty() && failed.len() < 100, "{failed:?}");
    let kept: Vec<String> = numbers(200).into_iter().filter(|value| !failed.contains(value)).collect();
    assert_eq!(broker.values(0), kept);
    let errors = results[0].iter().filter_map(|result| result.as_ref().err());
    assert!(errors.clone().all(|error| error.code() == Some(ErrorCode::InvalidRecord)));
    assert_eq!(broker.epochs(), [(9, 0)]);
}

#[tokio::test]
async fn batches_that_are_too_large_are_halved_until_they_fit() {
    for acks in [Acks::All, Acks::Leader] {
        let broker = Broker::start(2, []).await;
        broker.limit_batches(200);
        let options = ProducerOptions { acks, batch_bytes: 5000, linger: Duration::ZERO, max_in_flight: 1, ..small() };
        let producer = producer(&broker, options).await;
        let results = send_all(&producer, 2, 300).await;
        check_exactly_once(&broker, &results, 300);
        let large = send(&producer, 0, "x".repeat(500)).await;
        let after = send(&producer, 0, "after".to_owned()).await;
        assert_eq!(large.await.unwrap_err().code(), Some(ErrorCode::MessageTooLarge));
        assert_eq!(after.await.unwrap().offset, 300);
    }
}

#[tokio::test]
async fn a_lost_sequence_begins_a_new_epoch() {
    let broker = Broker::start(1, [Fault::None, Fault::Refuse(ErrorCode::OutOfOrderSequenceNumber)]).await;
    let producer = producer(&broker, small()).await;
    let results = send_all(&producer, 1, 200).await;
    check_exactly_once(&broker, &results, 200);
    assert_eq!(broker.epochs(), [(9, 0), (9, 1)]);
}

#[tokio::test]
async fn what_cannot_be_delivered_says_why_in_time() {
    let faults = vec![Fault::Refuse(ErrorCode::NotEnoughReplicas); 10_000];
    let broker = Broker::start(1, faults).await;
    let options = ProducerOptions { delivery_timeout: Duration::from_millis(300), ..small() };
    let producer = producer(&broker, options).await;
    let delivery = send(&producer, 0, "x".to_owned()).await;
    let error = tokio::time::timeout(LIMIT, delivery).await.unwrap().unwrap_err();
    assert!(matches!(&error, Error::Timeout { what, .. } if what.contains("NOT_ENOUGH_REPLICAS")), "{error}");
    assert!(broker.values(0).is_empty());
    producer.close(LIMIT).await.unwrap();
}

#[tokio::test]
async fn closing_fails_what_is_left_and_later_sends() {
    let broker = Broker::start(1, vec![Fault::Refuse(ErrorCode::NotEnoughReplicas); 10_000]).await;
    let producer = producer(&broker, small()).await;
    let delivery = send(&producer, 0, "x".to_owned()).await;
    let other = producer.clone();
    let closed = producer.close(Duration::from_millis(100)).await;
    assert!(matches!(closed, Err(Error::Timeout { .. })));
    assert!(matches!(delivery.await, Err(Error::Closed)));
    let record = ProducerRecord { topic: TOPIC.into(), ..ProducerRecord::default() };
    assert!(matches!(other.send(record).await, Err(Error::Closed)));
}

#[tokio::test]
async fn a_full_buffer_makes_send_wait_for_room() {
    let broker = Broker::start(1, []).await;
    let options =
        ProducerOptions { buffer_bytes: 1 << 16, batch_bytes: 1 << 20, linger: LIMIT, ..ProducerOptions::default() };
    let producer = producer(&broker, options).await;
    let value = "x".repeat(1000);
    let sent = async {
        for _ in 0..500 {
            let _delivery = send(&producer, 0, value.clone()).await;
        }
    };
    tokio::time::timeout(LIMIT, sent).await.expect("room is made although the linger time is long");
    producer.flush().await.unwrap();
    assert_eq!(broker.values(0).len(), 500);
    let huge =
        ProducerRecord { topic: TOPIC.into(), value: Some(vec![0; 1 << 17].into()), ..ProducerRecord::default() };
    assert!(matches!(producer.send(huge).await, Err(Error::Invalid(_))));
}
