//! Records on their way to becoming requests: all partitions of a producer, without any I/O.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use chronik_protocol::batch::BatchBuilder;
use chronik_protocol::uuid::Uuid;
use tokio::time::Instant;

use super::delivery::{Delivery, Ending, Outcome};
use super::partitioner::{Sticky, partition_for_key};
use super::queue::{Batch, Content, ID_SPAN, Queue, timed_out};
use super::split::halves;
use super::{ProducerOptions, ProducerRecord};
use crate::cluster::{Cluster, Topic};
use crate::error::Error;

/// Batches beyond this wait for the next request: what a broker takes in one piece by default is far more.
const REQUEST_BYTES_MAX: usize = 4 << 20;

/// A topic that was sent to.
#[derive(Debug)]
struct KnownTopic {
    id: Uuid,
    /// Places in [`Accumulator::queues`], by partition.
    queues: Vec<usize>,
    sticky: Sticky,
}

/// A batch that leaves, and the place of its queue.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) queue: usize,
    pub(super) topic: Arc<str>,
    pub(super) topic_id: Uuid,
    pub(super) partition: i32,
    pub(super) batch: Batch,
}

/// What leaves in one step, and what hindered more.
#[derive(Debug, Default)]
pub(super) struct Drained {
    /// At most one request for each leader.
    pub(super) requests: Vec<(i32, Vec<Outgoing>)>,
    /// Leaders that batches wait for, but that cannot be sent to.
    pub(super) wanted: Vec<i32>,
    /// True if batches wait for a leader that nobody knows.
    pub(super) leaderless: bool,
    /// When the next batch is due, if nothing else happens.
    pub(super) next: Option<Instant>,
}

/// Where a record went.
#[derive(Debug)]
pub(super) struct Appended {
    pub(super) delivery: Delivery,
    /// True if the sender has something new to look at.
    pub(super) wake: bool,
}

/// All partitions of a producer.
#[derive(Debug)]
pub(super) struct Accumulator {
    options: ProducerOptions,
    topics: HashMap<Arc<str>, KnownTopic>,
    queues: Vec<Queue>,
    next_batch: u64,
    /// Batches without an outcome.
    live: BTreeMap<u64, Arc<Outcome>>,
    /// Which queue is asked first: a full request must not starve the same partitions every time.
    first: usize,
    /// Why nothing more is accepted.
    pub(super) closed: Option<Error>,
}

impl Accumulator {
    pub(super) fn new(options: ProducerOptions) -> Self {
        Self {
            options,
            topics: HashMap::new(),
            queues: Vec::new(),
            next_batch: 0,
            live: BTreeMap::new(),
            first: 0,
            closed: None,
        }
    }

    /// Whether records can be sent to the topic.
    pub(super) fn knows(&self, topic: &str) -> bool {
        self.topics.contains_key(topic)
    }

    /// The topics that were sent to.
    pub(super) fn topics(&self) -> Vec<Arc<str>> {
        self.topics.keys().cloned().collect()
    }

    /// Takes in what the brokers say about the topics that are known, and about `new`.
    pub(super) fn learn(&mut self, cluster: &Cluster, new: Option<&Arc<str>>) {
        for name in new.into_iter().cloned().chain(self.topics()) {
            let Some(topic) = cluster.topics.get(&*name) else { continue };
            self.learn_topic(name, topic);
        }
    }

    fn learn_topic(&mut self, name: Arc<str>, topic: &Topic) {
        let start = self.topics.len();
        let known = self.topics.entry(name.clone()).or_insert_with(|| KnownTopic {
            id: topic.id,
            queues: Vec::new(),
            sticky: Sticky::starting_at(start),
        });
        known.id = topic.id;
        for partition in &topic.partitions {
            let index = usize::try_from(partition.index).unwrap_or(usize::MAX);
            match known.queues.get(index) {
                Some(&place) => self.queues[place].leader = partition.leader,
                // Partitions come in order; behind a gap the rest waits for the next answer.
                None if index == known.queues.len() => {
                    known.queues.push(self.queues.len());
                    self.queues.push(Queue::new(name.clone(), partition.index, partition.leader));
                }
                None => break,
            }
        }
    }

