//! Batching, partitions, buffers and what leaves together, without a broker.

use super::*;
use crate::cluster::Partition;
use chronik_protocol::compression::Codec;

const LINGER: Duration = Duration::from_millis(5);

/// An accumulator that knows topic `t`, its partitions led by these nodes.
fn accumulator(leaders: &[i32], batch_bytes: usize) -> Accumulator {
    let options =
        ProducerOptions { linger: LINGER, batch_bytes, compression: Codec::None, ..ProducerOptions::default() };
    let mut accumulator = Accumulator::new(options);
    accumulator.learn(&cluster(leaders), Some(&"t".into()));
    accumulator
}

fn cluster(leaders: &[i32]) -> Cluster {
    let partition = |(index, leader): (i32, &i32)| Partition {
        index,
        leader: *leader,
        leader_epoch: 0,
        replicas: vec![*leader],
        in_sync: vec![*leader],
    };
    let partitions = (0..).zip(leaders).map(partition).collect();
    let topic = Topic { id: Uuid::ZERO, internal: false, partitions };
    Cluster { topics: HashMap::from([("t".to_owned(), topic)]), ..Cluster::default() }
}

fn record(partition: impl Into<Option<i32>>, value: usize) -> ProducerRecord {
    ProducerRecord {
        topic: "t".into(),
        partition: partition.into(),
        value: Some(vec![7; value].into()),
        ..ProducerRecord::default()
    }
}

fn append(accumulator: &mut Accumulator, record: &ProducerRecord, now: Instant) -> Result<Appended, Error> {
    accumulator.append(record, size_of(record), 0, now)
}

#[test]
fn records_gather_until_the_linger_time_or_the_size_is_reached() {
    let now = Instant::now();
    let mut accumulator = accumulator(&[1], 1000);
    assert!(append(&mut accumulator, &record(0, 400), now).unwrap().wake, "a batch was opened");
    assert!(!append(&mut accumulator, &record(0, 400), now).unwrap().wake, "it goes on");
    let drained = accumulator.drain(now, false, |_| true);
    assert_eq!((drained.requests.len(), drained.next), (0, Some(now + LINGER)));
    assert!(append(&mut accumulator, &record(0, 400), now).unwrap().wake, "a second batch");
    let drained = accumulator.drain(now, false, |_| true);
    assert_eq!(drained.requests[0].1[0].batch.count, 2);
    let drained = accumulator.drain(now + LINGER, false, |_| true);
    assert_eq!(drained.requests[0].1[0].batch.count, 1);
}

#[test]
fn a_record_larger_than_a_batch_goes_alone_and_at_once() {
    let now = Instant::now();
    let mut accumulator = accumulator(&[1], 1000);
    append(&mut accumulator, &record(0, 10), now).unwrap();
    append(&mut accumulator, &record(0, 5000), now).unwrap();
    let counts: Vec<i32> =
        (0..2).map(|_| accumulator.drain(now, false, |_| true).requests[0].1[0].batch.count).collect();
    assert_eq!(counts, [1, 1]);
}

#[test]
fn a_request_holds_one_batch_of_each_partition_of_its_leader() {
    let now = Instant::now();
    let mut accumulator = accumulator(&[1, 2, 1, -1], 1000);
    for partition in 0..4 {
        append(&mut accumulator, &record(partition, 2000), now).unwrap();
        append(&mut accumulator, &record(partition, 2000), now).unwrap();
    }
    let mut drained = accumulator.drain(now, false, |leader| leader == 1);
    let partitions: Vec<i32> = drained.requests.remove(0).1.iter().map(|outgoing| outgoing.partition).collect();
    assert_eq!((partitions, drained.requests.len()), (vec![0, 2], 0));
    assert_eq!((drained.wanted, drained.leaderless), (vec![2], true));
    accumulator.learn(&cluster(&[1, 2, 1, 2]), None);
    let drained = accumulator.drain(now, false, |_| true);
    let mut leaders: Vec<(i32, usize)> =
        drained.requests.iter().map(|(leader, request)| (*leader, request.len())).collect();
    leaders.sort_unstable();
    assert_eq!(leaders, [(1, 2), (2, 2)]);
}

