//! The order of batches, their numbers, and their time, without a broker.

use super::*;

const LINGER: Duration = Duration::from_millis(5);

/// A queue with closed batches of these many records, ids from 0.
fn queue(counts: &[i32]) -> (Queue, Instant) {
    let now = Instant::now();
    let mut queue = Queue::new("t".into(), 0, 1);
    for (id, count) in (0..).zip(counts) {
        queue.open(id, Compression::none(), now).count = *count;
    }
    queue.close_open();
    (queue, now)
}

fn taken(queue: &mut Queue) -> (u64, i32) {
    let batch = queue.take(true).unwrap();
    (batch.id, batch.sequence.unwrap())
}

#[test]
fn an_open_batch_leaves_after_the_linger_time_and_a_closed_one_at_once() {
    let now = Instant::now();
    let mut queue = Queue::new("t".into(), 0, 1);
    queue.open(0, Compression::none(), now);
    assert_eq!(queue.ready(now, LINGER, 5, false), None);
    assert_eq!(queue.due(LINGER), Some(now + LINGER));
    assert!(queue.ready(now + LINGER, LINGER, 5, false).is_some());
    queue.close_open();
    assert!(queue.ready(now, LINGER, 5, false).is_some());
    assert_eq!(queue.ready(now, LINGER, 0, false), None);
}

#[test]
fn failed_batches_go_again_in_order_with_their_numbers() {
    let (mut queue, now) = queue(&[10, 5, 1]);
    let batches: Vec<Batch> = (0..3).map(|_| queue.take(true).unwrap()).collect();
    assert_eq!(batches.iter().map(|batch| batch.sequence.unwrap()).collect::<Vec<_>>(), [0, 10, 15]);
    for batch in batches.into_iter().rev() {
        assert_eq!(queue.ready(now + BACKOFF.1, LINGER, 5, false), None, "something is still on its way");
        queue.failed(batch, now);
    }
    assert_eq!(queue.ready(now, LINGER, 5, false), None, "the pause is not over");
    assert!(queue.ready(now + BACKOFF.1, LINGER, 5, false).is_some());
    assert_eq!([taken(&mut queue), taken(&mut queue), taken(&mut queue)], [(0, 0), (1, 10), (2, 15)]);
}

#[test]
fn a_refused_batch_frees_its_numbers_for_those_behind() {
    let (mut queue, now) = queue(&[10, 5, 1, 7]);
    let batches: Vec<Batch> = (0..3).map(|_| queue.take(true).unwrap()).collect();
    let [first, second, third] = <[Batch; 3]>::try_from(batches).unwrap();
    queue.succeeded(first.id);
    queue.refused(&second);
    assert!(queue.has_earlier(third.id), "it follows a number that is free again");
    queue.failed(third, now);
    assert_eq!([taken(&mut queue), taken(&mut queue)], [(2, 10), (3, 11)]);
}

#[test]
fn time_runs_out_oldest_first_and_numbers_of_a_batch_that_may_be_there_are_lost() {
    let limit = Duration::from_secs(1);
    let (mut queue, now) = queue(&[10, 5]);
    let mut first = queue.take(true).unwrap();
    assert_eq!(queue.expire(now, limit).0.len(), 0);
    first.ambiguous = true;
    queue.failed(first, now);
    let (expired, lost) = queue.expire(now + limit, limit);
    assert_eq!((expired.iter().map(|batch| batch.id).collect::<Vec<_>>(), lost), (vec![0, 1], true));
    assert!(queue.is_idle());
    queue.restart_sequence();
    queue.open(2, Compression::none(), now).count = 3;
    assert_eq!(taken(&mut queue), (2, 0));
}

#[test]
fn numbers_of_a_batch_that_was_never_sent_are_not_lost() {
    let limit = Duration::from_secs(1);
    let (mut queue, now) = queue(&[10]);
    let batch = queue.take(true).unwrap();
    queue.failed(batch, now);
    let (expired, lost) = queue.expire(now + limit, limit);
    assert_eq!((expired.len(), lost), (1, false));
    queue.open(1, Compression::none(), now).count = 3;
    assert_eq!(taken(&mut queue), (1, 0));
}

#[test]
fn the_order_of_outcomes_is_known() {
    let (mut queue, now) = queue(&[1, 1]);
    let (first, second) = (queue.take(true).unwrap(), queue.take(true).unwrap());
    assert!(queue.has_earlier(second.id) && !queue.has_earlier(first.id));
    let id = second.id;
    queue.failed(first, now);
    assert!(queue.has_earlier(id));
}