    /// Adds a record whose bytes in the buffer are reserved.
    pub(super) fn append(
        &mut self,
        record: &ProducerRecord,
        size: usize,
        timestamp: i64,
        now: Instant,
    ) -> Result<Appended, Error> {
        if let Some(error) = &self.closed {
            return Err(error.clone());
        }
        let place = self.place(record, size)?;
        let batch_bytes = self.options.batch_bytes;
        let queue = &mut self.queues[place];
        let mut opened = false;
        if queue.open_with_room(size, batch_bytes).is_none() {
            let batch = queue.open(self.next_batch, self.options.compression.into(), now);
            self.live.insert(batch.id, batch.outcome.clone());
            self.next_batch += ID_SPAN;
            opened = true;
        }
        let Some(batch) = queue.open_with_room(0, usize::MAX) else { return Err(Error::Closed) };
        let Content::Building(builder) = &mut batch.content else { return Err(Error::Closed) };
        push(builder, record, timestamp);
        let delivery = Delivery::new(batch.outcome.clone(), batch.count, timestamp);
        batch.count += 1;
        batch.reserved += size;
        let closed = queue.close_if_full(batch_bytes);
        // A record that joins an open batch changes nothing for the sender.
        Ok(Appended { delivery, wake: closed || opened })
    }

    fn place(&mut self, record: &ProducerRecord, size: usize) -> Result<usize, Error> {
        let unknown = || Error::Invalid(format!("topic {} is not known", record.topic));
        let topic = self.topics.get_mut(&record.topic).ok_or_else(unknown)?;
        let count = topic.queues.len();
        let index = match (record.partition, &record.key) {
            (Some(partition), _) => usize::try_from(partition).unwrap_or(usize::MAX),
            (None, Some(key)) => partition_for_key(key, count.max(1)),
            (None, None) => {
                let leader = |index: usize| self.queues[topic.queues[index]].leader >= 0;
                topic.sticky.next(size, self.options.batch_bytes, count.max(1), leader)
            }
        };
        let has_not = || Error::Invalid(format!("topic {} has {count} partitions, not {index}", record.topic));
        topic.queues.get(index).copied().ok_or_else(has_not)
    }

    /// Takes what leaves now: for each leader that `can_send` to, one request with at most one batch a partition.
    pub(super) fn drain(&mut self, now: Instant, numbered: bool, mut can_send: impl FnMut(i32) -> bool) -> Drained {
        let mut drained = Drained::default();
        let mut bytes: HashMap<i32, usize> = HashMap::new();
        let (linger, in_flight_max) = (self.options.linger, self.options.max_in_flight);
        let count = self.queues.len();
        for place in (0..count).map(|step| (self.first + step) % count) {
            let queue = &mut self.queues[place];
            let Some(size) = queue.ready(now, linger, in_flight_max, numbered) else {
                drained.next = earliest(drained.next, queue.due(linger).filter(|due| *due > now));
                continue;
            };
            let leader = queue.leader;
            if leader < 0 {
                drained.leaderless = true;
                continue;
            }
            let taken = bytes.get(&leader).copied();
            if taken.is_none() && !can_send(leader) {
                drained.wanted.push(leader);
                continue;
            }
            if taken.is_some_and(|taken| taken + size > REQUEST_BYTES_MAX) {
                continue;
            }
            let Some(batch) = queue.take(numbered) else { continue };
            let (topic, partition) = (queue.topic.clone(), queue.partition);
            let topic_id = self.topics.get(&topic).map_or(Uuid::ZERO, |known| known.id);
            *bytes.entry(leader).or_default() += size;
            let outgoing = Outgoing { queue: place, topic, topic_id, partition, batch };
            match drained.requests.iter_mut().find(|(id, _)| *id == leader) {
                Some((_, request)) => request.push(outgoing),
                None => drained.requests.push((leader, vec![outgoing])),
            }
        }
        self.first = self.first.wrapping_add(1) % count.max(1);
        drained
    }