#[tokio::test]
async fn keys_choose_as_java_does_and_records_without_one_take_turns() {
    let now = Instant::now();
    let mut accumulator = accumulator(&[1; 10], 1000);
    let keyed = ProducerRecord { key: Some("foobar".into()), ..record(None, 10) };
    let delivery = append(&mut accumulator, &keyed, now).unwrap().delivery;
    let outgoing = accumulator.drain(now + LINGER, false, |_| true).requests.remove(0).1.remove(0);
    assert_eq!(outgoing.partition, (-790_332_482i32 & 0x7fff_ffff) % 10);
    let freed = accumulator.end(&outgoing.batch, Ending::Appended { base_offset: 5, log_append_time: Some(9) });
    assert_eq!(freed, size_of(&keyed));
    assert_eq!(
        delivery.await.unwrap(),
        super::super::Delivered { partition: outgoing.partition, offset: 5, timestamp: 9 }
    );
    for _ in 0..10 {
        append(&mut accumulator, &record(None, 2000), now).unwrap();
    }
    assert_eq!(accumulator.drain(now, false, |_| true).requests[0].1.len(), 10);
}

#[test]
fn unknown_topics_and_partitions_are_errors() {
    let now = Instant::now();
    let mut accumulator = accumulator(&[1, 1], 1000);
    for partition in [2, -1] {
        assert!(append(&mut accumulator, &record(partition, 1), now).unwrap_err().to_string().contains("2 partitions"));
    }
    let elsewhere = ProducerRecord { topic: "u".into(), ..record(0, 1) };
    assert!(append(&mut accumulator, &elsewhere, now).is_err());
    accumulator.learn(&cluster(&[1, 1, 1]), None);
    append(&mut accumulator, &record(2, 1), now).unwrap();
}

#[test]
fn flush_closes_batches_and_gives_every_outcome_that_is_missing() {
    let now = Instant::now();
    let mut accumulator = accumulator(&[1, 1], 1000);
    append(&mut accumulator, &record(0, 1), now).unwrap();
    append(&mut accumulator, &record(1, 1), now).unwrap();
    assert_eq!(accumulator.flush().len(), 2);
    let outgoing = accumulator.drain(now, false, |_| true).requests.remove(0).1;
    assert_eq!((outgoing.len(), accumulator.is_idle()), (2, false));
    for outgoing in &outgoing {
        accumulator.queue(outgoing.queue).succeeded(outgoing.batch.id);
        let _freed = accumulator.end(&outgoing.batch, Ending::Appended { base_offset: 0, log_append_time: None });
    }
    assert!(accumulator.is_idle() && !accumulator.has_in_flight());
    assert_eq!(accumulator.flush().len(), 0);
}

#[tokio::test]
async fn what_cannot_be_delivered_in_time_fails_and_frees_its_bytes() {
    let now = Instant::now();
    let mut accumulator = accumulator(&[-1], 1000);
    let delivery = append(&mut accumulator, &record(0, 100), now).unwrap().delivery;
    let at = accumulator.next_expiry().unwrap();
    assert_eq!(at, now + ProducerOptions::default().delivery_timeout);
    assert_eq!(accumulator.expire(at), (size_of(&record(0, 100)), false));
    assert!(matches!(delivery.await, Err(Error::Timeout { .. })));
    assert!(accumulator.is_idle());
}

#[test]
fn a_closed_accumulator_says_why_and_can_fail_what_it_holds() {
    let now = Instant::now();
    let mut accumulator = accumulator(&[1], 1000);
    let delivery = append(&mut accumulator, &record(0, 100), now).unwrap().delivery;
    accumulator.closed = Some(Error::Closed);
    assert!(matches!(append(&mut accumulator, &record(0, 1), now), Err(Error::Closed)));
    assert_eq!(accumulator.fail_all(&Error::Closed), size_of(&record(0, 100)));
    assert!(matches!(delivery.try_get(), Some(Err(Error::Closed))));
}