    /// The queue at a place that [`Accumulator::drain`] gave.
    pub(super) fn queue(&mut self, place: usize) -> &mut Queue {
        &mut self.queues[place]
    }

    /// A batch has an outcome: the bytes that it held are free.
    #[must_use]
    pub(super) fn end(&mut self, batch: &Batch, ending: Ending) -> usize {
        self.live.remove(&batch.id);
        batch.outcome.end(ending);
        batch.reserved
    }

    /// Lets the halves of a batch that is too large go on in its place. Gives it back if it cannot be halved.
    pub(super) fn split(&mut self, place: usize, batch: Batch) -> Option<Batch> {
        let Some(parts) = halves(&batch, self.options.compression.into()) else { return Some(batch) };
        for part in &parts {
            self.live.insert(part.id, part.outcome.clone());
        }
        let [first, second] = &parts;
        let ending = Ending::Split(vec![(0, first.outcome.clone()), (first.count, second.outcome.clone())]);
        batch.outcome.end(ending);
        self.queues[place].split(&batch, parts);
        None
    }

    /// Ends the batches that ran out of time: bytes that are free now, and whether sequence numbers were lost.
    pub(super) fn expire(&mut self, now: Instant) -> (usize, bool) {
        let limit = self.options.delivery_timeout;
        let (mut freed, mut lost) = (0, false);
        for place in 0..self.queues.len() {
            let (expired, numbers_lost) = self.queues[place].expire(now, limit);
            lost |= numbers_lost;
            for batch in expired {
                let ending = timed_out(&self.queues[place], &batch, limit);
                freed += self.end(&batch, ending);
            }
        }
        (freed, lost)
    }

    /// When the next batch runs out of time.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        let limit = self.options.delivery_timeout;
        self.queues.iter().filter_map(|queue| queue.expires(limit)).min()
    }

    /// Ends everything that is not on its way: bytes that are free now.
    pub(super) fn fail_all(&mut self, error: &Error) -> usize {
        let waiting: Vec<Batch> = self.queues.iter_mut().flat_map(Queue::take_all).collect();
        let ending = || Ending::Refused { error: error.clone(), record_errors: Vec::new() };
        waiting.iter().map(|batch| self.end(batch, ending())).sum()
    }

    /// Closes all open batches and gives the outcomes that are not known yet.
    pub(super) fn flush(&mut self) -> Vec<Arc<Outcome>> {
        self.queues.iter_mut().for_each(Queue::close_open);
        self.live.values().cloned().collect()
    }

    /// Whether every batch has an outcome.
    pub(super) fn is_idle(&self) -> bool {
        self.live.is_empty()
    }

    pub(super) fn has_in_flight(&self) -> bool {
        self.queues.iter().any(Queue::has_in_flight)
    }

    /// Sequence numbers start again, under a new epoch. Nothing may be on its way.
    pub(super) fn restart_sequences(&mut self) {
        self.queues.iter_mut().for_each(Queue::restart_sequence);
    }
}

fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// Upper bound of the bytes that a record takes in a batch.
pub(super) fn size_of(record: &ProducerRecord) -> usize {
    let headers: usize =
        record.headers.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, bytes::Bytes::len) + 10).sum();
    BatchBuilder::record_size_bound(record.key.as_deref(), record.value.as_deref(), &[]) + headers
}

fn push(builder: &mut BatchBuilder, record: &ProducerRecord, timestamp: i64) {
    let headers: Vec<(&[u8], Option<&[u8]>)> =
        record.headers.iter().map(|(key, value)| (key.as_bytes(), value.as_deref())).collect();
    builder.push(timestamp, record.key.as_deref(), record.value.as_deref(), &headers);
}

/// How long after `now` something is due; an hour if nothing is.
pub(super) fn until(at: Option<Instant>, now: Instant) -> Duration {
    at.map_or(Duration::from_secs(3600), |at| at.saturating_duration_since(now))
}

#[cfg(test)]
mod tests;
